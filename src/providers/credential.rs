//! What a call shows a provider beyond the headers that are the same for all calls.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use secrecy::{ExposeSecret, SecretString};
use sluicegate_chat::aws::sigv4::{Credentials, Scope, Unsigned, sign};

use super::token::TokenSource;

/// The service that Amazon's signatures are for.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/welcome.html>
const SERVICE: &str = "bedrock";

/// What a call shows beyond headers that are always the same.
pub enum Credential {
    /// Nothing.
    None,
    /// A token.
    Token(Arc<TokenSource>),
    /// A signature.
    Signature(Box<Signer>),
}

/// Signs calls.
pub struct Signer {
    /// The key's public name.
    pub access_key_id: SecretString,
    /// The key.
    pub secret_access_key: SecretString,
    /// What temporary credentials come with.
    pub session_token: Option<SecretString>,
    /// Such as `eu-central-1`.
    pub region: String,
}

/// Why a call shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The issuer of tokens has given none.
    #[error("there is no access token")]
    NoToken,
    /// The head is not one that can be signed.
    #[error("the request can't be signed")]
    Unsigned,
}

impl Credential {
    /// Puts it into the head of a call with `body`.
    ///
    /// # Errors
    /// There is none.
    pub fn show(&self, head: &mut RequestHeader, body: &[u8]) -> Result<(), CredentialError> {
        match self {
            Self::None => Ok(()),
            Self::Token(source) => {
                let token = source.header().ok_or(CredentialError::NoToken)?;
                head.insert_header(AUTHORIZATION, token).map_err(|_| CredentialError::NoToken)
            }
            Self::Signature(signer) => signer.sign(head, body),
        }
    }
}

impl Signer {
    fn sign(&self, head: &mut RequestHeader, body: &[u8]) -> Result<(), CredentialError> {
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST).ok_or(CredentialError::Unsigned)?;
        let kind = text(CONTENT_TYPE).ok_or(CredentialError::Unsigned)?;
        let request = Unsigned {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: &[],
            headers: &[(HOST.as_str(), host), (CONTENT_TYPE.as_str(), kind)],
            body,
        };
        let credentials = Credentials {
            access_key_id: self.access_key_id.expose_secret(),
            secret_access_key: self.secret_access_key.expose_secret(),
            session_token: self.session_token.as_ref().map(ExposeSecret::expose_secret),
        };
        let scope = Scope { region: &self.region, service: SERVICE };
        for (name, value) in sign(&request, &credentials, scope, jiff::Timestamp::now()) {
            let mut value = HeaderValue::try_from(value).map_err(|_| CredentialError::Unsigned)?;
            value.set_sensitive(true);
            head.insert_header(name, value).map_err(|_| CredentialError::Unsigned)?;
        }
        Ok(())
    }
}

/// Nothing of the secrets.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::Signature(_) => "Signature",
        })
    }
}
