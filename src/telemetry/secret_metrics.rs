//! Figures on secrets: how old each is, and how the Vault is doing that some come from.

use std::time::SystemTime;

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sluicegate_vault::{Operation, Outcome, Status};

use super::access_metrics::follow;
use crate::config;
use crate::config::secrets::SecretRef;
use crate::config::valid::Config;

/// The client of Vault counts by itself; these follow it whenever they are shown.
pub struct SecretMetrics {
    loaded: GaugeVec,
    up: IntGauge,
    token_expiry: Gauge,
    refreshed: Gauge,
    requests: Vec<(Operation, Outcome, IntCounter)>,
    /// Since when a secret is known that has no date of its own: a variable, a literal.
    started: SystemTime,
}

impl SecretMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let made = Gauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let loaded = Opts::new(
            "secret_loaded_timestamp_seconds",
            "Since when each secret of the configuration is what it is.",
        );
        let loaded = GaugeVec::new(loaded, &["secret"])?;
        registry.register(Box::new(loaded.clone()))?;
        let help = "1 where Vault last answered and lets the gateway in, or none is needed.";
        let up = IntGauge::new("vault_up", help)?;
        registry.register(Box::new(up.clone()))?;
        let requests = IntCounterVec::new(
            Opts::new("vault_requests_total", "Requests to Vault."),
            &["operation", "result"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        let pairs = Operation::ALL.into_iter().flat_map(|operation| {
            Outcome::ALL.into_iter().map(move |outcome| (operation, outcome))
        });
        Ok(Self {
            loaded,
            up,
            token_expiry: gauge(
                "vault_token_expiry_timestamp_seconds",
                "When the token for Vault expires unless it is renewed; 0 without such a token.",
            )?,
            refreshed: gauge(
                "vault_last_refresh_timestamp_seconds",
                "When all secrets were last read from Vault; 0 where they were not yet.",
            )?,
            requests: pairs
                .map(|(operation, outcome)| {
                    let labels = [operation.name(), outcome.name()];
                    (operation, outcome, requests.with_label_values(&labels))
                })
                .collect(),
            started: SystemTime::now(),
        })
    }

    /// Takes over the secrets of a configuration.
    pub fn observe(&self, config: &Config) {
        self.loaded.reset();
        for (path, secret) in config::secrets_of(config) {
            if !matches!(secret.reference, SecretRef::Public(_)) {
                let since = secret.since.unwrap_or(self.started);
                set(&self.loaded.with_label_values(&[&path]), since);
            }
        }
    }

    /// Takes over how Vault is doing; `None` where there is none.
    pub fn observe_vault(&self, status: Option<&Status>) {
        let Some(status) = status else {
            self.up.set(1);
            self.token_expiry.set(0.0);
            self.refreshed.set(0.0);
            return;
        };
        self.up.set(i64::from(status.up));
        for (metric, time) in
            [(&self.token_expiry, status.token_expires), (&self.refreshed, status.refreshed)]
        {
            set(metric, time.unwrap_or(SystemTime::UNIX_EPOCH));
        }
        for (operation, outcome, metric) in &self.requests {
            follow(metric, status.count(*operation, *outcome));
        }
    }
}

fn set(metric: &Gauge, time: SystemTime) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metric.set(since.as_secs_f64());
}
