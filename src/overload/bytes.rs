//! Bytes of request bodies and translated answers that the process holds, within a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shed;

/// What is held in all, and what may be.
#[derive(Debug, Default)]
pub struct BodyBytes {
    held: AtomicU64,
    limit: AtomicU64,
}

/// What one request holds, given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    all: Arc<BodyBytes>,
    bytes: u64,
}

impl BodyBytes {
    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on so many may be held. What is held stays.
    pub fn limit_to(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// A request that holds nothing yet.
    pub fn hold_none(self: &Arc<Self>) -> Held {
        Held { all: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds so many in all, if as many more fit. Where it holds them already, nothing changes.
    ///
    /// # Errors
    /// They do not fit; what was held stays so.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), Shed> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        let limit = self.all.limit();
        let fits = |held: u64| held.checked_add(more).filter(|held| *held <= limit);
        self.all
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| Shed::BufferedBytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Holds exactly so many, fit or not: they are there already.
    pub fn set(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.all.held.fetch_add(more, Ordering::Relaxed),
            None => self.all.held.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.all.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is held is the sum of what each holds, and growing never takes it past the limit.
        #[test]
        fn every_byte_is_counted_once(steps in prop::collection::vec((0usize..4, 0u8..4, 0u64..60), 1..100)) {
            let all = Arc::<BodyBytes>::default();
            all.limit_to(100);
            let mut requests: Vec<_> = (0..4).map(|_| all.hold_none()).collect();
            for (who, step, bytes) in steps {
                let before = all.held();
                match step {
                    0 => requests[who] = all.hold_none(),
                    1 => requests[who].set(bytes),
                    _ => {
                        let holds = requests[who].bytes();
                        let grown = requests[who].grow_to(bytes);
                        let fits = bytes <= holds || before - holds + bytes <= 100;
                        prop_assert_eq!(grown.is_ok(), fits);
                        prop_assert_eq!(requests[who].bytes(), if fits { holds.max(bytes) } else { holds });
                    }
                }
                prop_assert_eq!(all.held(), requests.iter().map(Held::bytes).sum::<u64>());
            }
            drop(requests);
            prop_assert_eq!(all.held(), 0);
        }
    }

    #[test]
    fn many_at_once_stay_within_the_limit() {
        let all = Arc::<BodyBytes>::default();
        all.limit_to(1000);
        let held = std::thread::scope(|scope| {
            let grow = || {
                let mut mine: Vec<_> = (0..100).map(|_| all.hold_none()).collect();
                mine.retain_mut(|held| held.grow_to(7).is_ok());
                mine
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(grow)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!((held.len(), all.held()), (142, 994));
        drop(held);
        assert_eq!(all.held(), 0);
    }
}
