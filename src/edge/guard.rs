//! A stream with deadlines, one for a header and one for silence between requests, and with a bound on heads.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{ALPN, SslDigest, TlsRef};
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use sluicegate_filters::{Denial, DenialKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::frames::{Abuse, Frames};
use super::{Blame, Conn, Phase, Tells};
use crate::dialects::{Dialect, Endpoint};

/// How long and how much is read on after a refusal, so that the client can finish writing and
/// read the answer instead of a reset.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Reads that an HTTP/1 head may take. With each of them Pingora parses anew all that has come.
const HEAD_PIECES: u32 = 512;

/// The most bytes that are kept to go out with what follows.
const MOST_KEPT: usize = 16 * 1024;

/// What Pingora speaks on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1 and nothing else.
    Http1,
    /// HTTP/2: TLS has agreed on it.
    Http2,
    /// HTTP/2 if the client begins with its preface.
    Either,
}

/// What one connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of an HTTP/1 head.
    pub header_size: u64,
    /// From a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// Silence between requests.
    pub idle_timeout: Duration,
    /// How long a write may make no progress.
    pub write_timeout: Duration,
}

/// Wraps a downstream stream so that no client can hold it by being slow.
///
/// * The first byte of a request must come within the idle timeout.
/// * From that byte on, the whole header must come within the header timeout, however the bytes
///   are spread: a byte now and then does not extend it. So must a header list of HTTP/2.
/// * HTTP/2 frames that carry nothing are counted, and too many end it.
/// * An HTTP/1 head that is too long, or comes in too many pieces, is not read on.
///
/// A client whose HTTP/1 request does not begin is told why. Pingora would write a bare status, before anything of
/// ours: it is taken for granted and ours is written instead.
///
/// What is written as a part of more ([`Conn::more_will_follow`]) waits, flushed or not, for what follows it: for
/// the first write that is none, or for whoever wants to read what the client says to it.
///
/// The bodies' deadline belongs to whoever reads the body.
#[derive(Debug)]
pub struct GuardedStream {
    inner: Stream,
    conn: Arc<Conn>,
    digest: Arc<ProxyDigest>,
    bounds: Bounds,
    /// The connection's epoch when a read first had to wait in it, and since when.
    waiting: (u32, Instant),
    /// One for the connection's life: it looks when it fires and sleeps on where it woke too early.
    /// Never slower than the shorter timeout, so that no deadline is slept through.
    timer: Pin<Box<Sleep>>,
    /// Runs while a write makes no progress. Pingora has such a deadline for bodies, not for heads.
    stuck: Option<Pin<Box<Sleep>>>,
    speaks: Speaks,
    frames: Frames,
    blame: Blame,
    teller: Arc<dyn Tells>,
    /// Reads since the last request ended.
    pieces: u32,
    /// The shape of a refusal, as far as the first bytes of the head say.
    dialect: Dialect,
    /// Nothing else is read or written once it is there.
    farewell: Option<Farewell>,
    kept: Kept,
}

/// Bytes that go out with what follows.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// How many of them have gone out.
    gone: usize,
}

/// A refusal on its way.
#[derive(Debug)]
struct Farewell {
    /// What is still to be written.
    rest: Bytes,
    /// Since the end was written: how long is read on.
    lingers: Option<Pin<Box<Sleep>>>,
    /// Bytes read since.
    read: usize,
}

impl GuardedStream {
    /// Guards `inner`, whose first header is due at once.
    pub fn new(
        inner: Stream,
        conn: Arc<Conn>,
        speaks: Speaks,
        bounds: Bounds,
        blame: Blame,
        teller: Arc<dyn Tells>,
    ) -> Self {
        // Pingora hands this digest to every request of the connection, over HTTP/1 and HTTP/2
        // alike; it is the one place where a connection can carry something of ours.
        let user_data: Box<dyn std::any::Any + Send + Sync> = Box::new(conn.clone());
        let empty = ResponseHeader::build_no_case(200, Some(0));
        let response = Box::new(empty.unwrap_or_else(|_| unreachable!("200 is a valid status")));
        let digest = Arc::new(ProxyDigest::new(response, Some(user_data)));
        let soonest = bounds.header_timeout.min(bounds.idle_timeout);
        let timer = Box::pin(tokio::time::sleep(soonest));
        let frames = if speaks == Speaks::Http1 { Frames::none() } else { Frames::default() };
        let waiting = (conn.epoch(), Instant::now());
        Self {
            inner,
            conn,
            digest,
            bounds,
            waiting,
            timer,
            stuck: None,
            speaks,
            frames,
            blame,
            teller,
            pieces: 0,
            dialect: Dialect::OpenAi,
            farewell: None,
            kept: Kept::default(),
        }
    }

