//! What is done when something breaks: try again where nothing has been sent yet, and else an
//! error that the caller can read.

use std::time::Duration;

use pingora_core::{Error, ErrorSource, ErrorType, RetryType};
use pingora_proxy::{FailToProxy, Session};
use sluicegate_filters::{Denial, DenialKind};

use super::ctx::{Ctx, End, Times};
use super::gather::NO_BODY;
use super::stream::interrupted;
use super::watchdog::Expiry;
use super::{respond, route};
use crate::config::valid::RetryOn;

/// The status of a request whose client did not wait; never on the wire, as in nginx's logs.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// How soon after the request a dead pooled connection shows.
const STALE_WITHIN: Duration = Duration::from_millis(500);

/// No connection could be made: nothing has been sent to anyone.
pub fn while_connecting(ctx: &mut Ctx, mut error: Box<Error>) -> Box<Error> {
    error.set_retry(may_retry(ctx, RetryOn::Connect));
    error
}

/// The exchange broke.
pub fn while_proxying(
    session: &Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
    client_reused: bool,
) -> Box<Error> {
    if session.response_written().is_some_and(|head| !head.status.is_informational()) {
        error.set_retry(false);
        return error;
    }
    // Our own decision, made with the answer's head in hand.
    if matches!(error.etype(), ErrorType::HTTPStatus(_)) {
        return error;
    }
    let Some(exchange) = &mut ctx.exchange else { return error };
    // What had come of an answer was waiting for the rest, and is gone.
    exchange.bytes_out = 0;
    if *error.etype() == NO_BODY {
        exchange.reply.end();
    }
    let expired = exchange.deadlines.expired();
    if *error.esource() == ErrorSource::Upstream {
        // "The connection ended before an answer" is all that Pingora knows. Only where that was at
        // once, the pooled connection was surely dead already and nobody has seen the request; a
        // provider that has worked on it for a while may charge for it.
        let unseen = match error.retry {
            RetryType::Decided(retry) => retry,
            RetryType::ReusedOnly => {
                client_reused
                    && exchange.times.head.is_none()
                    && exchange.times.sent.is_none_or(|at| at.elapsed() < STALE_WITHIN)
                    && !std::mem::replace(&mut exchange.stale_seen, true)
            }
        };
        if unseen {
            // The same target again, and not one of the attempts.
            exchange.times = Times::default();
            error.set_retry(true);
            return error;
        }
        error.set_retry(may_retry(ctx, RetryOn::ServerError));
    } else {
        // Nothing has been sent, so that silence within a stream is as good as before it.
        let silent = matches!(expired, Some(Expiry::FirstByte | Expiry::Idle));
        error.set_retry(silent && may_retry(ctx, RetryOn::Timeout));
    }
    error
}

/// Takes another attempt, where `cause` is worth one and one is left.
pub fn may_retry(ctx: &Ctx, cause: RetryOn) -> bool {
    ctx.exchange.as_ref().is_some_and(|exchange| {
        exchange.model.retries.on.contains(&cause) && route::take_retry(exchange)
    })
}

/// The last word on a request that failed.
pub async fn answer(session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
    ctx.held.release(session);
    let failure = Failure::of(error, ctx);
    let written = session.response_written().map(|head| head.status);
    let whole = written.is_some()
        && ctx.exchange.as_ref().is_some_and(|exchange| exchange.reply.is_whole());
    let end = if ctx.refusal.is_some() { End::Refused } else { failure.end };
    ctx.end.get_or_insert(if whole { End::Complete } else { end });
    ctx.detail.get_or_insert_with(|| detail(error));
    // The connection is closed: Pingora does not use one again after an error.
    session.set_keepalive(None);
    let code = match written {
        Some(status) if !status.is_informational() => {
            end_stream(session, ctx, &failure).await;
            status.as_u16()
        }
        _ if failure.end == End::ClientGone => CLIENT_CLOSED_REQUEST,
        _ => {
            let refusal = ctx.refusal.take();
            let denial = refusal.unwrap_or_else(|| Denial::new(failure.kind, failure.message));
            let kind = denial.kind();
            if let Err(error) = respond::denial(session, ctx, denial).await {
                tracing::debug!(%error, "the client did not take the error");
            }
            kind.status().as_u16()
        }
    };
    FailToProxy { error_code: code, can_reuse_downstream: false }
}

