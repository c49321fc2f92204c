//! How much: limits on the proxy's listener, as a caller meets them.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::reload::asked;
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

/// A provider that has said everything may still not have ended its answer.
#[tokio::test]
async fn what_an_answer_leaves_is_free_with_its_last_word() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&config(listener.local_addr().unwrap()));
    let provider = tokio::spawn(async move {
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut stream = asked(&listener).await;
            let events = concat!(
                r#"data: {"choices":[{"index":0,"delta":{"content":"token"},"finish_reason":"stop"}]}"#,
                "\n\n",
                r#"data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}"#,
                "\n\ndata: [DONE]\n\n"
            );
            let (kind, length) = ("text/event-stream", events.len());
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n\
                 {length:x}\r\n{events}\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
        open
    });
    let limits = json!({"limits": {"tpm": 1_000, "parallel": 1}});
    let made = gateway.admin("POST", "/admin/v1/keys", &limits).await.json();
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let mut body = short(true);
    body["max_tokens"] = json!(700);
    let bearer = format!("Authorization: Bearer {key}\r\n");
    let request = Client::request("/v1/chat/completions", &bearer, &body);
    let mut clients = Vec::new();
    for turn in 1..=3 {
        let mut client = gateway.client().connect().await;
        client.write_all(&request).await.unwrap();
        let mut answer = String::new();
        soon("the last word", async {
            while !answer.contains("[DONE]") && client.read_line(&mut answer).await.unwrap() > 0 {
                assert!(!answer.starts_with("HTTP/1.1 4"), "at turn {turn}: {answer}");
            }
        })
        .await;
        clients.push(client);
    }
    assert_eq!(gateway.metric("sluicegate_requests_in_flight", "").await, 3.0);
    // Now they end, and are charged by what they used: 30 tokens in all.
    drop(provider.await.unwrap());
    gateway.until_metric("sluicegate_exchanges_total", "", 3.0).await;
    soon("what was used to be told", async {
        loop {
            let path = format!("/admin/v1/quotas/key:{id}");
            let view = gateway.admin("GET", &path, &json!(null)).await.json();
            let quotas = view["quotas"].as_array().unwrap();
            if quotas.iter().any(|quota| quota["unit"] == "tokens" && quota["settled"] == 30) {
                return;
            }
        }
    })
    .await;
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

#[tokio::test]
async fn every_kind_of_limit_that_can_be_set_is_counted() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(provider.address()));
    for (limits, expected) in [
        (
            json!({"windows": [{"unit": "requests", "limit": 1, "window": "1h"}]}),
            "1 request every 1 h",
        ),
        (
            json!({"windows": [{"unit": "requests", "limit": 1, "window": "day"}]}),
            "1 request a day",
        ),
        (
            json!({"windows": [{"unit": "requests", "limit": 1, "window": "lifetime"}]}),
            "1 request in all",
        ),
    ] {
        let body = json!({"limits": limits});
        let made = gateway.admin("POST", "/admin/v1/keys", &body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let key = made.json()["key"].as_str().unwrap().to_owned();
        assert_eq!(gateway.chat(&key, &short(false)).await.status, 200);
        let refused = gateway.chat(&key, &short(false)).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
        assert!(refused.text().contains(expected), "{}", refused.text());
    }
    gateway
        .until_metric(
            "sluicegate_quota_refusals_total",
            "scope_kind=\"key\",unit=\"requests\"",
            3.0,
        )
        .await;
    assert_eq!(gateway.metric("sluicegate_quota_store_up", "").await, 1.0);
    assert!(gateway.metric("sluicegate_quota_exchanges_total", "").await >= 3.0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_raise_lets_more_pass_and_ends_in_time() {
    let provider = provider().await;
    let mut config = config(provider.address());
    config = config.with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n",
    );
    let gateway = Gateway::start(&config);
    // Far less than any request may need, so that only the raise lets one pass.
    let past = json!({"max_budget": 0.000001, "temp_budget_increase": 1, "temp_budget_expiry": "2020-01-01"});
    let key = gateway.key(&past).await;
    assert_eq!(gateway.chat(&key, &short(false)).await.status, 402, "its time is over");
    let future = json!({"max_budget": 0.000001, "temp_budget_increase": 1, "temp_budget_expiry": "2100-01-01"});
    let key = gateway.key(&future).await;
    assert_eq!(gateway.chat(&key, &short(false)).await.status, 200);
    // One that ends while the key is remembered, which nothing but the clock says.
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let soon_over = json!({
        "max_budget": 0.000001, "temp_budget_increase": 1, "temp_budget_expiry": until.to_string(),
    });
    let key = gateway.key(&soon_over).await;
    soon("the raise to end", async {
        while gateway.chat(&key, &short(false)).await.status != 402 {}
    })
    .await;
    // The store's clock decides, of which the gateway's notion may be a round trip ahead.
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    assert!(now >= until, "it ended early");
    gateway.stop().await;
}

#[tokio::test]
async fn a_soft_limit_is_written_down_once() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(provider.address());
    config.head +=
        &format!("audit: {{ directory: {} }}\n", directory.path().join("audit").display());
    let gateway = Gateway::start(&config);
    let window = json!({"unit": "requests", "limit": 100, "soft": 2, "window": "year"});
    let body = json!({"limits": {"windows": [window]}});
    let made = gateway.admin("POST", "/admin/v1/keys", &body).await;
    let key = made.json()["key"].as_str().unwrap().to_owned();
    for _ in 0..4 {
        assert_eq!(gateway.chat(&key, &short(false)).await.status, 200);
    }
    gateway.until_metric("sluicegate_quota_soft_exceeded_total", "", 1.0).await;
    let lines = async || {
        let log = gateway.admin("GET", "/admin/v1/audit?limit=500", &json!(null)).await.json();
        let lines = log["items"].as_array().unwrap().clone();
        lines.into_iter().filter(|line| line["kind"] == "soft_limit").collect::<Vec<_>>()
    };
    soon("the line", async { while lines().await.is_empty() {} }).await;
    for _ in 0..3 {
        assert_eq!(gateway.chat(&key, &short(false)).await.status, 200);
    }
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let counter = format!("key:{id}|requests|year-UTC");
    // All seven are told, and there is still the one line.
    soon("all to be told", async {
        loop {
            let path = format!("/admin/v1/quotas/key:{id}");
            let view = gateway.admin("GET", &path, &json!(null)).await.json();
            if view["quotas"][0]["settled"] == 7 {
                return;
            }
        }
    })
    .await;
    let lines = lines().await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].to_string().contains(&counter), "{}", lines[0]);
    gateway.stop().await;
}

