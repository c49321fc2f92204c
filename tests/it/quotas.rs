//! How much: limits on the proxy's listener, as a caller meets them.

use serde_json::{Value, json};

use crate::support::{Client, Config, Gateway, chat, provider, soon};

fn config(provider: std::net::SocketAddr) -> Config {
    let mut config = Config::for_provider(provider);
    config.head = "admin: { master_key: \"env:MASTER_KEY\" }\n\
                   store: { sqlite: { path: \":memory:\" } }\n"
        .to_owned();
    config
}

fn short(stream: bool) -> Value {
    let mut body = chat(stream, "tokens=5");
    body["max_tokens"] = json!(20);
    body
}

#[tokio::test]
async fn requests_a_minute_are_counted_and_told_on_every_answer() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address()));
    let key = gateway.key(&json!({"rpm_limit": 3})).await;
    for left in ["2", "1", "0"] {
        let answer = gateway.chat(&key, &short(left == "1")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
        assert!(answer.header("x-ratelimit-reset-requests").is_some());
    }
    let refused = gateway.chat(&key, &short(false)).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert!(
        refused.text().contains("This key may use 3 requests every 60 s"),
        "{}",
        refused.text()
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(provider.ledger().total.requests, 3, "what is refused goes no further");
    gateway.stop().await;
}

#[tokio::test]
async fn tokens_that_were_not_used_are_given_back() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address()));
    let key = gateway.key(&json!({"tpm_limit": 1_000})).await;
    let mut body = short(false);
    body["max_tokens"] = json!(600);
    // Two at once would not fit; one after the other do, since each uses a few tokens only.
    for _ in 0..3 {
        let answer = gateway.chat(&key, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    body["max_tokens"] = json!(1_000);
    let refused = gateway.chat(&key, &body).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert!(refused.text().contains("never fits"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn a_teams_limit_on_parallel_requests_is_over_all_its_keys() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address()));
    let team = gateway
        .admin("POST", "/team/new", &json!({"team_id": "t", "max_parallel_requests": 2}))
        .await;
    assert_eq!(team.status, 200, "{}", team.text());
    let keys =
        [gateway.key(&json!({"team_id": "t"})).await, gateway.key(&json!({"team_id": "t"})).await];
    let mut streams = Vec::new();
    for key in &keys {
        let headers = format!("Authorization: Bearer {key}\r\n");
        let body = chat(true, "fault=stall,after=3");
        let mut stream = gateway.client().connect().await;
        let request = Client::request("/v1/chat/completions", &headers, &body);
        tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
        streams.push(stream);
    }
    soon("two streams", provider.wait_until(|stats| stats.streams_open == 2)).await;
    let refused = gateway.chat(&keys[0], &short(false)).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert!(
        refused.text().contains("The team `t` may use 2 requests at once"),
        "{}",
        refused.text()
    );
    // One client leaves, and its place is free.
    streams.pop();
    soon("a free place", async {
        while gateway.chat(&keys[0], &short(false)).await.status != 200 {}
    })
    .await;
    drop(streams);
    gateway.stop().await;
}
