//! Why a token is refused.

use std::fmt;

use super::json::JsonError;
use crate::denial::{Denial, DenialKind};

/// Why a token is refused. Messages are for the caller: they hold nothing of the token but the
/// names of claims that the configuration names too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Over 16 KiB.
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// No header, payload and signature with a dot between each.
    #[error("the token does not have three parts")]
    NotThreeParts,
    /// Five parts (RFC 7516 section 3.1).
    #[error("the token is encrypted; send one that is signed only")]
    Encrypted,
    /// A part with padding, foreign characters, or bits beyond its last byte.
    #[error("the token's {0} is not base64url without padding")]
    Encoding(Part),
    /// A part that is no unambiguous JSON object.
    #[error("the token's {part} is unusable: {error}")]
    Json {
        /// Which part.
        part: Part,
        /// What is wrong with it.
        error: JsonError,
    },
    /// Algorithm `none`, or an empty signature.
    #[error("the token is not signed")]
    Unsigned,
    /// Not one of the issuer's, or none that this gateway knows.
    #[error("the token's algorithm is not one that its issuer may use")]
    Algorithm,
    /// `crit` or `b64` in the header.
    #[error("the token's header has `{0}`, an extension that this gateway does not know")]
    Extension(&'static str),
    /// A header member of another type than it must have, or an absent `alg`.
    #[error("the token's header has no usable `{0}`")]
    HeaderMember(&'static str),
    /// A `typ` other than those of access tokens.
    #[error(
        "the token is of another type than an access token: its `typ` is neither JWT nor at+jwt"
    )]
    Type,
    /// A token within the token.
    #[error("the token holds another token")]
    Nested,
    /// `iss` is not one of the configured issuers.
    #[error("the token's issuer is not one that this gateway trusts")]
    UnknownIssuer,
    /// The issuer's keys are not known, and not by the token's fault.
    #[error("the keys of the token's issuer can't be had at the moment")]
    KeysUnavailable {
        /// Which of the verifier's issuers.
        issuer: usize,
    },
    /// The issuer has no such key, as far as is known.
    #[error("the token is signed with a key that its issuer does not publish")]
    UnknownKey {
        /// Which of the verifier's issuers.
        issuer: usize,
        /// The key's name, where the token has one. From the token, so it may be anything
        /// printable.
        kid: Option<String>,
    },
    /// The named key is for other algorithms.
    #[error("the key that the token names is not for its algorithm")]
    KeyAlgorithm,
    /// No `kid`, and more keys than are tried.
    #[error("the token does not name its key, and its issuer has too many to try them all")]
    UnnamedKey,
    /// None of the keys that it could be signed with has signed it.
    #[error("the token's signature does not verify with any key of its issuer")]
    Signature {
        /// Which of the verifier's issuers.
        issuer: usize,
        /// Whether the token says by which key.
        named: bool,
    },
    /// A claim that the token must have is absent, empty or null.
    #[error("the token has no claim `{0}`")]
    MissingClaim(String),
    /// `exp`, `nbf` or `iat` is no time.
    #[error("the token's `{0}` is not a time in seconds")]
    NotATime(&'static str),
    /// `exp` has passed, leeway included.
    #[error("the token expired {} ago", Span(*.ago_ms))]
    Expired {
        /// Milliseconds since `exp`.
        ago_ms: u64,
    },
    /// `nbf` has not come, leeway included.
    #[error("the token is not valid for another {}", Span(*.in_ms))]
    NotYetValid {
        /// Milliseconds until `nbf`.
        in_ms: u64,
    },
    /// `iat` has not come, leeway included.
    #[error("the token was issued {} in the future", Span(*.in_ms))]
    IssuedInFuture {
        /// Milliseconds until `iat`.
        in_ms: u64,
    },
    /// `aud` names none of the configured audiences.
    #[error("the token's audience is not one of this gateway's")]
    Audience,
    /// A claim with a value that it can't have.
    #[error("the token's claim `{name}` {problem}")]
    Claim {
        /// The claim, as the configuration names it.
        name: String,
        /// What is wrong with its value.
        problem: ClaimProblem,
    },
}

