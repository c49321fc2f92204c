//! Figures on limits: what they refuse, what is used beyond holds, and the store behind them.

use std::sync::atomic::Ordering;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use sluicegate_filters::admit::{ScopeKind, Unit};
use sluicegate_quota::Engine;

use super::access_metrics::follow;

/// The engine counts by itself; these follow it whenever they are shown.
pub struct QuotaMetrics {
    refusals: Vec<(Unit, ScopeKind, IntCounter)>,
    overrun: [(Unit, IntCounter); Unit::ALL.len()],
    in_doubt: [IntGauge; Unit::ALL.len()],
    soft_exceeded: IntCounter,
    calls: IntCounter,
    exchanges: IntCounter,
    failures: IntCounter,
    waits: IntCounter,
    store_up: IntGauge,
}

impl QuotaMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let counter = |name: &str, help: &str| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let refusals = counters(
            "quota_refusals_total",
            "Requests that a limit has refused, by what it counts and for whom it is.",
            &["unit", "scope_kind"],
        )?;
        let overrun = counters(
            "quota_overrun_units_total",
            "Units used beyond what had been held for a request.",
            &["unit"],
        )?;
        let in_doubt = IntGaugeVec::new(
            Opts::new(
                "quota_in_doubt_units",
                "Units that instances which are gone had leased, and nobody knows the use of; they count as \
                 used.",
            ),
            &["unit"],
        )?;
        registry.register(Box::new(in_doubt.clone()))?;
        let store_up =
            IntGauge::new("quota_store_up", "1 where the store of the counters last answered.")?;
        registry.register(Box::new(store_up.clone()))?;
        let pairs = Unit::ALL
            .into_iter()
            .flat_map(|unit| ScopeKind::ALL.into_iter().map(move |kind| (unit, kind)));
        Ok(Self {
            refusals: pairs
                .map(|(unit, kind)| {
                    (unit, kind, refusals.with_label_values(&[unit.name(), kind.name()]))
                })
                .collect(),
            overrun: Unit::ALL.map(|unit| (unit, overrun.with_label_values(&[unit.name()]))),
            in_doubt: Unit::ALL.map(|unit| in_doubt.with_label_values(&[unit.name()])),
            soft_exceeded: counter(
                "quota_soft_exceeded_total",
                "Soft limits that were reached, each once in its window.",
            )?,
            calls: counter("quota_store_calls_total", "Calls of the store of the counters.")?,
            exchanges: counter("quota_exchanges_total", "Exchanges in those calls.")?,
            failures: counter("quota_store_failures_total", "Calls of it that failed.")?,
            waits: counter("quota_waits_total", "Requests that had to wait for it.")?,
            store_up,
        })
    }

    /// Takes over what `engine` counts.
    pub fn observe(&self, engine: &Engine) {
        let counts = engine.counts();
        for (unit, kind, refusals) in &self.refusals {
            follow(refusals, counts.refusals(*unit, *kind));
        }
        for (unit, overrun) in &self.overrun {
            follow(overrun, counts.overrun_units(*unit));
        }
        for (gauge, units) in self.in_doubt.iter().zip(engine.in_doubt()) {
            gauge.set(i64::try_from(units).unwrap_or(i64::MAX));
        }
        for (metric, count) in [
            (&self.soft_exceeded, &counts.soft_exceeded),
            (&self.calls, &counts.calls),
            (&self.exchanges, &counts.exchanges),
            (&self.failures, &counts.failures),
            (&self.waits, &counts.waits),
        ] {
            follow(metric, count.load(Ordering::Relaxed));
        }
        self.store_up.set(i64::from(!engine.store_is_away()));
    }
}
