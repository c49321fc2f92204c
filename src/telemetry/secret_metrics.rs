//! Figures on secrets: how old each is, and how the Vault is doing that some come from.

use std::time::SystemTime;

use prometheus::{Error, Gauge, GaugeVec, IntCounter, IntGauge};
use sluicegate_vault::{Operation, Outcome, Status};

use super::access_metrics::follow;
use super::described::{Label, Metric};
use super::register::Register;
use crate::config;
use crate::config::secrets::SecretRef;
use crate::config::valid::Config;

const STATUS: &[&str] = &["vault/src/status.rs"];

const LOADED: Metric =
    Metric::gauge("sluicegate_secret_loaded_timestamp_seconds", "Unix time")
        .labels(&[Label::open("secret").described("the key of the configuration")])
        .meaning(
            "since when each secret is what it is: when its version in Vault or its file was written, \
             or the date in the file [beside it](configuration.md#how-old-a-secret-is); for a variable, \
             the start of the process. On a mounted volume of Kubernetes, a file is about as old as its pod: \
             only a date there makes the age the secret's",
        )
        .from(&["src/telemetry/secret_metrics.rs"]);
const UP: Metric = Metric::gauge("sluicegate_vault_up", "0 or 1")
    .meaning("Vault last answered and lets the gateway in, or none is configured")
    .from(STATUS);
const TOKEN_EXPIRY: Metric =
    Metric::gauge("sluicegate_vault_token_expiry_timestamp_seconds", "Unix time")
        .meaning("when the token for Vault expires unless it is renewed; 0 without one that does")
        .from(STATUS);
const REFRESHED: Metric =
    Metric::gauge("sluicegate_vault_last_refresh_timestamp_seconds", "Unix time")
        .meaning("when all secrets were last read anew from Vault; 0 before the first time")
        .from(STATUS);
const REQUESTS: Metric = Metric::counter("sluicegate_vault_requests_total", "requests")
    .labels(&[
        Label::listed("operation", || Operation::ALL.map(Operation::name).to_vec()),
        Label::listed("result", || Outcome::ALL.map(Outcome::name).to_vec()),
    ])
    .meaning(
        "to Vault. `unavailable`: sealed, a standby or failing; `unreachable`: no answer; `invalid`: one of no use",
    )
    .at_zero()
    .from(STATUS);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[LOADED, UP, TOKEN_EXPIRY, REFRESHED, REQUESTS];

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
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let requests = register.counters(&REQUESTS)?;
        let pairs = Operation::ALL.into_iter().flat_map(|operation| {
            Outcome::ALL.into_iter().map(move |outcome| (operation, outcome))
        });
        Ok(Self {
            loaded: register.float_gauges(&LOADED)?,
            up: register.gauge(&UP)?,
            token_expiry: register.float_gauge(&TOKEN_EXPIRY)?,
            refreshed: register.float_gauge(&REFRESHED)?,
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
