//! More than there is room for: places and their queue, bytes of bodies, requests of one address.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::reload::Load;
use crate::support::{
    Client, Config, Gateway, Response, chat, messages, provider, read_response, soon, split_events,
};

/// Begins a request and does not wait for its answer.
async fn begin(gateway: &Gateway, directives: &str) -> BufReader<TcpStream> {
    let mut stream = gateway.client().connect().await;
    let request = Client::request("/v1/chat/completions", "", &chat(true, directives));
    stream.write_all(&request).await.unwrap();
    stream
}

async fn until(gateway: &Gateway, name: &str, value: f64) {
    soon(&format!("{name} {value}"), async {
        while (gateway.metric(name, "").await - value).abs() > 0.5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

const SERVED: &str = "sluicegate_requests_served";
const QUEUED: &str = "sluicegate_requests_queued";
const BYTES: &str = "sluicegate_buffered_bytes";

async fn shed(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric("sluicegate_shed_total", &format!("reason=\"{reason}\"")).await
}

fn is_overloaded(answer: &Response) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn beyond_the_places_some_wait_and_the_rest_is_told_to_come_again() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address())
        .with("limits: { concurrent_requests: 1, queue: { size: 1, timeout: 1h } }");
    let gateway = Gateway::start(&config);
    let served = begin(&gateway, "fault=stall,after=2").await;
    until(&gateway, SERVED, 1.0).await;
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    let mut waits = begin(&gateway, "tokens=3").await;
    until(&gateway, QUEUED, 1.0).await;

    is_overloaded(&gateway.client().post("/v1/chat/completions", &chat(true, "")).await);
    let answer = gateway.client().post("/v1/messages", &messages(true, "")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["error"]["type"], "overloaded_error");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(shed(&gateway, "queue_full").await, 2.0);

    // Whoever looks after it sees all of it.
    for path in ["/health", "/health/live", "/health/ready", "/v1/models"] {
        assert_eq!(gateway.client().get(path).await.status, 200, "{path}");
    }
    for (address, path) in [
        (gateway.metrics, "/health/ready"),
        (gateway.metrics, "/metrics"),
        (gateway.admin, "/admin/v1/config"),
    ] {
        assert_eq!(Client::new(address).get(path).await.status, 200, "{path}");
    }

    // One that leaves makes room for the next.
    assert_eq!(provider.ledger().total.requests, 1);
    drop(served);
    let answer = read_response(&mut waits).await;
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
    for name in [SERVED, QUEUED, BYTES] {
        until(&gateway, name, 0.0).await;
    }
}

#[tokio::test]
async fn whoever_leaves_the_queue_is_not_served() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address())
        .with("limits: { concurrent_requests: 1, queue: { size: 10, timeout: 1h } }");
    let gateway = Gateway::start(&config);
    let served = begin(&gateway, "fault=stall,after=2").await;
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(begin(&gateway, "tokens=3").await);
    }
    until(&gateway, QUEUED, 10.0).await;
    drop(waiting);
    until(&gateway, QUEUED, 0.0).await;
    drop(served);
    for name in [SERVED, BYTES] {
        until(&gateway, name, 0.0).await;
    }
    assert_eq!(provider.ledger().total.requests, 1, "nobody was there any more");
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
}

#[tokio::test]
async fn waiting_has_an_end_and_a_reload_changes_the_places() {
    let provider = provider().await;
    let limits = |places: usize| {
        format!("limits: {{ concurrent_requests: {places}, queue: {{ size: 9, timeout: 100ms }} }}")
    };
    let config = Config::for_provider(provider.address());
    let gateway = Gateway::start(&config.clone().with(&limits(1)));
    let first = begin(&gateway, "fault=stall,after=2").await;
    until(&gateway, SERVED, 1.0).await;
    is_overloaded(&gateway.client().post("/v1/chat/completions", &chat(false, "")).await);
    assert_eq!(shed(&gateway, "queue_timeout").await, 1.0);

    gateway.rewrite_config(&config.clone().with(&limits(2)));
    gateway.await_log("configuration in force");
    let second = begin(&gateway, "fault=stall,after=2").await;
    until(&gateway, SERVED, 2.0).await;
    gateway.rewrite_config(&config.with(&limits(1)));
    gateway.await_log("configuration in force");
    drop(first);
    until(&gateway, SERVED, 1.0).await;
    // The place that is free again is one too many.
    is_overloaded(&gateway.client().post("/v1/chat/completions", &chat(false, "")).await);
    drop(second);
    until(&gateway, SERVED, 0.0).await;
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
}

