//! How long a program that does not stay is left alone.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Failure;

/// The pauses, from the first to the longest.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// After one failure.
    pub first: Duration,
    /// After many.
    pub longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(30) }
    }
}

/// The failures in a row, and until when there is no next start.
#[derive(Debug)]
pub struct Backoff {
    pauses: Pauses,
    failures: u32,
    last: Option<(Instant, String)>,
}

impl Backoff {
    /// Nothing has failed yet.
    pub fn new(pauses: Pauses) -> Self {
        Self { pauses, failures: 0, last: None }
    }

    /// A start has failed at `now`, or what was started has ended too soon.
    pub fn failed(&mut self, now: Instant, why: String) {
        let doubled = 2u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        let pause = self.pauses.first.saturating_mul(doubled).min(self.pauses.longest);
        self.failures = self.failures.saturating_add(1);
        self.last = Some((now + pause, why));
    }

    /// What was started has been of use.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.last = None;
    }

    /// Why there is no start at `now`, if so.
    pub fn refusal(&self, now: Instant) -> Option<Failure> {
        let (until, why) = self.last.as_ref()?;
        let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let ms = left.as_millis().max(1);
        Some(Failure::Unreachable(format!(
            "{why} (it is started again in {ms} ms at the earliest)"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(backoff: &Backoff, now: Instant) -> Option<String> {
        backoff.refusal(now).map(|failure| failure.to_string())
    }

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_a_use() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(Pauses::default());
        assert_eq!(refused(&backoff, now), None);
        for pause in [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000] {
            backoff.failed(now, "no such file".to_owned());
            let expected = format!(
                "can't be reached: no such file (it is started again in {pause} ms at the earliest)"
            );
            assert_eq!(refused(&backoff, now), Some(expected));
            now += Duration::from_millis(pause - 1);
            assert!(refused(&backoff, now).unwrap().contains(" in 1 ms "));
            now += Duration::from_millis(1);
            assert_eq!(refused(&backoff, now), None);
        }
        for _ in 0..100 {
            backoff.failed(now, String::new());
        }
        assert!(refused(&backoff, now).unwrap().contains(" 30000 ms "));
        backoff.reset();
        assert_eq!(refused(&backoff, now), None);
        backoff.failed(now, String::new());
        assert!(refused(&backoff, now).unwrap().contains(" 100 ms "));
    }
}
