//! A message of MCP on its way: read, judged, and answered here, or by a server.
//!
//! It is answered within Pingora's `request_filter`: there is no provider, so that Pingora's way to one has
//! no part in it. Whoever leaves meanwhile is noticed, and their call is cancelled.

mod call;
mod list;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use serde_json::json;
use serde_json::value::RawValue;
use sluicegate_filters::screen::BodyLimit;
use sluicegate_filters::{Denial, DenialKind};
use tokio_util::sync::CancellationToken;

pub use self::list::listing;
use super::body::{self, NoBody};
use super::ctx::{Ctx, End};
use super::{overload, respond};
use crate::app::Gateway;
use crate::mcp::fault::{Fault, INVALID_PARAMS, REFUSED};
use crate::mcp::reply;
use crate::mcp::request::{self, Message};
use crate::mcp::server::Server;
use crate::telemetry::mcp_metrics::{Method, Outcome};
use crate::telemetry::trace::Phase;

const JSON: &str = "application/json";

/// What clients may tell their models.
const ALL: &str = "Tools of several servers, each named {server}_{tool}.";

/// What is known of a message.
#[derive(Debug, Default)]
pub struct Asked {
    /// Its id, once it was read and has one.
    id: Option<Box<RawValue>>,
    /// What it asks for.
    pub method: Method,
    /// Whom.
    pub server: Option<Arc<Server>>,
    /// The tool, by its server's name for it.
    pub tool: Option<String>,
    /// What became of it, where that is not plain from the request's end.
    pub outcome: Option<Outcome>,
    /// Bytes of the message.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// When the server was called, and until when it was.
    pub called: Option<(Instant, Option<Duration>)>,
    /// Whether the answer is a stream of events.
    pub stream: bool,
}

impl Asked {
    /// For what is sent to `path`, where MCP is spoken there.
    pub fn at(path: &str) -> Option<Box<Self>> {
        let rest = path.strip_prefix("/mcp")?;
        let spoken = rest.is_empty() || rest.starts_with('/') && rest != "/tools";
        spoken.then(Box::default)
    }

    /// Whether the message was read, so that what is said of it can be said to it.
    pub fn is_read(&self) -> bool {
        self.id.is_some()
    }

    /// A refusal as a message.
    pub fn refusal(&self, denial: &Denial, request_id: &str) -> Bytes {
        let mut data = json!({ "code": denial.code(), "request_id": request_id });
        if let Some(param) = denial.param() {
            data["param"] = param.into();
        }
        if let Some(seconds) = denial.retry_after() {
            data["retry_after"] = seconds.into();
        }
        let fault = Fault { data: Some(data), ..Fault::new(REFUSED, denial.message().to_owned()) };
        reply::fault(self.id.as_deref(), &fault)
    }

    /// How it ended, as the metrics have it.
    pub fn ended(&self, end: End) -> Outcome {
        self.outcome.unwrap_or(match end {
            End::Complete => Outcome::Complete,
            End::Refused | End::Rejected | End::LimitReached => Outcome::Refused,
            End::ClientGone => Outcome::ClientGone,
            _ => Outcome::Failed,
        })
    }
}

/// Why nothing goes on.
enum Stop {
    /// The client left, or the answer could not be written.
    Gone(Box<Error>),
    /// The client reads too slowly, or may not go on reading.
    Cut(End),
    /// The caller has cancelled the request.
    Cancelled,
    /// The request is refused, or failed.
    Denied(Denial),
    /// There is a fault in it.
    Fault(DenialKind, Fault),
}

