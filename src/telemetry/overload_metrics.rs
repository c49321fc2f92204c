//! Figures on how much is taken on at once, and on who is turned away.

use prometheus::{Error, IntCounter, IntGauge};

use super::access_metrics::follow;
use super::described::{Label, Metric};
use super::register::Register;
use crate::config::valid::Limits;
use crate::overload::{Overload, Shed, memory};

const PLACES: &[&str] = &["src/overload/places.rs"];
const BODIES: &[&str] = &["src/overload/bytes.rs"];

const SERVED: Metric = Metric::gauge("sluicegate_requests_served", "requests")
    .meaning("for inference, that have a place")
    .from(PLACES);
const SERVED_LIMIT: Metric = Metric::gauge("sluicegate_requests_served_limit", "requests")
    .meaning("`limits.concurrent_requests`; 0: none")
    .from(PLACES);
const QUEUED: Metric = Metric::gauge("sluicegate_requests_queued", "requests")
    .meaning("that wait for a place")
    .from(PLACES);
const QUEUED_LIMIT: Metric = Metric::gauge("sluicegate_requests_queued_limit", "requests")
    .meaning("`limits.queue.size`")
    .from(PLACES);
const SHED: Metric = Metric::counter("sluicegate_shed_total", "requests")
    .labels(&[Label::listed("reason", || Shed::ALL.map(Shed::reason).to_vec())])
    .meaning("turned away with `overloaded` for want of room")
    .at_zero()
    .from(&["src/overload/mod.rs"]);
const BYTES: Metric = Metric::gauge("sluicegate_buffered_bytes", "bytes")
    .meaning("of request bodies that are held, translated ones included, and of translated answers")
    .from(BODIES);
const BYTES_LIMIT: Metric = Metric::gauge("sluicegate_buffered_bytes_limit", "bytes")
    .meaning("`limits.buffered_bytes`")
    .from(BODIES);

const MEMORY_LIMIT: Metric = Metric::gauge("sluicegate_memory_limit_bytes", "bytes")
    .meaning(
        "how much memory the process may have: of its control group, or of the machine; 0: not known",
    )
    .from(&["src/overload/mod.rs"]);

/// As the page has them.
pub(super) const METRICS: &[Metric] =
    &[SERVED, SERVED_LIMIT, QUEUED, QUEUED_LIMIT, SHED, BYTES, BYTES_LIMIT, MEMORY_LIMIT];

/// All is counted where it happens; these follow whenever they are shown.
pub struct OverloadMetrics {
    served: IntGauge,
    served_limit: IntGauge,
    queued: IntGauge,
    queued_limit: IntGauge,
    bytes: IntGauge,
    bytes_limit: IntGauge,
    memory_limit: IntGauge,
    shed: [(Shed, IntCounter); Shed::ALL.len()],
}

impl OverloadMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let shed = register.counters(&SHED)?;
        Ok(Self {
            served: register.gauge(&SERVED)?,
            served_limit: register.gauge(&SERVED_LIMIT)?,
            queued: register.gauge(&QUEUED)?,
            queued_limit: register.gauge(&QUEUED_LIMIT)?,
            bytes: register.gauge(&BYTES)?,
            bytes_limit: register.gauge(&BYTES_LIMIT)?,
            memory_limit: register.gauge(&MEMORY_LIMIT)?,
            shed: Shed::ALL.map(|why| (why, shed.with_label_values(&[why.reason()]))),
        })
    }

    /// Brings all up to what is true now.
    pub fn observe(&self, overload: &Overload, limits: &Limits) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.served.set(count(overload.places.taken()));
        self.served_limit.set(count(limits.concurrent_requests.unwrap_or(0)));
        self.queued.set(count(overload.places.queued()));
        self.queued_limit.set(count(limits.queue.size));
        self.bytes.set(bytes(overload.bytes.held()));
        self.bytes_limit.set(bytes(overload.bytes.limit()));
        self.memory_limit.set(bytes(memory().unwrap_or(0)));
        for (why, counter) in &self.shed {
            follow(counter, overload.count(*why));
        }
    }
}
