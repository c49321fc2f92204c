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

use crate::tls::File;

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
    match ca {
        Some(path) => trusting(https, Some((path, &read(path)?))),
        None => trusting(https, None),
    }
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
    present: Mutex<Present<B>>,
}

struct Present<B> {
    client: HttpClient<B>,
    /// The file's content, where there is one.
    authorities: Option<Vec<u8>>,
    /// Why what is in the file now is not in use, as it was told.
    refused: Option<String>,
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
        let authorities = ca.map(|path| Ok::<_, ClientError>((path, read(path)?))).transpose()?;
        let client = trusting(https, authorities.as_ref().map(|(path, pem)| (*path, &pem[..])))?;
        let authorities = authorities.map(|(_, pem)| pem);
        let present = Mutex::new(Present { client, authorities, refused: None });
        Ok(Self { https, ca: ca.map(Path::to_owned), present })
    }

    /// The client of now. Reads the file, on a thread for that. A file that can't be used is told, and
    /// whom it named before is trusted.
    pub async fn get(&self) -> HttpClient<B> {
        let read = match self.ca.clone() {
            Some(path) => tokio::task::spawn_blocking(move || read(&path).map(|pem| (path, pem))),
            None => return self.present().client.clone(),
        };
        let read = read.await;
        let mut present = self.present();
        let made = match read {
            Ok(Ok((_, pem))) if present.authorities.as_ref() == Some(&pem) => {
                present.refused = None;
                return present.client.clone();
            }
            Ok(Ok((path, pem))) => {
                trusting(self.https, Some((&path, &pem))).map(|client| (path, client, pem))
            }
            Ok(Err(error)) => Err(error),
            // The runtime is on its way out.
            Err(_) => return present.client.clone(),
        };
        match made {
            Ok((path, client, pem)) => {
                tracing::info!(path = %path.display(), "other authorities in use");
                *present = Present { client, authorities: Some(pem), refused: None };
            }
            Err(error) => {
                let error = error.to_string();
                if present.refused.as_ref() != Some(&error) {
                    tracing::error!(error, "authorities refused, those before stay in use");
                    present.refused = Some(error);
                }
            }
        }
        present.client.clone()
    }

    fn present(&self) -> MutexGuard<'_, Present<B>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of authorities as it is now.
fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let file = File::new("ca", path);
    file.read().map_err(|error| ClientError::Ca {
        path: path.to_owned(),
        message: error.message().to_owned(),
    })
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, ClientError> {
    let refused = |message: &dyn ToString| ClientError::Ca {
        path: path.to_owned(),
        message: message.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(&error))?;
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    if roots.is_empty() {
        return Err(refused(&"holds no PEM certificate"));
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
