//! Figures on who is let in: look-ups of credentials, decisions of policies.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry};
use sluicegate_filters::authorize::Permit;

use crate::identity::Identity;

/// Handles are taken once: these are counted for each request.
pub struct AccessMetrics {
    allowed: IntCounter,
    refused: IntCounter,
    shadow_refused: IntCounter,
    refused_by_credential: IntCounter,
    lookups: [IntCounter; 3],
    feed_age: Gauge,
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
        Ok(Self {
            allowed: decisions.with_label_values(&["allowed"]),
            refused: decisions.with_label_values(&["refused_by_policy"]),
            shadow_refused: decisions.with_label_values(&["shadow_refused"]),
            refused_by_credential: decisions.with_label_values(&["refused_by_credential"]),
            lookups: ["found", "unknown", "unavailable"]
                .map(|outcome| lookups.with_label_values(&[outcome])),
            feed_age,
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
    pub fn observe(&self, identity: &Identity, has_store: bool) {
        let counts = identity.counts();
        let counted = [&counts.found, &counts.unknown, &counts.unavailable];
        for (metric, count) in self.lookups.iter().zip(counted) {
            follow(metric, count);
        }
        if has_store {
            self.feed_age.set(identity.feed_age_ms() as f64 / 1e3);
        }
    }
}

/// Brings a metric up to a count that is kept elsewhere.
fn follow(metric: &IntCounter, count: &AtomicU64) {
    let count = count.load(Ordering::Relaxed);
    metric.inc_by(count - metric.get().min(count));
}
