//! The whole way from a file to a configuration.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::reader::Keys;
use super::secrets::{SecretError, SecretRef};
use super::valid::{AuthStyle, Environment, RetryOn};
use super::*;
use crate::providers::dialect::ProviderDialect;

mod jwt;
mod mcp;
mod prices;
mod quota_store;
mod quotas;
mod secrets;
mod stores;
mod telemetry;

const DEVELOPMENT: &str = include_str!("../../conf/sluicegate.yaml");
const PRODUCTION: &str = include_str!("../../conf/production.yaml");
const DEMO: &str = include_str!("../../conf/demo.yaml");
const MCP: &str = include_str!("../../conf/mcp.yaml");
const SCHEMA: &str = include_str!("../../docs/config.schema.json");
const DOCUMENTATION: &str = include_str!("../../docs/configuration.md");

/// 64 hexadecimal digits, as a good master key has.
const STRONG: &str = "5d1c0a9be7f24836a1b93cd0e85f7264909af1c37be2d4865036ca71fd98e42b";
/// Another one, as a pepper has.
const PEPPER: &str = "b04e97d1f3a85c2760e91bd48f2a76c35d08e1b9427fc6a31895d0e7ba63f42c";
const DATABASE_URL: &str =
    "postgres://gate:hidden-database@db.example.com/gate?sslmode=verify-full";

fn env() -> Env {
    Env::from_iter([
        ("SLUICEGATE_MASTER_KEY", STRONG),
        ("WEAK_KEY", "sk-1234"),
        ("SLUICEGATE_KEY_PEPPER", PEPPER),
        ("DATABASE_URL", DATABASE_URL),
        ("REDIS_USER", "gate"),
        ("REDIS_PASSWORD", "hidden-redis-password"),
        ("DATABASE_REPLICA_URL", "postgresql://gate:hidden-replica@[::1]/gate?sslmode=disable"),
        ("OPENAI_API_KEY", "sk-hidden-openai"),
        ("ANTHROPIC_API_KEY", "sk-hidden-anthropic"),
        ("XAI_API_KEY", "sk-hidden-xai"),
        ("METRICS_TOKEN", "hidden-metrics-token"),
        ("OPENAI_PROJECT", "hidden-project"),
        ("VAULT_ROLE_ID", "hidden-role-id"),
        ("GITHUB_TOKEN", "hidden-github-token"),
        ("BRAVE_API_KEY", "hidden-brave-key"),
        ("SIMULATOR_KEY", "hidden-simulator-key"),
        ("SIMULATOR_URL", "http://127.0.0.1:4000"),
    ])
}

fn env_with(name: &str, value: &str) -> Env {
    let env = env();
    let set: Vec<_> = env.names().map(|name| (name, env.get(name).unwrap())).collect();
    set.into_iter().chain([(name, value)]).collect()
}

/// A Vault that has whatever is asked for: what the variable of the reference's name says, or a value
/// like any other.
struct Full {
    local: LocalResolver,
    env: Env,
    leads: Cell<bool>,
}

impl Resolver for Full {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Vault(_) if self.leads.get() => {
                let value = self.env.get(&reference.to_string()).unwrap_or("sk-hidden-in-vault");
                Ok(Secret { reference: reference.clone(), value: value.into(), since: None })
            }
            _ => self.local.resolve(reference),
        }
    }

    fn lead_to(&self, _vault: &sluicegate_vault::Options) {
        self.leads.set(true);
    }
}

/// As [`load_str`], with a full Vault.
fn load_with(text: &str, env: &Env) -> Result<Loaded, Problems> {
    let local = LocalResolver::new(env.clone());
    load("c.yaml", text, env, &Full { local, env: env.clone(), leads: Cell::new(false) })
}

