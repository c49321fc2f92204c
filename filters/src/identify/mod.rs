//! Who is calling: one credential, from any of the headers that clients use for it.
//!
//! The head alone tells the master key from others. Whose key or token it is has to be looked up, which is
//! not done here: [`Presented`] says what there is to look up, [`virtual_key`] judges what was found.
//!
//! A request that carries two different credentials is refused: which one counts would be our
//! choice, and another part of the system could choose otherwise.

pub mod jwt;
pub mod virtual_key;

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::caller::Caller;
use crate::denial::{Denial, DenialKind};

/// Bytes of a credential, at most.
const MAX_CREDENTIAL: usize = 8 * 1024;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// How callers are identified.
#[derive(Clone, Debug)]
pub struct Identify {
    anonymous: bool,
    master_key: Option<MasterKey>,
    accepts: Accepts,
}

/// Which credentials there can be beside the master key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Virtual keys: there is a store of them.
    pub keys: bool,
    /// JSON Web Tokens: there is an issuer.
    pub tokens: bool,
}

/// Nobody could be identified with these settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    #[error(
        "without a master key, a store of keys, an issuer of tokens or anonymous access nobody could call the gateway"
    )]
    NobodyCouldCall,
    #[error(
        "the master key must be 1 to 8192 visible ASCII characters, since it is sent in a header"
    )]
    UnusableMasterKey,
}

/// What a head says of who sends it.
#[derive(Debug)]
pub enum Presented<'h> {
    /// All that is needed to know.
    Caller(Arc<Caller>),
    /// A credential whose bearer has to be looked up.
    Credential(Credential<'h>),
}

/// A credential that is neither the master key nor obviously wrong.
#[derive(Clone, Copy)]
pub struct Credential<'h> {
    text: &'h str,
    digest: [u8; 32],
    kind: CredentialKind,
    or_anonymous: bool,
}

/// What a credential looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A virtual key.
    Key,
    /// A JSON Web Token.
    Token,
}

impl<'h> Credential<'h> {
    /// The credential itself. It must not be logged.
    pub fn text(&self) -> &'h str {
        self.text
    }

    /// Its SHA-256: stands for it in memory.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// Who sends it, should nobody have this credential: where callers need none, they send whatever
    /// their client makes them send.
    ///
    /// # Errors
    ///
    /// `invalid_api_key` (401).
    pub fn unknown(&self) -> Result<Arc<Caller>, Denial> {
        if self.or_anonymous { Ok(Caller::anonymous()) } else { Err(virtual_key::unknown()) }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Identify {
    /// Builds the filter from the settings there are.
    ///
    /// # Errors
    ///
    /// [`IdentifyError`] if nobody could ever call, or if no client could send the key.
    pub fn new(
        anonymous: bool,
        master_key: Option<&str>,
        accepts: Accepts,
    ) -> Result<Self, IdentifyError> {
        let master_key = master_key.map(MasterKey::new).transpose()?;
        if !anonymous && master_key.is_none() && accepts == Accepts::default() {
            return Err(IdentifyError::NobodyCouldCall);
        }
        Ok(Self { anonymous, master_key, accepts })
    }

    /// Says who sends a request, or which credential has to be looked up to know.
    ///
    /// # Errors
    ///
    /// `missing_api_key` and `invalid_api_key` (401), `conflicting_credentials` (400). No message
    /// holds any part of a credential.
    pub fn identify<'h>(&self, headers: &'h HeaderMap) -> Result<Presented<'h>, Denial> {
        let text = match credential(headers) {
            Ok(Some(text)) => text,
            Ok(None) if self.anonymous => return Ok(Presented::Caller(Caller::anonymous())),
            Ok(None) => {
                return Err(Denial::new(
                    DenialKind::MissingApiKey,
                    "an API key is required: send Authorization: Bearer, x-api-key or api-key",
                ));
            }
            // One that can't be a credential, such as an SDK's empty one, is none where none is needed.
            // Contradictory ones stay refused: whose request it is is in doubt all the same.
            Err(denial) if self.anonymous && denial.kind() == DenialKind::InvalidApiKey => {
                return Ok(Presented::Caller(Caller::anonymous()));
            }
            Err(denial) => return Err(denial),
        };
        let digest: [u8; 32] = Sha256::digest(text).into();
        if self.master_key.as_ref().is_some_and(|key| key.matches(&digest)) {
            return Ok(Presented::Caller(Caller::master()));
        }
        let credential = |kind, or_anonymous| Credential { text, digest, kind, or_anonymous };
        if jwt::looks_like_token(text.as_bytes()) {
            if self.accepts.tokens {
                return Ok(Presented::Credential(credential(CredentialKind::Token, false)));
            }
        } else if self.accepts.keys {
            // A key of our own form is meant as one, so its refusal stands.
            let ours = virtual_key::checks_out(text);
            if ours == Some(false) {
                let message = "the API key is mistyped or cut off: its checksum does not match";
                return Err(Denial::new(DenialKind::InvalidApiKey, message));
            }
            let or_anonymous = self.anonymous && ours.is_none();
            return Ok(Presented::Credential(credential(CredentialKind::Key, or_anonymous)));
        }
        credential(CredentialKind::Key, self.anonymous).unknown().map(Presented::Caller)
    }
}

