//! Figures on traces: what became of them.

use prometheus::{Error, IntCounter};

use super::access_metrics::follow;
use super::described::{Label, Metric};
use super::register::Register;
use super::trace::Status;

const RESULTS: [&str; 3] = ["sent", "partial", "failed"];
const REASONS: [&str; 2] = ["rejected", "failed"];
const EXPORT: &[&str] = &["src/telemetry/trace/export.rs"];

const EXPORTED: Metric = Metric::counter("sluicegate_traces_exported_total", "traces")
    .labels(&[Label::one_of("result", &RESULTS)])
    .meaning(
        "of requests, by whether the collector took them in time. \
         `partial`: of an export of which the collector took some spans and rejected others",
    )
    .at_zero()
    .from(EXPORT);
const LOST: Metric = Metric::counter("sluicegate_trace_spans_lost_total", "spans")
    .labels(&[Label::one_of("reason", &REASONS)])
    .meaning(
        "that the collector does not have: it said that it rejected them, or did not take the export",
    )
    .at_zero()
    .from(EXPORT);
const DROPPED: Metric = Metric::counter("sluicegate_traces_dropped_total", "traces")
    .meaning("for which the queue to the collector had no room")
    .from(&["src/telemetry/trace/mod.rs"]);
const OVER: Metric = Metric::counter("sluicegate_traces_parent_limited_total", "requests")
    .meaning("whose callers asked for a trace beyond `parent_limit`; chance decided")
    .from(&["src/telemetry/trace/sample.rs"]);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[EXPORTED, LOST, DROPPED, OVER];

/// The exporter counts by itself; these follow it whenever they are shown.
pub struct TraceMetrics {
    sent: IntCounter,
    partial: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
    rejected: IntCounter,
    spans_failed: IntCounter,
    over: IntCounter,
}

impl TraceMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let exported = register.counters(&EXPORTED)?;
        let lost = register.counters(&LOST)?;
        let [sent, partial, failed] = RESULTS.map(|result| exported.with_label_values(&[result]));
        let [rejected, spans_failed] = REASONS.map(|reason| lost.with_label_values(&[reason]));
        Ok(Self {
            sent,
            partial,
            failed,
            dropped: register.counter(&DROPPED)?,
            rejected,
            spans_failed,
            over: register.counter(&OVER)?,
        })
    }

    /// Takes over what became of traces.
    pub fn observe(&self, status: Status) {
        follow(&self.sent, status.sent);
        follow(&self.partial, status.partial);
        follow(&self.failed, status.failed);
        follow(&self.rejected, status.spans_rejected);
        follow(&self.spans_failed, status.spans_failed);
        follow(&self.dropped, status.dropped);
        follow(&self.over, status.over);
    }
}
