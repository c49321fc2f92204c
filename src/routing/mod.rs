//! From the model that a caller names to the provider that serves it.
//!
//! | module | what it is |
//! |---|---|
//! | [`balance`] | which target is asked next |
//! | [`conditions`] | which targets may serve a request at all |
//! | [`health`] | how each has done of late |
//! | [`sticky`] | the same target for the same end user or conversation |
//! | [`retry_budget`] | how many attempts there may be beyond each request's first |
//! | `prices` | what a target costs |
//! | `capabilities` | what a target's model can, where a request is translated |

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::uri::PathAndQuery;
use sluicegate_chat::{Capabilities, Dialect as Speech};
use sluicegate_filters::Caller;
use sluicegate_filters::price::{Price, ServiceTier, Worst};

use self::balance::{Candidate, Choice, Terms};
use self::conditions::{Conditions, Windows};
use self::health::{Health, Outcome, Shown, UnderWay};
use self::prices::known_as;
use self::retry_budget::Tally;
use crate::clock::uptime_ms;
use crate::config::valid::{
    self as config, Balance, Config, HealthRules, ModelTimeouts, Retries, RetryOn, Sticky,
};
use crate::dialects::Endpoint;
use crate::dialects::peek::Peek;
use crate::providers::Reach;
use crate::providers::address::Address;
use crate::providers::dialect::ProviderDialect;
use crate::providers::health_check::Checker;
use crate::providers::upstream::{Upstream, UpstreamError};
use crate::quotas::estimate::close::Cut;
use crate::quotas::estimate::{Answerer, Bound, Calibration};
use crate::telemetry::series::TargetSeries;

pub mod balance;
mod capabilities;
pub mod conditions;
pub mod health;
mod prices;
pub mod retry_budget;
pub mod sticky;

/// The priorities that a model's own targets can have; those of its fallbacks come after them.
const PRIORITIES: u32 = 1_000;

/// All models of one configuration.
pub struct Routes {
    models: HashMap<String, Arc<Model>>,
    upstreams: HashMap<String, Arc<Upstream>>,
    /// How each place does, by its provider and its model's name there: the same for all models that it
    /// serves, and in all generations.
    healths: HashMap<String, HashMap<String, Arc<Health>>>,
    /// Those who ask providers whether they are well.
    checkers: HashMap<String, Arc<Checker>>,
}

/// A model that callers can name.
pub struct Model {
    /// The name that callers use; also the metric label.
    pub name: String,
    /// What its first target speaks.
    pub dialect: ProviderDialect,
    /// Whether parameters that a target's dialect can't say are left out.
    pub drop_params: bool,
    /// When to try again.
    pub retries: Retries,
    /// How long to wait for what.
    pub timeouts: ModelTimeouts,
    targets: Vec<Target>,
    /// What the choice sees of each.
    candidates: Vec<Candidate>,
    balance: Balance,
    rules: HealthRules,
    /// Whose requests its targets serve.
    pub conditions: Conditions,
    /// How long a request may be at its targets.
    pub windows: Windows,
    sticky: Option<Sticky>,
    /// What is counted of it. Outlives the generation.
    pub tally: Arc<Tally>,
}

/// What there is to show of a target.
pub struct TargetState<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The model's name there.
    pub model: &'a str,
    /// Lower ones are asked first.
    pub priority: u32,
    /// Its share among those of its priority.
    pub weight: u64,
    /// How it does.
    pub health: Shown,
    /// Whether its provider is well, where that is asked.
    pub provider_healthy: Option<bool>,
}

