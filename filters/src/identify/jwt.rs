//! Callers by JSON Web Token: signed by a trusted issuer, for this gateway, now (RFC 7519, with the
//! practices of RFC 8725).
//!
//! A token is read in one strict way before anything in it counts: one spelling of each part, JSON
//! without repeated members, no extension that is not understood. Its `iss` then chooses whose keys
//! it is verified with, and nothing else; what it says about keys in its header is not looked at.
//! Which algorithms are possible is the configuration's and the key's to say, never the token's.
//!
//! | module | what it does |
//! |---|---|
//! | `parts` | takes a token apart |
//! | `keys` | an issuer's key set |
//! | `times` | when a token is valid |
//! | `claims` | who the caller is |
//! | `error` | why a token is refused |
//!
//! This is pure: keys and the time are given. Fetching keys, and remembering tokens that have been
//! verified, is for others. Who remembers them should do so by the whole token: an ECDSA signature
//! can be rewritten into another valid one without the key, so neither it nor a part of the token
//! names the token.

mod algorithm;
mod claims;
mod error;
mod json;
mod keys;
mod parts;
mod times;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub use algorithm::Algorithm;
pub use claims::{ClaimMap, ClaimPath, ClaimPathError};
pub use error::{ClaimProblem, JwtError, Part};
pub use json::JsonError;
pub use keys::{KeySet, KeySetError, MAX_BYTES, SkipReason, Skipped};
pub use parts::looks_like_token;

use crate::caller::{Bearer, Caller, CallerKind};
use keys::NoKey;
use parts::Parts;

/// What clocks may differ by unless configured otherwise.
pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
/// What clocks may differ by at most.
pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// An issuer whose tokens are trusted, and what they must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its `iss`, compared exactly (RFC 7519 section 4.1.1). Not empty, and no other issuer's.
    pub issuer: String,
    /// What `aud` must name one of (RFC 7519 section 4.1.3). Not empty: a token for somebody else
    /// must not pass here.
    pub audience: Vec<String>,
    /// What its tokens may be signed with. Not empty.
    pub algorithms: Vec<Algorithm>,
    /// What clocks may differ by, up to [`MAX_LEEWAY`].
    pub leeway: Duration,
    /// Claims that every token must have, beside `iss`, `aud`, `exp` and the user's.
    pub required: Vec<ClaimPath>,
    /// Which claim says what.
    pub claims: ClaimMap,
}

impl Issuer {
    /// An issuer with the defaults.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: vec![audience.into()],
            algorithms: Algorithm::DEFAULT.to_vec(),
            leeway: DEFAULT_LEEWAY,
            required: Vec::new(),
            claims: ClaimMap::default(),
        }
    }
}

/// Settings that tokens can't be verified with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum IssuerError {
    #[error("an issuer's name is empty")]
    Unnamed,
    #[error("the issuer `{0}` is there twice")]
    Repeated(String),
    #[error("the issuer `{0}` has no audience, or an empty one")]
    NoAudience(String),
    #[error("the issuer `{0}` has no algorithms")]
    NoAlgorithms(String),
    #[error("the issuer `{0}` has a leeway over 5 minutes")]
    Leeway(String),
}

/// Verifies the tokens of some issuers.
#[derive(Clone, Debug)]
pub struct Verifier {
    issuers: Vec<Issuer>,
    by_name: HashMap<String, usize>,
}

/// A token that is valid, and what it says.
#[derive(Clone, PartialEq)]
pub struct Verified {
    /// Which of the verifier's issuers vouches for it.
    pub issuer: usize,
    /// Who bears it.
    pub bearer: Bearer,
    /// Its `sub`, where it has one, as the issuer wrote it.
    pub subject: Option<String>,
    /// Until when it is valid, leeway included, in milliseconds since the Unix epoch. From then on
    /// it must not be accepted.
    pub until_ms: i64,
}

impl Verified {
    /// The caller that bears this token. `bearer` is the token's own, with what else is known of
    /// them.
    pub fn into_caller(self, bearer: Bearer) -> Caller {
        Caller::new(CallerKind::Token, bearer)
    }
}

/// Gives the keys of the verifier's issuer of this index; `None` while they are not known.
pub type Keys<'k> = dyn Fn(usize) -> Option<Arc<KeySet>> + 'k;

