//! What callers are told of cost, and what becomes of streams that use more than they may.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sluicegate_simulator::{Counts, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    Client, Config, Gateway, MASTER_KEY, Response, chat, messages, provider, read_response, soon,
    split_events,
};

/// Nano-USD a token: 10 and 20 USD a million.
const IN: u64 = 10_000;
const OUT: u64 = 20_000;

const COST: &str = "x-sluicegate-cost-usd";
const INCLUDE: &str = "x-sluicegate-include-cost: true\r\n";

const MODELS: &str = "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n  \
     claude-sim: { targets: [{ provider: anth, model: claude-sim }], price: { input: \"10\", output: \"20\" } }\n  \
     unpriced: { targets: [{ provider: sim, model: unpriced }] }\n";

fn config(provider: &Simulator) -> Config {
    Config::for_provider(provider.address()).with_models(MODELS)
}

fn with_keys(provider: &Simulator) -> Config {
    let mut config = config(provider);
    config.head = "admin: { master_key: \"env:MASTER_KEY\" }\n\
                   store: { sqlite: { path: \":memory:\" } }\n"
        .to_owned();
    config
}

async fn key(gateway: &Gateway, fields: Value) -> String {
    let body = fields.to_string();
    let request = format!(
        "POST /key/generate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let created = Client::new(gateway.admin).raw(request).await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.json()["key"].as_str().unwrap().to_owned()
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

fn cost(counts: &Counts) -> u64 {
    counts.prompt_tokens * IN + counts.completion_tokens * OUT
}

/// Whole and fraction of dollars, as nano-USD.
fn nano(usd: &str) -> u64 {
    let (whole, fraction) = usd.split_once('.').unwrap_or((usd, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

fn logged(line: &Value) -> u64 {
    line["cost_nano_usd"].as_u64().unwrap()
}

#[tokio::test]
async fn another_price_in_the_file_is_the_price() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prices.json");
    let set = |rate: f64| {
        let rates = json!({"input_cost_per_token": rate, "output_cost_per_token": rate});
        crate::support::certificates::replace(&file, &json!({"sim/sim-1": rates}).to_string());
    };
    set(1e-6);
    let config = Config::for_provider(provider.address());
    let config = config.with(&format!("prices: {{ file: {} }}", file.display()));
    let gateway = Gateway::start_in(directory, &config);
    let told = async || {
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, "tokens=7")).await;
        nano(answer.header(COST).unwrap_or_else(|| panic!("{answer:?}")))
    };
    let before = told().await;
    set(2e-6);
    gateway.await_log("configuration in force");
    assert_eq!(told().await, 2 * before);
    gateway.stop().await;
}

#[tokio::test]
async fn a_plain_answer_of_a_priced_model_tells_its_cost() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider));
    let responses = json!({"model": "sim-1", "input": "Hello", "user": "tokens=7"});
    let embeddings = json!({"model": "sim-1", "input": "Hello"});
    let version = "anthropic-version: 2023-06-01\r\n";
    let requests = [
        ("/v1/chat/completions", chat(false, "tokens=7")),
        ("/v1/chat/completions", chat(false, "tokens=7,chunking=11")),
        ("/v1/responses", responses),
        ("/v1/embeddings", embeddings),
        ("/v1/messages", messages(false, "tokens=7")),
    ];
    // One connection for all of them: nothing is left over of one answer for the next.
    let mut stream = gateway.client().connect().await;
    let mut told = Vec::new();
    for (path, body) in &requests {
        stream.write_all(&Client::request(path, version, body)).await.unwrap();
        let answer = read_response(&mut stream).await;
        assert_eq!((answer.status, answer.cut), (200, false), "{path}: {}", answer.text());
        assert!(answer.json()["usage"].is_object(), "{path}");
        told.push(nano(answer.header(COST).unwrap_or_else(|| panic!("{path}: {answer:?}"))));
    }
    assert!(told.iter().all(|cost| *cost > 0), "{told:?}");
    assert_eq!(told.iter().sum::<u64>(), cost(&provider.ledger().total));
    drop(stream);

    let mut unpriced = chat(false, "");
    unpriced["model"] = json!("unpriced");
    let silent = [
        ("/v1/chat/completions", unpriced),
        ("/v1/chat/completions", chat(true, "")),
        ("/v1/chat/completions", chat(false, "omit_usage=true")),
        ("/v1/chat/completions", chat(false, "fault=status,status=418")),
    ];
    for (path, body) in &silent {
        let answer = gateway.client().post(path, body).await;
        assert_eq!(answer.header(COST), None, "{body}");
        assert!(!answer.cut, "{body}");
    }
    let log = gateway.stop().await;
    assert_eq!(log.len(), requests.len() + silent.len());
    let costs: Vec<_> = log.iter().take(told.len()).map(logged).collect();
    assert_eq!(costs, told);
    assert!(log.iter().take(told.len()).all(|line| line["end"] == "complete"));

    let off = config(&provider).with("answers: { cost_header: false }");
    let gateway = Gateway::start(&off);
    let answer = gateway.client().post("/v1/chat/completions", &chat(false, "")).await;
    assert_eq!((answer.status, answer.header(COST)), (200, None));
}

