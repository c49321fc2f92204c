//! Asks whether the caller may, and writes down what was said.

use std::net::{IpAddr, Ipv4Addr};

use sluicegate_filters::authorize::{Action, Ask, Facts, Permit, Refusal, Resource};
use sluicegate_filters::{Caller, Denial, DenialKind};

use super::ctx::Ctx;
use crate::app::Gateway;
use crate::dialects::Endpoint;
use crate::dialects::peek::Peek;
use crate::identity::now_ms;

/// Bytes of a request for each token of input. English text has four or more, everything else fewer
/// tokens than bytes; the figure is for policies, not for bills.
const BYTES_PER_TOKEN: u64 = 4;

/// Whether the caller may ask this model for this.
///
/// # Errors
/// `model_not_allowed`, `policy_denied`: who may not, and by which policy.
pub fn inference(
    gateway: &Gateway,
    ctx: &mut Ctx,
    endpoint: Endpoint,
    model: &str,
    peek: &Peek,
    body_len: usize,
) -> Result<Permit, Denial> {
    let output = peek.max_output_tokens.unwrap_or(0).saturating_mul(u64::from(peek.n));
    let facts = Facts {
        ip: client(ctx),
        stream: peek.stream,
        estimated_tokens: (body_len as u64).div_ceil(BYTES_PER_TOKEN).saturating_add(output),
        estimated_cost: None,
        now_ms: now_ms(),
    };
    let ask = Ask { action: action(endpoint), resource: Resource::Model(model), facts };
    let caller = caller(ctx)?;
    match ctx.runtime.pipeline.authorize.authorize(caller, &ask) {
        Ok(permit) => {
            gateway.metrics.access.permitted(&permit);
            ctx.decision = permit.decision().cloned();
            Ok(permit)
        }
        Err(Refusal { denial, decision }) => {
            gateway.metrics.access.refused(decision.is_some());
            ctx.decision = decision;
            Err(denial)
        }
    }
}

/// Whether the caller may know of this model. What they only look at is not written down.
pub fn sees(ctx: &Ctx, model: &str) -> bool {
    let facts = Facts {
        ip: client(ctx),
        stream: false,
        estimated_tokens: 0,
        estimated_cost: None,
        now_ms: now_ms(),
    };
    let ask = Ask { action: Action::ListModels, resource: Resource::Model(model), facts };
    caller(ctx).is_ok_and(|caller| ctx.runtime.pipeline.authorize.authorize(caller, &ask).is_ok())
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

fn caller(ctx: &Ctx) -> Result<&Caller, Denial> {
    // Only a public route has no caller, and none of them comes here.
    let nobody = || Denial::new(DenialKind::InternalError, "the caller was not identified");
    ctx.caller.as_deref().ok_or_else(nobody)
}

/// The client's address; where there is none, one that no rule on networks permits.
fn client(ctx: &Ctx) -> IpAddr {
    let peer = ctx.conn.as_ref().and_then(|conn| conn.peer());
    peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.to_canonical())
}
