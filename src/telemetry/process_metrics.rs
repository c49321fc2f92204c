//! Figures on the process: whether it is leaving, its threads, and what the kernel says of it.

use prometheus::{Error, IntCounter, IntGauge};

use super::access_metrics::follow;
use super::described::Metric;
use super::register::Register;

const FROM: &[&str] = &["src/app/mod.rs"];

const DRAINING: Metric =
    Metric::gauge("sluicegate_draining", "0 or 1").meaning("the process is leaving").from(FROM);
const WORKER_THREADS: Metric =
    Metric::gauge("sluicegate_worker_threads", "threads").meaning("that carry requests").from(FROM);
const LOG_DROPPED: Metric = Metric::counter("sluicegate_access_log_dropped_total", "lines")
    .meaning("of the access log that were not written")
    .from(&["src/telemetry/access_log.rs"]);

/// As the page has them: what the process knows.
pub(super) const METRICS: &[Metric] = &[DRAINING, WORKER_THREADS, LOG_DROPPED];

/// As the page has them: what the collector of Prometheus' library asks the kernel for, by names of its own.
pub(super) const KERNEL: &[Metric] = &[
    of_kernel(Metric::counter("process_cpu_seconds_total", "seconds"), "CPU, user and system"),
    of_kernel(Metric::gauge("process_open_fds", "descriptors"), "open"),
    of_kernel(Metric::gauge("process_max_fds", "descriptors"), "that may be open"),
    of_kernel(Metric::gauge("process_virtual_memory_bytes", "bytes"), "address space"),
    of_kernel(Metric::gauge("process_resident_memory_bytes", "bytes"), "memory"),
    of_kernel(Metric::gauge("process_start_time_seconds", "Unix time"), "start"),
    of_kernel(Metric::gauge("process_threads", "threads"), "all of them"),
];

const fn of_kernel(metric: Metric, meaning: &'static str) -> Metric {
    metric.meaning(meaning).from(&["the kernel"])
}

/// The process as a whole.
pub struct ProcessMetrics {
    draining: IntGauge,
    worker_threads: IntGauge,
    log_dropped: IntCounter,
}

impl ProcessMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        #[cfg(target_os = "linux")]
        register.foreign(prometheus::process_collector::ProcessCollector::for_self())?;
        Ok(Self {
            draining: register.gauge(&DRAINING)?,
            worker_threads: register.gauge(&WORKER_THREADS)?,
            log_dropped: register.counter(&LOG_DROPPED)?,
        })
    }

    /// Tells how many threads carry requests. They are as many for as long as the process lives.
    pub fn started_with(&self, threads: usize) {
        self.worker_threads.set(threads.try_into().unwrap_or(i64::MAX));
    }

    /// Notes that the process is leaving.
    pub fn leaving(&self) {
        self.draining.set(1);
    }

    /// Takes over how many lines of the access log were not written.
    pub fn observe(&self, log_dropped: u64) {
        follow(&self.log_dropped, log_dropped);
    }
}