    /// Whether what is read or written now is of an HTTP/1 request that has not begun.
    fn is_before_request(&self) -> bool {
        self.speaks != Speaks::Http2
            && self.conn.phase() != Phase::Serving
            && self.frames.is_http1()
    }

    /// Why a head without an end is not read on. Pingora reads only while it finds none.
    fn excess(&self) -> Option<Denial> {
        let limit = self.bounds.header_size;
        let too_long = self.conn.read_since_request() >= limit;
        if !too_long && self.pieces < HEAD_PIECES
            || self.conn.phase() != Phase::Header
            || !self.is_before_request()
        {
            return None;
        }
        Some(if too_long {
            let message = format!("The request header has more than {limit} bytes.");
            Denial::new(DenialKind::HeaderTooLarge, message)
        } else {
            let message = "The request header came in too many pieces.";
            Denial::new(DenialKind::RequestTimeout, message)
        })
    }

    /// Ends the connection with an answer. It is written where Pingora, which gets an error or has one,
    /// shuts the stream down.
    fn refuse(&mut self, denial: &Denial) {
        let rest = self.teller.refusal(&self.conn, self.dialect, denial);
        self.farewell = Some(Farewell { rest, lingers: None, read: 0 });
    }

    /// Whether `bytes` are Pingora's refusal of a head, or come after one.
    fn is_refused_by_pingora(&mut self, bytes: &[u8]) -> bool {
        if self.farewell.is_some() {
            return true;
        }
        if !self.is_before_request() || !bytes.starts_with(b"HTTP/1.1 4") {
            return false;
        }
        let denial = if bytes[9..].starts_with(b"405") {
            let message = "CONNECT is not served; send requests to the gateway itself.";
            Denial::new(DenialKind::InvalidRequestTarget, message)
        } else {
            let message = "The request header can't be read, or could be read in two ways.";
            Denial::new(DenialKind::InvalidRequestFraming, message)
        };
        self.teller.is_malformed();
        self.refuse(&denial);
        true
    }

