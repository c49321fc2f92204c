//! Asks whether the caller may, and writes down what was said.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluicegate_filters::authorize::{Action, Ask, Decision, Facts, Permit, Refusal, Resource};
use sluicegate_filters::{Caller, Denial, DenialKind};

use super::admit::Asked;
use super::ctx::Ctx;
use crate::app::Gateway;
use crate::audit;
use crate::clock::now_ms;
use crate::dialects::Endpoint;
use crate::telemetry::trace::Phase;

/// Bytes of a request for each token of input. English text has four or more, everything else fewer
/// tokens than bytes; the figure is for policies, not for bills.
const BYTES_PER_TOKEN: u64 = 4;

/// Whether the caller may ask this model for this.
///
/// # Errors
/// `model_not_allowed`, `policy_denied`: who may not, and by which policy.
pub fn inference(gateway: &Gateway, ctx: &mut Ctx, asked: &Asked<'_>) -> Result<Permit, Denial> {
    ctx.trace.skip();
    let Asked { endpoint, model, peek, body, .. } = *asked;
    let authorize = &ctx.runtime.pipeline.authorize;
    let output = peek.max_output_tokens.unwrap_or(0).saturating_mul(u64::from(peek.n));
    let tokens = (body.bytes.len() as u64).div_ceil(BYTES_PER_TOKEN);
    let facts = Facts {
        ip: client(ctx),
        stream: peek.stream,
        estimated_tokens: tokens.saturating_add(output),
        // What admission would hold, also of a caller who is under no limit.
        estimated_cost: if authorize.looks_at_cost() { asked.most_cost() } else { None },
        now_ms: now_ms(),
    };
    judge(gateway, ctx, &Ask::new(action(endpoint), Resource::Model(&model.name), facts))
}

/// Whether the caller may call this tool with these arguments.
///
/// # Errors
/// `policy_denied`: who may not, and by which policy.
pub fn tool(
    gateway: &Gateway,
    ctx: &mut Ctx,
    (server, name): (&str, &str),
    arguments: Option<&serde_json::Value>,
) -> Result<Permit, Denial> {
    ctx.trace.skip();
    let resource = Resource::Tool { server, name };
    let ask = Ask { arguments, ..Ask::new(Action::CallTool, resource, idle_facts(ctx)) };
    judge(gateway, ctx, &ask)
}

fn judge(gateway: &Gateway, ctx: &mut Ctx, ask: &Ask<'_>) -> Result<Permit, Denial> {
    let judged = ctx.runtime.pipeline.authorize.authorize(caller(ctx)?, ask);
    ctx.trace.lap(Phase::Authorize, judged.is_err());
    write_down(gateway, ctx, ask, &judged);
    ctx.decision = match &judged {
        Ok(permit) => permit.decision().cloned(),
        Err(refusal) => refusal.decision.clone(),
    };
    judged.map_err(|refusal| refusal.denial)
}

/// Counts a decision, and records it where somebody was refused or would have been.
fn write_down(gateway: &Gateway, ctx: &Ctx, ask: &Ask<'_>, judged: &Result<Permit, Refusal>) {
    let (kind, decision) = match judged {
        Ok(permit) => {
            gateway.metrics.access.permitted(permit);
            (audit::Kind::PolicyShadow, permit.shadow_refusal())
        }
        Err(Refusal { decision, .. }) => {
            gateway.metrics.access.refused(decision.is_some());
            let by_policy = decision.is_some();
            let kind =
                if by_policy { audit::Kind::PolicyRefusal } else { audit::Kind::CredentialRefusal };
            (kind, decision.as_ref())
        }
    };
    if judged.is_ok() && decision.is_none() {
        return;
    }
    let mut event = event(ctx, ask, kind, decision);
    if let Err(Refusal { denial, .. }) = judged {
        event.outcome = audit::Outcome::Refused;
        event.status = denial.status().as_u16();
        event.code = Some(denial.code());
    }
    gateway.audit.record(event);
}

/// Whether the caller may know of this model. What they only look at is not written down.
pub fn sees(ctx: &Ctx, model: &str) -> bool {
    may_list(ctx, Action::ListModels, Resource::Model(model))
}

/// Whether the caller may know of this tool. What they only look at is not written down.
pub fn sees_tool(ctx: &Ctx, server: &str, name: &str) -> bool {
    may_list(ctx, Action::ListTools, Resource::Tool { server, name })
}

fn may_list(ctx: &Ctx, action: Action, resource: Resource<'_>) -> bool {
    let ask = Ask::new(action, resource, idle_facts(ctx));
    caller(ctx).is_ok_and(|caller| ctx.runtime.pipeline.authorize.authorize(caller, &ask).is_ok())
}

/// The facts of what uses no model.
fn idle_facts(ctx: &Ctx) -> Facts {
    Facts {
        ip: client(ctx),
        stream: false,
        estimated_tokens: 0,
        estimated_cost: None,
        now_ms: now_ms(),
    }
}

/// What the audit log keeps of a decision: nothing that the caller wrote but the model's or the tool's name.
fn event(
    ctx: &Ctx,
    ask: &Ask<'_>,
    kind: audit::Kind,
    decision: Option<&Arc<Decision>>,
) -> audit::Event {
    let caller = ctx.caller.as_deref();
    let key = caller.and_then(Caller::key).map(|key| key.id.to_string());
    audit::Event {
        actor: audit::Actor {
            kind: caller.map_or("", |caller| caller.kind().name()).into(),
            id: key.or_else(|| caller.and_then(Caller::user).map(str::to_owned)),
            team: caller.and_then(Caller::team).map(str::to_owned),
            ip: Some(ask.facts.ip),
        },
        resource: match ask.resource {
            Resource::Tool { server, name } => {
                audit::Resource { kind: "tool".into(), id: Some(format!("{server}/{name}")) }
            }
            Resource::Model(name) => {
                audit::Resource { kind: "model".into(), id: Some(name.to_owned()) }
            }
            Resource::Agent(name) => {
                audit::Resource { kind: "agent".into(), id: Some(name.to_owned()) }
            }
        },
        policy_ids: decision
            .into_iter()
            .flat_map(|it| it.policy_ids())
            .map(str::to_owned)
            .collect(),
        policy_generation: decision.map(|decision| decision.generation),
        config_generation: ctx.runtime.generation,
        request_id: ctx.id_str().to_owned(),
        ..audit::Event::new(ask.facts.now_ms, kind, ask.action.name())
    }
}

/// What policies call a request to an endpoint.
fn action(endpoint: Endpoint) -> Action {
    match endpoint {
        Endpoint::ChatCompletions => Action::ChatCompletions,
        Endpoint::Completions => Action::Completions,
        Endpoint::Responses => Action::Responses,
        Endpoint::Embeddings => Action::Embeddings,
        Endpoint::Messages => Action::Messages,
        Endpoint::CountTokens => Action::CountTokens,
    }
}

fn caller(ctx: &Ctx) -> Result<&Arc<Caller>, Denial> {
    // Only a public route has no caller, and none of them comes here.
    let nobody = || Denial::new(DenialKind::InternalError, "the caller was not identified");
    ctx.caller.as_ref().ok_or_else(nobody)
}

/// The client's address; where there is none, one that no rule on networks permits.
fn client(ctx: &Ctx) -> IpAddr {
    ctx.client.map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.to_canonical())
}
