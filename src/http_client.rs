//! HTTP clients for what is asked now and then, and never for a request: key sets, access tokens, the admin
//! API on the command line.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sluicegate_files::{Current, Look, read_pem};

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
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth());
    let connector = if https { connector.https_only() } else { connector.https_or_http() };
    let connector = connector.enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
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
