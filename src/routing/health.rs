//! How a target has done of late: whether it is asked at all, how much, and how soon it answers.
//!
//! A target that fails several times in a row is left out for a while, longer each time; then it gets a
//! little of its share, and all of it once that has gone well. One that says when to come back is left
//! alone until then. Everything is an atomic: no request waits for another.
//!
//! Times are milliseconds of any clock that never goes back and has left 0 behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::valid::HealthRules as Rules;

/// The longest time out, however often a target has failed, unless the first is longer.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The longest that a provider's own `retry-after` is taken for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// The share of its weight that a target begins with when it comes back, in thousandths.
const FIRST_SHARE: u64 = 100;

/// The whole of its weight.
const WHOLE: u64 = 1_000;

/// How fast a measured latency is forgotten, in milliseconds.
const DECAY_MS: f64 = 10_000.0;

/// What came of asking a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer that was the target's to give, and how long it took to begin, if that tells anything.
    Good(Option<Duration>),
    /// None, a broken one, or an error of the target's own.
    Bad,
    /// It asks to be left alone for so long, if it says how long.
    Limited(Option<Duration>),
}

/// How a target has done. Outlives the generation.
#[derive(Debug, Default)]
pub struct Health {
    in_flight: AtomicU32,
    /// In a row.
    failures: AtomicU32,
    /// Times out since the last good answer that was not on trial.
    times_out: AtomicU32,
    /// Left out until then.
    out_until: AtomicI64,
    /// The peak of the latency, decaying, in microseconds.
    latency: AtomicU64,
    measured_at: AtomicI64,
    ejections: AtomicU64,
}

/// A request that is under way at a target, for as long as it lives.
#[derive(Debug)]
pub struct UnderWay(Arc<Health>);

/// What there is to show of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Requests under way.
    pub in_flight: u32,
    /// Failures in a row.
    pub failures: u32,
    /// For how many milliseconds more it is left out.
    pub out_for_ms: Option<i64>,
    /// Its present share of its weight, in thousandths.
    pub share: u64,
    /// The decaying peak of the time to its first byte, in microseconds.
    pub latency_us: u64,
    /// How often it was put out.
    pub ejections: u64,
}

impl Health {
    /// Counts a request that goes to the target.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Notes what came of a request. Returns whether the target is out from now on, and was not before.
    pub fn note(&self, outcome: Outcome, now: i64, rules: &Rules) -> bool {
        match outcome {
            Outcome::Good(latency) => {
                self.failures.store(0, Ordering::Relaxed);
                if self.share(now, rules) == WHOLE {
                    self.times_out.store(0, Ordering::Relaxed);
                }
                if let Some(latency) = latency {
                    self.measure(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), now);
                }
                false
            }
            Outcome::Bad => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                // One that is on trial is out again with its first failure.
                let trial =
                    self.times_out.load(Ordering::Relaxed) > 0 && self.share(now, rules) < WHOLE;
                (failures >= rules.failures || trial) && self.put_out(rules.cooldown, true, now)
            }
            Outcome::Limited(asked) => {
                let wait = asked.map_or(rules.cooldown, |asked| asked.min(LONGEST_ASKED));
                self.put_out(wait, asked.is_none(), now)
            }
        }
    }

    /// Leaves the target out for `wait`, doubled each time where it `grows`.
    fn put_out(&self, wait: Duration, grows: bool, now: i64) -> bool {
        let before = self.out_until.load(Ordering::Relaxed);
        if before > now {
            return false;
        }
        let times = self.times_out.fetch_add(1, Ordering::Relaxed);
        let longest = LONGEST.max(wait);
        let wait = if grows { wait.saturating_mul(1 << times.min(16)).min(longest) } else { wait };
        let until = now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        self.failures.store(0, Ordering::Relaxed);
        let order = Ordering::Relaxed;
        let first = self.out_until.compare_exchange(before, until, order, order).is_ok();
        if first {
            self.ejections.fetch_add(1, Ordering::Relaxed);
        }
        first
    }

    /// How much of its weight the target gets, in thousandths. 0: it is left out.
    pub fn share(&self, now: i64, rules: &Rules) -> u64 {
        let out_until = self.out_until.load(Ordering::Relaxed);
        if now < out_until {
            return 0;
        }
        if out_until == 0 {
            return WHOLE;
        }
        share_after(now.abs_diff(out_until), rules)
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What asking it now is likely to take: the decaying peak of its latency, times those who wait
    /// already. A target that was never asked is asked first.
    pub fn load(&self, now: i64) -> f64 {
        self.latency_now(now) * f64::from(self.in_flight() + 1)
    }

    /// What there is to show.
    pub fn show(&self, now: i64, rules: &Rules) -> Shown {
        let out_for = self.out_until.load(Ordering::Relaxed) - now;
        Shown {
            in_flight: self.in_flight(),
            failures: self.failures.load(Ordering::Relaxed),
            out_for_ms: (out_for > 0).then_some(out_for),
            share: self.share(now, rules),
            latency_us: self.latency_now(now) as u64,
            ejections: self.ejections.load(Ordering::Relaxed),
        }
    }

    /// A higher latency counts at once, a lower one as the old one is forgotten.
    fn measure(&self, latency_us: u64, now: i64) {
        let peak = self.latency_now(now);
        let seen = latency_us as f64;
        let elapsed = (now - self.measured_at.load(Ordering::Relaxed)).max(0) as f64;
        let kept = (-elapsed / DECAY_MS).exp();
        let next = if seen > peak { seen } else { peak * kept + seen * (1.0 - kept) };
        self.latency.store(next as u64, Ordering::Relaxed);
        self.measured_at.store(now, Ordering::Relaxed);
    }

    fn latency_now(&self, now: i64) -> f64 {
        let elapsed = (now - self.measured_at.load(Ordering::Relaxed)).max(0) as f64;
        self.latency.load(Ordering::Relaxed) as f64 * (-elapsed / DECAY_MS).exp()
    }
}