impl Verifier {
    /// A verifier of these issuers' tokens. An issuer's index is its place in the list.
    ///
    /// # Errors
    ///
    /// [`IssuerError`] for the first issuer whose tokens could not be told, or that would trust too
    /// much.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, IssuerError> {
        let mut by_name = HashMap::new();
        for (index, issuer) in issuers.iter().enumerate() {
            let name = || issuer.issuer.clone();
            if issuer.issuer.is_empty() {
                return Err(IssuerError::Unnamed);
            }
            if issuer.audience.is_empty() || issuer.audience.iter().any(String::is_empty) {
                return Err(IssuerError::NoAudience(name()));
            }
            if issuer.algorithms.is_empty() {
                return Err(IssuerError::NoAlgorithms(name()));
            }
            if issuer.leeway > MAX_LEEWAY {
                return Err(IssuerError::Leeway(name()));
            }
            if by_name.insert(name(), index).is_some() {
                return Err(IssuerError::Repeated(name()));
            }
        }
        Ok(Self { issuers, by_name })
    }

    /// The issuers, in the order of their indexes.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Verifies a token at `now_ms`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// [`JwtError`]: why the token is refused. [`JwtError::worth_refetching`] tells whether newer
    /// keys could change that.
    pub fn verify(&self, token: &[u8], keys: &Keys<'_>, now_ms: i64) -> Result<Verified, JwtError> {
        self.inspect(token, keys, now_ms).map(|(verified, _)| verified)
    }

    /// As [`verify`](Self::verify), with all of the token's claims: for a person to look at.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn inspect(
        &self,
        token: &[u8],
        keys: &Keys<'_>,
        now_ms: i64,
    ) -> Result<(Verified, Map<String, Value>), JwtError> {
        let parts = Parts::split(token)?;
        let index = self.issuer_of(&parts.claims)?;
        let issuer = &self.issuers[index];
        // Before any key is tried, so that a key set with more algorithms lends none of them.
        if !issuer.algorithms.contains(&parts.algorithm) {
            return Err(JwtError::Algorithm);
        }
        let keys = keys(index).ok_or(JwtError::KeysUnavailable { issuer: index })?;
        verify_signature(&parts, &keys, index)?;
        // From here on the claims are the issuer's.
        let claims = parts.claims;
        if !is_for(&claims, &issuer.audience)? {
            return Err(JwtError::Audience);
        }
        let until_ms = times::check(&claims, now_ms, issuer.leeway)?;
        for required in &issuer.required {
            if !claims::is_there(&claims, required) {
                return Err(JwtError::MissingClaim(required.to_string()));
            }
        }
        let bearer = issuer.claims.bearer(&claims)?;
        let subject = claims.get("sub").and_then(Value::as_str).map(str::to_owned);
        Ok((Verified { issuer: index, bearer, subject, until_ms }, claims))
    }

    /// Which issuer a token claims to be of.
    fn issuer_of(&self, claims: &Map<String, Value>) -> Result<usize, JwtError> {
        match claims.get("iss") {
            Some(Value::String(name)) => {
                self.by_name.get(name).copied().ok_or(JwtError::UnknownIssuer)
            }
            Some(Value::Null) | None => Err(JwtError::MissingClaim("iss".to_owned())),
            Some(_) => Err(JwtError::UnknownIssuer),
        }
    }
}

/// Who it is about, not who they are: names of people are not for logs.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("issuer", &self.issuer)
            .field("until_ms", &self.until_ms)
            .finish_non_exhaustive()
    }
}

fn verify_signature(parts: &Parts<'_>, keys: &KeySet, issuer: usize) -> Result<(), JwtError> {
    let kid = parts.kid.as_deref();
    let candidates = keys.candidates(kid, parts.algorithm).map_err(|none| match none {
        NoKey::Unknown => JwtError::UnknownKey { issuer, kid: parts.kid.clone() },
        NoKey::OtherAlgorithm => JwtError::KeyAlgorithm,
        NoKey::TooMany => JwtError::UnnamedKey,
    })?;
    let signed = |key: &&keys::Key| key.verifies(parts.algorithm, parts.signed, &parts.signature);
    match candidates.iter().any(signed) {
        true => Ok(()),
        false => Err(JwtError::Signature { issuer, named: kid.is_some() }),
    }
}

/// Whether `aud`, one text or a list of them, names one of `audience`.
fn is_for(claims: &Map<String, Value>, audience: &[String]) -> Result<bool, JwtError> {
    let ours = |value: &Value| value.as_str().map(|named| audience.iter().any(|own| own == named));
    match claims.get("aud") {
        Some(Value::Array(items)) => {
            let named: Option<Vec<bool>> = items.iter().map(ours).collect();
            Ok(named.ok_or(JwtError::Audience)?.contains(&true))
        }
        Some(Value::Null) | None => Err(JwtError::MissingClaim("aud".to_owned())),
        Some(value) => ours(value).ok_or(JwtError::Audience),
    }
}
