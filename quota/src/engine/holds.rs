//! What one request has, until it ends.

use std::sync::Arc;

use super::{Amounts, Shared};
use crate::slice::{Charged, Now, Part, Slice, Standing};

/// What a request holds. Only [`settle`](Self::settle) says what it really used; a request that is
/// dropped without is charged all that it held.
#[must_use = "a hold that is dropped is charged in full"]
pub struct Holds {
    shared: Arc<Shared>,
    parts: Vec<(Arc<Slice>, Part)>,
}

impl Holds {
    pub(super) fn new(shared: Arc<Shared>, parts: Vec<(Arc<Slice>, Part)>) -> Self {
        Self { shared, parts }
    }

    /// Whether no quota holds for the request.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Which quotas the request is held against.
    pub fn slices(&self) -> impl Iterator<Item = &Arc<Slice>> {
        self.parts.iter().map(|(slice, _)| slice)
    }

    /// What is left of each quota.
    pub fn standings(&self) -> impl Iterator<Item = Standing> {
        let now = self.shared.now();
        self.parts.iter().map(move |(slice, _)| slice.standing(now))
    }

    /// What was charged by being admitted.
    pub fn charged(&self) -> Vec<Charged> {
        self.parts.iter().filter_map(|(slice, part)| slice.charged_by(part)).collect()
    }

    /// What will be charged when the request ends, at most.
    pub fn to_be_charged(&self) -> Vec<Charged> {
        self.parts.iter().filter_map(|(slice, part)| slice.may_charge(part)).collect()
    }

    /// Ends the request: so much was really used. Returns what is charged from here on.
    pub fn settle(mut self, used: &Amounts) -> Vec<Charged> {
        let now = self.shared.now();
        self.end(now, |slice, _| used.of(slice.unit()))
    }

    fn end(&mut self, now: Now, used: impl Fn(&Slice, &Part) -> u64) -> Vec<Charged> {
        let parts = std::mem::take(&mut self.parts);
        let settle = |(slice, part): &(Arc<Slice>, Part)| {
            let used = used(slice, part);
            self.shared.counts.overrun(slice.unit(), used.saturating_sub(part.amount));
            slice.settle(part, used, now)
        };
        parts.iter().filter_map(settle).collect()
    }
}

/// Nobody has said what was used: it counts as all that was held.
impl Drop for Holds {
    fn drop(&mut self) {
        if !self.parts.is_empty() {
            let now = self.shared.now();
            self.end(now, |_, part| part.amount);
        }
    }
}

/// The quotas, without the state behind them.
impl std::fmt::Debug for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.parts.iter().map(|(slice, part)| (slice.counter(), part)))
            .finish()
    }
}
