//! The exchanges with the store, behind the requests' back.
//!
//! Every tick, what was used is told, what is idle is given back, and leases grow; in between, what
//! requests wait for is asked for at once. While the store is away, the exchanges that it has not answered
//! are sent again, one call at a time, and nothing else is asked of it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Shared;
use crate::slice::Slice;
use crate::store::{Exchange, MAX_BATCH, QuotaStoreError, Reply};

/// How long a call of the store may take.
const CALL: Duration = Duration::from_secs(3);
/// Calls at once. What becomes due while all are under way goes together with the next: the busier the
/// store, the larger the batches.
pub const CALLS: usize = 4;
/// Between tries while the store is away, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// After how many ticks slices that nobody needs are forgotten.
const SWEEP: u32 = 50;

/// Works until the engine is gone.
pub async fn run(shared: Weak<Shared>) {
    let known = shared.upgrade().map(|shared| (shared.options.tick, shared.wake.clone()));
    let Some((tick, wake)) = known else { return };
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_u32;
    let mut retry = FIRST_RETRY;
    let mut retry_at = Instant::now();
    let mut tick_is_due = false;
    loop {
        let ticked = tokio::select! {
            () = wake.notified() => false,
            _ = ticks.tick() => true,
        };
        let Some(shared) = shared.upgrade() else { return };
        let behind = shared.away.load(Ordering::Relaxed) || !shared.unanswered.lock().is_empty();
        if behind && Instant::now() >= retry_at {
            if try_again(&shared).await {
                retry = FIRST_RETRY;
            } else {
                retry = (retry * 2).min(LAST_RETRY);
                retry_at = Instant::now() + retry;
            }
        }
        if shared.away.load(Ordering::Relaxed) {
            turn_away(&shared);
            continue;
        }
        tick_is_due |= ticked;
        // Whoever ends a call wakes us.
        let Ok(first) = shared.calls.clone().try_acquire_owned() else { continue };
        let ticked = std::mem::take(&mut tick_is_due);
        let slices = if ticked {
            number = number.wrapping_add(1);
            if number.is_multiple_of(SWEEP) {
                sweep(&shared);
            }
            shared.urgent.lock().clear();
            shared.slices.read().values().cloned().collect()
        } else {
            std::mem::take(&mut *shared.urgent.lock())
        };
        let mut place = Some(first);
        for batch in due(&shared, slices, ticked).chunks(MAX_BATCH) {
            let place = match place.take() {
                Some(place) => place,
                None => match shared.calls.clone().acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => return,
                },
            };
            let (shared, batch) = (shared.clone(), batch.to_vec());
            tokio::spawn(async move {
                send(shared.clone(), batch).await;
                drop(place);
                shared.wake.notify_one();
            });
        }
    }
}

