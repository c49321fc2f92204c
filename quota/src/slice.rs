//! What an instance has of one counter, and what it has done with it.
//!
//! Requests hold and settle here, in memory, under a lock that is held for some tens of nanoseconds.
//! The [`pump`](crate::engine) exchanges with the store: it takes what has been used since the last time,
//! and puts in what was granted. One exchange is under way at a time; until it is answered, the same one
//! is sent again.
//!
//! A unit of a lease is in one of three places: `free`, `held` by a request under way, or `pending`,
//! which is spent, but the store does not know yet. In a rolling window a unit is spent when its
//! request is admitted, so that it is known when it will count no more; in others when the request
//! has ended.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use sluicegate_filters::admit::{OnStoreLoss, Quota, Span, Unit};
use tokio::sync::Notify;

use crate::store::{Answer, Charge, Exchange, MAX_AMOUNT};

/// How long units are kept without a request that wants them, in milliseconds.
const IDLE_MS: i64 = 300;
/// How long units are kept without a word to the store, in milliseconds: others may need them.
const SILENT_MS: i64 = 400;
/// How long it is believed that units are in doubt, in milliseconds: they cease to be when their instance is
/// back or their window is over, and of that an instance hears only when it asks.
const DOUBT_MS: i64 = 5_000;
/// How long a refusal by the store is believed, in milliseconds: a caller over their limit would cause
/// a round trip for every request otherwise.
const DRY_MS: i64 = 100;
/// How long a store remembers a lease at least that can still count, in milliseconds: half a day, where
/// they keep it for a day.
const MEMORY_MS: i64 = 12 * 60 * 60 * 1_000;
/// Exchanges that are remembered, in case the store forgets them.
const REMEMBERED: usize = 64;
/// Refusals that are remembered, to be shown.
const REFUSALS: usize = 16;
/// Buckets in one exchange, at most. Beyond it the oldest are joined: their units count longer.
const MAX_CHARGES: usize = 64;

/// Stands for a limit that is no longer in force: higher than any.
const CHANGED: u64 = u64::MAX;

/// An instance's part of a counter.
pub struct Slice {
    counter: Arc<str>,
    unit: Unit,
    state: Mutex<State>,
    /// Marks every answer.
    pub(crate) answered: Notify,
}

struct State {
    quota: Arc<Quota>,
    /// The part of its window that was present when last looked at: a calendar is slow.
    span: Span,
    /// Units that may be held.
    free: u64,
    /// Units of the lease that requests under way hold.
    held: u64,
    /// Units that they hold although the store could not be asked for them.
    unleased: u64,
    /// What the store does not know yet.
    pending: Vec<Charge>,
    /// The exchange that waits for its answer.
    sent: Option<Sent>,
    /// The number of the last exchange.
    seq: u64,
    /// When the lease is over, by our own clock.
    deadline: i64,
    /// The limit under which the store was last asked; [`CHANGED`], if it was another limit altogether.
    /// Once the limit is lower, what is free may be too much, so that the lease is over.
    leased_under: u64,
    /// Units that were leased, to whomever, beyond the limit when the store last answered: the limit was higher
    /// before. So many of ours that come back are not free.
    excess: u64,
    /// Some came back so, and the store does not know yet.
    withheld: bool,
    /// When the last exchange was answered.
    answered_at: i64,
    /// When that exchange was first sent.
    told_at: i64,
    /// What the store said last.
    last: Answer,
    /// Amounts that requests wait for.
    waiting: Vec<u64>,
    /// What was held since the exchange before, and between the two before that.
    demand: u64,
    demand_before: u64,
    /// When somebody last wanted units.
    wanted_at: i64,
    /// So much did not fit, until then.
    dry: Option<Dry>,
    /// Others need what we have.
    give_back: bool,
    /// What was sent before, by number.
    log: VecDeque<(u64, Vec<Charge>)>,
    refusals: VecDeque<Refusal>,
    refused: u64,
    /// Units used beyond what had been held.
    overrun: u64,
    /// The bucket in which the soft limit was last reached.
    warned: Option<i64>,
}

