//! What the MCP server really did.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use ::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::lock;

/// Counts since the start, and what is the case now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpStats {
    /// Requests and notifications that were not refused, by method.
    pub methods: BTreeMap<String, u64>,
    /// Calls, by tool.
    pub calls: BTreeMap<String, u64>,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions open now.
    pub sessions_open: usize,
    /// Requests under way.
    pub under_way: usize,
    /// The most that ever were.
    pub most_under_way: usize,
    /// Calls to `slow` that wait now.
    pub waiting: usize,
    /// Requests that were cancelled while under way, in the way of their era and transport.
    pub cancelled: u64,
    /// Messages refused.
    pub refused: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Requests that followed a redirect.
    pub redirected: u64,
    /// Clients that listen to what the server says unasked (`GET`).
    pub listening: usize,
}

/// Names come from outside, so that their number is bounded; the rest share the empty name.
const MAX_NAMES: usize = 1000;

const MAX_REFUSALS: usize = 100;

/// One mutex, so that every view is consistent.
#[derive(Debug, Default)]
pub(crate) struct McpBooks {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    stats: McpStats,
    refusals: VecDeque<String>,
    headers: HeaderMap,
    call: Value,
}

impl McpBooks {
    pub(crate) fn stats(&self) -> McpStats {
        lock(&self.state).stats.clone()
    }

    pub(crate) fn refusals(&self) -> Vec<String> {
        lock(&self.state).refusals.iter().cloned().collect()
    }

    pub(crate) fn last_headers(&self) -> HeaderMap {
        lock(&self.state).headers.clone()
    }

    pub(crate) fn last_call(&self) -> Value {
        lock(&self.state).call.clone()
    }

    pub(crate) async fn wait_until(&self, predicate: impl Fn(&McpStats) -> bool) {
        // Subscribed before the first look: `change` skips the notice when nobody listens.
        let mut changes = self.changed.subscribe();
        while !predicate(&self.stats()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn arrived(&self, headers: &HeaderMap) {
        self.change(|state| state.headers = headers.clone());
    }

    pub(crate) fn method(&self, method: &str) {
        self.change(|state| count(&mut state.stats.methods, method));
    }

    pub(crate) fn called(&self, tool: &str, params: Value) {
        self.change(|state| {
            count(&mut state.stats.calls, tool);
            state.call = params;
        });
    }

    pub(crate) fn refused(&self, why: &str) {
        self.change(|state| {
            state.stats.refused += 1;
            if state.refusals.len() == MAX_REFUSALS {
                state.refusals.pop_front();
            }
            state.refusals.push_back(why.to_owned());
        });
    }

    /// Returns how many there were with it.
    pub(crate) fn session_opened(&self) -> u64 {
        self.change(|state| {
            state.stats.sessions_open += 1;
            state.stats.sessions_opened += 1;
            state.stats.sessions_opened
        })
    }

    pub(crate) fn sessions_closed(&self, number: usize) {
        self.change(|state| state.stats.sessions_open -= number);
    }

    pub(crate) fn begun(&self) {
        self.change(|state| {
            let stats = &mut state.stats;
            stats.under_way += 1;
            stats.most_under_way = stats.most_under_way.max(stats.under_way);
        });
    }

    pub(crate) fn ended(&self) {
        self.change(|state| state.stats.under_way -= 1);
    }

    pub(crate) fn cancelled(&self) {
        self.change(|state| state.stats.cancelled += 1);
    }

    pub(crate) fn fault(&self) {
        self.change(|state| state.stats.faults += 1);
    }

    pub(crate) fn redirected(&self) {
        self.change(|state| state.stats.redirected += 1);
    }

    /// As long as the guard is there, a call to `slow` waits.
    pub(crate) fn waiting(&self) -> Now<'_> {
        self.now(|stats| &mut stats.waiting)
    }

    /// As long as the guard is there, a client listens.
    pub(crate) fn listening(&self) -> Now<'_> {
        self.now(|stats| &mut stats.listening)
    }

    fn now(&self, field: fn(&mut McpStats) -> &mut usize) -> Now<'_> {
        self.change(|state| *field(&mut state.stats) += 1);
        Now { books: self, field }
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut lock(&self.state));
        if self.changed.receiver_count() > 0 {
            self.changed.send_replace(());
        }
        result
    }
}

/// One of what is the case now.
#[derive(Debug)]
pub(crate) struct Now<'a> {
    books: &'a McpBooks,
    field: fn(&mut McpStats) -> &mut usize,
}

impl Drop for Now<'_> {
    fn drop(&mut self) {
        self.books.change(|state| *(self.field)(&mut state.stats) -= 1);
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(known) = counts.get_mut(name) {
        *known += 1;
        return;
    }
    let name = if counts.len() < MAX_NAMES { name } else { "" };
    *counts.entry(name.to_owned()).or_default() += 1;
}
