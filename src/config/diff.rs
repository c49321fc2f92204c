//! What a reload would change, and whether a reload is enough.

use std::collections::BTreeSet;
use std::fmt;

use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;

use super::effective;
use super::report::join;
use super::valid::mcp::{Target, Transport};
use super::valid::{Api, Config, Prices, Redis, RedisServers, RedisUrl, Secret, Store};

/// Keys that only a new process takes up, with everything below them. Sockets are bound, threads
/// started and files opened once; certificates and authorities are read again whenever they change.
const RESTART: [&str; 17] = [
    "listeners.proxy.address",
    "listeners.proxy.h2c",
    "listeners.admin.address",
    "listeners.metrics.address",
    "workers.threads",
    "store",
    "quota_store",
    "auth.keys",
    "audit",
    "ledger",
    "telemetry.traces.endpoint",
    "telemetry.traces.protocol",
    "telemetry.traces.headers",
    "telemetry.traces.timeout",
    "telemetry.traces.queue",
    "telemetry.traces.service_name",
    "telemetry.traces.attributes",
];

/// Keys that HTTP/1 takes up with its next connections. What bounds HTTP/2 is Pingora's, and is set once.
const IN_PART: [&str; 2] = ["limits.header_size", "limits.keepalive_timeout"];

/// One key whose effective value differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key.
    pub path: String,
    /// Its value before, as JSON; `None` where it was absent. Secrets are shown as references.
    pub from: Option<String>,
    /// Its value after, as JSON; `None` where it is absent.
    pub to: Option<String>,
    /// What it takes.
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        write!(f, "{}: {} -> {}", self.path, shown(&self.from), shown(&self.to))?;
        match self.effect {
            Effect::Live => Ok(()),
            Effect::InPart => f.write_str(" (HTTP/2 needs a restart)"),
            Effect::Restart => f.write_str(" (needs a restart)"),
        }
    }
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// On reload.
    Live,
    /// On reload, but over HTTP/2 when the process starts again.
    #[serde(rename = "in_part")]
    InPart,
    /// When the process starts again.
    Restart,
}