struct Sent {
    exchange: Exchange,
    at: i64,
    /// The limit was changed since.
    outdated: bool,
}

#[derive(Clone, Copy)]
struct Dry {
    amount: u64,
    until: i64,
    fits_at: Option<i64>,
}

/// A refusal that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The store's time, in milliseconds since the epoch.
    pub at: i64,
    /// What was asked for.
    pub amount: u64,
    /// What was left.
    pub remaining: u64,
    pub reason: Reason,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The limit does not leave as much now.
    LimitReached,
    /// It asked for more than the whole limit.
    NeverFits,
    /// The store is away, and what was leased is spent or over.
    StoreAway,
}

/// A soft limit that was reached, told once in each window.
#[derive(Clone, Debug)]
pub struct Crossing {
    pub quota: Arc<Quota>,
    /// What is used now.
    pub used: u64,
    /// The store's time, in milliseconds since the epoch.
    pub at: i64,
}

impl Reason {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LimitReached => "limit_reached",
            Self::NeverFits => "never_fits",
            Self::StoreAway => "store_away",
        }
    }
}

/// What one request has of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Units.
    pub amount: u64,
    /// The bucket of its admission.
    pub bucket: i64,
    /// The number of the exchange that tells the store of what was charged at admission.
    pub seq: u64,
    /// Whether the units are of the lease.
    leased: bool,
}

impl Part {
    /// Takes in another part of the same slice, where nothing tells the two apart.
    pub(crate) fn join(&mut self, other: &Self) -> bool {
        let same = (self.bucket, self.seq, self.leased) == (other.bucket, other.seq, other.leased);
        if same {
            self.amount = self.amount.saturating_add(other.amount);
        }
        same
    }
}

/// Units that were charged, for a journal: were the process to end before the exchange `seq` is done,
/// whoever reads the journal charges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    pub counter: Arc<str>,
    pub bucket: i64,
    /// Negative for what was given back.
    pub amount: i64,
    pub seq: u64,
}

/// Why units can't be held now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// The store has to be asked.
    Ask,
    /// The limit is used up.
    Full {
        /// The store's time at which the amount fits, if nothing else happens.
        fits_at: Option<i64>,
    },
    /// The store is away, and what was leased is spent or over.
    Away,
}

/// What is left of a quota, as far as this instance knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub unit: Unit,
    pub limit: u64,
    pub remaining: u64,
    /// The units are at or over the soft limit.
    pub soft_exceeded: bool,
    /// In how many milliseconds nothing of what is used now counts any more. `None`: never.
    pub resets_in_ms: Option<i64>,
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Our own, which never goes back, in milliseconds.
    pub local: i64,
    /// The store's, never earlier than it is there, in milliseconds since the epoch.
    pub store: i64,
}

/// How leases are.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a lease lasts without an exchange, in milliseconds.
    pub ttl_ms: i64,
}

impl Slice {
    pub(crate) fn new(quota: &Quota) -> Self {
        Self {
            counter: quota.id(),
            unit: quota.unit,
            state: Mutex::new(State::new(quota)),
            answered: Notify::new(),
        }
    }

    /// The counter's id.
    pub fn counter(&self) -> &Arc<str> {
        &self.counter
    }

    /// What is counted.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The limit that is in force.
    pub fn quota(&self) -> Arc<Quota> {
        self.state.lock().quota.clone()
    }

    /// Puts another limit on the same counter in force.
    pub(crate) fn set_quota(&self, quota: &Quota) {
        let state = &mut *self.state.lock();
        if *state.quota == *quota {
            return;
        }
        if (state.quota.limit, state.quota.raise) != (quota.limit, quota.raise) {
            // Others may have used what the new limit gave, or have to do with less than it takes: what is
            // leased under the old one has to be asked for again.
            state.leased_under = CHANGED;
            if let Some(sent) = &mut state.sent {
                sent.outdated = true;
            }
        }
        state.quota = Arc::new(quota.clone());
        state.dry = None;
    }