/// One place where a model is served.
pub struct Target {
    /// The provider.
    pub upstream: Arc<Upstream>,
    /// Where its endpoints are there.
    address: Address,
    /// What it is spoken to in, where a caller's request is translated.
    pub speech: Speech,
    /// What it can.
    pub capabilities: Capabilities,
    /// The model's name there.
    pub model: String,
    /// What it costs there. `None`: nobody said.
    pub price: Option<Arc<Price>>,
    /// What bounds its tokens.
    pub answerer: Answerer,
    /// How its provider cuts text, where that is public.
    pub cut: Option<Cut>,
    /// How many tokens its provider has counted for a byte. Outlives the generation.
    pub calibration: Arc<Calibration>,
    /// What is counted of it.
    pub series: TargetSeries,
}

impl Routes {
    /// Makes every provider ready and joins models to them.
    pub fn build(
        config: &Config,
        reach: Reach<'_>,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let mut upstreams = HashMap::new();
        let mut checkers = HashMap::new();
        for (name, provider) in &config.providers {
            let known = before.and_then(|before| before.upstreams.get(name));
            let upstream = Upstream::build(provider, reach, known.map(|known| &**known))?;
            let upstream = Arc::new(upstream);
            upstreams.insert(name.clone(), upstream.clone());
            if let Some(rules) = &provider.health_check {
                let known = before.and_then(|before| before.checkers.get(name));
                let known = known.filter(|known| known.is_of(&upstream));
                let state = known.map(|known| known.state.clone()).unwrap_or_default();
                checkers.insert(name.clone(), Arc::new(Checker::new(upstream, rules, state)));
            }
        }
        let mut healths = HashMap::new();
        let mut routes = HashMap::new();
        for model in config.models.values() {
            // The config has checked that each target's provider and each fallback exists.
            let fallbacks = model.fallback.iter().filter_map(|name| config.models.get(name));
            let (mut targets, mut candidates) = (Vec::new(), Vec::new());
            let (mut conditions, mut windows) = (Conditions::default(), Windows::default());
            for (round, owner) in (0..).zip(std::iter::once(model).chain(fallbacks)) {
                for target in &owner.targets {
                    let place = &target.provider;
                    let (Some(upstream), Some(provider)) =
                        (upstreams.get(place), config.providers.get(place))
                    else {
                        continue;
                    };
                    let prices::Resolved { price, ceiling, context, window, cut } =
                        prices::resolve(config, owner, target);
                    conditions.add(targets.len(), target.when.as_ref());
                    windows.add(targets.len(), window);
                    let known = before.and_then(|before| before.calibration(&model.name, target));
                    targets.push(Target {
                        upstream: upstream.clone(),
                        address: upstream.places(provider, &target.model)?,
                        speech: provider.api.dialect().speech(&target.model),
                        capabilities: capabilities::of(known_as(provider), &target.model),
                        model: target.model.clone(),
                        price,
                        answerer: Answerer { context, ceiling, picture: picture(&target.model) },
                        cut,
                        calibration: known.unwrap_or_default(),
                        series: TargetSeries::default(),
                    });
                    candidates.push(Candidate {
                        priority: PRIORITIES * round + target.priority,
                        weight: u64::from(target.weight),
                        health: health_of(target, &mut healths, before),
                        provider: checkers.get(&target.provider).map(|it| it.state.clone()),
                        place: sticky::place(&target.provider, &target.model),
                    });
                }
            }
            let known = before.and_then(|before| before.model(&model.name));
            let route = Model {
                name: model.name.clone(),
                dialect: model.dialect,
                drop_params: model.drop_params,
                retries: model.retries.clone(),
                timeouts: model.timeouts.clone(),
                targets,
                candidates,
                balance: model.balance,
                rules: model.health,
                conditions,
                windows,
                sticky: model.sticky.clone(),
                tally: known.map(|known| known.tally.clone()).unwrap_or_default(),
            };
            routes.insert(model.name.clone(), Arc::new(route));
        }
        Ok(Self { models: routes, upstreams, healths, checkers })
    }

    fn calibration(&self, model: &str, target: &config::Target) -> Option<Arc<Calibration>> {
        let known = self.models.get(model)?.targets.iter().find(|known| known.is(target))?;
        Some(known.calibration.clone())
    }

