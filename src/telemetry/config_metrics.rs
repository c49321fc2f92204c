//! Figures on the configuration: which is in force, and what became of attempts to load another.

use prometheus::{Error, Gauge, GaugeVec, IntCounterVec, IntGauge};

use super::described::{Label, Metric};
use super::register::Register;

const FROM: &[&str] = &["src/app/mod.rs"];

const INFO: Metric = Metric::gauge("sluicegate_config_info", "1")
    .labels(&[Label::open("hash").described("SHA-256 in hex")])
    .meaning("the configuration in force; the same on instances with the same")
    .from(FROM);
const GENERATION: Metric = Metric::gauge("sluicegate_config_generation", "generation")
    .meaning("1 at the start, one more with each reload; each process counts its own")
    .from(FROM);
const RELOADS: Metric = Metric::counter("sluicegate_config_reloads_total", "reloads")
    .labels(&[Label::one_of("result", &["ok", "refused"])])
    .meaning("`ok`: put in force, the start included; `refused`: the one before stays")
    .at_zero()
    .from(FROM);
const LAST: Metric = Metric::gauge("sluicegate_config_last_reload_timestamp_seconds", "Unix time")
    .meaning("when a configuration was last put in force")
    .from(FROM);
const LAST_OK: Metric = Metric::gauge("sluicegate_config_last_reload_successful", "0 or 1")
    .meaning("the last attempt to load a configuration succeeded")
    .from(FROM);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[INFO, GENERATION, RELOADS, LAST, LAST_OK];

/// The configuration in force.
pub struct ConfigMetrics {
    info: GaugeVec,
    generation: IntGauge,
    reloads: IntCounterVec,
    last: Gauge,
    last_ok: IntGauge,
}

impl ConfigMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        Ok(Self {
            info: register.float_gauges(&INFO)?,
            generation: register.gauge(&GENERATION)?,
            reloads: register.counters(&RELOADS)?,
            last: register.float_gauge(&LAST)?,
            last_ok: register.gauge(&LAST_OK)?,
        })
    }

    /// Notes that a configuration is in force.
    pub fn in_force(&self, generation: u64, hash: &str) {
        self.generation.set(generation.try_into().unwrap_or(i64::MAX));
        self.info.reset();
        self.info.with_label_values(&[hash]).set(1.0);
        self.last.set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
        self.last_ok.set(1);
        self.reloads.with_label_values(&["ok"]).inc();
    }

    /// Notes that a configuration was refused and the one before stays in force.
    pub fn refused(&self) {
        self.last_ok.set(0);
        self.reloads.with_label_values(&["refused"]).inc();
    }
}
