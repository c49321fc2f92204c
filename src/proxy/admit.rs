//! Holds what a request may use, before it is forwarded.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sluicegate_filters::admit::ScopeKind;
use sluicegate_filters::{Caller, Denial, DenialKind};
use sluicegate_quota::{Amounts, Holds, Refused, Slice};

use super::ctx::{Ctx, Exchange};
use crate::app::{Gateway, Runtime};
use crate::config::valid::Unpriced;
use crate::dialects::Endpoint;
use crate::dialects::peek::Peek;
use crate::quotas::estimate::contents::{Body, Contents};
use crate::quotas::estimate::{self, Bound};
use crate::quotas::standing::Standings;
use crate::quotas::{any_on_money, refusal};
use crate::routing::{Model, Target};
use crate::telemetry::trace::Phase;

/// What a request was admitted with: for its settlement, and for another attempt.
#[derive(Default)]
pub struct Admission {
    /// The most that one attempt may use.
    pub bound: Bound,
    /// What that costs at most, on the dearest of the model's targets, in nano-USD. 0 where a target has
    /// no price.
    pub nano_usd: u64,
    /// Whether the body's length tells of its tokens: there is nothing but text in it.
    pub text_only: bool,
    slices: Vec<Arc<Slice>>,
}

/// What is asked for, as admission needs it.
pub struct Asked<'a> {
    /// Which API.
    pub endpoint: Endpoint,
    /// The model.
    pub model: &'a Model,
    /// What the body says of itself.
    pub peek: &'a Peek,
    /// The body.
    pub body: &'a Body<'a>,
    /// When the request began, in seconds since the epoch: at the prices of then.
    pub at: i64,
    estimate: OnceLock<Estimate>,
}

/// The most that a request may use, whichever target serves it.
#[derive(Clone, Copy)]
struct Estimate {
    bound: Bound,
    /// `None`: a target has no price.
    nano_usd: Option<u64>,
}

impl<'a> Asked<'a> {
    /// Nothing is estimated yet.
    pub fn new(
        endpoint: Endpoint,
        model: &'a Model,
        peek: &'a Peek,
        body: &'a Body<'a>,
        at: i64,
    ) -> Self {
        Self { endpoint, model, peek, body, at, estimate: OnceLock::new() }
    }

    /// What it costs at most, in nano-USD: what a hold of money is first tried with. `None`: a target has
    /// no price.
    pub fn most_cost(&self) -> Option<u64> {
        self.estimate().nano_usd
    }

    /// Made once, when somebody first asks: policies that look at a request's cost, or a limit.
    fn estimate(&self) -> Estimate {
        *self.estimate.get_or_init(|| {
            let (body, contents) = (self.body.bytes, self.body.contents());
            let answerer = self.model.answerer();
            let bound = estimate::quick(self.endpoint, self.peek, body, contents, &answerer);
            Estimate { bound, nano_usd: self.cost(bound) }
        })
    }

    fn cost(&self, bound: Bound) -> Option<u64> {
        match self.endpoint {
            Endpoint::CountTokens => Some(0),
            _ => self.model.bound_cost(bound, self.peek.priority, self.at),
        }
    }
}

/// Why a request is not admitted at a target.
pub struct Refusal {
    denial: Denial,
    /// Whether it is for a limit of the target's provider, so that another's may have room.
    of_provider: bool,
}

impl Refusal {
    /// Those of the `open` targets that may have room where the one at `index` has none. It was not asked,
    /// and nothing is held for it.
    ///
    /// # Errors
    /// The refusal, where there is none.
    pub fn elsewhere(self, model: &Model, open: u64, index: usize) -> Result<u64, Denial> {
        let left = open & !model.at_provider_of(index);
        if !self.of_provider || left == 0 {
            return Err(self.denial);
        }
        model.tally.passed_over();
        Ok(left)
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self { denial, of_provider: false }
    }
}

impl From<&Refused> for Refusal {
    fn from(refused: &Refused) -> Self {
        // While the counters are away, those of all providers are.
        let of_provider = !refused.store_away && refused.quota.scope.kind == ScopeKind::Provider;
        Self { denial: refusal::denial(refused), of_provider }
    }
}

/// Holds what the request may use of every limit that it is under while `target` answers. Without holds: it
/// is under none.
///
/// # Errors
/// `rate_limit_exceeded`, `budget_exceeded`, `model_not_priced`, `quota_unavailable`.
pub async fn inference(
    gateway: &Gateway,
    ctx: &mut Ctx,
    asked: &Asked<'_>,
    target: &Target,
) -> Result<(Admission, Option<Holds>), Refusal> {
    let held = hold(gateway, ctx, asked, target).await;
    ctx.trace.lap(Phase::Admit, held.is_err());
    held
}

