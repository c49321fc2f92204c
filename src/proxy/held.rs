//! A downstream session whose request body has been read and is held whole.
//!
//! The body's `model` decides the upstream, so the body is read before Pingora chooses a peer; but
//! Pingora sends an upstream only what it reads itself, or its retry buffer of 64 KiB at most.
//! [`HeldSession`] stands in for the real session from then on: it answers "the body is done" and
//! gives the whole body, of any size and without a copy, as the retry buffer of every attempt.
//!
//! It is also the one future that Pingora polls all through an exchange (to notice a client that
//! leaves), so the [`Watchdog`] lives here: the deadlines for the first byte, for silence and in
//! all, none of which Pingora has.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::bell::Doorbell;
use super::gather::{self, Bodiless, Gathered, Plan, Taken, Wish};
use super::watchdog::Watchdog;
use crate::edge::Conn;

/// How many pieces of an answer Pingora hands on at once.
const BATCH: usize = 4;

/// How often Pingora may ask for the client before it hands on what is there already of an answer. After a batch it
/// asks once; then the provider's side hands on the next one, which may be after it was asked again, since they
/// take turns in who comes first; and once more in the turn in which it takes it.
const LULL: u8 = 3;

/// The real session in its wrapping. See the module's doc.
struct HeldSession {
    /// `None` only while being dropped.
    inner: Option<Box<ServerSession>>,
    watchdog: Watchdog,
    /// Of the client and the watchdog.
    bell: Doorbell,
    /// What waits of an answer.
    gathered: Gathered,
    /// Where the answer goes.
    conn: Option<Arc<Conn>>,
    /// How often was asked since the connection keeps something back.
    lull: u8,
    shared: Arc<Shared>,
}

/// What the wrapping and its owner both reach. Never contended: they run on one task.
struct Shared {
    /// Where the real session comes to rest when its wrapping is dropped.
    session: Mutex<Option<Box<ServerSession>>>,
    /// What the next attempt sends.
    body: Mutex<Bytes>,
    /// What is to become of the answer.
    plan: Mutex<Plan>,
}

/// The way back from a held session to the real one.
#[derive(Default)]
pub struct Held(Option<Arc<Shared>>);

impl Held {
    /// Puts a wrapping with `body` around `session`'s downstream side, which is on `conn`.
    pub fn hold(
        &mut self,
        session: &mut Session,
        conn: Option<Arc<Conn>>,
        body: Bytes,
        watchdog: Watchdog,
    ) {
        let shared = Arc::new(Shared {
            session: Mutex::new(None),
            body: Mutex::new(body),
            plan: Mutex::default(),
        });
        let inner = std::mem::replace(&mut session.downstream_session, Box::new(nobody()));
        let held = HeldSession {
            inner: Some(inner),
            watchdog,
            bell: Doorbell::default(),
            gathered: Gathered::default(),
            conn,
            lull: 0,
            shared: shared.clone(),
        };
        *session.downstream_session = ServerSession::new_custom(Box::new(held));
        self.0 = Some(shared);
    }

    /// The body that the next attempt sends.
    pub fn body(&self) -> Bytes {
        self.0.as_ref().map_or_else(Bytes::new, |shared| lock(&shared.body).clone())
    }

    /// Changes the body that the next attempt sends.
    pub fn set_body(&self, body: Bytes) {
        if let Some(shared) = &self.0 {
            *lock(&shared.body) = body;
        }
    }

    /// Says what is to become of the answer whose head comes next, or has come.
    pub fn wish(&self, wish: Wish) {
        if let Some(shared) = &self.0 {
            lock(&shared.plan).wish = wish;
        }
    }

    /// Says whether the answer whose head comes next is a stream: its pieces may be joined then.
    pub fn streams(&self, streams: bool) {
        if let Some(shared) = &self.0 {
            lock(&shared.plan).streams = streams;
        }
    }

    /// Says what the answer is whose head comes next, should it end with that.
    pub fn bodiless(&self, bodiless: Bodiless) {
        if let Some(shared) = &self.0 {
            lock(&shared.plan).bodiless = bodiless;
        }
    }

    /// Whether the answer waits.
    pub fn waits(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(&shared.plan).waits())
    }

    /// Takes the wrapping off again. What still waits of an answer is gone, and the client has seen nothing
    /// of it. Without it a keep-alive connection could not be used again.
    pub fn release(&mut self, session: &mut Session) {
        let Some(shared) = self.0.take() else { return };
        *session.downstream_session = nobody();
        if let Some(inner) = lock(&shared.session).take() {
            session.downstream_session = inner;
        }
    }
}

