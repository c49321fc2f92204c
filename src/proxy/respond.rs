//! Answers of our own: the one place where a cause becomes a status, a body and headers.

use bytes::Bytes;
use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use sluicegate_filters::denial::{Denial, DenialKind};
use sluicegate_filters::screen::SECURITY_HEADERS;

use super::body;
use super::ctx::{Ctx, End};
use crate::app::{Gateway, Runtime};
use crate::config::valid::Environment;
use crate::dialects::error::{ErrorReply, error_body};
use crate::tls::Listener;

/// The header that names a request in our answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Come by TLS only, for a year (RFC 6797). Of this name alone: others below it may not be ours.
pub static HSTS: (HeaderName, HeaderValue) =
    (STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));

/// Whether answers carry [`HSTS`]. Over plain HTTP it says nothing (RFC 6797 section 7.2); elsewhere than in
/// production it would keep a browser from coming back by http:// to the same name.
pub fn is_https_alone(gateway: &Gateway, runtime: &Runtime) -> bool {
    gateway.tls.get(Listener::Proxy).is_some()
        && runtime.config.environment == Environment::Production
}

/// Answers with `body`.
pub async fn send(
    session: &mut Session,
    ctx: &Ctx,
    status: StatusCode,
    extra: &[(HeaderName, HeaderValue)],
    content_type: &'static str,
    body: Bytes,
) -> Result<()> {
    let mut head = head(ctx, status, Some(12))?;
    for (name, value) in extra {
        head.append_header(name, value)?;
    }
    if status != StatusCode::NO_CONTENT {
        head.insert_header(CONTENT_LENGTH, body.len())?;
    }
    if !body.is_empty() {
        head.insert_header(CONTENT_TYPE, HeaderValue::from_static(content_type))?;
    }
    // A HEAD is told the length but gets no body.
    let bodiless = body.is_empty() || session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), bodiless).await?;
    let body = (!bodiless).then_some(body);
    session.write_response_body(body, true).await
}

/// The head that all answers of our own have, with room for so many headers.
pub fn head(ctx: &Ctx, status: StatusCode, room: Option<usize>) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(status, room)?;
    head.insert_header(REQUEST_ID, &ctx.id_header)?;
    for (name, value) in &SECURITY_HEADERS {
        head.insert_header(name, value)?;
    }
    if ctx.hsts {
        let (name, value) = &HSTS;
        head.insert_header(name, value)?;
    }
    if let Some(cors) = &ctx.cors {
        for (name, value) in cors.headers() {
            head.append_header(name, value)?;
        }
    }
    let mut told = Ok(());
    ctx.standings.tell(|name, value| {
        if let Err(error) = head.insert_header(name, value) {
            told = Err(error);
        }
    });
    told.map(|()| head)
}

/// Answers with JSON.
pub async fn json(session: &mut Session, ctx: &Ctx, body: Bytes) -> Result<()> {
    send(session, ctx, StatusCode::OK, &[], "application/json", body).await
}

/// Answers with a refusal in the caller's dialect, and remembers it for the log.
pub async fn denial(session: &mut Session, ctx: &mut Ctx, denial: Denial) -> Result<()> {
    // In a box: it can come at many places on the way of a request, most of which are not refused.
    Box::pin(refuse(session, ctx, denial)).await
}

async fn refuse(session: &mut Session, ctx: &mut Ctx, denial: Denial) -> Result<()> {
    let kind = denial.kind();
    ctx.denied = Some(kind);
    ctx.end.get_or_insert(End::Refused);
    if let Some(detail) = denial.detail() {
        ctx.detail.get_or_insert_with(|| detail.to_string());
    }
    let reply = ErrorReply {
        status: kind.status().as_u16(),
        code: kind.code(),
        message: denial.message(),
        param: denial.param(),
        request_id: ctx.id_str(),
    };
    let in_band = ctx.mcp.as_ref().is_some_and(|asked| asked.is_read());
    let (status, body) = match &ctx.mcp {
        Some(asked) if in_band => (StatusCode::OK, asked.refusal(&denial, ctx.id_str())),
        Some(asked) => (kind.status(), asked.refusal(&denial, ctx.id_str())),
        None => (kind.status(), error_body(ctx.dialect, &reply)),
    };
    let mut extra = Vec::new();
    if let Some(allow) = denial.allow() {
        extra.push((ALLOW, HeaderValue::from_static(allow)));
    }
    if let Some(challenge) = kind.challenge() {
        extra.push((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
    }
    if let Some(seconds) = denial.retry_after() {
        extra.push((RETRY_AFTER, HeaderValue::from(seconds)));
    }
    // Pingora is done with an exchange of ours when we say so.
    let closes = kind.closes_connection() && !in_band || ctx.in_doubt;
    if !closes {
        body::drain(session).await;
    }
    let unread = !session.is_body_done();
    if closes || unread {
        session.set_keepalive(None);
    }
    send(session, ctx, status, &extra, "application/json", body).await?;
    if unread && !closes || kind == DenialKind::RequestTooLarge {
        body::linger(session).await;
    }
    Ok(())
}
