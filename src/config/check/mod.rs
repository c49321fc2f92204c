//! From the tree to [`Config`]: each section's keys, defaults and rules stand in one file.
//!
//! Sections are read in the order of the documentation. Rules between sections come after both have
//! been read, and are reported at the place of the one that should change.

use std::path::PathBuf;

use super::named::PemFiles;
use super::node::Node;
use super::reader::{Cursor, Fields, Keys, Reader};
use super::report::Report;
use super::secrets::Resolver;
use super::valid::{Config, Environment, PairFiles};

pub(super) mod access;
pub(super) mod clouds;
pub(super) mod cors;
pub(super) mod health_check;
pub(super) mod jwt;
pub(super) mod ledger;
pub(super) mod limits;
pub(super) mod listeners;
pub(super) mod mcp;
pub(super) mod models;
pub(super) mod policies;
pub(super) mod prices;
pub(super) mod providers;
pub(super) mod quota_store;
pub(super) mod quotas;
pub(super) mod secrets;
pub(super) mod stores;
pub(super) mod telemetry;
pub(super) mod when;

/// The keys of the file.
pub(super) const KEYS: Keys = Keys {
    known: &[
        "environment",
        "secrets",
        "listeners",
        "shutdown",
        "workers",
        "limits",
        "cors",
        "request_headers",
        "store",
        "quota_store",
        "auth",
        "admin",
        "policies",
        "audit",
        "ledger",
        "budgets",
        "quotas",
        "answers",
        "prices",
        "telemetry",
        "providers",
        "models",
        "mcp",
    ],
    renamed: &[
        ("env", "environment"),
        ("server", "listeners"),
        ("listener", "listeners"),
        ("listen", "listeners.proxy.address"),
        ("bind", "listeners.proxy.address"),
        ("address", "listeners.proxy.address"),
        ("host", "listeners.proxy.address"),
        ("port", "listeners.proxy.address"),
        ("tls", "listeners.proxy.tls"),
        ("metrics", "listeners.metrics"),
        ("grace_period", "shutdown.timeout"),
        ("shutdown_timeout", "shutdown.timeout"),
        ("shutdown_timeout_seconds", "shutdown.timeout"),
        ("threads", "workers.threads"),
        ("max_request_size", "limits.request_size"),
        ("max_request_size_bytes", "limits.request_size"),
        ("cors_origins", "cors.origins"),
        ("headers", "request_headers"),
        ("authentication", "auth"),
        ("master_key", "admin.master_key"),
        ("general_settings", "admin"),
        ("router_settings", "models.<name>.retries"),
        ("provider", "providers"),
        ("upstreams", "providers"),
        ("model", "models"),
        ("model_list", "models"),
        ("database", "store"),
        ("database_url", "store.postgres.url"),
        ("sqlite", "store.sqlite"),
        ("postgres", "store.postgres"),
        ("keys", "auth.keys"),
        ("pepper", "auth.keys.pepper"),
        ("salt_key", "auth.keys.pepper"),
        ("redis", "quota_store.redis"),
        ("policy", "policies"),
        ("cedar", "policies"),
        ("audit_log", "audit"),
        ("audit_logs", "audit"),
        ("journal", "ledger"),
        ("spend_logs", "ledger"),
        ("budget", "budgets"),
        ("quota", "quotas"),
        ("rate_limits", "quotas"),
        ("pricing", "prices"),
        ("price", "prices"),
        ("traces", "telemetry.traces"),
        ("tracing", "telemetry.traces"),
        ("otlp", "telemetry.traces"),
        ("opentelemetry", "telemetry.traces"),
        ("mcp_servers", "mcp.targets"),
        ("mcpservers", "mcp.targets"),
        ("mcp_gateway", "mcp"),
        ("mcp_config", "mcp"),
        ("vault", "secrets.vault"),
        ("openbao", "secrets.vault"),
        ("hashicorp_vault", "secrets.vault"),
    ],
    later: &[],
};

const ENVIRONMENTS: [(&str, Environment); 3] = [
    ("development", Environment::Development),
    ("staging", Environment::Staging),
    ("production", Environment::Production),
];

