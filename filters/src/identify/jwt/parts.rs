//! A token taken apart (RFC 7515 section 3.1): three parts, each in the one way in which it can be
//! written.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::error::{JwtError, Part};
use super::json;

/// Bytes of a token, at most. A credential header takes less still.
const MAX_TOKEN: usize = 16 * 1024;

/// Bytes of a `kid`, at most.
const MAX_KID: usize = 256;

/// What a signed access token calls its type: the two registered media types, with or without their
/// first half (RFC 7515 section 4.1.9, RFC 9068 section 2.1).
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// A token that is well formed. Nothing in it has been verified.
pub(super) struct Parts<'t> {
    /// Header and payload as they were signed.
    pub(super) signed: &'t [u8],
    /// The signature's bytes.
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: Algorithm,
    /// Which key signed it, as the token says.
    pub(super) kid: Option<String>,
    pub(super) claims: Map<String, Value>,
}

/// Whether this is a token rather than a key: three parts of base64url, the first of which begins
/// as a JSON object does that has a letter after its first quote. Says nothing of whether it is
/// valid.
pub fn looks_like_token(credential: &[u8]) -> bool {
    credential.starts_with(b"eyJ")
        && credential.iter().filter(|byte| **byte == b'.').count() == 2
        && credential
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl<'t> Parts<'t> {
    pub(super) fn split(token: &'t [u8]) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::TooLong);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::NotThreeParts);
        };
        match parts.count() {
            0 => {}
            2 => return Err(JwtError::Encrypted),
            _ => return Err(JwtError::NotThreeParts),
        }
        let signed = &token[..header.len() + 1 + payload.len()];
        let Header { algorithm, kid } = Header::read(&object(Part::Header, header)?)?;
        if signature.is_empty() {
            return Err(JwtError::Unsigned);
        }
        let claims = object(Part::Payload, payload)?;
        let signature = decode(Part::Signature, signature)?;
        Ok(Self { signed, signature, algorithm, kid, claims })
    }
}

struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    /// Keys and certificates in the header (`jwk`, `jku`, `x5c`, `x5u`) are not looked at: whoever
    /// writes a token would choose by what it is verified (RFC 8725 sections 2.9 and 3.10).
    fn read(members: &Map<String, Value>) -> Result<Self, JwtError> {
        // Each changes what the rest means, and this gateway understands none of them.
        for name in ["crit", "b64"] {
            if members.contains_key(name) {
                return Err(JwtError::Extension(name));
            }
        }
        let kind = text(members, "typ")?;
        if kind.is_some_and(|kind| !TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known))) {
            return Err(JwtError::Type);
        }
        let content = text(members, "cty")?;
        if content.is_some_and(|content| {
            ["jwt", "application/jwt"].iter().any(|nested| content.eq_ignore_ascii_case(nested))
        }) {
            return Err(JwtError::Nested);
        }
        let kid = text(members, "kid")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID || kid.chars().any(char::is_control)) {
            return Err(JwtError::HeaderMember("kid"));
        }
        let name = text(members, "alg")?.ok_or(JwtError::HeaderMember("alg"))?;
        if name.eq_ignore_ascii_case("none") {
            return Err(JwtError::Unsigned);
        }
        let algorithm = Algorithm::from_name(name).ok_or(JwtError::Algorithm)?;
        Ok(Self { algorithm, kid: kid.map(str::to_owned) })
    }
}

fn text<'m>(
    members: &'m Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'m str>, JwtError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwtError::HeaderMember(name)),
    }
}

fn object(part: Part, encoded: &[u8]) -> Result<Map<String, Value>, JwtError> {
    json::object(&decode(part, encoded)?).map_err(|error| JwtError::Json { part, error })
}

/// No padding, and no bits beyond the last byte: a token has one spelling (RFC 7515 section 2).
fn decode(part: Part, encoded: &[u8]) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JwtError::Encoding(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_told_from_keys_by_their_shape() {
        for token in ["eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln", "eyJ.eyJ.", "eyJ-_.."] {
            assert!(looks_like_token(token.as_bytes()), "{token}");
        }
        for key in [
            "",
            "sk-0123456789abcdef",
            "eyJ",
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0",
            "eyJhbGciOiJFUzI1NiJ9.e30.c2ln.c2ln",
            "eyJhbGciOiJFUzI1NiJ9.e30.c2lnc2l=",
            "eyJhbGciOiJFUzI1NiJ9.e30 .c2ln",
            "abc.def.ghi",
            "EYJ.EYJ.EYJ",
        ] {
            assert!(!looks_like_token(key.as_bytes()), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_part_has_one_spelling(bytes: Vec<u8>, other in "[A-Za-z0-9_-]{0,24}") {
            let encoded = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(decode(Part::Payload, encoded.as_bytes()), Ok(bytes));
            if let Ok(decoded) = decode(Part::Payload, other.as_bytes()) {
                prop_assert_eq!(URL_SAFE_NO_PAD.encode(decoded), other);
            }
        }

        #[test]
        fn nothing_panics(token: Vec<u8>, text in "[A-Za-z0-9_.-]{0,80}") {
            let _ = (Parts::split(&token).is_ok(), Parts::split(text.as_bytes()).is_ok());
        }
    }
}
