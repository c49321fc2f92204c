//! Counters in this process: for one instance, and for tests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::check;
use crate::counter::Counter;
use crate::store::{Exchange, Look, QuotaStore, QuotaStoreError, Reply, State};

/// Counters in this process. They are gone with it.
pub struct MemoryQuotas {
    counters: Mutex<HashMap<Arc<str>, Kept>>,
    clock: Box<dyn Fn() -> i64 + Send + Sync>,
}

#[derive(Default)]
struct Kept {
    counter: Counter,
    touched_at: i64,
    /// When nothing in it counts any more.
    ends_at: i64,
}

impl MemoryQuotas {
    /// No counters, and the system's time.
    pub fn new() -> Self {
        Self::with_clock(system_ms)
    }

    /// No counters, and the time that `clock` tells, in milliseconds since the epoch.
    pub fn with_clock(clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { counters: Mutex::default(), clock: Box::new(clock) }
    }
}

impl Default for MemoryQuotas {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl QuotaStore for MemoryQuotas {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn exchange(&self, batch: &[Exchange]) -> Result<Vec<Reply>, QuotaStoreError> {
        check::batch(batch)?;
        let now = (self.clock)();
        let mut counters = self.counters.lock();
        let reply = |it: &Exchange| {
            let kept = counters.entry(it.counter.clone()).or_default();
            let reply = kept.counter.exchange(it, now);
            if matches!(reply, Reply::Done(_)) {
                kept.touched_at = now;
                kept.ends_at = kept.counter.ends_at(it.span).unwrap_or(i64::MAX);
            }
            reply
        };
        Ok(batch.iter().map(reply).collect())
    }

    async fn look(&self, asked: &[Look]) -> Result<Vec<State>, QuotaStoreError> {
        check::looks(asked)?;
        let now = (self.clock)();
        let counters = self.counters.lock();
        let state = |look: &Look| match counters.get(&look.counter) {
            Some(kept) => kept.counter.look(look.span, now),
            None => State { now, ..State::default() },
        };
        Ok(asked.iter().map(state).collect())
    }

    async fn forget(&self, before: i64) -> Result<u64, QuotaStoreError> {
        let now = (self.clock)();
        let mut counters = self.counters.lock();
        let known = counters.len();
        counters.retain(|_, kept| kept.touched_at >= before || kept.ends_at > now);
        Ok((known - counters.len()) as u64)
    }
}

/// The system's time, in milliseconds since the epoch.
fn system_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