impl JwtError {
    /// The issuer whose keys should be fetched before the token is refused: a new key may have
    /// signed it. `None` where new keys would change nothing.
    pub fn worth_refetching(&self) -> Option<usize> {
        match self {
            Self::KeysUnavailable { issuer }
            | Self::UnknownKey { issuer, .. }
            | Self::Signature { issuer, named: false } => Some(*issuer),
            _ => None,
        }
    }

    /// What the caller is answered.
    pub fn kind(&self) -> DenialKind {
        match self {
            Self::Expired { .. } => DenialKind::TokenExpired,
            Self::KeysUnavailable { .. } => DenialKind::IdentityUnavailable,
            _ => DenialKind::InvalidToken,
        }
    }
}

impl From<JwtError> for Denial {
    fn from(error: JwtError) -> Self {
        let denial = Self::new(error.kind(), error.to_string());
        match error {
            JwtError::UnknownKey { kid: Some(kid), .. } => {
                denial.with_detail(format!("kid {kid:?}"))
            }
            _ => denial,
        }
    }
}

/// A part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Part {
    Header,
    Payload,
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// What keeps a claim's value from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ClaimProblem {
    #[error("is not text")]
    NotText,
    #[error("is neither a list of texts nor one text")]
    NotTexts,
    #[error("is empty")]
    Empty,
    #[error("is longer than 256 bytes")]
    TooLong,
    #[error("has more than 256 entries")]
    TooMany,
    #[error("has a control character in it")]
    Control,
    #[error("is neither text, a whole number, true or false, nor a list of texts")]
    Unexposable,
}

/// A span of time in its largest whole unit.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (count, unit) = match seconds {
            0..120 => (seconds, "second"),
            120..7200 => (seconds / 60, "minute"),
            7200..172_800 => (seconds / 3600, "hour"),
            _ => (seconds / 86_400, "day"),
        };
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_a_unit_that_people_read() {
        for (ms, expected) in [
            (0, "0 seconds"),
            (1_999, "1 second"),
            (40_000, "40 seconds"),
            (119_999, "119 seconds"),
            (120_000, "2 minutes"),
            (7_200_000, "2 hours"),
            (172_800_000, "2 days"),
            (u64::MAX, "213503982334 days"),
        ] {
            assert_eq!(Span(ms).to_string(), expected);
        }
    }

    #[test]
    fn only_what_new_keys_could_cure_is_worth_fetching_them() {
        let named = |named| JwtError::Signature { issuer: 3, named };
        assert_eq!(named(false).worth_refetching(), Some(3));
        assert_eq!(named(true).worth_refetching(), None);
        assert_eq!(JwtError::KeysUnavailable { issuer: 1 }.worth_refetching(), Some(1));
        assert_eq!(JwtError::UnknownKey { issuer: 2, kid: None }.worth_refetching(), Some(2));
        assert_eq!(JwtError::Audience.worth_refetching(), None);
    }

    #[test]
    fn a_refusal_becomes_a_401_or_where_it_is_not_the_tokens_fault_a_503() {
        let denial = Denial::from(JwtError::Expired { ago_ms: 40_000 });
        assert_eq!(denial.to_string(), "token_expired: the token expired 40 seconds ago");
        let denial = Denial::from(JwtError::Audience);
        assert_eq!((denial.code(), denial.status().as_u16()), ("invalid_token", 401));
        let denial = Denial::from(JwtError::KeysUnavailable { issuer: 0 });
        assert_eq!((denial.code(), denial.status().as_u16()), ("identity_unavailable", 503));
        let kid = Some("k\"1".to_owned());
        let denial = Denial::from(JwtError::UnknownKey { issuer: 0, kid });
        assert!(!denial.message().contains("k\""), "{denial}");
        assert_eq!(denial.detail(), Some(r#"kid "k\"1""#));
    }
}