    fn health(&self, target: &config::Target) -> Option<&Arc<Health>> {
        self.healths.get(&target.provider)?.get(&target.model)
    }

    /// Those who ask providers whether they are well, in no order.
    pub fn checkers(&self) -> impl Iterator<Item = &Arc<Checker>> {
        self.checkers.values()
    }

    /// Whether the provider is well, where that is asked.
    pub fn is_healthy(&self, provider: &str) -> Option<bool> {
        Some(self.checkers.get(provider)?.state.is_healthy())
    }

    /// All providers, in no order.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// All models, in no order.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The model of that name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// The configured name nearest to `name`, for an error's hint.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        self.models
            .keys()
            .map(|known| (strsim::damerau_levenshtein(known, name), known.as_str()))
            .filter(|(distance, known)| *distance <= known.len() / 3)
            .min()
            .map(|(_, known)| known)
    }
}

/// The most tokens that a provider takes a picture for. OpenAI's smaller models take more, and charge
/// less for each. <https://platform.openai.com/docs/guides/images-vision#calculating-costs>,
/// <https://docs.anthropic.com/en/docs/build-with-claude/vision#calculate-image-costs>
fn picture(model: &str) -> u64 {
    if model.contains("4o-mini") { 48_169 } else { 5_000 }
}

fn health_of(
    target: &config::Target,
    healths: &mut HashMap<String, HashMap<String, Arc<Health>>>,
    before: Option<&Routes>,
) -> Arc<Health> {
    let of_provider = healths.entry(target.provider.clone()).or_default();
    let known = || before.and_then(|before| before.health(target)).cloned().unwrap_or_default();
    of_provider.entry(target.model.clone()).or_insert_with(known).clone()
}

impl Target {
    /// Whether a request to `endpoint` needs no translation.
    pub fn understands(&self, endpoint: Endpoint) -> bool {
        self.address.path(endpoint, false).is_some()
    }

    /// Where `endpoint` is, for an answer in one piece or several.
    pub fn path(&self, endpoint: Endpoint, in_pieces: bool) -> Option<&PathAndQuery> {
        self.address.path(endpoint, in_pieces)
    }

    fn is(&self, target: &config::Target) -> bool {
        self.model == target.model && *self.upstream.name == *target.provider
    }
}

impl Model {
    /// What bounds the tokens of a request, whichever target serves it.
    pub fn answerer(&self) -> Answerer {
        let each = || self.targets.iter().map(|target| target.answerer);
        let contexts = each().map(|answerer| answerer.context);
        Answerer {
            context: contexts.reduce(|a, b| Some(a?.max(b?))).flatten(),
            ceiling: each().map(|answerer| answerer.ceiling).max().unwrap_or(1),
            picture: each().map(|answerer| answerer.picture).max().unwrap_or(0),
        }
    }

