//! Figures on targets: how each does, and the attempts beyond requests' first.

use std::collections::HashSet;

use prometheus::{Error, GaugeVec, IntCounterVec, IntGaugeVec};

use super::access_metrics::follow;
use super::described::{Label, MODEL, Metric, PROVIDER};
use super::register::Register;
use crate::routing::Routes;

const TARGET: &[Label] = &[PROVIDER, Label::open("provider_model")];
const BUDGET: &[&str] = &["src/routing/retry_budget.rs"];
const CHECKS: &[&str] = &["src/providers/health_check.rs"];
const HEALTH: &[&str] = &["src/routing/health.rs"];

const RETRIES: Metric = Metric::counter("sluicegate_retries_total", "attempts")
    .labels(&[MODEL, Label::one_of("result", &["made", "over_budget"])])
    .meaning(
        "attempts beyond a request's first, and those that the [budget](routing.md) had no room for",
    )
    .at_zero()
    .from(BUDGET);
const DEGRADED: Metric = Metric::counter("sluicegate_degraded_attempts_total", "attempts")
    .labels(&[MODEL])
    .meaning("attempts at the least bad target, as all were left out")
    .at_zero()
    .from(BUDGET);
const PASSED_OVER: Metric = Metric::counter("sluicegate_targets_passed_over_total", "choices")
    .labels(&[MODEL])
    .meaning(
        "targets that were not asked, as a \
         [limit of their provider](routing.md#where-a-provider-has-a-limit) had no room",
    )
    .at_zero()
    .from(BUDGET);
const PROVIDER_HEALTH: Metric = Metric::gauge("sluicegate_provider_health", "0 or 1")
    .labels(&[PROVIDER])
    .meaning(
        "whether a provider passes its [health checks](routing.md#health-checks); only of those that have any",
    )
    .starts("**1**")
    .from(CHECKS);
const HEALTH_CHECKS: Metric = Metric::counter("sluicegate_provider_health_checks_total", "checks")
    .labels(&[PROVIDER, Label::one_of("result", &["passed", "failed"])])
    .meaning("health checks")
    .at_zero()
    .from(CHECKS);
const HEALTH_CHANGES: Metric = Metric::counter("sluicegate_provider_health_changes_total", "times")
    .labels(&[PROVIDER, Label::one_of("to", &["healthy", "unhealthy"])])
    .meaning("how often a provider was found unhealthy, and healthy again")
    .at_zero()
    .from(CHECKS);
const SHARE: Metric = Metric::gauge("sluicegate_target_share", "0 to 1")
    .labels(TARGET)
    .meaning("how much of its weight a target gets now; 0: it is left out")
    .from(HEALTH);
const IN_FLIGHT: Metric = Metric::gauge("sluicegate_target_in_flight", "requests")
    .labels(TARGET)
    .meaning("under way at a target")
    .from(HEALTH);
const LATENCY: Metric = Metric::gauge("sluicegate_target_latency_seconds", "seconds")
    .labels(TARGET)
    .meaning("the decaying peak of the time to an answer's head")
    .from(HEALTH);
const EJECTIONS: Metric = Metric::counter("sluicegate_target_ejections_total", "times")
    .labels(TARGET)
    .meaning("how often a target was left out")
    .at_zero()
    .from(HEALTH);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[
    RETRIES,
    DEGRADED,
    PASSED_OVER,
    PROVIDER_HEALTH,
    HEALTH_CHECKS,
    HEALTH_CHANGES,
    SHARE,
    IN_FLIGHT,
    LATENCY,
    EJECTIONS,
];

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
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        Ok(Self {
            share: register.float_gauges(&SHARE)?,
            in_flight: register.gauges(&IN_FLIGHT)?,
            latency: register.float_gauges(&LATENCY)?,
            ejections: register.counters(&EJECTIONS)?,
            retries: register.counters(&RETRIES)?,
            degraded: register.counters(&DEGRADED)?,
            passed_over: register.counters(&PASSED_OVER)?,
            provider_health: register.gauges(&PROVIDER_HEALTH)?,
            health_checks: register.counters(&HEALTH_CHECKS)?,
            health_changes: register.counters(&HEALTH_CHANGES)?,
        })
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
