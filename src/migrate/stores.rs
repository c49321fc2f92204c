//! `store`, `quota_store` and `ledger`: where keys are kept, and where it is counted.

use super::Migration;
use super::at::At;
use super::variables::{self, Holds};
use super::yaml::{Map, Yaml};
use crate::config;

/// How a Redis server is told, in a setting of LiteLLM's.
#[derive(Clone, Copy)]
struct RedisKeys {
    host: &'static str,
    port: &'static str,
    password: &'static str,
    more: &'static [&'static str],
    url: &'static str,
}

const ROUTER: RedisKeys = RedisKeys {
    host: "redis_host",
    port: "redis_port",
    password: "redis_password",
    more: &["redis_db", "redis_username", "redis_ssl"],
    url: "redis_url",
};
const CACHE: RedisKeys = RedisKeys {
    host: "host",
    port: "port",
    password: "password",
    more: &["username", "ssl", "db"],
    url: "url",
};

/// What tells of more than one server.
const SEVERAL: [&str; 4] =
    ["redis_startup_nodes", "sentinel_nodes", "service_name", "sentinel_password"];

/// The database. LiteLLM's own can't be used: it has another shape.
pub(super) fn store(migration: &mut Migration<'_>) -> Option<Map> {
    let mut postgres = Map::default();
    let at = migration.in_section("general_settings", "database_url");
    let meaning =
        "the Postgres URL of a new, empty database; not of LiteLLM's, which would be damaged";
    let variable = match &at {
        Some(at) => {
            let Some(text) = at.text() else {
                migration.accounts.no_equal(at, "is not a text", "write `store`");
                return None;
            };
            match variables::reference(text) {
                Some(name) => migration.variables.named(name, Holds::PostgresUrl, meaning),
                None if variables::is_reference(text) => {
                    let message = "names no variable that can be";
                    migration.accounts.no_equal(at, message, "use letters, digits and `_`");
                    return None;
                }
                None => migration.variables.fresh("DATABASE_URL", Holds::PostgresUrl, meaning),
            }
        }
        // LiteLLM takes it from there without being told.
        None => {
            if migration.in_section("environment_variables", "DATABASE_URL").is_none() {
                let message = "is not named, so there is no `store` for virtual keys";
                let action = "add `store` and `auth.keys.pepper`, if LiteLLM finds DATABASE_URL in its \
                              environment";
                migration.accounts.absent("general_settings.database_url", message, action);
                return None;
            }
            migration.variables.named("DATABASE_URL", Holds::PostgresUrl, meaning)
        }
    };
    postgres.text("url", format!("env:{variable}"));
    if let Some(at) = &at {
        let message = "the gateway keeps its own tables";
        let action = format!(
            "set {variable} to a database of its own, never LiteLLM's; then import keys as hashes \
             (docs/migrating-from-litellm.md)"
        );
        migration.accounts.changed(at, "store.postgres.url", message, action.as_str());
    }
    if let Some(at) = migration.in_section("general_settings", "database_connection_pool_limit") {
        match at.count().filter(|count| (1..=1_000).contains(count)) {
            Some(count) => {
                postgres.plain("max_connections", count);
                let message = "of each process, which takes all cores";
                let to = "store.postgres.max_connections";
                migration.accounts.changed(&at, to, message, None);
            }
            None => {
                let action = "write `store.postgres.max_connections`";
                migration.accounts.no_equal(&at, "is no number from 1 to 1000", action);
            }
        }
    }
    let mut store = Map::default();
    store.put("postgres", Yaml::Map(postgres));
    Some(store)
}

