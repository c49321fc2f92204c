//! Access tokens of providers that take no key: asked for in the background, replaced before they end.
//!
//! Google's service accounts exchange an assertion that they have signed, Entra's applications their secret
//! (RFC 7523 section 2.1, RFC 6749 section 4.4). A request never asks for one; it waits only while there has been none yet.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sluicegate_chat::google::assertion::Claims;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::http_client::{BodyError, ClientError, HttpClient, client, whole_body, with_causes};

/// For one exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer.
const MOST: usize = 64 * 1024;
/// A token is replaced when this part of its life is over, so that there is time for more than one try.
const REPLACE_AT: f64 = 0.75;
/// By how much instances of the gateway differ, so that they don't ask all at once.
const JITTER: f64 = 0.1;
/// The life of a token whose issuer tells none (RFC 6749 section 5.1 recommends that it does).
const UNTOLD_LIFE: Duration = Duration::from_secs(5 * 60);
/// The wait after a failure, which doubles with each more, and its most.
const BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The least time between two exchanges because of refused tokens.
const GAP: Duration = Duration::from_secs(10);

/// What a token is asked for with.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token endpoint.
    pub endpoint: Uri,
    /// Who asks.
    pub by: GrantedBy,
}

/// Who asks for a token.
#[derive(Clone)]
pub enum GrantedBy {
    /// A service account of Google's.
    ServiceAccount {
        /// Its mail address.
        client_email: String,
        /// The private key's name.
        key_id: Option<String>,
        /// The private key, an RSA key in PEM.
        private_key: SecretString,
    },
    /// An application in Entra.
    Application {
        /// Its identifier.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
        /// What the token is to be good for.
        scope: &'static str,
    },
}

impl GrantedBy {
    /// What tells it from others, secrets as their hashes.
    fn identity(&self) -> (&str, [u8; 32]) {
        let (name, secret) = match self {
            Self::ServiceAccount { client_email, private_key, .. } => (client_email, private_key),
            Self::Application { client_id, client_secret, .. } => (client_id, client_secret),
        };
        (name, Sha256::digest(secret.expose_secret()).into())
    }
}

impl PartialEq for GrantedBy {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.identity() == other.identity()
    }
}

impl Eq for GrantedBy {}

/// Nothing of the secrets.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.by.identity().0;
        f.debug_struct("Grant")
            .field("endpoint", &self.endpoint)
            .field("by", &name)
            .finish_non_exhaustive()
    }
}

/// Why there is no token. Holds nothing of what was sent or received but the issuer's word for it.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("no whole answer came in time")]
    Timeout,
    #[error("{0}")]
    Connection(String),
    #[error("the issuer refuses with status {status}{}", code.as_ref().map(|code| format!(": {code}")).unwrap_or_default())]
    Refused { status: StatusCode, code: Option<String> },
    #[error("the answer is not one with `access_token`")]
    Malformed,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Assertion(#[from] sluicegate_chat::google::assertion::Fault),
}

/// A token, as it is sent.
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// A token that is always at hand.
pub struct TokenSource {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    grant: Grant,
    client: HttpClient<Full<Bytes>>,
    current: ArcSwapOption<Token>,
    /// Whether there has been an answer to the first exchange, good or bad.
    asked: watch::Sender<bool>,
    /// A provider has refused the token.
    refused: Notify,
}

impl Drop for TokenSource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TokenSource {
    fn start(grant: Grant, io: &Handle) -> Result<Self, ClientError> {
        let https = grant.endpoint.scheme_str() == Some("https");
        let shared = Arc::new(Shared {
            client: client(https, None)?,
            grant,
            current: ArcSwapOption::empty(),
            asked: watch::Sender::new(false),
            refused: Notify::new(),
        });
        let task = io.spawn(keep(shared.clone())).abort_handle();
        Ok(Self { shared, task })
    }

    /// The value of `authorization`. `None`: there is no token that is good.
    pub fn header(&self) -> Option<HeaderValue> {
        let token = self.shared.current.load();
        token.as_ref().filter(|token| Instant::now() < token.until).map(|t| t.header.clone())
    }

    /// Waits for the first exchange, no longer than `patience`. Returns whether there is a token.
    pub async fn ready(&self, patience: Duration) -> bool {
        if self.header().is_some() {
            return true;
        }
        let mut asked = self.shared.asked.subscribe();
        // The sender lives as long as this does.
        let _ = tokio::time::timeout(patience, asked.wait_for(|asked| *asked)).await;
        self.header().is_some()
    }

    /// Notes that a provider has refused the token, for which another is asked for.
    pub fn refused(&self) {
        self.shared.refused.notify_one();
    }
}

/// All tokens in use, so that a reload keeps what there is.
pub struct AccessTokens {
    io: Handle,
    sources: Mutex<HashMap<String, Vec<Weak<TokenSource>>>>,
}

impl AccessTokens {
    /// Exchanges live on `io`.
    pub fn new(io: Handle) -> Self {
        Self { io, sources: Mutex::default() }
    }

    /// The token that is asked for with `grant`.
    ///
    /// # Errors
    /// It can't be asked for: there are no authorities to trust.
    pub fn get(&self, grant: Grant) -> Result<Arc<TokenSource>, ClientError> {
        let mut all = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, sources| {
            sources.retain(|source| source.strong_count() > 0);
            !sources.is_empty()
        });
        let sources = all.entry(grant.endpoint.to_string()).or_default();
        let mut known = sources.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.shared.grant == grant) {
            return Ok(known);
        }
        let source = Arc::new(TokenSource::start(grant, &self.io)?);
        sources.push(Arc::downgrade(&source));
        Ok(source)
    }
}

