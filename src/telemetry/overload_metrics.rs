//! Figures on how much is taken on at once, and on who is turned away.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::access_metrics::follow;
use crate::config::valid::Limits;
use crate::edge::{Abuse, Abuses};
use crate::overload::{Overload, Shed};

/// All is counted where it happens; these follow whenever they are shown.
pub struct OverloadMetrics {
    served: IntGauge,
    served_limit: IntGauge,
    queued: IntGauge,
    queue_limit: IntGauge,
    bytes: IntGauge,
    bytes_limit: IntGauge,
    memory_limit: IntGauge,
    shed: [(Shed, IntCounter); Shed::ALL.len()],
    aborted: [(Abuse, IntCounter); Abuse::ALL.len()],
}

impl OverloadMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let shed = IntCounterVec::new(
            Opts::new("shed_total", "Requests that were turned away for want of room, by reason."),
            &["reason"],
        )?;
        registry.register(Box::new(shed.clone()))?;
        let aborted = IntCounterVec::new(
            Opts::new(
                "connections_aborted_total",
                "HTTP/2 connections that were ended, by reason.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(aborted.clone()))?;
        Ok(Self {
            served: gauge("requests_served", "Requests for inference that have a place.")?,
            served_limit: gauge("requests_served_limit", "Places that there are; 0: no limit.")?,
            queued: gauge("requests_queued", "Requests that wait for a place.")?,
            queue_limit: gauge("requests_queued_limit", "Requests that may wait for a place.")?,
            bytes: gauge("buffered_bytes", "Bytes of request bodies that are held.")?,
            bytes_limit: gauge(
                "buffered_bytes_limit",
                "Bytes of request bodies that may be held.",
            )?,
            memory_limit: gauge(
                "memory_limit_bytes",
                "Memory that the process may have; 0: not known.",
            )?,
            shed: Shed::ALL.map(|why| (why, shed.with_label_values(&[why.reason()]))),
            aborted: Abuse::ALL.map(|why| (why, aborted.with_label_values(&[why.reason()]))),
        })
    }

    /// Brings all up to what is true now.
    pub fn observe(&self, overload: &Overload, abuses: &Abuses, limits: &Limits) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.served.set(count(overload.places.taken()));
        self.served_limit.set(count(limits.concurrent_requests.unwrap_or(0)));
        self.queued.set(count(overload.places.queued()));
        self.queue_limit.set(count(limits.queue.size));
        self.bytes.set(bytes(overload.bytes.held()));
        self.bytes_limit.set(bytes(overload.bytes.limit()));
        self.memory_limit.set(bytes(overload.memory().unwrap_or(0)));
        for (why, counter) in &self.shed {
            follow(counter, overload.count(*why));
        }
        for (why, counter) in &self.aborted {
            follow(counter, abuses.count(*why));
        }
    }
}
