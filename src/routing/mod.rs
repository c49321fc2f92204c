//! From the model that a caller names to the provider that serves it.

use std::collections::HashMap;
use std::sync::Arc;

use sluicegate_filters::price::{Price, ServiceTier, Worst};

use crate::config::valid::{self as config, Config, ModelTimeouts, Retries, RetryOn};
use crate::dialects::Dialect;
use crate::providers::resolve::Resolvers;
use crate::providers::upstream::{Upstream, UpstreamError};
use crate::quotas::estimate::close::Cut;
use crate::quotas::estimate::{Answerer, Bound, Calibration};

mod prices;

/// All models of one configuration.
pub struct Routes(HashMap<String, Arc<Model>>);

/// A model that callers can name.
pub struct Model {
    /// The name that callers use; also the metric label.
    pub name: String,
    /// What all its targets speak.
    pub dialect: Dialect,
    /// When to try again.
    pub retries: Retries,
    /// How long to wait for what.
    pub timeouts: ModelTimeouts,
    targets: Vec<Target>,
    total_weight: u64,
}

/// One place where a model is served.
pub struct Target {
    /// The provider.
    pub upstream: Arc<Upstream>,
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
    weight: u64,
}

impl Routes {
    /// Makes every provider ready and joins models to them.
    pub fn build(
        config: &Config,
        resolvers: &Resolvers,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let mut upstreams = HashMap::new();
        for (name, provider) in &config.providers {
            upstreams.insert(name.as_str(), Arc::new(Upstream::build(provider, resolvers)?));
        }
        let models = config.models.values().map(|model| {
            // The config has checked that each target's provider exists, that they agree on the
            // dialect, and that there is one.
            let targets: Vec<_> = model
                .targets
                .iter()
                .filter_map(|target| {
                    let prices::Resolved { price, ceiling, context, cut } =
                        prices::resolve(config, model, target);
                    let known = before.and_then(|before| before.calibration(&model.name, target));
                    Some(Target {
                        upstream: upstreams.get(target.provider.as_str())?.clone(),
                        model: target.model.clone(),
                        price,
                        answerer: Answerer { context, ceiling, picture: picture(&target.model) },
                        cut,
                        calibration: known.unwrap_or_default(),
                        weight: u64::from(target.weight),
                    })
                })
                .collect();
            let model = Model {
                name: model.name.clone(),
                dialect: model.dialect,
                retries: model.retries.clone(),
                timeouts: model.timeouts.clone(),
                total_weight: targets.iter().map(|target| target.weight).sum(),
                targets,
            };
            (model.name.clone(), Arc::new(model))
        });
        Ok(Self(models.collect()))
    }

    fn calibration(&self, model: &str, target: &config::Target) -> Option<Arc<Calibration>> {
        let same = |known: &&Target| {
            known.model == target.model && *known.upstream.name == *target.provider
        };
        Some(self.0.get(model)?.targets.iter().find(same)?.calibration.clone())
    }

    /// The model of that name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.0.get(name)
    }

    /// The configured name nearest to `name`, for an error's hint.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        self.0
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

    /// Chooses a target by weight. `tried` are the indices of targets that have failed this
    /// request; they come again only when no other is left. `random` is any number.
    pub fn choose(&self, tried: &[usize], random: u64) -> usize {
        let fresh = |index: &usize| !tried.contains(index);
        let all_tried = !(0..self.targets.len()).any(|index| fresh(&index));
        let usable = |index: &usize| all_tried || fresh(index);
        let total: u64 = if tried.is_empty() {
            self.total_weight
        } else {
            (0..self.targets.len()).filter(usable).map(|i| self.targets[i].weight).sum()
        };
        let mut at = random % total.max(1);
        for index in (0..self.targets.len()).filter(usable) {
            match at.checked_sub(self.targets[index].weight) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        0
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
