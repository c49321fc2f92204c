//! Figures on requests of any kind: how many, how they ended, and what the gateway adds to them.

use std::time::Duration;

use prometheus::{Error, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use sluicegate_filters::DenialKind;
use sluicegate_filters::screen::{Health, Route};

use super::described::{Label, Metric};
use super::register::Register;
use super::series::{ByEndpoint, Kept};
use crate::dialects::Endpoint;

/// The bucket bounds of the GenAI conventions for durations, in seconds.
pub(super) const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Bounds for what we add, in seconds: 50 us to 1 s.
const OVERHEAD_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
];

/// Templates of paths, and what has none.
const ROUTE: Label = Label::listed("route", || {
    let inference = Endpoint::ALL.into_iter().map(Endpoint::path);
    let read = [Route::ModelList, Route::Model(String::new()), Route::Health(Health::Overall)];
    let mcp = [Route::Mcp(None), Route::Mcp(Some(String::new())), Route::McpTools];
    let read = read.iter().chain(&mcp).map(Route::template);
    inference.chain(read).chain(["preflight", "other"]).collect()
});
const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
/// An API for inference.
pub(super) const ENDPOINT: Label =
    Label::listed("endpoint", || Endpoint::ALL.map(Endpoint::name).to_vec());
const CODE: Label =
    Label::listed("code", || DenialKind::ALL.iter().map(|kind| kind.code()).collect())
        .described("[the codes of errors](errors.md)");

const SETTLE: &[&str] = &["src/proxy/settle.rs"];

const REQUESTS: Metric = Metric::counter("sluicegate_requests_total", "requests")
    .labels(&[ROUTE, Label::one_of("status", CLASSES)])
    .meaning("that have ended. `none`: no status was sent")
    .starts("**0** for inference")
    .from(SETTLE);
const DURATION: Metric = Metric::histogram("sluicegate_request_duration_seconds", "seconds")
    .labels(&[ROUTE])
    .meaning("from the head's last byte to the answer's end")
    .from(SETTLE);
const REFUSALS: Metric = Metric::counter("sluicegate_refusals_total", "requests")
    .labels(&[CODE])
    .meaning(
        "refused or failed by the gateway, streams that broke after their status (`stream_interrupted`) included",
    )
    .at_zero()
    .from(SETTLE);
const IN_FLIGHT: Metric = Metric::gauge("sluicegate_requests_in_flight", "requests")
    .meaning("being served")
    .from(&["src/app/mod.rs"]);
const OVERHEAD: Metric = Metric::histogram("sluicegate_overhead_seconds", "seconds")
    .labels(&[ENDPOINT])
    .meaning(
        "what the gateway adds before a provider gets the request, \
         without the waits for the caller's body and for a connection",
    )
    .from(SETTLE);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[REQUESTS, DURATION, REFUSALS, IN_FLIGHT, OVERHEAD];

/// Requests, whether they went to a provider or not.
pub struct RequestMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    refusals: IntCounterVec,
    in_flight: IntGauge,
    overhead: HistogramVec,
    inference: ByEndpoint<InferenceSeries>,
}

/// Those of one endpoint for inference.
#[derive(Default)]
struct InferenceSeries {
    /// Requests with a status of success.
    served: Kept<IntCounter>,
    duration: Kept<Histogram>,
    overhead: Kept<Histogram>,
}

impl RequestMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let requests = register.counters(&REQUESTS)?;
        // What an error budget is made of. All other combinations would be series that stay at zero.
        for endpoint in Endpoint::ALL {
            for status in ["2xx", "4xx", "5xx"] {
                requests.with_label_values(&[endpoint.path(), status]);
            }
        }
        Ok(Self {
            requests,
            duration: register.histograms(&DURATION, SECONDS)?,
            refusals: register.counters(&REFUSALS)?,
            in_flight: register.gauge(&IN_FLIGHT)?,
            overhead: register.histograms(&OVERHEAD, OVERHEAD_SECONDS)?,
            inference: ByEndpoint::default(),
        })
    }

    /// Counts a request that has ended; `endpoint` is that of the route, for one that was, or was meant to be, sent to
    /// a provider.
    pub fn ended(
        &self,
        route: &str,
        endpoint: Option<Endpoint>,
        status: u16,
        code: Option<&str>,
        duration: Duration,
    ) {
        let requests = || self.requests.with_label_values(&[route, class(status)]);
        let durations = || self.duration.with_label_values(&[route]);
        let series = endpoint.map(|endpoint| self.inference.get(endpoint));
        match (series, status) {
            (Some(series), 200..=299) => series.served.get(requests).inc(),
            _ => requests().inc(),
        }
        let seconds = duration.as_secs_f64();
        match series {
            Some(series) => series.duration.get(durations).observe(seconds),
            None => durations().observe(seconds),
        }
        if let Some(code) = code {
            self.refusals.with_label_values(&[code]).inc();
        }
    }

    /// Notes what the gateway added to a request for inference.
    pub(super) fn added(&self, endpoint: Endpoint, overhead: Duration) {
        let look_up = || self.overhead.with_label_values(&[endpoint.name()]);
        let histogram = self.inference.get(endpoint).overhead.get(look_up);
        histogram.observe(overhead.as_secs_f64());
    }

    /// Takes over how many requests are being served.
    pub fn observe(&self, in_flight: usize) {
        self.in_flight.set(in_flight.try_into().unwrap_or(i64::MAX));
    }
}

fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "none",
    }
}