#[tokio::test]
async fn a_plain_answer_tells_its_cost_in_http2_too() {
    let provider = provider().await;
    let config = config(&provider).with(
        "listeners:\n  proxy: { address: \"127.0.0.1:0\", h2c: true }\n  \
         admin: { address: \"127.0.0.1:0\" }\n  metrics: { address: \"127.0.0.1:0\" }",
    );
    let gateway = Gateway::start(&config);
    let stream = TcpStream::connect(gateway.proxy).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for directives in ["tokens=7", "tokens=7,chunking=11", "tokens=20,text_bytes=1000"] {
        let before = cost(&provider.ledger().total);
        let request = http::Request::post("http://localhost/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(chat(false, directives).to_string())))
            .unwrap();
        let answer = soon("an answer", sender.send_request(request)).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let told = nano(answer.headers()[COST].to_str().unwrap());
        let body = soon("a body", answer.into_body().collect()).await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap();
        assert_eq!(told, cost(&provider.ledger().total) - before, "{directives}");
    }
    // What breaks is an error there, too, and no stream that is reset.
    let request = http::Request::post("http://localhost/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(chat(false, "fault=close-mid-body").to_string())))
        .unwrap();
    let answer = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status().as_u16(), 502);
    let body = soon("a body", answer.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["code"], "upstream_error");
}

#[tokio::test]
async fn what_is_too_long_to_wait_passes_without_the_cost() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider));
    for (tokens, waits) in [(200, true), (300, false), (3_000, false)] {
        let directives = format!("tokens={tokens},text_bytes=1000");
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, &directives)).await;
        assert_eq!((answer.status, answer.cut), (200, false));
        assert_eq!(answer.header(COST).is_some(), waits, "{tokens}");
        let content = answer.json()["choices"][0]["message"]["content"].to_string();
        assert!(content.len() > tokens * 1_000, "{tokens}: {}", content.len());
    }
}

#[tokio::test]
async fn a_plain_answer_that_breaks_is_a_clean_error_in_the_callers_dialect() {
    let provider = provider().await;
    let models = MODELS.replace("price:", "timeouts: { idle: 300ms }, price:");
    let gateway = Gateway::start(&config(&provider).with_models(&models));
    let faults = [
        ("close-mid-body", 502, "upstream_error"),
        ("reset", 502, "upstream_error"),
        ("stall", 504, "upstream_timeout"),
    ];
    for (fault, status, code) in faults {
        let directives = format!("fault={fault},tokens=20");
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, &directives)).await;
        assert_eq!((answer.status, answer.cut), (status, false), "{fault}: {answer:?}");
        assert_eq!((answer.code().as_str(), answer.header(COST)), (code, None), "{fault}");
        let version = "anthropic-version: 2023-06-01\r\n";
        let answer = gateway
            .client()
            .post_with("/v1/messages", version, &messages(false, &directives))
            .await;
        assert_eq!((answer.status, answer.cut), (status, false), "{fault}");
        assert_eq!(answer.json()["type"], "error", "{fault}");
    }
    let log = gateway.stop().await;
    assert_eq!(log.len(), 6);
    for line in &log {
        let end = line["end"].as_str().unwrap();
        assert!(["upstream_broke", "timed_out"].contains(&end), "{line}");
        assert!(line["status"].as_u64().unwrap() >= 502, "{line}");
        assert_eq!(line["bytes_out"].as_u64().unwrap_or(0), 0, "{line}");
    }
}

