//! A call to a tool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use serde_json::json;
use serde_json::value::RawValue;
use sluicegate_filters::admit::{ScopeKind, Unit};
use sluicegate_filters::authorize::Permit;
use sluicegate_filters::{Caller, Denial, DenialKind};
use sluicegate_quota::{Amounts, Holds};
use tokio_util::sync::CancellationToken;

use super::{
    Stop, begin_events, is_stream, no_tool, send, takes_events, while_here, write, write_event,
};
use crate::app::Gateway;
use crate::mcp::catalog::{self, Tools};
use crate::mcp::fault::{Fault, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND};
use crate::mcp::members::{self, Members};
use crate::mcp::reply::{self, Last, Peek};
use crate::mcp::request::Request;
use crate::mcp::server::Server;
use crate::mcp::upstream::http::param_headers;
use crate::mcp::upstream::{Call, Event, Failure};
use crate::overload::Shed;
use crate::proxy::ctx::{Ctx, End};
use crate::proxy::{authorize, overload};
use crate::quotas::refusal;
use crate::quotas::standing::Standings;
use crate::telemetry::mcp_metrics::Outcome;
use crate::telemetry::trace::Phase;

/// One request of a caller's limits.
const ONE: Amounts = Amounts { requests: 1, tokens: 0, nano_usd: 0, parallel: 1 };

/// How long a call waits for its server's list of tools, where none is known yet.
const LIST: Duration = Duration::from_secs(10);

/// The parameters of a call that go on. What a caller adds is not judged, so that no server gets to read it: some
/// take `Name` for `name`.
const PASSED: [&str; 5] = ["name", "arguments", "_meta", "inputResponses", "requestState"];

/// Calls the tool that a request names, and passes on what comes of it.
pub(super) async fn tool(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    server: Option<Arc<Server>>,
    request: Request,
) -> Result<(), Stop> {
    let (server, name) = find(ctx, server, &request).ok_or_else(no_tool)?;
    let asked = ctx.mcp.get_or_insert_default();
    asked.server = Some(server.clone());
    asked.tool = Some(name.clone());
    let permit = judge(gateway, session, ctx, (&server, &name), &request).await?;
    let holds = admit(gateway, ctx).await?;
    let entry = gateway.calls.enter(caller(ctx), request.id.get());
    let mut params = Members::default();
    for (member, value) in request.params.iter().filter(|(it, _)| PASSED.contains(it)) {
        params.set(member, value.to_owned());
    }
    params.put("name", &name);
    ctx.mcp.get_or_insert_default().called = Some((Instant::now(), None));
    let sent = Sent { server, _permit: permit, cancelled: entry.cancelled.clone() };
    let passed = pass(gateway, session, ctx, sent, (name, params), &request).await;
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
    if matches!(passed, Err(Stop::Gone(_))) {
        // Whatever the server said, nobody was told.
        asked.outcome = None;
    }
    passed
}

/// Whose call it is: only they can cancel it.
pub(super) fn caller(ctx: &Ctx) -> String {
    let caller = ctx.caller.as_deref();
    let key = caller.and_then(Caller::key).map(|key| key.id.to_string()).unwrap_or_default();
    let user = caller.and_then(Caller::user).unwrap_or_default();
    let kind = caller.map_or("", |caller| caller.kind().name());
    let client = ctx.client.map(|client| client.to_string()).unwrap_or_default();
    format!("{kind}\n{key}\n{client}\n{user}")
}

/// Asks the policies, with the arguments as the server will read them.
async fn judge(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    (server, name): (&Arc<Server>, &str),
    request: &Request,
) -> Result<Permit, Stop> {
    let unusable = |why: String| {
        let message = format!("The tool's `arguments` can't be used: {why}.");
        Stop::Fault(DenialKind::InvalidRequestBody, Fault::in_band(INVALID_PARAMS, message))
    };
    let arguments = request.params.get("arguments").filter(|it| it.get() != "null");
    let seen = arguments.map(members::value).transpose();
    let seen = seen.map_err(|error| unusable(members::why(&error)))?;
    let has_policies = ctx.runtime.pipeline.authorize.policies().is_some();
    if let Some(seen) = seen.as_ref().filter(|seen| has_policies && **seen != json!({})) {
        let tools = known(gateway, session, server).await?;
        let tool = tools.get(name);
        let odd = members::alike(seen).or_else(|| tool.and_then(|tool| tool.misspelt(seen)));
        if let Some(odd) = odd {
            let odd: String = odd.chars().take(64).collect();
            return Err(unusable(format!(
                "`{}` differs from another name by its letters' case alone",
                odd.escape_debug()
            )));
        }
    }
    Ok(authorize::tool(gateway, ctx, (server.name(), name), seen.as_ref())?)
}

