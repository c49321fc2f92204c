use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sluicegate_quota::memory::MemoryQuotas;

use crate::contract::{self, Effort};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    contract::check(Arc::new(MemoryQuotas::new()), Effort::Much).await;
}

/// With a clock that runs a thousand times as fast, all that takes days happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract_over_months() {
    let now = AtomicI64::new(1_790_000_000_000);
    let store = MemoryQuotas::with_clock(move || now.fetch_add(977_000, Ordering::Relaxed));
    contract::same_as_the_reference(&store, Effort::Much).await;
}