#[tokio::test]
async fn another_attempt_takes_the_place_of_one_that_broke_unseen() {
    let provider = provider().await;
    let models = "  sim-1:\n    targets:\n      \
         - { provider: sim, model: \"broken;fault=close-mid-body\", weight: 9 }\n      \
         - { provider: sim, model: whole }\n    \
         price: { input: \"10\", output: \"20\" }\n    \
         retries: { attempts: 2, on: [5xx] }\n";
    let gateway = Gateway::start(&config(&provider).with_models(models));
    for _ in 0..12 {
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, "tokens=5")).await;
        assert_eq!((answer.status, answer.cut), (200, false), "{}", answer.text());
        assert_eq!(answer.json()["model"], "whole");
        assert!(answer.header(COST).is_some());
    }
    let log = gateway.stop().await;
    let again = log.iter().filter(|line| line["attempts"] == 2).count();
    assert!(again > 0, "the broken target was never the first");
    for line in &log {
        assert_eq!((&line["end"], &line["status"]), (&json!("complete"), &json!(200)), "{line}");
    }
}

/// The members of cost that were put into a stream, and the stream without them.
fn without_cost(stream: &str) -> (Vec<String>, String) {
    let (mut costs, mut rest, mut text) = (Vec::new(), stream, String::new());
    while let Some((before, after)) = rest.split_once(",\"cost_usd\":\"") {
        let (cost, after) = after.split_once('"').unwrap();
        costs.push(cost.to_owned());
        text.push_str(before);
        rest = after;
    }
    text.push_str(rest);
    (costs, text)
}

/// A stream with what differs from one answer to the next taken out.
fn alike(stream: &str) -> Vec<String> {
    let fickle = |text: &str| {
        text.starts_with("chatcmpl-")
            || text.starts_with("cmpl-")
            || text.starts_with("resp_")
            || text.starts_with("msg_")
    };
    stream
        .split('"')
        .filter(|text| !fickle(text))
        .map(|text| if text.starts_with(':') && text.len() > 10 { ":0," } else { text })
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_stream_tells_its_cost_in_its_usage_where_it_is_asked_to() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider));
    let mut with_usage = chat(true, "tokens=30");
    with_usage["stream_options"] = json!({"include_usage": true});
    let responses = json!({"model": "sim-1", "input": "Hi", "stream": true, "user": "tokens=30"});
    let requests = [
        ("/v1/chat/completions", with_usage.clone()),
        ("/v1/responses", responses),
        ("/v1/messages", messages(true, "tokens=30")),
    ];
    let version = "anthropic-version: 2023-06-01\r\n";
    for chunking in ["events", "coalesce", "7"] {
        for (path, body) in &requests {
            let mut body = body.clone();
            let directives = format!("tokens=30,chunking={chunking}");
            match *path {
                "/v1/messages" => body["metadata"]["user_id"] = json!(directives),
                _ => body["user"] = json!(directives),
            }
            let plain = gateway.client().post_with(path, version, &body).await;
            let before = cost(&provider.ledger().total);
            let headers = format!("{version}{INCLUDE}");
            let told = gateway.client().post_with(path, &headers, &body).await;
            let spent = cost(&provider.ledger().total) - before;
            let (costs, rest) = without_cost(&told.text());
            assert_eq!(costs.len(), 1, "{path}: {}", told.text());
            assert_eq!(nano(&costs[0]), spent, "{path}");
            assert_eq!(alike(&rest), alike(&plain.text()), "{path}");
            assert_eq!(without_cost(&plain.text()).0.len(), 0, "{path}");
        }
    }
    // Who did not ask for usage is shown it, since that is where the cost is.
    let told =
        gateway.client().post_with("/v1/chat/completions", INCLUDE, &chat(true, "tokens=30")).await;
    let events = split_events(&told.body);
    let usage = &events[events.len() - 2];
    let usage: Value = serde_json::from_str(usage.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["cost_usd"].is_string(), "{usage}");
    // Without a price there is nothing to tell, and the usage that was not asked for stays hidden.
    let mut unpriced = chat(true, "tokens=30");
    unpriced["model"] = json!("unpriced");
    let silent = gateway.client().post_with("/v1/chat/completions", INCLUDE, &unpriced).await;
    assert!(!silent.text().contains("cost_usd") && !silent.text().contains("prompt_tokens"));
    for request in provider.requests() {
        let asked = request.headers.iter().any(|(name, _)| name.as_str().contains("sluicegate"));
        assert!(!asked, "the wish goes no further: {:?}", request.headers);
    }
    gateway.stop().await;

    let gateway = Gateway::start(&config(&provider).with("answers: { stream_cost: true }"));
    for (headers, expected) in [("", 1), ("x-sluicegate-include-cost: false\r\n", 0)] {
        let answer = gateway.client().post_with("/v1/chat/completions", headers, &with_usage).await;
        assert_eq!(without_cost(&answer.text()).0.len(), expected, "{headers}");
    }
}

