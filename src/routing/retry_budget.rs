//! Retries as a share of traffic: when everything fails, more attempts only make it worse.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A retry, in the budget's own unit.
const RETRY: i64 = 1_000;

/// Retries that are there from the start, so that little traffic may retry too; and with each second
/// that goes by, one comes back up to them.
const RESERVE: i64 = 10 * RETRY;

/// Retries that can be saved up at most.
const MOST: i64 = 100 * RETRY;

/// What is kept of a model over all generations.
#[derive(Debug, Default)]
pub struct Tally {
    budget: RetryBudget,
    retries: AtomicU64,
    over_budget: AtomicU64,
    desperate: AtomicU64,
    passed_over: AtomicU64,
}

impl Tally {
    /// A request begins, of which `percent` of a retry may come.
    pub fn requested(&self, percent: u32) {
        self.budget.deposit(percent);
    }

    /// Takes a retry, if there is one. `now` is in milliseconds.
    pub fn take_retry(&self, now: i64) -> bool {
        let taken = self.budget.withdraw(now);
        let count = if taken { &self.retries } else { &self.over_budget };
        count.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// All targets were left out, so that the least bad was asked.
    pub fn desperate(&self) {
        self.desperate.fetch_add(1, Ordering::Relaxed);
    }

    /// A target was not asked, as a limit of its provider has no room.
    pub fn passed_over(&self) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Retries made, retries that there was no budget for, requests that the least bad target was asked for,
    /// and targets that were passed over.
    pub fn counts(&self) -> [u64; 4] {
        [&self.retries, &self.over_budget, &self.desperate, &self.passed_over]
            .map(|n| n.load(Ordering::Relaxed))
    }
}

/// What is left for retries. Requests put in, retries take out.
#[derive(Debug)]
pub struct RetryBudget {
    left: AtomicI64,
    /// When the reserve was last looked after, in milliseconds.
    filled_at: AtomicI64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { left: AtomicI64::new(RESERVE), filled_at: AtomicI64::new(0) }
    }
}

impl RetryBudget {
    /// A request begins, of which `percent` of a retry may come.
    pub fn deposit(&self, percent: u32) {
        if self.left.load(Ordering::Relaxed) < MOST {
            self.left.fetch_add(i64::from(percent) * RETRY / 100, Ordering::Relaxed);
        }
    }

    /// Takes a retry, if there is one. `now` is in milliseconds.
    pub fn withdraw(&self, now: i64) -> bool {
        let filled_at = self.filled_at.load(Ordering::Relaxed);
        let seconds = (now - filled_at) / 1_000;
        let order = Ordering::Relaxed;
        if seconds > 0 && self.filled_at.compare_exchange(filled_at, now, order, order).is_ok() {
            let lacks = (RESERVE - self.left.load(order)).max(0);
            self.left.fetch_add(lacks.min(seconds.saturating_mul(RETRY)), order);
        }
        let taken = |left: i64| (left >= RETRY).then_some(left - RETRY);
        self.left.fetch_update(order, order, taken).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_requests_beyond_a_reserve() {
        let budget = RetryBudget::default();
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.deposit(20);
            retries += u32::from(budget.withdraw(0));
        }
        assert_eq!(retries, 10 + 200);
        assert!(!budget.withdraw(0));
        assert!(budget.withdraw(1_000), "one comes back each second");
        assert!(!budget.withdraw(1_999));
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let budget = RetryBudget::default();
        (0..10_000).for_each(|_| budget.deposit(100));
        let retries = (0..10_000).filter(|_| budget.withdraw(0)).count();
        assert!((99..=101).contains(&retries), "{retries}");
    }
}
