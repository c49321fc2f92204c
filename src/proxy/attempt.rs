//! What one attempt has used and cost, once it has ended.
//!
//! Where the provider has not told, or not to the end, it is estimated: what went in by the body's length
//! and what came out by what was seen of it, a stream's events and their content or another answer's bytes, or
//! all that was held where nothing came at all. Too much rather than too little: an estimate is the only way in
//! which a limit can be passed.

use sluicegate_ledger::Entry;
use sluicegate_quota::{Amounts, Charged, Holds};

use super::cost;
use super::ctx::{End, Exchange};
use super::reply::Reply;
use super::rows::{self, Whose};
use super::watchdog::Expiry;
use crate::app::Gateway;
use crate::chat::Usage;
use crate::dialects::Endpoint;
use crate::quotas::estimate;

/// What an attempt has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Tokens by kind.
    pub usage: Usage,
    /// Whether they are ours, for want of the provider's word.
    pub estimated: bool,
    /// What they cost, in nano-USD. `None`: the target has no price.
    pub nano_usd: Option<u64>,
}

/// What became of an attempt's hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The provider charges nothing for the attempt, so that another goes on with its hold.
    None,
    /// The attempt is settled.
    Settled,
}

impl Used {
    /// By the present attempt. `None`: no provider has seen it.
    pub fn of(exchange: &Exchange) -> Option<Self> {
        exchange.times.sent?;
        let free = exchange.upstream_status.is_some_and(|status| status >= 400)
            || exchange.endpoint == Endpoint::CountTokens;
        let (usage, estimated) = if free {
            (Usage::default(), false)
        } else {
            match exchange.reply.usage() {
                Some(usage) if exchange.reply.is_whole() => (usage, false),
                _ => (estimated(exchange, exchange.reply.so_far()), true),
            }
        };
        let nano_usd = cost::cost(exchange, &usage);
        Some(Self { usage, estimated, nano_usd })
    }

    /// As the limits count it; `counted`: an attempt before has counted as the request.
    pub fn amounts(&self, counted: bool) -> Amounts {
        Amounts {
            requests: u64::from(!counted),
            tokens: self.usage.total(),
            nano_usd: self.nano_usd.unwrap_or(0),
            parallel: 0,
        }
    }
}

/// Ends the present attempt, after which there is another. What the provider charges for is settled.
pub fn end(gateway: &Gateway, exchange: &mut Exchange, whose: Whose<'_>) -> Charge {
    let Some(used) = Used::of(exchange) else {
        if let Some(entry) = exchange.entry.take() {
            entry.cancel(&[]);
        }
        return Charge::None;
    };
    let refused = exchange.upstream_status.and_then(End::of_error);
    let outcome = match (refused, exchange.deadlines.expired()) {
        (Some(end), _) => end,
        (_, Some(Expiry::FirstByte | Expiry::Idle | Expiry::Total)) => End::TimedOut,
        _ => End::UpstreamBroke,
    };
    // What was given back by then is not there for another attempt.
    let narrowed = exchange.holds.as_ref().is_some_and(Holds::is_narrowed);
    if used.usage.total() > 0 || narrowed {
        settle(gateway, exchange, &used, whose, outcome);
        return Charge::Settled;
    }
    if let Some(entry) = exchange.entry.take() {
        entry.end(&rows::ended(whose, exchange, &used, outcome.as_str()), &[]);
    }
    Charge::None
}

/// Settles the present attempt's hold, writes it down, counts it, and adds to what the request has cost in all.
pub fn settle(
    gateway: &Gateway,
    exchange: &mut Exchange,
    used: &Used,
    whose: Whose<'_>,
    outcome: End,
) {
    let target = exchange.target();
    let (model, provider) = (&exchange.model.name, &target.upstream.name);
    gateway.metrics.usage.attempt(&target.series, model, provider, used);
    let standing = Standing::take(exchange);
    standing.settle(&used.amounts(exchange.counted), |entry, charged| {
        entry.end(&rows::ended(whose, exchange, used, outcome.as_str()), charged);
    });
    exchange.counted = true;
    exchange.spent = exchange.spent.saturating_add(used.nano_usd.unwrap_or(0));
}

/// Gives back what the present attempt holds beyond what it has used, once all of its answer is there: whoever has
/// read it may ask again at once, before the request has ended here.
pub fn narrow(exchange: &mut Exchange) {
    if exchange.holds.is_none() || !exchange.reply.is_whole() {
        return;
    }
    let used = Used::of(exchange).filter(|used| !used.estimated);
    if let (Some(used), Some(holds)) = (used, &mut exchange.holds) {
        holds.narrow(&used.amounts(exchange.counted));
    }
}

/// Ends the last attempt, which no provider has seen: what is held is free again.
pub fn cancel(exchange: &mut Exchange) {
    Standing::take(exchange).settle(&Amounts::default(), Entry::cancel);
}

/// What there is of an attempt outside this process: its hold, and its place in the ledger.
struct Standing {
    holds: Option<Holds>,
    entry: Option<Entry>,
}

impl Standing {
    fn take(exchange: &mut Exchange) -> Self {
        Self { holds: exchange.holds.take(), entry: exchange.entry.take() }
    }

    /// Settles the hold and has `write` write down what is charged for it, in the order that a crash between
    /// the two charges nothing twice. Without a hold there is the entry alone.
    fn settle(self, used: &Amounts, write: impl FnOnce(Entry, &[Charged])) {
        let write = |charged: &[Charged]| {
            if let Some(entry) = self.entry {
                write(entry, charged);
            }
        };
        match self.holds {
            Some(holds) => holds.settle_and(used, write),
            None => write(&[]),
        }
    }
}

/// Lets the target's calibration know what its provider has counted.
pub fn calibrate(exchange: &Exchange, used: &Used) {
    let one_context = !matches!(exchange.endpoint, Endpoint::Completions | Endpoint::CountTokens);
    if exchange.admission.text_only && one_context && !used.estimated && used.usage.input > 0 {
        let (bytes, tokens) = (exchange.body_len as u64, used.usage.total_input());
        exchange.target().calibration.observe(bytes, tokens);
    }
}

/// Tokens of an answer of which the provider has told only `seen`, or nothing.
fn estimated(exchange: &Exchange, seen: Option<Usage>) -> Usage {
    let mut usage = seen.unwrap_or_default();
    if usage.total_input() == 0 {
        let bytes = exchange.body_len as u64;
        let bound = exchange.admission.bound.input;
        let most = if bound == 0 { bytes } else { bound };
        usage.input = exchange.target().calibration.bound(bytes).unwrap_or(bytes).min(most);
    }
    let held = exchange.admission.bound.output;
    let most = || estimate::output(exchange.endpoint, &exchange.peek, &exchange.model.answerer());
    match (&exchange.reply, exchange.reply.seen()) {
        (Reply::Awaited, _) => usage.output = held,
        (_, Some(stream)) => usage.output = stream.output(usage.output, most(), held),
        _ if seen.is_some() => {}
        // A token is at least a byte.
        _ => usage.output = exchange.bytes_in.min(most()),
    }
    usage
}
