//! How long to wait after failures.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::options::Retry;

/// Doublings of the wait; more would overflow.
const MAX_DOUBLINGS: u32 = 16;

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    retry: Retry,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, failures: 0 }
    }

    /// Takes note of a failure, and says how long to wait after it. `chance` is 0 to 1, and makes
    /// instances that have seen the same failure come back at different times.
    pub(crate) fn failed(&mut self, chance: f64) -> Duration {
        let whole = self.retry.first * 2_u32.pow(self.failures.min(MAX_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        whole.min(self.retry.most).mul_f64(0.5 + chance / 2.0)
    }

    /// Takes note of a success.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Some number between 0 and 1. Need not be hard to guess.
pub(crate) fn chance() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    random as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_up_to_the_most_and_begin_anew(chances in prop::collection::vec(0.0..=1.0, 1..40)) {
            let retry = Retry { first: Duration::from_millis(100), most: Duration::from_secs(5), ..Retry::default() };
            let mut backoff = Backoff::new(retry);
            let mut whole = retry.first;
            for chance in chances {
                let wait = backoff.failed(chance);
                prop_assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
                whole = (whole * 2).min(retry.most);
            }
            backoff.succeeded();
            prop_assert!(backoff.failed(1.0) == retry.first);
        }
    }

    #[test]
    fn chances_differ() {
        let some: Vec<_> = (0..100).map(|_| chance()).collect();
        assert!(some.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(some.iter().any(|chance| *chance < 0.5) && some.iter().any(|chance| *chance > 0.5));
    }
}