fn loaded(text: &str) -> Loaded {
    load_with(text, &env()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems_with(text: &str, env: &Env) -> Vec<String> {
    match load_with(text, env) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn problems(text: &str) -> Vec<String> {
    problems_with(text, &env())
}

/// Asserts that `text` in an otherwise good file has exactly this problem. Lines count from the
/// first of `text`.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let rest = if text.contains("auth:") { "" } else { "\nauth: { anonymous: true }\n" };
    assert_eq!(problems(&format!("{text}{rest}")), [expected], "{text}");
}

/// As [`refused`], in production.
#[track_caller]
fn refused_in_production(text: &str, expected: &str) {
    let key = "\nadmin: { master_key: \"env:SLUICEGATE_MASTER_KEY\" }\n";
    let rest = if text.contains("admin:") { "" } else { key };
    let text = format!("{text}{rest}\nenvironment: production\n");
    assert_eq!(problems(&text), [expected], "{text}");
    // The same file passes elsewhere: it is the environment that refuses it.
    let elsewhere = text.replace("environment: production", "environment: staging");
    assert_eq!(problems(&elsewhere), [""; 0], "{elsewhere}");
}

#[test]
fn the_examples_load() {
    for (name, text) in
        [("sluicegate", DEVELOPMENT), ("production", PRODUCTION), ("demo", DEMO), ("mcp", MCP)]
    {
        let first = text.lines().next().unwrap();
        assert_eq!(first, "# yaml-language-server: $schema=../docs/config.schema.json", "{name}");
        let loaded = loaded(text);
        assert_eq!(loaded.warnings, [], "{name}");
    }
    let config = loaded(PRODUCTION).config;
    assert_eq!(config.environment, Environment::Production);
    assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["anthropic", "openai", "xai"]);
    let sizes = ["/v1/responses", "/v1/embeddings"].map(|path| {
        let route = config.limits.routes.get(path);
        route.map_or(config.limits.request_size, |route| route.request_size)
    });
    assert_eq!(sizes, [8 << 20, 1 << 20]);
    let demo = loaded(DEMO).config;
    assert!(demo.auth.anonymous);
    assert_eq!(demo.providers["simulator-openai"].base_url.port, 4000);
    let names: Vec<_> = demo.models.keys().map(String::as_str).collect();
    assert_eq!(names, ["claude-sim", "claude-sonnet-4-5", "gpt-4o-mini", "sim-1"]);
}

#[test]
fn the_production_example_spells_out_every_key_that_has_no_file_behind_it() {
    let written: Value = serde_saphyr::from_str(PRODUCTION).unwrap();
    let effective = serde_json::to_value(effective::raw(&loaded(PRODUCTION).config)).unwrap();
    for section in effective.as_object().unwrap().keys().filter(|key| *key != "workers") {
        assert!(written.get(section).is_some(), "{section}");
    }
    for key in effective["limits"].as_object().unwrap().keys() {
        assert!(written["limits"].get(key).is_some(), "{key}");
    }
}

#[test]
fn defaults() {
    let config = loaded("auth: { anonymous: true }\n").config;
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.listeners.proxy.address.to_string(), "127.0.0.1:8080");
    assert_eq!(config.listeners.admin.address.to_string(), "127.0.0.1:8081");
    assert_eq!(config.listeners.metrics.address.to_string(), "127.0.0.1:9464");
    let loopback: Vec<_> = config.listeners.admin.allow.iter().map(ToString::to_string).collect();
    assert_eq!(loopback, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(config.listeners.metrics.allow, config.listeners.admin.allow);
    assert!(!config.listeners.proxy.h2c && config.listeners.proxy.tls.is_none());
    assert!(config.listeners.proxy.trusted_proxies.is_empty());
    assert_eq!(config.shutdown.timeout, Duration::from_secs(30));
    assert!(config.workers.threads >= 1);
    let limits = &config.limits;
    assert_eq!((limits.request_size, limits.header_size), (1 << 20, 64 << 10));
    assert_eq!((limits.connections_per_ip, limits.connections), (1_000, 20_000));
    assert_eq!(limits.header_timeout, Duration::from_secs(10));
    assert_eq!(limits.body_timeout, Duration::from_secs(30));
    assert_eq!(limits.keepalive_timeout, Duration::from_secs(60));
    assert_eq!(limits.write_timeout, Duration::from_secs(30));
    assert!(limits.connection_rate_per_ip.is_none());
    assert!(limits.requests_per_ip.is_none() && limits.requests_per_connection.is_none());
    assert!(limits.concurrent_requests.is_none() && limits.buffered_bytes.is_none());
    assert_eq!((limits.queue.size, limits.queue.timeout), (1_000, Duration::from_secs(5)));
    assert!(config.cors.origins.is_empty() && !config.cors.credentials);
    assert_eq!(config.cors.max_age, Duration::from_secs(600));
    assert!(config.request_headers.allow.is_empty());
}

#[test]
fn a_well_known_provider_needs_only_its_key() {
    let text = "
auth: { anonymous: true }
providers:
  anthropic: { api_key: \"env:ANTHROPIC_API_KEY\" }
  mistral: { api_key: \"env:OPENAI_API_KEY\" }
  ollama:
models:
  claude: { targets: [{ provider: anthropic, model: claude-sonnet-4-5 }] }
  llama3: { targets: [{ provider: ollama }] }
";
    let config = loaded(text).config;
    let anthropic = &config.providers["anthropic"];
    assert_eq!(anthropic.api.dialect(), ProviderDialect::Anthropic);
    assert_eq!(anthropic.base_url.authority, "api.anthropic.com");
    assert_eq!(anthropic.auth, AuthStyle::Header(http::HeaderName::from_static("x-api-key")));
    let key = anthropic.api_key.as_ref().unwrap();
    assert_eq!(key.value.expose_secret(), "sk-hidden-anthropic");
    assert!(!config.providers["mistral"].stream_usage);
    assert!(config.providers["ollama"].api_key.is_none());
    let model = &config.models["claude"];
    assert_eq!((model.dialect, model.targets[0].weight), (ProviderDialect::Anthropic, 1));
    assert_eq!((model.retries.attempts, model.retries.on.len()), (2, 4));
    assert_eq!(model.timeouts.total, Duration::from_secs(600));
    assert_eq!(config.models["llama3"].targets[0].model, "llama3");
}

#[test]
fn every_entry_of_the_catalogue_loads() {
    for entry in crate::providers::catalogue::CATALOGUE {
        let name = entry.name;
        let key = "{ api_key: \"env:OPENAI_API_KEY\" }";
        let text = format!("auth: {{ anonymous: true }}\nproviders:\n  {name}: {key}\n");
        let config = loaded(&text).config;
        assert_eq!(config.providers[name].base_url.to_string(), entry.base_url);
    }
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let text = "\
listeners:
  proxy: { address: localhost:8080, adress: x }
limits:
  request_size: 1.5MB
  header_timeout: 10
  connections: many
providers:
  openai: { api_base: https://api.openai.com, api_key: env:NONE }
models:
  gpt-4o:
    targets: [{ provider: opneai, weight: 0 }]
colour: red
";
    let text = text.replace("env:NONE", "\"env:NONE\"");
    assert_eq!(
        problems(&text),
        [
            "c.yaml:1:1: nobody could call the gateway; set `admin.master_key: env:SLUICEGATE_MASTER_KEY`, or `auth.anonymous: true`",
            "c.yaml:2:21: listeners.proxy.address: `localhost:8080` is not a valid address; write an IP address with a port, as in 127.0.0.1:8080 or \"[::1]:8080\"",
            "c.yaml:2:37: listeners.proxy.adress: unknown key; did you mean `address`?",
            "c.yaml:4:17: limits.request_size: size `1.5MB` is not a whole number with a unit; write a whole number with B, KiB, MiB, GiB, kB, MB or GB, as in 1MiB",
            "c.yaml:5:19: limits.header_timeout: duration `10` has no unit; write `10s` for 10 seconds",
            "c.yaml:6:16: limits.connections: expected a whole number, found `many`",
            "c.yaml:8:13: providers.openai.api_base: unknown key; it is called `base_url` here",
            "c.yaml:8:56: providers.openai.api_key: environment variable NONE is not set; set it before the start",
            "c.yaml:11:27: models.gpt-4o.targets[0].provider: no provider is called `opneai`; did you mean `openai`?",
            "c.yaml:11:43: models.gpt-4o.targets[0].weight: `0` is out of range; it can be 1 to 1000",
            "c.yaml:12:1: colour: unknown key; known here: `environment`, `secrets`, `listeners`, `shutdown`, `workers`, `limits`, `cors`, `request_headers`, `store`, `quota_store`, `auth`, `admin`, `policies`, `audit`, `ledger`, `budgets`, `quotas`, `answers`, `prices`, `telemetry`, `providers`, `models`, `mcp`",
        ]
    );
}

#[test]
fn keys_of_later_versions_and_of_others() {
    let model = "providers: { ollama: }\nmodels:\n  m:\n    targets: [{ provider: ollama }]\n    ";
    let renamed = "unknown key; it is called `fallback` here";
    refused(
        &format!("{model}fallbacks: [a]"),
        &format!("c.yaml:5:5: models.m.fallbacks: {renamed}"),
    );
    for (text, expected) in [
        ("model_list: []", "1:1: model_list: unknown key; it is called `models` here"),
        ("Limits: {}", "1:1: Limits: unknown key; did you mean `limits`?"),
        ("master_key: x", "1:1: master_key: unknown key; it is called `admin.master_key` here"),
        (
            "database_url: postgres://",
            "1:1: database_url: unknown key; it is called `store.postgres.url` here",
        ),
        ("salt_key: x", "1:1: salt_key: unknown key; it is called `auth.keys.pepper` here"),
        ("cedar: x", "1:1: cedar: unknown key; it is called `policies` here"),
        ("vault: {}", "1:1: vault: unknown key; it is called `secrets.vault` here"),
        ("mcp_servers: {}", "1:1: mcp_servers: unknown key; it is called `mcp.targets` here"),
        ("mcpServers: {}", "1:1: mcpServers: unknown key; it is called `mcp.targets` here"),
        ("audit_log: x", "1:1: audit_log: unknown key; it is called `audit` here"),
        (
            "cors: { allow_origins: [] }",
            "1:9: cors.allow_origins: unknown key; it is called `origins` here",
        ),
        (
            "limits: { max-request-size: 1 }",
            "1:11: limits.max-request-size: unknown key; it is called `request_size` here",
        ),
    ] {
        refused(text, &format!("c.yaml:{expected}"));
    }
}

#[test]
fn wrong_types() {
    for (text, expected) in [
        (
            "limits: 5",
            "1:9: limits: expected a mapping, found `5`; indent its keys below it, or write `{ key: value }`",
        ),
        (
            "limits: [a]",
            "1:9: limits: expected a mapping, found a list; indent its keys below it, or write `{ key: value }`",
        ),
        (
            "cors: { origins: a }",
            "1:18: cors.origins: expected a list, found `a`; write `[a, b]`, or one `- item` a line",
        ),
        (
            "auth: { anonymous: \"true\" }",
            "1:20: auth.anonymous: expected true or false, found `true`; leave the quotes out",
        ),
        (
            "auth: { anonymous: yes }",
            "1:20: auth.anonymous: expected true or false, found `yes`; write true or false",
        ),
        (
            "workers: { threads: \"4\" }",
            "1:21: workers.threads: expected a whole number, found `4`; leave the quotes out",
        ),
        ("workers: { threads: -1 }", "1:21: workers.threads: expected a whole number, found `-1`"),
        (
            "workers: { threads: 99999999999999999999 }",
            "1:21: workers.threads: `99999999999999999999` is out of range; it can be 1 to 1024",
        ),
        (
            "limits: { header_timeout: 0s }",
            "1:27: limits.header_timeout: `0s` is out of range; it can be 1ms to 1h",
        ),
        (
            "limits: { buffered_bytes: 4MiB, routes: { /v1/messages: { request_size: 8MiB } } }",
            "1:27: limits.buffered_bytes: less than the largest request body; make it 8388608B or more, or bodies smaller",
        ),
        (
            "limits: { connection_rate_per_ip: { rate: 1, penalty: 61s } }",
            "1:55: limits.connection_rate_per_ip.penalty: `61s` is out of range; it can be 0s to 1m",
        ),
        (
            "limits: { requests_per_ip: { burst: 3 } }",
            "1:11: limits.requests_per_ip: `rate` is missing; write the requests a second, as in `{ rate: 100 }`",
        ),
        (
            "limits: { header_size: 2MiB }",
            "1:24: limits.header_size: `2MiB` is out of range; it can be 1KiB to 1MiB",
        ),
        ("cors: { max_age: {} }", "1:18: cors.max_age: expected a single value, found a mapping"),
        (
            "environment: prod",
            "1:14: environment: unknown value `prod`; it can be `development`, `staging`, `production`",
        ),
        (
            "environment: Production",
            "1:14: environment: unknown value `Production`; did you mean `production`? It can be `development`, `staging`, `production`",
        ),
        (
            "providers: { ollama: { ca: 5 } }",
            "1:28: providers.ollama.ca: `ca` without TLS; use an https:// `base_url`, or take it out",
        ),
        (
            "request_headers: { allow: [1] }",
            "1:28: request_headers.allow[0]: expected text, found `1`; put it in quotes: \"1\"",
        ),
    ] {
        let problems = problems(&format!(
            "{text}\n{}",
            if text.starts_with("auth") { "" } else { "auth: { anonymous: true }" }
        ));
        let expected = format!("c.yaml:{expected}");
        assert!(problems.contains(&expected), "{expected}\n{problems:#?}");
    }
}

#[test]
fn listeners() {
    refused(
        "listeners:\n  admin: { address: 127.0.0.1:8080 }",
        "c.yaml:2:10: listeners.admin: 127.0.0.1:8080 is the address of `proxy` already; give each listener an address of its own",
    );
    refused(
        "listeners: { proxy: { address: 127.0.0.1:9464 } }",
        "c.yaml:1:21: listeners.proxy: 127.0.0.1:9464 is the address of `metrics` already; give each listener an address of its own",
    );
    refused(
        "listeners: { admin: { allow: [] } }",
        "c.yaml:1:30: listeners.admin.allow: an empty list lets nobody in; leave it out for this machine only, or write [0.0.0.0/0, \"::/0\"] for everyone",
    );
    refused(
        "listeners: { metrics: { allow: [10.0.0.0/40] } }",
        "c.yaml:1:33: listeners.metrics.allow[0]: `10.0.0.0/40` is not a valid network; write it as in 10.0.0.0/8 or \"fd00::/8\"",
    );
    let text = "auth: { anonymous: true }\nlisteners: { admin: { allow: [10.1.2.3/8, 192.0.2.7, \"::1\"] } }";
    let loaded = loaded(text);
    let allow: Vec<_> = loaded.config.listeners.admin.allow.iter().map(|n| n.to_string()).collect();
    assert_eq!(allow, ["10.0.0.0/8", "192.0.2.7/32", "::1/128"]);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings[1],
        "c.yaml:2:31: listeners.admin.allow[0]: network `10.1.2.3/8` has bits beyond its prefix; write 10.0.0.0/8"
    );
    refused(
        "listeners: { proxy: { trusted_proxies: [10.0.0.0/8, \"::/0\"] } }",
        "c.yaml:1:53: listeners.proxy.trusted_proxies[1]: every client would be a proxy, and say whose address it has; write the networks of your proxies only",
    );
    refused_in_production(
        "listeners: { proxy: { address: 0.0.0.0:8080, h2c: true } }",
        "c.yaml:1:51: listeners.proxy.h2c: h2c on an address that others can reach: a client that sends nothing would be waited for without a limit; use `tls`, or listen on 127.0.0.1",
    );
}

#[test]
fn tls_files_must_exist() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = directory.path().join("tls.crt");
    std::fs::write(&certificate, "x").unwrap();
    let path = certificate.display();
    let text =
        format!("listeners:\n  proxy:\n    tls: {{ certificate: {path}, key: /nowhere/tls.key }}");
    let column = text.lines().last().unwrap().find("/nowhere").unwrap() + 1;
    refused(
        &text,
        &format!(
            "c.yaml:3:{column}: listeners.proxy.tls.key: `/nowhere/tls.key` can't be read: No such file or directory (os error 2)"
        ),
    );
    refused(
        &format!("listeners: {{ proxy: {{ tls: {{ certificate: {path} }} }} }}"),
        "c.yaml:1:23: listeners.proxy.tls: `key` is missing; give the path of a PEM file",
    );
    refused(
        &format!(
            "listeners: {{ proxy: {{ h2c: true, tls: {{ certificate: {path}, key: {path} }} }} }}"
        ),
        "c.yaml:1:28: listeners.proxy.h2c: h2c is HTTP/2 without TLS, and there is `tls`; leave `h2c` out: TLS agrees on HTTP/2 by itself",
    );
    let text = format!(
        "auth: {{ anonymous: true }}\nlisteners: {{ proxy: {{ tls: {{ certificate: {path}, key: {path} }} }} }}"
    );
    assert_eq!(loaded(&text).config.listeners.proxy.tls.unwrap().pair.key, certificate);
    for listener in ["admin", "metrics"] {
        let with = |files: &str| format!("listeners: {{ {listener}: {{ tls: {{ {files} }} }} }}");
        let column = with("").find("tls").unwrap() + 1;
        refused(
            &with(&format!("certificate: {path}")),
            &format!(
                "c.yaml:1:{column}: listeners.{listener}.tls: `key` is missing; give the path of a PEM file"
            ),
        );
        let files = with(&format!("certificate: {path}, key: {path}, client_ca: {path}"));
        let config = loaded(&format!("auth: {{ anonymous: true }}\n{files}")).config;
        let listeners = &config.listeners;
        let tls = if listener == "admin" { &listeners.admin.tls } else { &listeners.metrics.tls };
        assert_eq!(tls.as_ref().unwrap().client_ca.as_ref(), Some(&certificate));
        // Coming or going changes what the socket speaks.
        let without = loaded("auth: { anonymous: true }").config;
        let changes = diff(&without, &config);
        let shown: Vec<_> =
            changes.iter().map(|change| (change.path.as_str(), change.effect)).collect();
        assert_eq!(shown, [(&*format!("listeners.{listener}.tls"), Effect::Restart)]);
    }
}

#[test]
fn cors() {
    for (text, expected) in [
        (
            "[\"*\", https://a]",
            "1:18: cors.origins: `*` beside other origins; keep either `*` or the list",
        ),
        (
            "[\"*\"], credentials: true",
            "1:38: cors.credentials: credentials for every origin (`*`); list the origins, or set it to false",
        ),
        (
            "[https://a/]",
            "1:19: cors.origins[0]: origin `https://a/` has a path; an origin is scheme://host or scheme://host:port, nothing behind",
        ),
        (
            "[https://*.a]",
            "1:19: cors.origins[0]: origin `https://*.a` has a wildcard in it; list each origin by itself",
        ),
        (
            "[a.example.com]",
            "1:19: cors.origins[0]: origin `a.example.com` does not begin with http:// or https://; write it as in https://api.example.com/v1",
        ),
    ] {
        refused(&format!("cors: {{ origins: {text} }}"), &format!("c.yaml:{expected}"));
    }
    refused_in_production(
        "cors:\n  origins:\n    - \"*\"",
        "c.yaml:3:7: cors.origins[0]: every origin (`*`) is refused in production; list the origins of your web pages",
    );
    refused_in_production(
        "cors:\n  origins:\n    - https://a\n    - http://localhost:3000",
        "c.yaml:4:7: cors.origins[1]: origin `http://localhost:3000` without TLS is refused in production; use its https:// origin",
    );
    let text = "auth: { anonymous: true }\ncors: { origins: [\"HTTPS://A:443\", https://a] }";
    assert_eq!(loaded(text).config.cors.origins, ["https://a"]);
}

#[test]
fn who_may_call() {
    const HINT: &str =
        "set `admin.master_key: env:SLUICEGATE_MASTER_KEY`, or `auth.anonymous: true`";
    for (text, place) in
        [("", "1:1:"), ("auth: { anonymous: false }", "1:1: auth:"), ("\nadmin: {}", "2:1: admin:")]
    {
        let expected = format!("c.yaml:{place} nobody could call the gateway; {HINT}");
        assert_eq!(problems(text), [expected], "{text}");
    }
    assert_eq!(
        problems("environment: production\nauth: { anonymous: true }"),
        [
            "c.yaml:1:1: production needs a master key; set `admin.master_key: env:SLUICEGATE_MASTER_KEY`",
            "c.yaml:2:20: auth.anonymous: calls without a credential are refused in production; take it out, and give callers a key",
        ]
    );
    refused_in_production(
        "admin:\n  master_key: env:WEAK_KEY",
        "c.yaml:2:15: admin.master_key: the master key is a known placeholder, which production refuses; make one with `sluicegate keys generate-master`",
    );
    // The filter's list, with its reasons: a name that passes here passes there.
    for (name, reason) in [
        ("authorization", "it is a credential for the gateway"),
        ("Cookie", "it is a credential for the gateway"),
        ("x-api-key", "it is a credential for the gateway"),
        ("host", "the gateway sets it for the message that it sends"),
        ("x-forwarded-for", "it says who the client is, and clients can write it themselves"),
        ("te", "it is about one connection (RFC 9110 section 7.6.1)"),
        ("x_tenant", "some servers take an underscore for a hyphen"),
    ] {
        let lower = name.to_lowercase();
        refused(
            &format!("request_headers: {{ allow: [{name}] }}"),
            &format!(
                "c.yaml:1:28: request_headers.allow[0]: `{lower}` never goes on to a provider: {reason}; take it out; `providers.<name>.headers` sets a header of yours"
            ),
        );
    }
}

#[test]
fn providers() {
    let provider = |text: &str| format!("providers:\n  p: {{ dialect: openai, {text} }}");
    for (text, expected) in [
        (
            "base_url: \"https://user:hunter2@a\"",
            "2:35: providers.p.base_url: the URL has a user name or password in it; leave them out; credentials go to `api_key`",
        ),
        (
            "base_url: \"https://a?key=hunter2\"",
            "2:35: providers.p.base_url: the URL has a query or a fragment; leave out what begins with `?` or `#`",
        ),
        (
            "base_url: ftp://a",
            "2:35: providers.p.base_url: `ftp://a` does not begin with http:// or https://; write it as in https://api.example.com/v1",
        ),
        (
            "api_key: \"env:OPENAI_API_KEY\"",
            "2:3: providers.p: `base_url` is missing; write it as in https://api.example.com/v1",
        ),
        (
            "base_url: http://a, api_key: \"vault:secret/x#y\"",
            "2:54: providers.p.api_key: vault:secret/x#y can't be read: there is no `secrets.vault` that says from where; add `secrets.vault`; docs/vault.md tells how",
        ),
        (
            "base_url: http://a, api_key: \"${OPENAI_API_KEY}\"",
            "2:54: providers.p.api_key: a secret is one reference, not part of a text; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
        ),
        (
            "base_url: http://a, api_key: <redacted>",
            "2:54: providers.p.api_key: this is the mark of a secret that was left out; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
        ),
        (
            "base_url: http://a, auth: basic",
            "2:51: providers.p.auth: unknown value `basic`; it can be `bearer`",
        ),
        (
            "base_url: http://a, auth: { header: host }",
            "2:61: providers.p.auth.header: `host` is set by the gateway; name another header",
        ),
        (
            "base_url: http://a, headers: { Host: x }",
            "2:56: providers.p.headers.Host: `host` is set by the gateway; take it out",
        ),
        (
            "base_url: http://a, api_key: \"env:OPENAI_API_KEY\", headers: { Authorization: x }",
            "2:87: providers.p.headers.Authorization: `authorization` carries `api_key` already; take it out",
        ),
        (
            "base_url: http://a, headers: { x-a: \"1\", X-A: \"2\" }",
            "2:66: providers.p.headers.X-A: `x-a` stands here already, in other case; take it out",
        ),
        (
            "base_url: http://a, ca: /nowhere",
            "2:49: providers.p.ca: `ca` without TLS; use an https:// `base_url`, or take it out",
        ),
        (
            "base_url: http://a, client_certificate: { certificate: Cargo.toml, key: Cargo.toml }",
            "2:65: providers.p.client_certificate: `client_certificate` without TLS; use an https:// `base_url`, or take it out",
        ),
        (
            "base_url: https://a, client_certificate: { certificate: Cargo.toml }",
            "2:46: providers.p.client_certificate: `key` is missing; give the path of a PEM file",
        ),
        (
            "base_url: https://a, client_certificate: { certificate: /nowhere, key: Cargo.toml }",
            "2:81: providers.p.client_certificate.certificate: `/nowhere` can't be read: No such file or directory (os error 2)",
        ),
    ] {
        let problems = problems(&format!("{}\nauth: {{ anonymous: true }}", provider(text)));
        assert_eq!(problems.first(), Some(&format!("c.yaml:{expected}")), "{text}");
        assert!(!problems.concat().contains("hunter2"));
    }
    refused(
        "providers:\n  groq:\n    http_version: h1",
        "c.yaml:2:3: providers.groq: `api_key` is missing; set `api_key: env:GROQ_API_KEY`",
    );
    refused(
        "providers:\n  groqq: { base_url: https://a }",
        "c.yaml:2:3: providers.groqq: `dialect` is missing; did you mean `groq`, or is it `openai`, `anthropic`, `azure_openai`, `gemini`, `vertex`, `bedrock`?",
    );
    refused(
        "providers:\n  openai: { dialect: anthropic, api_key: \"env:OPENAI_API_KEY\" }",
        "c.yaml:2:22: providers.openai.dialect: openai speaks openai at https://api.openai.com/v1; take it out, or give the `base_url` that speaks this",
    );
    refused(
        "providers:\n  b: { dialect: bedrock, region: \"a:b\", api_key: \"env:OPENAI_API_KEY\" }",
        "c.yaml:2:3: providers.b: no address can be made of its region or location; use letters, digits and `-`",
    );
    refused(
        "providers:\n  a b: { dialect: openai, base_url: http://a }",
        "c.yaml:2:3: providers.\"a b\": not a provider's name; use up to 64 letters, digits, `.`, `_` and `-`",
    );
    refused_in_production(
        &provider("base_url: http://10.0.0.1/v1"),
        "c.yaml:2:35: providers.p.base_url: plain http to another host is refused in production; use https://",
    );
    refused_in_production(
        &provider("base_url: https://a, api_key: sk-hidden-literal"),
        "c.yaml:2:55: providers.p.api_key: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
    );
    refused_in_production(
        &provider("base_url: https://a, headers: { x-my-token: hidden-literal }"),
        "c.yaml:2:69: providers.p.headers.x-my-token: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`",
    );
    let text = provider("base_url: http://127.0.0.1:1/v1")
        + "\nenvironment: production\nadmin: { master_key: \"env:SLUICEGATE_MASTER_KEY\" }";
    assert!(problems(&text).is_empty());
}

#[test]
fn a_literal_secret_is_a_warning_outside_production() {
    let text = "auth: { anonymous: true }\nproviders:\n  groq: { api_key: sk-hidden-literal }";
    let loaded = loaded(text);
    assert_eq!(
        loaded.warnings[1].to_string(),
        "c.yaml:3:20: providers.groq.api_key: a secret in the file itself; production refuses it; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`"
    );
    assert!(!format!("{:?}{}", loaded, dump(&loaded.config)).contains("hidden"));
}

#[test]
fn models() {
    let with = |model: &str| {
        format!(
            "providers: {{ ollama: , vllm: , a: {{ dialect: anthropic, base_url: http://a }} }}\nmodels:\n  m: {model}"
        )
    };
    for (text, expected) in [
        (
            "{}",
            "3:3: models.m: `targets` is missing; write `targets: [{ provider: <name>, model: <its name there> }]`",
        ),
        ("{ targets: [] }", "3:17: models.m.targets: no targets; name at least one provider"),
        (
            "{ targets: [{ model: x }] }",
            "3:18: models.m.targets[0]: `provider` is missing; write the name of one of `providers`",
        ),
        (
            "{ targets: [{ provider: nobody }] }",
            "3:30: models.m.targets[0].provider: no provider is called `nobody`; add it to `providers`, which has `a`, `ollama`, `vllm`",
        ),
        (
            "{ targets: [{ provider: vllm, weight: 1001 }] }",
            "3:44: models.m.targets[0].weight: `1001` is out of range; it can be 1 to 1000",
        ),
        (
            "{ targets: [{ provider: vllm }], retries: { attempts: 6 } }",
            "3:60: models.m.retries.attempts: `6` is out of range; it can be 1 to 5",
        ),
        (
            "{ targets: [{ provider: vllm }], retries: { on: [404] } }",
            "3:55: models.m.retries.on[0]: unknown value `404`; it can be `connect`, `timeout`, `429`, `5xx`",
        ),
        (
            "{ targets: [{ provider: vllm }], sticky: user }",
            "3:47: models.m.sticky: unknown value `user`; it can be `end_user`, `conversation`",
        ),
        (
            "{ targets: [{ provider: vllm }], sticky: {} }",
            "3:39: models.m.sticky: `header` is missing; write `end_user`, `conversation`, or `{ header: x-session-id }`",
        ),
        (
            "{ targets: [{ provider: vllm }], sticky: { header: cookie } }",
            "3:57: models.m.sticky.header: `cookie` carries a credential; name another header",
        ),
        (
            "{ targets: [{ provider: vllm }], fallback: [m] }",
            "3:50: models.m.fallback[0]: `m` is there already; take it out; a model's own targets are asked first in any case",
        ),
        (
            "{ targets: [{ provider: vllm }], fallback: [visoin] }\n  vision: { targets: [{ provider: vllm }] }",
            "3:50: models.m.fallback[0]: no model is called `visoin`; did you mean `vision`?",
        ),
        (
            "{ targets: [{ provider: vllm }], balance: fair }",
            "3:48: models.m.balance: unknown value `fair`; it can be `weighted`, `least_busy`, `latency`",
        ),
        (
            "{ targets: [{ provider: vllm, priority: 0 }] }",
            "3:46: models.m.targets[0].priority: `0` is out of range; it can be 1 to 1000",
        ),
        (
            "{ targets: [{ provider: vllm, when: {} }] }",
            "3:42: models.m.targets[0].when: says nothing; name `teams`, `users`, `organizations`, `tags` or `headers`, or take it out",
        ),
        (
            "{ targets: [{ provider: vllm, when: { teams: [] } }] }",
            "3:51: models.m.targets[0].when.teams: an empty list, which nobody is on; name at least one, or take it out",
        ),
        (
            "{ targets: [{ provider: vllm, when: { headers: { Authorization: [x] } } }] }",
            "3:55: models.m.targets[0].when.headers.Authorization: `authorization` carries a credential; name another header",
        ),
        (
            "{ targets: [{ provider: vllm, when: { headers: { x-tier: [a], X-Tier: [b] } } }] }",
            "3:68: models.m.targets[0].when.headers.X-Tier: `x-tier` stands here already, in other case; take it out",
        ),
        (
            "{ targets: [{ provider: vllm, context_window: 0 }] }",
            "3:52: models.m.targets[0].context_window: `0` is out of range; it can be 1 to 100000000",
        ),
        (
            "{ targets: [{ provider: vllm }], health: { failures: 0 } }",
            "3:59: models.m.health.failures: `0` is out of range; it can be 1 to 1000",
        ),
        (
            "{ targets: [{ provider: vllm }], retries: { budget: 101 } }",
            "3:58: models.m.retries.budget: `101` is out of range; it can be 0 to 100",
        ),
        (
            "{ targets: [{ provider: vllm }], timeouts: { total: 2d } }",
            "3:58: models.m.timeouts.total: `2d` is out of range; it can be 1ms to 24h",
        ),
    ] {
        let problems = problems(&format!("{}\nauth: {{ anonymous: true }}", with(text)));
        assert!(problems.contains(&format!("c.yaml:{expected}")), "{expected}\n{problems:#?}");
    }
    let text = with(
        "{ targets: [{ provider: vllm }], retries: { attempts: 1, on: [429, 5xx] }, timeouts: { total: 10s } }",
    );
    let loaded = loaded(&format!("{text}\nauth: {{ anonymous: true }}"));
    let on: Vec<_> = loaded.config.models["m"].retries.on.iter().copied().collect();
    assert_eq!(on, [RetryOn::TooManyRequests, RetryOn::ServerError]);
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "`first_byte` is longer than `total`, so it never applies",
            "`idle` is longer than `total`, so it never applies"
        ]
    );
}

