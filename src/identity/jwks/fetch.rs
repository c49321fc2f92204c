//! Gets an issuer's key set: over TLS, or from a file.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, LOCATION, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sluicegate_filters::identify::jwt::{Algorithm, KeySet, KeySetError, MAX_BYTES};

use super::entry::FILE_LIFETIME;
use super::lifetime;
use crate::config::valid::{JwtIssuer, KeySource};

/// Redirects that are followed, all within one origin.
const MAX_REDIRECTS: usize = 2;
/// What an issuer's name is followed by to find its description (OpenID Connect Discovery 1.0
/// section 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// An issuer whose keys could never be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of authorities.
    #[error("auth.jwt: {issuer}: ca: {path}: {message}", path = path.display())]
    Ca {
        /// The issuer.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// This machine trusts nobody.
    #[error(
        "auth.jwt: {issuer}: this machine has no public authorities ({message}); install them, or \
         set `ca`"
    )]
    NoAuthorities {
        /// The issuer.
        issuer: String,
        /// What the system says.
        message: String,
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
    Discovery(HttpClient, Uri),
    Url(HttpClient, Uri),
    File(PathBuf),
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

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

    async fn fetch_from(&self, client: &HttpClient, url: Uri) -> Result<Fetched, FetchError> {
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

/// A client that keeps no connection: it is used once in minutes.
fn client(issuer: &JwtIssuer) -> Result<HttpClient, SetupError> {
    let (KeySource::Discovery(url) | KeySource::Url(url)) = &issuer.keys else {
        return Err(SetupError::Name { issuer: issuer.rules.issuer.clone() });
    };
    let https = url.scheme_str() == Some("https");
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions();
    let failed = |message: &dyn ToString| SetupError::NoAuthorities {
        issuer: issuer.rules.issuer.clone(),
        message: message.to_string(),
    };
    let builder = builder.map_err(|error| failed(&error))?;
    let tls = match &issuer.ca {
        Some(path) => builder.with_root_certificates(authorities(&issuer.rules.issuer, path)?),
        // Without TLS no authority is asked, so none needs to be there.
        None if !https => builder.with_root_certificates(RootCertStore::empty()),
        None => builder.with_native_roots().map_err(|error| failed(&error))?,
    };
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth());
    let connector = if https { connector.https_only() } else { connector.https_or_http() };
    let connector = connector.enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

fn authorities(issuer: &str, path: &Path) -> Result<RootCertStore, SetupError> {
    let refused = |message: &dyn ToString| SetupError::Ca {
        issuer: issuer.to_owned(),
        path: path.to_owned(),
        message: message.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))? {
        let certificate = certificate.map_err(|error| refused(&error))?;
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    if roots.is_empty() {
        return Err(refused(&"the file holds no PEM certificate"));
    }
    Ok(roots)
}

/// The document at `url`, or where that origin redirects to within itself.
async fn get(client: &HttpClient, mut url: Uri) -> Result<(HeaderMap, Bytes), FetchError> {
    for _ in 0..=MAX_REDIRECTS {
        let request = Request::get(url.clone())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Connection(error.to_string()))?;
        let response =
            client.request(request).await.map_err(|error| FetchError::Connection(whole(&error)))?;
        match response.status() {
            StatusCode::OK => {
                let (head, body) = response.into_parts();
                let body = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| {
                    match error.downcast_ref::<LengthLimitError>() {
                        Some(_) => FetchError::TooLarge,
                        None => FetchError::Connection(whole(&*error)),
                    }
                })?;
                return Ok((head.headers, body.to_bytes()));
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

/// An error with its causes: the outermost alone says "client error".
fn whole(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
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
