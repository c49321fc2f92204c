//! The deadlines of an exchange with an upstream, as one timer that is rarely touched.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pingora_timeout::fast_timeout::fast_sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a request may have been under way without listening for the farewell. Well below what a
/// drain leaves between the farewell and the end.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Which deadline passed, or who ended the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Expiry {
    /// The upstream sent no response header within `timeouts.first_byte`.
    FirstByte = 1,
    /// The upstream sent nothing for `timeouts.idle`.
    Idle = 2,
    /// The whole exchange took longer than `timeouts.total`.
    Total = 3,
    /// We have answered in full and want no more of the upstream.
    Cut = 4,
    /// The process can't wait any longer.
    Leaving = 5,
}

impl Expiry {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::FirstByte => "first_byte_timeout",
            Self::Idle => "idle_timeout",
            Self::Total => "total_timeout",
            Self::Cut => "cut",
            Self::Leaving => "leaving",
        }
    }
}

/// Deadlines in milliseconds after `start`, shared between the request's context, which moves
/// them, and the [`Watchdog`], which waits for them. Moving one is an atomic store: the timer
/// looks again when it fires, and sleeps on where it woke too early.
#[derive(Debug)]
pub struct Deadlines {
    start: Instant,
    next: AtomicU64,
    next_is: AtomicU8,
    /// The last wait for more bytes that was set.
    idle: AtomicU64,
    total: u64,
    /// The longest sleep. No deadline is ever set nearer than this, so none is slept through.
    step: u64,
    cut: AtomicBool,
    expired: AtomicU8,
}

impl Deadlines {
    /// Starts the clock with only the deadline in all. `shortest` is the shortest of the waits that
    /// will be set.
    pub fn new(start: Instant, total: Duration, shortest: Duration) -> Arc<Self> {
        Arc::new(Self {
            start,
            next: AtomicU64::new(u64::MAX),
            next_is: AtomicU8::new(Expiry::FirstByte as u8),
            idle: AtomicU64::new(0),
            total: millis(total),
            step: millis(shortest).max(1),
            cut: AtomicBool::new(false),
            expired: AtomicU8::new(0),
        })
    }

    /// An attempt begins: its first byte is due `within` from `now`.
    pub fn expect_first_byte(&self, now: Instant, within: Duration) {
        self.expired.store(0, Ordering::Relaxed);
        self.next_is.store(Expiry::FirstByte as u8, Ordering::Relaxed);
        self.next.store(millis(now - self.start + within), Ordering::Relaxed);
    }

    /// Bytes have come: the next are due `within` from `now`.
    pub fn expect_more(&self, now: Instant, within: Duration) {
        self.idle.store(millis(within), Ordering::Relaxed);
        self.next_is.store(Expiry::Idle as u8, Ordering::Relaxed);
        self.next.store(millis(now - self.start + within), Ordering::Relaxed);
    }

    /// Ends the exchange when the watchdog is asked next. Whoever calls this runs on the exchange's
    /// own task, between two of its waits, so nobody has to be woken.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// What ended the exchange, if a deadline did.
    pub fn expired(&self) -> Option<Expiry> {
        match self.expired.load(Ordering::Relaxed) {
            1 => Some(Expiry::FirstByte),
            2 => Some(Expiry::Idle),
            3 => Some(Expiry::Total),
            4 => Some(Expiry::Cut),
            5 => Some(Expiry::Leaving),
            _ => None,
        }
    }

    /// Ready to expire: which, or the time left to the nearest deadline.
    fn look(&self, now: Instant) -> Result<Expiry, Duration> {
        if self.cut.load(Ordering::Relaxed) {
            return Ok(Expiry::Cut);
        }
        let elapsed = millis(now - self.start);
        let next = self.next.load(Ordering::Relaxed);
        if elapsed >= self.total {
            return Ok(Expiry::Total);
        }
        if elapsed >= next {
            return Ok(match self.next_is.load(Ordering::Relaxed) {
                1 => Expiry::FirstByte,
                _ => Expiry::Idle,
            });
        }
        Err(Duration::from_millis((self.total.min(next) - elapsed).min(self.step)))
    }
}

