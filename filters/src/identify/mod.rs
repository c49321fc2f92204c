//! Who is calling: one credential, from any of the headers that clients use for it.
//!
//! A request that carries two different credentials is refused: which one counts would be our
//! choice, and another part of the system could choose otherwise.

pub mod jwt;

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::request::Parts;
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
pub enum Identify {
    /// Everybody is let in, whatever credential they send: clients often cannot send none.
    Anonymous,
    /// Only the holder of the master key is let in.
    MasterKey(MasterKey),
    /// Everybody is let in, and the holder of the master key is known as such.
    AnonymousOrMasterKey(MasterKey),
}

/// Nobody could be identified with these settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    #[error("without a master key and without anonymous access nobody could call the gateway")]
    NobodyCouldCall,
    #[error(
        "the master key must be 1 to 8192 visible ASCII characters, since it is sent in a header"
    )]
    UnusableMasterKey,
}

impl Identify {
    /// Builds the filter from the two settings there are.
    ///
    /// # Errors
    ///
    /// [`IdentifyError`] if nobody could ever call, or if no client could send the key.
    pub fn new(anonymous: bool, master_key: Option<&str>) -> Result<Self, IdentifyError> {
        match (anonymous, master_key.map(MasterKey::new).transpose()?) {
            (true, None) => Ok(Self::Anonymous),
            (false, Some(key)) => Ok(Self::MasterKey(key)),
            (true, Some(key)) => Ok(Self::AnonymousOrMasterKey(key)),
            (false, None) => Err(IdentifyError::NobodyCouldCall),
        }
    }

    /// Says who sends a request.
    ///
    /// # Errors
    ///
    /// `missing_api_key` and `invalid_api_key` (401), `conflicting_credentials` (400). No message
    /// holds any part of a credential.
    pub fn identify(&self, head: &Parts) -> Result<Arc<Caller>, Denial> {
        match self {
            Self::Anonymous => optional(&head.headers).map(|_| Caller::anonymous()),
            Self::MasterKey(key) => match credential(&head.headers)? {
                Some(presented) if key.matches(presented) => Ok(Caller::master()),
                Some(_) => Err(Denial::new(DenialKind::InvalidApiKey, "the API key is not valid")),
                None => Err(Denial::new(
                    DenialKind::MissingApiKey,
                    "an API key is required: send Authorization: Bearer, x-api-key or api-key",
                )),
            },
            Self::AnonymousOrMasterKey(key) => Ok(match optional(&head.headers)? {
                Some(presented) if key.matches(presented) => Caller::master(),
                _ => Caller::anonymous(),
            }),
        }
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
    fn matches(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        presented.ct_eq(&self.digest).into()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// The one credential of a request, or `None` if it has none.
fn credential(headers: &HeaderMap) -> Result<Option<&[u8]>, Denial> {
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
    if !is_credential(first) {
        return Err(Denial::new(
            DenialKind::InvalidApiKey,
            "the API key must be 1 to 8192 visible ASCII characters",
        ));
    }
    Ok(Some(first))
}

/// As [`credential`], where none is needed: one that can't be a key, such as an SDK's empty one, is
/// none. Contradictory ones stay refused, as whose request it is is in doubt all the same.
fn optional(headers: &HeaderMap) -> Result<Option<&[u8]>, Denial> {
    match credential(headers) {
        Err(denial) if denial.kind() == DenialKind::InvalidApiKey => Ok(None),
        result => result,
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
        Identify::new(false, Some(KEY)).expect("a usable key")
    }

    fn identify(filter: &Identify, head: &Head) -> Result<CallerKind, DenialKind> {
        filter.identify(&head.parts).map(|caller| caller.kind()).map_err(|denial| denial.kind())
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
                Identify::Anonymous,
                Identify::new(true, Some(KEY)).expect("a usable key"),
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
        let both = Identify::new(true, Some(KEY)).expect("a usable key");
        let right = Head::chat().with("x-api-key", KEY);
        let other = Head::chat().with("x-api-key", "sk-anything");
        for filter in [&Identify::Anonymous, &both] {
            for head in [&Head::chat(), &other] {
                assert_eq!(identify(filter, head), Ok(CallerKind::Anonymous));
            }
        }
        assert_eq!(identify(&Identify::Anonymous, &right), Ok(CallerKind::Anonymous));
        assert_eq!(identify(&both, &right), Ok(CallerKind::Master));
    }

    #[test]
    fn settings_by_which_nobody_could_call_are_refused() {
        assert_eq!(Identify::new(false, None).expect_err("nobody"), IdentifyError::NobodyCouldCall);
        for key in ["", "with space", "line\n", "k\u{e9}y", &"k".repeat(8193)] {
            for anonymous in [false, true] {
                assert_eq!(
                    Identify::new(anonymous, Some(key)).expect_err(key),
                    IdentifyError::UnusableMasterKey
                );
            }
        }
    }

    #[test]
    fn neither_the_key_nor_its_digest_is_printed() {
        assert_eq!(format!("{:?}", master()), "MasterKey(MasterKey(..))");
    }

    proptest! {
        #[test]
        fn only_the_key_is_let_in_and_no_guess_is_echoed(guess in "[!-~]{1,48}") {
            prop_assume!(guess != KEY);
            let head = Head::chat().with("x-api-key", &guess);
            let denial = master().identify(&head.parts).expect_err("a wrong key");
            prop_assert_eq!(denial.kind(), DenialKind::InvalidApiKey);
            prop_assert_eq!(denial.message(), "the API key is not valid");
            prop_assert_eq!(denial.detail(), None);
        }
    }
}
