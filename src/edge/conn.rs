//! What is known about one downstream connection, shared by its stream and its requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use pingora_core::protocols::http::ServerSession;
use tokio::sync::watch;

use super::ConnectionPermit;

/// Where a connection stands between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// No byte of a next request has arrived.
    Idle = 0,
    /// Some bytes of a header have arrived; the header deadline runs.
    Header = 1,
    /// A request is being served.
    Serving = 2,
}

/// One accepted connection. Holds its place in the connection limits until it is dropped.
#[derive(Debug)]
pub struct Conn {
    peer: Option<IpAddr>,
    phase: AtomicU8,
    /// Requests being served: over HTTP/2, several at once.
    serving: AtomicUsize,
    /// Whether this is HTTP/2, whose idle connections Pingora closes.
    multiplexed: AtomicBool,
    /// Whether it is one of `all_multiplexed`.
    answers: AtomicBool,
    /// How often the phase has changed: tells a new wait from an old one in the same phase.
    epoch: AtomicU32,
    /// Bytes read since the last request ended; tells a pipelined request from a fresh one.
    read_since_request: AtomicU64,
    /// Connections that are not idle, process-wide: a drain waits for them.
    busy: Arc<AtomicUsize>,
    /// Open HTTP/2 connections on which something was asked, process-wide: an answer may be queued in each.
    all_multiplexed: Arc<AtomicUsize>,
    /// Requests that have come.
    requests: AtomicU32,
    /// Whether what is written now goes out with what follows at once.
    more_follows: AtomicBool,
    /// Whether something that was written has not gone out yet.
    keeps: AtomicBool,
    /// Whether reading means to let that go.
    lets_go: AtomicBool,
    /// Has Pingora take leave of the client, where this can be HTTP/2.
    retire: Option<watch::Sender<bool>>,
    _permit: ConnectionPermit,
}

impl Conn {
    pub(crate) fn new(
        peer: Option<IpAddr>,
        permit: ConnectionPermit,
        busy: Arc<AtomicUsize>,
        all_multiplexed: Arc<AtomicUsize>,
        retire: Option<watch::Sender<bool>>,
    ) -> Self {
        Self {
            peer,
            phase: AtomicU8::new(Phase::Idle as u8),
            serving: AtomicUsize::new(0),
            multiplexed: AtomicBool::new(false),
            answers: AtomicBool::new(false),
            epoch: AtomicU32::new(0),
            read_since_request: AtomicU64::new(0),
            busy,
            all_multiplexed,
            requests: AtomicU32::new(0),
            more_follows: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
            lets_go: AtomicBool::new(false),
            retire,
            _permit: permit,
        }
    }

    /// The connection that `session` runs on; `None` for sessions without an [`Edge`](super::Edge).
    pub fn of(session: &ServerSession) -> Option<&Arc<Conn>> {
        let digest = session.digest()?.proxy_digest.as_deref()?;
        digest.user_data.as_deref()?.downcast_ref::<Arc<Conn>>()
    }