/// What the log says of a cause: its kind, and the system's word for it. Not Pingora's whole text:
/// it may quote the bytes that could not be parsed, and those are somebody's.
fn detail(error: &Error) -> String {
    let kind = error.etype().as_str();
    match error.root_cause().downcast_ref::<std::io::Error>() {
        Some(cause) => format!("{kind}: {cause}"),
        None => kind.to_owned(),
    }
}

/// Ends a stream under way with an error event. A document of which some has left gets no end: the
/// caller sees it cut, which is the truth.
async fn end_stream(session: &mut Session, ctx: &mut Ctx, failure: &Failure) {
    let Ctx { exchange: Some(exchange), id_header, .. } = ctx else { return };
    if failure.end == End::ClientGone || !exchange.reply.is_stream() {
        return;
    }
    let id = id_header.to_str().unwrap_or_default();
    let whole = exchange.reply.is_whole();
    let event = exchange.reply.close_with(&interrupted(failure.message, id));
    let event = event.filter(|_| !whole);
    exchange.bytes_out += event.as_ref().map_or(0, |event| event.len() as u64);
    if let Err(error) = session.write_response_body(event, true).await {
        tracing::debug!(%error, "the client did not take the error event");
    }
}

/// A cause, as we tell it.
struct Failure {
    end: End,
    kind: DenialKind,
    message: &'static str,
}

impl Failure {
    fn of(error: &Error, ctx: &Ctx) -> Self {
        let expired = ctx.exchange.as_ref().and_then(|exchange| exchange.deadlines.expired());
        let (end, kind, message) = match (expired, error.esource(), error.etype()) {
            (Some(Expiry::FirstByte), ..) => {
                (End::TimedOut, DenialKind::UpstreamTimeout, "The provider did not answer in time.")
            }
            (Some(Expiry::Idle), ..) => (
                End::TimedOut,
                DenialKind::UpstreamTimeout,
                "The provider fell silent. Any answer above is incomplete.",
            ),
            (Some(Expiry::Total), ..) => (
                End::TimedOut,
                DenialKind::UpstreamTimeout,
                "The answer took longer than is allowed for this model.",
            ),
            (Some(Expiry::Cut), ..) => {
                (End::UpstreamBroke, DenialKind::UpstreamError, "The provider's answer was broken.")
            }
            (Some(Expiry::Leaving), ..) => (
                End::Abandoned,
                DenialKind::ServiceShuttingDown,
                "The gateway is shutting down. Any answer above is incomplete.",
            ),
            (None, ErrorSource::Downstream, _) => {
                (End::ClientGone, DenialKind::IncompleteRequestBody, "The client left.")
            }
            (None, ErrorSource::Upstream, etype) if is_connect(etype) => (
                End::Unreachable,
                DenialKind::UpstreamUnavailable,
                "The provider can't be reached at the moment.",
            ),
            (None, ErrorSource::Upstream, _) => (
                End::UpstreamBroke,
                DenialKind::UpstreamError,
                "The provider broke the connection. Any answer above is incomplete.",
            ),
            (None, _, _) => (
                End::Abandoned,
                DenialKind::InternalError,
                "The gateway could not handle this request.",
            ),
        };
        Self { end, kind, message }
    }
}

fn is_connect(etype: &ErrorType) -> bool {
    matches!(
        etype,
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::BindError
            | ErrorType::SocketError
            | ErrorType::ConnectProxyFailure
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError
    )
}
