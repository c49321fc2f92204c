//! What an instance that is gone had leased.
//!
//! Its journal tells what it had charged, and by which exchange the store was to learn of it; the store
//! tells which exchange it saw last. So what is missing is charged exactly once, however often
//! this is done, and what is left of the lease becomes free.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluicegate_filters::admit::{OnLostLease, Quota, Window};

use crate::slice::Charged;
use crate::store::{
    Charge, Exchange, LeaseState, Look, MAX_AMOUNT, MAX_BATCH, QuotaStore, QuotaStoreError, Reply,
    State,
};

/// What the journal of an instance that is gone says.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// All that it charged.
    pub charged: Vec<Charged>,
    /// What requests would have been charged that were under way at its end, at most.
    pub under_way: Vec<Charged>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Counters on which the instance had a lease.
    pub counters: usize,
    /// Counters of which the store did not know what the journal said.
    pub behind: usize,
}

/// Charges what `instance` had used and not told, and ends its leases.
///
/// # Errors
/// Where the store is away. Do it again then: it has no second effect.
pub async fn recover(
    store: &dyn QuotaStore,
    instance: &Arc<str>,
    remains: &Remains,
    on_lost_lease: OnLostLease,
    now: i64,
) -> Result<Recovered, QuotaStoreError> {
    let mut counters: BTreeMap<Arc<str>, Told> = BTreeMap::new();
    for charged in &remains.charged {
        counters.entry(charged.counter.clone()).or_default().charged.push(charged.clone());
    }
    for charged in &remains.under_way {
        counters.entry(charged.counter.clone()).or_default().under_way.push(charged.clone());
    }
    let known: Vec<_> = counters
        .into_iter()
        .filter_map(|(counter, told)| Some((Quota::of_counter(&counter)?.1, counter, told)))
        .collect();
    let mut recovered = Recovered::default();
    for batch in known.chunks(MAX_BATCH) {
        let looks: Vec<_> = batch
            .iter()
            .map(|(window, counter, _)| Look { counter: counter.clone(), span: window.span(now) })
            .collect();
        let states = store.look(&looks).await?;
        let mut exchanges = Vec::new();
        for ((window, counter, told), state) in batch.iter().zip(&states) {
            let mine = state.leases.iter().find(|lease| *lease.instance == **instance);
            let Some(lease) = mine else { continue };
            recovered.counters += 1;
            let charges = told.missing(lease, window, state, on_lost_lease);
            recovered.behind += usize::from(!charges.is_empty());
            exchanges.push((
                window,
                Exchange {
                    counter: counter.clone(),
                    instance: instance.clone(),
                    seq: told.last_seq().max(lease.seq) + 1,
                    span: window.span(state.now),
                    limit: MAX_AMOUNT,
                    charges,
                    left: 0,
                    held: 0,
                    need: 0,
                    want: 0,
                    // It does not come back.
                    ttl_ms: 0,
                    on_lost_lease: OnLostLease::Release,
                    mark: 0,
                },
            ));
        }
        end(store, exchanges).await?;
    }
    Ok(recovered)
}

async fn end(
    store: &dyn QuotaStore,
    mut exchanges: Vec<(&Window, Exchange)>,
) -> Result<(), QuotaStoreError> {
    while !exchanges.is_empty() {
        let batch: Vec<_> = exchanges.iter().map(|(_, exchange)| exchange.clone()).collect();
        let replies = store.exchange(&batch).await?;
        let mut again = Vec::new();
        for ((window, mut exchange), reply) in exchanges.into_iter().zip(replies) {
            if let Reply::OtherPeriod { now } = reply {
                exchange.span = window.span(now);
                again.push((window, exchange));
            }
        }
        exchanges = again;
    }
    Ok(())
}

#[derive(Default)]
struct Told {
    charged: Vec<Charged>,
    under_way: Vec<Charged>,
}

impl Told {
    /// The last exchange that the instance had prepared or was preparing. Ours comes after it, so that
    /// all that it was to tell counts as told.
    fn last_seq(&self) -> u64 {
        self.charged.iter().chain(&self.under_way).map(|charged| charged.seq).max().unwrap_or(0)
    }

    /// What the store does not know yet.
    fn missing(
        &self,
        lease: &LeaseState,
        window: &Window,
        state: &State,
        on_lost_lease: OnLostLease,
    ) -> Vec<Charge> {
        let mut buckets: BTreeMap<i64, i64> = BTreeMap::new();
        for charged in self.charged.iter().filter(|charged| charged.seq > lease.seq) {
            *buckets.entry(charged.bucket).or_default() += charged.amount;
        }
        let leased = lease.leased.max(lease.in_doubt);
        // Without a lease, this has been done before.
        if on_lost_lease == OnLostLease::Charge && leased > 0 {
            for charged in &self.under_way {
                *buckets.entry(charged.bucket).or_default() += charged.amount;
            }
            // What is charged at admission was spent before the journal was written. Such a window is
            // short: all of the lease counts in it.
            if matches!(window, Window::Rolling { .. }) {
                let told: i64 = buckets.values().sum();
                let bucket = window.span(state.now).bucket(state.now);
                *buckets.entry(bucket).or_default() += (leased.cast_signed() - told).max(0);
            }
        }
        let charges = buckets.into_iter().filter(|(_, amount)| *amount != 0);
        charges.map(|(bucket, amount)| Charge { bucket, amount }).collect()
    }
}
