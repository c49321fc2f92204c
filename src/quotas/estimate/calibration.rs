//! How many tokens a model's provider has counted for a byte of the body.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that are seen before anything is concluded.
const ENOUGH: u64 = 32;

/// Shorter bodies are mostly frame.
const SHORTEST: u64 = 256;

/// The ratio's unit: tokens for so many bytes.
const SCALE: u64 = 1 << 16;

/// The highest ratio seen of late. A model's tokens differ by language and kind of text, so a quarter
/// more than that is taken for the highest that will be seen.
#[derive(Debug, Default)]
pub struct Calibration {
    seen: AtomicU64,
    /// In tokens for [`SCALE`] bytes.
    highest: AtomicU64,
}

impl Calibration {
    /// A provider has counted `tokens` for a body of `bytes` that was text only.
    pub fn observe(&self, bytes: u64, tokens: u64) {
        if bytes < SHORTEST {
            return;
        }
        let ratio = tokens.min(bytes).saturating_mul(SCALE) / bytes;
        // What is not seen again is forgotten, slowly. Two at once may forget one step less.
        let highest = self.highest.load(Ordering::Relaxed);
        self.highest.store(ratio.max(highest - highest / 4_096), Ordering::Relaxed);
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    /// The most tokens that a body of `bytes` is taken to have. `None`: too little has been seen.
    pub fn bound(&self, bytes: u64) -> Option<u64> {
        if self.seen.load(Ordering::Relaxed) < ENOUGH {
            return None;
        }
        let highest = self.highest.load(Ordering::Relaxed);
        let with_margin = (highest + highest / 4).min(SCALE);
        Some(bytes.saturating_mul(with_margin).div_ceil(SCALE))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_concluded_from_little() {
        let calibration = Calibration::default();
        for _ in 0..ENOUGH - 1 {
            calibration.observe(1_000, 250);
        }
        calibration.observe(10, 10);
        assert_eq!(calibration.bound(4_000), None);
        calibration.observe(1_000, 250);
        let bound = calibration.bound(4_000).unwrap();
        assert!((1_240..=1_251).contains(&bound), "{bound}");
    }

    proptest! {
        #[test]
        fn what_was_seen_last_is_within_the_bound(
            seen in prop::collection::vec((SHORTEST..1 << 24, 0_u64..1 << 24), 40..60),
        ) {
            let calibration = Calibration::default();
            for (bytes, tokens) in &seen {
                calibration.observe(*bytes, (*tokens).min(*bytes));
            }
            for (bytes, tokens) in &seen {
                prop_assert!(calibration.bound(*bytes).unwrap() >= *tokens.min(bytes) * 99 / 100);
                prop_assert!(calibration.bound(*bytes).unwrap() <= *bytes);
            }
        }
    }
}
