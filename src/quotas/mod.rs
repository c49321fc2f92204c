//! How much a request may use, and what it used: the limits of its caller, of its model and of its
//! provider, held before it is forwarded and settled when it has ended.
//!
//! | module | what it is |
//! |---|---|
//! | [`configured`] | the limits that the configuration sets |
//! | [`estimate`] | the most that a request may use |
//! | [`refusal`] | what a caller is told who has used their limit up |
//! | [`standing`] | what is left, as headers on every answer |
//! | [`warnings`] | soft limits that are reached, written down once in a window |

pub mod configured;
pub mod estimate;
pub mod refusal;
pub mod standing;
pub mod warnings;

use std::sync::Arc;

use sluicegate_filters::Caller;
use sluicegate_filters::admit::{Quota, Unit};
use sluicegate_quota::{Engine, Slice};

/// The limits of all callers.
pub struct Quotas {
    engine: Arc<Engine>,
}

/// A caller's own limits, found once.
struct Own(Vec<(Option<String>, Arc<Slice>)>);

impl Quotas {
    /// Limits that `engine` counts.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// What counts.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The limits that a request for `model` is held against: its caller's, and `others`.
    pub fn of(&self, caller: &Caller, model: &str, others: &[Quota]) -> Vec<Arc<Slice>> {
        let mut slices = Vec::new();
        if !caller.quotas().is_empty() {
            let own = caller.keep(|| self.own(caller));
            let applies = |(only, _): &&(Option<String>, Arc<Slice>)| {
                only.as_deref().is_none_or(|only| only == model)
            };
            let found = own.into_iter().flat_map(|own| &own.0).filter(applies);
            slices.extend(found.map(|(_, slice)| slice.clone()));
        }
        slices.extend(others.iter().map(|quota| self.engine.slice(quota)));
        slices
    }

    fn own(&self, caller: &Caller) -> Own {
        let quotas = caller.quotas().iter();
        Own(quotas.map(|quota| (quota.scope.model.clone(), self.engine.slice(quota))).collect())
    }
}

/// Whether any of these limits is on money.
pub fn any_on_money(slices: &[Arc<Slice>]) -> bool {
    slices.iter().any(|slice| slice.unit() == Unit::NanoUsd)
}
