//! The ledger's rows: one for each attempt that reached a provider.

use std::borrow::Cow;
use std::time::Instant;

use sluicegate_filters::{Caller, Denial, DenialKind};
use sluicegate_ledger::Row;
use sluicegate_ledger::row::name;
use uuid::Uuid;

use super::attempt::Used;
use super::ctx::{Ctx, Exchange};
use crate::app::Gateway;
use crate::chat::Usage;

/// Whose request it is, and since when.
#[derive(Clone, Copy)]
pub struct Whose<'a> {
    id: Uuid,
    started: Instant,
    /// In milliseconds since the epoch.
    began_at: i64,
    caller: Option<&'a Caller>,
    instance: &'a str,
}

impl<'a> Whose<'a> {
    /// Of the request in `ctx`.
    pub fn of(gateway: &'a Gateway, ctx: &'a Ctx) -> Self {
        Self::new(gateway, ctx.id, ctx.started, ctx.caller.as_deref())
    }

    /// Of a request with these properties.
    pub fn new(
        gateway: &'a Gateway,
        id: Uuid,
        started: Instant,
        caller: Option<&'a Caller>,
    ) -> Self {
        let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |at| at.to_unix());
        let began_at = i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
        let began_at = began_at + i64::from(nanos / 1_000_000);
        let instance = gateway.quotas.engine().instance();
        Self { id, started, began_at, caller, instance }
    }

    fn at(&self, now: Instant) -> i64 {
        let since = (now - self.started).as_millis();
        self.began_at.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

/// Begins the present attempt's entry. `admitted`: what it holds was held for it, and not for an attempt
/// before it.
///
/// # Errors
/// `quota_unavailable`: there is no room for another. What was held is free again.
pub fn begin(
    gateway: &Gateway,
    whose: Whose<'_>,
    exchange: &mut Exchange,
    admitted: bool,
) -> Result<(), Denial> {
    if gateway.ledger.counts().is_none() {
        return Ok(());
    }
    let holds = exchange.holds.as_ref();
    let charged = holds.filter(|_| admitted).map(|holds| holds.charged()).unwrap_or_default();
    let under_way = holds.map(|holds| holds.to_be_charged()).unwrap_or_default();
    let entry = gateway.ledger.begin(&draft(whose, exchange), &charged, &under_way);
    match entry {
        Ok(entry) => {
            exchange.entry = entry;
            Ok(())
        }
        Err(full) => {
            if let Some(holds) = exchange.holds.take() {
                holds.settle(&sluicegate_quota::Amounts::default());
            }
            let message = "what is used can't be written down at the moment; try again";
            Err(Denial::new(DenialKind::QuotaUnavailable, message).with_detail(full.to_string()))
        }
    }
}

/// The row of an attempt of which nothing more is heard: it used all that was held for it.
fn draft<'a>(whose: Whose<'a>, exchange: &'a Exchange) -> Row<'a> {
    let bound = &exchange.admission.bound;
    let input = if bound.input == 0 { exchange.body_len as u64 } else { bound.input };
    let usage = Usage { input, output: bound.output, ..Usage::default() };
    let cost = match exchange.admission.nano_usd {
        0 => super::cost::cost(exchange, &usage),
        held => Some(held),
    };
    Row { usage, estimated: true, cost, outcome: "crashed".into(), ..row(whose, exchange) }
}

/// The row of the present attempt, which has ended with `outcome`.
pub fn ended<'a>(
    whose: Whose<'a>,
    exchange: &'a Exchange,
    used: &Used,
    outcome: &'a str,
) -> Row<'a> {
    let now = Instant::now();
    let latency = exchange.times.chosen.map_or(0, |at| millis(at, now));
    let first = exchange.times.first_content.map(|at| millis(whose.started, at));
    Row {
        ended_at: whose.at(now),
        stream: exchange.reply.is_stream(),
        status: exchange.upstream_status,
        outcome: outcome.into(),
        usage: used.usage,
        estimated: used.estimated,
        cost: used.nano_usd,
        latency_ms: latency,
        first_token_ms: first,
        ..row(whose, exchange)
    }
}

/// What is known of an attempt from its beginning.
fn row<'a>(whose: Whose<'a>, exchange: &'a Exchange) -> Row<'a> {
    let target = exchange.target();
    let caller = whose.caller;
    Row {
        request_id: whose.id,
        attempt: u16::try_from(exchange.tried.len()).unwrap_or(u16::MAX),
        begun_at: whose.began_at,
        ended_at: whose.began_at,
        instance: whose.instance.into(),
        caller: caller.map_or(Cow::Borrowed(""), |caller| caller.kind().name().into()),
        key: caller.and_then(|caller| caller.key()).map(|key| key.id),
        user: caller.and_then(|caller| caller.user()).map(name),
        team: caller.and_then(|caller| caller.team()).map(name),
        organization: caller.and_then(|caller| caller.organization()).map(name),
        end_user: exchange.peek.end_user.as_deref().map(name),
        tags: caller
            .map(|caller| caller.tags().iter().map(|tag| name(tag)).collect())
            .unwrap_or_default(),
        endpoint: exchange.endpoint.name().into(),
        model: name(&exchange.model.name),
        provider: name(&target.upstream.name),
        provider_model: name(&target.model),
        stream: exchange.peek.stream,
        price_version: target.price.as_ref().map(|price| name(price.version())),
        held_tokens: exchange.admission.bound.total(),
        held_cost: exchange.admission.nano_usd,
        ..Row::default()
    }
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}