/// Asks for tokens for as long as somebody holds the source.
async fn keep(shared: Arc<Shared>) {
    let random = RandomState::new();
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        let asked = tokio::time::timeout(TIMEOUT, shared.exchange()).await;
        let wait = match asked.unwrap_or(Err(TokenError::Timeout)) {
            Ok((header, life)) => {
                failures = 0;
                shared.current.store(Some(Arc::new(Token { header, until: began + life })));
                life.mul_f64(REPLACE_AT - JITTER * fraction(&random, began))
            }
            Err(error) => {
                let wait = BACKOFF.saturating_mul(1 << failures.min(10)).min(MAX_BACKOFF);
                failures = failures.saturating_add(1);
                tracing::warn!(
                    endpoint = %shared.grant.endpoint,
                    identity = %shared.grant.by.identity().0,
                    %error,
                    "no access token"
                );
                wait.mul_f64(1.0 - JITTER * fraction(&random, began))
            }
        };
        shared.asked.send_replace(true);
        let refused = async {
            shared.refused.notified().await;
            tokio::time::sleep_until(began + GAP).await;
        };
        tokio::select! {
            () = tokio::time::sleep(wait.max(Duration::from_millis(100))) => {}
            () = refused => {}
        }
    }
}

/// A number from 0 to 1.
fn fraction(random: &RandomState, at: Instant) -> f64 {
    let bits = u16::try_from(random.hash_one(at.elapsed()) >> 48).unwrap_or(0);
    f64::from(bits) / f64::from(u16::MAX)
}

impl Shared {
    async fn exchange(&self) -> Result<(HeaderValue, Duration), TokenError> {
        let request = Request::post(self.grant.endpoint.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(USER_AGENT, concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(self.form()?))
            .map_err(|error| TokenError::Connection(error.to_string()))?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| TokenError::Connection(with_causes(&error)))?;
        let (head, body) = response.into_parts();
        let body = whole_body(body, MOST).await?;
        if head.status != StatusCode::OK {
            return Err(TokenError::Refused { status: head.status, code: code(&body) });
        }
        read(&body).ok_or(TokenError::Malformed)
    }

    fn form(&self) -> Result<String, TokenError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        match &self.grant.by {
            GrantedBy::ServiceAccount { client_email, key_id, private_key } => {
                let audience = self.grant.endpoint.to_string();
                let claims = Claims::new(client_email, &audience, jiff::Timestamp::now());
                let assertion = claims.sign(private_key.expose_secret(), key_id.as_deref())?;
                form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                    .append_pair("assertion", &assertion);
            }
            GrantedBy::Application { client_id, client_secret, scope } => {
                form.append_pair("grant_type", "client_credentials")
                    .append_pair("client_id", client_id)
                    .append_pair("client_secret", client_secret.expose_secret())
                    .append_pair("scope", scope);
            }
        }
        Ok(form.finish())
    }
}

/// The error's word (RFC 6749 section 5.2), where it is one.
fn code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Told {
        error: String,
    }
    let told: Told = serde_json::from_slice(body).ok()?;
    let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (told.error.len() <= 64 && told.error.bytes().all(word)).then_some(told.error)
}

/// The header's value, and for how long it is good.
fn read(body: &[u8]) -> Option<(HeaderValue, Duration)> {
    #[derive(Deserialize)]
    struct Told {
        access_token: String,
        expires_in: Option<u64>,
        token_type: Option<String>,
    }
    let told: Told = serde_json::from_slice(body).ok()?;
    if told.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return None;
    }
    let token = SecretString::from(told.access_token);
    if token.expose_secret().is_empty() {
        return None;
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
    header.set_sensitive(true);
    // A day at most: clocks and keys change.
    let life =
        told.expires_in.map_or(UNTOLD_LIFE, |seconds| Duration::from_secs(seconds.min(86_400)));
    Some((header, life))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let (header, life) =
            read(br#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#).unwrap();
        assert_eq!((header.to_str().unwrap(), life.as_secs()), ("Bearer t", 3599));
        assert!(header.is_sensitive());
        assert_eq!(read(br#"{"access_token":"t"}"#).unwrap().1, UNTOLD_LIFE);
        let endless = format!(r#"{{"access_token":"t","expires_in":{}}}"#, u64::MAX);
        assert_eq!(read(endless.as_bytes()).unwrap().1.as_secs(), 86_400);
        for bad in [
            r#"{"access_token":"","expires_in":1}"#,
            r#"{"access_token":"a\nb","expires_in":1}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
            r#"{"access_token":"t","expires_in":-1}"#,
            r#"{"expires_in":1}"#,
            "<html>",
            "",
        ] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_a_word_of_an_error_is_told() {
        assert_eq!(code(br#"{"error":"invalid_client"}"#).as_deref(), Some("invalid_client"));
        assert_eq!(code(br#"{"error":"the secret was s3cret"}"#), None);
        assert_eq!(code(b"<html>"), None);
    }

    #[test]
    fn nothing_shows_a_secret() {
        let by = GrantedBy::Application {
            client_id: "app".into(),
            client_secret: "hush".into(),
            scope: "s",
        };
        let grant = Grant { endpoint: Uri::from_static("https://e.example/token"), by };
        assert_eq!(format!("{grant:?}").matches("hush").count(), 0);
        assert!(format!("{grant:?}").contains("app"));
    }
}
