//! A provider that speaks HTTP/2 alone and gives the answers that it was told, whatever it is asked: what a real
//! one does once in a million answers, such as to end with its head, or with trailers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// One answer.
#[derive(Clone)]
pub struct Scripted {
    status: u16,
    content_type: &'static str,
    pieces: Vec<Bytes>,
    trailers: bool,
    tells_length: bool,
    ends: bool,
}

impl Scripted {
    /// Ends with its last piece; without pieces, with its head.
    pub fn new(status: u16, content_type: &'static str, pieces: &[&str]) -> Self {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        Self { status, content_type, pieces, trailers: false, tells_length: false, ends: true }
    }

    /// A JSON document in one piece, or nothing at all.
    pub fn json(status: u16, document: &str) -> Self {
        let pieces = [document];
        Self::new(status, "application/json", if document.is_empty() { &[] } else { &pieces })
    }

    /// Events of a stream, each a piece.
    pub fn events(events: &[&str]) -> Self {
        Self::new(200, "text/event-stream", events)
    }

    /// Ends with trailers.
    pub fn with_trailers(self) -> Self {
        Self { trailers: true, ..self }
    }

    /// Says in its head how long it is.
    pub fn with_length(self) -> Self {
        Self { tells_length: true, ..self }
    }

    /// Leaves off after its last piece, and never says that this was the end.
    pub fn without_end(self) -> Self {
        Self { ends: false, ..self }
    }

    fn response(self) -> Response<Script> {
        let length: usize = self.pieces.iter().map(Bytes::len).sum();
        let mut frames: VecDeque<_> = self.pieces.into_iter().map(Frame::data).collect();
        if self.trailers {
            let name = http::HeaderName::from_static("x-took");
            let trailers = HeaderMap::from_iter([(name, HeaderValue::from_static("5"))]);
            frames.push_back(Frame::trailers(trailers));
        }
        let mut head = Response::builder().status(self.status);
        if self.tells_length {
            head = head.header("content-length", length);
        }
        head.header("content-type", self.content_type)
            .body(Script { frames, ends: self.ends })
            .unwrap()
    }
}

/// A body that does not know its length, so that nobody adds one to its head.
struct Script {
    frames: VecDeque<Frame<Bytes>>,
    ends: bool,
}

impl Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.pop_front() {
            None if !self.ends => Poll::Pending,
            frame => Poll::Ready(frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ends && self.frames.is_empty()
    }
}

/// The provider. It ends when dropped.
pub struct ScriptedProvider {
    pub address: SocketAddr,
    answered: Arc<AtomicUsize>,
    server: AbortHandle,
}

impl ScriptedProvider {
    /// Gives `answers` one after the other, and the last of them again and again.
    pub async fn start(answers: Vec<Scripted>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answered = Arc::<AtomicUsize>::default();
        let server = tokio::spawn(serve(listener, answers.into(), answered.clone()));
        Self { address, answered, server: server.abort_handle() }
    }

    /// How many answers it has given.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for ScriptedProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, answers: Arc<[Scripted]>, answered: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (answers, answered) = (answers.clone(), answered.clone());
        let service = service_fn(move |request: http::Request<Incoming>| {
            let at = answered.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let answer = answers[at].clone();
            async move {
                // An answer before that would reset the stream.
                request.into_body().collect().await.ok();
                Ok::<_, Infallible>(answer.response())
            }
        });
        connections.spawn(async move {
            let builder = http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}
