//! Figures on callers' connections: those that are open, refused, and ended for what came on them.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge};

use super::access_metrics::follow;
use super::described::{Label, Metric};
use super::register::Register;
use crate::config::valid::Config;
use crate::edge::{Abuse, Abuses};

const REASONS: &[&str] = &[
    "connections",
    "connections_per_ip",
    "connection_rate_per_ip",
    "tls_handshake",
    "tls_timeout",
    "malformed",
];

const OPEN: Metric = Metric::gauge("sluicegate_connections", "connections")
    .meaning("open connections of callers")
    .from(&["src/edge"]);
const LIMIT: Metric = Metric::gauge("sluicegate_connections_limit", "connections")
    .meaning("`limits.connections`")
    .from(&["src/app/mod.rs"]);
const REFUSED: Metric = Metric::counter("sluicegate_connections_refused_total", "connections")
    .labels(&[Label::one_of("reason", REASONS)])
    .meaning("closed before a request")
    .at_zero()
    .from(&["src/edge/mod.rs", "src/edge/arrivals.rs"]);
const ABORTED: Metric = Metric::counter("sluicegate_connections_aborted_total", "connections")
    .labels(&[Label::listed("reason", || Abuse::ALL.map(Abuse::reason).to_vec())])
    .meaning(
        "HTTP/2 connections that were ended for what came on them: more streams given up than answered, \
         more frames without content than anybody needs, more than the HTTP/2 library allows, what is no HTTP/2",
    )
    .at_zero()
    .from(&["src/edge/frames.rs"]);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[OPEN, LIMIT, REFUSED, ABORTED];

/// Connections, from callers to the gateway.
pub struct ConnectionMetrics {
    open: IntGauge,
    limit: IntGauge,
    refused: IntCounterVec,
    aborted: [(Abuse, IntCounter); Abuse::ALL.len()],
}

impl ConnectionMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let aborted = register.counters(&ABORTED)?;
        Ok(Self {
            open: register.gauge(&OPEN)?,
            limit: register.gauge(&LIMIT)?,
            refused: register.counters(&REFUSED)?,
            aborted: Abuse::ALL.map(|why| (why, aborted.with_label_values(&[why.reason()]))),
        })
    }

    /// Shows what a configuration bounds.
    pub(super) fn configured(&self, config: &Config) {
        self.limit.set(config.limits.connections.try_into().unwrap_or(i64::MAX));
    }

    /// Counts a connection that never got to a request.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Takes over what is counted where it happens.
    pub fn observe(&self, open: usize, abuses: &Abuses) {
        self.open.set(open.try_into().unwrap_or(i64::MAX));
        for (why, counter) in &self.aborted {
            follow(counter, abuses.count(*why));
        }
    }
}
