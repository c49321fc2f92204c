//! The tools that a caller may see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::Result;
use pingora_proxy::Session;
use serde_json::value::RawValue;
use sluicegate_filters::DenialKind;

use super::{Stop, while_here};
use crate::app::Gateway;
use crate::mcp::catalog::{Look, Tool, Tools};
use crate::mcp::fault::{Fault, INVALID_PARAMS};
use crate::mcp::members::Members;
use crate::mcp::reply::{self, Unavailable};
use crate::mcp::request::Request;
use crate::mcp::server::Server;
use crate::mcp::upstream::Failure;
use crate::proxy::ctx::{Ctx, End};
use crate::proxy::{authorize, overload, respond};

/// What servers say of their tools: in the order of their names.
type Told = BTreeMap<String, Result<Arc<Tools>, Failure>>;

/// How long the first list of one server is waited for by whoever wants those of all.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// Decisions of policies in a row, before others get their turn.
const IN_A_ROW: usize = 64;

/// Answers `tools/list`.
pub(super) async fn tools(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    server: Option<&Arc<Server>>,
    request: &Request,
) -> Result<Box<RawValue>, Stop> {
    if request.params.get("cursor").is_some_and(|cursor| cursor.get() != "null") {
        let message = "No list here has a second page, so there is no such cursor.";
        let fault = Fault::in_band(INVALID_PARAMS, message);
        return Err(Stop::Fault(DenialKind::InvalidRequestBody, fault));
    }
    let told = ask(gateway, session, ctx, server).await?;
    let mut listed = Vec::new();
    for (name, tool) in seen(ctx, &told).await {
        let mut about = tool.about.clone();
        if server.is_none() {
            about.put("name", &full_name(name, &tool.name));
        }
        listed.push(about);
    }
    Ok(reply::tools(&listed, &unavailable(&told), request.version))
}

/// Answers `GET /mcp/tools`: for whoever speaks no MCP.
pub async fn listing(gateway: &Gateway, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    let told = match overload::place(gateway, session, ctx).await {
        Ok(()) => ask(gateway, session, ctx, None).await,
        Err(none) => Err(none.into()),
    };
    let told = match told {
        Ok(told) => told,
        Err(Stop::Denied(denial)) => return respond::denial(session, ctx, denial).await,
        Err(Stop::Gone(error)) => {
            ctx.end = Some(End::ClientGone);
            return Err(error.into_down());
        }
        Err(Stop::Cut(_) | Stop::Cancelled | Stop::Fault(..)) => {
            unreachable!("there is no message in it")
        }
    };
    let mut listed = Vec::new();
    for (server, tool) in seen(ctx, &told).await {
        let mut about = Members::default();
        about.put("name", &full_name(server, &tool.name));
        about.put("server", &server);
        about.put("tool", &tool.name);
        for (member, value) in tool.about.iter().filter(|(member, _)| *member != "name") {
            if about.get(member).is_none() {
                about.set(member, value.to_owned());
            }
        }
        listed.push(about);
    }
    let mut body = Members::default();
    body.put("tools", &listed);
    body.put("unavailable", &unavailable(&told));
    ctx.end = Some(End::Complete);
    respond::json(session, ctx, body.to_raw().get().to_owned().into()).await
}

/// The name of a tool among those of all servers.
fn full_name(server: &str, tool: &str) -> String {
    format!("{server}_{tool}")
}

/// Asks a server, or all of them at once. Whoever leaves, what was begun goes on for the others.
async fn ask(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &Ctx,
    server: Option<&Arc<Server>>,
) -> Result<Told, Stop> {
    let looks = looks(ctx, server);
    // Who wants one server's tools alone waits as long as it takes; else one holds up all others.
    let patience = server.is_none().then_some(FIRST_LIST);
    let tell = async move {
        let mut told = Told::new();
        // They are all being asked, and have been looked at together: it takes as long as the slowest.
        for (name, look) in looks {
            told.insert(name, look.tools(patience).await);
        }
        told
    };
    while_here(gateway, session, None, tell).await
}

fn looks(ctx: &Ctx, server: Option<&Arc<Server>>) -> Vec<(String, Look)> {
    let asked = ctx.runtime.mcp.iter().filter(|it| server.is_none_or(|only| Arc::ptr_eq(it, only)));
    asked.map(|server| (server.name().to_owned(), server.look())).collect()
}

/// The tools that the caller may know of, each with its server's name.
async fn seen<'a>(ctx: &Ctx, told: &'a Told) -> Vec<(&'a str, &'a Tool)> {
    let (all, mut seen) = (all(told), Vec::new());
    for some in all.chunks(IN_A_ROW) {
        seen.extend(some_seen(ctx, some));
        tokio::task::yield_now().await;
    }
    seen
}

fn some_seen<'a>(ctx: &Ctx, some: &[(&'a str, &'a Tool)]) -> Vec<(&'a str, &'a Tool)> {
    let may = |(server, tool): &&(&str, &Tool)| authorize::sees_tool(ctx, server, &tool.name);
    some.iter().filter(may).copied().collect()
}

fn all(told: &Told) -> Vec<(&str, &Tool)> {
    let each = told.iter().filter_map(|(server, tools)| Some((server, tools.as_ref().ok()?)));
    each.flat_map(|(server, tools)| tools.iter().map(move |tool| (server.as_str(), tool))).collect()
}

/// The servers whose tools are missing.
fn unavailable(told: &Told) -> Vec<Unavailable> {
    let failed = told.iter().filter_map(|(server, tools)| Some((server, tools.as_ref().err()?)));
    failed
        .map(|(server, failure)| Unavailable { server: server.clone(), reason: failure.word() })
        .collect()
}