/// The digest of the master key. The key itself is not kept.
#[derive(Clone)]
pub struct MasterKey {
    digest: [u8; 32],
}

impl MasterKey {
    /// # Errors
    ///
    /// [`IdentifyError::UnusableMasterKey`] if the key could not be sent in a header.
    pub fn new(key: &str) -> Result<Self, IdentifyError> {
        if !is_credential(key.as_bytes()) {
            return Err(IdentifyError::UnusableMasterKey);
        }
        Ok(Self { digest: Sha256::digest(key).into() })
    }

    /// Digests have one length and are compared in constant time, so how long this takes says
    /// nothing of how much of a guess was right.
    fn matches(&self, presented: &[u8; 32]) -> bool {
        presented.ct_eq(&self.digest).into()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// The one credential of a request, or `None` if it has none.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
    let bearer = single(headers, &AUTHORIZATION)?.map(bearer).transpose()?;
    let x_api_key = single(headers, &X_API_KEY)?.map(HeaderValue::as_bytes);
    let api_key = single(headers, &API_KEY)?.map(HeaderValue::as_bytes);

    let mut sent = [bearer, x_api_key, api_key].into_iter().flatten();
    let Some(first) = sent.next() else {
        return Ok(None);
    };
    // Both sides are the caller's own, so this comparison has nothing to hide.
    if !sent.all(|other| other == first) {
        return Err(Denial::new(
            DenialKind::ConflictingCredentials,
            "the request carries several API keys that differ; send one",
        ));
    }
    match std::str::from_utf8(first) {
        Ok(text) if is_credential(first) => Ok(Some(text)),
        _ => Err(Denial::new(
            DenialKind::InvalidApiKey,
            "the API key must be 1 to 8192 visible ASCII characters",
        )),
    }
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Denial> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Denial::new(
            DenialKind::ConflictingCredentials,
            "a credential header is repeated; send it once",
        ));
    }
    Ok(first)
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1). The scheme's case does not matter (RFC 9110
/// section 11.1).
fn bearer(value: &HeaderValue) -> Result<&[u8], Denial> {
    const SCHEME: &[u8] = b"bearer ";
    match value.as_bytes().split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => Ok(token.trim_ascii()),
        _ => Err(Denial::new(
            DenialKind::InvalidApiKey,
            "the Authorization header must have the form: Bearer <API key>",
        )),
    }
}

