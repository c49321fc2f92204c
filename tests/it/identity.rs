//! Who may call: virtual keys on the proxy's listener, across processes and outages.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::reload::Load;
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::Postgres;
use crate::support::{Config, Gateway, Response, chat, in_time, provider, soon};

/// A gateway that keeps its keys in `store`, and lets in nobody without one.
fn config(provider: std::net::SocketAddr, store: &str) -> Config {
    let mut config = Config::for_provider(provider);
    config.head = format!("admin: {{ master_key: \"env:MASTER_KEY\" }}\nstore: {store}\n");
    config
}

fn sqlite(path: &std::path::Path) -> String {
    format!("{{ sqlite: {{ path: \"{}\" }} }}", path.display())
}

/// A new key: its id and its text.
async fn new_key(gateway: &Gateway, fields: Value) -> (String, String) {
    let created = gateway.admin("POST", "/admin/v1/keys", &fields).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let text = |field: &str| created.json()[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

/// Calls until the answer has this status.
async fn until(gateway: &Gateway, key: &str, status: u16) -> Response {
    soon(&format!("status {status}"), async {
        loop {
            let answer = gateway.chat(key, &chat(false, "")).await;
            if answer.status == status {
                return answer;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_key_lets_its_holder_in_by_each_header_until_it_is_blocked_or_deleted() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address(), "{ sqlite: { path: \":memory:\" } }"));
    let (id, key) = new_key(&gateway, json!({"alias": "ci", "models": ["sim-1"]})).await;
    for header in [bearer(&key), format!("x-api-key: {key}\r\n"), format!("api-key: {key}\r\n")] {
        let path = "/v1/chat/completions";
        let answer = gateway.client().post_with(path, &header, &chat(false, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let sent = provider.requests();
    assert!(!format!("{sent:?}").contains(&key), "the key goes no further than the gateway");

    let other = if key.ends_with('x') { 'y' } else { 'x' };
    let mistyped = format!("{}{other}", &key[..key.len() - 1]);
    let answer = gateway.chat(&mistyped, &chat(false, "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_api_key"));
    assert!(answer.text().contains("checksum"), "{}", answer.text());
    assert_eq!(gateway.chat("sk-somebody-elses-key", &chat(false, "")).await.status, 401);

    let block = format!("/admin/v1/keys/{id}/block");
    assert_eq!(gateway.admin("POST", &block, &json!({})).await.status, 200);
    let answer = until(&gateway, &key, 403).await;
    assert_eq!(answer.code(), "api_key_blocked");
    let unblock = format!("/admin/v1/keys/{id}/unblock");
    assert_eq!(gateway.admin("POST", &unblock, &json!({})).await.status, 200);
    until(&gateway, &key, 200).await;
    let deleted = gateway.admin("DELETE", &format!("/admin/v1/keys/{id}"), &json!({})).await;
    assert!(deleted.status < 300, "{}", deleted.text());
    until(&gateway, &key, 401).await;

    let log = gateway.stop().await;
    let line = log.iter().find(|line| line["key"].is_string()).expect("the key's id is logged");
    assert_eq!((line["key"].as_str(), line["caller"].as_str()), (Some(&*id), Some("key")));
    assert!(log.iter().all(|line| !line.to_string().contains(&key)), "the key is not");
}

#[tokio::test]
async fn a_key_opens_its_own_models_and_routes_and_its_teams() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address(), "{ sqlite: { path: \":memory:\" } }"));
    let team = json!({"id": "red", "models": ["sim-1", "claude-*"]});
    assert_eq!(gateway.admin("POST", "/admin/v1/teams", &team).await.status, 201);
    let fields = json!({"team": "red", "models": ["sim-1", "alias"]});
    let (_, key) = new_key(&gateway, fields).await;
    assert_eq!(gateway.chat(&key, &chat(false, "")).await.status, 200);
    let mut body = chat(false, "");
    body["model"] = json!("alias");
    let client = gateway.client();
    let answer = client.post_with("/v1/chat/completions", &bearer(&key), &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "model_not_allowed"));
    let get = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(&key));
    let list = client.raw(get).await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(ids, ["sim-1"], "only what the key may use is listed");

    let (_, narrow) = new_key(&gateway, json!({"routes": ["/v1/messages"]})).await;
    let answer = gateway.chat(&narrow, &chat(false, "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "route_not_allowed"));

    let blocked = json!({"blocked": true});
    let patched = gateway.admin("PATCH", "/admin/v1/teams/red", &blocked).await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    let answer = until(&gateway, &key, 403).await;
    assert!(answer.text().contains("team"), "{}", answer.text());
}

/// Two processes on one database: what one is told, the other does, within a second.
async fn a_block_is_effective_everywhere(store: &str) {
    let provider = provider().await;
    let config = config(provider.address(), store);
    let (one, other) = (Gateway::start(&config), Gateway::start(&config));
    in_time("a block and a deletion", Duration::from_secs(1), async || {
        let (blocked, deleted) = (new_key(&one, json!({})).await, new_key(&one, json!({})).await);
        for (_, key) in [&blocked, &deleted] {
            let answer = other.chat(key, &chat(false, "")).await;
            assert_eq!(answer.status, 200, "a new key is good at once");
        }
        let block = format!("/admin/v1/keys/{}/block", blocked.0);
        assert_eq!(one.admin("POST", &block, &json!({})).await.status, 200);
        let since = Instant::now();
        until(&other, &blocked.1, 403).await;
        let block = since.elapsed();
        // Just after the other process has looked: this one waits for all of the time to its next look, so that
        // the best of several attempts can't be one by chance.
        let key = format!("/admin/v1/keys/{}", deleted.0);
        assert!(one.admin("DELETE", &key, &json!({})).await.status < 300);
        let since = Instant::now();
        until(&other, &deleted.1, 401).await;
        let slowest = block.max(since.elapsed());
        until(&one, &blocked.1, 403).await;
        until(&one, &deleted.1, 401).await;
        slowest
    })
    .await;
}

#[tokio::test]
async fn a_block_reaches_the_other_process_through_postgres() {
    let postgres = Postgres::start();
    a_block_is_effective_everywhere(&format!("{{ postgres: {{ url: \"{}\" }} }}", postgres.url()))
        .await;
}

/// A pooler passes no notice on, so that the feed is asked.
#[tokio::test]
async fn a_block_reaches_the_other_process_through_pgbouncer() {
    let postgres = Postgres::start();
    let bouncer = PgBouncer::start(&postgres, 8);
    let url = bouncer.url_of("postgres");
    a_block_is_effective_everywhere(&format!("{{ postgres: {{ url: \"{url}\" }} }}")).await;
}

#[tokio::test]
async fn a_block_reaches_the_other_process_through_one_file() {
    let directory = tempfile::tempdir().unwrap();
    a_block_is_effective_everywhere(&sqlite(&directory.path().join("keys.db"))).await;
}

#[tokio::test]
async fn known_keys_go_on_working_while_the_database_is_down() {
    let provider = provider().await;
    let mut postgres = Postgres::start();
    let store = format!("{{ postgres: {{ url: \"{}\" }} }}", postgres.url());
    let gateway = Gateway::start(&config(provider.address(), &store));
    let (_, known) = new_key(&gateway, json!({"alias": "known"})).await;
    let (_, unseen) = new_key(&gateway, json!({"alias": "unseen"})).await;
    assert_eq!(gateway.chat(&known, &chat(false, "")).await.status, 200);

    let load = Load::with_headers(gateway.client(), 8, &bearer(&known));
    load.go_on_for(50).await;
    postgres.kill();
    load.go_on_for(200).await;
    let refused = gateway.chat(&unseen, &chat(false, "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "identity_unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let made = gateway.admin("POST", "/admin/v1/keys", &json!({})).await;
    assert_eq!(made.status, 503, "{}", made.text());
    load.go_on_for(200).await;

    postgres.restart();
    until(&gateway, &unseen, 200).await;
    load.go_on_for(100).await;
    load.finish().await;
}

/// What is known may be wrong by as much as the store's changes can't be seen; there is an end to that.
#[tokio::test]
async fn what_is_known_is_not_believed_for_longer_than_configured() {
    const STALE_FOR: Duration = Duration::from_secs(1);
    let provider = provider().await;
    let mut postgres = Postgres::start();
    let store = format!("{{ postgres: {{ url: \"{}\" }} }}", postgres.url());
    let config = config(provider.address(), &store).with("auth: { keys: { stale_for: 1s } }");
    let gateway = Gateway::start(&config);
    let (_, key) = new_key(&gateway, json!({"alias": "known"})).await;
    // While the store answers, being known lasts for longer than that.
    let since = Instant::now();
    while since.elapsed() < STALE_FOR * 2 {
        assert_eq!(gateway.chat(&key, &chat(false, "")).await.status, 200);
    }
    postgres.kill();
    let dead = Instant::now();
    let refused = soon("the end of belief", async {
        loop {
            let asked = dead.elapsed();
            let answer = gateway.chat(&key, &chat(false, "")).await;
            if answer.status != 200 {
                return answer;
            }
            // However slow the machine is: from then on nothing may be believed.
            assert!(asked < STALE_FOR + Duration::from_millis(50), "believed {asked:?} later");
        }
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "identity_unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    postgres.restart();
    until(&gateway, &key, 200).await;
}

#[tokio::test]
async fn new_keys_are_good_within_two_seconds_of_the_end_of_a_long_outage() {
    let provider = provider().await;
    let mut postgres = Postgres::start();
    let store = format!("{{ postgres: {{ url: \"{}\" }} }}", postgres.url());
    let gateway = Gateway::start(&config(provider.address(), &store));
    in_time("the end of an outage", Duration::from_secs(2), async || {
        let (_, unseen) = new_key(&gateway, json!({})).await;
        postgres.kill();
        let down = Instant::now();
        // Somebody asks all the while, so that each pause is followed by another try: pauses that grow with
        // an outage have grown.
        while down.elapsed() < Duration::from_secs(12) {
            assert_eq!(gateway.chat(&unseen, &chat(false, "")).await.status, 503);
        }
        postgres.restart();
        let since = Instant::now();
        until(&gateway, &unseen, 200).await;
        since.elapsed()
    })
    .await;
    let (_, made) = new_key(&gateway, json!({"alias": "made"})).await;
    assert_eq!(gateway.chat(&made, &chat(false, "")).await.status, 200);
}
