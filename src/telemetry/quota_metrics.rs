//! Figures on limits: what they refuse, what is used beyond holds, and the store behind them.

use std::sync::atomic::Ordering;

use prometheus::{Error, IntCounter, IntGauge};
use sluicegate_filters::admit::{ScopeKind, Unit};
use sluicegate_quota::Engine;

use super::access_metrics::follow;
use super::described::{Label, Metric};
use super::register::Register;

const UNIT: Label = Label::listed("unit", || Unit::ALL.map(Unit::name).to_vec());
const SCOPE_KIND: Label =
    Label::listed("scope_kind", || ScopeKind::ALL.map(ScopeKind::name).to_vec());
const ENGINE: &[&str] = &["quota/src/engine"];

const REFUSALS: Metric = Metric::counter("sluicegate_quota_refusals_total", "requests")
    .labels(&[UNIT, SCOPE_KIND])
    .meaning("refused by a limit")
    .at_zero()
    .from(ENGINE);
const OVERRUN: Metric = Metric::counter("sluicegate_quota_overrun_units_total", "the label's")
    .labels(&[UNIT])
    .meaning("used beyond what had been held")
    .at_zero()
    .from(ENGINE);
const IN_DOUBT: Metric = Metric::gauge("sluicegate_quota_in_doubt_units", "the label's")
    .labels(&[UNIT])
    .meaning(
        "leased to instances that are gone, and counted as used until their journals say what was used; \
         on the counters that this instance makes use of, so that several instances tell the same units. \
         Not older than five seconds",
    )
    .at_zero()
    .from(ENGINE);
const SOFT_EXCEEDED: Metric = Metric::counter("sluicegate_quota_soft_exceeded_total", "crossings")
    .meaning("soft limits reached, each once in its window on each instance")
    .from(ENGINE);
const STORE_UP: Metric = Metric::gauge("sluicegate_quota_store_up", "0 or 1")
    .meaning("the store of the counters last answered")
    .from(ENGINE);
const CALLS: Metric = Metric::counter("sluicegate_quota_store_calls_total", "calls")
    .meaning("of the store of the counters")
    .from(ENGINE);
const FAILURES: Metric = Metric::counter("sluicegate_quota_store_failures_total", "calls")
    .meaning("of the store of the counters, those that failed")
    .from(ENGINE);
const EXCHANGES: Metric = Metric::counter("sluicegate_quota_exchanges_total", "exchanges")
    .meaning("in calls of the store, one for each counter told or asked")
    .from(ENGINE);
const WAITS: Metric = Metric::counter("sluicegate_quota_waits_total", "requests")
    .meaning("that had to wait for the store of the counters")
    .from(ENGINE);

/// As the page has them.
pub(super) const METRICS: &[Metric] =
    &[REFUSALS, OVERRUN, IN_DOUBT, SOFT_EXCEEDED, STORE_UP, CALLS, FAILURES, EXCHANGES, WAITS];

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
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let refusals = register.counters(&REFUSALS)?;
        let overrun = register.counters(&OVERRUN)?;
        let in_doubt = register.gauges(&IN_DOUBT)?;
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
            soft_exceeded: register.counter(&SOFT_EXCEEDED)?,
            calls: register.counter(&CALLS)?,
            exchanges: register.counter(&EXCHANGES)?,
            failures: register.counter(&FAILURES)?,
            waits: register.counter(&WAITS)?,
            store_up: register.gauge(&STORE_UP)?,
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
