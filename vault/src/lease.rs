//! How long a token is good, and what to do about it when.

use std::time::Duration;

use tokio::time::Instant;

/// A token is seen to after this part of its time, so that there is time for several tries more.
const DUE_AT: f64 = 2.0 / 3.0;
/// By how much earlier than that instances see to it, so that they don't ask all at once.
const JITTER: f64 = 0.1;
/// A renewal that grants less than this part of what was granted at first has met the token's end.
const WHOLE: f64 = 0.5;

/// A token's time.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    /// `None` for a token that never expires.
    term: Option<Term>,
    renewable: bool,
}

#[derive(Clone, Debug)]
struct Term {
    /// The most that was granted at once.
    most: Duration,
    /// Whether the last grant was cut short.
    is_last: bool,
    due: Instant,
    expires: Instant,
}

/// What a token that is due needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Renew,
    LogIn,
}

impl Lease {
    /// The time of a token that was asked for at `asked`, which is sooner than it was granted.
    /// Without `ttl` it never expires.
    pub(crate) fn granted(
        asked: Instant,
        ttl: Option<Duration>,
        renewable: bool,
        chance: f64,
    ) -> Self {
        let term = ttl.map(|ttl| Term::new(asked, ttl, ttl, chance));
        Self { term, renewable }
    }

    /// Takes note of a renewal that was asked for at `asked`.
    pub(crate) fn renewed(&mut self, asked: Instant, ttl: Duration, renewable: bool, chance: f64) {
        let most = self.term.as_ref().map_or(ttl, |term| term.most.max(ttl));
        self.term = Some(Term::new(asked, ttl, most, chance));
        self.renewable = renewable;
    }

    /// When the token must be seen to.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.term.as_ref().map(|term| term.due)
    }

    /// When it is good no more.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.term.as_ref().map(|term| term.expires)
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }

    /// What is to be done when it is due.
    pub(crate) fn step(&self) -> Step {
        match &self.term {
            Some(term) if self.renewable && !term.is_last => Step::Renew,
            _ => Step::LogIn,
        }
    }
}

impl Term {
    fn new(asked: Instant, ttl: Duration, most: Duration, chance: f64) -> Self {
        Self {
            most,
            is_last: ttl < most.mul_f64(WHOLE),
            due: asked + ttl.mul_f64(DUE_AT * (1.0 - JITTER * chance)),
            expires: asked + ttl,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_without_an_end_is_never_due() {
        let lease = Lease::granted(Instant::now(), None, false, 0.5);
        assert_eq!(lease.due(), None);
        assert!(!lease.is_expired(Instant::now() + Duration::from_secs(1 << 30)));
    }

    #[test]
    fn a_token_that_can_t_be_renewed_is_replaced() {
        let lease = Lease::granted(Instant::now(), Some(Duration::from_secs(60)), false, 0.0);
        assert_eq!(lease.step(), Step::LogIn);
    }

    proptest! {
        /// A server that grants `ttl` at each renewal, but never beyond `most` after the login, and
        /// tells whole seconds: whoever does what the lease says never holds an expired token, and
        /// renews for as long as that gains anything.
        #[test]
        fn a_token_never_expires_and_is_not_thrown_away_early(
            ttl in 2_u64..5_000,
            renewals in 1_u64..20,
            delay_ms in 0_u64..100,
            chances in prop::collection::vec(0.0..=1.0, 60),
        ) {
            let (ttl, most) = (Duration::from_secs(ttl), Duration::from_secs(ttl * renewals));
            let delay = Duration::from_millis(delay_ms);
            let seconds = |time: Duration| Duration::from_secs(time.as_secs());
            let mut now = Instant::now();
            let mut ends = now + delay + most;
            let mut expires = now + delay + ttl;
            let mut lease = Lease::granted(now, Some(ttl), true, chances[0]);
            now += delay;
            for chance in &chances[1..] {
                let due = lease.due().unwrap();
                prop_assert!(due >= now || lease.step() == Step::LogIn);
                now = now.max(due);
                prop_assert!(now < expires, "expired before it was due");
                prop_assert!(!lease.is_expired(now) || lease.step() == Step::LogIn);
                match lease.step() {
                    Step::Renew => {
                        let granted = ttl.min(ends - (now + delay).min(ends));
                        expires = now + delay + granted;
                        lease.renewed(now, seconds(granted), true, *chance);
                    }
                    Step::LogIn => {
                        prop_assert!(ends - now < ttl, "thrown away early");
                        ends = now + delay + most;
                        expires = now + delay + ttl;
                        lease = Lease::granted(now, Some(ttl), true, *chance);
                    }
                }
                now += delay;
            }
        }
    }
}