    /// Holds `amount` units for a request. Says as well whether the lease is nearly spent, so that it
    /// should grow before a request has to wait.
    ///
    /// # Errors
    /// Why that can't be, without asking the store.
    pub(crate) fn hold(
        &self,
        amount: u64,
        now: Now,
        store_away: bool,
    ) -> Result<(Part, bool), Short> {
        let state = &mut *self.state.lock();
        state.wanted_at = now.local;
        if amount > state.quota.limit_at(now.store) {
            return Err(Short::Full { fits_at: None });
        }
        let on_loss = state.quota.on_store_loss;
        if store_away && on_loss == OnStoreLoss::Closed {
            return Err(Short::Away);
        }
        let good = !state.lease_is_over(now);
        let leased = good && state.free >= amount;
        if !leased {
            match state.dry {
                Some(dry) if dry.amount <= amount && now.local < dry.until => {
                    // How long a larger amount takes, nobody has asked; it fits once all is forgotten.
                    let all = || dry.fits_at.and_then(|_| state.empty_at(now));
                    let fits_at = if amount > dry.amount { all() } else { dry.fits_at };
                    return Err(Short::Full { fits_at });
                }
                _ if !store_away => return Err(Short::Ask),
                _ if on_loss == OnStoreLoss::Open => {}
                _ => return Err(Short::Away),
            }
        }
        let bucket = state.span(now.store).bucket(now.store);
        if leased {
            state.free -= amount;
        }
        state.demand = state.demand.saturating_add(amount);
        if state.quota.charges_at_admission() {
            state.charge(bucket, amount.cast_signed());
        } else if leased {
            state.held += amount;
        } else {
            state.unleased = state.unleased.saturating_add(amount);
        }
        let low = state.sent.is_none() && state.free < state.demand_before / 2;
        Ok((Part { amount, bucket, seq: state.seq + 1, leased }, low))
    }

    /// Holds `amount` units more for a request that is under way, and has had the store asked for them at
    /// `asked_at`, if at all. Where what the store has said since leaves too little, the limit is full.
    ///
    /// # Errors
    /// Why that can't be, without asking the store.
    pub(crate) fn hold_more(
        &self,
        amount: u64,
        now: Now,
        store_away: bool,
        asked_at: Option<i64>,
    ) -> Result<(Part, bool), Short> {
        let held = self.hold(amount, now, store_away);
        if held == Err(Short::Ask) && asked_at.is_some() {
            let state = self.state.lock();
            let told_since = asked_at.is_some_and(|at| state.told_at >= at);
            if told_since && state.remaining(now) < amount {
                return Err(Short::Full { fits_at: None });
            }
        }
        held
    }

    /// Whether the store has answered since `at`, by our own clock.
    pub(crate) fn answered_since(&self, at: i64) -> bool {
        self.state.lock().answered_at > at
    }

    /// Takes a hold back, as if it had not been.
    pub(crate) fn undo(&self, part: &Part, now: Now) {
        let state = &mut *self.state.lock();
        state.demand = state.demand.saturating_sub(part.amount);
        state.end(part, 0, now);
    }

    /// Ends a hold: so many units were really used. Returns what is charged for it from here on.
    pub(crate) fn settle(&self, part: &Part, used: u64, now: Now) -> Option<Charged> {
        let (bucket, amount, seq) = self.state.lock().end(part, used.min(MAX_AMOUNT), now)?;
        Some(Charged { counter: self.counter.clone(), bucket, amount, seq })
    }

    /// Takes back what a hold has beyond `keep`: its request will not have used more. Returns what is charged for
    /// it less than before, if it is one that is charged at admission.
    pub(crate) fn narrow(&self, part: &mut Part, keep: u64, now: Now) -> Option<Charged> {
        let state = &mut *self.state.lock();
        let back = part.amount.saturating_sub(keep);
        let charged = state.take_back(part, back, now);
        part.amount -= back;
        charged.filter(|_| back > 0).map(|bucket| Charged {
            counter: self.counter.clone(),
            bucket,
            amount: -back.cast_signed(),
            seq: state.seq + 1,
        })
    }

