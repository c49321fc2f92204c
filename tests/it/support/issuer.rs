//! An issuer of tokens: a real server over TLS with a key set, and the keys to sign with.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A pair of keys for ES256.
pub struct SigningKey {
    kid: String,
    private: EncodingKey,
}

impl SigningKey {
    pub fn new(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let private = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { kid: kid.to_owned(), private }
    }

    /// Its public half.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// What is served at a path.
#[derive(Clone)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Page {
    pub fn json(value: &Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: value.to_string().into() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }
}

/// The server. It ends when dropped.
pub struct Issuer {
    address: SocketAddr,
    tls: bool,
    directory: TempDir,
    pages: Arc<Pages>,
    server: AbortHandle,
}

struct Pages {
    served: Mutex<HashMap<String, Page>>,
    asked: Mutex<HashMap<String, usize>>,
    open: watch::Sender<bool>,
}

impl Issuer {
    /// Over TLS, with a certificate of its own making.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(directory.path().join("ca.pem"), pair.cert.pem()).unwrap();
        let private = pair.signing_key.serialize_der().try_into().unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], private)
            .unwrap();
        Self::serve(directory, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    /// Over plain HTTP.
    pub async fn start_plain() -> Self {
        Self::serve(tempfile::tempdir().unwrap(), None).await
    }

    async fn serve(directory: TempDir, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Arc::new(Pages {
            served: Mutex::default(),
            asked: Mutex::default(),
            open: watch::Sender::new(true),
        });
        let tls = acceptor.is_some();
        let accept = accept(listener, acceptor, pages.clone());
        let server = tokio::spawn(accept).abort_handle();
        Self { address, tls, directory, pages, server }
    }

    /// The beginning of its URLs; also its name.
    pub fn url(&self) -> String {
        format!("http{}://{}", if self.tls { "s" } else { "" }, self.address)
    }

    /// The authority that signed its certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Serves `page` at `path` from now on.
    pub fn put(&self, path: &str, page: Page) {
        self.pages.served.lock().unwrap().insert(path.to_owned(), page);
    }

    /// Serves the public halves of `keys` at `/jwks` from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.put("/jwks", Page::json(&key_set(keys)));
    }

    /// How often `path` has been asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.pages.asked.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// While closed, requests are taken and not answered.
    pub fn set_open(&self, open: bool) {
        self.pages.open.send_replace(open);
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The key set with the public halves of `keys`.
pub fn key_set(keys: &[&SigningKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}

/// Claims that are good for ten minutes.
pub fn claims(issuer: &str, subject: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"iss": issuer, "aud": "sluicegate", "sub": subject, "iat": now, "exp": now + 600})
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, pages: Arc<Pages>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, pages) = (acceptor.clone(), pages.clone());
        connections.spawn(async move {
            let Some(acceptor) = acceptor else { return serve_connection(stream, pages).await };
            // A client that does not trust the certificate leaves; that is its right.
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_connection(stream, pages).await;
            }
        });
    }
}

async fn serve_connection<S>(stream: S, pages: Arc<Pages>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(pages.answer(&request).await) }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

impl Pages {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let target = request.uri().to_string();
        *self.asked.lock().unwrap().entry(target.clone()).or_default() += 1;
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let page = self.served.lock().unwrap().get(&target).cloned();
        let Page { status, headers, body } = page.unwrap_or_else(|| Page::status(404));
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(name, value);
        }
        answer.body(Full::new(body)).unwrap()
    }
}
