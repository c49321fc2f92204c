//! Every figure on `/metrics`. Labels are bounded: routes, endpoints, configured models and
//! providers, stable words. Never a key, a user, a path or a model name as a stranger sent it.

use std::time::Duration;

use prometheus::{Encoder, Error, Registry, TextEncoder};

use super::access_metrics::AccessMetrics;
use super::config_metrics::ConfigMetrics;
use super::connection_metrics::ConnectionMetrics;
use super::ledger_metrics::LedgerMetrics;
use super::mcp_metrics::McpMetrics;
use super::overload_metrics::OverloadMetrics;
use super::process_metrics::ProcessMetrics;
use super::provider_metrics::ProviderMetrics;
use super::quota_metrics::QuotaMetrics;
use super::register::Register;
use super::request_metrics::RequestMetrics;
use super::route_metrics::RouteMetrics;
use super::secret_metrics::SecretMetrics;
use super::series::TargetSeries;
use super::tls_metrics::TlsMetrics;
use super::trace_metrics::TraceMetrics;
use super::usage_metrics::UsageMetrics;
use crate::config::valid::Config;
use crate::dialects::Endpoint;
use crate::proxy::ctx::End;

/// The process's metrics.
pub struct Metrics {
    registry: Registry,
    /// Requests of any kind.
    pub requests: RequestMetrics,
    /// Callers' connections.
    pub connections: ConnectionMetrics,
    /// How much is taken on at once.
    pub overload: OverloadMetrics,
    /// Calls of providers.
    pub providers: ProviderMetrics,
    /// How targets do.
    pub routes: RouteMetrics,
    /// What is asked of MCP servers.
    pub mcp: McpMetrics,
    /// What is used of models.
    pub usage: UsageMetrics,
    /// What limits do.
    pub quotas: QuotaMetrics,
    /// What was used and paid.
    pub ledger: LedgerMetrics,
    /// Who is let in.
    pub access: AccessMetrics,
    /// The configuration in force.
    pub config: ConfigMetrics,
    /// How old secrets are, and where they come from.
    pub secrets: SecretMetrics,
    /// Certificates: until when they are good, and whether changes of them are taken.
    pub tls: TlsMetrics,
    /// What becomes of traces.
    pub traces: TraceMetrics,
    /// The process as a whole.
    pub process: ProcessMetrics,
}

/// What is counted of a request that went, or was meant, to a provider.
pub struct Inference<'a> {
    /// Which API.
    pub endpoint: Endpoint,
    /// The configured model.
    pub model: &'a str,
    /// The provider of the last attempt.
    pub provider: &'a str,
    /// Those of the last attempt's target.
    pub series: &'a TargetSeries,
    /// How it ended.
    pub end: End,
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
    /// The tokens that came out of the last attempt, where its provider has told.
    pub output: Option<u64>,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only where two metrics here have one name, or one is not what it is described as.
    pub fn new() -> Result<Self, Error> {
        Self::registered(&mut Register::default())
    }

    pub(super) fn registered(register: &mut Register) -> Result<Self, Error> {
        Ok(Self {
            registry: register.registry().clone(),
            requests: RequestMetrics::new(register)?,
            connections: ConnectionMetrics::new(register)?,
            overload: OverloadMetrics::new(register)?,
            providers: ProviderMetrics::new(register)?,
            routes: RouteMetrics::new(register)?,
            mcp: McpMetrics::new(register)?,
            usage: UsageMetrics::new(register)?,
            quotas: QuotaMetrics::new(register)?,
            ledger: LedgerMetrics::new(register)?,
            access: AccessMetrics::new(register)?,
            config: ConfigMetrics::new(register)?,
            secrets: SecretMetrics::new(register)?,
            tls: TlsMetrics::new(register)?,
            traces: TraceMetrics::new(register)?,
            process: ProcessMetrics::new(register)?,
        })
    }

    /// Shows what a configuration bounds, and the series of what it names, at zero.
    pub fn configured(&self, config: &Config) {
        self.connections.configured(config);
        self.providers.configured(config);
        self.mcp.configured(config);
        self.usage.configured(config);
    }

    /// Counts a request for inference.
    pub fn inference(&self, it: &Inference<'_>) {
        if let Some(overhead) = it.overhead {
            self.requests.added(it.endpoint, overhead);
        }
        self.providers.ended(it);
    }

    /// The text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics not encoded");
        }
        text
    }
}
