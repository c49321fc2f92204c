//! Gets an issuer's key set: over TLS, or from a file.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, LOCATION, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Empty;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sluicegate_filters::identify::jwt::{Algorithm, KeySet, KeySetError, MAX_BYTES};

use super::entry::FILE_LIFETIME;
use super::lifetime;
use crate::config::valid::{JwtIssuer, KeySource};
use crate::http_client::{BodyError, ClientError, FollowingClient, whole_body, with_causes};

/// Redirects that are followed, all within one origin.
const MAX_REDIRECTS: usize = 2;
/// What an issuer's name is followed by to find its description (OpenID Connect Discovery 1.0
/// section 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// An issuer whose keys could never be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There are no authorities to trust.
    #[error("auth.jwt: {issuer}: {error}")]
    Client {
        /// The issuer.
        issuer: String,
        /// Why there are none.
        error: ClientError,
    },
    /// A name that is no URL.
    #[error("auth.jwt: {issuer}: no URL of a description can be made of this name")]
    Name {
        /// The issuer.
        issuer: String,
    },
}

/// Why keys could not be fetched. Holds nothing of what was received.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FetchError {
    #[error("no whole answer came in time")]
    Timeout,
    #[error("{0}")]
    Connection(String),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer redirects {0}")]
    Redirect(&'static str),
    #[error("the answer is larger than 256 KiB")]
    TooLarge,
    #[error("the issuer's description {0}")]
    Description(&'static str),
    #[error(transparent)]
    Keys(#[from] KeySetError),
    #[error("{path}: {message}", path = path.display())]
    File { path: PathBuf, message: String },
}

/// A key set as it was received.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// SHA-256 of the document.
    pub(super) digest: [u8; 32],
    /// How long it says that it is fresh.
    pub(super) lifetime: Option<Duration>,
}

/// Knows how to get one issuer's keys.
pub(super) struct Fetcher {
    issuer: String,
    algorithms: Vec<Algorithm>,
    source: Source,
}

enum Source {
    /// The description is there.
    Discovery(IssuerClient, Uri),
    Url(IssuerClient, Uri),
    File(PathBuf),
}

type IssuerClient = FollowingClient<Empty<Bytes>>;

impl Fetcher {
    pub(super) fn new(issuer: &JwtIssuer) -> Result<Self, SetupError> {
        let name = || issuer.rules.issuer.clone();
        let source = match &issuer.keys {
            KeySource::Discovery(base) => {
                let url =
                    description_of(base).ok_or_else(|| SetupError::Name { issuer: name() })?;
                Source::Discovery(client(issuer)?, url)
            }
            KeySource::Url(url) => Source::Url(client(issuer)?, url.clone()),
            KeySource::File(path) => Source::File(path.clone()),
        };
        Ok(Self { issuer: name(), algorithms: issuer.rules.algorithms.clone(), source })
    }

    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        match &self.source {
            Source::File(path) => {
                let document = read_file(path.clone()).await?;
                self.read(&document, Some(FILE_LIFETIME))
            }
            Source::Url(client, url) => self.fetch_from(client, url.clone()).await,
            Source::Discovery(client, url) => {
                let (_, document) = get(client, url.clone()).await?;
                let keys_at = self.keys_at(url, &document)?;
                self.fetch_from(client, keys_at).await
            }
        }
    }

    async fn fetch_from(&self, client: &IssuerClient, url: Uri) -> Result<Fetched, FetchError> {
        let (headers, document) = get(client, url).await?;
        self.read(&document, lifetime::of(&headers, jiff::Timestamp::now()))
    }

    fn read(&self, document: &[u8], lifetime: Option<Duration>) -> Result<Fetched, FetchError> {
        let keys = KeySet::parse(document, &self.algorithms)?;
        Ok(Fetched { keys, digest: Sha256::digest(document).into(), lifetime })
    }

    /// Where the description says that the keys are. It must be of this very issuer: else whoever
    /// can write one document on a host could speak for all issuers there (OpenID Connect Discovery
    /// 1.0 section 4.3, RFC 8414 section 3.3).
    fn keys_at(&self, description_at: &Uri, document: &[u8]) -> Result<Uri, FetchError> {
        #[derive(Deserialize)]
        struct Description {
            issuer: String,
            jwks_uri: String,
        }
        let description: Description = serde_json::from_slice(document)
            .map_err(|_| FetchError::Description("is not JSON with `issuer` and `jwks_uri`"))?;
        if description.issuer != self.issuer {
            return Err(FetchError::Description("is of another issuer"));
        }
        let url: Uri = description
            .jwks_uri
            .parse()
            .map_err(|_| FetchError::Description("has a `jwks_uri` that is no URL"))?;
        let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        // Plain http only where the configuration allows it for the description: on this machine.
        let safe = url.scheme_str() == Some("https")
            || (url.scheme_str() == Some("http")
                && description_at.scheme_str() == Some("http")
                && description_at.host() == url.host());
        if !plain || !safe {
            return Err(FetchError::Description("has a `jwks_uri` that is not https"));
        }
        Ok(url)
    }
}

