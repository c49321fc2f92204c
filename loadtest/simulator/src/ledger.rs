//! What the simulator really did, to hold a gateway's own accounts against.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Counts since the start or the last reset, for all models and for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Sum over all models.
    pub total: Counts,
    /// By model name, without directives. Requests whose model could not be read are under the
    /// empty name.
    pub models: BTreeMap<String, Counts>,
}

/// Counts of requests and tokens. `requests` is the sum of `refused`, `failed`, `completed`,
/// `aborted` and those still in flight. Tokens are counted when a request ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests to a model endpoint, read whole.
    pub requests: u64,
    /// Those among them that asked for a stream and were not refused; counted when they end.
    pub streams: u64,
    /// Refused for what they were: 400, 401 and the like.
    pub refused: u64,
    /// Answered by a fault.
    pub failed: u64,
    /// Answered to the end.
    pub completed: u64,
    /// The client closed the connection or reset the stream before the end was written.
    pub aborted: u64,
    /// Prompt tokens, cached ones included, of all requests but refused ones and those where a
    /// fault took the answer's place.
    pub prompt_tokens: u64,
    /// Prompt tokens read from a cache.
    pub cached_tokens: u64,
    /// Generated tokens, reasoning included; of a broken answer only those generated until then.
    pub completion_tokens: u64,
    /// Reasoning tokens.
    pub reasoning_tokens: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.streams += other.streams;
        self.refused += other.refused;
        self.failed += other.failed;
        self.completed += other.completed;
        self.aborted += other.aborted;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
    }
}

/// A moment's view, for [`Simulator::wait_until`](crate::Simulator::wait_until).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted since the start.
    pub connections_accepted: u64,
    /// Connections open now.
    pub connections_open: usize,
    /// Requests in flight, streams included.
    pub in_flight: usize,
    /// The most that ever were.
    pub most_in_flight: usize,
    /// Streams in flight.
    pub streams_open: usize,
    /// Answers that have reached a [`Fault::Stall`](crate::Fault::Stall) and are still open.
    pub stalled: usize,
    /// Access tokens issued since the start, by all token endpoints.
    pub tokens_issued: u64,
    /// The ledger's totals.
    pub total: Counts,
}

/// A request as it arrived, kept when [`Options::record_requests`](crate::Options) is set.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Method.
    pub method: Method,
    /// Path with its query.
    pub path: String,
    /// Headers, in order.
    pub headers: HeaderMap,
    /// Body, whole.
    pub body: Bytes,
}

/// Older requests are forgotten.
const MAX_RECORDED: usize = 10_000;

/// Model names come from outside, so that their number is bounded; the rest share the empty name.
const MAX_MODELS: usize = 10_000;

/// The simulator's shared state. One mutex, so that every view is consistent.
#[derive(Debug, Default)]
pub(crate) struct Books {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    stats: Stats,
    models: BTreeMap<String, Counts>,
    recorded: VecDeque<Recorded>,
}

impl Books {
    pub(crate) fn ledger(&self) -> Ledger {
        let state = self.lock();
        Ledger { total: state.stats.total, models: state.models.clone() }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats
    }

    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.lock().recorded.iter().cloned().collect()
    }

    /// Forgets counts and recorded requests; what is in flight stays in flight.
    pub(crate) fn reset(&self) {
        self.change(|state| {
            state.stats.total = Counts::default();
            state.models.clear();
            state.recorded.clear();
        });
    }

    pub(crate) fn record(&self, request: Recorded) {
        self.change(|state| {
            if state.recorded.len() == MAX_RECORDED {
                state.recorded.pop_front();
            }
            state.recorded.push_back(request);
        });
    }

    /// Returns once `predicate` holds; it is asked again after every change.
    pub(crate) async fn wait_until(&self, predicate: impl Fn(&Stats) -> bool) {
        // Subscribed before the first look: `change` skips the notice when nobody listens.
        let mut changes = self.changed.subscribe();
        while !predicate(&self.stats()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn connection_opened(&self) {
        self.change(|state| {
            state.stats.connections_accepted += 1;
            state.stats.connections_open += 1;
        });
    }

    pub(crate) fn connection_closed(&self) {
        self.change(|state| state.stats.connections_open -= 1);
    }

    pub(crate) fn request_opened(&self, stream: bool) {
        self.change(|state| {
            state.stats.in_flight += 1;
            state.stats.most_in_flight = state.stats.most_in_flight.max(state.stats.in_flight);
            state.stats.streams_open += usize::from(stream);
        });
    }

    pub(crate) fn token_issued(&self) {
        self.change(|state| state.stats.tokens_issued += 1);
    }

    pub(crate) fn stalled(&self) {
        self.change(|state| state.stats.stalled += 1);
    }

    /// Counts the arrival of a request and returns how many came for `model` before it.
    pub(crate) fn arrived(&self, model: &str) -> u64 {
        let arrival = Counts { requests: 1, ..Counts::default() };
        self.change(|state| state.count(model, &arrival) - 1)
    }

    /// Counts a request that never became one in flight.
    pub(crate) fn refused(&self, model: &str) {
        self.change(|state| {
            state.count(model, &Counts { refused: 1, ..Counts::default() });
        });
    }

    pub(crate) fn request_closed(&self, model: &str, counts: &Counts, was: Flight) {
        self.change(|state| {
            state.stats.in_flight -= 1;
            state.stats.streams_open -= usize::from(was.stream);
            state.stats.stalled -= usize::from(was.stalled);
            state.count(model, counts);
        });
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        if self.changed.receiver_count() > 0 {
            self.changed.send_replace(());
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change can panic half-way, so a poisoned state is still a consistent one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a request was counted while it was in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flight {
    pub(crate) stream: bool,
    pub(crate) stalled: bool,
}

impl State {
    /// Adds to the total and to the model; returns the model's requests so far.
    fn count(&mut self, model: &str, counts: &Counts) -> u64 {
        self.stats.total.add(counts);
        if let Some(known) = self.models.get_mut(model) {
            known.add(counts);
            return known.requests;
        }
        let name = if self.models.len() < MAX_MODELS { model } else { "" };
        let entry = self.models.entry(name.to_owned()).or_default();
        entry.add(counts);
        entry.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_models_is_bounded() {
        let books = Books::default();
        for model in 0..MAX_MODELS + 10 {
            books.arrived(&model.to_string());
        }
        let ledger = books.ledger();
        assert_eq!(ledger.models.len(), MAX_MODELS + 1);
        assert_eq!(ledger.models[""].requests, 10);
        assert_eq!(ledger.total.requests, MAX_MODELS as u64 + 10);
    }

    #[tokio::test]
    async fn a_waiter_sees_a_change_made_before_and_after_it_began() {
        let books = std::sync::Arc::new(Books::default());
        books.arrived("m");
        books.wait_until(|stats| stats.total.requests == 1).await;
        let waiter = tokio::spawn({
            let books = books.clone();
            async move { books.wait_until(|stats| stats.total.requests == 2).await }
        });
        tokio::task::yield_now().await;
        books.arrived("m");
        assert!(waiter.await.is_ok());
    }
}
