//! Figures on traces: what became of them.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::access_metrics::follow;
use super::trace::Status;

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
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let exported = Opts::new(
            "traces_exported_total",
            "Traced requests that were sent to the collector, by whether it took them.",
        );
        let exported = IntCounterVec::new(exported, &["result"])?;
        registry.register(Box::new(exported.clone()))?;
        let lost =
            Opts::new("trace_spans_lost_total", "Spans that the collector does not have, by why.");
        let lost = IntCounterVec::new(lost, &["reason"])?;
        registry.register(Box::new(lost.clone()))?;
        let counter = |name: &str, help: &str| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        Ok(Self {
            sent: exported.with_label_values(&["sent"]),
            partial: exported.with_label_values(&["partial"]),
            rejected: lost.with_label_values(&["rejected"]),
            spans_failed: lost.with_label_values(&["failed"]),
            failed: exported.with_label_values(&["failed"]),
            dropped: counter(
                "traces_dropped_total",
                "Traced requests for which the queue to the collector had no room.",
            )?,
            over: counter(
                "traces_parent_limited_total",
                "Requests whose callers asked for a trace beyond `parent_limit`.",
            )?,
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
