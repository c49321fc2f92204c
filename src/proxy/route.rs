//! Which target a request goes to, what is noted of it afterwards, and when there is another attempt.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use sluicegate_filters::{Caller, Denial, DenialKind};

use super::ctx::{End, Exchange};
use super::watchdog::Expiry;
use crate::app::Gateway;
use crate::dialects::Endpoint;
use crate::dialects::peek::Peek;
use crate::quotas::estimate::contents::Body;
use crate::routing::Model;
use crate::routing::balance::Choice;
use crate::routing::conditions::TooLong;
use crate::routing::health::Outcome;

/// On an answer of a model all of whose targets are left out for their failures, so that the least bad was
/// asked.
pub const DEGRADED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-sluicegate-degraded"),
    HeaderValue::from_static("no-healthy-target"),
);

/// The longest wait before another attempt: the client waits all the while.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What is asked for, as the choice of a target needs it.
pub struct Asked<'a> {
    /// Which API.
    pub endpoint: Endpoint,
    /// The caller's headers.
    pub headers: &'a HeaderMap,
    /// What the body says of itself.
    pub peek: &'a Peek,
    /// The body.
    pub body: &'a Body<'a>,
}

/// Those of the model's `allowed` targets that serve the caller's request.
///
/// # Errors
/// `model_not_allowed`, `context_length_exceeded`: there is none, and why.
pub fn narrow(
    model: &Model,
    allowed: u64,
    caller: Option<&Caller>,
    asked: &Asked<'_>,
) -> Result<u64, Denial> {
    let Asked { endpoint, headers, peek, body } = *asked;
    let serving = model.conditions.narrow(allowed, caller, headers);
    if serving == 0 {
        let message = format!("No target of the model `{}` serves this caller.", model.name);
        let denial = Denial::new(DenialKind::ModelNotAllowed, message).with_param("model");
        return Err(denial.with_detail("the targets' `when`"));
    }
    model.windows.narrow(serving, endpoint, peek, body).map_err(|TooLong { tokens, window }| {
        let message = format!(
            "The request is longer than the context window of every target of the model `{}`: at least \
             {tokens} tokens of {window}.",
            model.name
        );
        Denial::new(DenialKind::ContextLengthExceeded, message)
    })
}

/// Sends the next attempt to the chosen target, which counts it as under way already.
pub fn send_to(gateway: &Gateway, exchange: &mut Exchange, choice: Choice) {
    exchange.desperate = choice.desperate;
    exchange.retry_after = None;
    if choice.desperate {
        exchange.model.tally.desperate();
    }
    exchange.tried.push(choice.index);
    let target = exchange.target();
    gateway.metrics.providers.attempt(&target.series, &target.upstream.name);
}

/// Whether another attempt may follow the present one.
pub fn may_follow(exchange: &Exchange) -> bool {
    exchange.tried.len() < usize::from(exchange.model.retries.attempts)
}

/// Takes another attempt for the request, where one is left.
pub fn take_retry(exchange: &Exchange) -> bool {
    let waits = exchange.retry_after.is_none_or(|wait| wait <= LONGEST_WAIT);
    may_follow(exchange)
        && (waits || exchange.model.has_untried(exchange.allowed, &exchange.tried))
        && exchange.model.take_retry()
}

/// The targets that can be asked without a long wait: all, or where the present attempt's provider asks for
/// one, those that have not failed the request.
pub fn in_time(exchange: &Exchange) -> u64 {
    match exchange.retry_after {
        Some(wait) if wait > LONGEST_WAIT => {
            exchange.tried.iter().fold(u64::MAX, |left, index| left & !(1 << (index % 64)))
        }
        _ => u64::MAX,
    }
}

/// Waits before a target is asked that has failed the request already. `random` is any number.
pub async fn rest(exchange: &Exchange, next: usize, random: u64) {
    if !exchange.tried.contains(&next) {
        return;
    }
    let times = u32::try_from(exchange.tried.len()).unwrap_or(u32::MAX).saturating_sub(1);
    let whole = exchange.model.retries.backoff.saturating_mul(1 << times.min(16));
    // So that not all who have failed together come back together.
    let chance = Duration::from_micros(random % 1_000) * 1_000;
    let wait = whole / 2 + (whole / 2).mul_f64(chance.as_secs_f64());
    tokio::time::sleep(wait.max(exchange.retry_after.unwrap_or_default()).min(LONGEST_WAIT)).await;
}

/// Notes what came of the present attempt. `end` is that of the request; without one there is another
/// attempt.
pub fn note(exchange: &Exchange, end: Option<End>) {
    let Some(&index) = exchange.tried.last() else { return };
    let Some(outcome) = outcome(exchange, end) else { return };
    if exchange.model.note(index, outcome) {
        let target = exchange.target();
        tracing::warn!(
            provider = %target.upstream.name,
            provider_model = %target.model,
            status = exchange.upstream_status,
            "left out for a while"
        );
    }
}

/// `None`: nothing that tells of the target.
fn outcome(exchange: &Exchange, end: Option<End>) -> Option<Outcome> {
    exchange.times.chosen?;
    // It may have worked well all the time that it was given.
    let ran_out = exchange.deadlines.expired() == Some(Expiry::Total);
    let begun_in = || Some(exchange.times.head?.duration_since(exchange.times.sent?));
    match (exchange.upstream_status, end) {
        (Some(429), _) => Some(Outcome::Limited(exchange.retry_after)),
        (Some(503 | 529), _) if exchange.retry_after.is_some() => {
            Some(Outcome::Limited(exchange.retry_after))
        }
        // 401: its credential is not, or no longer, good.
        (Some(401 | 408 | 500..), _) => Some(Outcome::Bad),
        (Some(400..), _) => Some(Outcome::Good(None)),
        (_, None | Some(End::UpstreamBroke | End::TimedOut | End::Unreachable)) => {
            (!ran_out).then_some(Outcome::Bad)
        }
        (Some(_), Some(_)) => Some(Outcome::Good(begun_in())),
        (None, Some(_)) => None,
    }
}

/// Any number, different for each request and attempt.
pub fn chance(random: u64, began: Instant) -> u64 {
    let turn = began.elapsed().subsec_nanos() % 64;
    random.rotate_left(turn).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