    /// What a hold has charged already, if it is one that is charged at admission.
    pub(crate) fn charged_by(&self, part: &Part) -> Option<Charged> {
        self.state.lock().quota.charges_at_admission().then(|| Charged {
            counter: self.counter.clone(),
            bucket: part.bucket,
            amount: part.amount.cast_signed(),
            seq: part.seq,
        })
    }

    /// Says that a request waits for `amount`.
    pub(crate) fn wait_for(&self, amount: u64) {
        self.state.lock().waiting.push(amount);
    }

    /// What a hold will charge when its request ends, at most, if it is one that is charged then.
    pub(crate) fn may_charge(&self, part: &Part) -> Option<Charged> {
        let at_end = !self.state.lock().quota.charges_at_admission();
        (at_end && self.unit != Unit::Parallel).then(|| Charged {
            counter: self.counter.clone(),
            bucket: part.bucket,
            amount: part.amount.cast_signed(),
            seq: part.seq,
        })
    }

    /// Whether the store has to be asked for `amount`.
    pub(crate) fn lacks(&self, amount: u64, now: Now) -> bool {
        let state = self.state.lock();
        state.lease_is_over(now) || state.free < amount
    }

    /// Remembers a refusal.
    pub(crate) fn refused(&self, amount: u64, store_away: bool, now: Now) {
        let state = &mut *self.state.lock();
        let reason = match store_away {
            true => Reason::StoreAway,
            false if amount > state.quota.limit_at(now.store) => Reason::NeverFits,
            false => Reason::LimitReached,
        };
        state.refused += 1;
        if state.refusals.len() == REFUSALS {
            state.refusals.pop_front();
        }
        let remaining = state.remaining(now);
        state.refusals.push_back(Refusal { at: now.store, amount, remaining, reason });
    }

    /// The exchange that is due, if one is; it is then under way until [`answer`](Self::answer). With
    /// `tick`, what can wait no longer than until the next tick is due as well.
    pub(crate) fn exchange(
        &self,
        instance: &Arc<str>,
        terms: Terms,
        now: Now,
        tick: bool,
    ) -> Option<Exchange> {
        let state = &mut *self.state.lock();
        if state.sent.is_some() {
            return None;
        }
        if tick {
            state.demand_before = std::mem::take(&mut state.demand);
        }
        let over = state.lease_is_over(now);
        let idle = now.local - state.wanted_at >= IDLE_MS;
        let stored = state.free + state.held > 0;
        let due = !state.waiting.is_empty()
            || (state.give_back && state.free > 0)
            || (tick && (state.withheld || !state.pending.is_empty()))
            || (tick && idle && state.free > 0)
            || (tick && state.free > 0 && now.local - state.answered_at >= SILENT_MS)
            || (tick && stored && now.local - state.answered_at >= terms.ttl_ms / 3)
            || (tick && state.free > 0 && state.limit_is_lower(now))
            || (tick && state.last.in_doubt > 0 && now.local - state.answered_at >= DOUBT_MS)
            || (!idle && state.dry.is_none() && state.free < state.demand_before / 2);
        if !due {
            return None;
        }
        let demand = state.demand.max(state.demand_before).saturating_mul(2);
        let keep = if over || state.give_back || idle { 0 } else { state.free.min(demand) };
        state.free = keep;
        state.give_back = false;
        state.withheld = false;
        let left = keep + state.held;
        // What is kept is for those who wait, too: only what it lacks has to fit beside it.
        let need = state.waiting.first().copied().unwrap_or(0).saturating_sub(keep);
        let waiting = state.waiting.iter().fold(0, |sum: u64, amount| sum.saturating_add(*amount));
        let grow = if idle { 0 } else { demand.saturating_sub(keep) };
        state.seq += 1;
        let exchange = Exchange {
            counter: self.counter.clone(),
            instance: instance.clone(),
            seq: state.seq,
            span: state.span(now.store),
            limit: state.quota.limit_at(now.store).min(MAX_AMOUNT),
            charges: state.take_pending(),
            left,
            held: state.held,
            need,
            want: need.max(waiting.saturating_sub(keep)).max(grow).min(MAX_AMOUNT),
            ttl_ms: terms.ttl_ms.unsigned_abs(),
            on_lost_lease: state.quota.on_lost_lease,
            mark: 0,
        };
        state.sent = Some(Sent { exchange: exchange.clone(), at: now.local, outdated: false });
        Some(exchange)
    }

