//! Puts questions to the policies.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy::{Entities, Entity, EntityUid, EvalResult, Request, eval_expression};

use super::arguments;
use super::ask::{Action, Ask};
use super::context::context;
use super::decision::{Decision, Effect, EvaluationError, Mode, PolicyInfo, Question};
use super::entities::{self, NoPrincipal, Reach};
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
    resources: Vec<Party>,
    /// In the order of [`Action::ALL`].
    actions: Vec<ActionRules>,
}

/// A principal or a resource, with the policies whose scope lets it in.
#[derive(Clone, Debug)]
pub(super) struct Party {
    reach: Reach,
    rules: RuleSet,
}

/// What concerns one action.
struct ActionRules {
    uid: EntityUid,
    entities: Vec<Entity>,
    rules: RuleSet,
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
    /// The numbers of those that must be asked again.
    rules: Vec<usize>,
    uses: Uses,
    entities: Entities,
    principal: EntityUid,
    resource: EntityUid,
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
            let entities = std::iter::once(&uid).chain(&above);
            let entities = entities.filter_map(|uid| known.get(uid)).cloned().collect();
            ActionRules { uid, entities, rules }
        });
        let actions = actions.collect();
        let resources = world.take_all().into_iter().map(|reach| {
            let rules = RuleSet::of_resource(&policies.rules, &reach);
            Party { reach, rules }
        });
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
    pub(super) fn principal(&self, caller: &Caller) -> Result<Party, NoPrincipal> {
        let reach = entities::principal(caller)?;
        let rules = RuleSet::of_principal(&self.policies.rules, &reach);
        Ok(Party { reach, rules })
    }

    /// The number of a question, if its answer can be kept.
    pub(super) fn question(&self, ask: &Ask<'_>) -> Option<usize> {
        let resource = self.world.find(ask.resource)?;
        Some(ask.action as usize * self.resources.len() + resource)
    }

    /// Answers a question as far as it can be for all requests of the principal.
    pub(super) fn answer(&self, principal: &Party, ask: &Ask<'_>) -> Answer {
        let unknown;
        let resource = match self.world.find(ask.resource) {
            Some(number) => &self.resources[number],
            None => {
                let reach = entities::resource(ask.resource, &[]);
                let rules = RuleSet::of_resource(&self.policies.rules, &reach);
                unknown = Party { reach, rules };
                &unknown
            }
        };
        let action = &self.actions[ask.action as usize];
        let (mut fixed, mut open, mut uses) = (Vec::new(), Vec::new(), Uses::NONE);
        for number in action.rules.in_all(&principal.rules, &resource.rules) {
            let looks_at = self.policies.rules[number].uses;
            uses |= looks_at;
            if looks_at.is_none() { &mut fixed } else { &mut open }.push(number);
        }
        let (principal, resource) = (&principal.reach, &resource.reach);
        let reached = [&principal.entities, &resource.entities, &action.entities];
        let entities = Entities::from_entities(reached.into_iter().flatten().cloned(), None);
        let entities = match entities {
            Ok(entities) => entities,
            Err(error) => return Answer::Fixed(self.failure(error.to_string())),
        };
        let mut part = Open {
            fixed: Verdict::default(),
            rules: fixed,
            uses: Uses::NONE,
            entities,
            principal: principal.uid.clone(),
            resource: resource.uid.clone(),
        };
        match self.ask(&part, ask) {
            Ok(verdict) => part.fixed = verdict,
            Err(message) => return Answer::Fixed(self.failure(message)),
        }
        if open.is_empty() {
            return Answer::Fixed(self.decision(part.fixed));
        }
        (part.rules, part.uses) = (open, uses);
        Answer::Open(Box::new(part))
    }

    /// Answers what is left open of a question for one request.
    pub(super) fn finish(&self, open: &Open, ask: &Ask<'_>) -> Arc<Decision> {
        match self.ask(open, ask) {
            Ok(verdict) => self.decision(open.fixed.clone().and(verdict)),
            Err(message) => self.failure(message),
        }
    }

    /// The question in Cedar's words.
    pub(super) fn words(&self, principal: &Party, ask: &Ask<'_>) -> Question {
        let resource = entities::resource(ask.resource, &[]).uid;
        let action = &self.actions[ask.action as usize].uid;
        Question {
            principal: principal.reach.uid.to_string(),
            action: action.to_string(),
            resource: resource.to_string(),
        }
    }

    /// A refusal because the policies could not even be asked.
    pub(super) fn failure(&self, message: impl Into<String>) -> Arc<Decision> {
        let failure = Some(message.into());
        Arc::new(Decision { failure, ..self.blank() })
    }

    fn ask(&self, open: &Open, ask: &Ask<'_>) -> Result<Verdict, String> {
        let context = context(&self.environment, ask.action, &ask.facts, open.uses)?;
        let action = self.actions[ask.action as usize].uid.clone();
        let (principal, resource) = (open.principal.clone(), open.resource.clone());
        // Without a schema there is nothing to be checked, thus nothing to fail: that the schema
        // describes these requests is known since it was read.
        let request = Request::new(principal, action, resource, context, None)
            .map_err(|error| error.to_string())?;
        let entities = if ask.action == Action::CallTool && open.uses.contains(Uses::ARGUMENTS) {
            let tags = arguments::tags(ask.arguments).map_err(|error| error.to_string())?;
            let known = open.entities.clone().add_entities([entities::arguments(tags)], None);
            &known.map_err(|error| error.to_string())?
        } else {
            &open.entities
        };
        let mut verdict = Verdict::default();
        for rule in open.rules.iter().map(|number| &self.policies.rules[*number]) {
            match rule.holds(&request, entities) {
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

impl Verdict {
    /// The verdict of both parts together. A policy that forbids outdoes all that permit.
    fn and(mut self, mut other: Self) -> Self {
        self.permits.append(&mut other.permits);
        self.forbids.append(&mut other.forbids);
        self.errors.append(&mut other.errors);
        self
    }
}

impl Rule {
    /// Whether the conditions hold.
    fn holds(&self, request: &Request, entities: &Entities) -> Result<bool, String> {
        let Some(condition) = &self.condition else { return Ok(true) };
        match eval_expression(request, entities, condition) {
            Ok(EvalResult::Bool(holds)) => Ok(holds),
            Ok(_) => Err("the condition is neither true nor false".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
