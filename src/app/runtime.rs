//! One generation of the configuration, ready to serve.

use std::sync::Arc;

use bytes::Bytes;
use secrecy::ExposeSecret;
use sluicegate_filters::Pipeline;
use sluicegate_filters::authorize::{self, Authorize, Mode, World};
use sluicegate_filters::identify::jwt::Verifier;
use sluicegate_filters::identify::{Accepts, Identify};
use sluicegate_filters::screen::{
    Cors, CorsConfig, Framing, HeaderPolicy, Methods, Origins, RequestSize,
};

use super::source::Sources;
use crate::config::valid::{self, Config, PolicyMode};
use crate::config::{Loaded, Problems};
use crate::dialects::{Dialect, models};
use crate::identity::issuers::Issuers;
use crate::identity::jwks::KeySets;
use crate::mcp::server::{ServerError, Servers};
use crate::providers::Reach;
use crate::quotas::configured::Configured;
use crate::routing::Routes;

/// One generation of the configuration, ready to serve. A request keeps the one it began with.
pub struct Runtime {
    /// 1 for the configuration at start, one more for each reload.
    pub generation: u64,
    /// SHA-256 of the effective configuration, in hex.
    pub hash: String,
    /// The configuration itself.
    pub config: Config,
    /// The filters, in their order.
    pub pipeline: Pipeline,
    /// Whose tokens are trusted, if anybody's.
    pub issuers: Option<Arc<Issuers>>,
    /// The limits that the configuration sets.
    pub quotas: Configured,
    /// Which model goes where.
    pub routes: Routes,
    /// The MCP servers.
    pub mcp: Servers,
    /// The answers of `GET /v1/models`, by dialect.
    pub model_lists: ModelLists,
}

/// Prebuilt model lists.
pub struct ModelLists {
    openai: Bytes,
    anthropic: Bytes,
}

impl ModelLists {
    /// The list in `dialect`'s shape.
    pub fn get(&self, dialect: Dialect) -> &Bytes {
        match dialect {
            Dialect::OpenAi => &self.openai,
            Dialect::Anthropic => &self.anthropic,
        }
    }
}