    /// The address at the other end: the client's, or that of a proxy; `None` on Unix sockets.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Header,
            _ => Phase::Serving,
        }
    }

    /// Bytes read from the socket since the last request on it ended.
    pub fn read_since_request(&self) -> u64 {
        self.read_since_request.load(Ordering::Relaxed)
    }

    /// The preface of HTTP/2 is here: the connection is idle until a request begins, and its bytes between
    /// requests are no header.
    pub(super) fn multiplexes(&self) {
        if !self.multiplexed.swap(true, Ordering::Relaxed) && self.phase() == Phase::Header {
            self.enter(Phase::Idle);
        }
    }

    /// A header is complete: the header deadline ends.
    pub fn request_begins(&self, multiplexed: bool) {
        if multiplexed && !self.answers.swap(true, Ordering::Relaxed) {
            self.multiplexed.store(true, Ordering::Relaxed);
            self.all_multiplexed.fetch_add(1, Ordering::Relaxed);
        }
        self.serving.fetch_add(1, Ordering::Relaxed);
        self.enter(Phase::Serving);
    }

    /// A request has ended: what is read from now on belongs to the next.
    pub fn request_ends(&self) {
        if self.serving.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.read_since_request.store(0, Ordering::Relaxed);
            self.enter(Phase::Idle);
        }
    }

    /// What came is no request, and the client has been told.
    pub(super) fn is_refused(&self) {
        self.enter(Phase::Idle);
    }

    /// Counts a request. Returns whether the connection ends with it, as it has carried `most`. Of HTTP/2
    /// the client is told, and what it has begun is served.
    pub fn is_last(&self, most: u32) -> bool {
        let last = self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= most;
        if last {
            self.retire();
        }
        last
    }

    /// Has Pingora take leave of the client.
    pub(super) fn retire(&self) {
        if let Some(retire) = &self.retire {
            retire.send_if_modified(|retired| !std::mem::replace(retired, true));
        }
    }

    /// What is written as long as the returned value lives need not go out by itself: more is about to follow.
    /// Whoever says so writes more, or has it go out ([`Self::lets_go`]), without waiting for anything else.
    pub fn more_will_follow(&self) -> While<'_> {
        While::begins(&self.more_follows)
    }

    /// Reading from the stream, as long as the returned value lives, lets go what it keeps and does nothing else: it
    /// is ready with an error alone.
    pub fn lets_go(&self) -> While<'_> {
        While::begins(&self.lets_go)
    }

    pub(super) fn only_lets_go(&self) -> bool {
        self.lets_go.load(Ordering::Relaxed)
    }

    pub(super) fn more_follows(&self) -> bool {
        self.more_follows.load(Ordering::Relaxed)
    }

    /// Whether something that was written has not gone out yet.
    pub fn keeps(&self) -> bool {
        self.keeps.load(Ordering::Relaxed)
    }

    pub(super) fn set_keeps(&self, keeps: bool) {
        self.keeps.store(keeps, Ordering::Relaxed);
    }

    /// Changes with each change of the phase.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Whether the deadlines between requests are ours to keep.
    pub(super) fn has_deadlines(&self) -> bool {
        !self.multiplexed.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_read(&self, n: u64) {
        self.read_since_request.fetch_add(n, Ordering::Relaxed);
        if self.phase() == Phase::Idle && self.has_deadlines() {
            self.enter(Phase::Header);
        }
    }

    fn enter(&self, phase: Phase) {
        let before = self.phase.swap(phase as u8, Ordering::Relaxed);
        if before != phase as u8 {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
        match (before == Phase::Idle as u8, phase == Phase::Idle) {
            (true, false) => drop(self.busy.fetch_add(1, Ordering::Relaxed)),
            (false, true) => drop(self.busy.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}

/// As long as it lives, something is so.
#[must_use]
pub struct While<'a>(&'a AtomicBool);

impl<'a> While<'a> {
    fn begins(is_so: &'a AtomicBool) -> Self {
        is_so.store(true, Ordering::Relaxed);
        Self(is_so)
    }
}

impl Drop for While<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.enter(Phase::Idle);
        if *self.answers.get_mut() {
            self.all_multiplexed.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::ConnectionLimits;

    fn conn() -> (Conn, Arc<AtomicUsize>) {
        let busy = Arc::new(AtomicUsize::new(0));
        let permit = ConnectionLimits::new().acquire(None, 1, 1).expect("the first place");
        (Conn::new(None, permit, busy.clone(), Arc::default(), None), busy)
    }

    #[test]
    fn a_connection_is_busy_from_a_requests_first_byte_to_its_end() {
        let (conn, busy) = conn();
        let busy = || busy.load(Ordering::Relaxed);
        assert_eq!((conn.phase(), busy()), (Phase::Idle, 0));
        conn.bytes_read(10);
        conn.bytes_read(10);
        assert_eq!((conn.phase(), busy(), conn.read_since_request()), (Phase::Header, 1, 20));
        conn.request_begins(false);
        assert_eq!((conn.phase(), busy()), (Phase::Serving, 1));
        conn.request_ends();
        assert_eq!((conn.phase(), busy(), conn.read_since_request()), (Phase::Idle, 0, 0));
        conn.bytes_read(1);
        drop(conn);
        assert_eq!(busy(), 0);
    }

    #[test]
    fn a_preface_alone_keeps_nobody_busy() {
        let (conn, busy) = conn();
        conn.bytes_read(10);
        assert_eq!((conn.phase(), busy.load(Ordering::Relaxed)), (Phase::Header, 1));
        conn.multiplexes();
        conn.bytes_read(14);
        assert_eq!((conn.phase(), busy.load(Ordering::Relaxed)), (Phase::Idle, 0));
        assert!(!conn.has_deadlines());
        assert_eq!(conn.all_multiplexed.load(Ordering::Relaxed), 0, "no answer is queued in it");
    }

    #[test]
    fn a_multiplexed_connection_is_idle_only_after_its_last_request() {
        let (conn, busy) = conn();
        conn.bytes_read(24);
        conn.request_begins(true);
        conn.request_begins(true);
        conn.request_ends();
        assert_eq!(conn.phase(), Phase::Serving);
        conn.request_ends();
        assert_eq!((conn.phase(), busy.load(Ordering::Relaxed)), (Phase::Idle, 0));
        // A PING is no header.
        conn.bytes_read(17);
        assert_eq!(conn.phase(), Phase::Idle);
        assert!(!conn.has_deadlines());
        let all = conn.all_multiplexed.clone();
        assert_eq!(all.load(Ordering::Relaxed), 1);
        drop(conn);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
