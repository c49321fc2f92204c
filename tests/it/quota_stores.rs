//! Where limits are counted: one limit over several gateways, and over a restart.

use std::collections::BTreeMap;

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{Config, Gateway, Response, chat, provider, soon};

const LIMIT: usize = 50;
const REQUESTS: usize = 200;

/// A gateway's configuration with a store of records and, perhaps, another of counters.
fn config(provider: std::net::SocketAddr, store: &str, quota_store: &str) -> Config {
    let mut config = Config::for_provider(provider);
    config.head = format!(
        "admin: {{ master_key: \"env:MASTER_KEY\" }}\nstore: {store}\nquota_store: {quota_store}\n"
    );
    config
}

/// Sends many requests to all of `gateways` at once. How many were answered with which status.
async fn flood(gateways: &[&Gateway], key: &str) -> BTreeMap<u16, usize> {
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let client = gateways[number % gateways.len()].client();
        let bearer = format!("Authorization: Bearer {key}\r\n");
        requests.spawn(async move {
            let body = chat(false, "tokens=1");
            client.post_with("/v1/chat/completions", &bearer, &body).await
        });
    }
    let mut statuses = BTreeMap::new();
    for answer in soon("all answers", requests.join_all()).await {
        assert!(answer.status == 200 || answer.status == 429, "{}", told(&answer));
        *statuses.entry(answer.status).or_default() += 1;
    }
    statuses
}

fn told(answer: &Response) -> String {
    format!("{}: {}", answer.status, answer.text())
}

/// What is free of one gateway's lease is not another's at once: whoever is refused meanwhile may
/// come again. So the last units are asked for until there are none.
async fn use_up(gateways: &[&Gateway], key: &str) -> usize {
    let mut passed = flood(gateways, key).await.get(&200).copied().unwrap_or_default();
    soon("the whole limit in use", async {
        while passed < LIMIT {
            for gateway in gateways {
                let answer = gateway.chat(key, &chat(false, "tokens=1")).await;
                passed += usize::from(answer.status == 200);
            }
        }
    })
    .await;
    passed += flood(gateways, key).await.get(&200).copied().unwrap_or_default();
    passed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_share_a_limit_in_redis() {
    let (provider, postgres, redis) = (provider().await, Postgres::start(), Redis::start());
    let store = format!("{{ postgres: {{ url: \"{}\" }} }}", postgres.url());
    let counters = format!("{{ redis: {{ url: \"{}\", prefix: \"it:\" }} }}", redis.url());
    let config = config(provider.address(), &store, &counters);
    let (one, other) = (Gateway::start(&config), Gateway::start(&config));
    let key = one.key(&json!({"rpm_limit": LIMIT})).await;
    assert_eq!(use_up(&[&one, &other], &key).await, LIMIT);
    assert_eq!(provider.ledger().total.requests, LIMIT as u64);
    assert_ne!(redis.command(&["KEYS", "it:*"]), [""; 0], "counted there");
    for gateway in [one, other] {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_share_a_limit_in_postgres() {
    let (provider, postgres) = (provider().await, Postgres::start());
    let store = format!("{{ postgres: {{ url: \"{}\" }} }}", postgres.url());
    let config = config(provider.address(), &store, "{ lease_ttl: 30s }");
    let (one, other) = (Gateway::start(&config), Gateway::start(&config));
    let key = one.key(&json!({"rpm_limit": LIMIT})).await;
    assert_eq!(use_up(&[&one, &other], &key).await, LIMIT);
    assert_eq!(provider.ledger().total.requests, LIMIT as u64);
    for gateway in [one, other] {
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_was_counted_in_a_file_outlives_the_gateway() {
    let provider = provider().await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("gate.db");
    let store = format!("{{ sqlite: {{ path: \"{}\" }} }}", file.display());
    let config = config(provider.address(), &store, "{}");
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({"rpm_limit": 3})).await;
    for _ in 0..2 {
        let answer = gateway.chat(&key, &chat(false, "tokens=1")).await;
        assert_eq!(answer.status, 200, "{}", told(&answer));
    }
    gateway.stop().await;
    let gateway = Gateway::start(&config);
    let last = gateway.chat(&key, &chat(false, "tokens=1")).await;
    assert_eq!(last.status, 200, "{}", told(&last));
    assert_eq!(last.header("x-ratelimit-remaining-requests"), Some("0"));
    let refused = gateway.chat(&key, &chat(false, "tokens=1")).await;
    assert_eq!(refused.status, 429, "{}", told(&refused));
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_starts_without_its_redis_and_finds_it_later() {
    let provider = provider().await;
    let mut redis = Redis::start();
    redis.kill();
    let counters = format!("{{ redis: {{ url: \"{}\" }} }}", redis.url());
    let config = config(provider.address(), "{ sqlite: { path: \":memory:\" } }", &counters);
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({"rpm_limit": 5})).await;
    let refused = gateway.chat(&key, &chat(false, "tokens=1")).await;
    assert_eq!(refused.status, 503, "{}", told(&refused));
    redis.restart();
    soon("an answer", async {
        while gateway.chat(&key, &chat(false, "tokens=1")).await.status != 200 {}
    })
    .await;
    gateway.stop().await;
}

/// The database's certificate is from another authority, and every connection has to be made anew: for keys,
/// for counters, for what is heard of other instances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_of_postgres_is_trusted_without_a_restart() {
    let (provider, postgres) = (provider().await, Postgres::start_with_tls());
    let store = format!("{{ postgres: {{ url: \"{}\" }} }}", postgres.url());
    let config = config(provider.address(), &store, "{}");
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({"rpm_limit": 100})).await;
    assert_eq!(gateway.chat(&key, &chat(false, "tokens=1")).await.status, 200);

    postgres.rotate_certificate().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluicegate'";
    postgres.execute("postgres", end).await;
    // A key that nobody has asked for yet is looked up in the database.
    let key = soon("a new key", async {
        loop {
            let created = gateway.admin("POST", "/key/generate", &json!({"rpm_limit": 100})).await;
            if created.status == 200 {
                break created.json()["key"].as_str().unwrap().to_owned();
            }
        }
    })
    .await;
    soon("an answer", async {
        while gateway.chat(&key, &chat(false, "tokens=1")).await.status != 200 {}
    })
    .await;
    gateway.stop().await;
}