/// Reads a whole configuration. What it gives is only good if `report` has no errors.
pub(super) fn check(root: &Node, resolver: &dyn Resolver, report: &mut Report) -> Config {
    let mut reader = Reader { report, resolver, production: false, vault_is_wrong: false };
    let root = Cursor::root(root);
    let fields = reader.fields(&root, &KEYS);
    let environment = fields.get("environment").and_then(|at| reader.choice(&at, &ENVIRONMENTS));
    let environment = environment.unwrap_or(Environment::Development);
    reader.production = environment == Environment::Production;

    // Before anything that may be a reference into it.
    let secrets = secrets::secrets(&mut reader, fields.get("secrets").as_ref());
    let listeners = listeners::listeners(&mut reader, fields.get("listeners"));
    let shutdown = limits::shutdown(&mut reader, fields.get("shutdown"));
    let workers = limits::workers(&mut reader, fields.get("workers"));
    let limits = limits::limits(&mut reader, fields.get("limits"));
    let cors = cors::cors(&mut reader, fields.get("cors"));
    let request_headers = access::request_headers(&mut reader, fields.get("request_headers"));
    let store = stores::store(&mut reader, fields.get("store").as_ref());
    let quota_store = quota_store::quota_store(&mut reader, fields.get("quota_store").as_ref());
    let (auth, admin) = access::access(&mut reader, &root, &fields);
    let policies = policies::policies(&mut reader, fields.get("policies"));
    let audit = stores::audit(&mut reader, &root, fields.get("audit").as_ref());
    let ledger = ledger::ledger(&mut reader, fields.get("ledger").as_ref());
    let budgets = prices::budgets(&mut reader, fields.get("budgets").as_ref());
    let answers = prices::answers(&mut reader, fields.get("answers").as_ref());
    let prices = prices::prices(&mut reader, fields.get("prices").as_ref());
    let telemetry = telemetry::telemetry(&mut reader, fields.get("telemetry").as_ref());
    let providers = providers::providers(&mut reader, fields.get("providers"));
    let mcp = mcp::mcp(&mut reader, fields.get("mcp").as_ref());
    let has_tools = !mcp.targets.is_empty();
    let models = models::models(&mut reader, fields.get("models"), &providers, has_tools);
    // All names, so that a mistake in a model is not a mistake in its quota, too.
    let named = fields.get("models").filter(|at| !at.is_broken()).map(|at| reader.map(&at));
    let named: Vec<&str> = named.iter().flat_map(Fields::named).map(|(name, _)| name).collect();
    let quotas = quotas::quotas(&mut reader, fields.get("quotas").as_ref(), &providers, &named);
    Config {
        environment,
        secrets,
        listeners,
        shutdown,
        workers,
        limits,
        cors,
        request_headers,
        store,
        quota_store,
        auth,
        admin,
        policies,
        audit,
        ledger,
        budgets,
        quotas,
        answers,
        prices,
        telemetry,
        providers: providers.valid,
        models,
        mcp,
    }
}

/// The keys of the section at `at`; of an absent one, none.
fn section<'n>(
    reader: &mut Reader<'_>,
    at: Option<&Cursor<'n>>,
    keys: &Keys,
) -> Option<Fields<'n>> {
    at.map(|at| reader.fields(at, keys))
}

/// The value of `key` as `read` reads it.
fn value<'n, T>(
    reader: &mut Reader<'_>,
    fields: Option<&Fields<'n>>,
    key: &str,
    read: impl FnOnce(&mut Reader<'_>, &Cursor<'n>) -> Option<T>,
) -> Option<T> {
    let at = fields?.get(key)?;
    read(reader, &at)
}

/// A certificate and its key, which the section at `at` names and can't do without.
fn pair(reader: &mut Reader<'_>, fields: &Fields<'_>, at: &Cursor<'_>) -> Option<PairFiles> {
    let mut file = |key| {
        let Some(at) = fields.get(key) else {
            let message = format!("`{key}` is missing");
            reader.report.error(at.key, &at.path, message, "give the path of a PEM file");
            return None;
        };
        let path = reader.file(&at)?;
        Some(reader.report.named(at.place(), &at.path, &path))
    };
    let (certificate, key) = (file("certificate"), file("key"));
    let (certificate, key) = (certificate?, key?);
    let files = PairFiles { certificate: certificate.path.clone(), key: key.path.clone() };
    reader.report.certificates.push(PemFiles::Pair { certificate, key });
    Some(files)
}

/// The file of authorities that `at` names.
fn authorities(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<PathBuf> {
    let path = reader.file(at)?;
    let named = reader.report.named(at.place(), &at.path, &path);
    reader.report.certificates.push(PemFiles::Authorities(named));
    Some(path)
}

/// The value of `key`, which the section at `at` can't do without.
fn required<'n>(
    reader: &mut Reader<'_>,
    at: &Cursor<'n>,
    fields: &Fields<'n>,
    key: &str,
    hint: &str,
) -> Option<Cursor<'n>> {
    let found = fields.get(key);
    if found.is_none() && !at.is_broken() {
        reader.report.error(at.key, &at.path, format!("`{key}` is missing"), hint);
    }
    found
}