#[tokio::test]
async fn places_come_back_however_a_request_ends() {
    let provider = provider().await;
    let config =
        Config::for_provider(provider.address()).with("limits: { concurrent_requests: 50 }");
    let gateway = Gateway::start(&config);
    let mut all = JoinSet::new();
    for n in 0..200_usize {
        let client = gateway.client();
        all.spawn(async move {
            let directives = ["tokens=5", "fault=stall,after=2", "fault=status,status=500"][n % 3];
            let request =
                Client::request("/v1/chat/completions", "", &chat(n % 2 == 0, directives));
            let mut stream = client.connect().await;
            stream.write_all(&request[..request.len() - n % 5]).await.unwrap();
            // Before the body is whole, while it waits, in the midst of the answer, or after it.
            let mut first = [0; 200];
            if n % 4 > 1 {
                let reading = stream.read(&mut first);
                tokio::time::timeout(std::time::Duration::from_millis(200), reading).await.ok();
            }
        });
    }
    soon("all of them", all.join_all()).await;
    for name in [SERVED, QUEUED, BYTES, "sluicegate_requests_in_flight"] {
        until(&gateway, name, 0.0).await;
    }
    soon("the provider's streams", provider.wait_until(|stats| stats.streams_open == 0)).await;
    let load = Load::start(gateway.client(), 4);
    load.go_on_for(40).await;
    load.finish().await;
}

#[tokio::test]
async fn bodies_have_so_many_bytes_in_all() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("limits: { buffered_bytes: 1MiB }");
    let gateway = Gateway::start(&config);
    // A declared length is set aside at once.
    let mut slow = gateway.client().connect().await;
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    slow.write_all(format!("{head}Content-Length: 900000\r\n\r\n{{").as_bytes()).await.unwrap();
    until(&gateway, BYTES, 900_000.0).await;
    let mut large = chat(false, "strict=false");
    large["pad"] = json!("z".repeat(200_000));
    is_overloaded(&gateway.client().post("/v1/chat/completions", &large).await);
    let chunk = large.to_string();
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
        chunk.len()
    );
    is_overloaded(&gateway.client().raw(&chunked).await);
    assert_eq!(shed(&gateway, "buffered_bytes").await, 2.0);
    until(&gateway, BYTES, 900_000.0).await;
    // Small ones fit still.
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    drop(slow);
    until(&gateway, BYTES, 0.0).await;
    assert_eq!(gateway.client().raw(&chunked).await.status, 200);

    // What a stream was asked with is held for as long as it lasts.
    large["stream"] = json!(true);
    large["user"] = json!("strict=false,fault=stall,after=2");
    let mut stream = gateway.client().connect().await;
    stream.write_all(&Client::request("/v1/chat/completions", "", &large)).await.unwrap();
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    let held = gateway.metric(BYTES, "").await;
    assert!((200_000.0..210_000.0).contains(&held), "{held}");
    drop(stream);
    until(&gateway, BYTES, 0.0).await;
}

#[tokio::test]
async fn a_translated_body_is_counted_beside_the_one_that_came() {
    let provider = provider().await;
    let gateway = Gateway::start(&Config::for_provider(provider.address()));
    let mut body = chat(true, "fault=stall,after=2");
    body["model"] = json!("claude-sim");
    body["messages"][0]["content"] = json!("z".repeat(100_000));
    let mut stream = gateway.client().connect().await;
    stream.write_all(&Client::request("/v1/chat/completions", "", &body)).await.unwrap();
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    let held = gateway.metric(BYTES, "").await;
    assert!((200_000.0..210_000.0).contains(&held), "{held}");
    drop(stream);
    until(&gateway, BYTES, 0.0).await;
}

