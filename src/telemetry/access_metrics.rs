//! Figures on who is let in: look-ups of credentials, decisions of policies, the audit log.

use std::sync::atomic::Ordering;

use prometheus::{Error, Gauge, IntCounter, IntGauge};
use sluicegate_filters::authorize::Permit;

use super::described::{Label, Metric};
use super::register::Register;
use crate::audit::AuditLog;
use crate::identity::Identity;

const DECISIONS: [&str; 4] =
    ["allowed", "refused_by_policy", "shadow_refused", "refused_by_credential"];
const LOOKUPS: [&str; 3] = ["found", "unknown", "unavailable"];
const AUDIT: &[&str] = &["src/audit"];

const DECIDED: Metric = Metric::counter("sluicegate_authorization_decisions_total", "requests")
    .labels(&[Label::one_of("outcome", &DECISIONS)])
    .meaning(
        "what the credential's lists and the policies said. `shadow_refused`: it passed, \
         and would not have if the policies were enforced",
    )
    .at_zero()
    .from(&["src/proxy/authorize.rs"]);
const LOOKED_UP: Metric = Metric::counter("sluicegate_credential_lookups_total", "look-ups")
    .labels(&[Label::one_of("outcome", &LOOKUPS)])
    .meaning("of credentials that were not in memory")
    .at_zero()
    .from(&["src/identity"]);
const FEED_AGE: Metric = Metric::gauge("sluicegate_store_feed_age_seconds", "seconds")
    .meaning(
        "since the feed of changes was last known to be complete: so old a block may be without being seen. \
         0 without a store",
    )
    .from(&["src/identity/feed.rs"]);
const AUDIT_WRITTEN: Metric = Metric::counter("sluicegate_audit_records_total", "records")
    .meaning("written to the audit log")
    .from(AUDIT);
const AUDIT_DROPPED: Metric = Metric::counter("sluicegate_audit_dropped_total", "events")
    .meaning("that the audit log could not take")
    .from(AUDIT);
const AUDIT_WRITABLE: Metric = Metric::gauge("sluicegate_audit_writable", "0 or 1")
    .meaning("the audit log could last be written, or there is none")
    .from(AUDIT);

/// As the page has them.
pub(super) const METRICS: &[Metric] =
    &[DECIDED, LOOKED_UP, FEED_AGE, AUDIT_WRITTEN, AUDIT_DROPPED, AUDIT_WRITABLE];

/// Handles are taken once: these are counted for each request.
pub struct AccessMetrics {
    allowed: IntCounter,
    refused: IntCounter,
    shadow_refused: IntCounter,
    refused_by_credential: IntCounter,
    /// In the order of [`LOOKUPS`].
    lookups: [IntCounter; LOOKUPS.len()],
    feed_age: Gauge,
    audit_written: IntCounter,
    audit_dropped: IntCounter,
    audit_writable: IntGauge,
}

impl AccessMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let decisions = register.counters(&DECIDED)?;
        let [allowed, refused, shadow_refused, refused_by_credential] =
            DECISIONS.map(|outcome| decisions.with_label_values(&[outcome]));
        let lookups = register.counters(&LOOKED_UP)?;
        Ok(Self {
            allowed,
            refused,
            shadow_refused,
            refused_by_credential,
            lookups: LOOKUPS.map(|outcome| lookups.with_label_values(&[outcome])),
            feed_age: register.float_gauge(&FEED_AGE)?,
            audit_written: register.counter(&AUDIT_WRITTEN)?,
            audit_dropped: register.counter(&AUDIT_DROPPED)?,
            audit_writable: register.gauge(&AUDIT_WRITABLE)?,
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
