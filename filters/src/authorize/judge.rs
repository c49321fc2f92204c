//! Puts questions to the policies.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use cedar_policy::{Entities, Entity, EntityUid, Request};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use super::arguments;
use super::ask::{Action, Ask};
use super::condition::Evaluation;
use super::context::context;
use super::decision::{Decision, Effect, EvaluationError, Mode, PolicyInfo, Question};
use super::entities::{self, NoPrincipal, Place};
use super::policies::{Policies, Rule};
use super::scope::RuleSet;
use super::uses::Uses;
use super::world::World;
use crate::caller::Caller;

/// One generation of policies, with everything that is known before a request.
pub(super) struct Judge {
    policies: Policies,
    mode: Mode,
    environment: String,
    generation: u64,
    world: World,
    /// In the order of their numbers in the world.
    resources: Vec<Arc<Object>>,
    /// In the order of [`Action::ALL`].
    actions: Vec<Object>,
}

/// What is known of a caller as a principal, and kept with them: little, as there may be many.
pub(super) struct Principal {
    uid: EntityUid,
    /// The policies whose scope lets the principal in.
    rules: RuleSet,
    /// The principal and what it leads to. Only kept once a policy asks for it at every request.
    around: OnceLock<Arc<Entities>>,
}

/// An action or a resource.
struct Object {
    uid: EntityUid,
    /// The policies whose scope lets it in.
    rules: RuleSet,
    /// Itself and what it leads to.
    around: Vec<Entity>,
}

/// The answer to a question, as far as it is the same for all requests of one caller.
pub(super) enum Answer {
    /// It is the same.
    Fixed(Arc<Decision>),
    /// Some policies must be asked again for each request.
    Open(Box<Open>),
}

/// What is left of a question for each request.
pub(super) struct Open {
    /// What the other policies said.
    fixed: Verdict,
    /// The policies that must be asked again.
    rest: Part,
    resource: Arc<Object>,
}

/// Some of the policies that a question concerns.
#[derive(Default)]
struct Part {
    /// Their numbers.
    rules: Vec<usize>,
    /// What they look at.
    uses: Uses,
    /// The principal and what it leads to, if that is among it.
    around: Option<Arc<Entities>>,
}

/// What some policies said. Verdicts of parts of a set are added up to that of the set.
#[derive(Clone, Debug, Default)]
struct Verdict {
    permits: Vec<Arc<PolicyInfo>>,
    forbids: Vec<Arc<PolicyInfo>>,
    errors: Vec<EvaluationError>,
}