async fn overrunning(gateway: &Gateway, key: &str, tokens: u64) -> Response {
    let directives = format!("tokens={tokens},fault=ignore-limit,token_ms=1");
    let mut body = chat(true, &directives);
    body["max_tokens"] = json!(20);
    gateway.client().post_with("/v1/chat/completions", &bearer(key), &body).await
}

#[tokio::test]
async fn a_stream_that_outruns_its_hold_is_finished_and_charged_in_full() {
    let provider = provider().await;
    let gateway = Gateway::start(&with_keys(&provider));
    // Room for a thousand tokens; the second stream needs more than is left.
    let key = key(&gateway, json!({"max_budget": 0.02})).await;
    for tokens in [600, 700] {
        let answer = overrunning(&gateway, &key, tokens).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        assert_eq!(split_events(&answer.body).len() as u64, tokens + 3);
    }
    let refused = overrunning(&gateway, &key, 1).await;
    assert_eq!((refused.status, refused.code().as_str()), (402, "budget_exceeded"));
    let log = gateway.stop().await;
    let charged: u64 = log.iter().take(2).map(logged).sum();
    assert_eq!(charged, cost(&provider.ledger().total));
    assert!(log.iter().take(2).all(|line| line["end"] == "complete"), "{log:#?}");
}

#[tokio::test]
async fn a_stream_that_outruns_a_limit_that_cuts_ends_with_an_error_and_is_charged_what_was_seen() {
    let provider = provider().await;
    let gateway = Gateway::start(&with_keys(&provider));
    let limits = json!({"on_overrun": "cut", "windows": [
        {"unit": "tokens", "limit": 300, "window": "1h"},
    ]});
    let made = gateway.admin("POST", "/admin/v1/keys", &json!({"limits": limits})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let answer = overrunning(&gateway, &key, 2_000).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert!(!text.contains("[DONE]"), "no fake end: {text}");
    let last = text.trim_end().rsplit("data: ").next().unwrap();
    let event: Value = serde_json::from_str(last).unwrap();
    assert_eq!(event["error"]["code"], "rate_limit_exceeded", "{event}");
    let seen = text.matches("\"content\"").count();
    assert!((100..600).contains(&seen), "{seen}");
    soon("the provider to be left", provider.wait_until(|stats| stats.total.aborted == 1)).await;
    let log = gateway.stop().await;
    assert_eq!(log[0]["end"], "limit_reached", "{log:#?}");
    let output = log[0]["usage"]["output"].as_u64().unwrap();
    assert!((seen as u64 - 2..2_000).contains(&output), "{output} of {seen}: {log:#?}");
}
