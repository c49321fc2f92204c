//! A small MCP server that does what a test says, and keeps what it was asked.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// What the server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub version: Version,
    pub verb: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Asked {
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A body that is sent piece by piece; an error breaks the connection.
pub struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

pub type Pen = mpsc::Sender<io::Result<Bytes>>;

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

pub type Reply = Response<Pieces>;

/// An answer whose body is still to be written.
pub fn open(kind: &'static str) -> (Reply, Pen) {
    let (pen, pieces) = mpsc::channel(1_024);
    let mut reply = Response::new(Pieces(pieces));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    (reply, pen)
}

/// An answer that is all there, in these pieces.
pub fn pieces<'a>(kind: &'static str, all: impl IntoIterator<Item = &'a [u8]>) -> Reply {
    let (reply, pen) = open(kind);
    for piece in all {
        pen.try_send(Ok(Bytes::copy_from_slice(piece))).unwrap();
    }
    reply
}

pub fn whole(message: &Value) -> Reply {
    pieces("application/json", [message.to_string().as_bytes()])
}

pub fn events(text: &str) -> Reply {
    pieces("text/event-stream", [text.as_bytes()])
}

pub fn status(status: u16, body: &Value) -> Reply {
    let mut reply = whole(body);
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

pub fn with(mut reply: Reply, name: &'static str, value: &'static str) -> Reply {
    reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    reply
}

pub fn result(asked: &Asked, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result})
}

pub fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// What a server of 2026-07-28 says to the question what it speaks.
pub fn modern(asked: &Asked) -> Option<Reply> {
    let known = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
    (asked.method() == "server/discover").then(|| whole(&result(asked, &known)))
}

/// What a server that wants to be greeted says to everything that is no call.
pub fn greeted(asked: &Asked) -> Option<Reply> {
    let greeting = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}});
    Some(match asked.method() {
        "server/discover" => status(400, &error(&Value::Null, -32_000, "not initialized")),
        "initialize" => with(whole(&result(asked, &greeting)), "mcp-session-id", "session-1"),
        // Answers to its own requests have no method, nor has the end of a session.
        "" | "notifications/initialized" | "notifications/cancelled" => status(202, &Value::Null),
        _ => return None,
    })
}

/// A server.
pub struct Server {
    pub url: String,
    asked: watch::Receiver<Vec<Asked>>,
}

type Log = watch::Sender<Vec<Asked>>;

impl Server {
    pub async fn start<F, W>(does: F) -> Self
    where
        F: Fn(Asked) -> W + Send + Sync + 'static,
        W: Future<Output = Reply> + Send + 'static,
    {
        Self::behind(None, does).await
    }

    /// One with TLS, if any.
    pub async fn behind<F, W>(tls: Option<TlsAcceptor>, does: F) -> Self
    where
        F: Fn(Asked) -> W + Send + Sync + 'static,
        W: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (log, asked) = watch::channel(Vec::new());
        let both = Arc::new((does, log));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, both) = (tls.clone(), both.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, both).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, both).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, asked }
    }

    /// All that it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// How often it was asked this.
    pub fn times(&self, method: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method() == method).count()
    }

    /// The first that it was asked of this kind, waited for.
    pub async fn first(&self, is: impl Fn(&Asked) -> bool) -> Asked {
        let mut asked = self.asked.clone();
        let waiting = asked.wait_for(|all| all.iter().any(&is));
        let all = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        let all = all.expect("it is asked in half a minute").unwrap();
        all.iter().find(|asked| is(asked)).unwrap().clone()
    }
}

async fn serve<F, W>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    both: Arc<(F, Log)>,
) where
    F: Fn(Asked) -> W + Send + Sync + 'static,
    W: Future<Output = Reply> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let both = both.clone();
        async move {
            let (does, log) = &*both;
            let asked = read(request).await;
            log.send_modify(|all| all.push(asked.clone()));
            Ok::<_, Infallible>(does(asked).await)
        }
    });
    let http = auto::Builder::new(TokioExecutor::new());
    // Clients that go away are part of the tests.
    let _end = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn read(request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = head.uri.path_and_query().unwrap().to_string();
    Asked { version: head.version, verb: head.method, path, headers: head.headers, body }
}
