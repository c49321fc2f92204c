//! The credentials of the clouds: accounts that are known here, and tokens that are issued here.

pub(crate) mod entra;
pub(crate) mod google;
pub(crate) mod sigv4;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The accounts that the clouds' APIs know. A kind of credential without an account is refused.
#[derive(Clone, Debug, Default)]
pub struct CloudOptions {
    /// Signs requests for Bedrock.
    pub aws: Option<AwsAccount>,
    /// Gets tokens for Vertex AI.
    pub google: Option<GoogleAccount>,
    /// Gets tokens for Azure OpenAI.
    pub entra: Option<EntraApp>,
}

/// Who signs requests with Signature Version 4.
#[derive(Clone, Default)]
pub struct AwsAccount {
    /// The key's public name.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What temporary credentials come with. `None`: requests must not have one.
    pub session_token: Option<String>,
    /// Session tokens of before: answered with `ExpiredTokenException`.
    pub expired_session_tokens: Vec<String>,
    /// The only region, such as `eu-central-1`.
    pub region: String,
}

/// A service account of Google's.
#[derive(Clone, Debug, Default)]
pub struct GoogleAccount {
    /// `iss` of its assertions.
    pub client_email: String,
    /// The RSA key that verifies its assertions: `PUBLIC KEY` or `RSA PUBLIC KEY` in PEM.
    pub public_key_pem: String,
    /// How long tokens are good for. Zero: they have expired when they are issued.
    pub token_lifetime: Duration,
}

/// An application that is registered with Microsoft Entra.
#[derive(Clone, Default)]
pub struct EntraApp {
    /// The directory: a part of the token endpoint's path.
    pub tenant: String,
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// How long tokens are good for. Zero: they have expired when they are issued.
    pub token_lifetime: Duration,
}

/// Nothing of the secrets.
impl fmt::Debug for AwsAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AwsAccount")
            .field("access_key_id", &self.access_key_id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Nothing of the secret.
impl fmt::Debug for EntraApp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EntraApp")
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Tokens of one issuer, good until they expire.
#[derive(Debug, Default)]
pub(crate) struct Issued {
    serial: AtomicU64,
    expiries: Mutex<HashMap<String, Instant>>,
}

/// Expired tokens are forgotten when there are more.
const MAX_TOKENS: usize = 10_000;

impl Issued {
    pub(crate) fn issue(&self, prefix: &str, lifetime: Duration) -> String {
        let now = Instant::now();
        let token = format!("{prefix}{:016x}", self.serial.fetch_add(1, Ordering::Relaxed));
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        if expiries.len() >= MAX_TOKENS {
            expiries.retain(|_, expiry| *expiry > now);
        }
        // A lifetime beyond the clock's end is no lifetime.
        expiries.insert(token.clone(), now.checked_add(lifetime).unwrap_or(now));
        token
    }

    pub(crate) fn is_good(&self, token: &str) -> bool {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.get(token).is_some_and(|expiry| *expiry > Instant::now())
    }
}

/// A token endpoint's answer: status and JSON.
pub(crate) struct TokenAnswer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) issued: bool,
}

/// A field of a form, `application/x-www-form-urlencoded`. `None` also if it is there twice.
pub(crate) fn field(form: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(form).ok()?;
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let value = values.next()?.replace('+', " ");
    if values.next().is_some() { None } else { decode(&value) }
}

/// Undoes percent-encoding. `None`: it is malformed, or not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        out.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_good_until_they_expire() {
        let issued = Issued::default();
        let good = issued.issue("t", Duration::from_secs(60));
        let expired = issued.issue("t", Duration::ZERO);
        assert_ne!(good, expired);
        assert!(issued.is_good(&good));
        assert!(!issued.is_good(&expired) && !issued.is_good("t"));
    }

    #[test]
    fn forms_and_segments_are_decoded() {
        let form = b"a=1+2&grant=urn%3Ax&b=&twice=1&twice=2&bad=%zz";
        assert_eq!(field(form, "a").as_deref(), Some("1 2"));
        assert_eq!(field(form, "grant").as_deref(), Some("urn:x"));
        assert_eq!(field(form, "b").as_deref(), Some(""));
        for name in ["twice", "bad", "none"] {
            assert_eq!(field(form, name), None, "{name}");
        }
        assert_eq!(decode("%4"), None);
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let aws = AwsAccount { secret_access_key: "hidden".to_owned(), ..AwsAccount::default() };
        let entra = EntraApp { client_secret: "hidden".to_owned(), ..EntraApp::default() };
        assert!(!format!("{aws:?}{entra:?}").contains("hidden"));
    }
}