/// Waits for [`Deadlines`]. It lives as long as its request and keeps its timer, so that being asked again and
/// again, as Pingora does for each chunk of an HTTP/2 client, costs a look at a few atomics and no new timer.
pub struct Watchdog {
    deadlines: Arc<Deadlines>,
    /// Shared as it is: to clone one takes a lock, and so does the clone's end.
    leaving: Arc<CancellationToken>,
    timer: Option<Timer>,
    farewell: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Pingora's own timer: rounded up to 10 ms and shared by all that end in the same tick. A timer of
/// tokio's would wake the I/O driver, with a system call, for nearly every request.
type Timer = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Watchdog {
    /// Watches `deadlines`, and for the process's wish to leave.
    pub fn new(deadlines: Arc<Deadlines>, leaving: Arc<CancellationToken>) -> Self {
        Self { deadlines, leaving, timer: None, farewell: None }
    }

    /// The provider has sent something, and what came of it is written: its silence begins now.
    pub fn restart_silence(&self) {
        let deadlines = &self.deadlines;
        if deadlines.next_is.load(Ordering::Relaxed) == Expiry::Idle as u8 {
            let within = Duration::from_millis(deadlines.idle.load(Ordering::Relaxed));
            deadlines.expect_more(Instant::now(), within);
        }
    }

    /// Whether the exchange was cut, which wakes nobody.
    pub fn is_cut(&self) -> bool {
        self.deadlines.cut.load(Ordering::Relaxed)
    }

    /// Completes when a deadline has passed. Cancel-safe.
    pub async fn expired(&mut self) -> Expiry {
        let expiry = self.wait().await;
        self.deadlines.expired.store(expiry as u8, Ordering::Relaxed);
        expiry
    }

    async fn wait(&mut self) -> Expiry {
        loop {
            if self.is_cut() {
                return Expiry::Cut;
            }
            if let Some(timer) = &mut self.timer {
                match &mut self.farewell {
                    None => timer.await,
                    Some(farewell) => tokio::select! {
                        biased;
                        () = farewell => {}
                        () = timer => {}
                    },
                }
                self.timer = None;
                if self.leaving.is_cancelled() {
                    self.farewell = None;
                    return Expiry::Leaving;
                }
                // Only who outlives a first short wait listens for the farewell: registering takes
                // a lock, and most requests are over before.
                self.farewell.get_or_insert_with(|| {
                    let leaving = CancellationToken::clone(&self.leaving);
                    Box::pin(leaving.cancelled_owned())
                });
            }
            match self.deadlines.look(Instant::now()) {
                Ok(expiry) => return expiry,
                Err(left) if self.farewell.is_some() => self.timer = Some(timer(left)),
                Err(left) => self.timer = Some(timer(left.min(FIRST_WAIT))),
            }
        }
    }
}

fn timer(after: Duration) -> Timer {
    Box::pin(fast_sleep(after))
}

/// Saturates: a deadline of 500 million years is none.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines(total: u64) -> (Arc<Deadlines>, Instant) {
        let start = Instant::now();
        (Deadlines::new(start, Duration::from_millis(total), Duration::from_secs(1)), start)
    }

    #[test]
    fn the_nearest_deadline_counts() {
        let (deadlines, start) = deadlines(1000);
        let at = |ms| start + Duration::from_millis(ms);
        deadlines.expect_first_byte(start, Duration::from_millis(200));
        assert_eq!(deadlines.look(at(50)), Err(Duration::from_millis(150)));
        assert_eq!(deadlines.look(at(200)), Ok(Expiry::FirstByte));
        deadlines.expect_more(at(190), Duration::from_millis(100));
        assert_eq!(deadlines.look(at(200)), Err(Duration::from_millis(90)));
        assert_eq!(deadlines.look(at(290)), Ok(Expiry::Idle));
        deadlines.expect_more(at(990), Duration::from_millis(100));
        assert_eq!(deadlines.look(at(1000)), Ok(Expiry::Total));
    }

    #[tokio::test]
    async fn a_cut_ends_the_next_wait() {
        let (deadlines, _) = deadlines(3_600_000);
        let mut watchdog = Watchdog::new(deadlines.clone(), Arc::default());
        tokio::select! {
            biased;
            expiry = watchdog.expired() => panic!("{expiry:?} too early"),
            () = std::future::ready(()) => {}
        }
        deadlines.cut();
        assert_eq!(watchdog.expired().await, Expiry::Cut);
        assert_eq!(deadlines.expired(), Some(Expiry::Cut));
    }

    #[tokio::test]
    async fn a_farewell_is_never_missed() {
        let (deadlines, _) = deadlines(3_600_000);
        let leaving = Arc::<CancellationToken>::default();
        let mut watchdog = Watchdog::new(deadlines, leaving.clone());
        let waiting = tokio::spawn(async move { watchdog.expired().await });
        // Before it listens or after: it hears of it all the same.
        leaving.cancel();
        assert_eq!(waiting.await.ok(), Some(Expiry::Leaving));
    }

    #[tokio::test]
    async fn a_deadline_that_moves_nearer_is_not_slept_through() {
        let (hour, short) = (Duration::from_secs(3600), Duration::from_millis(5));
        let start = Instant::now();
        let deadlines = Deadlines::new(start, hour, short);
        deadlines.expect_first_byte(start, hour);
        let mut watchdog = Watchdog::new(deadlines.clone(), Arc::default());
        let waiting = tokio::spawn(async move { watchdog.expired().await });
        tokio::task::yield_now().await;
        deadlines.expect_more(Instant::now(), short);
        assert_eq!(waiting.await.ok(), Some(Expiry::Idle));
    }

    #[tokio::test]
    async fn a_moved_deadline_is_looked_at_again() {
        let (deadlines, start) = deadlines(3_600_000);
        deadlines.expect_first_byte(start, Duration::from_millis(1));
        let mut watchdog = Watchdog::new(deadlines.clone(), Arc::default());
        assert_eq!(watchdog.expired().await, Expiry::FirstByte);
        assert_eq!(deadlines.expired(), Some(Expiry::FirstByte));
        // A further attempt starts afresh.
        deadlines.expect_first_byte(Instant::now(), Duration::from_secs(3600));
        assert_eq!(deadlines.expired(), None);
        assert!(deadlines.look(Instant::now()).is_err());
        // And the same watchdog can be asked again.
        deadlines.expect_first_byte(Instant::now(), Duration::from_millis(1));
        assert_eq!(watchdog.expired().await, Expiry::FirstByte);
    }
}