impl Judge {
    pub(super) fn new(
        policies: Policies,
        mode: Mode,
        environment: &str,
        generation: u64,
        mut world: World,
    ) -> Self {
        let known = policies.schema.action_entities().unwrap_or_else(|_| Entities::empty());
        let actions = Action::ALL.iter().map(|action| {
            let uid = entities::action(*action);
            let above: HashSet<_> = known.ancestors(&uid).into_iter().flatten().cloned().collect();
            let rules = RuleSet::of_action(&policies.rules, &uid, &above);
            let around = std::iter::once(&uid).chain(&above);
            let around = around.filter_map(|uid| known.get(uid)).cloned().collect();
            Object { uid, rules, around }
        });
        let actions = actions.collect();
        let resources = world.take_all().into_iter();
        let resources = resources
            .map(|(place, around)| Arc::new(Object::resource(&policies.rules, place, around)));
        let resources = resources.collect();
        let environment = environment.to_owned();
        Self { policies, mode, environment, generation, world, resources, actions }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// How many resources are configured.
    pub(super) fn resources(&self) -> usize {
        self.resources.len()
    }

    /// The caller as a principal.
    pub(super) fn principal(&self, caller: &Caller) -> Result<Principal, NoPrincipal> {
        let place = entities::principal(caller)?;
        let rules = RuleSet::of_principal(&self.policies.rules, &place);
        Ok(Principal { uid: place.uid, rules, around: OnceLock::new() })
    }

    /// The number of a question, if its answer can be kept.
    pub(super) fn question(&self, ask: &Ask<'_>) -> Option<usize> {
        let resource = self.world.find(ask.resource)?;
        Some(ask.action as usize * self.resources.len() + resource)
    }

    /// Answers a question as far as it can be for all requests of the principal, who is `caller`.
    pub(super) fn answer(&self, principal: &Principal, caller: &Caller, ask: &Ask<'_>) -> Answer {
        match self.try_answer(principal, caller, ask) {
            Ok(answer) => answer,
            Err(message) => Answer::Fixed(self.failure(message)),
        }
    }

    fn try_answer(
        &self,
        principal: &Principal,
        caller: &Caller,
        ask: &Ask<'_>,
    ) -> Result<Answer, String> {
        let resource = match self.world.find(ask.resource) {
            Some(number) => self.resources[number].clone(),
            None => {
                let (place, around) = entities::resource(ask.resource, &[]);
                Arc::new(Object::resource(&self.policies.rules, place, around))
            }
        };
        let (mut fixed, mut rest) = (Part::default(), Part::default());
        let action = &self.actions[ask.action as usize];
        for number in action.rules.in_all(&principal.rules, &resource.rules) {
            let uses = self.policies.rules[number].uses;
            let part = if uses.is_fixed() { &mut fixed } else { &mut rest };
            part.rules.push(number);
            part.uses |= uses;
        }
        if (fixed.uses | rest.uses).contains(Uses::PRINCIPAL) {
            let around = principal.around(caller, rest.uses.contains(Uses::PRINCIPAL))?;
            (fixed.around, rest.around) = (Some(around.clone()), Some(around));
        }
        let fixed = self.ask(principal, &resource, &fixed, ask)?;
        if rest.rules.is_empty() {
            return Ok(Answer::Fixed(self.decision(fixed)));
        }
        rest.around = rest.around.filter(|_| rest.uses.contains(Uses::PRINCIPAL));
        Ok(Answer::Open(Box::new(Open { fixed, rest, resource })))
    }

    /// Answers what is left open of a question for one request.
    pub(super) fn finish(
        &self,
        principal: &Principal,
        open: &Open,
        ask: &Ask<'_>,
    ) -> Arc<Decision> {
        match self.ask(principal, &open.resource, &open.rest, ask) {
            Ok(verdict) => self.decision(open.fixed.clone().and(verdict)),
            Err(message) => self.failure(message),
        }
    }

    /// The question in Cedar's words.
    pub(super) fn words(&self, principal: &EntityUid, ask: &Ask<'_>) -> Question {
        let (resource, _) = entities::resource(ask.resource, &[]);
        Question {
            principal: principal.to_string(),
            action: self.actions[ask.action as usize].uid.to_string(),
            resource: resource.uid.to_string(),
        }
    }

    /// A refusal because the policies could not even be asked.
    pub(super) fn failure(&self, message: impl Into<String>) -> Arc<Decision> {
        let failure = Some(message.into());
        Arc::new(Decision { failure, ..self.blank() })
    }

    fn ask(
        &self,
        principal: &Principal,
        resource: &Object,
        part: &Part,
        ask: &Ask<'_>,
    ) -> Result<Verdict, String> {
        let mut verdict = Verdict::default();
        if part.rules.is_empty() {
            return Ok(verdict);
        }
        let context = context(&self.environment, ask.action, &ask.facts, part.uses)?;
        let action = self.actions[ask.action as usize].uid.clone();
        let (principal, object) = (principal.uid.clone(), resource.uid.clone());
        // Without a schema there is nothing to be checked, thus nothing to fail: that the schema
        // describes these requests is known since it was read.
        let request = Request::new(principal, action, object, context, None)
            .map_err(|error| error.to_string())?;
        let entities = self.entities(resource, part, ask)?;
        // One for all policies: `cedar_policy::eval_expression` copies the request for each.
        let request = request.as_ref().clone();
        let entities = Entities::as_ref(&entities);
        let evaluator = Evaluator::new(request, entities, Extensions::all_available());
        let mut evaluation = Evaluation::new(evaluator, &self.policies.terms);
        for rule in part.rules.iter().map(|number| &self.policies.rules[*number]) {
            match rule.condition.as_ref().map_or(Ok(true), |condition| evaluation.holds(condition))
            {
                Ok(false) => {}
                Ok(true) if rule.info.effect == Effect::Permit => {
                    verdict.permits.push(rule.info.clone());
                }
                Ok(true) => verdict.forbids.push(rule.info.clone()),
                Err(message) => {
                    verdict.errors.push(EvaluationError { policy: rule.info.clone(), message });
                }
            }
        }
        Ok(verdict)
    }

    /// What some policies look at. What they don't is left out.
    fn entities<'e>(
        &self,
        resource: &Object,
        part: &'e Part,
        ask: &Ask<'_>,
    ) -> Result<Cow<'e, Entities>, String> {
        let around = match part.around.as_deref() {
            Some(around) if part.uses.contains(Uses::PRINCIPAL) => Cow::Borrowed(around),
            _ => Cow::Owned(Entities::empty()),
        };
        let mut more = Vec::new();
        if part.uses.contains(Uses::OBJECT) {
            let action = &self.actions[ask.action as usize];
            more.extend(action.around.iter().chain(&resource.around).cloned());
        }
        if ask.action == Action::CallTool && part.uses.contains(Uses::ARGUMENTS) {
            let tags = arguments::tags(ask.arguments).map_err(|error| error.to_string())?;
            more.push(entities::arguments(tags));
        }
        if more.is_empty() {
            return Ok(around);
        }
        // Cloning shares the entities themselves.
        let all = around.into_owned().add_entities(more, None);
        all.map(Cow::Owned).map_err(|error| error.to_string())
    }

    fn decision(&self, mut verdict: Verdict) -> Arc<Decision> {
        let Verdict { permits, forbids, errors } = &mut verdict;
        let allowed = forbids.is_empty() && errors.is_empty() && !permits.is_empty();
        let mut policies = std::mem::take(if forbids.is_empty() { permits } else { forbids });
        let mut errors = std::mem::take(errors);
        // In the order of the files, whatever the order of evaluation.
        policies.sort_by(|a, b| (&a.file, a.line, &a.id).cmp(&(&b.file, b.line, &b.id)));
        errors.sort_by(|a, b| a.policy.id.cmp(&b.policy.id));
        Arc::new(Decision { allowed, policies, errors, ..self.blank() })
    }

    fn blank(&self) -> Decision {
        Decision {
            allowed: false,
            policies: Vec::new(),
            errors: Vec::new(),
            failure: None,
            generation: self.generation,
            version: self.policies.version().clone(),
        }
    }
}

impl Principal {
    /// The principal, who is `caller`, and what it leads to.
    fn around(&self, caller: &Caller, keep: bool) -> Result<Arc<Entities>, String> {
        if let Some(around) = self.around.get() {
            return Ok(around.clone());
        }
        let place = entities::principal(caller).map_err(|error| error.to_string())?;
        let around = entities::around(&place, caller);
        let around = Entities::from_entities(around, None).map_err(|error| error.to_string())?;
        let around = Arc::new(around);
        if keep { Ok(self.around.get_or_init(|| around).clone()) } else { Ok(around) }
    }
}

impl Object {
    fn resource(rules: &[Rule], place: Place, around: Vec<Entity>) -> Self {
        Self { rules: RuleSet::of_resource(rules, &place), uid: place.uid, around }
    }
}

impl Verdict {
    /// The verdict of both parts together. A policy that forbids outdoes all that permit.
    fn and(mut self, mut other: Self) -> Self {
        self.permits.append(&mut other.permits);
        self.forbids.append(&mut other.forbids);
        self.errors.append(&mut other.errors);
        self
    }
}