    /// Writes what is left of a refusal.
    fn poll_tell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(Farewell { rest, .. }) = &mut self.farewell
            && !rest.is_empty()
        {
            let result = Pin::new(&mut self.inner).poll_write(cx, rest);
            if let Poll::Ready(Ok(n)) = result {
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                rest.advance(n);
            }
            ready!(self.poll_progress(cx, result))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends our side, and reads on for a while: what is unread when a socket closes makes the system send a
    /// reset, which may overtake the answer.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_tell(cx))?;
        if self.farewell.as_ref().is_some_and(|farewell| farewell.lingers.is_none()) {
            let result = Pin::new(&mut self.inner).poll_shutdown(cx);
            ready!(self.poll_progress(cx, result))?;
            self.conn.is_refused();
        }
        let Some(Farewell { lingers, read, .. }) = &mut self.farewell else {
            return Poll::Ready(Ok(()));
        };
        let lingers = lingers.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME)));
        while *read < LINGER_BYTES {
            let mut piece = [0; 4096];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.inner).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => *read += piece.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => return lingers.as_mut().poll(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps `bytes`, where they are a part of more, or of what is kept, and there is room. Frames of HTTP/2 are
    /// looked at where they are written.
    fn keep(&mut self, bytes: &[io::IoSlice<'_>]) -> Option<usize> {
        let Kept { bytes: kept, .. } = &mut self.kept;
        if kept.is_empty() && !(self.conn.more_follows() && self.frames.is_http1()) {
            return None;
        }
        let length = bytes.iter().map(|piece| piece.len()).sum::<usize>();
        if length == 0 || kept.len() + length > MOST_KEPT {
            return None;
        }
        if kept.is_empty() {
            kept.reserve_exact(MOST_KEPT);
            self.conn.set_keeps(true);
        }
        bytes.iter().for_each(|piece| kept.extend_from_slice(piece));
        Some(length)
    }

    /// Lets go what was kept.
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Kept { bytes, gone } = &mut self.kept
            && *gone < bytes.len()
        {
            let result = Pin::new(&mut self.inner).poll_write(cx, &bytes[*gone..]);
            if let Poll::Ready(Ok(n)) = result {
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                *gone += n;
            }
            ready!(self.poll_progress(cx, result))?;
        }
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        ready!(self.poll_progress(cx, result))?;
        self.kept = Kept::default();
        self.conn.set_keeps(false);
        Poll::Ready(Ok(()))
    }

    fn note_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.conn.read_since_request() == 0 {
            self.dialect = dialect(bytes);
            self.pieces = 0;
        }
        self.pieces = self.pieces.saturating_add(1);
        let looked_at = self.frames.read(bytes);
        if self.frames.has_preface() {
            self.conn.multiplexes();
        }
        self.conn.bytes_read(bytes.len() as u64);
        looked_at.map_err(|why| {
            self.blame.note(why);
            abused(why)
        })
    }

    #[inline]
    fn note_written(&mut self, bytes: &[u8]) {
        if self.frames.is_http1() {
            return;
        }
        if let Some(why) = self.frames.wrote(bytes) {
            self.blame.note(why);
        }
    }

    /// Passes a write's result on, and ends one that has made no progress for too long.
    #[inline]
    fn poll_progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stuck = None;
            return result;
        }
        let within = self.bounds.write_timeout;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        ready!(stuck.as_mut().poll(cx));
        let slow = "the client does not read its answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, slow)))
    }

    /// Ready when the client was too slow.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = match self.conn.phase() {
            // Streams of HTTP/2 have no phase in common; only a header list is waited for.
            _ if !self.conn.has_deadlines() => Duration::MAX,
            // Nothing is waited for here. When the request has ended, this is asked anew.
            Phase::Serving => return Poll::Pending,
            Phase::Header => self.bounds.header_timeout,
            Phase::Idle => self.bounds.idle_timeout,
        };
        let epoch = self.conn.epoch();
        if self.waiting.0 != epoch {
            self.waiting = (epoch, Instant::now());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let header = self.frames.header_for(now.into_std());
            if header.is_some_and(|since| since >= self.bounds.header_timeout) {
                return Poll::Ready(());
            }
            let Some(left) = timeout.checked_sub(now - self.waiting.1).filter(|d| !d.is_zero())
            else {
                return Poll::Ready(());
            };
            let soonest = self.bounds.header_timeout.min(self.bounds.idle_timeout);
            self.timer.as_mut().reset(now + left.min(soonest));
        }
        Poll::Pending
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client was too slow to send a request header")
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the request header is refused")
}

/// The dialect that a head is about to speak, as far as `bytes` say.
fn dialect(bytes: &[u8]) -> Dialect {
    let path = bytes.strip_prefix(b"POST ").unwrap_or_default();
    let messages = path.starts_with(Endpoint::Messages.path().as_bytes());
    if messages { Dialect::Anthropic } else { Dialect::OpenAi }
}

