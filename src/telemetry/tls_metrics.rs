//! Figures on certificates: until when each is good, and what came of changes to their files.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus::{Error, GaugeVec, IntCounterVec, IntGaugeVec};

use super::described::{Label, Metric};
use super::register::Register;
use crate::tls::{Kind, Listener};

const FROM: &[&str] = &["src/telemetry/tls_metrics.rs"];
const RESULTS: &[&str] = &["ok", "refused"];
const OWNER_KIND: Label = Label::one_of("kind", &[LISTENER, PROVIDER]);
const OWNER_NAME: Label =
    Label::open("name").described("the provider, or the listener (proxy, admin or metrics)");

const NOT_AFTER: Metric =
    Metric::gauge("sluicegate_tls_certificate_not_after_timestamp_seconds", "Unix time")
        .labels(&[
            Label::listed("kind", || Kind::ALL.map(Kind::as_str).to_vec()),
            Label::open("name").described(
                "the provider, the listener (proxy, admin or metrics), vault, redis, postgres, postgres_replica, the issuer, or the MCP server",
            ),
        ])
        .meaning("until when a certificate is good: [tls.md](tls.md#when-certificates-expire)")
        .from(FROM);
const RELOADS: Metric = Metric::counter("sluicegate_tls_reloads_total", "reloads")
    .labels(&[OWNER_KIND, OWNER_NAME, Label::one_of("result", RESULTS)])
    .meaning("of changed certificates, keys and authorities. `refused`: what was in use stays")
    .at_zero()
    .from(FROM);
const LAST_RELOAD_OK: Metric = Metric::gauge("sluicegate_tls_last_reload_successful", "0 or 1")
    .labels(&[OWNER_KIND, OWNER_NAME])
    .meaning("what is in the files of certificates, keys and authorities is in use")
    .from(FROM);
const CHECKS: Metric = Metric::counter("sluicegate_tls_upstream_checks_total", "handshakes")
    .labels(&[
        Label::open("name").described("the provider"),
        Label::one_of("result", &["ok", "failed"]),
    ])
    .meaning(
        "looks at a provider's certificate. `failed`: it did not pass, or the provider did not answer",
    )
    .from(FROM);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[NOT_AFTER, RELOADS, LAST_RELOAD_OK, CHECKS];

const LISTENER: &str = "listener";
const PROVIDER: &str = "provider";

/// Whose files are loaded together, and refused together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A listener.
    Listener(Listener),
    /// The provider of that name.
    Provider(&'a str),
}

impl<'a> Owner<'a> {
    /// The values of the labels `kind` and `name`.
    fn labels(self) -> [&'a str; 2] {
        match self {
            Self::Listener(listener) => [LISTENER, listener.name()],
            Self::Provider(name) => [PROVIDER, name],
        }
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        self.labels()[1]
    }
}

/// Certificates, and reloads of them.
pub struct TlsMetrics {
    not_after: GaugeVec,
    reloads: IntCounterVec,
    last_reload_ok: IntGaugeVec,
    checks: IntCounterVec,
    /// What `not_after` shows.
    shown: Mutex<BTreeMap<(Kind, String), i64>>,
}

impl TlsMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        Ok(Self {
            not_after: register.float_gauges(&NOT_AFTER)?,
            reloads: register.counters(&RELOADS)?,
            last_reload_ok: register.gauges(&LAST_RELOAD_OK)?,
            checks: register.counters(&CHECKS)?,
            shown: Mutex::default(),
        })
    }

    /// Shows the series of all who have files, at zero, and no others: a new generation has read all
    /// of them.
    pub fn configured<'a>(&self, owners: impl Iterator<Item = Owner<'a>>) {
        self.last_reload_ok.reset();
        for owner in owners {
            let [kind, name] = owner.labels();
            for result in RESULTS {
                self.reloads.with_label_values(&[kind, name, result]);
            }
            self.last_reload_ok.with_label_values(&[kind, name]).set(1);
        }
    }

    /// Counts a change that is in use.
    pub fn reloaded(&self, owner: Owner<'_>) {
        self.count(owner, "ok");
        self.restored(owner);
    }

    /// Notes that the files hold what is in use again.
    pub fn restored(&self, owner: Owner<'_>) {
        self.last_reload_ok.with_label_values(&owner.labels()).set(1);
    }

    /// Counts a change that was refused.
    pub fn refused(&self, owner: Owner<'_>) {
        self.count(owner, "refused");
        self.last_reload_ok.with_label_values(&owner.labels()).set(0);
    }

    fn count(&self, owner: Owner<'_>, result: &str) {
        let [kind, name] = owner.labels();
        self.reloads.with_label_values(&[kind, name, result]).inc();
    }

    /// Takes over until when our own certificates are good; forgets those that are gone, and what was
    /// seen of providers that `is_checked` does not know.
    pub fn certificates(
        &self,
        own: BTreeMap<(Kind, String), i64>,
        is_checked: impl Fn(&str) -> bool,
    ) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|key, _| {
            let (kind, name) = key;
            let keep = own.contains_key(key) || *kind == Kind::Upstream && is_checked(name);
            if !keep {
                self.not_after.remove_label_values(&[kind.as_str(), name]).ok();
            }
            keep
        });
        for ((kind, name), not_after) in own {
            self.show(kind, &name, not_after);
            shown.insert((kind, name), not_after);
        }
    }

    /// Takes over what a provider showed. `None`: nothing was seen, and what was seen before stays.
    pub fn checked(&self, provider: &str, ok: bool, not_after: Option<i64>) {
        let result = if ok { "ok" } else { "failed" };
        self.checks.with_label_values(&[provider, result]).inc();
        let Some(not_after) = not_after else { return };
        self.show(Kind::Upstream, provider, not_after);
        let key = (Kind::Upstream, provider.to_owned());
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(key, not_after);
    }

    fn show(&self, kind: Kind, name: &str, not_after: i64) {
        self.not_after.with_label_values(&[kind.as_str(), name]).set(not_after as f64);
    }
}
