//! What one request has, until it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluicegate_filters::admit::{OnOverrun, Quota, Unit};

use super::{Amounts, Shared};
use crate::slice::{Charged, Now, Part, Short, Slice, Standing};

/// How long units that were asked for are waited for until they are asked for again, in milliseconds:
/// the answer may have been lost with the store.
const ASK_AGAIN_MS: i64 = 1_000;

/// What a request holds. Only [`settle`](Self::settle) says what it really used; a request that is
/// dropped without is charged all that it held.
#[must_use = "a hold that is dropped is charged in full"]
pub struct Holds {
    shared: Arc<Shared>,
    parts: Vec<Held>,
    /// What was given back of what had been charged, before the request has ended.
    given_back: Vec<Charged>,
    narrowed: bool,
}

/// Whether a request holds as much as it needs, after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// It does.
    Yes,
    /// The store has been asked, or is away: it may be so when asked again.
    Asked,
    /// This limit has no more to give. Of several, one whose streams are to be cut.
    No(Arc<Quota>),
}

/// What a request holds of one slice.
struct Held {
    slice: Arc<Slice>,
    part: Part,
    /// What was added while the request was under way. Each is a hold of its own, with the bucket and the
    /// exchange of its own time, so that each is settled as exactly as the first.
    more: Vec<Part>,
    /// When the store was asked for more.
    asked_at: Option<i64>,
}

impl Held {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.part).chain(&self.more)
    }

    fn amount(&self) -> u64 {
        self.parts().fold(0, |sum, part| sum.saturating_add(part.amount))
    }

    /// Not to the first, of which it has been told already what it is charged.
    fn add(&mut self, part: Part) {
        if !self.more.last_mut().is_some_and(|last| last.join(&part)) {
            self.more.push(part);
        }
    }

    /// Which part of `used` falls to each part: each is filled in turn, and what is beyond all of them
    /// falls to the last.
    fn shares(&self, used: u64) -> impl Iterator<Item = (&Part, u64)> {
        let (mut left, last) = (used, self.more.len());
        self.parts().enumerate().map(move |(index, part)| {
            let share = if index == last { left } else { left.min(part.amount) };
            left -= share;
            (part, share)
        })
    }
}

impl Holds {
    pub(super) fn new(shared: Arc<Shared>, parts: Vec<(Arc<Slice>, Part)>) -> Self {
        let held = |(slice, part)| Held { slice, part, more: Vec::new(), asked_at: None };
        let parts = parts.into_iter().map(held).collect();
        Self { shared, parts, given_back: Vec::new(), narrowed: false }
    }

    /// Whether no quota holds for the request.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Which quotas the request is held against.
    pub fn slices(&self) -> impl Iterator<Item = &Arc<Slice>> {
        self.parts.iter().map(|held| &held.slice)
    }

    /// What is left of each quota.
    pub fn standings(&self) -> impl Iterator<Item = Standing> {
        let now = self.shared.now();
        self.parts.iter().map(move |held| held.slice.standing(now))
    }

    /// What was charged by being admitted.
    pub fn charged(&self) -> Vec<Charged> {
        self.each().filter_map(|(slice, part)| slice.charged_by(part)).collect()
    }

    /// What will be charged when the request ends, at most.
    pub fn to_be_charged(&self) -> Vec<Charged> {
        self.each().filter_map(|(slice, part)| slice.may_charge(part)).collect()
    }

    /// Holds as many tokens and as much money as `all` says in all, where that is more than what is held.
    /// It never waits: where the store has to be asked, it is, and a later call finds what it gave. Each
    /// limit takes what it can, whatever others say.
    pub fn extend(&mut self, all: &Amounts) -> Extended {
        let now = self.shared.now();
        let away = self.shared.away.load(Ordering::Relaxed);
        let mut extended = Extended::Yes;
        for held in &mut self.parts {
            let unit = held.slice.unit();
            if !matches!(unit, Unit::Tokens | Unit::NanoUsd) {
                continue;
            }
            let lacks = all.of(unit).saturating_sub(held.amount());
            if lacks == 0 {
                continue;
            }
            match held.slice.hold_more(lacks, now, away, held.asked_at) {
                Ok((part, low)) => {
                    held.asked_at = None;
                    held.add(part);
                    if low {
                        self.shared.urge([held.slice.clone()]);
                    }
                }
                Err(Short::Full { .. }) => {
                    held.asked_at = None;
                    let quota = held.slice.quota();
                    let cut_already = matches!(&extended, Extended::No(other) if other.on_overrun == OnOverrun::Cut);
                    if !cut_already {
                        extended = Extended::No(quota);
                    }
                }
                Err(Short::Ask) => {
                    let waits = held.asked_at.is_some_and(|at| {
                        now.local - at < ASK_AGAIN_MS && !held.slice.answered_since(at)
                    });
                    if !waits {
                        held.asked_at = Some(now.local);
                        held.slice.wait_for(lacks);
                        self.shared.urge([held.slice.clone()]);
                    }
                    if extended == Extended::Yes {
                        extended = Extended::Asked;
                    }
                }
                Err(Short::Away) if extended == Extended::Yes => extended = Extended::Asked,
                Err(Short::Away) => {}
            }
        }
        extended
    }

    /// Whether some of it was given back already, so that it is not for another attempt.
    pub fn is_narrowed(&self) -> bool {
        self.narrowed
    }

