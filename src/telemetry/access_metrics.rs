//! Figures on who is let in: look-ups of credentials, decisions of policies, the audit log.

use std::sync::atomic::Ordering;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sluicegate_filters::authorize::Permit;

use crate::audit::AuditLog;
use crate::identity::Identity;

/// Handles are taken once: these are counted for each request.
pub struct AccessMetrics {
    allowed: IntCounter,
    refused: IntCounter,
    shadow_refused: IntCounter,
    refused_by_credential: IntCounter,
    lookups: [IntCounter; 3],
    feed_age: Gauge,
    audit_written: IntCounter,
    audit_dropped: IntCounter,
    audit_writable: IntGauge,
}

impl AccessMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str| {
            let made = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let decisions = counters(
            "authorization_decisions_total",
            "Requests for inference by what credential and policies said.",
        )?;
        let lookups = counters(
            "credential_lookups_total",
            "Credentials that were not in memory, by what the store said.",
        )?;
        let feed_age = Gauge::new(
            "store_feed_age_seconds",
            "Time since the store's changes were last known to be complete.",
        )?;
        registry.register(Box::new(feed_age.clone()))?;
        let counter = |name: &str, help: &str| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let audit_written = counter("audit_records_total", "Records of the audit log.")?;
        let audit_dropped =
            counter("audit_dropped_total", "Events that the audit log could not take.")?;
        let audit_writable =
            IntGauge::new("audit_writable", "1 where the audit log could last be written.")?;
        registry.register(Box::new(audit_writable.clone()))?;
        Ok(Self {
            allowed: decisions.with_label_values(&["allowed"]),
            refused: decisions.with_label_values(&["refused_by_policy"]),
            shadow_refused: decisions.with_label_values(&["shadow_refused"]),
            refused_by_credential: decisions.with_label_values(&["refused_by_credential"]),
            lookups: ["found", "unknown", "unavailable"]
                .map(|outcome| lookups.with_label_values(&[outcome])),
            feed_age,
            audit_written,
            audit_dropped,
            audit_writable,
        })
    }

    /// Counts a request that may go on.
    pub fn permitted(&self, permit: &Permit) {
        let shadow = permit.shadow_refusal().is_some();
        if shadow { &self.shadow_refused } else { &self.allowed }.inc();
    }

    /// Counts a request that may not.
    pub fn refused(&self, by_policy: bool) {
        if by_policy { &self.refused } else { &self.refused_by_credential }.inc();
    }

    /// Takes over what `identity` counts by itself.
    pub fn observe(&self, identity: &Identity, has_store: bool, audit: &AuditLog) {
        let counts = identity.counts();
        let counted = [&counts.found, &counts.unknown, &counts.unavailable];
        for (metric, count) in self.lookups.iter().zip(counted) {
            follow(metric, count.load(Ordering::Relaxed));
        }
        follow(&self.audit_written, audit.written());
        follow(&self.audit_dropped, audit.dropped());
        self.audit_writable.set(i64::from(audit.is_writable()));
        if has_store {
            self.feed_age.set(identity.feed_age_ms() as f64 / 1e3);
        }
    }
}

/// Brings a metric up to a count that is kept elsewhere.
pub(super) fn follow(metric: &IntCounter, count: u64) {
    metric.inc_by(count - metric.get().min(count));
}
