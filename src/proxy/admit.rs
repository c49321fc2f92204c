//! Holds what a request may use, before it is forwarded.

use std::sync::Arc;

use sluicegate_filters::Denial;
use sluicegate_quota::{Amounts, Holds};

use super::ctx::Ctx;
use crate::app::Gateway;
use crate::dialects::peek::Peek;
use crate::quotas::standing::Standings;
use crate::routing::Model;

/// The most that a request may use, by a bound on what goes in and what comes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of all answers.
    pub output: u64,
    /// What that costs at most, on the dearest of the model's targets.
    pub nano_usd: u64,
}

/// Holds what the request may use of every limit that it is under. `None`: it is under none.
///
/// # Errors
/// `rate_limit_exceeded`, `budget_exceeded`, `model_not_priced`, `quota_unavailable`.
pub async fn inference(
    gateway: &Gateway,
    ctx: &mut Ctx,
    model: &Arc<Model>,
    peek: &Peek,
    body_len: usize,
) -> Result<Option<Holds>, Denial> {
    let Some(caller) = ctx.caller.clone() else { return Ok(None) };
    let slices = gateway.quotas.of(&caller, &model.name, &[]);
    if slices.is_empty() {
        return Ok(None);
    }
    let bound = bound(model, peek, body_len);
    let amounts = Amounts {
        requests: 1,
        tokens: bound.input.saturating_add(bound.output),
        nano_usd: bound.nano_usd,
        parallel: 1,
    };
    let held = gateway.quotas.hold(&slices, &amounts).await;
    let standings = slices.iter().map(|slice| slice.standing(gateway.quotas.engine().now()));
    ctx.standings = standings.fold(Standings::default(), Standings::with);
    held.map(Some)
}

fn bound(_model: &Model, peek: &Peek, body_len: usize) -> Bound {
    let output = peek.max_output_tokens.unwrap_or(4_096).saturating_mul(u64::from(peek.n));
    Bound { input: body_len as u64, output, nano_usd: 0 }
}