/// The share of a target that has been back for `since` milliseconds, in thousandths.
pub fn share_after(since: u64, rules: &Rules) -> u64 {
    let whole_after = u64::try_from(rules.slow_start.as_millis()).unwrap_or(u64::MAX);
    if since >= whole_after {
        return WHOLE;
    }
    FIRST_SHARE + (WHOLE - FIRST_SHARE) * since / whole_after.max(1)
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        Rules {
            failures: 3,
            cooldown: Duration::from_secs(10),
            slow_start: Duration::from_secs(20),
        }
    }

    #[test]
    fn failures_in_a_row_put_a_target_out_and_it_comes_back_slowly() {
        let (health, rules) = (Health::default(), rules());
        assert!(!health.note(Outcome::Bad, 1, &rules));
        assert!(!health.note(Outcome::Bad, 2, &rules));
        health.note(Outcome::Good(None), 3, &rules);
        assert!(!health.note(Outcome::Bad, 4, &rules) && !health.note(Outcome::Bad, 5, &rules));
        assert!(health.note(Outcome::Bad, 6, &rules), "the third in a row");
        assert_eq!(health.share(10_005, &rules), 0);
        assert_eq!(health.share(10_006, &rules), FIRST_SHARE);
        assert_eq!(health.share(20_006, &rules), 550);
        assert_eq!(health.share(30_006, &rules), WHOLE);
    }

    #[test]
    fn a_failure_on_trial_puts_it_out_for_longer() {
        let (health, rules) = (Health::default(), rules());
        (0..3).for_each(|_| _ = health.note(Outcome::Bad, 0, &rules));
        assert!(health.note(Outcome::Bad, 11_000, &rules), "one is enough now");
        assert_eq!(health.share(30_999, &rules), 0);
        assert!(health.share(31_000, &rules) > 0);
        // Once it has its whole share and does well, all is forgotten.
        health.note(Outcome::Good(None), 60_000, &rules);
        (0..3).for_each(|_| _ = health.note(Outcome::Bad, 61_000, &rules));
        assert!(health.share(71_000, &rules) > 0);
    }

    #[test]
    fn whoever_asks_to_be_left_alone_is() {
        let (health, rules) = (Health::default(), rules());
        assert!(health.note(Outcome::Limited(Some(Duration::from_secs(2))), 0, &rules));
        assert!(!health.note(Outcome::Limited(Some(Duration::from_secs(2))), 1, &rules));
        assert_eq!(health.share(1_999, &rules), 0);
        assert!(health.share(2_000, &rules) > 0);
        let long = Health::default();
        long.note(Outcome::Limited(Some(Duration::from_secs(1 << 40))), 0, &rules);
        assert!(long.share(60_000, &rules) > 0, "a minute at most");
    }

    #[test]
    fn the_slower_and_the_busier_has_the_greater_load() {
        let [fast, slow] = [Arc::new(Health::default()), Arc::new(Health::default())];
        fast.note(Outcome::Good(Some(Duration::from_millis(10))), 0, &rules());
        slow.note(Outcome::Good(Some(Duration::from_millis(100))), 0, &rules());
        assert!(fast.load(1) < slow.load(1));
        let busy: Vec<_> = (0..20).map(|_| fast.begin()).collect();
        assert!(fast.load(1) > slow.load(1));
        drop(busy);
        assert_eq!(fast.in_flight(), 0);
        assert!(slow.load(100_000) < 10.0, "what was long ago is forgotten");
    }

    proptest! {
        #[test]
        fn a_share_is_a_share_and_every_target_comes_back(
            outcomes in prop::collection::vec((0_u8..4, 0_i64..5_000), 1..200),
        ) {
            let (health, rules) = (Health::default(), rules());
            let mut now = 1;
            for (kind, later) in outcomes {
                now += later;
                let outcome = match kind {
                    0 => Outcome::Good(Some(Duration::from_millis(later.unsigned_abs()))),
                    1 | 2 => Outcome::Bad,
                    _ => Outcome::Limited((later % 2 == 0).then(|| Duration::from_millis(later.unsigned_abs()))),
                };
                health.note(outcome, now, &rules);
                prop_assert!(health.share(now, &rules) <= WHOLE);
            }
            let longest = i64::try_from((LONGEST + rules.slow_start).as_millis()).unwrap();
            prop_assert_eq!(health.share(now + longest, &rules), WHOLE);
        }
    }
}