fn is_credential(bytes: &[u8]) -> bool {
    (1..=MAX_CREDENTIAL).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::caller::CallerKind;
    use crate::testing::Head;

    const KEY: &str = "sk-0123456789abcdef0123456789abcdef";

    fn master() -> Identify {
        Identify::new(false, Some(KEY), Accepts::default()).expect("a usable key")
    }

    fn anonymous(key: Option<&str>, accepts: Accepts) -> Identify {
        Identify::new(true, key, accepts).expect("usable settings")
    }

    /// Who calls, where the head says it.
    fn identify(filter: &Identify, head: &Head) -> Result<CallerKind, DenialKind> {
        match filter.identify(&head.parts.headers) {
            Ok(Presented::Caller(caller)) => Ok(caller.kind()),
            Ok(Presented::Credential(credential)) => panic!("to be looked up: {credential:?}"),
            Err(denial) => Err(denial.kind()),
        }
    }

    /// What is to be looked up, and who it is if nobody has it.
    fn looked_up(
        filter: &Identify,
        key: &str,
    ) -> Option<(CredentialKind, Result<CallerKind, DenialKind>)> {
        let head = Head::chat().with("x-api-key", key);
        match filter.identify(&head.parts.headers) {
            Ok(Presented::Credential(credential)) => {
                assert_eq!(credential.text(), key);
                let unknown = credential.unknown();
                Some((
                    credential.kind(),
                    unknown.map(|caller| caller.kind()).map_err(|denial| denial.kind()),
                ))
            }
            _ => None,
        }
    }

    #[test]
    fn the_key_is_found_wherever_clients_put_it() {
        for (name, value) in [
            ("authorization", format!("Bearer {KEY}")),
            ("authorization", format!("bearer {KEY}")),
            ("authorization", format!("BEARER   {KEY}")),
            ("x-api-key", KEY.to_owned()),
            ("api-key", KEY.to_owned()),
        ] {
            let head = Head::chat().with(name, &value);
            assert_eq!(identify(&master(), &head), Ok(CallerKind::Master), "{name}");
        }
        let everywhere = Head::chat()
            .with("authorization", &format!("Bearer {KEY}"))
            .with("x-api-key", KEY)
            .with("api-key", KEY);
        assert_eq!(identify(&master(), &everywhere), Ok(CallerKind::Master));
    }

    #[test]
    fn no_other_key_is_the_key() {
        for key in
            [&KEY[1..], &KEY[..KEY.len() - 1], &format!("{KEY}0"), &KEY.to_uppercase(), "sk-1234"]
        {
            for (name, value) in
                [("authorization", format!("Bearer {key}")), ("x-api-key", key.to_owned())]
            {
                let head = Head::chat().with(name, &value);
                assert_eq!(identify(&master(), &head), Err(DenialKind::InvalidApiKey), "{value}");
            }
        }
    }

    #[test]
    fn an_absent_key_is_missing_and_a_malformed_one_is_invalid() {
        assert_eq!(identify(&master(), &Head::chat()), Err(DenialKind::MissingApiKey));
        for (name, value) in [
            ("authorization", String::new()),
            ("authorization", "Bearer".to_owned()),
            ("authorization", "Bearer ".to_owned()),
            ("authorization", KEY.to_owned()),
            ("authorization", format!("Basic {KEY}")),
            ("authorization", format!("Bearer{KEY}")),
            ("authorization", format!("Bearer\t{KEY}")),
            ("authorization", format!("Bearer {KEY} {KEY}")),
            ("authorization", format!("Bearer {KEY}, Bearer {KEY}")),
            ("x-api-key", String::new()),
            ("x-api-key", format!(" {KEY}")),
            ("x-api-key", format!("Bearer {KEY}")),
            ("x-api-key", "k\u{e9}y".to_owned()),
            ("api-key", "k".repeat(MAX_CREDENTIAL + 1)),
        ] {
            let head = Head::chat().with(name, &value);
            assert_eq!(
                identify(&master(), &head),
                Err(DenialKind::InvalidApiKey),
                "{name}: {value:.60}"
            );
        }
    }

    #[test]
    fn contradictory_and_repeated_credentials_are_refused_even_if_one_is_right() {
        let bearer = format!("Bearer {KEY}");
        for lines in [
            [("authorization", &*bearer), ("x-api-key", "other")],
            [("authorization", "Bearer other"), ("x-api-key", KEY)],
            [("x-api-key", KEY), ("api-key", "other")],
            [("x-api-key", KEY), ("api-key", "")],
            [("authorization", &*bearer), ("authorization", &*bearer)],
            [("x-api-key", KEY), ("x-api-key", KEY)],
            [("api-key", KEY), ("api-key", "other")],
        ] {
            let head =
                lines.iter().fold(Head::chat(), |head, (name, value)| head.with(name, value));
            for filter in [
                master(),
                anonymous(None, Accepts::default()),
                anonymous(Some(KEY), Accepts::default()),
            ] {
                assert_eq!(
                    identify(&filter, &head),
                    Err(DenialKind::ConflictingCredentials),
                    "{lines:?} {filter:?}"
                );
            }
        }
    }

    #[test]
    fn anonymous_access_takes_any_key_and_knows_the_right_one() {
        let both = anonymous(Some(KEY), Accepts::default());
        let right = Head::chat().with("x-api-key", KEY);
        let other = Head::chat().with("x-api-key", "sk-anything");
        for filter in [&anonymous(None, Accepts::default()), &both] {
            for head in [&Head::chat(), &other] {
                assert_eq!(identify(filter, head), Ok(CallerKind::Anonymous));
            }
        }
        assert_eq!(
            identify(&anonymous(None, Accepts::default()), &right),
            Ok(CallerKind::Anonymous)
        );
        assert_eq!(identify(&both, &right), Ok(CallerKind::Master));
    }

    #[test]
    fn other_credentials_are_looked_up_where_there_is_a_place_to() {
        let invalid = Err(DenialKind::InvalidApiKey);
        let token = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";
        let accepting = |keys, tokens| {
            Identify::new(false, Some(KEY), Accepts { keys, tokens }).expect("usable settings")
        };
        let both = accepting(true, true);
        assert_eq!(looked_up(&both, "sk-other"), Some((CredentialKind::Key, invalid)));
        assert_eq!(looked_up(&both, token), Some((CredentialKind::Token, invalid)));
        assert_eq!(looked_up(&both, KEY), None, "the master key is known");
        assert_eq!(looked_up(&accepting(true, false), token), None);
        assert_eq!(looked_up(&accepting(false, true), "sk-other"), None);
        let mistyped = Head::chat().with("x-api-key", "sk-sg-0123456789");
        assert_eq!(identify(&both, &mistyped), invalid);
    }

    #[test]
    fn where_none_is_needed_an_unknown_key_is_nobody_s_but_a_bad_one_of_ours_is_refused() {
        let filter = anonymous(None, Accepts { keys: true, tokens: true });
        let unknown = looked_up(&filter, "sk-dummy");
        assert_eq!(unknown, Some((CredentialKind::Key, Ok(CallerKind::Anonymous))));
        let ours = virtual_key::KeyHasher::new(b"pepper", None).issue(&[1; 32]).text;
        let refused = Err(DenialKind::InvalidApiKey);
        assert_eq!(looked_up(&filter, &ours), Some((CredentialKind::Key, refused)));
        let token = looked_up(&filter, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln");
        assert_eq!(token, Some((CredentialKind::Token, refused)));
    }

    #[test]
    fn settings_by_which_nobody_could_call_are_refused() {
        let none = Accepts::default();
        let nobody = Identify::new(false, None, none).expect_err("nobody");
        assert_eq!(nobody, IdentifyError::NobodyCouldCall);
        for some in [Accepts { keys: true, ..none }, Accepts { tokens: true, ..none }] {
            assert!(Identify::new(false, None, some).is_ok());
        }
        for key in ["", "with space", "line\n", "k\u{e9}y", &"k".repeat(8193)] {
            for anonymous in [false, true] {
                assert_eq!(
                    Identify::new(anonymous, Some(key), none).expect_err(key),
                    IdentifyError::UnusableMasterKey
                );
            }
        }
    }

    #[test]
    fn neither_the_key_nor_its_digest_is_printed() {
        assert!(format!("{:?}", master()).contains("MasterKey(..)"));
        let all = Identify::new(false, None, Accepts { keys: true, tokens: true });
        let head = Head::chat().with("x-api-key", KEY);
        let presented =
            all.expect("usable").identify(&head.parts.headers).map(|p| format!("{p:?}"));
        assert_eq!(presented.expect("looked up"), "Credential(Credential { kind: Key, .. })");
    }

    proptest! {
        #[test]
        fn only_the_key_is_let_in_and_no_guess_is_echoed(guess in "[!-~]{1,48}") {
            prop_assume!(guess != KEY);
            let head = Head::chat().with("x-api-key", &guess);
            let denial = master().identify(&head.parts.headers).expect_err("a wrong key");
            prop_assert_eq!(denial.kind(), DenialKind::InvalidApiKey);
            prop_assert_eq!(denial.message(), "the API key is not valid");
            prop_assert_eq!(denial.detail(), None);
        }
    }
}
