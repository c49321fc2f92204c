//! What is decided from the head alone, and the routes that are answered without a provider.

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use pingora_core::Result;
use pingora_proxy::Session;
use sluicegate_filters::identify::Presented;
use sluicegate_filters::screen::{BodyLimit, Health, PreflightAnswer, Route};
use sluicegate_filters::{Connection, Denial, DenialKind, Screened};

use super::ctx::{Ctx, End};
use super::{authorize, mcp, overload, respond};
use crate::app::{Gateway, model_info};
use crate::dialects::{Dialect, Endpoint, models};
use crate::telemetry::trace::Phase;

const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// What to do after the head has been judged.
pub enum Next {
    /// Read the body, which may be so large, and call a provider.
    Infer(Endpoint, BodyLimit),
    /// Read the body, which may be so large, and speak MCP: of one server, or of all.
    Mcp(Option<String>, BodyLimit),
    /// Answer this route here.
    Answer(Route),
    /// Answer an `OPTIONS` request.
    Preflight(PreflightAnswer),
}

/// Screens the head and identifies the caller.
pub async fn screen(gateway: &Gateway, session: &Session, ctx: &mut Ctx) -> Result<Next, Denial> {
    let head = session.req_header();
    let target = head.raw_path();
    let connection =
        if session.is_http2() { Connection::http2(target) } else { Connection::http1(target) };
    let screened = ctx.runtime.pipeline.screen(head, &connection);
    ctx.trace.lap(Phase::Screen, screened.is_err());
    let (route, body) = match screened {
        Ok(Screened::Continue { route, cors, body }) => {
            ctx.cors = cors;
            (route, body)
        }
        Ok(Screened::Preflight(answer)) => {
            ctx.route = "preflight";
            overload::address(gateway, ctx)?;
            return Ok(Next::Preflight(answer));
        }
        Err(denied) => {
            ctx.cors = denied.cors;
            ctx.in_doubt = denied.denial.kind().closes_connection();
            overload::address(gateway, ctx)?;
            return Err(denied.denial);
        }
    };
    ctx.route = route.template();
    if !route.is_public() {
        // After CORS, so that a page can read the refusal; before a credential is looked at.
        overload::address(gateway, ctx)?;
        let caller = match ctx.runtime.pipeline.identify(head) {
            Ok(Presented::Caller(caller)) => Ok(caller),
            Ok(Presented::Credential(credential)) => {
                let issuers = ctx.runtime.issuers.as_ref();
                gateway.identity.caller(&credential, issuers, ctx.client).await
            }
            Err(denial) => Err(denial),
        };
        ctx.trace.lap(Phase::Identify, caller.is_err());
        let caller = caller?;
        let allowed = caller.routes().allows(route.granted_as());
        ctx.caller = Some(caller);
        if !allowed {
            // Here, so that nobody's body is read for nothing.
            let message = format!("this credential is not for {}", ctx.route);
            return Err(Denial::new(DenialKind::RouteNotAllowed, message));
        }
    }
    // Only Anthropic's clients send this header, and both dialects list models at one path.
    if head.headers.contains_key(&ANTHROPIC_VERSION) {
        ctx.dialect = Dialect::Anthropic;
    }
    Ok(match route {
        Route::Inference(path) => match Endpoint::from_path(path) {
            Some(endpoint) => Next::Infer(endpoint, body),
            None => return Err(Denial::new(DenialKind::NotFound, "No such endpoint.")),
        },
        Route::Mcp(server) => Next::Mcp(server, body),
        route => Next::Answer(route),
    })
}

/// Answers an `OPTIONS` request.
pub async fn preflight(
    session: &mut Session,
    ctx: &mut Ctx,
    answer: &PreflightAnswer,
) -> Result<()> {
    ctx.end = Some(End::Complete);
    // The answer's headers are all that a preflight's must have.
    ctx.cors = None;
    respond::send(session, ctx, StatusCode::NO_CONTENT, &answer.headers, "", Bytes::new()).await
}

/// Answers what needs no provider.
pub async fn answer(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    route: Route,
) -> Result<()> {
    let answered = match route {
        Route::ModelList => Ok(model_list(ctx)),
        Route::Model(id) => model(ctx, &id),
        Route::McpTools => return mcp::listing(gateway, session, ctx).await,
        Route::Health(health) => return health_answer(gateway, session, ctx, health).await,
        Route::Inference(_) | Route::Mcp(_) => {
            Err(Denial::new(DenialKind::InternalError, "Not a local route."))
        }
    };
    match answered {
        Ok(body) => {
            ctx.end = Some(End::Complete);
            respond::json(session, ctx, body).await
        }
        Err(denial) => respond::denial(session, ctx, denial).await,
    }
}

/// The models that this caller may know of. For most it is all, and that list is there already.
fn model_list(ctx: &Ctx) -> Bytes {
    let lists = &ctx.runtime.model_lists;
    let names = ctx.runtime.config.models.keys();
    let seen: Vec<_> = names.filter(|name| authorize::sees(ctx, name)).collect();
    if seen.len() == ctx.runtime.config.models.len() {
        return lists.get(ctx.dialect).clone();
    }
    let infos: Vec<_> = seen.into_iter().map(|name| model_info(name)).collect();
    models::list(ctx.dialect, &infos)
}

fn model(ctx: &Ctx, id: &str) -> Result<Bytes, Denial> {
    match ctx.runtime.routes.model(id).filter(|model| authorize::sees(ctx, &model.name)) {
        Some(model) => Ok(models::one(ctx.dialect, &model_info(&model.name))),
        None => Err(super::inference::unknown_model(ctx, id)),
    }
}

async fn health_answer(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    health: Health,
) -> Result<()> {
    ctx.end = Some(End::Complete);
    let ready = health == Health::Live || !gateway.is_draining();
    let (status, body) = gateway.health(ready);
    respond::send(session, ctx, status, &[], "application/json", body).await
}
