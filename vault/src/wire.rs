//! One bounded exchange with the server.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::VaultError;
use crate::options::Options;

/// An answer longer than this is none of Vault's: it takes no larger secrets.
const MAX_BYTES: usize = 1024 * 1024;

const TOKEN: &str = "x-vault-token";
const NAMESPACE: &str = "x-vault-namespace";
/// Asks Vault's agents for a sign that nobody was tricked into sending the request.
const REQUEST: &str = "x-vault-request";

/// Knows the way to the server.
pub(crate) struct Wire {
    way: Mutex<Way>,
    options: Options,
}

/// A client, and the authorities that it trusts.
struct Way {
    client: HttpsClient,
    /// The file's content, where there is one.
    authorities: Option<Vec<u8>>,
    /// Why what is in the file now is not in use, as it was told.
    refused: Option<String>,
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl Wire {
    pub(crate) fn new(options: &Options) -> Result<Self, VaultError> {
        let authorities = options.ca.as_deref().map(read).transpose()?;
        let client = client(options, authorities.as_deref())?;
        let way = Mutex::new(Way { client, authorities, refused: None });
        Ok(Self { way, options: options.clone() })
    }

    /// A client that trusts whom the file names now. There are a few exchanges in minutes, each by a
    /// connection of its own, so that the file is looked at before each. One that can't be used is told
    /// and what was in use stays.
    fn client(&self) -> HttpsClient {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.options.ca else { return way.client.clone() };
        let made = read(path).and_then(|now| {
            if way.authorities.as_ref() == Some(&now) {
                return Ok(None);
            }
            Ok(Some((client(&self.options, Some(&now))?, now)))
        });
        match made {
            Ok(None) => way.refused = None,
            Ok(Some((client, now))) => {
                tracing::info!(path = %path.display(), "other authorities for Vault in use");
                *way = Way { client, authorities: Some(now), refused: None };
            }
            Err(error) => {
                let error = error.to_string();
                if way.refused.as_ref() != Some(&error) {
                    tracing::error!(
                        error,
                        "authorities for Vault refused, those before stay in use"
                    );
                    way.refused = Some(error);
                }
            }
        }
        way.client.clone()
    }

    /// Asks for `path`, and gives the body of a success.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Vec<u8>,
    ) -> Result<Bytes, VaultError> {
        let exchange = self.exchange(method, path, token, body);
        match tokio::time::timeout(self.options.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(VaultError::TimedOut),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Vec<u8>,
    ) -> Result<Bytes, VaultError> {
        let request = self.request(method, path, token, body);
        let request = request.map_err(|error| VaultError::Unreachable(error.to_string()))?;
        let response = self.client().request(request).await;
        let response = response.map_err(|error| VaultError::Unreachable(whole(&error)))?;
        if !response.status().is_success() {
            // What is said beside the status is not read: it may quote what was sent.
            return Err(failure(response.status(), path));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => VaultError::TooLarge,
            None => VaultError::Unreachable(whole(&*error)),
        })?;
        Ok(body.to_bytes())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let address = &self.options.address;
        let uri = Uri::builder()
            .scheme(address.scheme().clone())
            .authority(address.authority().clone())
            .path_and_query(format!("/v1/{path}"))
            .build()?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .header(REQUEST, "true");
        if let Some(namespace) = &self.options.namespace {
            request = request.header(NAMESPACE, namespace);
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret())?;
            value.set_sensitive(true);
            request = request.header(TOKEN, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(Bytes::from(body)))
    }
}

/// What a status means, if it is no success
/// (<https://developer.hashicorp.com/vault/api-docs#http-status-codes>).
fn failure(status: StatusCode, path: &str) -> VaultError {
    let path = path.to_owned();
    match status.as_u16() {
        403 => VaultError::Denied { path },
        404 => VaultError::NotFound { path },
        503 => VaultError::Sealed,
        status @ (429 | 472 | 473) => VaultError::Standby(status),
        300..=399 => VaultError::Redirected,
        // 412: a replica that has not got the token yet.
        status @ (408 | 412 | 500..) => VaultError::Failing(status),
        status => VaultError::Refused { status, path },
    }
}

/// A client that keeps no connection: it is used a few times in minutes, and a server that was
/// restarted meanwhile would have closed it.
fn client(options: &Options, authorities: Option<&[u8]>) -> Result<HttpsClient, VaultError> {
    let failed = |error: &dyn ToString| VaultError::NoAuthorities(error.to_string());
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let https = options.address.is_tls();
    let tls = match (&options.ca, authorities) {
        (Some(path), Some(pem)) => builder.with_root_certificates(roots(path, pem)?),
        // Without TLS no authority is asked, so none needs to be there.
        _ if !https => builder.with_root_certificates(RootCertStore::empty()),
        _ => builder.with_native_roots().map_err(|error| failed(&error))?,
    };
    let mut tls = tls.with_no_client_auth();
    // A session that is resumed shows no certificate. Whoever gets a credential shows one each time.
    tls.resumption = Resumption::disabled();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
    let connector = if https { connector.https_only() } else { connector.https_or_http() };
    let connector = connector.enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

/// A file of authorities as it is now. Several times what all public ones take is a wrong file.
fn read(path: &Path) -> Result<Vec<u8>, VaultError> {
    const MAX_FILE: u64 = 2 * 1024 * 1024;
    let mut pem = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(MAX_FILE).read_to_end(&mut pem)).map_err(|error| {
        VaultError::Authorities { path: path.to_owned(), message: error.to_string() }
    })?;
    Ok(pem)
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, VaultError> {
    let refused = |message: &dyn ToString| VaultError::Authorities {
        path: path.to_owned(),
        message: message.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(&error))?;
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    if roots.is_empty() {
        return Err(refused(&"the file holds no PEM certificate"));
    }
    Ok(roots)
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
