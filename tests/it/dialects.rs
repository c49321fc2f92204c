//! Callers of one dialect, served by targets of another. The simulated provider is strict: it refuses what its
//! dialect does not know.

use serde_json::{Value, json};
use sluicegate_simulator::Simulator;

use crate::support::scripted::{Scripted, ScriptedProvider};
use crate::support::{Config, Gateway, Response, chat, messages, provider, split_events};

const VERSION: &str = "anthropic-version: 2023-06-01\r\n";

fn config(provider: &Simulator) -> Config {
    let mut config = Config::for_provider(provider.address());
    config.models +=
        "  lenient: { targets: [{ provider: anth, model: claude-sim }], drop_params: true }\n";
    config
}

/// A request to be answered by a provider of the other dialect.
fn chat_to_claude(stream: bool, directives: &str) -> Value {
    let mut body = chat(stream, directives);
    body["model"] = json!("claude-sim");
    body
}

async fn ask(gateway: &Gateway, path: &str, body: &Value) -> Response {
    let headers = if path == "/v1/messages" { VERSION } else { "" };
    gateway.client().post_with(path, headers, body).await
}

/// All of a translated document is known before its head leaves.
fn has_its_length(answer: &Response) {
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    assert_eq!(answer.header("transfer-encoding"), None);
}

fn sent(provider: &Simulator) -> Value {
    serde_json::from_slice(&provider.requests().last().unwrap().body).unwrap()
}

#[tokio::test]
async fn each_dialects_caller_gets_an_answer_of_its_own_from_the_other() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider));
    let to_chat = || {
        let mut body = messages(false, "");
        body["model"] = json!("sim-1");
        body
    };
    let input = |model: &str| json!({"model": model, "input": "Hello", "max_output_tokens": 50});
    for (path, body, upstream, kind) in [
        ("/v1/chat/completions", chat_to_claude(false, ""), "/v1/messages", "chat.completion"),
        ("/v1/responses", input("claude-sim"), "/v1/messages", "response"),
        ("/v1/messages", to_chat(), "/v1/chat/completions", "message"),
    ] {
        let answer = ask(&gateway, path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        has_its_length(&answer);
        let told = answer.json();
        let found = told.get("object").or_else(|| told.get("type")).unwrap();
        assert_eq!(found, kind, "{told}");
        assert!(told["usage"].to_string().contains("tokens"), "{told}");
        let request = provider.requests().pop().unwrap();
        assert_eq!(request.path, upstream);
        let versioned = request.headers.contains_key("anthropic-version");
        assert_eq!(versioned, upstream == "/v1/messages", "{path}");
    }
    let ledger = provider.ledger().total;
    let log = gateway.stop().await;
    let sum =
        |kind: &str| -> u64 { log.iter().filter_map(|line| line["usage"][kind].as_u64()).sum() };
    assert_eq!((sum("input"), sum("output")), (ledger.prompt_tokens, ledger.completion_tokens));
    assert!(log.iter().all(|line| line["end"] == "complete"), "{log:#?}");
}

#[tokio::test]
async fn streams_are_translated_event_by_event() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider));
    let mut body = chat_to_claude(true, "tokens=30,chunking=7");
    body["stream_options"] = json!({"include_usage": true});
    let answer = ask(&gateway, "/v1/chat/completions", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let text = answer.text();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(
        text.contains("\"finish_reason\":\"stop\"") && text.contains("\"completion_tokens\":30"),
        "{text}"
    );
    let contents = text.matches("\"content\":\"").count();
    assert!(contents >= 30, "{contents} events with content: {text}");

    let mut body = messages(true, "tokens=30,chunking=3");
    body["model"] = json!("sim-1");
    let answer = ask(&gateway, "/v1/messages", &body).await;
    let events = split_events(&answer.body);
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("event: ")))
        .collect();
    assert_eq!(kinds.first(), Some(&"message_start"), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"message_stop"), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "content_block_delta").count(), 30);
    let ledger = provider.ledger().total;
    let log = gateway.stop().await;
    let output: u64 = log.iter().filter_map(|line| line["usage"]["output"].as_u64()).sum();
    assert_eq!(output, ledger.completion_tokens);
    assert!(log.iter().all(|line| line["stream"] == true && line["end"] == "complete"), "{log:#?}");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_of_the_callers_dialect() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider));
    for fault in
        ["truncate,after=5", "truncate_mid_event,after=5", "reset,after=5", "error_event,after=5"]
    {
        let directives = format!("tokens=30,fault={fault}");
        let answer =
            ask(&gateway, "/v1/chat/completions", &chat_to_claude(true, &directives)).await;
        let text = answer.text();
        assert!(!text.contains("[DONE]"), "{fault}: no fake end: {text}");
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let event: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{fault}: {text}"));
        assert!(event["error"]["message"].is_string(), "{fault}: {text}");
        let mut body = messages(true, &directives);
        body["model"] = json!("sim-1");
        let text = ask(&gateway, "/v1/messages", &body).await.text();
        assert!(!text.contains("message_stop"), "{fault}: {text}");
        assert!(
            text.trim_end().rsplit("event: ").next().unwrap().starts_with("error\n"),
            "{fault}: {text}"
        );
    }
    let log = gateway.stop().await;
    assert!(log.iter().all(|line| line["end"] == "upstream_broke"), "{log:#?}");
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_by_name_or_left_out_and_told() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider));
    let mut body = chat_to_claude(false, "");
    body["frequency_penalty"] = json!(0.5);
    let refused = ask(&gateway, "/v1/chat/completions", &body).await;
    let code = refused.code();
    assert_eq!(
        (refused.status, code.as_str()),
        (400, "invalid_request_body"),
        "{}",
        refused.text()
    );
    assert_eq!(refused.json()["error"]["param"], "frequency_penalty", "{}", refused.text());
    assert_eq!(provider.ledger().total.requests, 0);
    body["model"] = json!("lenient");
    let answer = ask(&gateway, "/v1/chat/completions", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-sluicegate-dropped-params"), Some("frequency_penalty"));
    assert!(sent(&provider).get("frequency_penalty").is_none());
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_provider_rejects_is_told_from_what_it_fails_at() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider).with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], retries: { attempts: 1 } }\n",
    ));
    for status in [400, 422, 401, 404, 429, 500] {
        let directives = format!("fault=status,status={status}");
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, &directives)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    gateway.until_metric("sluicegate_exchanges_total", "rejected", 2.0).await;
    gateway.until_metric("sluicegate_exchanges_total", "upstream_error", 4.0).await;
    let log = gateway.stop().await;
    let ends: Vec<_> = log.iter().map(|line| line["end"].as_str().unwrap()).collect();
    assert_eq!(ends[..2], ["rejected"; 2]);
    assert_eq!(ends[2..], ["upstream_error"; 4]);
}

