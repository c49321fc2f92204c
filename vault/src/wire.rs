//! One bounded exchange with the server.

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
use sluicegate_files::{Current, Look, read_pem};

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
    way: Mutex<Current<HttpsClient>>,
    options: Options,
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl Wire {
    pub(crate) fn new(options: &Options) -> Result<Self, VaultError> {
        let authorities = options.ca.as_deref().map(read).transpose()?;
        let way = Current::new(authorities, |authorities| client(options, authorities))?;
        Ok(Self { way: Mutex::new(way), options: options.clone() })
    }

    /// A client that trusts whom the file names now. There are a few exchanges in minutes, each by a
    /// connection of its own, so that the file is looked at before each. One that can't be used is told
    /// and what was in use stays.
    fn client(&self) -> HttpsClient {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.options.ca else { return way.it().clone() };
        match way.look(read(path).map(Some), |authorities| client(&self.options, authorities)) {
            Look::Same => {}
            Look::Changed => {
                tracing::info!(path = %path.display(), "other authorities for Vault in use");
            }
            Look::Refused(error) => {
                tracing::error!(error, "authorities for Vault refused, those before stay in use");
            }
        }
        way.it().clone()
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

/// A file of authorities as it is now.
fn read(path: &Path) -> Result<Vec<u8>, VaultError> {
    read_pem(path).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, why: &dyn ToString) -> VaultError {
    VaultError::Authorities { path: path.to_owned(), message: why.to_string() }
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, VaultError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(path, &error))?;
        roots.add(certificate).map_err(|error| refused(path, &error))?;
    }
    if roots.is_empty() {
        return Err(refused(path, &"the file holds no PEM certificate"));
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
