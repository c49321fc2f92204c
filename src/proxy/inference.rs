//! A request for inference, up to the answer's head.

use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{StatusCode, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use sluicegate_filters::screen::BodyLimit;
use sluicegate_filters::{Denial, DenialKind};

use super::attempt::{self, Charge};
use super::body::{self, NoBody};
use super::ctx::{Ctx, End, Exchange, Times};
use super::outgoing::{self, Original};
use super::overrun::Overrun;
use super::reply::{Content, Reply};
use super::rows::{self, Whose};
use super::watchdog::{Deadlines, Watchdog};
use super::{admit, authorize, failure, overload, respond, route, translate};
use crate::app::Gateway;
use crate::config::valid::RetryOn;
use crate::dialects::Endpoint;
use crate::dialects::peek::{PeekError, peek};
use crate::dialects::rewrite::{BodyBuffer, rewrite};
use crate::http_client::retry_after;
use crate::providers::upstream::upload_time;
use crate::quotas::estimate::contents::Body;
use crate::routing::Model;
use crate::telemetry::trace::Phase;

/// Reads the body, learns from it which model is asked for, and makes ready to call a provider.
/// `Ok(true)` where the request was answered instead.
pub async fn begin(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    endpoint: Endpoint,
    limit: &BodyLimit,
) -> Result<bool> {
    let mut read = body::read(gateway, session, ctx, limit).await;
    if read.is_ok()
        && let Err(none) = overload::place(gateway, session, ctx).await
    {
        read = Err(none);
    }
    ctx.trace.lap(Phase::Body, read.is_err());
    let body = match read {
        Ok(body) => body,
        Err(NoBody::Gone(error)) => {
            ctx.end = Some(End::ClientGone);
            return Err(error.into_down());
        }
        Err(NoBody::Denied(denial)) => {
            return respond::denial(session, ctx, denial).await.map(|()| true);
        }
    };
    match exchange(gateway, ctx, endpoint, body, session.req_header()).await {
        Ok((mut exchange, body)) => {
            ctx.buffered.set(held_with(&exchange, &body));
            std::mem::swap(session.req_header_mut(), &mut exchange.caller);
            let watchdog = Watchdog::new(exchange.deadlines.clone(), gateway.leaving.clone());
            ctx.held.hold(session, ctx.conn.clone(), body, watchdog);
            ctx.exchange = Some(exchange);
            Ok(false)
        }
        Err(denial) => respond::denial(session, ctx, denial).await.map(|()| true),
    }
}

/// The head that Pingora goes on with: method, target and version, and no headers.
fn bare_head(head: &RequestHeader) -> RequestHeader {
    let mut bare = http::Request::new(()).into_parts().0;
    bare.method = head.method.clone();
    bare.uri = head.uri.clone();
    bare.version = head.version;
    bare.into()
}

async fn exchange(
    gateway: &Gateway,
    ctx: &mut Ctx,
    endpoint: Endpoint,
    mut body: BodyBuffer,
    head: &RequestHeader,
) -> Result<(Box<Exchange>, Bytes), Denial> {
    let headers = &head.headers;
    let mut peek = peek(endpoint, body.as_slice()).map_err(unreadable)?;
    let Some(known) = ctx.runtime.routes.model(&peek.model).cloned() else {
        return Err(unknown_model(ctx, &peek.model));
    };
    let model = &*known;
    let translates = translate::client(endpoint).is_some();
    let allowed = model.allowed(endpoint, translates);
    if allowed == 0 {
        return Err(wrong_dialect(model, endpoint));
    }
    let asked_with = Body::new(body.as_slice());
    let asked = admit::Asked::new(endpoint, model, &peek, &asked_with, ctx.began_at());
    let permit = authorize::inference(gateway, ctx, &asked)?;
    let needs = route::Asked { endpoint, headers, peek: &peek, body: &asked_with };
    let allowed = route::narrow(model, allowed, ctx.caller.as_deref(), &needs)?;
    let sticky = model.sticky_key(ctx.caller.as_deref(), headers, &peek);
    let mut open = allowed;
    let (first, (admission, holds)) = loop {
        let first = model.choose(open, &[], sticky, random(ctx));
        let target = model.target(first.index);
        match admit::inference(gateway, ctx, &asked, target).await {
            Ok(admitted) => break (first, admitted),
            Err(refusal) => open = refusal.elsewhere(model, open, first.index)?,
        }
    };
    let target = model.target(first.index);
    let (mut original, mut translation) = (None, None);
    let (body, hide_usage) = if !translates || model.takes_as_it_is(endpoint) {
        let hide_usage = outgoing::hides_usage(endpoint, &peek, target);
        let renamed = outgoing::renamed(model, target);
        if hide_usage || renamed.is_some() {
            rewrite(&mut body, &mut peek, renamed, hide_usage);
        }
        (body.freeze(), hide_usage)
    } else {
        let id = (ctx.id_str(), ctx.began_at());
        let kept = Original { body: body.freeze(), peek: peek.clone() };
        let written = outgoing::write(endpoint, &kept, (model, target), id)?;
        original = Some(kept);
        translation = written.translation;
        (written.body, written.hide_usage)
    };
    let shortest = model.timeouts.first_byte.min(model.timeouts.idle);
    let deadlines = Deadlines::new(ctx.started, model.timeouts.total, shortest);
    let under_way = model.begin(first.index);
    let mut exchange = Box::new(Exchange {
        permit,
        admission,
        holds,
        counted: false,
        entry: None,
        overrun: Overrun::default(),
        began_at: ctx.began_at(),
        spent: 0,
        endpoint,
        model: known,
        body_len: body.len(),
        caller: bare_head(head),
        peek,
        allowed,
        sticky,
        tried: Vec::new(),
        under_way,
        desperate: false,
        awaits_content: false,
        retry_after: None,
        deadlines,
        stale_seen: false,
        original,
        translation,
        hide_usage,
        reply: Reply::Awaited,
        times: Times::default(),
        upstream_status: None,
        length: None,
        bytes_in: 0,
        bytes_out: 0,
    });
    exchange.model.requested();
    route::send_to(gateway, &mut exchange, first);
    rows::begin(gateway, Whose::of(gateway, ctx), &mut exchange, true)?;
    Ok((exchange, body))
}

/// The peer of the next attempt: the target that [`begin`] chose, or after a failure another.
pub async fn next_peer(gateway: &Gateway, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let random = random(ctx);
    let Ctx {
        exchange,
        held,
        runtime,
        refusal,
        caller,
        id,
        id_header,
        started,
        buffered,
        trace,
        ..
    } = ctx;
    let exchange = exchange.as_mut().ok_or_else(|| Error::new(ErrorType::InternalError))?;
    if exchange.times.chosen.is_some() {
        let whose = Whose::new(gateway, *id, *started, caller.as_deref());
        route::note(exchange, None);
        super::trace::attempt(trace, exchange, None);
        let settled = attempt::end(gateway, exchange, whose) == Charge::Settled;
        let random = route::chance(random, *started);
        let (mut open, mut admitted) = (exchange.allowed, settled);
        let choice = loop {
            let choice = exchange.model.choose(open, &exchange.tried, exchange.sticky, random);
            route::rest(exchange, choice.index, random).await;
            admitted |= admit::moves(gateway, runtime, caller.as_deref(), exchange, choice.index);
            // No provider has seen the attempt that there is not yet.
            exchange.times = Times::default();
            if !admitted {
                break choice;
            }
            let refused = match admit::again(gateway, &exchange.admission, exchange.counted).await {
                Ok(holds) => {
                    exchange.holds = holds;
                    break choice;
                }
                Err(refused) => refused,
            };
            match refused.elsewhere(&exchange.model, open & route::in_time(exchange), choice.index)
            {
                Ok(left) => open = left,
                Err(denial) => {
                    *refusal = Some(denial);
                    return Err(Error::new(ErrorType::Custom("no_hold")));
                }
            }
        };
        let next = choice.index;
        let id = (id_header.to_str().unwrap_or_default(), exchange.began_at);
        match outgoing::rewrite_for(exchange, next, &held.body(), id) {
            Ok(Some(body)) => {
                exchange.body_len = body.len();
                held.set_body(body);
            }
            Ok(None) => {}
            Err(denial) => {
                *refusal = Some(denial);
                return Err(Error::new(ErrorType::Custom("untranslatable")));
            }
        }
        // Without what the attempt before had of an answer.
        buffered.set(held_with(exchange, &held.body()));
        exchange.under_way = exchange.model.begin(next);
        route::send_to(gateway, exchange, choice);
        exchange.reply = Reply::Awaited;
        exchange.bytes_in = 0;
        exchange.upstream_status = None;
        if let Err(denial) = rows::begin(gateway, whose, exchange, admitted) {
            *refusal = Some(denial);
            return Err(Error::new(ErrorType::Custom("no_room")));
        }
    }
    let now = Instant::now();
    exchange.times = Times { chosen: Some(now), ..Times::default() };
    let timeouts = &exchange.model.timeouts;
    let answer_in = timeouts.first_byte + upload_time(exchange.body_len);
    exchange.deadlines.expect_first_byte(now, timeouts.connect + answer_in);
    let upstream = &exchange.target().upstream;
    let ready = upstream.ready(timeouts.connect).await;
    if ready && let Some(peer) = upstream.peer(timeouts, exchange.body_len) {
        return Ok(peer);
    }
    let lacks = if ready { "no address known" } else { "no access token" };
    tracing::warn!(provider = %upstream.name, generation = runtime.generation, "{lacks}");
    let mut error = Error::new(ErrorType::ConnectNoRoute);
    error.set_retry(failure::may_retry(ctx, RetryOn::Connect));
    Err(error.into_up())
}

/// Writes the head that the provider gets.
pub fn write_head(head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let policy = &ctx.runtime.pipeline.headers;
    let Some(exchange) = &mut ctx.exchange else {
        return Err(Error::new(ErrorType::InternalError));
    };
    let upstream = &exchange.target().upstream;
    let path = match &exchange.translation {
        Some(translation) => Some(translation.path()),
        None => exchange.target().path(exchange.endpoint, exchange.peek.stream),
    };
    let path = path.ok_or_else(|| Error::new(ErrorType::InternalError))?.clone();
    let mut ours = upstream.head(path, &exchange.caller, policy, exchange.body_len);
    if let Some(translation) = &exchange.translation {
        translation.write_head(&mut ours, |name| upstream.sets(name))?;
    }
    upstream
        .authorize(&mut ours, &ctx.held.body())
        .map_err(|error| Error::because(ErrorType::Custom("no_credential"), "provider", error))?;
    if head.version == Version::HTTP_2 {
        ours.set_version(Version::HTTP_2);
    }
    ctx.trace.write_head(&mut ours);
    *head = ours;
    let now = Instant::now();
    exchange.times.sent = Some(now);
    let answer_in = exchange.model.timeouts.first_byte + upload_time(exchange.body_len);
    exchange.deadlines.expect_first_byte(now, answer_in);
    Ok(())
}

/// Bytes that the exchange holds with `body`: the body as it came is another, where it is kept.
fn held_with(exchange: &Exchange, body: &Bytes) -> u64 {
    let original = exchange.original.as_ref().map_or(0, |original| original.body.len());
    (original + body.len()) as u64
}

/// The answer's status decides: try again, or let this answer pass. Nothing has been sent to the
/// caller yet, so another attempt goes unseen.
pub fn take_or_retry(response: &ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = &mut ctx.exchange else { return Ok(()) };
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for another protocol; what follows would pass unseen.
        return Err(Error::new(ErrorType::Custom("unasked_upgrade")).into_up());
    }
    if response.status.is_informational() {
        return Ok(());
    }
    let now = Instant::now();
    let status = response.status.as_u16();
    exchange.times.head = Some(now);
    exchange.upstream_status = Some(status);
    exchange.deadlines.expect_more(now, exchange.model.timeouts.idle);
    // Only an answer that is refused says when to come again.
    exchange.retry_after = (status >= 400).then(|| retry_after(&response.headers)).flatten();
    if status == 401 {
        exchange.target().upstream.refused();
    }
    if exchange.model.retries_status(status) && route::take_retry(exchange) {
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "answered with an error");
        error.set_retry(true);
        return Err(error.into_up());
    }
    let frames = exchange.translation.as_ref().is_some_and(|translation| translation.frames());
    if response.status.is_success() && !is_of_an_api(response, frames) {
        // A page of some box on the way, or nothing at all. Passed on, an SDK would take it for an
        // empty answer.
        return Err(Error::new(ErrorType::Custom("neither_json_nor_event_stream")).into_up());
    }
    Ok(())
}

