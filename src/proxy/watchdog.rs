//! The deadlines of an exchange with an upstream, as one timer that is rarely touched.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

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
    total: u64,
    /// The longest sleep. No deadline is ever set nearer than this, so none is slept through.
    step: u64,
    cut: AtomicBool,
    cut_now: Notify,
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
            total: millis(total),
            step: millis(shortest).max(1),
            cut: AtomicBool::new(false),
            cut_now: Notify::new(),
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
        self.next_is.store(Expiry::Idle as u8, Ordering::Relaxed);
        self.next.store(millis(now - self.start + within), Ordering::Relaxed);
    }

    /// Ends the exchange at once.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.cut_now.notify_one();
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

/// Waits for [`Deadlines`]. Owns its timer, so that waiting again and again, as Pingora does for
/// each chunk, does not register a timer again and again.
pub struct Watchdog {
    deadlines: Arc<Deadlines>,
    leaving: Arc<Notify>,
    wait: Option<Wait>,
}

struct Wait {
    timer: Pin<Box<Sleep>>,
    leaving: Pin<Box<OwnedNotified>>,
}

impl Watchdog {
    /// Watches `deadlines`, and for the process's wish to leave.
    pub fn new(deadlines: Arc<Deadlines>, leaving: Arc<Notify>) -> Self {
        Self { deadlines, leaving, wait: None }
    }

    /// Completes when a deadline has passed. Cancel-safe.
    pub async fn expired(&mut self) -> Expiry {
        let expiry = self.wait().await;
        self.deadlines.expired.store(expiry as u8, Ordering::Relaxed);
        expiry
    }

    async fn wait(&mut self) -> Expiry {
        loop {
            if let Some(wait) = &mut self.wait {
                tokio::select! {
                    biased;
                    () = self.deadlines.cut_now.notified() => {}
                    () = wait.leaving.as_mut() => return Expiry::Leaving,
                    () = wait.timer.as_mut() => {}
                }
            }
            let left = match self.deadlines.look(Instant::now()) {
                Ok(expiry) => return expiry,
                Err(left) => left,
            };
            match &mut self.wait {
                Some(wait) => wait.timer.as_mut().reset(tokio::time::Instant::now() + left),
                None => {
                    self.wait = Some(Wait {
                        timer: Box::pin(tokio::time::sleep(left)),
                        leaving: Box::pin(self.leaving.clone().notified_owned()),
                    });
                }
            }
        }
    }
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
    async fn a_cut_wakes_a_sleeping_watchdog() {
        let (deadlines, _) = deadlines(3_600_000);
        let mut watchdog = Watchdog::new(deadlines.clone(), Arc::default());
        let waiting = tokio::spawn(async move { watchdog.expired().await });
        tokio::task::yield_now().await;
        deadlines.cut();
        assert_eq!(waiting.await.ok(), Some(Expiry::Cut));
        assert_eq!(deadlines.expired(), Some(Expiry::Cut));
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
    }
}
