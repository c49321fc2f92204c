//! The answer's head and body on their way to the caller.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderName, HeaderValue};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use sluicegate_filters::DenialKind;
use sluicegate_filters::price::ServiceTier;

use super::cost;
use super::ctx::{Ctx, End, Exchange};
use super::gather::{Bodiless, Known, Wish};
use super::overrun::{self, Overrun};
use super::reply::{Broken, Content, Reply, Step, StreamState};
use super::respond::{HSTS, REQUEST_ID};
use super::route::DEGRADED;
use super::{attempt, body, overload, route, translate};
use crate::app::Gateway;
use crate::config::valid::{Answers, RetryOn, RetryUntil};
use crate::dialects::body_usage::UsageScanner;
use crate::dialects::error::ErrorReply;
use crate::dialects::observe::{Annotate, StreamObserver};
use crate::quotas::refusal;

/// How long a stream's beginning waits for its content. What a provider sends meanwhile to show that it is
/// there, such as comments, passes from then on.
const CONTENT_IN: Duration = Duration::from_secs(5);

/// About how many headers an answer gets from us where it is more than its id: making room at once is cheaper than
/// twice.
const MORE_HEADERS: usize = 10;

/// Makes the provider's head ours: what must not pass is taken out, what every answer carries is
/// put in, and the way in which the body is watched is chosen.
pub fn head(response: &mut ResponseHeader, ctx: &mut Ctx) {
    if response.status.is_informational() {
        return;
    }
    // As plain parts. Pingora's header keeps a second map with the names as the provider wrote them, which
    // nobody needs: there is no case in a header's name.
    let blank = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let mut parts = Parts::from(std::mem::replace(response, blank));
    ours(&mut parts, ctx);
    *response = parts.into();
}

