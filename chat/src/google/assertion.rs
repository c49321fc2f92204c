//! Signs what a service account exchanges for an access token, as Vertex AI needs one.
//!
//! Source: "Using OAuth 2.0 for Server to Server Applications", section "HTTP/REST", of Google's documentation,
//! <https://developers.google.com/identity/protocols/oauth2/service-account>. The assertion is sent as
//! `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=...` to the token endpoint, whose answer holds
//! `access_token` and `expires_in`.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// The scope that Vertex AI asks for.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The seconds that an assertion is good for. Google takes at most an hour.
const LIFE: i64 = 3_600;

/// Why there is no assertion. It tells nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The key is none.
    #[error("the service account's private key is not an RSA key in PEM")]
    Key,
    /// The key does not sign.
    #[error("the service account's private key does not sign")]
    Sign,
}

/// What is asserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Claims<'c> {
    /// The service account's mail address: `client_email` of its key file.
    pub iss: &'c str,
    /// What the token is to be good for.
    pub scope: &'c str,
    /// The token endpoint: `token_uri` of the key file.
    pub aud: &'c str,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// Until when it is good, in seconds since 1970.
    pub exp: i64,
}

impl<'c> Claims<'c> {
    /// For a token with [`SCOPE`], asked for at `time`.
    pub fn new(client_email: &'c str, token_uri: &'c str, time: Timestamp) -> Self {
        let iat = time.as_second();
        Self { iss: client_email, scope: SCOPE, aud: token_uri, iat, exp: iat.saturating_add(LIFE) }
    }

    /// The signed assertion. `private_key` and `key_id` are `private_key` and `private_key_id` of the key file.
    pub fn sign(&self, private_key: &str, key_id: Option<&str>) -> Result<String, Fault> {
        let key = EncodingKey::from_rsa_pem(private_key.as_bytes()).map_err(|_| Fault::Key)?;
        let mut header = Header::new(Algorithm::RS256);
        header.kid = key_id.map(str::to_owned);
        jsonwebtoken::encode(&header, self, &key).map_err(|_| Fault::Sign)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der},
        rsa::{KeyPair, KeySize},
        signature::KeyPair as _,
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use jsonwebtoken::{DecodingKey, Validation};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Read {
        iss: String,
        scope: String,
        iat: i64,
        exp: i64,
    }

    #[test]
    fn assertions_verify() {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let time = "2026-02-01T10:00:00.9Z".parse().unwrap();
        let mail = "gateway@project.iam.gserviceaccount.com";
        let claims = Claims::new(mail, "https://oauth2.googleapis.com/token", time);
        let assertion = claims.sign(&pem, Some("key-1")).unwrap();
        let header = jsonwebtoken::decode_header(&assertion).unwrap();
        assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::RS256, Some("key-1")));
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["https://oauth2.googleapis.com/token"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_rsa_der(pair.public_key().as_ref());
        let read = jsonwebtoken::decode::<Read>(&assertion, &key, &validation).unwrap().claims;
        assert_eq!((&*read.iss, &*read.scope), (mail, SCOPE));
        assert_eq!((read.iat, read.exp), (1_769_940_000, 1_769_943_600));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let claims =
            Claims::new("a@b", "https://oauth2.googleapis.com/token", Timestamp::UNIX_EPOCH);
        for key in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(claims.sign(key, None), Err(Fault::Key), "{key}");
        }
    }
}