fn abused(why: Abuse) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, format!("too many HTTP/2 {}", why.reason()))
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_none()
            && let Some(denial) = this.excess()
        {
            this.refuse(&denial);
        }
        if this.farewell.is_some() {
            return Poll::Ready(Err(refused()));
        }
        // Whoever reads waits for the client, who may wait for this. That it leaves is seen meanwhile.
        if let Poll::Ready(Err(error)) = this.poll_kept(cx) {
            return Poll::Ready(Err(error));
        }
        if this.conn.only_lets_go() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if Pin::new(&mut this.inner).poll_read(cx, buf)?.is_ready() {
            let read = &buf.filled()[before..];
            if !read.is_empty() {
                this.note_read(read)?;
            }
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_deadline(cx));
        if this.conn.phase() == Phase::Header && this.is_before_request() {
            let within = this.bounds.header_timeout.as_secs_f32();
            let message = format!("The request header did not arrive within {within} s.");
            this.refuse(&Denial::new(DenialKind::RequestTimeout, message));
        }
        Poll::Ready(Err(too_slow()))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_refused_by_pingora(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        if let Some(n) = self.keep(&[io::IoSlice::new(buf)]) {
            return Poll::Ready(Ok(n));
        }
        ready!(self.poll_kept(cx))?;
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = result {
            self.note_written(&buf[..n]);
        }
        self.poll_progress(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_some() {
            ready!(self.poll_tell(cx))?;
        }
        if !self.kept.bytes.is_empty() {
            // Also with what else is kept within.
            return if self.conn.more_follows() { Poll::Ready(Ok(())) } else { self.poll_kept(cx) };
        }
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.poll_progress(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_some() {
            return self.poll_leave(cx);
        }
        ready!(self.poll_kept(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refused_by_pingora(bufs.first().map_or(&[], |buf| buf)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        if let Some(n) = self.keep(bufs) {
            return Poll::Ready(Ok(n));
        }
        ready!(self.poll_kept(cx))?;
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(mut n)) = result {
            for buf in bufs {
                let written = n.min(buf.len());
                self.note_written(&buf[..written]);
                n -= written;
            }
        }
        self.poll_progress(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl Drop for GuardedStream {
    /// Pingora does not shut down what it gives up. What was kept goes as far as the client takes it at once.
    fn drop(&mut self) {
        let Self { inner, kept: Kept { bytes, gone }, .. } = self;
        let mut context = Context::from_waker(Waker::noop());
        while let Some(rest) = bytes.get(*gone..).filter(|rest| !rest.is_empty())
            && let Poll::Ready(Ok(n @ 1..)) = Pin::new(&mut *inner).poll_write(&mut context, rest)
        {
            *gone += n;
        }
        if !bytes.is_empty() {
            let _ = Pin::new(inner).poll_flush(&mut context);
        }
    }
}

#[async_trait]
impl Shutdown for GuardedStream {
    async fn shutdown(&mut self) {
        if poll_fn(|cx| self.poll_kept(cx)).await.is_ok() {
            Shutdown::shutdown(&mut *self.inner).await;
        }
    }
}

impl UniqueID for GuardedStream {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for GuardedStream {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for GuardedStream {
    /// Pingora's look for an HTTP/2 preface waits for 24 bytes without a deadline of its own.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        match tokio::time::timeout(self.bounds.header_timeout, self.inner.try_peek(buf)).await {
            Ok(result) => result,
            Err(_) => Err(too_slow()),
        }
    }
}

impl GetTimingDigest for GuardedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for GuardedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for GuardedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::edge::ConnectionLimits;

    /// Says the code and nothing else.
    #[derive(Debug)]
    struct Curt;

    impl Tells for Curt {
        fn is_malformed(&self) {}

        fn refusal(&self, _: &Conn, _: Dialect, denial: &Denial) -> Bytes {
            Bytes::from_static(denial.code().as_bytes())
        }
    }

    fn guarded(timeouts: [u64; 3]) -> (GuardedStream, tokio::io::DuplexStream) {
        speaking(Speaks::Either, timeouts)
    }

    fn speaking(speaks: Speaks, timeouts: [u64; 3]) -> (GuardedStream, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let permit = ConnectionLimits::new().acquire(None, 1, 1).expect("the first place");
        let conn = Arc::new(Conn::new(None, permit, Arc::default(), Arc::default(), None));
        let [header_timeout, idle_timeout, write_timeout] = timeouts.map(Duration::from_millis);
        let bounds = Bounds { header_size: 1024, header_timeout, idle_timeout, write_timeout };
        let blame = Blame::on(Arc::default(), None);
        let stream =
            GuardedStream::new(Box::new(ours), conn, speaks, bounds, blame, Arc::new(Curt));
        (stream, theirs)
    }

    /// All that comes, while `bytes` are sent over and over, and how many were.
    async fn endless(mut theirs: tokio::io::DuplexStream, bytes: &[u8]) -> (Vec<u8>, usize) {
        let (mut told, mut sent) = (Vec::new(), 0);
        let (mut read, mut write) = tokio::io::split(&mut theirs);
        let writing = async {
            while let Ok(n) = write.write(bytes).await {
                sent += n;
            }
        };
        tokio::select! {
            () = writing => {}
            result = read.read_to_end(&mut told) => drop(result),
        }
        (told, sent)
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_not_read_on() {
        let (mut stream, theirs) = guarded([60_000; 3]);
        let client = endless(theirs, b"GET /a");
        let server = async {
            let mut head = Vec::new();
            let error = stream.read_to_end(&mut head).await.expect_err("too long");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!((1024..1024 + 64).contains(&head.len()), "{}", head.len());
            AsyncWriteExt::shutdown(&mut stream).await.expect("the refusal");
            drop(stream);
        };
        let ((told, _), ()) = tokio::join!(client, server);
        assert_eq!(told, b"header_too_large");
    }

    #[tokio::test]
    async fn a_head_in_too_many_pieces_is_not_read_on() {
        let (mut stream, mut theirs) = guarded([60_000; 3]);
        for _ in 0..HEAD_PIECES {
            theirs.write_all(b"x").await.expect("room");
            assert_eq!(stream.read_u8().await.expect("a piece"), b'x');
        }
        theirs.write_all(b"x").await.expect("room");
        let error = stream.read_u8().await.expect_err("too many");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        stream.read_u8().await.expect_err("it is over");
        stream.flush().await.expect("the refusal");
        let mut told = [0; 15];
        theirs.read_exact(&mut told).await.expect("the refusal");
        assert_eq!(&told, b"request_timeout");
    }

    #[tokio::test]
    async fn what_pingora_says_before_a_request_is_said_in_our_words() {
        let (mut stream, mut theirs) = guarded([60_000; 3]);
        theirs.write_all(b"GET\r\n\r\n").await.expect("room");
        stream.read_exact(&mut [0; 7]).await.expect("what came");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("taken");
        stream.write_all(b"and more").await.expect("taken");
        stream.flush().await.expect("the refusal");
        let mut told = [0; 23];
        theirs.read_exact(&mut told).await.expect("the refusal");
        assert_eq!(&told, b"invalid_request_framing");
        // Of a request that has begun, all is Pingora's.
        let (mut stream, mut theirs) = guarded([60_000; 3]);
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("room");
        stream.read_exact(&mut [0; 18]).await.expect("what came");
        stream.conn.request_begins(false);
        stream.write_all(b"HTTP/1.1 404").await.expect("room");
        let mut answer = [0; 12];
        theirs.read_exact(&mut answer).await.expect("the answer");
        assert_eq!(&answer, b"HTTP/1.1 404");
    }

    #[tokio::test]
    async fn a_preface_ends_the_headers_deadline_and_half_of_one_does_not() {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for speaks in [Speaks::Either, Speaks::Http2] {
            let (mut stream, mut theirs) = speaking(speaks, [20, 20, 60_000]);
            theirs.write_all(&PREFACE[..20]).await.expect("room");
            let error = stream.read_to_end(&mut Vec::new()).await.expect_err("too slow");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let (mut stream, mut theirs) = speaking(speaks, [20, 20, 60_000]);
            theirs.write_all(PREFACE).await.expect("room");
            let mut read = vec![0; PREFACE.len()];
            stream.read_exact(&mut read).await.expect("what came");
            assert_eq!(stream.conn.phase(), Phase::Idle);
            // Longer than both deadlines: only what reads it, Pingora, would end it.
            let more = stream.read_u8();
            assert!(tokio::time::timeout(Duration::from_millis(60), more).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_given_up() {
        let (mut stream, _theirs) = guarded([60_000, 60_000, 20]);
        let error = stream.write_all(&[0; 1000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for() {
        let (mut stream, mut theirs) = guarded([60_000, 60_000, 60_000]);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.map(|_| all.len())
        });
        stream.write_all(&[0; 1000]).await.expect("somebody reads");
        drop(stream);
        assert_eq!(reading.await.ok().and_then(Result::ok), Some(1000));
    }

    /// What has come so far.
    fn come(theirs: &mut tokio::io::DuplexStream) -> Vec<u8> {
        let mut come = [0; 256];
        let mut buf = ReadBuf::new(&mut come);
        let mut context = Context::from_waker(Waker::noop());
        while Pin::new(&mut *theirs).poll_read(&mut context, &mut buf).is_ready() {}
        buf.filled().to_vec()
    }

    #[tokio::test]
    async fn a_part_of_more_goes_out_with_what_follows() {
        let (mut stream, mut theirs) = speaking(Speaks::Http1, [60_000; 3]);
        let conn = stream.conn.clone();
        let more = conn.more_will_follow();
        stream.write_all(b"one,").await.expect("room");
        stream.flush().await.expect("later");
        assert!(come(&mut theirs).is_empty());
        assert!(conn.keeps());
        drop(more);
        stream.write_all(b"two").await.expect("room");
        stream.flush().await.expect("room");
        assert_eq!(come(&mut theirs), b"one,two");
        assert!(!conn.keeps());
        stream.write_all(b"three").await.expect("room");
        assert_eq!(come(&mut theirs), b"three");
    }

    #[tokio::test]
    async fn whoever_waits_for_the_client_has_told_it_all() {
        let (mut stream, mut theirs) = speaking(Speaks::Http1, [60_000; 3]);
        let conn = stream.conn.clone();
        let more = conn.more_will_follow();
        stream.write_all(b"one").await.expect("room");
        drop(more);
        let reading = tokio::time::timeout(Duration::from_millis(1), stream.read_u8());
        assert!(reading.await.is_err(), "there is nothing to read");
        assert_eq!(come(&mut theirs), b"one");
        let more = conn.more_will_follow();
        stream.write_all(b"and").await.expect("room");
        drop(more);
        theirs.write_all(b"x").await.expect("room");
        let letting_go = conn.lets_go();
        let reading = tokio::time::timeout(Duration::from_millis(1), stream.read_u8());
        assert!(reading.await.is_err(), "nothing is read");
        drop(letting_go);
        assert_eq!(come(&mut theirs), b"and");
        assert_eq!(stream.read_u8().await.expect("a byte"), b'x');
        let more = conn.more_will_follow();
        stream.write_all(b"two").await.expect("room");
        drop(more);
        Shutdown::shutdown(&mut stream).await;
        assert_eq!(come(&mut theirs), b"two");
        let more = conn.more_will_follow();
        stream.write_all(b"three").await.expect("room");
        drop(more);
        drop(stream);
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.expect("the end");
        assert_eq!(rest, b"three");
    }

    #[tokio::test]
    async fn what_a_client_does_not_take_stays_and_that_it_leaves_is_seen() {
        let (mut stream, mut theirs) = speaking(Speaks::Http1, [60_000; 3]);
        let conn = stream.conn.clone();
        let more = conn.more_will_follow();
        stream.write_all(&[b'x'; 150]).await.expect("room");
        drop(more);
        let mut taken = Vec::new();
        while taken.len() < 150 {
            let reading = tokio::time::timeout(Duration::from_millis(1), stream.read_u8());
            assert!(reading.await.is_err(), "there is nothing to read");
            taken.extend(come(&mut theirs));
        }
        assert_eq!(taken, [b'x'; 150]);
        let more = conn.more_will_follow();
        stream.write_all(&[b'x'; 150]).await.expect("room");
        drop(more);
        drop(theirs);
        stream.read_u8().await.expect_err("it is gone");
    }

    #[tokio::test]
    async fn a_client_that_does_not_take_what_was_kept_is_given_up() {
        let (mut stream, _theirs) = speaking(Speaks::Http1, [60_000, 60_000, 20]);
        let conn = stream.conn.clone();
        let more = conn.more_will_follow();
        stream.write_all(&[b'x'; 150]).await.expect("room");
        drop(more);
        let error = stream.read_u8().await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    proptest! {
        #[test]
        fn whatever_is_kept_comes_in_order(
            writes in vec((0usize..20_000, any::<bool>(), any::<bool>(), any::<bool>()), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("a runtime").block_on(async {
                let (mut stream, mut theirs) = speaking(Speaks::Http1, [60_000; 3]);
                let conn = stream.conn.clone();
                let reading = tokio::spawn(async move {
                    let mut all = Vec::new();
                    theirs.read_to_end(&mut all).await.map(|_| all)
                });
                let mut all = Vec::new();
                for (length, follows, vectored, flush) in writes {
                    let piece: Vec<u8> = (all.len()..all.len() + length).map(|at| at as u8).collect();
                    let more = follows.then(|| conn.more_will_follow());
                    let mut sent = 0;
                    while sent < length {
                        let (one, two) = piece[sent..].split_at((length - sent) / 2);
                        let both = [io::IoSlice::new(one), io::IoSlice::new(two)];
                        sent += match vectored {
                            true => stream.write_vectored(&both).await.expect("a reader"),
                            false => stream.write(&piece[sent..]).await.expect("a reader"),
                        };
                    }
                    if flush {
                        stream.flush().await.expect("a reader");
                    }
                    drop(more);
                    all.extend(piece);
                }
                AsyncWriteExt::shutdown(&mut stream).await.expect("a reader");
                drop(stream);
                assert!(reading.await.expect("no panic").expect("all") == all);
            });
        }
    }

    #[tokio::test]
    async fn a_byte_does_not_extend_the_headers_deadline() {
        let (mut stream, mut theirs) = guarded([30, 60_000, 60_000]);
        let dripping = tokio::spawn(async move {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut all = Vec::new();
        let error = stream.read_to_end(&mut all).await.expect_err("too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(stream.farewell.is_some(), "the client is told");
        drop(stream);
        assert!(dripping.await.is_ok());
    }
}