#[test]
fn health_checks() {
    let with = |check: &str| format!("providers:\n  vllm: {{ health_check: {check} }}\n");
    for (check, expected) in [
        (
            "{ path: models }",
            "2:33: providers.vllm.health_check.path: not a path; write it from the root of the host, as in /v1/models",
        ),
        (
            "{ interval: 1ms }",
            "2:37: providers.vllm.health_check.interval: `1ms` is out of range; it can be 100ms to 1h",
        ),
        (
            "{ unhealthy_after: 0 }",
            "2:44: providers.vllm.health_check.unhealthy_after: `0` is out of range; it can be 1 to 100",
        ),
        (
            "{ expect: 200 }",
            "2:35: providers.vllm.health_check.expect: unknown value `200`; it can be `2xx`, `below_500`",
        ),
    ] {
        refused(&with(check), &format!("c.yaml:{expected}"));
    }
    let check_of = |text: &str, name: &str| {
        let config = loaded(&format!("{text}\nauth: {{ anonymous: true }}\n")).config;
        config.providers[name].health_check.clone()
    };
    assert_eq!(check_of("providers: { vllm: }", "vllm"), None);
    let of_vllm = check_of(&with("{ interval: 1s, expect: below_500 }"), "vllm").unwrap();
    assert_eq!((of_vllm.path.as_str(), of_vllm.expect), ("/v1/models", valid::Expect::Below500));
    assert_eq!((of_vllm.unhealthy_after, of_vllm.healthy_after), (3, 2));
    let anthropic =
        "providers: { a: { dialect: anthropic, base_url: http://a/x, health_check: {} } }";
    assert_eq!(check_of(anthropic, "a").unwrap().path, "/x/v1/models");
}