async fn hold(
    gateway: &Gateway,
    ctx: &mut Ctx,
    asked: &Asked<'_>,
    target: &Target,
) -> Result<(Admission, Option<Holds>), Refusal> {
    let Some(caller) = ctx.caller.clone() else { return Ok((Admission::default(), None)) };
    let Asked { endpoint, model, peek, body, .. } = *asked;
    let slices = slices(gateway, &ctx.runtime, &caller, model, target, peek);
    if slices.is_empty() {
        return Ok((Admission::default(), None));
    }
    let Estimate { bound, nano_usd } = asked.estimate();
    let nano_usd = match nano_usd {
        Some(nano_usd) => nano_usd,
        None => unpriced(gateway, ctx, model, any_on_money(&slices))?,
    };
    let amounts = one_request(bound, nano_usd);
    let contents = body.contents();
    let nearer = async {
        let (answerer, body) = (model.answerer(), Bytes::copy_from_slice(body.bytes));
        let (cut, calibration) = (target.cut, &target.calibration);
        let input =
            estimate::close::input(endpoint, peek, &body, contents, answerer, cut, calibration)
                .await?;
        let bound = Bound { input: input.min(bound.input), ..bound };
        Some(one_request(bound, asked.cost(bound).unwrap_or(0)))
    };
    let held = gateway.quotas.engine().hold_nearer(&slices, &amounts, nearer).await;
    let now = gateway.quotas.engine().now();
    let standings = slices.iter().map(|slice| slice.standing(now));
    ctx.standings = standings.fold(Standings::default(), Standings::with);
    let (holds, amounts) = held.map_err(|refused| Refusal::from(&refused))?;
    let admission = Admission {
        bound: Bound { input: amounts.tokens.saturating_sub(bound.output), ..bound },
        nano_usd: amounts.nano_usd,
        text_only: !peek.reads_more && contents == Contents::default(),
        slices,
    };
    Ok((admission, Some(holds)))
}

/// The limits that a request is under while `target` serves it.
fn slices(
    gateway: &Gateway,
    runtime: &Runtime,
    caller: &Caller,
    model: &Model,
    target: &Target,
    peek: &Peek,
) -> Vec<Arc<Slice>> {
    let (providers, end_user) = ([target.upstream.name.as_str()], peek.end_user.as_deref());
    let tags = caller.tags();
    let others = runtime.quotas.for_request(caller, &model.name, &providers, end_user, tags);
    gateway.quotas.of(caller, &model.name, &others)
}

/// The same admission, now that `target` is to serve the request. Returns whether its limits are others
/// than before: what was held is free again then.
pub fn moves(
    gateway: &Gateway,
    runtime: &Runtime,
    caller: Option<&Caller>,
    exchange: &mut Exchange,
    target: usize,
) -> bool {
    let Some(caller) = caller else { return false };
    let of_provider = |slice: &Arc<Slice>| slice.quota().scope.kind == ScopeKind::Provider;
    let configured = runtime.quotas.all();
    if !configured.iter().any(|quota| quota.scope == ScopeKind::Provider) {
        return false;
    }
    let (model, target) = (&exchange.model, exchange.model.target(target));
    let now = slices(gateway, runtime, caller, model, target, &exchange.peek);
    let same = now.iter().filter(|slice| of_provider(slice)).map(|slice| slice.counter());
    let before = exchange.admission.slices.iter().filter(|slice| of_provider(slice));
    if same.eq(before.map(|slice| slice.counter())) {
        return false;
    }
    if let Some(holds) = exchange.holds.take() {
        holds.settle(&Amounts::default());
    }
    exchange.admission.slices = now;
    true
}

/// Holds for another attempt, after one whose hold has been settled; `counted`: as one for which a provider
/// may charge.
///
/// # Errors
/// `rate_limit_exceeded`, `budget_exceeded`, `quota_unavailable`.
pub async fn again(
    gateway: &Gateway,
    admission: &Admission,
    counted: bool,
) -> Result<Option<Holds>, Refusal> {
    if admission.slices.is_empty() {
        return Ok(None);
    }
    // It is still the one request that was counted.
    let amounts = Amounts {
        requests: u64::from(!counted),
        ..one_request(admission.bound, admission.nano_usd)
    };
    let held = gateway.quotas.engine().hold(&admission.slices, &amounts).await;
    held.map(Some).map_err(|refused| Refusal::from(&refused))
}

fn one_request(bound: Bound, nano_usd: u64) -> Amounts {
    Amounts { requests: 1, tokens: bound.total(), nano_usd, parallel: 1 }
}

/// What is done with a model that has no price.
fn unpriced(gateway: &Gateway, ctx: &Ctx, model: &Model, has_budget: bool) -> Result<u64, Denial> {
    if !has_budget {
        return Ok(0);
    }
    let refused = ctx.runtime.config.budgets.unpriced == Unpriced::Refuse;
    gateway.metrics.usage.unpriced(&model.name, refused);
    if !refused {
        return Ok(0);
    }
    let message = format!(
        "The model `{}` has no price here, so that its use can't be counted against your budget.",
        model.name
    );
    Err(Denial::new(DenialKind::ModelNotPriced, message).with_param("model"))
}