/// A translated answer is whole before it leaves, so it has to fit as well.
#[tokio::test]
async fn a_translated_answer_is_counted_and_told_where_it_does_not_fit() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("limits: { buffered_bytes: 1MiB }");
    let gateway = Gateway::start(&config);
    let ask = async |model: &str, directives: &str| {
        let mut body = chat(false, directives);
        body["model"] = json!(model);
        body["max_tokens"] = json!(100);
        gateway.client().post("/v1/chat/completions", &body).await
    };
    let fits = ask("claude-sim", "tokens=8,text_bytes=40000").await;
    assert_eq!((fits.status, fits.body.len() > 320_000), (200, true), "{}", fits.status);
    until(&gateway, BYTES, 0.0).await;
    let large = "tokens=20,text_bytes=40000";
    is_overloaded(&ask("claude-sim", large).await);
    assert_eq!(shed(&gateway, "buffered_bytes").await, 1.0);
    until(&gateway, BYTES, 0.0).await;
    assert_eq!(provider.ledger().total.requests, 2, "what is paid for is not asked for again");
    // What passes as it comes is held by nobody.
    assert_eq!(ask("sim-1", large).await.status, 200);

    // A small one fits though the rest is taken.
    let mut slow = gateway.client().connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 1048000\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    until(&gateway, BYTES, 1_048_000.0).await;
    assert_eq!(ask("claude-sim", "tokens=100,text_bytes=100").await.status, 200);
    is_overloaded(&ask("claude-sim", "tokens=8,text_bytes=40000").await);
    drop(slow);
    until(&gateway, BYTES, 0.0).await;
}

#[tokio::test]
async fn an_address_may_ask_so_often_before_anybody_knows_whose_it_is() {
    let provider = provider().await;
    // One that comes back within the hour.
    let config = Config::for_provider(provider.address())
        .with("limits: { requests_per_ip: { rate: 1, burst: 100 } }")
        .with("cors: { origins: [\"https://app.example.com\"] }");
    let gateway = Gateway::start(&config);
    let mut stream = gateway.client().connect().await;
    let refused = soon("a refusal", async {
        loop {
            let request =
                "GET /v1/models HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.com\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_response(&mut stream).await;
            if answer.status != 200 {
                break answer;
            }
        }
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_requests"));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    let origin = refused.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://app.example.com"), "a page can read why");
    // In the caller's dialect, on a connection of its own too.
    let refused = soon("another refusal", async {
        loop {
            // What leads nowhere counts, too.
            assert!(matches!(gateway.client().get("/nowhere").await.status, 404 | 429));
            let answer = gateway.client().post("/v1/messages", &messages(false, "")).await;
            if answer.status == 429 {
                break answer;
            }
        }
    })
    .await;
    assert_eq!(
        (refused.status, refused.json()["error"]["type"].as_str()),
        (429, Some("rate_limit_error"))
    );
    for _ in 0..20 {
        assert_eq!(gateway.client().get("/health").await.status, 200);
    }
}

#[tokio::test]
async fn two_hundred_streams_end_or_are_told_why() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("shutdown: { timeout: 8s }");
    let gateway = Gateway::start(&config);
    let mut streams = Vec::new();
    for n in 0..200 {
        // Half of them end within the time, half never would.
        let ends = n % 2 == 0;
        let directives =
            if ends { "tokens=20,token_ms=150" } else { "tokens=20,fault=stall,after=8" };
        let responses =
            json!({ "model": "sim-1", "stream": true, "user": directives, "input": "Hello" });
        let (path, body) = match n / 2 % 3 {
            0 => ("/v1/chat/completions", chat(true, directives)),
            1 => ("/v1/responses", responses),
            _ => ("/v1/messages", messages(true, directives)),
        };
        let mut stream = gateway.client().connect().await;
        let version = "anthropic-version: 2023-06-01\r\n";
        stream.write_all(&Client::request(path, version, &body)).await.unwrap();
        let mut first = [0; 1];
        soon(&format!("a beginning of {n}"), stream.read_exact(&mut first)).await.unwrap();
        streams.push((path, ends, first, stream));
    }
    gateway.signal("TERM");
    let mut answers = JoinSet::new();
    for (path, ends, first, stream) in streams {
        answers.spawn(async move {
            let answer = read_response(&mut first[..].chain(stream)).await;
            assert!(!answer.cut, "{answer:?}");
            let events = split_events(&answer.body);
            let (last, all) = (events.last().unwrap(), answer.text());
            let end = match path {
                "/v1/chat/completions" => "[DONE]",
                "/v1/responses" => "response.completed",
                _ => "message_stop",
            };
            assert_eq!(all.contains(end), ends, "{path}: {all}");
            if !ends {
                assert!(last.contains("shutting down") && last.contains("error"), "{path}: {last}");
            }
        });
    }
    soon("all of them", answers.join_all()).await;
    // Within the time: a process that has to be killed has no exit code.
    let (code, log) = gateway.ended().await;
    assert_eq!((code, log.len()), (0, 200));
}