#[test]
fn a_mistake_in_a_provider_is_no_mistake_of_its_models() {
    refused(
        "providers:\n  vllm: { base_url: x }\nmodels: { m: { targets: [{ provider: vllm }] } }",
        "c.yaml:2:21: providers.vllm.base_url: `x` does not begin with http:// or https://; write it as in https://api.example.com/v1",
    );
}

#[test]
fn variables_take_the_type_that_is_asked_for() {
    let text = "
auth:
  anonymous: ${ANONYMOUS:-true}
workers:
  threads: ${THREADS}
limits:
  request_size: ${SIZE:-2MiB}
cors:
  origins:
    - ${ORIGIN:-https://a}
providers:
  groq:
    api_key: ${OPENAI_API_KEY}
  mistral:
    api_key: ${REFERENCE:-env:XAI_API_KEY}
models:
  m:
    targets:
      - provider: ${PROVIDER:-groq}
        model: ${MODEL:-405}
";
    let config = load_str("c.yaml", text, &env_with("THREADS", "3")).unwrap().config;
    assert!(config.auth.anonymous);
    assert_eq!((config.workers.threads, config.limits.request_size), (3, 2 << 20));
    assert_eq!(config.cors.origins, ["https://a"]);
    assert_eq!(config.models["m"].targets[0].model, "405");
    let key = |name: &str| config.providers[name].api_key.clone().unwrap().reference.to_string();
    assert_eq!(
        (key("groq"), key("mistral")),
        ("env:OPENAI_API_KEY".into(), "env:XAI_API_KEY".into())
    );
    assert_eq!(
        problems("auth:\n  anonymous: ${A}\nworkers:\n  threads: ${OPENAI_API_KEY}\n"),
        [
            "c.yaml:2:14: auth.anonymous: environment variable A is not set or empty; set it, or write ${A:-default}",
            // The value may be a secret, so the variable is shown.
            "c.yaml:4:12: workers.threads: expected a whole number, found `${OPENAI_API_KEY}`",
        ]
    );
}

#[test]
fn environment_variables_win_over_the_file() {
    let text =
        "environment: development\nauth: { anonymous: true }\ncors: { origins: [https://a] }\n";
    let config = |name, value| load_str("c.yaml", text, &env_with(name, value)).unwrap().config;
    assert_eq!(config("ENVIRONMENT", "staging").environment, Environment::Staging);
    let origins = config("CORS_ORIGINS", "https://B , http://localhost:3000,").cors.origins;
    assert_eq!(origins, ["https://b", "http://localhost:3000"]);
    assert!(config("CORS_ORIGINS", "").cors.origins.is_empty());
    assert_eq!(config("MAX_REQUEST_SIZE_BYTES", "2048").limits.request_size, 2048);
    let timeout = config("SHUTDOWN_TIMEOUT_SECONDS", "5").shutdown.timeout;
    assert_eq!(timeout, Duration::from_secs(5));
}

#[test]
fn a_bad_environment_variable_is_named() {
    let text = "auth: { anonymous: true }\n";
    for (name, value, expected) in [
        (
            "ENVIRONMENT",
            "prod",
            "environment: unknown value `prod`; it can be `development`, `staging`, `production`",
        ),
        (
            "ENVIRONMENT",
            "",
            "environment: expected development, staging or production, found ``; put it right, or unset it",
        ),
        (
            "CORS_ORIGINS",
            "https://a,b",
            "cors.origins[1]: origin `b` does not begin with http:// or https://; write it as in https://api.example.com/v1",
        ),
        (
            "MAX_REQUEST_SIZE_BYTES",
            "1MiB",
            "limits.request_size: expected a whole number of bytes, found `1MiB`; put it right, or unset it",
        ),
        (
            "MAX_REQUEST_SIZE_BYTES",
            "0",
            "limits.request_size: `0` is out of range; it can be 1 to 1GiB",
        ),
        (
            "SHUTDOWN_TIMEOUT_SECONDS",
            "-1",
            "shutdown.timeout: expected a whole number of seconds, found `-1`; put it right, or unset it",
        ),
        (
            "SHUTDOWN_TIMEOUT_SECONDS",
            "7200",
            "shutdown.timeout: `7200s` is out of range; it can be 0s to 1h",
        ),
    ] {
        let expected = format!("environment variable {name}: {expected}");
        assert_eq!(problems_with(text, &env_with(name, value)), [expected], "{name}={value}");
    }
    // The strict rules reach what variables bring, and a variable brings the strict rules.
    let production = format!(
        "{text}environment: production\nadmin: {{ master_key: \"env:SLUICEGATE_MASTER_KEY\" }}"
    );
    let found = problems_with(&production.replace("true", "false"), &env_with("CORS_ORIGINS", "*"));
    assert_eq!(
        found,
        [
            "environment variable CORS_ORIGINS: cors.origins[0]: every origin (`*`) is refused in production; list the origins of your web pages"
        ]
    );
    let found = problems_with(text, &env_with("ENVIRONMENT", "production"));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.yaml");
    let failed = |path: &Path| load_file(path, &env()).unwrap_err().to_string();
    let name = path.display().to_string();
    assert_eq!(failed(&path), format!("{name}: No such file or directory (os error 2)"));
    std::fs::write(&path, b"auth:\n  \xc3\xa4 \xff").unwrap();
    assert_eq!(failed(&path), format!("{name}:2:5: not UTF-8"));
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(failed(&path), format!("{name}: larger than 1MiB"));
    std::fs::write(&path, "é".repeat(1 << 20)).unwrap();
    assert_eq!(failed(&path), format!("{name}: larger than 1MiB"));
    std::fs::write(&path, "\u{feff}auth: { anonymous: true }\n").unwrap();
    assert!(load_file(&path, &env()).unwrap().config.auth.anonymous);
    let problems = load_str("c", "a: 1\na: 2", &env()).unwrap_err();
    let json = serde_json::to_value(&problems).unwrap();
    let duplicate = json.as_array().unwrap().last().unwrap();
    assert_eq!((&duplicate["line"], &duplicate["path"]), (&Value::from(2), &Value::from("a")));
}

#[test]
fn a_dump_loads_to_the_same_and_shows_no_secret() {
    for text in [DEVELOPMENT, PRODUCTION, DEMO, MCP] {
        let first = loaded(text);
        let dump = dump(&first.config);
        let second = loaded(&dump);
        assert_eq!(effective::raw(&first.config), effective::raw(&second.config), "{dump}");
        assert_eq!((first.hash.len(), &first.hash), (64, &second.hash));
        assert_eq!(diff(&first.config, &second.config), []);
        let mirrored: raw::Config = serde_saphyr::from_str(&dump).unwrap();
        assert_eq!(mirrored, effective::raw(&first.config));
        let shown = format!("{dump}{first:?}{}", schema());
        assert!(!shows_a_secret(&shown), "{shown}");
        assert!(
            !dump.contains("api_key") || dump.contains("env:") || dump.contains("vault:"),
            "{dump}"
        );
    }
}

#[test]
fn the_hash_is_of_what_is_effective() {
    let base = loaded("auth: { anonymous: true }\n").hash;
    assert_eq!(
        loaded("# why\nshutdown: { timeout: 30000ms }\nauth: { anonymous: true }").hash,
        base
    );
    assert_ne!(loaded("shutdown: { timeout: 31s }\nauth: { anonymous: true }").hash, base);
}

#[test]
fn differences() {
    let a = loaded(PRODUCTION).config;
    let changed = PRODUCTION
        .replace("header_timeout: 10s", "header_timeout: 11s")
        .replace("keepalive_timeout: 60s", "keepalive_timeout: 61s")
        .replace("address: 0.0.0.0:9464", "address: 0.0.0.0:9465")
        .replace("  grok-4:\n    targets: [{ provider: xai, model: grok-4 }]\n", "");
    let b =
        load_with(&changed, &env_with("vault:secret/data/xai#api_key", "sk-hidden-other")).unwrap();
    let changes = diff(&a, &b.config);
    let shown: Vec<_> =
        changes.iter().map(|change| (change.path.as_str(), change.effect)).collect();
    assert_eq!(
        shown,
        [
            ("limits.header_timeout", Effect::Live),
            ("limits.keepalive_timeout", Effect::InPart),
            ("listeners.metrics.address", Effect::Restart),
            ("models.grok-4", Effect::Live),
            ("providers.xai.api_key", Effect::Live),
        ]
    );
    assert_eq!(changes[0].to_string(), "limits.header_timeout: \"10s\" -> \"11s\"");
    assert!(changes[1].to_string().ends_with("\"61s\" (HTTP/2 needs a restart)"));
    assert!(changes[2].to_string().ends_with("\"0.0.0.0:9465\" (needs a restart)"));
    assert_eq!((changes[3].from.is_some(), &changes[3].to), (true, &None));
    assert_eq!(changes[4].to.as_deref(), Some("\"vault:secret/data/xai#api_key\" (another value)"));
    assert_eq!(diff(&a, &a), []);
}

/// Every mapping of the file: its schema's name, and the keys that loading knows.
fn mappings() -> Vec<(&'static str, Keys)> {
    use check::{
        access, clouds, cors, health_check, jwt, ledger, limits, listeners, mcp, models, policies,
        prices, providers, quota_store, quotas, secrets, stores, telemetry, when,
    };
    vec![
        ("", check::KEYS),
        ("Secrets", secrets::KEYS),
        ("Vault", secrets::VAULT),
        ("VaultAuth", secrets::AUTH),
        ("VaultAppRole", secrets::APPROLE),
        ("VaultKubernetes", secrets::KUBERNETES),
        ("VaultToken", secrets::TOKEN),
        ("Listeners", listeners::KEYS),
        ("ProxyListener", listeners::PROXY),
        ("AdminListener", listeners::ADMIN),
        ("MetricsListener", listeners::METRICS),
        ("Tls", listeners::TLS),
        ("Shutdown", limits::SHUTDOWN),
        ("Workers", limits::WORKERS),
        ("Limits", limits::LIMITS),
        ("RouteLimits", limits::ROUTE),
        ("ConnectionRate", limits::CONNECTION_RATE),
        ("RequestsPerIp", limits::REQUESTS_PER_IP),
        ("Queue", limits::QUEUE),
        ("Cors", cors::KEYS),
        ("RequestHeaders", access::REQUEST_HEADERS),
        ("Store", stores::STORE),
        ("Sqlite", stores::SQLITE),
        ("Postgres", stores::POSTGRES),
        ("QuotaStore", quota_store::KEYS),
        ("Redis", quota_store::REDIS),
        ("Sentinel", quota_store::SENTINEL),
        ("Auth", access::AUTH),
        ("Keys", access::KEYS),
        ("JwtIssuer", jwt::KEYS),
        ("JwtClaims", jwt::CLAIMS),
        ("Admin", access::ADMIN),
        ("Policies", policies::KEYS),
        ("Audit", stores::AUDIT),
        ("Ledger", ledger::KEYS),
        ("Budgets", prices::BUDGETS),
        ("Quota", quotas::KEYS),
        ("QuotaCalendar", quotas::CALENDAR),
        ("Answers", prices::ANSWERS),
        ("Prices", prices::KEYS),
        ("Price", prices::PRICE),
        ("Telemetry", telemetry::KEYS),
        ("Traces", telemetry::TRACES),
        ("Provider", providers::KEYS),
        ("HealthCheck", health_check::KEYS),
        ("HeaderAuth", providers::AUTH),
        ("Entra", clouds::ENTRA),
        ("AwsKeys", clouds::AWS),
        ("ClientCertificate", providers::CLIENT_CERTIFICATE),
        ("Model", models::KEYS),
        ("Target", models::TARGET),
        ("When", when::KEYS),
        ("StickyHeader", models::STICKY),
        ("Health", models::HEALTH),
        ("Retries", models::RETRIES),
        ("Timeouts", models::TIMEOUTS),
        ("Mcp", mcp::KEYS),
        ("McpTarget", mcp::TARGET),
        ("McpTimeouts", mcp::TIMEOUTS),
    ]
}

#[test]
fn schema_loading_and_documentation_know_the_same_keys() {
    let schema = schema();
    let mut described = BTreeSet::new();
    for (name, keys) in mappings() {
        let object = if name.is_empty() { &schema } else { &schema["$defs"][name] };
        let properties = object["properties"].as_object().unwrap();
        let properties: BTreeSet<_> = properties.keys().map(String::as_str).collect();
        assert_eq!(properties, keys.known.iter().copied().collect(), "{name}");
        assert_eq!(object["additionalProperties"], Value::Bool(false), "{name}");
        for key in keys.known {
            assert!(object["properties"][key].get("description").is_some(), "{name}.{key}");
            let documented = [".", "`"].iter().any(|before| {
                let after = ["`", ".", "["];
                after.iter().any(|after| DOCUMENTATION.contains(&format!("{before}{key}{after}")))
            });
            assert!(documented, "{name}.{key} in the documentation");
        }
        for old in keys.renamed.iter().map(|(old, _)| old).chain(keys.later) {
            assert!(!keys.known.contains(old), "{name}.{old} is both known and not");
        }
        described.insert(name);
    }
    let objects = schema["$defs"].as_object().unwrap().iter();
    for (name, _) in objects.filter(|(_, object)| object.get("properties").is_some()) {
        assert!(described.contains(name.as_str()), "{name} is not compared");
    }
}

#[test]
fn the_schema_file_is_current() {
    let written: Value = serde_json::from_str(SCHEMA).unwrap();
    let hint = "run `sluicegate config schema > docs/config.schema.json`";
    assert!(written == schema(), "{hint}:\n{:#}", schema());
}

proptest! {
    #[test]
    fn nothing_panics(text in "([a-z_]{1,12}: ?|[-\\[\\]{}&*!|>'\"%@`#:,?~$]|\\n *|\\PC){0,60}") {
        let _ = load_str("c.yaml", &text, &env());
    }

    #[test]
    fn no_mutation_of_an_example_panics_or_shows_a_secret(
        at in 0..PRODUCTION.len(),
        length in 0..40_usize,
        with in "\\PC{0,8}",
    ) {
        let (start, end) = (floor(at), floor((at + length).min(PRODUCTION.len())));
        let text = format!("{}{with}{}", &PRODUCTION[..start], &PRODUCTION[end..]);
        let shown = match load_with(&text, &env()) {
            Ok(loaded) => {
                let dump = dump(&loaded.config);
                // A secret in the file itself is left out of the dump, which production refuses.
                if !dump.contains(super::secrets::REDACTED) {
                    let again = load_with(&dump, &env());
                    prop_assert_eq!(again.map(|again| again.hash), Ok(loaded.hash.clone()));
                }
                format!("{loaded:?}{dump}")
            }
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                prop_assert!(problems.0.is_sorted_by_key(|p| (p.line, p.column)));
                problems.to_string()
            }
        };
        prop_assert!(!shows_a_secret(&shown));
    }
}

fn shows_a_secret(text: &str) -> bool {
    ["hidden", STRONG, PEPPER].iter().any(|secret| text.contains(secret))
}

/// The character boundary at or before `at`.
fn floor(at: usize) -> usize {
    (0..=at).rev().find(|at| PRODUCTION.is_char_boundary(*at)).unwrap_or(0)
}