#[tokio::test]
async fn limits_of_the_configuration_hold_for_whom_they_name() {
    let provider = provider().await;
    for (quota, other, expected) in [
        ("{ scope: gateway, unit: requests, limit: 2, window: 1h }", None, "This gateway"),
        (
            "{ scope: model, id: sim-1, unit: requests, limit: 2, window: 1h }",
            Some("model"),
            "model",
        ),
        ("{ scope: model, unit: requests, limit: 2, window: 1h }", Some("model"), "model"),
        ("{ scope: provider, id: sim, unit: requests, limit: 2, window: 1h }", None, "provider"),
        ("{ scope: end_user, unit: requests, limit: 2, window: 1h }", Some("user"), "end user"),
        (
            "{ scope: end_user, id: eve, unit: requests, limit: 2, window: 1h }",
            Some("user"),
            "end user",
        ),
        ("{ scope: tag, id: batch, unit: requests, limit: 2, window: 1h }", Some("key"), "tag"),
    ] {
        let mut config = config(provider.address()).with(&format!("quotas: [{quota}]"));
        config.models += "  sim-2: { targets: [{ provider: sim, model: sim-1 }] }\n";
        let gateway = Gateway::start(&config);
        let tagged = gateway.key(&json!({"tags": ["batch"]})).await;
        let plain = gateway.key(&json!({})).await;
        let mut body = short(false);
        body["user"] = json!("eve");
        // By two keys: it is not a key's own limit.
        let keys = if other == Some("key") { [&tagged, &tagged] } else { [&tagged, &plain] };
        for key in keys {
            let answer = gateway.chat(key, &body).await;
            assert_eq!(answer.status, 200, "{quota}: {}", answer.text());
        }
        let refused = gateway.chat(&tagged, &body).await;
        let code = refused.code();
        assert_eq!((refused.status, code.as_str()), (429, "rate_limit_exceeded"), "{quota}");
        let text = refused.text().to_lowercase();
        assert!(text.contains(&expected.to_lowercase()), "{quota}: {text}");
        assert!(refused.header("retry-after").is_some(), "{quota}");
        let mut key = &tagged;
        match other {
            None => continue,
            Some("model") => body["model"] = json!("sim-2"),
            Some("user") => body["user"] = json!("bob"),
            _ => key = &plain,
        }
        let passed = gateway.chat(key, &body).await;
        assert_eq!(passed.status, 200, "{quota}: {}", passed.text());
        gateway.stop().await;
    }
}
