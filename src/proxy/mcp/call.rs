//! A call to a tool.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use pingora_core::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use serde_json::value::RawValue;
use sluicegate_filters::admit::{ScopeKind, Unit};
use sluicegate_filters::authorize::Permit;
use sluicegate_filters::{Denial, DenialKind};
use sluicegate_quota::{Amounts, Holds};

use super::{Stop, begin_events, no_tool, send, takes_events, while_here, write_event};
use crate::app::Gateway;
use crate::mcp::fault::{Fault, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND};
use crate::mcp::members::{self, Members};
use crate::mcp::request::Request;
use crate::mcp::server::Server;
use crate::mcp::upstream::{Call, Event, Failure};
use crate::mcp::{catalog, reply};
use crate::proxy::authorize;
use crate::proxy::ctx::{Ctx, End};
use crate::quotas::refusal;
use crate::quotas::standing::Standings;
use crate::telemetry::mcp_metrics::Outcome;
use crate::telemetry::trace::Phase;

/// One request of a caller's limits.
const ONE: Amounts = Amounts { requests: 1, tokens: 0, nano_usd: 0, parallel: 1 };

/// Calls the tool that a request names, and passes on what comes of it.
pub(super) async fn tool(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    server: Option<Arc<Server>>,
    mut request: Request,
) -> Result<(), Stop> {
    let (server, name) = find(ctx, server, &request).ok_or_else(no_tool)?;
    let arguments = request.params.get("arguments").filter(|it| it.get() != "null");
    let seen = arguments.map(members::value).transpose().map_err(|error| {
        let message = format!("The tool's `arguments` can't be used: {error}.");
        Stop::Fault(DenialKind::InvalidRequestBody, Fault::in_band(INVALID_PARAMS, message))
    })?;
    let permit = authorize::tool(gateway, ctx, (server.name(), &name), seen.as_ref())?;
    let holds = admit(gateway, ctx).await?;
    request.params.put("name", &name);
    let asked = ctx.mcp.get_or_insert_default();
    asked.server = Some(server.clone());
    asked.tool = Some(name.clone());
    asked.called = Some((Instant::now(), None));
    let call = Call {
        method: "tools/call",
        headers: headers(ctx, &server, &name, &request.params),
        name: Some(name),
        params: std::mem::take(&mut request.params),
        timeout: server.target.timeouts.call,
    };
    let passed = pass(gateway, session, ctx, (&server, &permit), call, &request).await;
    let used = match &passed {
        // It never left.
        Err(Stop::Denied(denial)) if denial.kind() == DenialKind::UpstreamUnavailable => {
            Amounts::default()
        }
        _ => Amounts { parallel: 0, ..ONE },
    };
    if let Some(holds) = holds {
        holds.settle(&used);
    }
    let asked = ctx.mcp.get_or_insert_default();
    if let Some((began, took)) = &mut asked.called {
        *took = Some(began.elapsed());
    }
    passed
}

/// The server and the tool that are meant. Whether the server has it, it says itself.
fn find(
    ctx: &Ctx,
    server: Option<Arc<Server>>,
    request: &Request,
) -> Option<(Arc<Server>, String)> {
    let name = request.params.text("name")?;
    let (server, tool) = match server {
        Some(server) => (server, name),
        None => {
            let (server, tool) = name.split_once('_')?;
            (ctx.runtime.mcp.get(server)?.clone(), tool.to_owned())
        }
    };
    (catalog::is_name(&tool) && server.offers(&tool)).then_some((server, tool))
}

/// Holds one request of the caller's limits on requests and on how many are under way. Money and tokens are
/// models' alone.
async fn admit(gateway: &Gateway, ctx: &mut Ctx) -> Result<Option<Holds>, Stop> {
    let Some(caller) = ctx.caller.clone() else { return Ok(None) };
    let configured = ctx.runtime.quotas.for_request(&caller, "", &[], None, caller.tags());
    let configured: Vec<_> =
        configured.into_iter().filter(|quota| quota.scope.kind != ScopeKind::Model).collect();
    let mut slices = gateway.quotas.of(&caller, "", &configured);
    slices.retain(|slice| matches!(slice.unit(), Unit::Requests | Unit::Parallel));
    if slices.is_empty() {
        return Ok(None);
    }
    let held = gateway.quotas.engine().hold(&slices, &ONE).await;
    let now = gateway.quotas.engine().now();
    let standings = slices.iter().map(|slice| slice.standing(now));
    ctx.standings = standings.fold(Standings::default(), Standings::with);
    ctx.trace.lap(Phase::Admit, held.is_err());
    held.map(Some).map_err(|refused| Stop::Denied(refusal::denial(&refused)))
}

/// What a server that is reached by HTTP is told besides: the trace, and what its tool wants to have said
/// again in headers.
fn headers(
    ctx: &mut Ctx,
    server: &Server,
    tool: &str,
    params: &Members,
) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let mut head = http::Request::new(()).into_parts().0;
    head.method = http::Method::POST;
    let mut head = RequestHeader::from(head);
    ctx.trace.write_head(&mut head);
    let mut headers: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let known = server.known_tools();
    let schema = known.as_ref().and_then(|tools| tools.get(tool)?.about.get("inputSchema"));
    if let (Some(schema), Some(arguments)) = (schema, params.get("arguments")) {
        headers.extend(crate::mcp::upstream::http::param_headers(schema, arguments));
    }
    headers
}