impl From<NoBody> for Stop {
    fn from(none: NoBody) -> Self {
        match none {
            NoBody::Gone(error) => Self::Gone(error),
            NoBody::Denied(denial) => Self::Denied(denial),
        }
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// Answers a message that is sent to `server`, or to all of them.
pub async fn answer(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    server: Option<&str>,
    limit: &BodyLimit,
) -> Result<()> {
    match serve(gateway, session, ctx, server, limit).await {
        Ok(()) => Ok(()),
        Err(Stop::Denied(denial)) => respond::denial(session, ctx, denial).await,
        Err(Stop::Fault(kind, fault)) => refuse(session, ctx, kind, fault).await,
        Err(Stop::Cancelled) => {
            ctx.end = Some(End::ClientGone);
            let message = "The caller has cancelled the request.";
            let data = json!({ "code": "cancelled", "request_id": ctx.id_str() });
            let fault = Fault { data: Some(data), ..Fault::in_band(REFUSED, message) };
            tell(session, ctx, &fault).await
        }
        Err(Stop::Gone(error)) => {
            ctx.end = Some(End::ClientGone);
            Err(error.into_down())
        }
        Err(Stop::Cut(end)) => {
            ctx.end = Some(end);
            Err(Error::new(ErrorType::WriteTimedout).into_down())
        }
    }
}

async fn serve(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    server: Option<&str>,
    limit: &BodyLimit,
) -> Result<(), Stop> {
    let runtime = ctx.runtime.clone();
    let server = match server {
        _ if runtime.mcp.is_empty() => return Err(no_server("No MCP server is configured here.")),
        None => None,
        Some(name) => {
            let found = runtime.mcp.get(name).cloned();
            Some(found.ok_or_else(|| no_server("No MCP server of this name is configured here."))?)
        }
    };
    let read = body::read(gateway, session, ctx, limit).await;
    ctx.trace.lap(Phase::Body, read.is_err());
    let body = read?;
    let message = request::read(&session.req_header().headers, body.as_slice());
    let asked = ctx.mcp.get_or_insert_default();
    asked.bytes_in = body.len() as u64;
    asked.server.clone_from(&server);
    let request = match message {
        Ok(Message::Request(request)) => request,
        Ok(message @ (Message::Cancelled(_) | Message::Other)) => {
            asked.method = Method::Notification;
            if let Message::Cancelled(id) = message {
                gateway.calls.cancel(call::caller(ctx), id.get());
            }
            ctx.end = Some(End::Complete);
            return send(session, ctx, StatusCode::ACCEPTED, Bytes::new()).await;
        }
        Err(unreadable) => {
            asked.id = unreadable.id;
            return Err(Stop::Fault(DenialKind::InvalidRequestBody, unreadable.fault));
        }
    };
    // What is needed of it has been copied.
    drop(body);
    asked.id = Some(request.id.clone());
    asked.method = Method::of(&request.method);
    let method = asked.method;
    // After the message is known, so that who finds no place is told so in answer to it.
    overload::place(gateway, session, ctx).await?;
    let instructions = if server.is_some() { "" } else { ALL };
    let result = match method {
        Method::Initialize => {
            reply::initialized(request.params.text("protocolVersion").as_deref(), instructions)
        }
        Method::Discover if request.version.is_stateless() => reply::discovered(instructions),
        Method::Ping if !request.version.is_stateless() => reply::raw(&json!({})),
        Method::ToolsList => list::tools(gateway, session, ctx, server.as_ref(), &request).await?,
        Method::ToolsCall => return call::tool(gateway, session, ctx, server, request).await,
        _ => {
            let fault = Fault::no_method(request.version, &request.method);
            return Err(Stop::Fault(DenialKind::NotFound, fault));
        }
    };
    ctx.end = Some(End::Complete);
    let body = reply::result(&request.id, &result);
    send(session, ctx, StatusCode::OK, body).await
}

fn no_server(message: &'static str) -> Stop {
    Stop::Denied(Denial::new(DenialKind::NotFound, message))
}

/// There is no such tool, or none that is offered.
fn no_tool() -> Stop {
    let message = "There is no such tool here; tools/list lists those that there are.";
    Stop::Fault(DenialKind::ToolNotFound, Fault::in_band(INVALID_PARAMS, message))
}

/// Answers with a whole message, or with none.
async fn send(
    session: &mut Session,
    ctx: &mut Ctx,
    status: StatusCode,
    body: Bytes,
) -> Result<(), Stop> {
    if let Some(asked) = &mut ctx.mcp {
        asked.bytes_out = body.len() as u64;
    }
    respond::send(session, ctx, status, &[], JSON, body).await.map_err(Stop::Gone)
}

/// Tells what is wrong with a request.
async fn refuse(
    session: &mut Session,
    ctx: &mut Ctx,
    kind: DenialKind,
    fault: Fault,
) -> Result<()> {
    ctx.denied = Some(kind);
    ctx.end.get_or_insert(End::Refused);
    ctx.detail.get_or_insert_with(|| fault.message.to_string());
    let mut data = fault.data.clone().unwrap_or_else(|| json!({}));
    data["code"] = kind.code().into();
    data["request_id"] = ctx.id_str().into();
    tell(session, ctx, &Fault { data: Some(data), ..fault }).await
}

/// Answers with a fault: as a message, or as the last event of a stream.
async fn tell(session: &mut Session, ctx: &mut Ctx, fault: &Fault) -> Result<()> {
    let body = reply::fault(ctx.mcp.as_ref().and_then(|asked| asked.id.as_deref()), fault);
    if is_stream(ctx) {
        return write(session, ctx, reply::event(&body), true).await;
    }
    if let Some(asked) = &mut ctx.mcp {
        asked.bytes_out = body.len() as u64;
    }
    respond::send(session, ctx, fault.status, &[], JSON, body).await
}

/// Waits for `it` while the client does.
async fn while_here<T>(
    gateway: &Gateway,
    session: &mut Session,
    cancelled: Option<CancellationToken>,
    it: impl Future<Output = T>,
) -> Result<T, Stop> {
    let cancelled = async move {
        match cancelled {
            Some(cancelled) => cancelled.cancelled_owned().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // First: there may always be something that has come.
        () = cancelled => Err(Stop::Cancelled),
        it = it => Ok(it),
        error = overload::leaves(session) => Err(Stop::Gone(error)),
        () = gateway.leaving.cancelled() => Err(Stop::Denied(overload::shutting_down())),
    }
}

/// Begins an answer that comes as events.
async fn begin_events(session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    let mut head = respond::head(ctx, StatusCode::OK, Some(16)).map_err(Stop::Gone)?;
    let events = head
        .insert_header(CONTENT_TYPE, "text/event-stream")
        .and_then(|()| head.insert_header(http::header::CACHE_CONTROL, "no-store"))
        // So that boxes on the way don't gather it.
        .and_then(|()| head.insert_header("x-accel-buffering", "no"));
    events.map_err(Stop::Gone)?;
    if !session.is_http2() {
        head.insert_header(http::header::TRANSFER_ENCODING, "chunked").map_err(Stop::Gone)?;
    }
    if let Some(asked) = &mut ctx.mcp {
        asked.stream = true;
    }
    session.write_response_header(Box::new(head), false).await.map_err(Stop::Gone)
}

/// Whether an answer that comes as events has begun.
fn is_stream(ctx: &Ctx) -> bool {
    ctx.mcp.as_ref().is_some_and(|asked| asked.stream)
}

/// Writes a piece of a stream.
async fn write(session: &mut Session, ctx: &mut Ctx, event: Bytes, last: bool) -> Result<()> {
    if let Some(asked) = &mut ctx.mcp {
        asked.bytes_out += event.len() as u64;
    }
    session.write_response_body(Some(event), last).await
}

/// Writes an event that is not the last, until the call's time is over: while it is written, nobody reads on
/// from the server, over whose connection other callers' answers may come.
async fn write_event(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    message: &[u8],
    (until, cancelled): (Instant, &CancellationToken),
) -> Result<(), Stop> {
    tokio::select! {
        biased;
        written = write(session, ctx, reply::event(message), false) => written.map_err(Stop::Gone),
        () = gateway.leaving.cancelled() => Err(Stop::Cut(End::Abandoned)),
        () = cancelled.cancelled() => Err(Stop::Cut(End::ClientGone)),
        () = tokio::time::sleep_until(until.into()) => Err(Stop::Cut(End::TimedOut)),
    }
}

/// Whether the caller takes events. HTTP/1.0 has no way to say where they end.
fn takes_events(session: &Session) -> bool {
    let head = session.req_header();
    head.version != http::Version::HTTP_10 && request::takes_events(&head.headers)
}