/// Whether it can be an answer. `frames`: the provider's streams are Amazon's.
fn is_of_an_api(response: &ResponseHeader, frames: bool) -> bool {
    let empty = response.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    let known = match Content::of(&response.headers) {
        Content::Events | Content::Json => true,
        Content::Frames => frames,
        Content::Other => false,
    };
    !empty && known
}

/// Any number, different for each request: an id's random bits.
fn random(ctx: &Ctx) -> u64 {
    ctx.id.as_u64_pair().1
}

fn unreadable(error: PeekError) -> Denial {
    let denial =
        Denial::new(DenialKind::InvalidRequestBody, error.to_string()).with_detail(error.code());
    match error.param() {
        Some(param) => denial.with_param(param),
        None => denial,
    }
}

pub fn unknown_model(ctx: &Ctx, name: &str) -> Denial {
    // A name that the caller may not know is no hint for them.
    let nearest = ctx.runtime.routes.nearest(name).filter(|nearest| authorize::sees(ctx, nearest));
    let hint = match nearest {
        Some(nearest) => format!(" Did you mean `{nearest}`?"),
        None => String::new(),
    };
    let message =
        format!("The model `{name}` is not configured here.{hint} GET /v1/models lists them.");
    Denial::new(DenialKind::ModelNotFound, message).with_param("model")
}

fn wrong_dialect(model: &Model, endpoint: Endpoint) -> Denial {
    let message = format!(
        "The model `{}` is served in the {} dialect and can't be asked for at {}.",
        model.name,
        model.dialect.name(),
        endpoint.path(),
    );
    Denial::new(DenialKind::ModelNotAllowed, message).with_param("model")
}
