//! Keeps callers from waiting one after another for a server that is away.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pause after the first failure. It doubles with each failure after it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Short, so that keys which are not known yet are good again within two seconds of the server's return,
/// however long it was away. It costs little: only one tries at a time.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// After a failure, all are turned away until a pause is over. Then one may try, and the rest go on
/// being turned away until it is known how that went.
#[derive(Default)]
pub(super) struct Breaker {
    failing: Mutex<Option<Failing>>,
}

struct Failing {
    pause: Duration,
    retry_at: Instant,
    /// Somebody is trying.
    trying: bool,
}

impl Breaker {
    /// Leave to try. `None`: it is of no use at present.
    pub fn pass(&self, now: Instant) -> Option<Pass<'_>> {
        let mut failing = self.lock();
        match &mut *failing {
            None => Some(Pass { breaker: self, is_trial: false }),
            Some(failing) if failing.trying || now < failing.retry_at => None,
            Some(failing) => {
                failing.trying = true;
                Some(Pass { breaker: self, is_trial: true })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to try once. Dropped without a verdict, as a caller that goes away does, it lets another try.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_trial: bool,
}

impl Pass<'_> {
    pub fn succeeded(self) {
        *self.breaker.lock() = None;
    }

    pub fn failed(self, now: Instant) {
        let mut failing = self.breaker.lock();
        let pause = match &*failing {
            None => FIRST_PAUSE,
            Some(failing) if self.is_trial => (failing.pause * 2).min(LONGEST_PAUSE),
            // Those that were under way when the first failed say nothing new.
            Some(_) => return,
        };
        *failing = Some(Failing { pause, retry_at: now + pause, trying: false });
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_trial
            && let Some(failing) = &mut *self.breaker.lock()
        {
            failing.trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_all_are_turned_away_until_one_may_try() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let (first, second) = (breaker.pass(start).unwrap(), breaker.pass(start).unwrap());
        first.failed(start);
        second.failed(start + FIRST_PAUSE);
        assert!(breaker.pass(start).is_none());
        let later = start + FIRST_PAUSE;
        let trial = breaker.pass(later).unwrap();
        assert!(breaker.pass(later).is_none(), "one tries at a time");
        trial.failed(later);
        assert!(breaker.pass(later + FIRST_PAUSE).is_none(), "the pause has doubled");
        breaker.pass(later + FIRST_PAUSE * 2).unwrap().succeeded();
        assert!(breaker.pass(later).is_some() && breaker.pass(later).is_some());
    }

    #[test]
    fn a_trial_that_is_abandoned_lets_another_try() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.pass(start).unwrap().failed(start);
        let later = start + FIRST_PAUSE;
        drop(breaker.pass(later).unwrap());
        assert!(breaker.pass(later).is_some());
    }

    #[test]
    fn pauses_are_short_however_long_the_server_is_away() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.pass(now).unwrap().failed(now);
            now += Duration::from_millis(500);
        }
    }
}