fn ours(response: &mut Parts, ctx: &mut Ctx) {
    let policy = &ctx.runtime.pipeline.headers;
    let unwanted: Vec<HeaderName> =
        policy.withheld(&response.headers).filter(|name| !is_framing(name)).cloned().collect();
    for name in unwanted {
        response.headers.remove(&name);
    }
    if ctx.cors.is_some() || !ctx.standings.is_empty() {
        response.headers.reserve(MORE_HEADERS);
    }
    response.headers.insert(REQUEST_ID, ctx.id_header.clone());
    if ctx.hsts {
        let (name, value) = HSTS.clone();
        response.headers.insert(name, value);
    }
    if let Some(cors) = &ctx.cors {
        for (name, value) in cors.headers() {
            response.headers.append(name, value);
        }
    }
    ctx.standings.tell_in(&mut response.headers);
    let Some(exchange) = &mut ctx.exchange else { return };
    if exchange.desperate {
        let (name, value) = DEGRADED;
        response.headers.insert(name, value);
    }
    let answers = &ctx.runtime.config.answers;
    exchange.length = body::length(&response.headers);
    exchange.reply = match &exchange.translation {
        Some(translation) => {
            let annotate = cost_in_stream(exchange, answers);
            Reply::Translated(Box::new(translation.answer(response, annotate.map(of_chat))))
        }
        None => watch(response, exchange, answers),
    };
    exchange.overrun = Overrun::of(exchange);
    let waits = match &exchange.reply {
        Reply::Document(_) => cost::is_awaited(exchange, answers),
        Reply::Translated(translated) if translated.waits() => true,
        Reply::Stream(_) | Reply::Translated(_) => {
            exchange.model.retries.until == RetryUntil::FirstContent && route::may_follow(exchange)
        }
        Reply::Awaited | Reply::Opaque => false,
    };
    exchange.awaits_content = waits && exchange.reply.is_stream();
    ctx.held.wish(if waits { Wish::Wait } else { Wish::Pass });
    ctx.held.streams(exchange.reply.is_stream());
    ctx.held.bodiless(match &exchange.reply {
        _ if response.status.is_success() => Bodiless::Broken,
        Reply::Translated(translated) => translated.stand_in(),
        _ => Bodiless::Passes,
    });
    if matches!(exchange.reply, Reply::Stream(_) | Reply::Translated(_)) {
        // The length may change: a usage chunk less, an error event more, another dialect.
        if response.headers.remove(CONTENT_LENGTH).is_some() {
            response.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Writes the cost into a stream's usage, where the caller wants it and the target has a price.
fn cost_in_stream(exchange: &Exchange, answers: &Answers) -> Option<Annotate> {
    let wanted = cost::is_included(&exchange.caller.headers, answers);
    wanted.then(|| cost::annotation(exchange)).flatten()
}

/// The same, for a translated stream.
fn of_chat(annotate: Annotate) -> sluicegate_chat::Annotate {
    Box::new(move |usage, tier| {
        let tier = tier.and_then(translate::tier).unwrap_or(ServiceTier::Standard);
        annotate(&translate::usage(usage), tier)
    })
}

fn is_framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING
}

fn watch(response: &Parts, exchange: &Exchange, answers: &Answers) -> Reply {
    let plain = response
        .headers
        .get(CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !response.status.is_success() || !plain {
        return Reply::Opaque;
    }
    match Content::of(&response.headers) {
        Content::Events => {
            let annotation = cost_in_stream(exchange, answers);
            // The usage chunk that we asked for is where the cost is told.
            let hide_usage = exchange.hide_usage && annotation.is_none();
            let mut observer = StreamObserver::new(exchange.endpoint, hide_usage);
            if let Some(annotation) = annotation {
                observer = observer.with_annotation(annotation);
            }
            Reply::Stream(Box::new(StreamState::new(observer)))
        }
        Content::Json => Reply::Document(Box::new(UsageScanner::new(exchange.endpoint))),
        Content::Frames | Content::Other => Reply::Opaque,
    }
}

/// Watches a piece of the body and says what passes: the piece itself, in nearly every case.
pub fn body(gateway: &Gateway, body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let Ctx { exchange, id_header, held, end: outcome, runtime, buffered, .. } = ctx;
    let answers = &runtime.config.answers;
    let Some(exchange) = exchange else { return Ok(()) };
    if let Some(piece) = body {
        exchange.bytes_in += piece.len() as u64;
    }
    let awaits = exchange.awaits_content;
    let step = match &mut exchange.reply {
        Reply::Stream(stream) => stream.step(body.take(), end),
        _ => Step::Forward(None),
    };
    if awaits && matches!(step, Step::Last(_) | Step::Break(..)) && fails_over(exchange) {
        return Err(replaced());
    }
    match &mut exchange.reply {
        Reply::Stream(stream) => match step {
            Step::Forward(piece) => *body = piece,
            Step::Last(piece) => {
                *body = piece;
                *outcome = Some(End::UpstreamBroke);
                exchange.deadlines.cut();
            }
            Step::Break(piece, why) => {
                let id = id_header.to_str().unwrap_or_default();
                let event = stream.observer().error_event(&interrupted(why.message(), id));
                stream.close();
                *body = Some(piece.map_or(event.clone(), |piece| [piece, event].concat().into()));
                *outcome = Some(End::UpstreamBroke);
                if !end {
                    exchange.deadlines.cut();
                }
            }
        },
        Reply::Document(scanner) => {
            if let Some(piece) = body {
                scanner.push(piece);
            }
            // A body that ends with its connection has no other proof of being whole. One that says its length
            // ends there: to HTTP/1.1 it is written whole then, and nobody waits for HTTP/2's last frame.
            let ends = end || exchange.length.is_some_and(|length| exchange.bytes_in >= length);
            if ends && !scanner.is_complete() {
                return Err(Error::explain(
                    ErrorType::ConnectionClosed,
                    "the provider's JSON answer is not whole",
                )
                .into_up());
            }
        }
        Reply::Translated(translated) => match translated.step(body.take(), end, buffered)? {
            translate::Step::Forward(piece) => *body = piece,
            translate::Step::NoRoom(why) => {
                ctx.refusal = Some(overload::shed(gateway, why));
                return Err(Error::new(ErrorType::Custom("no_room")));
            }
            translate::Step::Broke(_) if awaits && fails_over(exchange) => {
                return Err(replaced());
            }
            translate::Step::Broke(piece) => {
                *body = piece;
                *outcome = Some(End::UpstreamBroke);
                if !end {
                    exchange.deadlines.cut();
                }
            }
        },
        Reply::Awaited | Reply::Opaque => {}
    }
    if exchange.awaits_content {
        let since = exchange.times.head.map_or(Duration::ZERO, |at| at.elapsed());
        if exchange.reply.has_content() || end || since > CONTENT_IN || outcome.is_some() {
            exchange.awaits_content = false;
            held.wish(Wish::Leave(Known::default()));
        }
    } else if end
        && let Reply::Translated(translated) = &exchange.reply
        && held.waits()
    {
        let status = translated.status();
        let cost = answers.cost_header.then(|| cost::told(exchange)).flatten();
        held.wish(Wish::Leave(Known { cost, status }));
    }
    if let Reply::Document(scanner) = &exchange.reply
        && scanner.is_complete()
        && held.waits()
    {
        held.wish(Wish::Leave(Known { cost: cost::told(exchange), status: None }));
    }
    if exchange.overrun.is_due(exchange.reply.counts())
        && !end
        && let Some(quota) = overrun::look(exchange)
        && let (kind, message) = refusal::used_up(&quota)
        && let id = id_header.to_str().unwrap_or_default()
        && let Some(event) = exchange.reply.close_with(&ending(kind, &message, id))
    {
        *body = Some(body.take().map_or(event.clone(), |piece| [piece, event].concat().into()));
        *outcome = Some(End::LimitReached);
        ctx.denied = Some(kind);
        ctx.detail = Some(quota.id().to_string());
        exchange.deadlines.cut();
    }
    attempt::narrow(exchange);
    exchange.bytes_out += body.as_ref().map_or(0, |piece| piece.len() as u64);
    if exchange.times.first_content.is_none() && exchange.reply.has_content() {
        exchange.times.first_content = Some(Instant::now());
    }
    Ok(())
}

/// Whether another attempt takes the place of a stream of which nothing but its beginning has come.
fn fails_over(exchange: &Exchange) -> bool {
    !exchange.reply.has_content()
        && exchange.model.retries.on.contains(&RetryOn::ServerError)
        && route::take_retry(exchange)
}

fn replaced() -> Box<Error> {
    let mut error = Error::explain(ErrorType::HTTPStatus(502), "a stream without content broke");
    error.set_retry(true);
    error.into_up()
}

/// The error that ends a broken stream.
pub fn interrupted<'a>(message: &'a str, request_id: &'a str) -> ErrorReply<'a> {
    ending(DenialKind::StreamInterrupted, message, request_id)
}

fn ending<'a>(kind: DenialKind, message: &'a str, request_id: &'a str) -> ErrorReply<'a> {
    ErrorReply {
        status: kind.status().as_u16(),
        code: kind.code(),
        message,
        param: None,
        request_id,
    }
}

impl Broken {
    fn message(self) -> &'static str {
        match self {
            Self::Truncated => {
                "The provider closed the stream before its end. The answer above is incomplete."
            }
            Self::Malformed => {
                "The provider sent what is not a valid event. The answer above is incomplete."
            }
        }
    }
}
