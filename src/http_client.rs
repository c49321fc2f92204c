//! HTTP clients besides Pingora's: for what is asked now and then, and never for a request (key sets, access
//! tokens, the admin API on the command line), and for MCP servers.

mod keeping;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use sluicegate_files::{Current, Look, read_pem};

pub use self::keeping::{KeepingClient, Shown, keeping_client};
use crate::tls::TlsError;

/// A client for requests with bodies of `B`.
pub type HttpClient<B> = Client<HttpsConnector<HttpConnector>, B>;

/// A client that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of authorities.
    #[error("ca: {path}: {message}", path = path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// What is shown to servers.
    #[error("{0}")]
    Shown(TlsError),
    /// This machine trusts nobody.
    #[error("this machine has no public authorities ({message}); install them, or set `ca`")]
    NoAuthorities {
        /// What the system says.
        message: String,
    },
}

/// Why an answer's body is not there.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed.
    #[error("the answer is too long")]
    TooLong,
    /// It broke off.
    #[error("{0}")]
    Broken(String),
}

/// A client that keeps no connection: it is used once in minutes. With `https` it speaks nothing else; `ca`
/// holds authorities to trust instead of the system's.
///
/// # Errors
/// There are no authorities.
pub fn client<B>(https: bool, ca: Option<&Path>) -> Result<HttpClient<B>, ClientError>
where
    B: Body + Send,
    B::Data: Send,
{
    let pem = ca.map(read).transpose()?;
    trusting(https, ca.zip(pem.as_deref()))
}

fn trusting<B>(https: bool, ca: Option<(&Path, &[u8])>) -> Result<HttpClient<B>, ClientError>
where
    B: Body + Send,
    B::Data: Send,
{
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls(https, ca, None)?);
    let connector = if https { connector.https_only() } else { connector.https_or_http() };
    let connector = connector.enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

fn tls(
    https: bool,
    ca: Option<(&Path, &[u8])>,
    pair: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, ClientError> {
    let none = |message: &dyn ToString| ClientError::NoAuthorities { message: message.to_string() };
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| none(&error))?;
    let tls = match ca {
        Some((path, pem)) => builder.with_root_certificates(roots(path, pem)?),
        // Without TLS no authority is asked, so none needs to be there.
        None if !https => builder.with_root_certificates(RootCertStore::empty()),
        None => builder.with_native_roots().map_err(|error| none(&error))?,
    };
    Ok(match pair {
        Some(pair) => tls.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
        None => tls.with_no_client_auth(),
    })
}

/// A [`client`] that trusts whom a file names at the time.
pub struct FollowingClient<B> {
    https: bool,
    ca: Option<PathBuf>,
    current: Mutex<Current<HttpClient<B>>>,
}

impl<B> FollowingClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    /// As [`client`].
    ///
    /// # Errors
    /// There are no authorities.
    pub fn new(https: bool, ca: Option<&Path>) -> Result<Self, ClientError> {
        let pem = ca.map(read).transpose()?;
        let current = Mutex::new(Current::new(pem, |pem| trusting(https, ca.zip(pem)))?);
        Ok(Self { https, ca: ca.map(Path::to_owned), current })
    }

    /// The client of now. Reads the file, on a thread for that. A file that can't be used is told, and
    /// whom it named before is trusted.
    pub async fn get(&self) -> HttpClient<B> {
        let Some(path) = &self.ca else { return self.current().it().clone() };
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || read(&file).map(Some)).await;
        let mut current = self.current();
        // Otherwise the runtime is on its way out.
        if let Ok(read) = read {
            match current.look(read, |pem| trusting(self.https, self.ca.as_deref().zip(pem))) {
                Look::Same => {}
                Look::Changed => {
                    tracing::info!(path = %path.display(), "other authorities in use");
                }
                Look::Refused(error) => {
                    tracing::error!(error, "authorities refused, those before stay in use");
                }
            }
        }
        current.it().clone()
    }

    fn current(&self) -> MutexGuard<'_, Current<HttpClient<B>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of authorities as it is now.
fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    read_pem(path).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, why: &dyn ToString) -> ClientError {
    ClientError::Ca { path: path.to_owned(), message: why.to_string() }
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(path, &error))?;
        roots.add(certificate).map_err(|error| refused(path, &error))?;
    }
    if roots.is_empty() {
        return Err(refused(path, &"holds no PEM certificate"));
    }
    Ok(roots)
}

/// All of an answer's body, of `most` bytes at most.
///
/// # Errors
/// It is longer, or breaks off.
pub async fn whole_body(body: Incoming, most: usize) -> Result<Bytes, BodyError> {
    let body = Limited::new(body, most).collect().await;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => BodyError::TooLong,
        None => BodyError::Broken(with_causes(&*error)),
    })?;
    Ok(body.to_bytes())
}

/// An error with its causes: the outermost alone says "client error".
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// How long a server asks to be left alone.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1_000.0).ok();
    }
    let after = text("retry-after")?;
    if let Ok(seconds) = after.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = jiff::fmt::rfc2822::parse(after).ok()?.timestamp();
    Duration::try_from(until.duration_since(jiff::Timestamp::now())).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_wait_is_read_as_servers_write_it() {
        for (name, value, expected) in [
            ("retry-after", "2", Some(2_000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after-ms", "1500", Some(1_500)),
            ("retry-after", "-1", None),
            ("retry-after", "1e400", None),
            ("retry-after", "soon", None),
            ("x-retry", "1", None),
        ] {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]);
            let expected = expected.map(Duration::from_millis);
            assert_eq!(retry_after(&headers), expected, "{name}: {value}");
        }
        let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date);
        let value = HeaderValue::from_str(&date.unwrap()).unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static("retry-after"), value)]);
        let wait = retry_after(&headers).unwrap();
        assert!(wait > Duration::from_secs(60) && wait <= Duration::from_secs(90), "{wait:?}");
    }
}
