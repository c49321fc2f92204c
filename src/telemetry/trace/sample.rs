//! Which requests are traced.
//!
//! A caller that is in a trace decides for its request, so that traces are whole: but only up to a number
//! in each second, for a caller can say so of every request that it sends. Beyond that, and for all who say
//! nothing, chance decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::context::Parent;
use crate::config::valid::Traces;

/// Decides; one for the process.
pub struct Sampler {
    started: Instant,
    /// The second that is counted in, in the upper half, and how many requests were traced in it because
    /// their callers had asked.
    asked: AtomicU64,
    /// Callers' wishes beyond the limit.
    over: AtomicU64,
}

impl Sampler {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        Self { started: Instant::now(), asked: AtomicU64::new(0), over: AtomicU64::new(0) }
    }

    /// Whether to trace a request of `parent`. `random` is any number, another for each request: not the
    /// trace's id, which the caller chooses.
    pub fn samples(
        &self,
        settings: &Traces,
        parent: Option<&Parent>,
        random: u64,
        now: Instant,
    ) -> bool {
        match parent {
            Some(parent) if !parent.sampled => return false,
            Some(_) if self.takes(settings.parent_limit, now) => return true,
            Some(_) => {
                self.over.fetch_add(1, Ordering::Relaxed);
            }
            None => {}
        }
        by_chance(settings.sampling, random)
    }

    /// How often a caller asked beyond the limit.
    pub fn over(&self) -> u64 {
        self.over.load(Ordering::Relaxed)
    }

    /// Takes one of the present second's places.
    fn takes(&self, limit: u32, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.started).as_secs() << 32;
        let next = |asked: u64| {
            let taken = if asked >> 32 << 32 == second { asked } else { second };
            (taken - second < u64::from(limit)).then_some(taken + 1)
        };
        self.asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Whether one of `random` is within `ratio` of all.
fn by_chance(ratio: f64, random: u64) -> bool {
    // Routing draws from the same number: mixed, the one choice says nothing of the other.
    let mixed = mix(random);
    // 53 bits are what a float can hold.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let share = (mixed >> 11) as f64 / (1u64 << 53) as f64;
    share < ratio
}

/// Spreads each bit over all (the finalizer of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::{SpanId, TraceId};
    use proptest::prelude::*;

    use super::super::tests::settings;
    use super::*;

    fn parent(sampled: bool) -> Parent {
        Parent { trace_id: TraceId::from(1u128), span_id: SpanId::from(1u64), sampled }
    }

    #[test]
    fn chance_has_its_ends() {
        for random in [0, 1, 7, u64::MAX / 2, u64::MAX] {
            assert!(!by_chance(0.0, random));
            assert!(by_chance(1.0, random));
        }
        let share = (0..100_000).filter(|n| by_chance(0.1, *n)).count();
        assert!((9_000..11_000).contains(&share), "{share}");
    }

    #[test]
    fn a_caller_decides_up_to_a_limit() {
        let sampler = Sampler::new();
        let settings = Traces { sampling: 0.0, parent_limit: 3, ..settings() };
        let begun = sampler.started;
        let asks = |sampled, at: u64| {
            sampler.samples(&settings, Some(&parent(sampled)), 1, begun + Duration::from_secs(at))
        };
        let taken = (0..10).filter(|_| asks(true, 0)).count();
        assert_eq!((taken, sampler.over()), (3, 7));
        assert!(asks(true, 1), "the next second has places of its own");
        let everything = Traces { sampling: 1.0, parent_limit: 0, ..settings.clone() };
        assert!(sampler.samples(&everything, Some(&parent(true)), 1, begun), "chance goes on");
        assert!(!sampler.samples(&everything, Some(&parent(false)), 1, begun), "a no is a no");
    }

    proptest! {
        /// Whatever the times, no second has more than its places.
        #[test]
        fn no_second_has_more(limit in 0u32..5, times in prop::collection::vec(0u64..4_000, 0..60)) {
            let sampler = Sampler::new();
            let mut times = times;
            times.sort_unstable();
            let mut taken = [0u32; 4];
            for at in times {
                let second = usize::try_from(at / 1_000).unwrap();
                if sampler.takes(limit, sampler.started + Duration::from_millis(at)) {
                    taken[second] += 1;
                }
                prop_assert!(taken[second] <= limit);
            }
        }
    }
}