/// Sends the call, which needs a permit, and passes on all that comes.
async fn pass(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    (server, _): (&Server, &Permit),
    call: Call,
    request: &Request,
) -> Result<(), Stop> {
    let events = takes_events(session);
    let held = gateway.overload.bytes.hold_none();
    let answer = while_here(gateway, session, server.request_within(call, held)).await?;
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return fail(session, ctx, server, &failure).await,
    };
    loop {
        let event = match while_here(gateway, session, answer.next()).await {
            Ok(Ok(event)) => event,
            Ok(Err(failure)) => return fail(session, ctx, server, &failure).await,
            Err(Stop::Denied(denial)) => return end(session, ctx, denial).await,
            Err(stop) => return Err(stop),
        };
        server.note(None);
        let last = match event {
            Event::Notification(message) => {
                if events {
                    if !ctx.mcp.as_ref().is_some_and(|asked| asked.stream) {
                        begin_events(session, ctx).await?;
                    }
                    write_event(session, ctx, &message, false).await?;
                }
                continue;
            }
            Event::Result(result) => {
                ctx.buffered.set(result.get().len() as u64);
                result_of(ctx, result, request)
            }
            Event::Error(error) => {
                ctx.buffered.set(error.get().len() as u64);
                Some(error_of(ctx, &error, request))
            }
        };
        let Some(last) = last else {
            let failure = Failure::Malformed("a result that is none".to_owned());
            return fail(session, ctx, server, &failure).await;
        };
        return if ctx.mcp.as_ref().is_some_and(|asked| asked.stream) {
            write_event(session, ctx, &last, true).await
        } else {
            send(session, ctx, StatusCode::OK, last).await
        };
    }
}

fn result_of(ctx: &mut Ctx, result: Box<RawValue>, request: &Request) -> Option<Bytes> {
    let (result, tool_failed) = reply::for_version(result, request.version)?;
    ctx.end = Some(End::Complete);
    if let Some(asked) = ctx.mcp.as_mut().filter(|_| tool_failed) {
        asked.outcome = Some(Outcome::ToolFailed);
    }
    Some(reply::result(&request.id, &result))
}

/// A server's error. What it finds wrong with the request is the caller's doing.
fn error_of(ctx: &mut Ctx, error: &RawValue, request: &Request) -> Bytes {
    let code = serde_json::from_str::<ServerError>(error.get()).map_or(0, |error| error.code);
    let of_request = [INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND].map(i64::from);
    let rejected = of_request.contains(&code);
    ctx.end = Some(if rejected { End::Rejected } else { End::UpstreamError });
    if let Some(asked) = &mut ctx.mcp {
        asked.outcome = Some(Outcome::ServerError);
    }
    reply::error(&request.id, error)
}

#[derive(serde::Deserialize)]
struct ServerError {
    code: i64,
}

/// There is no answer of the server's, or no end to it.
async fn fail(
    session: &mut Session,
    ctx: &mut Ctx,
    server: &Server,
    failure: &Failure,
) -> Result<(), Stop> {
    server.note(Some(failure));
    tracing::warn!(server = server.name(), request_id = ctx.id_str(), %failure, "call failed");
    ctx.detail = Some(failure.to_string());
    let (end_word, kind) = match failure {
        Failure::Unreachable(_) => (End::Unreachable, DenialKind::UpstreamUnavailable),
        Failure::NoRoom => (End::Abandoned, DenialKind::Overloaded),
        Failure::TimedOut => (End::TimedOut, DenialKind::UpstreamTimeout),
        Failure::Unauthorized(_) | Failure::Status { .. } => {
            (End::UpstreamError, DenialKind::UpstreamError)
        }
        Failure::Broken(_) | Failure::Malformed(_) | Failure::TooLong => {
            (End::UpstreamBroke, DenialKind::UpstreamError)
        }
    };
    ctx.end = Some(end_word);
    let message = format!("The MCP server `{}` failed: {}.", server.name(), said(failure));
    let mut denial = Denial::new(kind, message);
    if let Failure::Status { retry_after: Some(after), .. } = failure {
        denial = denial.with_retry_after(u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1));
    }
    end(session, ctx, denial).await
}

/// What a caller is told of a failure: no address, and nothing that the server wrote.
fn said(failure: &Failure) -> &'static str {
    match failure {
        Failure::Unreachable(_) => "it can't be reached",
        Failure::Unauthorized(_) => "it refused the gateway's credential",
        Failure::Status { .. } => "it answered with an error",
        Failure::Broken(_) => "it broke off",
        Failure::Malformed(_) => "its answer is no MCP",
        Failure::TooLong => "its answer is too long",
        Failure::NoRoom => "the gateway has no room for its answer",
        Failure::TimedOut => "it gave no answer in time",
    }
}

/// Ends an answer, begun or not, with a refusal.
async fn end(session: &mut Session, ctx: &mut Ctx, denial: Denial) -> Result<(), Stop> {
    if !ctx.mcp.as_ref().is_some_and(|asked| asked.stream) {
        return Err(Stop::Denied(denial));
    }
    ctx.denied = Some(denial.kind());
    ctx.end.get_or_insert(End::Abandoned);
    let last = ctx.mcp.as_ref().map(|asked| asked.refusal(&denial, ctx.id_str()));
    write_event(session, ctx, &last.unwrap_or_default(), true).await
}