    /// Gives back at once what is held beyond `used`: it is known by now that the request will have used that and no
    /// more. It is still to be settled.
    pub fn narrow(&mut self, used: &Amounts) {
        let now = self.shared.now();
        self.narrowed = true;
        for Held { slice, part, more, .. } in &mut self.parts {
            let mut left = used.of(slice.unit());
            let mut narrow = |part: &mut Part| {
                let keep = left.min(part.amount);
                left -= keep;
                slice.narrow(part, keep, now)
            };
            self.given_back.extend(narrow(part));
            for part in more {
                let Some(given_back) = narrow(part) else { continue };
                // What was added is told when the request ends, as what is left of it then.
                let (bucket, amount, seq) = (part.bucket, -given_back.amount, part.seq);
                let counter = given_back.counter.clone();
                self.given_back.extend([Charged { counter, bucket, amount, seq }, given_back]);
            }
        }
    }

    /// Ends the request: so much was really used. Returns what is charged from here on.
    pub fn settle(mut self, used: &Amounts) -> Vec<Charged> {
        let now = self.shared.now();
        self.end(now, |held| used.of(held.slice.unit()))
    }

    /// Ends the request, which used `used`, and has `write` write down what is charged for it before the store
    /// is told: a process that dies meanwhile has told nothing that its successor would charge again.
    pub fn settle_and<T>(self, used: &Amounts, write: impl FnOnce(&[Charged]) -> T) -> T {
        let shared = self.shared.clone();
        let _unwritten = shared.unwritten.read();
        write(&self.settle(used))
    }

    /// The same for a request of which nobody knows what it used: it counts as all that was held.
    pub fn settle_in_full_and<T>(mut self, write: impl FnOnce(&[Charged]) -> T) -> T {
        let shared = self.shared.clone();
        let _unwritten = shared.unwritten.read();
        let now = shared.now();
        write(&self.end(now, Held::amount))
    }

    fn each(&self) -> impl Iterator<Item = (&Arc<Slice>, &Part)> {
        self.parts.iter().flat_map(|held| held.parts().map(move |part| (&held.slice, part)))
    }

    fn end(&mut self, now: Now, used: impl Fn(&Held) -> u64) -> Vec<Charged> {
        let mut charged = std::mem::take(&mut self.given_back);
        for held in std::mem::take(&mut self.parts) {
            // What the request was admitted with has been told already, and what was added has not.
            charged.extend(held.more.iter().filter_map(|part| held.slice.charged_by(part)));
            let used = used(&held);
            self.shared.counts.overrun(held.slice.unit(), used.saturating_sub(held.amount()));
            let shares = held.shares(used);
            charged.extend(shares.filter_map(|(part, used)| held.slice.settle(part, used, now)));
        }
        charged
    }
}

/// Nobody has said what was used: it counts as all that was held.
impl Drop for Holds {
    fn drop(&mut self) {
        if !self.parts.is_empty() {
            let now = self.shared.now();
            self.end(now, Held::amount);
        }
    }
}

/// The quotas, without the state behind them.
impl std::fmt::Debug for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.each().map(|(slice, part)| (slice.counter(), part))).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluicegate_filters::admit::{OnStoreLoss, Scope, ScopeKind, Window};

    use super::*;

    /// Parts of these amounts, of a slice that needs no store.
    fn held(amounts: &[u64]) -> Held {
        let scope = Scope::new(ScopeKind::Key, "k");
        let mut quota = Quota::new(scope, Unit::Tokens, Window::Lifetime, u64::MAX);
        quota.on_store_loss = OnStoreLoss::Open;
        let slice = Arc::new(Slice::new(&quota));
        let now = Now { local: 0, store: 0 };
        let mut parts = amounts.iter().map(|amount| slice.hold(*amount, now, true).unwrap().0);
        let part = parts.next().unwrap();
        let more = parts.collect();
        Held { slice, part, more, asked_at: None }
    }

    proptest! {
        #[test]
        fn what_is_used_is_shared_out_in_turn_and_to_the_last_unit(
            amounts in prop::collection::vec(0_u64..50, 1..6),
            used in 0_u64..400,
        ) {
            let held = held(&amounts);
            prop_assert_eq!(held.amount(), amounts.iter().sum::<u64>());
            let shares: Vec<_> = held.shares(used).map(|(part, share)| (part.amount, share)).collect();
            prop_assert_eq!(shares.iter().map(|(_, share)| share).sum::<u64>(), used);
            let last = shares.len() - 1;
            prop_assert!(shares[..last].iter().all(|(amount, share)| share <= amount));
            // None is used while one before it is not used up.
            let unfilled = shares[..last].iter().position(|(amount, share)| share < amount);
            if let Some(unfilled) = unfilled {
                prop_assert!(shares[unfilled + 1..].iter().all(|(_, share)| *share == 0));
            }
        }

        #[test]
        fn parts_that_nothing_tells_apart_are_one(amounts in prop::collection::vec(1_u64..50, 2..6)) {
            let (mut one, many) = (held(&amounts[..1]), held(&amounts));
            for part in &many.more {
                one.add(*part);
            }
            prop_assert_eq!((one.part.amount, one.more.len()), (amounts[0], 1));
            prop_assert_eq!(one.amount(), many.amount());
            let mut later = one.part;
            later.seq += 1;
            one.add(later);
            prop_assert_eq!(one.more.len(), 2);
        }
    }
}