/// The server's tools, without which nobody knows how its arguments are called.
async fn known(
    gateway: &Gateway,
    session: &mut Session,
    server: &Arc<Server>,
) -> Result<Arc<Tools>, Stop> {
    if let Some(known) = server.known_tools() {
        return Ok(known);
    }
    let server = server.clone();
    let name = server.name().to_owned();
    let asked = async move { server.tools(LIST).await };
    while_here(gateway, session, None, asked).await?.map_err(|failure| {
        let message = format!(
            "The MCP server `{name}` does not tell its tools, so that the arguments can't be judged: {}.",
            said(&failure)
        );
        Stop::Denied(Denial::new(DenialKind::UpstreamUnavailable, message))
    })
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

/// What a server that is reached by HTTP is told of the trace.
fn trace(ctx: &mut Ctx) -> Vec<(HeaderName, HeaderValue)> {
    let mut head = http::Request::new(()).into_parts().0;
    head.method = http::Method::POST;
    let mut head = RequestHeader::from(head);
    ctx.trace.write_head(&mut head);
    head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What its tool wants to have said again in headers of the arguments.
async fn repeated(
    server: &Arc<Server>,
    tool: &str,
    params: &Members,
) -> Vec<(HeaderName, HeaderValue)> {
    let Some(arguments) = params.get("arguments") else { return Vec::new() };
    let known = match server.known_tools() {
        None if server.is_http() => server.tools(LIST).await.ok(),
        known => known,
    };
    let schema = known.as_ref().and_then(|tools| tools.get(tool)?.about.get("inputSchema"));
    schema.map(|schema| param_headers(schema, arguments)).unwrap_or_default()
}

/// Whom a call goes to.
struct Sent {
    server: Arc<Server>,
    /// That it may.
    _permit: Permit,
    /// Cancelled when its caller wants it to end.
    cancelled: CancellationToken,
}

/// Sends the call, and passes on all that comes.
async fn pass(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    sent: Sent,
    (name, params): (String, Members),
    request: &Request,
) -> Result<(), Stop> {
    let Sent { server, cancelled, .. } = sent;
    let events = takes_events(session);
    let until = Instant::now() + server.target.timeouts.call;
    let mut headers = trace(ctx);
    let held = gateway.overload.bytes.hold_none();
    let begin = {
        let server = server.clone();
        async move {
            headers.extend(repeated(&server, &name, &params).await);
            let timeout = until.saturating_duration_since(Instant::now());
            let call = Call { method: "tools/call", headers, name: Some(name), params, timeout };
            server.request(call, held).await
        }
    };
    let answer = while_here(gateway, session, Some(cancelled.clone()), begin).await;
    let mut answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => return fail(gateway, session, ctx, &server, &failure).await,
        Err(stop) => return stopped(session, ctx, stop).await,
    };
    let last = loop {
        let next = while_here(gateway, session, Some(cancelled.clone()), answer.next()).await;
        match next {
            Ok(Ok(Event::Notification(message))) => {
                server.note(None);
                if events {
                    if !is_stream(ctx) {
                        begin_events(session, ctx).await?;
                    }
                    write_event(gateway, session, ctx, &message, (until, &cancelled)).await?;
                }
            }
            Ok(Ok(last)) => break last,
            Ok(Err(failure)) => return fail(gateway, session, ctx, &server, &failure).await,
            Err(stop) => return stopped(session, ctx, stop).await,
        }
    };
    server.note(None);
    // With what it has gathered.
    drop(answer);
    let Some(last) = end_of(ctx, last, request) else {
        let failure = Failure::Malformed("a result that is none".to_owned());
        return fail(gateway, session, ctx, &server, &failure).await;
    };
    if is_stream(ctx) {
        write(session, ctx, last, true).await.map_err(Stop::Gone)
    } else {
        send(session, ctx, StatusCode::OK, last).await
    }
}

/// The last message of an answer. `None`: the server's is none.
fn end_of(ctx: &mut Ctx, last: Event, request: &Request) -> Option<Bytes> {
    let as_event = is_stream(ctx);
    let message = match &last {
        Event::Notification(_) => return None,
        Event::Result(text) => {
            let peek = Peek::of(text)?;
            ctx.end = Some(End::Complete);
            if let Some(asked) = ctx.mcp.as_mut().filter(|_| peek.is_error) {
                asked.outcome = Some(Outcome::ToolFailed);
            }
            let completed = request.version.is_stateless() && !peek.has_type;
            reply::last(&request.id, Last::Result { text, completed }, as_event)
        }
        Event::Error(text) => {
            note_error(ctx, text);
            reply::last(&request.id, Last::Error(text), as_event)
        }
    };
    ctx.buffered.set(message.len() as u64);
    Some(message)
}

/// The client has left, or may not wait any longer, after the call was sent.
async fn stopped(session: &mut Session, ctx: &mut Ctx, stop: Stop) -> Result<(), Stop> {
    match stop {
        Stop::Denied(denial) => {
            // It may have had its effect.
            ctx.end = Some(End::Abandoned);
            end(session, ctx, denial).await
        }
        stop => Err(stop),
    }
}

/// A server's error. What it finds wrong with the request is the caller's doing.
fn note_error(ctx: &mut Ctx, error: &RawValue) {
    let code = serde_json::from_str::<ServerError>(error.get()).map_or(0, |error| error.code);
    let of_request = [INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND].map(i64::from);
    let rejected = of_request.contains(&code);
    ctx.end = Some(if rejected { End::Rejected } else { End::UpstreamError });
    if let Some(asked) = &mut ctx.mcp {
        asked.outcome = Some(Outcome::ServerError);
    }
}

#[derive(serde::Deserialize)]
struct ServerError {
    code: i64,
}

/// There is no answer of the server's, or no end to it.
async fn fail(
    gateway: &Gateway,
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
    let mut denial = match failure {
        Failure::NoRoom => overload::shed(gateway, Shed::BufferedBytes),
        _ => Denial::new(kind, message),
    };
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
    if !is_stream(ctx) {
        return Err(Stop::Denied(denial));
    }
    ctx.denied = Some(denial.kind());
    ctx.end.get_or_insert(End::Abandoned);
    let last = ctx.mcp.as_ref().map(|asked| asked.refusal(&denial, ctx.id_str()));
    write(session, ctx, reply::event(&last.unwrap_or_default()), true).await.map_err(Stop::Gone)
}