/// A configuration that is not put in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is wrong in itself.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// A filter refused its part.
    #[error("{path}: {message}")]
    Filter {
        /// The config key.
        path: &'static str,
        /// What the filter says.
        message: String,
    },
    /// A provider can't be made ready.
    #[error(transparent)]
    Provider(#[from] crate::providers::upstream::UpstreamError),
    /// An MCP server can't be made ready.
    #[error(transparent)]
    Mcp(#[from] ServerError),
    /// A listener's certificate can't be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

impl Runtime {
    /// Builds a generation after the one `before`. `reach` and `key_sets` keep what they know over
    /// reloads.
    pub(super) fn build(
        sources: Sources,
        generation: u64,
        before: Option<&Self>,
        reach: Reach<'_>,
        key_sets: &KeySets,
    ) -> Result<Self, LoadError> {
        let Sources { loaded: Loaded { config, hash, .. }, policies, .. } = sources;
        let authorize = authorize(&config, policies, generation);
        let pipeline = pipeline(&config, authorize)?;
        let routes = Routes::build(&config, reach, before.map(|before| &before.routes))?;
        let same = before.filter(|before| before.config.auth.jwt == config.auth.jwt);
        let issuers = match same {
            Some(before) => before.issuers.clone(),
            None => issuers(&config, generation, key_sets)?,
        };
        let infos: Vec<_> = config.models.keys().map(|id| model_info(id)).collect();
        let model_lists = ModelLists {
            openai: models::list(Dialect::OpenAi, &infos),
            anthropic: models::list(Dialect::Anthropic, &infos),
        };
        let quotas = Configured::new(&config.quotas);
        let mcp = Servers::build(&config.mcp, before.map(|before| &before.mcp))?;
        Ok(Self { generation, hash, config, pipeline, issuers, quotas, routes, mcp, model_lists })
    }
}

/// A configured model as callers see it. When it was made is the provider's to know; both APIs
/// take the epoch for "unknown".
pub fn model_info(id: &str) -> models::ModelInfo<'_> {
    models::ModelInfo { id, created: 0, owned_by: "sluicegate", display_name: id }
}

fn issuers(
    config: &Config,
    generation: u64,
    key_sets: &KeySets,
) -> Result<Option<Arc<Issuers>>, LoadError> {
    let issuers = &config.auth.jwt;
    if issuers.is_empty() {
        return Ok(None);
    }
    let refused =
        |error: &dyn ToString| LoadError::Filter { path: "auth.jwt", message: error.to_string() };
    let rules = issuers.iter().map(|issuer| issuer.rules.clone()).collect();
    let verifier = Verifier::new(rules).map_err(|error| refused(&error))?;
    let keys = key_sets.select(issuers).map_err(|error| refused(&error))?;
    Ok(Some(Arc::new(Issuers::new(verifier, keys, generation))))
}

fn authorize(
    config: &Config,
    policies: Option<crate::policies::Loaded>,
    generation: u64,
) -> Authorize {
    let (Some(policies), Some(settings)) = (policies, &config.policies) else {
        return Authorize::open();
    };
    let mode = match settings.mode {
        PolicyMode::Enforce => Mode::Enforce,
        PolicyMode::Shadow => Mode::Shadow,
    };
    let world = config.models.iter().fold(World::default(), |world, (name, model)| {
        // Whoever may ask for a model may be answered by any that it falls back to.
        let fallbacks = model.fallback.iter().filter_map(|name| config.models.get(name));
        let all = std::iter::once(model).chain(fallbacks).flat_map(|model| &model.targets);
        let targets: Vec<_> = all.map(|target| target_of(config, target)).collect();
        world.with_model(name, &targets)
    });
    // Decisions on tools that are known by name need not be made anew each time.
    let listed =
        config.mcp.targets.values().filter_map(|target| Some((target, target.tools.as_ref()?)));
    let world = listed.fold(world, |world, (target, tools)| {
        tools.iter().fold(world, |world, tool| world.with_tool(&target.name, tool))
    });
    Authorize::new(policies.policies, mode, config.environment.name(), world, generation)
}

fn target_of(config: &Config, target: &valid::Target) -> authorize::Target {
    let dialect =
        config.providers.get(&target.provider).map(|provider| provider.api.dialect().name());
    authorize::Target {
        provider: target.provider.clone(),
        dialect: dialect.unwrap_or_default().to_owned(),
    }
}

fn pipeline(config: &Config, authorize: Authorize) -> Result<Pipeline, LoadError> {
    let refused =
        |path, error: &dyn ToString| LoadError::Filter { path, message: error.to_string() };
    let cors = &config.cors;
    let origins =
        if cors.any_origin() { Origins::Any } else { Origins::List(cors.origins.clone()) };
    let options = CorsConfig {
        origins,
        allow_headers: cors.allow_headers.clone(),
        expose_headers: cors.expose_headers.clone(),
        max_age: cors.max_age,
        credentials: cors.credentials,
    };
    let sizes = config.limits.routes.iter().map(|(path, limits)| (path, limits.request_size));
    let key = config.admin.master_key.as_ref().map(|key| key.value.expose_secret());
    let accepts = Accepts { keys: config.store.is_some(), tokens: !config.auth.jwt.is_empty() };
    Ok(Pipeline {
        framing: Framing::new(config.limits.header_size),
        methods: Methods,
        cors: Cors::new(options).map_err(|error| refused("cors", &error))?,
        size: RequestSize::new(config.limits.request_size, sizes)
            .map_err(|error| refused("limits.routes", &error))?,
        headers: HeaderPolicy::new(config.request_headers.allow.iter().cloned())
            .map_err(|error| refused("request_headers.allow", &error))?,
        identify: Identify::new(config.auth.anonymous, key, accepts)
            .map_err(|error| refused("admin.master_key", &error))?,
        authorize,
    })
}
