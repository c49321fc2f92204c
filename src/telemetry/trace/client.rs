//! Sends exports, over HTTP or as gRPC, and hears what the collector does not take of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

use super::grpc;
use crate::config::valid::TraceProtocol;

/// Bytes of an answer. A collector says little.
const MAX_ANSWER: usize = 64 * 1024;

/// A client whose connections are kept. Its calls end with their caller's timeout.
#[derive(Debug)]
pub struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    protocol: TraceProtocol,
    rejected: Arc<AtomicU64>,
}

impl Sender {
    /// Trusts the machine's authorities, as they are now. Adds the spans that the collector says it has
    /// rejected to `rejected`.
    ///
    /// # Errors
    /// There are none, and the collector is reached with TLS.
    pub fn new(
        protocol: TraceProtocol,
        tls: bool,
        rejected: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = if tls {
            builder.with_native_roots().map_err(|error| error.to_string())?.with_no_client_auth()
        } else {
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let mut client = Client::builder(TokioExecutor::new());
        let client = match protocol {
            TraceProtocol::Http => client.build(connector.enable_http1().build()),
            TraceProtocol::Grpc => client.http2_only(true).build(connector.enable_http2().build()),
        };
        Ok(Self { client, protocol, rejected })
    }

    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = match self.protocol {
            TraceProtocol::Http => request,
            TraceProtocol::Grpc => grpc::request(request)?,
        };
        let answer = self.client.request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        let trailers = body.trailers().cloned();
        let body = body.to_bytes();
        Ok(match self.protocol {
            TraceProtocol::Http => Response::from_parts(head, body),
            TraceProtocol::Grpc => grpc::response(&head, &body, trailers.as_ref()),
        })
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.call(request).await?;
        if answer.status() == StatusCode::OK {
            self.rejected.fetch_add(rejected(answer.body()), Ordering::Relaxed);
        }
        Ok(answer)
    }
}

/// The spans that an answer says were rejected (OTLP 1.9, "Partial Success").
fn rejected(answer: &Bytes) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer.clone()).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_rejected_is_heard() {
        let answer = |rejected_spans| {
            let error_message = "too long".to_owned();
            let partial = ExportTracePartialSuccess { rejected_spans, error_message };
            let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
            Bytes::from(answer.encode_to_vec())
        };
        assert_eq!(rejected(&answer(3)), 3);
        assert_eq!((rejected(&answer(0)), rejected(&answer(-1))), (0, 0));
        assert_eq!((rejected(&Bytes::new()), rejected(&Bytes::from_static(b"{}"))), (0, 0));
    }

    proptest! {
        #[test]
        fn nothing_panics(answer in proptest::collection::vec(any::<u8>(), 0..60)) {
            rejected(&answer.into());
        }
    }
}
