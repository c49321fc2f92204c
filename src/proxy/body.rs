//! Reads a request's body, once, whole and bounded.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use pingora_proxy::Session;
use sluicegate_filters::screen::BodyLimit;
use sluicegate_filters::{Denial, DenialKind};
use tokio::time::Instant;

use super::ctx::Ctx;
use super::overload;
use crate::app::Gateway;
use crate::dialects::rewrite::BodyBuffer;

/// What is set aside for a body before any of it has come. A declared length is only a claim, so
/// beyond this the buffer grows with what really arrives.
const MAX_UPFRONT: usize = 256 * 1024;
/// How long and how much is read on after a refusal, so that the client can finish writing and
/// read the answer instead of a reset.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// How long and how much is read of a body that nobody wants any more, so that the connection can be kept.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_BYTES: u64 = 64 * 1024;

/// Why there is no body.
pub enum NoBody {
    /// The body breaks a rule.
    Denied(Denial),
    /// The client left or broke its connection: nobody to answer.
    Gone(Box<pingora_core::Error>),
}

/// Reads all of the body within `limit` bytes and the time that is configured, in all (not for each read: a byte
/// now and then does not extend it). What is held of it is counted before it is. How long it was waited for is
/// noted.
pub async fn read(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    limit: &BodyLimit,
) -> Result<BodyBuffer, NoBody> {
    let timeout = ctx.runtime.config.limits.body_timeout;
    overload::before_body(gateway, ctx, limit).map_err(NoBody::Denied)?;
    if session.req_header().headers.contains_key(EXPECT) && limit.declared() != Some(0) {
        session.write_continue_response().await.map_err(NoBody::Gone)?;
    }
    let declared = usize::try_from(limit.declared().unwrap_or(0)).unwrap_or(MAX_UPFRONT);
    let mut body = BodyBuffer::with_capacity(declared.min(MAX_UPFRONT));
    // Each read has the time that is left of that for all, and needs none of its own.
    session.set_read_timeout(None);
    let mut waited = Duration::ZERO;
    let read = {
        let mut whole = pin!(async {
            while let Some(chunk) =
                session.read_request_body().await.map_err(unreadable(timeout))?
            {
                let length = (body.len() + chunk.len()) as u64;
                limit.admit(length).map_err(NoBody::Denied)?;
                overload::grow_to(gateway, ctx, length).map_err(NoBody::Denied)?;
                body.extend_from_slice(&chunk);
            }
            Ok(())
        });
        // Most are there with their heads, and need neither a clock nor a timer.
        match poll_fn(|task| Poll::Ready(whole.as_mut().poll(task))).await {
            Poll::Ready(read) => read,
            Poll::Pending => {
                let waiting = Instant::now();
                let read = pingora_timeout::timeout(timeout, whole).await;
                waited = waiting.elapsed();
                read.unwrap_or_else(|_| Err(NoBody::Denied(late(timeout))))
            }
        }
    };
    session.set_read_timeout(Some(timeout));
    ctx.body_wait = waited;
    read.map(|()| body)
}

fn late(timeout: Duration) -> Denial {
    let message = format!("The request body did not arrive within {} s.", timeout.as_secs_f32());
    Denial::new(DenialKind::RequestTimeout, message)
}

/// A connection that ended has nobody to answer; whoever sends nothing any more, or chunks that are none, has.
fn unreadable(timeout: Duration) -> impl Fn(Box<pingora_core::Error>) -> NoBody {
    use pingora_core::ErrorType::{ConnectionClosed, H2Error, ReadError, ReadTimedout};
    move |error| match error.etype() {
        ConnectionClosed | ReadError | H2Error => NoBody::Gone(error),
        ReadTimedout => NoBody::Denied(late(timeout)),
        _ => NoBody::Denied(Denial::new(
            DenialKind::InvalidRequestFraming,
            "The request body is not framed as its header says.",
        )),
    }
}

/// How long a body is to be, where its head says so.
pub fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body that nobody wants, if it is small and surely comes: else a client that is refused would have to
/// connect anew each time. Only for a head whose framing is beyond doubt. Over HTTP/2 there is nothing to keep.
pub async fn drain(session: &mut Session) {
    let headers = &session.req_header().headers;
    let comes = !headers.contains_key(EXPECT) && !headers.contains_key(TRANSFER_ENCODING);
    let small = length(headers).is_some_and(|length| length <= DRAIN_BYTES);
    if !comes || !small || session.is_http2() || session.is_body_done() {
        return;
    }
    let whole = async { while let Ok(Some(_)) = session.read_request_body().await {} };
    // If it is not whole by then, the connection closes.
    pingora_timeout::timeout(DRAIN_TIME, whole).await.ok();
}

/// Reads on after an answer that did not wait for the body, bounded in time and bytes.
pub async fn linger(session: &mut Session) {
    let deadline = Instant::now() + LINGER_TIME;
    let mut seen = 0;
    while seen < LINGER_BYTES {
        match tokio::time::timeout_at(deadline, session.read_request_body()).await {
            Ok(Ok(Some(chunk))) => seen += chunk.len(),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora_core::{Error, ErrorType};

    use super::*;

    #[test]
    fn a_client_that_falls_silent_is_answered_and_one_that_left_is_not() {
        let unreadable = unreadable(Duration::from_secs(90));
        let NoBody::Denied(denial) = unreadable(Error::new(ErrorType::ReadTimedout)) else {
            panic!("it waits for an answer");
        };
        assert_eq!(denial.kind(), DenialKind::RequestTimeout);
        for left in [ErrorType::ConnectionClosed, ErrorType::ReadError, ErrorType::H2Error] {
            assert!(matches!(unreadable(Error::new(left)), NoBody::Gone(_)));
        }
    }
}
