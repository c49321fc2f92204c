//! `/admin/v1/models` and `/admin/v1/providers`: what the configuration serves. Read-only; no secret is in
//! any answer.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::super::call::{Answer, Call, ok};
use super::List;
use crate::config::valid::{HttpVersion, Model, Provider};
use crate::routing::{self, TargetState};

/// A model that callers can name.
#[derive(Serialize, ToSchema)]
pub struct ModelView {
    pub id: String,
    /// What all its targets speak: `openai`, `anthropic`.
    pub dialect: &'static str,
    /// Where it is served. Only shown to administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetView>>,
}

/// One place where a model is served.
#[derive(Serialize, ToSchema)]
pub struct TargetView {
    pub provider: String,
    /// The model's name there.
    pub model: String,
    /// Lower ones are asked first. Those of the models that it falls back to are above 1000.
    pub priority: u32,
    /// Its share of calls relative to the other targets of its priority.
    pub weight: u64,
    /// How much of its weight it gets now, 0 to 1. 0: it is left out.
    pub share: f64,
    /// For how many milliseconds more it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_for_ms: Option<i64>,
    /// Failures in a row.
    pub failures: u32,
    /// How often it was left out since this instance began.
    pub ejections: u64,
    /// Requests of this instance under way there.
    pub in_flight: u32,
    /// The decaying peak of the time from a request to the head of its answer, in milliseconds.
    pub latency_ms: f64,
    /// Whether its provider passes its health checks, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_healthy: Option<bool>,
}

/// Somewhere that serves models.
#[derive(Serialize, ToSchema)]
pub struct ProviderView {
    pub id: String,
    pub dialect: &'static str,
    pub base_url: String,
    pub http_version: &'static str,
    /// Whether calls carry a key.
    pub has_key: bool,
    /// Whether it passes its health checks, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
}

/// The models that the actor may call; all, with their targets, for administrators.
pub async fn models(call: Call) -> Answer {
    call.query.finish()?;
    let runtime = call.services.gateway.current();
    let everything = call.actor.reach().is_none();
    let allowed = |model: &&Model| {
        everything
            || call.actor.caller.as_ref().is_some_and(|caller| caller.models().allows(&model.name))
    };
    let items: Vec<ModelView> = runtime
        .config
        .models
        .values()
        .filter(allowed)
        .map(|model| ModelView {
            id: model.name.clone(),
            dialect: model.dialect.name(),
            targets: everything.then(|| runtime.routes.model(&model.name).map(targets)).flatten(),
        })
        .collect();
    let total = items.len() as u64;
    Ok(ok(List { items, total, cursor: None }))
}

fn targets(model: &Arc<routing::Model>) -> Vec<TargetView> {
    let view = |state: TargetState<'_>| TargetView {
        provider: state.provider.to_owned(),
        model: state.model.to_owned(),
        priority: state.priority,
        weight: state.weight,
        share: state.health.share as f64 / 1e3,
        out_for_ms: state.health.out_for_ms,
        failures: state.health.failures,
        ejections: state.health.ejections,
        in_flight: state.health.in_flight,
        latency_ms: state.health.latency_us as f64 / 1e3,
        provider_healthy: state.provider_healthy,
    };
    model.states().map(view).collect()
}

pub async fn providers(call: Call) -> Answer {
    call.query.finish()?;
    let runtime = call.services.gateway.current();
    let items: Vec<ProviderView> =
        runtime.config.providers.values().map(|provider| view(provider, &runtime.routes)).collect();
    let total = items.len() as u64;
    Ok(ok(List { items, total, cursor: None }))
}

fn view(provider: &Provider, routes: &routing::Routes) -> ProviderView {
    ProviderView {
        id: provider.name.clone(),
        dialect: provider.api.dialect().name(),
        base_url: provider.base_url.to_string(),
        http_version: match provider.http_version {
            HttpVersion::Auto => "auto",
            HttpVersion::H1 => "1.1",
            HttpVersion::H2 => "2",
        },
        has_key: provider.api_key.is_some() || provider.api.has_credential(),
        healthy: routes.is_healthy(&provider.name),
    }
}
