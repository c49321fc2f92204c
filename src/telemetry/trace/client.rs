//! Sends exports over HTTP.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

/// Bytes of an answer. A collector says little.
const MAX_ANSWER: usize = 64 * 1024;

/// A client whose connections are kept. Its calls end with their caller's timeout.
#[derive(Debug)]
pub struct Sender(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Sender {
    /// Trusts the machine's authorities.
    ///
    /// # Errors
    /// There are none, and the collector is reached with TLS.
    pub fn new(tls: bool) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = if tls {
            builder.with_native_roots().map_err(|error| error.to_string())?.with_no_client_auth()
        } else {
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        };
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector.build())))
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.0.request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}
