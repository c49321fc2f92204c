//! Every figure on `/metrics`. Labels are bounded: routes, endpoints, configured models and
//! providers, stable words. Never a key, a user, a path or a model name as a stranger sent it.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder,
};

use super::access_metrics::AccessMetrics;
use super::ledger_metrics::LedgerMetrics;
use super::overload_metrics::OverloadMetrics;
use super::quota_metrics::QuotaMetrics;
use super::route_metrics::RouteMetrics;
use super::secret_metrics::SecretMetrics;
use super::tls_metrics::TlsMetrics;
use super::trace_metrics::TraceMetrics;
use crate::chat::Usage;
use crate::config::valid::Config;
use crate::dialects::Endpoint;
use crate::proxy::ctx::End;

/// The bucket bounds of the GenAI conventions for durations, in seconds.
const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Bounds for what we add, in seconds: 50 us to 1 s.
const OVERHEAD: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
];
/// The conventions' bounds for the time from the request to the first token, in seconds.
const FIRST_TOKEN: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// The conventions' bounds for the time per output token, in seconds.
const PER_TOKEN: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// The conventions' bounds for token counts.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The process's metrics.
pub struct Metrics {
    /// Ours, under a prefix; and those whose whole names are fixed elsewhere.
    registries: [Registry; 2],
    requests: IntCounterVec,
    request_duration: HistogramVec,
    refusals: IntCounterVec,
    connections_refused: IntCounterVec,
    /// Requests being served.
    pub in_flight: IntGauge,
    /// Open connections of clients.
    pub connections: IntGauge,
    connections_limit: IntGauge,
    worker_threads: IntGauge,
    exchanges: IntCounterVec,
    attempts: IntCounterVec,
    upstream_connections: IntCounterVec,
    overhead: HistogramVec,
    tokens: IntCounterVec,
    cost: IntCounterVec,
    estimated: IntCounterVec,
    unpriced: IntCounterVec,
    genai_tokens: HistogramVec,
    genai_duration: HistogramVec,
    genai_first_token: HistogramVec,
    genai_per_token: HistogramVec,
    generation: IntGauge,
    config_info: GaugeVec,
    reloads: IntCounterVec,
    last_reload: Gauge,
    last_reload_ok: IntGauge,
    /// 1 while draining.
    pub draining: IntGauge,
    /// Log lines that were not written.
    pub log_dropped: IntCounter,
    /// Who is let in.
    pub access: AccessMetrics,
    /// What limits do.
    pub quotas: QuotaMetrics,
    /// What was used and paid.
    pub ledger: LedgerMetrics,
    /// How much is taken on at once.
    pub overload: OverloadMetrics,
    /// How targets do.
    pub routes: RouteMetrics,
    /// How old secrets are, and where they come from.
    pub secrets: SecretMetrics,
    /// Certificates: until when they are good, and whether changes of them are taken.
    pub tls: TlsMetrics,
    /// What becomes of traces.
    pub traces: TraceMetrics,
}

