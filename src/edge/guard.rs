//! A stream with deadlines: one for a header, one for silence between requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{ALPN, SslDigest, TlsRef};
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::frames::{Abuse, Frames};
use super::{Blame, Conn, Phase};

/// Wraps a downstream stream so that no client can hold it by being slow.
///
/// * The first byte of a request must come within the idle timeout.
/// * From that byte on, the whole header must come within the header timeout, however the bytes
///   are spread: a byte now and then does not extend it. So must a header list of HTTP/2.
/// * HTTP/2 frames that carry nothing are counted, and too many end it.
///
/// The bodies' deadline belongs to whoever reads the body.
#[derive(Debug)]
pub struct GuardedStream {
    inner: Stream,
    conn: Arc<Conn>,
    digest: Arc<ProxyDigest>,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// The connection's epoch when a read first had to wait in it, and since when.
    waiting: (u32, Instant),
    /// One for the connection's life: it looks when it fires and sleeps on where it woke too early.
    /// Never slower than the shorter timeout, so that no deadline is slept through.
    timer: Pin<Box<Sleep>>,
    write_timeout: Duration,
    /// Runs while a write makes no progress. Pingora has such a deadline for bodies, not for heads.
    stuck: Option<Pin<Box<Sleep>>>,
    frames: Frames,
    blame: Blame,
}

impl GuardedStream {
    /// Guards `inner`, whose first header is due at once.
    pub fn new(
        inner: Stream,
        conn: Arc<Conn>,
        header_timeout: Duration,
        idle_timeout: Duration,
        write_timeout: Duration,
        blame: Blame,
    ) -> Self {
        // Pingora hands this digest to every request of the connection, over HTTP/1 and HTTP/2
        // alike; it is the one place where a connection can carry something of ours.
        let user_data: Box<dyn std::any::Any + Send + Sync> = Box::new(conn.clone());
        let empty = ResponseHeader::build_no_case(200, Some(0));
        let response = Box::new(empty.unwrap_or_else(|_| unreachable!("200 is a valid status")));
        let digest = Arc::new(ProxyDigest::new(response, Some(user_data)));
        let timer = Box::pin(tokio::time::sleep(header_timeout.min(idle_timeout)));
        let waiting = (conn.epoch(), Instant::now());
        Self {
            inner,
            conn,
            digest,
            header_timeout,
            idle_timeout,
            waiting,
            timer,
            write_timeout,
            stuck: None,
            frames: Frames::default(),
            blame,
        }
    }

    fn note_written(&mut self, bytes: &[u8]) {
        if let Some(why) = self.frames.wrote(bytes) {
            self.blame.note(why);
        }
    }

    /// Passes a write's result on, and ends one that has made no progress for too long.
    fn poll_progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stuck = None;
            return result;
        }
        let within = self.write_timeout;
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
            Phase::Header => self.header_timeout,
            Phase::Idle => self.idle_timeout,
        };
        let epoch = self.conn.epoch();
        if self.waiting.0 != epoch {
            self.waiting = (epoch, Instant::now());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let header = self.frames.header_for(now.into_std());
            if header.is_some_and(|since| since >= self.header_timeout) {
                return Poll::Ready(());
            }
            let Some(left) = timeout.checked_sub(now - self.waiting.1).filter(|d| !d.is_zero())
            else {
                return Poll::Ready(());
            };
            let soonest = self.header_timeout.min(self.idle_timeout);
            self.timer.as_mut().reset(now + left.min(soonest));
        }
        Poll::Pending
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client was too slow to send a request header")
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
        let before = buf.filled().len();
        if Pin::new(&mut this.inner).poll_read(cx, buf)?.is_ready() {
            let n = buf.filled().len() - before;
            if n > 0 {
                this.conn.bytes_read(n as u64);
            }
            if let Err(why) = this.frames.read(&buf.filled()[before..]) {
                this.blame.note(why);
                return Poll::Ready(Err(abused(why)));
            }
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_deadline(cx));
        Poll::Ready(Err(too_slow()))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = result {
            self.note_written(&buf[..n]);
        }
        self.poll_progress(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.poll_progress(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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

#[async_trait]
impl Shutdown for GuardedStream {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.inner).await;
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
        match tokio::time::timeout(self.header_timeout, self.inner.try_peek(buf)).await {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::edge::ConnectionLimits;

    fn guarded(timeouts: [u64; 3]) -> (GuardedStream, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let permit = ConnectionLimits::new().acquire(None, 1, 1).expect("the first place");
        let conn = Arc::new(Conn::new(None, permit, Arc::default(), Arc::default(), None));
        let [header, idle, write] = timeouts.map(Duration::from_millis);
        let blame = Blame::on(Arc::default(), None);
        let stream = GuardedStream::new(Box::new(ours), conn, header, idle, write, blame);
        (stream, theirs)
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
        drop(stream);
        assert!(dripping.await.is_ok());
    }
}