/// The URL of the description of the issuer that is called `base`.
fn description_of(base: &Uri) -> Option<Uri> {
    let mut parts = base.clone().into_parts();
    let path = format!("{}{WELL_KNOWN}", base.path().trim_end_matches('/'));
    parts.path_and_query = Some(path.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

fn client(issuer: &JwtIssuer) -> Result<IssuerClient, SetupError> {
    let (KeySource::Discovery(url) | KeySource::Url(url)) = &issuer.keys else {
        return Err(SetupError::Name { issuer: issuer.rules.issuer.clone() });
    };
    FollowingClient::new(url.scheme_str() == Some("https"), issuer.ca.as_deref())
        .map_err(|error| SetupError::Client { issuer: issuer.rules.issuer.clone(), error })
}

/// The document at `url`, or where that origin redirects to within itself.
async fn get(client: &IssuerClient, mut url: Uri) -> Result<(HeaderMap, Bytes), FetchError> {
    let client = client.get().await;
    for _ in 0..=MAX_REDIRECTS {
        let request = Request::get(url.clone())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Connection(error.to_string()))?;
        let response = client
            .request(request)
            .await
            .map_err(|error| FetchError::Connection(with_causes(&error)))?;
        match response.status() {
            StatusCode::OK => {
                let (head, body) = response.into_parts();
                let body = whole_body(body, MAX_BYTES).await.map_err(|error| match error {
                    BodyError::TooLong => FetchError::TooLarge,
                    BodyError::Broken(message) => FetchError::Connection(message),
                })?;
                return Ok((head.headers, body));
            }
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => url = redirected(&url, response.headers())?,
            status => return Err(FetchError::Status(status)),
        }
    }
    Err(FetchError::Redirect("too often"))
}

/// Where an answer from `url` redirects to. Only within the origin: whose keys these are is the
/// origin's to say, not that of whoever it sends us to.
fn redirected(url: &Uri, headers: &HeaderMap) -> Result<Uri, FetchError> {
    let nowhere = || FetchError::Redirect("nowhere");
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(nowhere)?;
    let target: Uri = location.parse().map_err(|_| nowhere())?;
    let mut parts = target.into_parts();
    match (&parts.scheme, &parts.authority) {
        // `//host/path` names another host, whatever a parser makes of it.
        (None, None) if location.starts_with('/') && !location.starts_with("//") => {
            parts.scheme = url.scheme().cloned();
            parts.authority = url.authority().cloned();
        }
        (Some(scheme), Some(authority)) => {
            if Some(scheme) != url.scheme() || Some(authority) != url.authority() {
                return Err(FetchError::Redirect("to another origin"));
            }
        }
        _ => return Err(nowhere()),
    }
    Uri::from_parts(parts).map_err(|_| nowhere())
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, FetchError> {
    let read = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            // Opening a pipe that nobody writes to would wait for ever, so ask first what it is.
            if !std::fs::metadata(&path)?.is_file() {
                return Err(std::io::Error::other("is not a regular file"));
            }
            let mut document = Vec::new();
            // One byte more than allowed tells that there is more.
            let file = std::fs::File::open(path)?;
            file.take(MAX_BYTES as u64 + 1).read_to_end(&mut document)?;
            Ok(document)
        })
    };
    let failed = |message: String| FetchError::File { path, message };
    match read.await {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}