    /// The exchange that is under way, to be sent again. Under a limit that is lower since, no more is
    /// asked for than that.
    pub(crate) fn again(&self, now: Now) -> Option<Exchange> {
        let state = &mut *self.state.lock();
        let sent = state.sent.as_mut()?;
        sent.exchange.limit = sent.exchange.limit.min(state.quota.limit_at(now.store));
        Some(sent.exchange.clone())
    }

    /// The store's period is another one: the same exchange, with that one.
    pub(crate) fn in_period(&self, store_now: i64) -> Option<Exchange> {
        let state = &mut *self.state.lock();
        let span = state.span(store_now);
        let sent = state.sent.as_mut()?;
        sent.exchange.span = span;
        Some(sent.exchange.clone())
    }

    /// Takes the answer to the exchange with the number `seq`. Returns whether an exchange is due at once,
    /// and the soft limit, if it is reached for the first time in this window.
    pub(crate) fn answer(
        &self,
        seq: u64,
        answer: Answer,
        terms: Terms,
        now: Now,
    ) -> (bool, Option<Crossing>) {
        let told = {
            let state = &mut *self.state.lock();
            let mut crossing = None;
            match state.sent.take() {
                Some(sent) if sent.exchange.seq == seq => {
                    crossing = state.soft_limit_reached(&sent.exchange, &answer);
                    state.take_answer(sent, answer, terms, now);
                }
                other => state.sent = other,
            }
            (!state.waiting.is_empty() || state.give_back, crossing)
        };
        self.answered.notify_waiters();
        told
    }

    /// The store could not be asked.
    pub(crate) fn unanswered(&self) {
        self.state.lock().waiting.clear();
        self.answered.notify_waiters();
    }

    /// Whether anything would be lost with it, the present window's warning included.
    pub(crate) fn is_idle(&self, now: Now) -> bool {
        let state = self.state.lock();
        let warned = matches!((state.warned, state.span), (Some(bucket), Span::Period { start, end })
            if bucket == start && now.store < end);
        !warned
            && state.sent.is_none()
            && state.free + state.held + state.unleased == 0
            && state.pending.is_empty()
            && state.waiting.is_empty()
    }

    /// Whether the store knows all that it should, and nothing but holds is left.
    pub(crate) fn has_told_all(&self) -> bool {
        let state = self.state.lock();
        state.sent.is_none() && state.pending.is_empty() && state.free == 0
    }

    /// Whether the store has answered the exchange `seq`.
    pub(crate) fn has_told(&self, seq: u64) -> bool {
        let state = self.state.lock();
        let answered = if state.sent.is_some() { state.seq - 1 } else { state.seq };
        seq <= answered
    }

    /// Gives back all that is free with the next exchange.
    pub(crate) fn give_back(&self) {
        self.state.lock().give_back = true;
    }

    /// What is left.
    pub fn standing(&self, now: Now) -> Standing {
        let state = &mut *self.state.lock();
        let (limit, remaining) = (state.quota.limit_at(now.store), state.remaining(now));
        let resets_in_ms = match state.span(now.store) {
            Span::Always => None,
            Span::Rolling { ms, .. } => Some(if remaining < limit { ms } else { 0 }),
            Span::Period { end, .. } => Some((end - now.store).max(0)),
        };
        Standing {
            unit: state.quota.unit,
            limit,
            remaining,
            soft_exceeded: state.quota.soft.is_some_and(|soft| limit - remaining >= soft),
            resets_in_ms,
        }
    }

