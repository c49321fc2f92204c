//! Figures on calls of providers: how they ended and how long they took.

use prometheus::{Error, Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::described::{BOOL, Label, MODEL, Metric, PROVIDER};
use super::metrics::Inference;
use super::register::Register;
use super::request_metrics::{ENDPOINT, SECONDS};
use super::series::{ByEndpoint, Kept, TargetSeries};
use crate::config::valid::Config;
use crate::proxy::ctx::End;

/// The conventions' bounds for the time from the request to the first token, in seconds.
const FIRST_TOKEN_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// The conventions' bounds for the time per output token, in seconds.
const PER_TOKEN_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// The names that the GenAI conventions have for model and provider.
pub(super) const CALL: [Label; 2] =
    [Label::open("gen_ai_request_model"), Label::open("gen_ai_provider_name")];

const SETTLE: &[&str] = &["src/proxy/settle.rs"];

const EXCHANGES: Metric = Metric::counter("sluicegate_exchanges_total", "requests")
    .labels(&[
        ENDPOINT,
        MODEL,
        PROVIDER,
        Label::one_of("stream", BOOL),
        Label::listed("end", || End::ALL.map(End::as_str).to_vec()),
    ])
    .meaning(
        "requests for inference that were let in, by how they ended. `rejected`: the provider found fault with \
         what the request says (400, 413, 415, 422); `upstream_error`: its other errors",
    )
    .from(SETTLE);
const ATTEMPTS: Metric = Metric::counter("sluicegate_upstream_attempts_total", "calls")
    .labels(&[PROVIDER])
    .meaning("calls of providers, each counted for the one that was called")
    .at_zero()
    .from(&["src/proxy/route.rs"]);
const CONNECTIONS: Metric = Metric::counter("sluicegate_upstream_connections_total", "connections")
    .labels(&[PROVIDER, Label::one_of("reused", BOOL)])
    .meaning("connections that calls went over, by whether they were open already")
    .at_zero()
    .from(SETTLE);
const DURATION: Metric = Metric::histogram("gen_ai_server_request_duration_seconds", "seconds")
    .labels(&CALL)
    .meaning("whole exchanges")
    .from(SETTLE);
const FIRST_TOKEN: Metric =
    Metric::histogram("gen_ai_server_time_to_first_token_seconds", "seconds")
        .labels(&CALL)
        .meaning("from the request to the first content, of streams")
        .from(SETTLE);
const PER_TOKEN: Metric =
    Metric::histogram("gen_ai_server_time_per_output_token_seconds", "seconds")
        .labels(&CALL)
        .meaning("per token after the first, of streams")
        .from(SETTLE);

/// As the page has them: what is counted.
pub(super) const METRICS: &[Metric] = &[EXCHANGES, ATTEMPTS, CONNECTIONS];
/// As the page has them: what is measured.
pub(super) const DURATIONS: &[Metric] = &[DURATION, FIRST_TOKEN, PER_TOKEN];

/// Requests for inference, as providers are concerned.
pub struct ProviderMetrics {
    exchanges: IntCounterVec,
    attempts: IntCounterVec,
    connections: IntCounterVec,
    duration: HistogramVec,
    first_token: HistogramVec,
    per_token: HistogramVec,
}

/// Those of one target.
#[derive(Default)]
pub(super) struct ProviderSeries {
    attempts: Kept<IntCounter>,
    /// New connections, and those from the pool.
    connections: [Kept<IntCounter>; 2],
    /// Requests that were answered in full: with a document, and with a stream.
    complete: ByEndpoint<[Kept<IntCounter>; 2]>,
    duration: Kept<Histogram>,
    first_token: Kept<Histogram>,
    per_token: Kept<Histogram>,
}

impl ProviderMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        Ok(Self {
            exchanges: register.counters(&EXCHANGES)?,
            attempts: register.counters(&ATTEMPTS)?,
            connections: register.counters(&CONNECTIONS)?,
            duration: register.histograms(&DURATION, SECONDS)?,
            first_token: register.histograms(&FIRST_TOKEN, FIRST_TOKEN_SECONDS)?,
            per_token: register.histograms(&PER_TOKEN, PER_TOKEN_SECONDS)?,
        })
    }

    /// Shows the series of the providers that a configuration names, at zero.
    pub(super) fn configured(&self, config: &Config) {
        for provider in config.providers.keys() {
            self.attempts.with_label_values(&[provider.as_str()]);
            for reused in BOOL {
                self.connections.with_label_values(&[provider.as_str(), reused]);
            }
        }
    }

    /// Counts an attempt at a target, which is one of this provider's.
    pub fn attempt(&self, series: &TargetSeries, provider: &str) {
        let attempts = || self.attempts.with_label_values(&[provider]);
        series.provider.attempts.get(attempts).inc();
    }

    /// Counts a request for inference that has ended.
    pub(super) fn ended(&self, it: &Inference<'_>) {
        let (model, provider, series) = (it.model, it.provider, &it.series.provider);
        let ended = || {
            let (endpoint, stream) = (it.endpoint.name(), word(it.stream));
            let labels = [endpoint, model, provider, stream, it.end.as_str()];
            self.exchanges.with_label_values(&labels)
        };
        match it.end {
            End::Complete => {
                series.complete.get(it.endpoint)[usize::from(it.stream)].get(ended).inc();
            }
            _ => ended().inc(),
        }
        if let Some(reused) = it.reused {
            let connections = || self.connections.with_label_values(&[provider, word(reused)]);
            series.connections[usize::from(reused)].get(connections).inc();
        }
        let call = [model, provider];
        let duration = it.duration.as_secs_f64();
        series.duration.get(|| self.duration.with_label_values(&call)).observe(duration);
        let Some(first) = it.first_token.filter(|_| it.stream) else { return };
        let first = first.as_secs_f64();
        series.first_token.get(|| self.first_token.with_label_values(&call)).observe(first);
        if let Some(output @ 2..) = it.output {
            let each = (duration - first) / (output - 1) as f64;
            series.per_token.get(|| self.per_token.with_label_values(&call)).observe(each);
        }
    }
}

/// The value of a label that says whether.
pub(super) fn word(is_so: bool) -> &'static str {
    if is_so { "true" } else { "false" }
}