fn gone() -> Box<Error> {
    Error::new(ErrorType::ConnectionClosed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A placeholder that is never asked anything: it stands for a moment within one function.
fn nobody() -> ServerSession {
    ServerSession::new_custom(Box::new(()))
}

impl HeldSession {
    fn inner(&self) -> &ServerSession {
        self.inner.as_deref().unwrap_or_else(|| unreachable!("only Drop takes the session"))
    }

    /// Waits for the client to leave, or a deadline to pass.
    ///
    /// Pingora asks with each piece of an answer, and begins anew with each batch of them. It is enough to ask
    /// when something rang: what is registered with a socket outlasts the future that did it, and the watchdog keeps
    /// its timer and its farewell from one future to the next.
    fn poll_idle(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.poll_kept(task)?;
        let Self { inner, watchdog, bell, .. } = self;
        let Some(inner) = inner else {
            return Poll::Ready(Err(gone()));
        };
        // A stream of HTTP/2 keeps one waker for all that is waited for on it, which a write may replace.
        let waker = match **inner {
            ServerSession::H1(_) if !watchdog.is_cut() => match bell.answer(task.waker()) {
                Some(waker) => waker,
                None => return Poll::Pending,
            },
            _ => task.waker(),
        };
        let mut context = Context::from_waker(waker);
        let read = match pin!(inner.read_body_or_idle(true)).poll(&mut context) {
            Poll::Ready(read) => read,
            Poll::Pending => {
                let expiry = ready!(pin!(watchdog.expired()).poll(&mut context));
                Err(Error::new(ErrorType::Custom(expiry.reason())))
            }
        };
        // Another attempt may follow, and nothing is registered of what has just ended.
        *bell = Doorbell::default();
        Poll::Ready(read)
    }

    /// Lets go what the connection keeps of the answer, once nothing more of it can be there.
    fn poll_kept(&mut self, task: &mut Context<'_>) -> Result<()> {
        let Self { inner: Some(inner), conn: Some(conn), lull, .. } = self else { return Ok(()) };
        if !conn.keeps() {
            return Ok(());
        }
        if *lull < LULL {
            *lull += 1;
            task.waker().wake_by_ref();
        } else if let ServerSession::H1(session) = &mut **inner {
            let _letting_go = conn.lets_go();
            // Not what asks for the client below: it does not read any more once a byte of a next request is there.
            if let Poll::Ready(Err(error)) = pin!(session.idle()).poll(task) {
                return Err(error.into_down());
            }
        }
        Ok(())
    }

    /// Writes `tasks`. More is likely to be there already behind a full batch of a stream's pieces, which goes out
    /// with that.
    async fn write(&mut self, tasks: Vec<HttpTask>, full: bool) -> Result<bool> {
        let Self { inner: Some(inner), conn, lull, shared, .. } = self else { return Err(gone()) };
        // Of a piece that does not pass nothing is written, and nothing that waits goes out.
        if tasks.iter().any(|task| gather::body(task).is_some_and(|piece| !piece.is_empty())) {
            *lull = 0;
        }
        let joins = full
            && matches!(tasks.last(), Some(HttpTask::Body(_, false)))
            && lock(&shared.plan).streams;
        let _more = conn.as_deref().filter(|_| joins).map(Conn::more_will_follow);
        inner.response_duplex_vec(tasks).await
    }

    fn inner_mut(&mut self) -> &mut ServerSession {
        self.inner.as_deref_mut().unwrap_or_else(|| unreachable!("only Drop takes the session"))
    }
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        *lock(&self.shared.session) = self.inner.take();
    }
}

#[async_trait]
impl CustomSession for HeldSession {
    // What differs from the session within.

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_body_done(&mut self) -> bool {
        true
    }

    fn is_body_empty(&mut self) -> bool {
        lock(&self.shared.body).is_empty()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        Some(lock(&self.shared.body).clone())
    }

    fn read_body_or_idle<'life, 'future>(
        &'life mut self,
        _no_body_expected: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(poll_fn(|task| self.poll_idle(task)))
    }

    // What is passed on.

    fn req_header(&self) -> &RequestHeader {
        self.inner().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner_mut().req_header_mut()
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.inner_mut().write_response_header(resp).await
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, _end: bool) -> Result<()> {
        self.inner_mut().write_response_header_ref(resp).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner_mut().write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner_mut().write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let full = tasks.len() >= BATCH;
        let taken = self.gathered.take(tasks, &mut lock(&self.shared.plan));
        let done = match taken {
            Taken::Write(tasks) => self.write(tasks, full).await,
            Taken::Waits => Ok(false),
            Taken::Broke(error) => return Err(error),
        };
        if !matches!(done, Ok(true)) {
            // From here on, and not from when it came: a slow reader is not a silent provider.
            self.watchdog.restart_silence();
        }
        done
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner().request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner().response_written()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.inner_mut().shutdown().await;
    }

    async fn finish(&mut self) -> Result<()> {
        let rest = self.gathered.rest();
        if !rest.is_empty() {
            // In a box: it is rare, and every answer has this future.
            Box::pin(self.inner_mut().response_duplex_vec(rest)).await?;
        }
        self.inner_mut().finish_body().await
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner().to_h1_raw()
    }

    // HTTP has no custom messages.

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>
    {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<
            dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static,
        >,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pingora_core::protocols::l4::stream::Stream as L4Stream;
    use sluicegate_filters::Denial;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::dialects::Dialect;
    use crate::edge::{Blame, Bounds, ConnectionLimits, GuardedStream, Speaks, Tells};
    use crate::proxy::watchdog::Deadlines;

    /// Has nobody to tell anything.
    #[derive(Debug)]
    struct Silent;

    impl Tells for Silent {
        fn is_malformed(&self) {}

        fn refusal(&self, _: &Conn, _: Dialect, _: &Denial) -> Bytes {
            Bytes::new()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);

    struct Exchange {
        held: HeldSession,
        client: Option<TcpStream>,
        deadlines: Arc<Deadlines>,
        leaving: Arc<CancellationToken>,
    }

    async fn exchange() -> Exchange {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Box::new(L4Stream::from(listener.accept().await.unwrap().0));
        let permit = ConnectionLimits::new().acquire(None, 1, 1).unwrap();
        let conn = Arc::new(Conn::new(None, permit, Arc::default(), Arc::default(), None));
        let bounds = Bounds {
            header_size: 1024,
            header_timeout: HOUR,
            idle_timeout: HOUR,
            write_timeout: HOUR,
        };
        let blame = Blame::on(Arc::default(), None);
        let teller = Arc::new(Silent);
        let stream = GuardedStream::new(stream, conn.clone(), Speaks::Http1, bounds, blame, teller);
        let deadlines = Deadlines::new(Instant::now(), HOUR, SHORT);
        let leaving = Arc::<CancellationToken>::default();
        let held = HeldSession {
            inner: Some(Box::new(ServerSession::new_http1(Box::new(stream)))),
            watchdog: Watchdog::new(deadlines.clone(), leaving.clone()),
            bell: Doorbell::default(),
            gathered: Gathered::default(),
            conn: Some(conn),
            lull: 0,
            shared: Arc::new(Shared {
                session: Mutex::new(None),
                body: Mutex::default(),
                plan: Mutex::new(Plan { streams: true, ..Plan::default() }),
            }),
        };
        Exchange { held, client: Some(client), deadlines, leaving }
    }

    impl Exchange {
        /// Begins to wait, and is called away, as often as Pingora would.
        async fn wait_in_vain(&mut self) {
            for _ in 0..3 {
                self.ask_in_vain().await;
            }
        }

        async fn ask_in_vain(&mut self) {
            let held = &mut self.held;
            let asked = poll_fn(|task| Poll::Ready(held.poll_idle(task).is_pending())).await;
            assert!(asked, "nothing has happened");
        }

        async fn wait(&mut self) -> String {
            let Err(error) = self.held.read_body_or_idle(true).await else { panic!("no bytes") };
            format!("{:?}", error.etype())
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed() {
        let mut exchange = exchange().await;
        exchange.wait_in_vain().await;
        let client = exchange.client.take();
        let leaves = tokio::spawn(async move { drop(client) });
        assert_eq!(exchange.wait().await, "ConnectionClosed");
        leaves.await.unwrap();
    }

    #[tokio::test]
    async fn each_attempt_has_its_deadline() {
        let mut exchange = exchange().await;
        exchange.deadlines.expect_first_byte(Instant::now(), HOUR);
        exchange.wait_in_vain().await;
        // The first attempt has failed by itself, the others are silent.
        for _ in 0..3 {
            exchange.deadlines.expect_first_byte(Instant::now(), SHORT);
            exchange.wait_in_vain().await;
            assert!(exchange.wait().await.contains("first_byte_timeout"));
        }
        exchange.deadlines.expect_more(Instant::now(), SHORT);
        assert!(exchange.wait().await.contains("idle_timeout"));
    }

    #[tokio::test]
    async fn a_cut_and_a_farewell_are_heard() {
        let mut exchange = exchange().await;
        exchange.deadlines.expect_first_byte(Instant::now(), HOUR);
        exchange.wait_in_vain().await;
        exchange.leaving.cancel();
        assert!(exchange.wait().await.contains("leaving"));
        let mut exchange = self::exchange().await;
        exchange.wait_in_vain().await;
        // It rings no bell.
        exchange.deadlines.cut();
        assert!(exchange.wait().await.contains("cut"));
    }

    fn pieces(n: usize, end: bool) -> Vec<HttpTask> {
        let piece = |at| HttpTask::Body(Some(Bytes::from_static(b"x")), end && at + 1 == n);
        (0..n).map(piece).collect()
    }

    impl Exchange {
        /// An exchange whose head has gone out.
        async fn answered() -> (Self, Arc<Conn>) {
            let mut exchange = exchange().await;
            let client = exchange.client.as_mut().unwrap();
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let conn = exchange.held.conn.clone().unwrap();
            exchange.held.inner_mut().read_request().await.unwrap();
            conn.request_begins(false);
            exchange.wait_in_vain().await;
            let head = ResponseHeader::build(200, None).unwrap();
            let head = vec![HttpTask::Header(Box::new(head), false)];
            exchange.held.response_duplex_vec(head).await.unwrap();
            exchange.come().await;
            (exchange, conn)
        }

        /// What the client gets next.
        async fn come(&self) -> String {
            let client = self.client.as_ref().unwrap();
            client.readable().await.unwrap();
            let mut come = [0; 1024];
            let n = client.try_read(&mut come).unwrap();
            String::from_utf8(come[..n].to_vec()).unwrap()
        }
    }

    #[tokio::test]
    async fn a_full_batch_goes_out_with_the_next_one() {
        let (mut exchange, conn) = Exchange::answered().await;
        for _ in 0..3 {
            exchange.held.response_duplex_vec(pieces(BATCH, false)).await.unwrap();
            assert!(conn.keeps());
            // Not even when the client was asked about meanwhile.
            exchange.wait_in_vain().await;
            assert!(conn.keeps());
        }
        exchange.held.response_duplex_vec(pieces(1, false)).await.unwrap();
        assert!(!conn.keeps());
        assert_eq!(exchange.come().await, "x".repeat(3 * BATCH + 1));
        exchange.held.response_duplex_vec(pieces(BATCH, true)).await.unwrap();
        assert!(!conn.keeps(), "nothing follows an end");
    }

    #[tokio::test]
    async fn a_full_batch_goes_out_though_nothing_follows() {
        let (mut exchange, conn) = Exchange::answered().await;
        goes_out(&mut exchange, &conn).await;
    }

    #[tokio::test]
    async fn a_full_batch_goes_out_though_the_client_is_ahead() {
        let (mut exchange, conn) = Exchange::answered().await;
        exchange.held.inner_mut().set_pipelining_enabled(true);
        let asked = conn.read_since_request();
        exchange.client.as_mut().unwrap().write_all(b"G").await.unwrap();
        poll_fn(|task| {
            assert!(exchange.held.poll_idle(task).is_pending());
            if conn.read_since_request() > asked { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        goes_out(&mut exchange, &conn).await;
    }

    #[tokio::test]
    async fn a_full_batch_goes_out_though_nothing_that_follows_passes() {
        let (mut exchange, conn) = Exchange::answered().await;
        exchange.held.response_duplex_vec(pieces(BATCH, false)).await.unwrap();
        for _ in 0..=LULL {
            assert!(conn.keeps());
            let nothing = (0..BATCH).map(|_| HttpTask::Body(None, false)).collect();
            exchange.held.response_duplex_vec(nothing).await.unwrap();
            exchange.ask_in_vain().await;
        }
        assert!(!conn.keeps());
    }

    #[tokio::test]
    async fn what_is_no_stream_is_not_joined() {
        let (mut exchange, conn) = Exchange::answered().await;
        lock(&exchange.held.shared.plan).streams = false;
        exchange.held.response_duplex_vec(pieces(BATCH, false)).await.unwrap();
        assert!(!conn.keeps());
    }

    async fn goes_out(exchange: &mut Exchange, conn: &Conn) {
        exchange.held.response_duplex_vec(pieces(BATCH, false)).await.unwrap();
        for _ in 0..=LULL {
            assert!(conn.keeps());
            exchange.ask_in_vain().await;
        }
        assert!(!conn.keeps());
        assert_eq!(exchange.come().await, "x".repeat(BATCH));
    }
}