/// What is counted of a request that went, or was meant, to a provider.
pub struct Inference<'a> {
    /// Which API.
    pub endpoint: Endpoint,
    /// The configured model.
    pub model: &'a str,
    /// The provider of the last attempt.
    pub provider: &'a str,
    /// How it ended.
    pub end: End,
    /// The status that the caller got.
    pub status: u16,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// Whether the last call's connection came from the pool; `None` without a connection.
    pub reused: Option<bool>,
    /// In all.
    pub duration: Duration,
    /// To the first content.
    pub first_token: Option<Duration>,
    /// What the gateway added.
    pub overhead: Option<Duration>,
    /// Tokens of the last attempt.
    pub usage: Option<Usage>,
    /// Whether they, or some of an attempt before, are an estimate.
    pub estimated: bool,
    /// What all attempts cost.
    pub nano_usd: u64,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only where two metrics here have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("sluicegate".into()), None)?;
        // The GenAI conventions fix whole names, so these have no prefix of ours.
        let genai = Registry::new();
        let made = Self {
            requests: counters(
                &registry,
                "requests_total",
                "Requests by route and status class.",
                &["route", "status"],
            )?,
            request_duration: histogram(
                &registry,
                "request_duration_seconds",
                "From a request's header to the end of its answer.",
                &["route"],
                SECONDS,
            )?,
            refusals: counters(
                &registry,
                "refusals_total",
                "Requests that the gateway refused or failed, by stable error code.",
                &["code"],
            )?,
            connections_refused: counters(
                &registry,
                "connections_refused_total",
                "Connections closed before a request, by reason.",
                &["reason"],
            )?,
            in_flight: gauge(&registry, "requests_in_flight", "Requests being served.")?,
            connections: gauge(&registry, "connections", "Open connections of clients.")?,
            connections_limit: gauge(
                &registry,
                "connections_limit",
                "Connections of clients that may be open.",
            )?,
            worker_threads: gauge(&registry, "worker_threads", "Threads that carry requests.")?,
            exchanges: counters(
                &registry,
                "exchanges_total",
                "Inference requests by how they ended.",
                &["endpoint", "model", "provider", "stream", "end"],
            )?,
            attempts: counters(
                &registry,
                "upstream_attempts_total",
                "Calls made to providers.",
                &["provider"],
            )?,
            upstream_connections: counters(
                &registry,
                "upstream_connections_total",
                "Connections to providers by whether they came from the pool.",
                &["provider", "reused"],
            )?,
            overhead: histogram(
                &registry,
                "overhead_seconds",
                "Time added by the gateway before the provider's request is sent.",
                &["endpoint"],
                OVERHEAD,
            )?,
            tokens: counters(
                &registry,
                "tokens_total",
                "Tokens by kind, as reported by providers.",
                &["model", "provider", "kind"],
            )?,
            cost: counters(
                &registry,
                "cost_nano_usd_total",
                "What requests cost, in billionths of a US dollar, estimates included.",
                &["model", "provider"],
            )?,
            estimated: counters(
                &registry,
                "estimated_usage_total",
                "Requests whose tokens are an estimate, for want of the provider's word.",
                &["model", "provider"],
            )?,
            unpriced: counters(
                &registry,
                "unpriced_requests_total",
                "Requests under a budget for a model without a price, by whether they were refused.",
                &["model", "refused"],
            )?,
            genai_tokens: histogram(
                &genai,
                "gen_ai_client_token_usage",
                "Tokens of one call.",
                &["gen_ai_request_model", "gen_ai_provider_name", "gen_ai_token_type"],
                TOKENS,
            )?,
            genai_duration: histogram(
                &genai,
                "gen_ai_server_request_duration_seconds",
                "Duration of one call.",
                &["gen_ai_request_model", "gen_ai_provider_name"],
                SECONDS,
            )?,
            genai_first_token: histogram(
                &genai,
                "gen_ai_server_time_to_first_token_seconds",
                "From the request to the first token, of streams.",
                &["gen_ai_request_model", "gen_ai_provider_name"],
                FIRST_TOKEN,
            )?,
            genai_per_token: histogram(
                &genai,
                "gen_ai_server_time_per_output_token_seconds",
                "Time per token after the first, of streams.",
                &["gen_ai_request_model", "gen_ai_provider_name"],
                PER_TOKEN,
            )?,
            generation: gauge(&registry, "config_generation", "The configuration in force.")?,
            config_info: {
                let info = Opts::new("config_info", "The hash of the configuration in force.");
                let info = GaugeVec::new(info, &["hash"])?;
                registry.register(Box::new(info.clone()))?;
                info
            },
            reloads: counters(
                &registry,
                "config_reloads_total",
                "Attempts to load a configuration, by result.",
                &["result"],
            )?,
            last_reload: {
                let time = Gauge::new(
                    "config_last_reload_timestamp_seconds",
                    "When a configuration was last put in force.",
                )?;
                registry.register(Box::new(time.clone()))?;
                time
            },
            last_reload_ok: gauge(
                &registry,
                "config_last_reload_successful",
                "1 where the last attempt to load a configuration succeeded.",
            )?,
            draining: gauge(&registry, "draining", "1 while the process is leaving.")?,
            log_dropped: {
                let dropped =
                    IntCounter::new("access_log_dropped_total", "Log lines not written.")?;
                registry.register(Box::new(dropped.clone()))?;
                dropped
            },
            access: AccessMetrics::new(&registry)?,
            quotas: QuotaMetrics::new(&registry)?,
            ledger: LedgerMetrics::new(&registry)?,
            overload: OverloadMetrics::new(&registry)?,
            routes: RouteMetrics::new(&registry)?,
            secrets: SecretMetrics::new(&registry)?,
            tls: TlsMetrics::new(&registry)?,
            traces: TraceMetrics::new(&registry)?,
            registries: [registry, genai],
        };
        #[cfg(target_os = "linux")]
        made.registries[1]
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        made.start_at_zero();
        Ok(made)
    }

    /// An alert on a rate misses the first event of a series that did not exist before it.
    fn start_at_zero(&self) {
        for result in ["ok", "refused"] {
            self.reloads.with_label_values(&[result]);
        }
        for reason in [
            "connections",
            "connections_per_ip",
            "connection_rate_per_ip",
            "tls_handshake",
            "tls_timeout",
            "malformed",
        ] {
            self.connections_refused.with_label_values(&[reason]);
        }
        for kind in sluicegate_filters::DenialKind::ALL {
            self.refusals.with_label_values(&[kind.code()]);
        }
        for endpoint in Endpoint::ALL {
            for status in ["2xx", "4xx", "5xx"] {
                self.requests.with_label_values(&[endpoint.path(), status]);
            }
        }
    }

    /// Tells how many threads carry requests. They are as many for as long as the process lives.
    pub fn started_with(&self, threads: usize) {
        self.worker_threads.set(threads.try_into().unwrap_or(i64::MAX));
    }

    /// Shows what a configuration bounds, and the series of what it names, at zero.
    pub fn configured(&self, config: &Config) {
        let connections = config.limits.connections;
        self.connections_limit.set(connections.try_into().unwrap_or(i64::MAX));
        for model in config.models.keys() {
            for refused in ["true", "false"] {
                self.unpriced.with_label_values(&[model.as_str(), refused]);
            }
        }
        for provider in config.providers.keys() {
            self.attempts.with_label_values(&[provider.as_str()]);
            for reused in ["true", "false"] {
                self.upstream_connections.with_label_values(&[provider.as_str(), reused]);
            }
        }
    }

    /// Counts a request of any kind.
    pub fn request(&self, route: &str, status: u16, code: Option<&str>, duration: Duration) {
        self.requests.with_label_values(&[route, class(status)]).inc();
        self.request_duration.with_label_values(&[route]).observe(duration.as_secs_f64());
        if let Some(code) = code {
            self.refusals.with_label_values(&[code]).inc();
        }
    }

    /// Counts an attempt at a provider.
    pub fn attempt(&self, provider: &str) {
        self.attempts.with_label_values(&[provider]).inc();
    }

    /// Counts a request for inference.
    pub fn inference(&self, it: &Inference<'_>) {
        let (model, provider) = (it.model, it.provider);
        let stream = if it.stream { "true" } else { "false" };
        self.exchanges
            .with_label_values(&[it.endpoint.name(), model, provider, stream, it.end.as_str()])
            .inc();
        if let Some(reused) = it.reused {
            let reused = if reused { "true" } else { "false" };
            self.upstream_connections.with_label_values(&[provider, reused]).inc();
        }
        if let Some(overhead) = it.overhead {
            let endpoint = [it.endpoint.name()];
            self.overhead.with_label_values(&endpoint).observe(overhead.as_secs_f64());
        }
        let call = [model, provider];
        let duration = it.duration.as_secs_f64();
        self.genai_duration.with_label_values(&call).observe(duration);
        let first = it.first_token.filter(|_| it.stream).map(|first| first.as_secs_f64());
        if let Some(first) = first {
            self.genai_first_token.with_label_values(&call).observe(first);
        }
        if it.nano_usd > 0 {
            self.cost.with_label_values(&[model, provider]).inc_by(it.nano_usd);
        }
        if it.estimated {
            self.estimated.with_label_values(&[model, provider]).inc();
        }
        let Some(usage) = it.usage.filter(|_| !it.estimated) else { return };
        if let (Some(first), 2..) = (first, usage.output) {
            let each = (duration - first) / (usage.output - 1) as f64;
            self.genai_per_token.with_label_values(&call).observe(each);
        }
        for (kind, tokens) in [("input", usage.total_input()), ("output", usage.output)] {
            self.genai_tokens.with_label_values(&[model, provider, kind]).observe(tokens as f64);
        }
        for (kind, tokens) in usage.kinds() {
            if tokens > 0 {
                self.tokens.with_label_values(&[model, provider, kind]).inc_by(tokens);
            }
        }
    }

    /// Counts a request under a budget for a model without a price.
    pub fn unpriced(&self, model: &str, refused: bool) {
        let refused = if refused { "true" } else { "false" };
        self.unpriced.with_label_values(&[model, refused]).inc();
    }

    /// Counts a connection that never got to a request.
    pub fn connection_refused(&self, reason: &str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// Notes that a configuration is in force.
    pub fn config_in_force(&self, generation: u64, hash: &str) {
        self.generation.set(generation.try_into().unwrap_or(i64::MAX));
        self.config_info.reset();
        self.config_info.with_label_values(&[hash]).set(1.0);
        self.last_reload.set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
        self.last_reload_ok.set(1);
        self.reloads.with_label_values(&["ok"]).inc();
    }

    /// Notes that a configuration was refused and the one before stays in force.
    pub fn config_refused(&self) {
        self.last_reload_ok.set(0);
        self.reloads.with_label_values(&["refused"]).inc();
    }

    /// The text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        for registry in &self.registries {
            if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
                tracing::error!(%error, "metrics not encoded");
            }
        }
        text
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

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let made = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let made = IntGauge::new(name, help)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let made = HistogramVec::new(opts, labels)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}
