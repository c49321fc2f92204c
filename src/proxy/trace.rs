//! What of a request goes into its trace.

use std::time::Instant;

use pingora_proxy::Session;

use super::cost;
use super::ctx::{Ctx, End, Exchange};
use super::mcp::Asked;
use super::reply::Reply;
use crate::app::Gateway;
use crate::dialects::Endpoint;
use crate::telemetry::mcp_metrics::Outcome;
use crate::telemetry::trace::{Attempt, EXECUTE_TOOL, Summary, Trace, method};

/// Notes the present attempt, which is over. `end` is that of the request; without one there is another
/// attempt.
pub fn attempt(trace: &mut Trace, exchange: &Exchange, end: Option<End>) {
    trace.attempt(|| {
        let (times, target) = (&exchange.times, exchange.target());
        let observer = match &exchange.reply {
            Reply::Stream(stream) => Some(stream.observer()),
            _ => None,
        };
        Some(Attempt {
            began: times.chosen?,
            ended: Instant::now(),
            first_content: times.first_content.filter(|_| exchange.reply.is_stream()),
            reused: times.connected.map(|_| times.reused),
            operation: operation(exchange.endpoint),
            provider: target.upstream.name.clone(),
            model: target.model.clone(),
            stream: exchange.reply.is_stream(),
            status: exchange.upstream_status,
            answered_by: observer.and_then(|it| it.model()).map(str::to_owned),
            usage: exchange.reply.usage(),
            finish: observer.and_then(|it| it.finish_reason()).map(|reason| reason.name()),
            error: error(exchange, end),
        })
    });
}

/// Notes a call to a tool, which is over.
fn call(trace: &mut Trace, asked: &Asked, end: End) {
    trace.attempt(|| {
        let (began, took) = asked.called?;
        let failed = match asked.outcome {
            Some(outcome) if outcome != Outcome::Complete => Some(outcome.word().into()),
            _ => (end != End::Complete).then(|| end.as_str().into()),
        };
        Some(Attempt {
            began,
            ended: took.map_or_else(Instant::now, |took| began + took),
            first_content: None,
            reused: None,
            operation: EXECUTE_TOOL,
            provider: asked.server.as_ref()?.name().to_owned(),
            model: asked.tool.clone()?,
            stream: asked.stream,
            status: None,
            answered_by: None,
            usage: None,
            finish: None,
            error: failed,
        })
    });
}

/// Ends the trace of a request that is over.
pub fn finish(gateway: &Gateway, session: &Session, ctx: &mut Ctx, status: u16, end: End) {
    if !ctx.trace.is_recorded() {
        return;
    }
    let mut trace = std::mem::take(&mut ctx.trace);
    if let Some(exchange) = &ctx.exchange {
        attempt(&mut trace, exchange, Some(end));
    }
    if let Some(asked) = ctx.mcp.as_deref() {
        call(&mut trace, asked, end);
    }
    gateway.tracer.finish(trace, || Summary {
        ended: Instant::now(),
        method: method(&session.req_header().method),
        route: ctx.route,
        id: ctx.id_header.clone(),
        status,
        end: end.as_str(),
        failed: fails(end),
        code: ctx.denied.map(|kind| kind.code()),
        client: ctx.client,
        caller: ctx.caller.clone(),
        decision: ctx.decision.clone(),
        generation: ctx.runtime.generation,
        model: ctx.exchange.as_ref().map(|exchange| exchange.model.name.clone()),
        nano_usd: ctx.exchange.as_deref().and_then(cost::of_all),
    });
}

/// What the GenAI conventions call a call.
fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings => "embeddings",
        Endpoint::CountTokens => "count_tokens",
    }
}

/// What went wrong with the present attempt, in a word.
fn error(exchange: &Exchange, end: Option<End>) -> Option<std::borrow::Cow<'static, str>> {
    match (exchange.upstream_status, end) {
        (Some(status @ 400..), _) => Some(status.to_string().into()),
        (_, Some(End::Complete)) => None,
        (_, Some(end)) => Some(end.as_str().into()),
        (_, None) if exchange.deadlines.expired().is_some() => Some(End::TimedOut.as_str().into()),
        (_, None) if exchange.times.connected.is_none() => Some(End::Unreachable.as_str().into()),
        (_, None) => Some(End::UpstreamBroke.as_str().into()),
    }
}

/// Whether it is the gateway's or a provider's fault.
fn fails(end: End) -> bool {
    match end {
        End::UpstreamBroke | End::Unreachable | End::TimedOut | End::Abandoned => true,
        End::Complete
        | End::Refused
        | End::Rejected
        | End::UpstreamError
        | End::ClientGone
        | End::LimitReached => false,
    }
}