    /// The last refusals, and how many there have been.
    pub fn refusals(&self) -> (Vec<Refusal>, u64) {
        let state = self.state.lock();
        (state.refusals.iter().cloned().collect(), state.refused)
    }

    /// Units that instances which are gone had leased, and of which nobody knows whether they used them: as
    /// the store last said. They count as used.
    pub fn in_doubt(&self) -> u64 {
        self.state.lock().last.in_doubt
    }

    /// Units that were used beyond what had been held.
    pub fn overrun(&self) -> u64 {
        self.state.lock().overrun
    }
}

impl State {
    fn new(quota: &Quota) -> Self {
        Self {
            quota: Arc::new(quota.clone()),
            span: Span::Always,
            free: 0,
            held: 0,
            unleased: 0,
            pending: Vec::new(),
            sent: None,
            seq: 0,
            deadline: i64::MIN,
            leased_under: 0,
            excess: 0,
            withheld: false,
            answered_at: i64::MIN / 2,
            told_at: i64::MIN / 2,
            last: Answer::default(),
            waiting: Vec::new(),
            demand: 0,
            demand_before: 0,
            wanted_at: i64::MIN / 2,
            dry: None,
            give_back: false,
            log: VecDeque::new(),
            refusals: VecDeque::new(),
            refused: 0,
            overrun: 0,
            warned: None,
        }
    }

    /// The present part of the window.
    fn span(&mut self, store_now: i64) -> Span {
        let known =
            matches!(self.span, Span::Period { start, end } if (start..end).contains(&store_now));
        if !known {
            self.span = self.quota.window.span(store_now);
        }
        self.span
    }

    fn lease_is_over(&self, now: Now) -> bool {
        now.local >= self.deadline || self.limit_is_lower(now)
    }

    /// Whether what is free may be of a limit that is no longer in force.
    fn limit_is_lower(&self, now: Now) -> bool {
        self.leased_under > self.quota.limit_at(now.store).min(MAX_AMOUNT)
    }

    /// The soft limit, where an answer is the first of its window to say that it is reached. Only what is
    /// used counts, by whomever: what is leased may be given back.
    fn soft_limit_reached(&mut self, sent: &Exchange, answer: &Answer) -> Option<Crossing> {
        let soft = self.quota.soft?;
        // A rolling window begins at no time: it is told again after use has been lower.
        let bucket = match sent.span {
            Span::Period { start, .. } => start,
            Span::Always | Span::Rolling { .. } => 0,
        };
        if answer.used < soft {
            self.warned = None;
            return None;
        }
        let first = self.warned.replace(bucket) != Some(bucket);
        first.then(|| Crossing { quota: self.quota.clone(), used: answer.used, at: answer.now })
    }

    /// When everything that is used now is forgotten.
    fn empty_at(&self, now: Now) -> Option<i64> {
        let span = self.quota.window.span(now.store);
        span.forgets(span.bucket(now.store))
    }

    /// Ends a hold. Returns the bucket, the amount that is charged from here on, and the number of the
    /// exchange that tells the store.
    fn end(&mut self, part: &Part, used: u64, now: Now) -> Option<(i64, i64, u64)> {
        let over = used.saturating_sub(part.amount);
        let back = part.amount.saturating_sub(used);
        self.overrun = self.overrun.saturating_add(over);
        // What was used too much is not there for others any more.
        self.free = self.free.saturating_sub(over);
        let given_back = self.take_back(part, back, now);
        let (bucket, amount) = if !self.quota.charges_at_admission() {
            let rest = part.amount - back;
            let place = if part.leased { &mut self.held } else { &mut self.unleased };
            *place = place.saturating_sub(rest);
            let charged = if self.quota.unit == Unit::Parallel { 0 } else { used.cast_signed() };
            self.charge(part.bucket, charged);
            (part.bucket, charged)
        } else if over > 0 {
            let bucket = self.span(now.store).bucket(now.store);
            self.charge(bucket, over.cast_signed());
            (bucket, over.cast_signed())
        } else {
            (given_back?, -back.cast_signed())
        };
        (amount != 0).then_some((bucket, amount, self.seq + 1))
    }

