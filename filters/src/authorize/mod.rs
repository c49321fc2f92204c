//! What a caller may do: the credential's own lists first, then the policies.
//!
//! Policies are written in [Cedar](https://docs.cedarpolicy.com). What they may speak of is in the
//! [schema](schema::BUILT_IN). Nothing is permitted unless a policy permits it, and a policy that
//! forbids or that cannot be evaluated outdoes all that permit.
//!
//! # What makes it cheap
//!
//! - A policy whose scope leaves a caller or a resource out is never evaluated for them.
//! - A policy that looks at nothing of the request itself is evaluated once for a caller
//!   and a resource. What it said is kept with the [`Caller`], until there are new policies.
//! - The others are evaluated for each request, with only those facts that they look at.

mod arguments;
pub mod ask;
mod cache;
mod condition;
mod context;
pub mod decision;
mod entities;
mod judge;
pub mod policies;
mod problem;
pub mod schema;
mod scope;
mod split;
mod uses;
mod world;

use std::fmt;
use std::sync::Arc;

pub use ask::{Action, Ask, Facts, Resource, ResourceKind};
pub(crate) use cache::Decisions;
use cache::Table;
pub use decision::{Decision, Explanation, Mode, Permit, PolicyInfo, Question, Refusal};
pub use entities::PROXY_ADMIN;
use judge::{Answer, Judge};
pub use policies::{Policies, Source};
pub use problem::Problem;
pub use world::{Target, World};

use crate::caller::{Bearer, Caller, CallerKind};
use crate::denial::{Denial, DenialKind};

/// The filter. Cheap to clone.
#[derive(Clone, Default)]
pub struct Authorize {
    /// Without policies the credential's lists alone decide.
    judge: Option<Arc<Judge>>,
}

impl Authorize {
    /// No policies: the credential's lists alone decide.
    pub fn open() -> Self {
        Self::default()
    }

    /// Policies of one configuration: its number, its environment and the resources that it has.
    pub fn new(
        policies: Policies,
        mode: Mode,
        environment: &str,
        world: World,
        generation: u64,
    ) -> Self {
        let judge = Judge::new(policies, mode, environment, generation, world);
        Self { judge: Some(Arc::new(judge)) }
    }

    /// Decides whether `caller` may do what they ask for.
    ///
    /// # Errors
    ///
    /// `route_not_allowed` and `model_not_allowed` by the credential's own lists, which count in every
    /// mode; `policy_denied` by the policies.
    pub fn authorize(&self, caller: &Caller, ask: &Ask<'_>) -> Result<Permit, Refusal> {
        by_lists(caller, ask)?;
        let Some(judge) = &self.judge else { return Ok(Permit::by_lists()) };
        let (decision, _) = decide(judge, caller, ask);
        if decision.allowed || judge.mode() == Mode::Shadow {
            Ok(Permit::by_policies(decision))
        } else {
            Err(Refusal::by_policies(decision))
        }
    }

    /// Decides as [`authorize`](Self::authorize) does, and says why.
    pub fn explain(&self, caller: &Caller, ask: &Ask<'_>) -> Explanation {
        let refused = by_lists(caller, ask).err();
        let mut explanation = Explanation {
            allowed: refused.is_none(),
            mode: self.mode(),
            question: None,
            refused_by_credential: refused.map(|denial| denial.message().to_owned()),
            decision: None,
            depends_on_request: false,
            cached: false,
        };
        if let Some(judge) = &self.judge {
            let (decision, how) = decide(judge, caller, ask);
            explanation.allowed &= decision.allowed || judge.mode() == Mode::Shadow;
            let principal = entities::principal(caller).ok();
            explanation.question = principal.map(|principal| judge.words(&principal.uid, ask));
            explanation.decision = Some(decision);
            explanation.depends_on_request = how.depends_on_request;
            explanation.cached = how.cached;
        }
        explanation
    }

    /// Explains what would be decided on a caller with such a credential. Nobody is identified by it.
    pub fn explain_for(&self, kind: CallerKind, bearer: Bearer, ask: &Ask<'_>) -> Explanation {
        self.explain(&Caller::new(kind, bearer), ask)
    }

    /// Whether policies refuse, or only say what they would.
    pub fn mode(&self) -> Mode {
        self.judge.as_ref().map_or(Mode::Enforce, |judge| judge.mode())
    }

    /// Whether any policy looks at [`Facts::estimated_cost`], which takes work to find.
    pub fn looks_at_cost(&self) -> bool {
        self.policies().is_some_and(Policies::look_at_cost)
    }

    /// The policies, where there are any.
    pub fn policies(&self) -> Option<&Policies> {
        self.judge.as_ref().map(|judge| judge.policies())
    }
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize")
            .field("policies", &self.policies())
            .field("mode", &self.mode())
            .finish()
    }
}

/// How a decision was come by.
struct How {
    depends_on_request: bool,
    cached: bool,
}

fn decide(judge: &Arc<Judge>, caller: &Caller, ask: &Ask<'_>) -> (Arc<Decision>, How) {
    let by = |table: &Table| decide_by(table, judge, caller, ask);
    caller.decisions.look(judge, || judge.principal(caller), by)
}

fn decide_by(table: &Table, judge: &Judge, caller: &Caller, ask: &Ask<'_>) -> (Arc<Decision>, How) {
    let principal = match &table.principal {
        Ok(principal) => principal,
        Err(error) => {
            let how = How { depends_on_request: false, cached: false };
            return (judge.failure(error.to_string()), how);
        }
    };
    let finish = |answer: &Answer, cached| match answer {
        Answer::Fixed(decision) => (decision.clone(), How { depends_on_request: false, cached }),
        Answer::Open(open) => {
            let how = How { depends_on_request: true, cached: false };
            (judge.finish(principal, open, ask), how)
        }
    };
    let question = judge.question(ask);
    if let Some(found) = question.and_then(|n| table.get(n, |answer| finish(answer, true))) {
        return found;
    }
    let answer = judge.answer(principal, caller, ask);
    let found = finish(&answer, false);
    if let Some(question) = question {
        table.put(question, answer);
    }
    found
}

/// The credential's own lists.
fn by_lists(caller: &Caller, ask: &Ask<'_>) -> Result<(), Denial> {
    if !caller.routes().allows(ask.action.route()) {
        let message = format!("this credential is not for {}", ask.action.route());
        return Err(Denial::new(DenialKind::RouteNotAllowed, message));
    }
    if let Resource::Model(model) = ask.resource
        && !caller.models().allows(model)
    {
        let message = "this credential is not for the model that was asked for";
        return Err(Denial::new(DenialKind::ModelNotAllowed, message).with_param("model"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