    /// The most that a request within `bound` costs, in nano-USD, on the dearest target. `None`: one of
    /// them has no price. `at` is in seconds since the epoch.
    pub fn bound_cost(&self, bound: Bound, priority: bool, at: i64) -> Option<u64> {
        let worst = Worst::of_any_kind(bound.input, bound.output);
        let cost = |target: &Target| {
            let price = target.price.as_ref()?;
            let standard = price.rates(at, ServiceTier::Standard).bound(worst);
            let dearer = if priority {
                let tiers = [ServiceTier::Priority, ServiceTier::Fast];
                tiers.map(|tier| price.rates(at, tier).bound(worst)).into_iter().max()
            } else {
                None
            };
            Some(standard.max(dearer.unwrap_or(0)))
        };
        self.targets.iter().map(cost).reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    /// The targets that can serve a request to `endpoint`, by their bits: those that understand it as it is,
    /// and the others, too, where it can be `translated`. 0: there is none.
    pub fn allowed(&self, endpoint: Endpoint, translated: bool) -> u64 {
        self.bits(|target| translated || target.understands(endpoint))
    }

    /// Whether each of its targets takes a request to `endpoint` as it came, but for the model's name.
    pub fn takes_as_it_is(&self, endpoint: Endpoint) -> bool {
        self.targets.iter().all(|target| {
            target.understands(endpoint) && target.upstream.version_in_body().is_none()
        })
    }

    /// The targets that are at the same provider as the one at `index`, itself included, by their bits.
    pub fn at_provider_of(&self, index: usize) -> u64 {
        let provider = &self.targets[index].upstream.name;
        self.bits(|target| target.upstream.name == *provider)
    }

    /// Those of the targets that are as is `wanted`, by their bits. There are 64 at most.
    fn bits(&self, wanted: impl Fn(&Target) -> bool) -> u64 {
        let each = self.targets.iter().enumerate();
        each.fold(0, |all, (index, target)| all | u64::from(wanted(target)) << (index % 64))
    }

    /// Chooses one of the targets that are `allowed`. `tried` are the indices of targets that have failed this
    /// request; they come again only when no other is left. `sticky` is what
    /// [`sticky_key`](Self::sticky_key) gave, `random` any number.
    pub fn choose(
        &self,
        allowed: u64,
        tried: &[usize],
        sticky: Option<u64>,
        random: u64,
    ) -> Choice {
        let Self { balance, rules, .. } = self;
        let terms = Terms { balance: *balance, rules, random, now: uptime_ms(), allowed, sticky };
        balance::choose(&self.candidates, tried, terms)
    }

    /// What stands for whom one target is kept, in this request.
    pub fn sticky_key(
        &self,
        caller: Option<&Caller>,
        headers: &HeaderMap,
        peek: &Peek,
    ) -> Option<u64> {
        sticky::key(self.sticky.as_ref()?, caller, headers, peek)
    }

    /// Counts a request that goes to the target at `index`, for as long as what is returned lives.
    pub fn begin(&self, index: usize) -> UnderWay {
        self.candidates[index].health.begin()
    }

    /// Notes what came of asking the target at `index`. Returns whether it is left out from now on, and was
    /// not before.
    pub fn note(&self, index: usize, outcome: Outcome) -> bool {
        self.candidates[index].health.note(outcome, uptime_ms(), &self.rules)
    }

    /// Counts a request, from which attempts beyond its first may come.
    pub fn requested(&self) {
        self.tally.requested(self.retries.budget);
    }

    /// Takes an attempt beyond a request's first, if there is one left.
    pub fn take_retry(&self) -> bool {
        self.tally.take_retry(uptime_ms())
    }

    /// Whether there is one of the `allowed` targets that has not failed this request.
    pub fn has_untried(&self, allowed: u64, tried: &[usize]) -> bool {
        (0..self.targets.len()).any(|i| allowed >> (i % 64) & 1 == 1 && !tried.contains(&i))
    }

    /// Its targets, as they are to be shown.
    pub fn states(&self) -> impl Iterator<Item = TargetState<'_>> {
        let now = uptime_ms();
        self.targets.iter().zip(&self.candidates).map(move |(target, candidate)| TargetState {
            provider: &target.upstream.name,
            model: &target.model,
            priority: candidate.priority,
            weight: candidate.weight,
            health: Shown {
                share: candidate.share(now, &self.rules),
                ..candidate.health.show(now, &self.rules)
            },
            provider_healthy: candidate.provider.as_ref().map(|provider| provider.is_healthy()),
        })
    }

    /// Where it is served, in the order of the configuration.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The target at `index`, as [`choose`](Self::choose) gave it.
    pub fn target(&self, index: usize) -> &Target {
        &self.targets[index]
    }

    /// Whether an answer with `status` is worth another attempt.
    pub fn retries_status(&self, status: u16) -> bool {
        match status {
            429 => self.retries.on.contains(&RetryOn::TooManyRequests),
            500..=599 => self.retries.on.contains(&RetryOn::ServerError),
            _ => false,
        }
    }
}
