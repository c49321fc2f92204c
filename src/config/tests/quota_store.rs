//! Where it is counted what callers use.

use super::*;
use crate::config::valid::{QuotaStore, RedisServers};

const URL: &str = "rediss://gate:hidden-redis@redis.example.com:6380";

fn env_with_redis() -> Env {
    env_with("REDIS_URL", URL)
}

/// `quota_store.redis` with these keys, and a file around it that has no other mistake.
fn redis(keys: &str) -> String {
    format!("quota_store: {{ redis: {{ {keys} }} }}\nauth: {{ anonymous: true }}\n")
}

fn quota_store(text: &str) -> QuotaStore {
    let loaded = load_str("c.yaml", text, &env_with_redis());
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config.quota_store
}

#[test]
fn quota_stores_with_their_defaults() {
    let absent = quota_store("auth: { anonymous: true }");
    assert!(absent.redis.is_none());
    assert_eq!(absent.lease_ttl, Duration::from_secs(30));
    let text = "quota_store: { lease_ttl: 2m }\nauth: { anonymous: true }";
    assert_eq!(quota_store(text).lease_ttl, Duration::from_mins(2));

    let one = quota_store(&redis("url: \"env:REDIS_URL\"")).redis.unwrap();
    let RedisServers::One(url) = &one.servers else { panic!("{one:?}") };
    assert_eq!(url.expose(), URL);
    assert_eq!((one.prefix.as_str(), one.wait_replicas), ("sluicegate:quota:", 0));
    assert!(one.ca.is_none() && !format!("{one:?}").contains("hidden"));

    let keys =
        "cluster: [\"rediss://a:7000\", \"env:REDIS_URL\"], prefix: \"x:\", wait_replicas: 1";
    let cluster = quota_store(&redis(keys)).redis.unwrap();
    let RedisServers::Cluster(nodes) = &cluster.servers else { panic!("{cluster:?}") };
    let urls: Vec<_> = nodes.iter().map(|url| url.expose()).collect();
    assert_eq!(urls, ["rediss://a:7000", URL]);
    assert_eq!((cluster.prefix.as_str(), cluster.wait_replicas), ("x:", 1));

    let keys =
        "sentinel: { nodes: [\"redis://a:26379\"], master: main, password: \"env:WEAK_KEY\" }";
    let behind = quota_store(&redis(keys)).redis.unwrap();
    let RedisServers::Sentinel { nodes, master, username, password } = &behind.servers else {
        panic!("{behind:?}")
    };
    assert_eq!((nodes.len(), master.as_str()), (1, "main"));
    assert!(username.is_none() && password.is_some());
}

#[test]
fn what_is_wrong_with_a_quota_store() {
    for (keys, expected) in [
        (
            "prefix: x",
            "16: quota_store.redis: none of `url`, `cluster` and `sentinel`; set `url: env:REDIS_URL`",
        ),
        (
            "url: \"redis://a\", cluster: [\"redis://a\"]",
            "43: quota_store.redis.cluster: only one of `url`, `cluster` and `sentinel` can be; keep one of them",
        ),
        (
            "host: a, url: \"redis://a\"",
            "25: quota_store.redis.host: unknown key; it is called `url` here",
        ),
        ("cluster: []", "34: quota_store.redis.cluster: is empty; list at least one URL"),
        (
            "cluster: [\"redis://a\", \"rediss://b\"]",
            "48: quota_store.redis.cluster[1]: some URLs are with TLS and some without; write rediss:// for all of them, or redis:// for all",
        ),
        (
            "cluster: [\"redis://a/3\"]",
            "35: quota_store.redis.cluster[0]: the URL has a database's number; leave it out: it is 0 here",
        ),
        (
            "sentinel: { nodes: [\"redis://a\"] }",
            "25: quota_store.redis.sentinel: `master` is missing; write the name that the sentinels monitor the primary by",
        ),
        (
            "sentinel: { master: main }",
            "25: quota_store.redis.sentinel: `nodes` is missing; list their URLs, such as rediss://sentinel.example.com:26379",
        ),
        (
            "url: \"http://a\"",
            "30: quota_store.redis.url: the URL does not begin with redis:// or rediss://; it is like rediss://user:password@redis.example.com:6379",
        ),
        (
            "url: \"redis://a\", prefix: \"a{b}\"",
            "51: quota_store.redis.prefix: can't be what keys begin with; write up to 100 ASCII characters, no space and no brace",
        ),
        (
            "url: \"redis://a\", ca: Cargo.toml",
            "47: quota_store.redis.ca: `ca` without TLS; use rediss:// URLs, or take it out",
        ),
        (
            "url: \"redis://a\", wait_replicas: 11",
            "58: quota_store.redis.wait_replicas: `11` is out of range; it can be 0 to 10",
        ),
    ] {
        assert_eq!(problems(&redis(keys)), [format!("c.yaml:1:{expected}")], "{keys}");
    }
    for ttl in ["999ms", "601s"] {
        let text = format!("quota_store: {{ lease_ttl: {ttl} }}\nauth: {{ anonymous: true }}");
        let range = format!("`{ttl}` is out of range; it can be 1s to 10m");
        assert_eq!(problems(&text), [format!("c.yaml:1:27: quota_store.lease_ttl: {range}")]);
    }
}

#[test]
fn credentials_of_redis_are_references_and_its_network_is_not_trusted_in_production() {
    let strict = |keys: &str| {
        format!(
            "quota_store:\n  redis:\n    {keys}\nenvironment: production\n\
             admin: {{ master_key: \"env:SLUICEGATE_MASTER_KEY\" }}\naudit: {{ directory: data/audit }}\n"
        )
    };
    const PLAIN: &str =
        "the URL begins with redis://: a plain connection is refused in production; use rediss://";
    let found = |url: &str| problems_with(&strict("url: env:URL"), &env_with("URL", url));
    for url in ["redis://u:hidden@db", "redis://10.0.0.1:6379"] {
        assert_eq!(found(url), [format!("c.yaml:3:10: quota_store.redis.url: {PLAIN}")], "{url}");
    }
    for url in ["rediss://u:hidden@db", "redis://127.0.0.1", "redis://:hidden@[::1]:7000"] {
        assert_eq!(found(url), [""; 0], "{url}");
    }
    let literal = problems(&strict("url: \"rediss://u:hidden@db\""));
    assert_eq!(
        literal,
        [
            "c.yaml:3:10: quota_store.redis.url: a secret in the file itself is refused in production; write `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`"
        ]
    );
    // Without a credential, there is nothing to hide.
    assert_eq!(problems(&strict("cluster: [\"rediss://a\", \"rediss://b\"]")), [""; 0]);
}

#[test]
fn a_change_of_the_quota_store_takes_a_restart() {
    let text = redis("cluster: [\"env:REDIS_URL\"]");
    let a = load_str("c.yaml", &text, &env_with_redis()).unwrap().config;
    let other = env_with("REDIS_URL", "rediss://gate:hidden-other@redis.example.com:6380");
    let b = load_str("c.yaml", &text, &other).unwrap().config;
    let changes = diff(&a, &b);
    assert_eq!(changes.len(), 1);
    assert_eq!(
        changes[0].to_string(),
        "quota_store.redis.cluster[0]: \"env:REDIS_URL\" -> \"env:REDIS_URL\" (another value) (needs a restart)"
    );
    let c = load_str("c.yaml", &redis("url: \"redis://a\""), &env_with_redis()).unwrap().config;
    assert!(diff(&a, &c).iter().all(|change| change.effect == Effect::Restart));
}