/// Tells all that is pending, and gives back what is free.
pub async fn drain(shared: &Arc<Shared>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let slices: Vec<_> = shared.slices.read().values().cloned().collect();
        if slices.iter().all(|slice| slice.has_told_all()) {
            return true;
        }
        for slice in &slices {
            slice.give_back();
        }
        for batch in due(shared, slices.clone(), true).chunks(MAX_BATCH) {
            send(shared.clone(), batch.to_vec()).await;
        }
        if shared.away.load(Ordering::Relaxed) {
            try_again(shared).await;
        }
        if Instant::now() >= deadline {
            return false;
        }
        // Exchanges of the pump's may be under way.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Due = (Arc<Slice>, Exchange);

fn due(shared: &Shared, slices: Vec<Arc<Slice>>, tick: bool) -> Vec<Due> {
    let (now, terms) = (shared.now(), shared.terms());
    let exchange = |slice: Arc<Slice>| {
        let exchange = {
            let _written = shared.unwritten.write();
            slice.exchange(&shared.options.instance, terms, now, tick)?
        };
        Some((slice, exchange))
    };
    slices.into_iter().filter_map(exchange).collect()
}

/// Those who wait can't be served.
fn turn_away(shared: &Shared) {
    for slice in std::mem::take(&mut *shared.urgent.lock()) {
        slice.unanswered();
    }
}

/// Sends what was not answered again. Returns whether the store is back.
async fn try_again(shared: &Arc<Shared>) -> bool {
    let batch: Vec<Due> = {
        let mut unanswered = shared.unanswered.lock();
        let from = unanswered.len().saturating_sub(MAX_BATCH);
        let now = shared.now();
        let again = |slice: Arc<Slice>| slice.again(now).map(|exchange| (slice, exchange));
        unanswered.drain(from..).filter_map(again).collect()
    };
    if batch.is_empty() {
        shared.away.store(false, Ordering::Relaxed);
        return true;
    }
    send(shared.clone(), batch).await
}

/// Does a batch. Returns whether the store answered.
async fn send(shared: Arc<Shared>, mut batch: Vec<Due>) -> bool {
    while !batch.is_empty() {
        let exchanges: Vec<_> = batch.iter().map(|(_, exchange)| exchange.clone()).collect();
        let sent_at = shared.now().local;
        shared.counts.calls.fetch_add(1, Ordering::Relaxed);
        shared.counts.exchanges.fetch_add(exchanges.len() as u64, Ordering::Relaxed);
        let replies = match timeout(CALL, shared.store.exchange(&exchanges)).await {
            Ok(Ok(replies)) if replies.len() == exchanges.len() => replies,
            Ok(Ok(_)) => {
                let why = "it answered another number of exchanges than it was asked";
                return fail(&shared, batch, &QuotaStoreError::Broken(why.into()));
            }
            Ok(Err(error)) => return fail(&shared, batch, &error),
            Err(_) => {
                let why = QuotaStoreError::Unavailable("it did not answer in time".into());
                return fail(&shared, batch, &why);
            }
        };
        if shared.away.swap(false, Ordering::Relaxed) {
            tracing::info!(store = shared.store.name(), "the quota store answers again");
        }
        batch = take(&shared, batch, replies, sent_at);
    }
    true
}

/// Hands out the replies. Returns what has to be sent once more.
fn take(shared: &Arc<Shared>, batch: Vec<Due>, replies: Vec<Reply>, sent_at: i64) -> Vec<Due> {
    let mut again = Vec::new();
    let mut urgent = Vec::new();
    let mut crossings = Vec::new();
    for ((slice, exchange), reply) in batch.into_iter().zip(replies) {
        match reply {
            Reply::Done(answer) => {
                // When it was sent, the store's clock had not come so far: ours is never behind it.
                shared.offset.store(answer.now - sent_at, Ordering::Relaxed);
                let now = shared.now();
                let (due, crossing) = slice.answer(exchange.seq, answer, shared.terms(), now);
                crossings.extend(crossing);
                if due {
                    urgent.push(slice);
                }
            }
            Reply::OtherPeriod { now } => {
                shared.offset.store(now - sent_at, Ordering::Relaxed);
                again.extend(slice.in_period(now).map(|exchange| (slice, exchange)));
            }
        }
    }
    if !urgent.is_empty() {
        shared.urge(urgent);
    }
    shared.note(crossings);
    again
}

fn fail(shared: &Arc<Shared>, batch: Vec<Due>, error: &QuotaStoreError) -> bool {
    shared.counts.failures.fetch_add(1, Ordering::Relaxed);
    if !shared.away.swap(true, Ordering::Relaxed) {
        tracing::error!(store = shared.store.name(), %error, "the quota store does not answer");
    }
    let slices: Vec<_> = batch.into_iter().map(|(slice, _)| slice).collect();
    for slice in &slices {
        slice.unanswered();
    }
    shared.unanswered.lock().extend(slices);
    false
}

/// Forgets slices that hold nothing and that nobody has kept.
fn sweep(shared: &Shared) {
    let now = shared.now();
    let unused = |slice: &Arc<Slice>| Arc::strong_count(slice) == 1 && slice.is_idle(now);
    if shared.slices.read().values().any(unused) {
        shared.slices.write().retain(|_, slice| !unused(slice));
    }
}