    /// Takes `back` of a hold's units back. Returns the bucket in which so much less is charged now, if they were
    /// charged at admission and are not forgotten.
    fn take_back(&mut self, part: &Part, back: u64, now: Now) -> Option<i64> {
        if back > 0 {
            // What did not fit may fit now.
            self.dry = None;
        }
        if !self.quota.charges_at_admission() {
            if part.leased {
                self.held = self.held.saturating_sub(back);
                self.release(back);
            } else {
                self.unleased = self.unleased.saturating_sub(back);
            }
            return None;
        }
        if self.seq + 1 == part.seq {
            // The store has not heard of it: the units are still leased.
            if part.leased {
                self.release(back);
            }
        } else if !self.span(now.store).counts(part.bucket, now.store) {
            // It has been forgotten, and so what it used is free already.
            return None;
        }
        self.charge(part.bucket, -back.cast_signed());
        Some(part.bucket)
    }

    /// Makes units free again.
    fn release(&mut self, units: u64) {
        let beyond = units.min(self.excess);
        self.excess -= beyond;
        self.withheld |= beyond > 0;
        self.free += units - beyond;
    }

    fn charge(&mut self, bucket: i64, amount: i64) {
        if amount == 0 {
            return;
        }
        match self.pending.iter_mut().find(|charge| charge.bucket == bucket) {
            Some(charge) => charge.amount = charge.amount.saturating_add(amount),
            None => self.pending.push(Charge { bucket, amount }),
        }
    }

    fn take_pending(&mut self) -> Vec<Charge> {
        let mut charges = std::mem::take(&mut self.pending);
        charges.retain(|charge| charge.amount != 0);
        charges.sort_unstable_by_key(|charge| charge.bucket);
        while charges.len() > MAX_CHARGES {
            let oldest = charges.remove(0);
            charges[0].amount = charges[0].amount.saturating_add(oldest.amount);
        }
        charges
    }

    fn take_answer(&mut self, sent: Sent, answer: Answer, terms: Terms, now: Now) {
        let Exchange { seq, limit, need, charges, left, held, .. } = sent.exchange;
        // What is forgotten after long silence is not lost.
        let remembers = sent.at - self.told_at < MEMORY_MS;
        if answer.previous_seq + 1 < seq && remembers {
            // The store has lost what it had confirmed: tell it again.
            let lost: Vec<_> = self
                .log
                .iter()
                .filter(|(number, _)| (answer.previous_seq + 1..seq).contains(number))
                .flat_map(|(_, charges)| charges.clone())
                .collect();
            for charge in lost {
                self.charge(charge.bucket, charge.amount);
            }
        }
        if self.log.len() == REMEMBERED {
            self.log.pop_front();
        }
        self.log.push_back((seq, charges));
        self.excess = answer.used.saturating_add(answer.leased).saturating_sub(limit);
        // What came back while the store was asked is among it.
        let free = std::mem::take(&mut self.free);
        self.release(free);
        self.free += answer.granted;
        self.deadline = sent.at.saturating_add(terms.ttl_ms);
        self.leased_under = if sent.outdated { CHANGED } else { limit };
        self.told_at = sent.at;
        self.answered_at = now.local;
        if answer.granted < need {
            self.dry = Some(Dry {
                amount: need + (left - held),
                until: now.local
                    + DRY_MS.min((answer.fits_at.unwrap_or(i64::MAX) - answer.now).max(0)),
                fits_at: answer.fits_at,
            });
        } else {
            self.dry = None;
        }
        self.give_back |= answer.hungry && self.free > 0;
        self.last = answer;
        // Those who wait try again, and say anew what they want.
        self.waiting.clear();
    }

    /// What is left: in the store and of our lease. What others lease is not.
    fn remaining(&self, now: Now) -> u64 {
        let limit = self.quota.limit_at(now.store);
        let elsewhere = self.last.used.saturating_add(self.last.leased);
        limit.saturating_sub(elsewhere).saturating_add(self.free).min(limit)
    }
}

#[cfg(test)]
mod tests;