#[tokio::test]
async fn a_providers_error_comes_in_the_callers_dialect_with_its_status() {
    let provider = provider().await;
    let gateway = Gateway::start(&config(&provider).with_models(
        "  claude-sim: { targets: [{ provider: anth, model: claude-sim }], retries: { attempts: 1 } }\n  \
         sim-1: { targets: [{ provider: sim, model: sim-1 }], retries: { attempts: 1 } }\n",
    ));
    for (status, kind) in
        [(429, "rate_limit_error"), (404, "not_found_error"), (400, "invalid_request_error")]
    {
        let directives = format!("fault=status,status={status}");
        let answer =
            ask(&gateway, "/v1/chat/completions", &chat_to_claude(false, &directives)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
        assert!(answer.json().get("type").is_none(), "{}", answer.text());
        has_its_length(&answer);
        let mut body = messages(false, &directives);
        body["model"] = json!("sim-1");
        let answer = ask(&gateway, "/v1/messages", &body).await;
        assert_eq!((answer.status, &answer.json()["type"]), (status, &json!("error")));
        assert_eq!(answer.json()["error"]["type"], kind, "{}", answer.text());
    }
    gateway.stop().await;
}

/// An error is sent with the status of what it is, as its body says, and not with the one that its provider has for
/// it.
#[tokio::test]
async fn a_translated_errors_status_goes_with_its_body() {
    let openai = |code: &str| {
        format!("{{\"error\":{{\"message\":\"No.\",\"type\":\"{code}\",\"code\":\"{code}\"}}}}")
    };
    let gemini = r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT",
        "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
    for (model, status, body, expected, kind) in [
        ("sim-1", 429, openai("insufficient_quota"), 402, "billing_error"),
        ("sim-1", 429, openai("rate_limit_exceeded"), 429, "rate_limit_error"),
        ("gemini", 400, gemini.to_owned(), 401, "authentication_error"),
        ("sim-1", 502, "<html>".to_owned(), 500, "api_error"),
    ] {
        let provider = ScriptedProvider::start(vec![Scripted::json(status, &body)]).await;
        let mut config = Config::for_provider(provider.address);
        config.providers += &format!(
            "  google: {{ dialect: gemini, base_url: \"http://{}\", api_key: \"env:SIM_KEY\" }}\n",
            provider.address
        );
        config.providers = config.providers.replace("{ dialect:", "{ http_version: h2, dialect:");
        let config = config.with_models(
            "  sim-1: { targets: [{ provider: sim, model: m }], retries: { attempts: 1 } }\n  \
             gemini: { targets: [{ provider: google, model: gemini-sim }], retries: { attempts: 1 } }\n",
        );
        let gateway = Gateway::start(&config);
        let mut body = messages(false, "");
        body["model"] = json!(model);
        body.as_object_mut().unwrap().remove("metadata");
        let answer = ask(&gateway, "/v1/messages", &body).await;
        let told = answer.json();
        assert_eq!((answer.status, &told["error"]["type"]), (expected, &json!(kind)), "{told}");
        has_its_length(&answer);
        // What is made of the target goes by the provider's own word.
        let log = gateway.stop().await;
        assert_eq!(
            (&log[0]["provider_status"], &log[0]["end"]),
            (&json!(status), &json!("upstream_error"))
        );
    }
}

#[tokio::test]
async fn a_call_falls_back_to_a_target_of_another_dialect_and_back_again() {
    let provider = provider().await;
    let models = "  sim-1:\n    targets: [{ provider: sim, model: \"a;fault=status;status=503\" }]\n    \
                  fallback: [claude, third]\n    retries: { attempts: 3 }\n  \
                  claude: { targets: [{ provider: anth, model: \"b;fault=status;status=529\" }] }\n  \
                  third: { targets: [{ provider: sim, model: the-third }] }\n";
    let gateway = Gateway::start(&config(&provider).with_models(models));
    for stream in [false, true] {
        let answer = ask(&gateway, "/v1/chat/completions", &chat(stream, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let requests = provider.requests();
        let paths: Vec<_> =
            requests.iter().rev().take(3).map(|request| request.path.as_str()).collect();
        assert_eq!(paths, ["/v1/chat/completions", "/v1/messages", "/v1/chat/completions"]);
        let last = sent(&provider);
        assert_eq!(
            (&last["model"], &last["messages"][0]["content"]),
            (&json!("the-third"), &json!("Hello"))
        );
        if stream {
            assert!(
                !answer.text().contains("prompt_tokens"),
                "usage that nobody asked for stays hidden"
            );
        }
    }
    let log = gateway.stop().await;
    assert!(log.iter().all(|line| line["attempts"] == 3 && line["end"] == "complete"), "{log:#?}");
}