/// What going from `a` to `b` would change, in the order of the paths. A secret whose value differs
/// behind the same reference counts as a change, and shows neither value.
pub fn diff(a: &Config, b: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let value = |config| serde_json::to_value(effective::raw(config)).unwrap_or_default();
    compare("", Some(&value(a)), Some(&value(b)), &mut changes);
    let known: BTreeSet<String> = changes.iter().map(|change| change.path.clone()).collect();
    let before = secrets(a);
    for (path, secret) in secrets(b) {
        let old = before.iter().find(|(other, _)| *other == path).map(|(_, old)| old);
        if !known.contains(&path)
            && let Some(old) = old
            && old.value.expose_secret() != secret.value.expose_secret()
        {
            let shown = format!("\"{}\"", secret.reference);
            let (from, to) = (Some(shown.clone()), Some(format!("{shown} (another value)")));
            let effect = effect(&path);
            changes.push(Change { path, from, to, effect });
        }
    }
    changes.extend(prices(a, b));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

/// Another content of the same file of prices.
fn prices(a: &Config, b: &Config) -> Option<Change> {
    let (a, b) = (a.prices.as_ref()?, b.prices.as_ref()?);
    let differ = a.file == b.file && a.content.version() != b.content.version();
    let shown = |prices: &Prices| Some(format!("{:?} ({})", prices.file, prices.content.version()));
    let path = "prices.file".to_owned();
    differ.then(|| Change { path, from: shown(a), to: shown(b), effect: Effect::Live })
}

fn compare(path: &str, from: Option<&Value>, to: Option<&Value>, changes: &mut Vec<Change>) {
    if from == to {
        return;
    }
    if let (Some(Value::Object(from)), Some(Value::Object(to))) = (from, to) {
        let keys: BTreeSet<_> = from.keys().chain(to.keys()).collect();
        for key in keys {
            compare(&join(path, key), from.get(key), to.get(key), changes);
        }
        return;
    }
    let shown = |value: Option<&Value>| value.map(ToString::to_string);
    let effect = effect(path);
    changes.push(Change { path: path.to_owned(), from: shown(from), to: shown(to), effect });
}

fn effect(path: &str) -> Effect {
    // TLS as a whole coming or going changes what the socket speaks, and traces what is started.
    let whole = matches!(
        path,
        "listeners.proxy.tls"
            | "listeners.admin.tls"
            | "listeners.metrics.tls"
            | "telemetry"
            | "telemetry.traces"
    );
    let below = |key: &str| path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    let restart = whole || RESTART.iter().any(|key| path == *key || below(key));
    if restart {
        Effect::Restart
    } else if IN_PART.contains(&path) {
        Effect::InPart
    } else {
        Effect::Live
    }
}

/// Every secret with its path.
pub fn secrets(config: &Config) -> Vec<(String, &Secret)> {
    let mut secrets = Vec::new();
    let mut add = |path: String, secret| secrets.push((path, secret));
    if let Some(role_id) = config.secrets.vault.as_ref().and_then(|vault| vault.role_id.as_ref()) {
        add("secrets.vault.auth.approle.role_id".to_owned(), role_id);
    }
    if let Some(token) = &config.listeners.metrics.bearer_token {
        add("listeners.metrics.bearer_token".to_owned(), token);
    }
    if let Some(key) = &config.admin.master_key {
        add("admin.master_key".to_owned(), key);
    }
    if let Some(Store::Postgres { url, replica_url, .. }) = &config.store {
        add("store.postgres.url".to_owned(), url);
        if let Some(url) = replica_url {
            add("store.postgres.replica_url".to_owned(), url);
        }
    }
    for (path, secret) in config.quota_store.redis.iter().flat_map(redis_secrets) {
        add(format!("quota_store.redis.{path}"), secret);
    }
    let keys = &config.auth.keys;
    for (key, pepper) in [("pepper", &keys.pepper), ("previous_pepper", &keys.previous_pepper)] {
        // Without a store they are not in the effective configuration either.
        if let Some(pepper) = pepper.as_ref().filter(|_| config.store.is_some()) {
            add(join("auth.keys", key), pepper);
        }
    }
    for (name, value) in config.telemetry.traces.iter().flat_map(|traces| &traces.headers) {
        add(join("telemetry.traces.headers", name.as_str()), value);
    }
    for (name, provider) in &config.providers {
        let path = join("providers", name);
        if let Some(key) = &provider.api_key {
            add(join(&path, "api_key"), key);
        }
        let headers = join(&path, "headers");
        for (name, value) in &provider.headers {
            add(join(&headers, name.as_str()), value);
        }
        for (key, value) in cloud_secrets(&provider.api) {
            add(join(&path, key), value);
        }
    }
    for (name, target) in &config.mcp.targets {
        let path = join("mcp.targets", name);
        for (key, value) in target_secrets(target) {
            add(format!("{path}.{key}"), value);
        }
    }
    secrets
}

/// Those of an MCP server, with their paths in it.
fn target_secrets(target: &Target) -> Vec<(String, &Secret)> {
    match &target.transport {
        Transport::Http(http) => {
            let headers = http.headers.iter();
            let headers = headers.map(|(name, value)| (join("headers", name.as_str()), value));
            let key = http.api_key.as_ref().map(|key| ("api_key".to_owned(), key));
            let query = http.query.iter().map(|(name, value)| (join("query", name), value));
            key.into_iter().chain(headers).chain(query).collect()
        }
        Transport::Stdio(stdio) => {
            let variables = stdio.environment.iter();
            variables.map(|(name, value)| (join("environment", name), value)).collect()
        }
    }
}

/// Those of a provider's cloud, with their paths in the provider.
fn cloud_secrets(api: &Api) -> Vec<(&'static str, &Secret)> {
    match api {
        Api::OpenAi | Api::Anthropic | Api::Gemini => Vec::new(),
        Api::AzureOpenAi(azure) => azure.entra.as_ref().map_or_else(Vec::new, |entra| {
            vec![
                ("entra.tenant_id", &entra.tenant_id),
                ("entra.client_id", &entra.client_id),
                ("entra.client_secret", &entra.client_secret),
            ]
        }),
        Api::Bedrock(bedrock) => bedrock.keys.as_ref().map_or_else(Vec::new, |keys| {
            let token = keys.session_token.as_ref().map(|token| ("aws.session_token", token));
            let keys = [
                ("aws.access_key_id", &keys.access_key_id),
                ("aws.secret_access_key", &keys.secret_access_key),
            ];
            keys.into_iter().chain(token).collect()
        }),
        Api::Vertex(vertex) => vec![("service_account", &vertex.service_account.document)],
    }
}

/// Those of `quota_store.redis`, with their paths in it.
fn redis_secrets(redis: &Redis) -> Vec<(String, &Secret)> {
    let listed = |key: &str, urls: &'_ [RedisUrl]| -> Vec<String> {
        (0..urls.len()).map(|index| format!("{key}[{index}]")).collect()
    };
    let (paths, urls) = match &redis.servers {
        RedisServers::One(url) => (vec!["url".to_owned()], std::slice::from_ref(url)),
        RedisServers::Cluster(nodes) => (listed("cluster", nodes), &nodes[..]),
        RedisServers::Sentinel { nodes, .. } => (listed("sentinel.nodes", nodes), &nodes[..]),
    };
    let mut secrets: Vec<_> = paths
        .into_iter()
        .zip(urls)
        .filter_map(|(path, url)| match url {
            RedisUrl::Written(_) => None,
            RedisUrl::Secret(secret) => Some((path, secret)),
        })
        .collect();
    if let RedisServers::Sentinel { username, password, .. } = &redis.servers {
        let login = [("sentinel.username", username), ("sentinel.password", password)];
        let login = login.into_iter().filter_map(|(path, secret)| Some((path, secret.as_ref()?)));
        secrets.extend(login.map(|(path, secret)| (path.to_owned(), secret)));
    }
    secrets
}