/// How long the ledger's rows are kept.
pub(super) fn ledger(migration: &mut Migration<'_>, has_store: bool) -> Map {
    let mut ledger = Map::default();
    let key = "maximum_spend_logs_retention_period";
    let Some(at) = migration.in_section("general_settings", key) else { return ledger };
    if !has_store {
        let message = "there is no ledger without a store";
        migration.accounts.no_equal(&at, message, "add `store` and `ledger.retention`");
        return ledger;
    }
    let text = at.text().unwrap_or_default();
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days.filter(|days| (1..=3_650).contains(days)) {
        Some(days) => {
            ledger.plain("retention", format!("{days}d"));
            migration.accounts.carried(&at, "ledger.retention");
        }
        None => {
            let message = "is no number of days, 1d to 3650d";
            migration.accounts.no_equal(&at, message, "write `ledger.retention`");
        }
    }
    ledger
}

/// Redis: the router's, or the cache's, which LiteLLM counts in as well.
pub(super) fn quota_store(migration: &mut Migration<'_>) -> Map {
    let mut quota_store = Map::default();
    let router = migration.root.get("router_settings");
    let cache = migration.in_section("litellm_settings", "cache_params");
    let cache = cache.filter(|cache| {
        let kind = cache.get("type");
        kind.is_none_or(|kind| kind.text() == Some("redis"))
    });
    let url = router.as_ref().and_then(|at| redis(migration, at, ROUTER));
    let url = match (url, &cache) {
        (None, Some(cache)) => redis(migration, cache, CACHE),
        (url, _) => url,
    };
    for at in [router, cache].iter().flatten() {
        for at in SEVERAL.iter().filter_map(|key| at.get(key)) {
            let message = "a cluster, and sentinels, are not carried over";
            let action = "write `quota_store.redis.cluster` or `sentinel` (docs/configuration.md)";
            migration.accounts.no_equal(&at, message, action);
        }
    }
    if let Some(url) = url {
        let mut redis = Map::default();
        redis.text("url", url);
        quota_store.put("redis", Yaml::Map(redis));
    }
    quota_store
}

fn redis(migration: &mut Migration<'_>, at: &At<'_>, keys: RedisKeys) -> Option<String> {
    const TO: &str = "quota_store.redis.url";
    let get = |key: &str| at.get(key);
    let more: Vec<_> = keys.more.iter().filter_map(|key| at.get(key)).collect();
    let (host, port, password) = (get(keys.host), get(keys.port), get(keys.password));
    if let Some(url) = get(keys.url) {
        let name = match url.text().and_then(variables::reference) {
            Some(name) => migration.variables.named(name, Holds::RedisUrl, "the URL of Redis"),
            None => migration.variables.fresh("REDIS_URL", Holds::RedisUrl, "the URL of Redis"),
        };
        let message = "counters are kept there, and nothing else";
        let action = format!("set {name} to it");
        migration.accounts.changed(&url, TO, message, action.as_str());
        for at in [host, port, password].iter().flatten().chain(&more) {
            migration.accounts.not_needed(at, "the URL says it");
        }
        return Some(format!("env:{name}"));
    }
    let host = host?;
    let parts: Vec<&At<'_>> = [Some(&host), port.as_ref(), password.as_ref()]
        .into_iter()
        .flatten()
        .chain(&more)
        .collect();
    let literal = host.text().filter(|_| password.is_none() && more.is_empty());
    let written = literal.and_then(|host| {
        let port = match &port {
            Some(port) => port.count()?.to_string(),
            None => "6379".to_owned(),
        };
        let authority = format!("{host}:{port}");
        let base = config::parse_base_url(&format!("http://{authority}")).ok()?;
        (base.path_prefix.is_empty() && !host.contains('/')).then(|| format!("redis://{authority}"))
    });
    if let Some(url) = written {
        for at in parts {
            let message = "counters are kept there, and nothing else";
            migration.accounts.changed(at, TO, message, None);
        }
        return Some(url);
    }
    let name = migration.variables.fresh(
        "REDIS_URL",
        Holds::RedisUrl,
        "the URL of Redis, as in rediss://user:password@host:6379/0",
    );
    for at in parts {
        let message = "a part of Redis's URL, which is one secret";
        let action = format!("set {name}, as in rediss://user:password@host:6379/0");
        migration.accounts.changed(at, TO, message, action.as_str());
    }
    Some(format!("env:{name}"))
}
