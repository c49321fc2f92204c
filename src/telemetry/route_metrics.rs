//! Figures on targets: how each does, and the attempts beyond requests' first.

use std::collections::HashSet;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::access_metrics::follow;
use crate::routing::Routes;

const TARGET: &[&str] = &["provider", "provider_model"];

/// Targets and models count by themselves; these follow whenever they are shown.
pub struct RouteMetrics {
    share: GaugeVec,
    in_flight: IntGaugeVec,
    latency: GaugeVec,
    ejections: IntCounterVec,
    retries: IntCounterVec,
    degraded: IntCounterVec,
    passed_over: IntCounterVec,
    provider_health: IntGaugeVec,
    health_checks: IntCounterVec,
    health_changes: IntCounterVec,
}

impl RouteMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let made = Self {
            share: GaugeVec::new(
                Opts::new("target_share", "How much of its weight a target gets now, 0 to 1."),
                TARGET,
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new("target_in_flight", "Requests under way at a target."),
                TARGET,
            )?,
            latency: GaugeVec::new(
                Opts::new(
                    "target_latency_seconds",
                    "The decaying peak of the time from a request to the head of its answer.",
                ),
                TARGET,
            )?,
            ejections: IntCounterVec::new(
                Opts::new("target_ejections_total", "How often a target was left out."),
                TARGET,
            )?,
            retries: IntCounterVec::new(
                Opts::new("retries_total", "Attempts beyond the first, made or not."),
                &["model", "result"],
            )?,
            degraded: IntCounterVec::new(
                Opts::new(
                    "degraded_attempts_total",
                    "Attempts at the least bad target, as all were left out.",
                ),
                &["model"],
            )?,
            passed_over: IntCounterVec::new(
                Opts::new(
                    "targets_passed_over_total",
                    "Choices of a target that was not asked, as a limit of its provider had no room.",
                ),
                &["model"],
            )?,
            provider_health: IntGaugeVec::new(
                Opts::new("provider_health", "Whether a provider passes its health checks."),
                &["provider"],
            )?,
            health_checks: IntCounterVec::new(
                Opts::new("provider_health_checks_total", "Health checks of a provider."),
                &["provider", "result"],
            )?,
            health_changes: IntCounterVec::new(
                Opts::new(
                    "provider_health_changes_total",
                    "How often a provider was found healthy again, or unhealthy.",
                ),
                &["provider", "to"],
            )?,
        };
        registry.register(Box::new(made.share.clone()))?;
        registry.register(Box::new(made.in_flight.clone()))?;
        registry.register(Box::new(made.latency.clone()))?;
        registry.register(Box::new(made.ejections.clone()))?;
        registry.register(Box::new(made.retries.clone()))?;
        registry.register(Box::new(made.degraded.clone()))?;
        registry.register(Box::new(made.passed_over.clone()))?;
        registry.register(Box::new(made.provider_health.clone()))?;
        registry.register(Box::new(made.health_checks.clone()))?;
        registry.register(Box::new(made.health_changes.clone()))?;
        Ok(made)
    }

    /// Brings all up to what is true of `routes` now. Targets that are there no longer are not shown.
    pub fn observe(&self, routes: &Routes) {
        self.share.reset();
        self.in_flight.reset();
        self.latency.reset();
        self.provider_health.reset();
        for checker in routes.checkers() {
            let provider = checker.provider.as_str();
            let health = self.provider_health.with_label_values(&[provider]);
            health.set(i64::from(checker.state.is_healthy()));
            let [passed, failed, healthy, unhealthy] = checker.state.counts();
            let (checks, changes) = (&self.health_checks, &self.health_changes);
            follow(&checks.with_label_values(&[provider, "passed"]), passed);
            follow(&checks.with_label_values(&[provider, "failed"]), failed);
            follow(&changes.with_label_values(&[provider, "healthy"]), healthy);
            follow(&changes.with_label_values(&[provider, "unhealthy"]), unhealthy);
        }
        let mut seen = HashSet::new();
        for model in routes.models() {
            let [made, over_budget, degraded, passed_over] = model.tally.counts();
            follow(&self.retries.with_label_values(&[model.name.as_str(), "made"]), made);
            let suppressed = [model.name.as_str(), "over_budget"];
            follow(&self.retries.with_label_values(&suppressed), over_budget);
            follow(&self.degraded.with_label_values(&[model.name.as_str()]), degraded);
            follow(&self.passed_over.with_label_values(&[model.name.as_str()]), passed_over);
            for state in model.states() {
                let target = [state.provider, state.model];
                if !seen.insert(target) {
                    continue;
                }
                let shown = state.health;
                self.share.with_label_values(&target).set(shown.share as f64 / 1e3);
                self.in_flight.with_label_values(&target).set(i64::from(shown.in_flight));
                self.latency.with_label_values(&target).set(shown.latency_us as f64 / 1e6);
                follow(&self.ejections.with_label_values(&target), shown.ejections);
            }
        }
    }
}
