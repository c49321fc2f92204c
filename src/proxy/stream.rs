//! The answer's head and body on their way to the caller.

use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderName, HeaderValue};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use sluicegate_filters::DenialKind;
use sluicegate_filters::screen::headers::named_by_connection;

use super::cost;
use super::ctx::{Ctx, End, Exchange};
use super::gather::Wish;
use super::overrun::{self, Overrun};
use super::reply::{Broken, Content, Reply, Step, StreamState};
use super::respond::REQUEST_ID;
use super::route::DEGRADED;
use crate::config::valid::Answers;
use crate::dialects::body_usage::UsageScanner;
use crate::dialects::error::ErrorReply;
use crate::dialects::observe::StreamObserver;
use crate::quotas::refusal;

/// About how many headers an answer gets from us: making room at once is cheaper than twice.
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
    let unwanted: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(|name| !is_framing(name))
        .filter(|name| {
            !policy.forwards_response(name) || named_by_connection(&response.headers, name)
        })
        .cloned()
        .collect();
    for name in unwanted {
        response.headers.remove(&name);
    }
    response.headers.reserve(MORE_HEADERS);
    response.headers.insert(REQUEST_ID, ctx.id_header.clone());
    if let Some(cors) = &ctx.cors {
        for (name, value) in cors.headers() {
            response.headers.append(name, value);
        }
    }
    response.headers.extend(ctx.standings.headers());
    let Some(exchange) = &mut ctx.exchange else { return };
    if exchange.desperate {
        let (name, value) = DEGRADED;
        response.headers.insert(name, value);
    }
    let answers = &ctx.runtime.config.answers;
    exchange.reply = watch(response, exchange, answers);
    exchange.overrun = Overrun::of(exchange);
    let waits = matches!(exchange.reply, Reply::Document(_))
        && cost::is_awaited(exchange, &response.headers, answers);
    ctx.held.wish(if waits { Wish::Wait } else { Wish::Pass });
    if matches!(exchange.reply, Reply::Stream(_)) {
        // The length may change: a usage chunk less, an error event more.
        if response.headers.remove(CONTENT_LENGTH).is_some() {
            response.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
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
            let annotation = cost::is_included(&exchange.caller.headers, answers)
                .then(|| cost::annotation(exchange))
                .flatten();
            // The usage chunk that we asked for is where the cost is told.
            let hide_usage = exchange.hide_usage && annotation.is_none();
            let mut observer = StreamObserver::new(exchange.endpoint, hide_usage);
            if let Some(annotation) = annotation {
                observer = observer.with_annotation(annotation);
            }
            Reply::Stream(Box::new(StreamState::new(observer)))
        }
        Content::Json => Reply::Document(Box::new(UsageScanner::new(exchange.endpoint))),
        Content::Other => Reply::Opaque,
    }
}

/// Watches a piece of the body and says what passes: the piece itself, in nearly every case.
pub fn body(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let Ctx { exchange, id_header, held, end: outcome, .. } = ctx;
    let Some(exchange) = exchange else { return Ok(()) };
    let now = Instant::now();
    if body.is_some() {
        exchange.deadlines.expect_more(now, exchange.model.timeouts.idle);
    }
    match &mut exchange.reply {
        Reply::Stream(stream) => match stream.step(body.take(), end) {
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
            // A body that ends with its connection has no other proof of being whole.
            if end && !scanner.is_complete() {
                return Err(Error::explain(
                    ErrorType::ConnectionClosed,
                    "the provider's JSON answer is not whole",
                )
                .into_up());
            }
        }
        Reply::Awaited | Reply::Opaque => {}
    }
    if let Reply::Document(scanner) = &exchange.reply
        && scanner.is_complete()
        && held.waits()
    {
        held.wish(Wish::Leave(cost::told(exchange)));
    }
    if exchange.overrun.is_due(exchange.reply.counts())
        && !end
        && let Some(quota) = overrun::look(exchange)
        && let Reply::Stream(stream) = &mut exchange.reply
        && stream.close()
    {
        let (kind, message) = refusal::used_up(&quota);
        let id = id_header.to_str().unwrap_or_default();
        let event = stream.observer().error_event(&ending(kind, &message, id));
        *body = Some(body.take().map_or(event.clone(), |piece| [piece, event].concat().into()));
        *outcome = Some(End::LimitReached);
        ctx.denied = Some(kind);
        ctx.detail = Some(quota.id().to_string());
        exchange.deadlines.cut();
    }
    exchange.bytes_out += body.as_ref().map_or(0, |piece| piece.len() as u64);
    exchange.reply.note_first_content(&mut exchange.times.first_content, now);
    Ok(())
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
