//! The end of every request: what it was and how it went, once, in metrics and in the log.

use std::time::{Duration, Instant};

use pingora_core::Error;
use pingora_proxy::Session;

use super::attempt::{self, Used};
use super::ctx::{Ctx, End, Exchange, Times};
use super::rows::Whose;
use super::{cost, route, trace};
use crate::app::Gateway;
use crate::chat::Usage;
use crate::telemetry::access_log::Line;
use crate::telemetry::metrics::Inference;

/// Writes a request down.
pub fn settle(gateway: &Gateway, session: &Session, error: Option<&Error>, ctx: &mut Ctx) {
    let now = Instant::now();
    let duration = now - ctx.started;
    let status = session.response_written().map_or(0, |head| head.status.as_u16());
    let end = end(ctx, status, error);
    if let Some(exchange) = ctx.exchange.as_deref() {
        route::note(exchange, Some(end));
    }
    let Ctx { exchange, caller, id, started, .. } = ctx;
    let whose = Whose::new(gateway, *id, *started, caller.as_deref());
    let used =
        exchange.as_deref_mut().and_then(|exchange| settle_last(gateway, exchange, whose, end));
    let used = used.filter(|used| used.usage != Usage::default());
    let usage = used.map(|used| used.usage);
    let estimated = used.is_some_and(|used| used.estimated);
    let mut line = Line {
        request_id: ctx.id_str(),
        trace: ctx.trace.id(),
        method: session.req_header().method.as_str(),
        route: ctx.route,
        status,
        end: end.as_str(),
        code: ctx.denied.map(|kind| kind.code()),
        detail: ctx.detail.as_deref(),
        client: ctx.client,
        generation: ctx.runtime.generation,
        duration,
        ..Line::default()
    };
    if let Some(caller) = ctx.caller.as_deref() {
        line.caller = Some(caller.kind().name());
        line.key = caller.key().map(|key| key.id);
        line.user = caller.user();
        line.team = caller.team();
        line.organization = caller.organization();
        line.decision = ctx.decision.as_deref();
    }
    if let Some(exchange) = &ctx.exchange {
        let overhead = overhead(ctx.started, ctx.body_wait, &exchange.times);
        let first = exchange.times.first_content.map(|at| at - ctx.started);
        let target = exchange.target();
        line.model = Some(&exchange.model.name);
        line.provider = Some(&target.upstream.name);
        line.provider_model = Some(&target.model);
        line.stream = exchange.reply.is_stream();
        line.attempts = exchange.tried.len();
        line.provider_status = exchange.upstream_status;
        line.bytes_in = exchange.body_len as u64;
        line.bytes_out = exchange.bytes_out;
        line.time_to_first_token = first;
        line.overhead = overhead;
        line.usage = usage;
        line.estimated = estimated;
        line.cost = cost::of_all(exchange);
        gateway.metrics.inference(&Inference {
            endpoint: exchange.endpoint,
            model: &exchange.model.name,
            provider: &target.upstream.name,
            series: &target.series,
            end,
            stream: line.stream,
            reused: exchange.times.connected.map(|_| exchange.times.reused),
            duration,
            first_token: first,
            overhead,
            output: usage.filter(|_| !estimated).map(|usage| usage.output),
        });
    }
    if let Some(asked) = ctx.mcp.as_deref() {
        let server = asked.server.as_ref().map(|server| server.name());
        let (outcome, took) = (asked.ended(end), asked.called.and_then(|(_, took)| took));
        line.mcp = Some((asked.method.word(), outcome.word()));
        line.server = server;
        line.tool = asked.tool.as_deref();
        line.stream = asked.stream;
        line.bytes_in = asked.bytes_in;
        line.bytes_out = asked.bytes_out;
        gateway.metrics.mcp.ended(server, asked.method, outcome, took);
    }
    let endpoint = ctx.exchange.as_deref().map(|exchange| exchange.endpoint);
    let code = ctx.denied.map(|kind| kind.code());
    gateway.metrics.requests.ended(ctx.route, endpoint, status, code, duration);
    gateway.access_log.write(&line);
    ctx.end = Some(end);
    trace::finish(gateway, session, ctx, status, end);
}

/// Settles the last attempt. Without one that a provider has seen, what is held is free again.
fn settle_last(
    gateway: &Gateway,
    exchange: &mut Exchange,
    whose: Whose<'_>,
    end: End,
) -> Option<Used> {
    let used = Used::of(exchange);
    match &used {
        Some(used) => {
            attempt::calibrate(exchange, used);
            attempt::settle(gateway, exchange, used, whose, end);
        }
        None => attempt::cancel(exchange),
    }
    used
}

fn end(ctx: &Ctx, status: u16, error: Option<&Error>) -> End {
    let upstream_status = ctx.exchange.as_deref().and_then(|exchange| exchange.upstream_status);
    match (ctx.end, error) {
        (Some(end), _) => end,
        (None, Some(_)) => End::Abandoned,
        // As the caller was told it: of another dialect's error, by what it says.
        (None, None) if upstream_status >= Some(400) => {
            End::of_error(status).unwrap_or(End::UpstreamError)
        }
        (None, None) if status == 0 => End::Abandoned,
        (None, None) => End::Complete,
    }
}

/// What we added: from the header to the provider's request, less the waits for the client's body
/// and for a connection. `None` for what never reached a provider.
fn overhead(started: Instant, body_wait: Duration, times: &Times) -> Option<Duration> {
    let connecting = times.connected? - times.chosen?;
    Some((times.sent? - started).saturating_sub(body_wait).saturating_sub(connecting))
}
