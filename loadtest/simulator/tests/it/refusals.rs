//! Requests that the real providers refuse.

use serde_json::json;
use sluicegate_simulator::{Options, Simulator};

use crate::client::*;

const OPENAI: &str = "authorization: Bearer sk-test\r\n";
const VERSION: &str = "anthropic-version: 2023-06-01\r\n";
const ANTHROPIC: &str = "x-api-key: sk-test\r\nanthropic-version: 2023-06-01\r\n";

#[tokio::test]
async fn openai_requests_are_checked() {
    let simulator = simulator().await;
    for (path, body, param) in [
        ("chat/completions", r#"{"messages":[{"role":"user","content":"hi"}]}"#, "model"),
        ("chat/completions", r#"{"model":"","messages":[{"role":"user"}]}"#, "model"),
        ("chat/completions", r#"{"model":"m"}"#, "messages"),
        ("chat/completions", r#"{"model":"m","messages":[]}"#, "messages"),
        ("chat/completions", r#"{"model":"m","messages":[{"role":"boss"}]}"#, "messages"),
        ("chat/completions", r#"{"model":"m","messages":[{"role":"user"}],"n":0}"#, "n"),
        (
            "chat/completions",
            r#"{"model":"m","messages":[{"role":"user"}],"stream_options":{}}"#,
            "stream_options",
        ),
        (
            "chat/completions",
            r#"{"model":"m","messages":[{"role":"user"}],"max_tokens":0}"#,
            "max_tokens",
        ),
        ("completions", r#"{"model":"m"}"#, "prompt"),
        ("responses", r#"{"model":"m"}"#, "input"),
        ("responses", r#"{"model":"m","input":7}"#, "input"),
        ("embeddings", r#"{"model":"m","input":[]}"#, "input"),
        ("embeddings", r#"{"model":"m","input":"a","stream":true}"#, "stream"),
        ("embeddings", r#"{"model":"m","input":"a","dimensions":0}"#, "dimensions"),
        ("embeddings", r#"{"model":"m","input":"a","encoding_format":"x"}"#, "encoding_format"),
    ] {
        let answer = post_with(&simulator, &format!("/v1/{path}"), OPENAI, body).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["param"]), (400, &json!(param)), "{path} {body}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let total = simulator.ledger().total;
    assert_eq!((total.requests, total.refused, total.prompt_tokens), (15, 15, 0));
}

#[tokio::test]
async fn anthropic_requests_are_checked() {
    let simulator = simulator().await;
    for (path, body, message) in [
        ("messages", r#"{"max_tokens":1,"messages":[{"role":"user","content":""}]}"#, "model"),
        ("messages", r#"{"model":"m","messages":[{"role":"user","content":""}]}"#, "max_tokens"),
        ("messages", r#"{"model":"m","max_tokens":1}"#, "messages"),
        ("messages", r#"{"model":"m","max_tokens":1,"messages":[]}"#, "messages"),
        (
            "messages",
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"system","content":""}]}"#,
            "messages.0.role",
        ),
        (
            "messages",
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user"}]}"#,
            "messages.0.content",
        ),
        ("messages/count_tokens", r#"{"model":"m"}"#, "messages"),
    ] {
        let answer = post_with(&simulator, &format!("/v1/{path}"), ANTHROPIC, body).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["type"]), (400, &json!("error")));
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert!(body["error"]["message"].as_str().unwrap().starts_with(message), "{body}");
        assert_eq!(body["request_id"], answer.header("request-id").unwrap());
    }
}

#[tokio::test]
async fn credentials_and_version_are_needed() {
    let options = Options { require_key: Some("sk-right".to_owned()), ..Options::default() };
    let strict = Simulator::start(options).await.unwrap();
    let lenient = simulator().await;
    let chat = "/v1/chat/completions";
    for (simulator, path, headers, body, status, kind) in [
        (&lenient, chat, "", CHAT, 401, "invalid_request_error"),
        (&lenient, chat, "x-api-key: k\r\n", CHAT, 401, "invalid_request_error"),
        (&lenient, chat, "authorization: Basic k\r\n", CHAT, 401, "invalid_request_error"),
        (&strict, chat, "authorization: Bearer sk-wrong\r\n", CHAT, 401, "invalid_request_error"),
        (&lenient, "/v1/messages", VERSION, MESSAGES, 401, "authentication_error"),
        (&strict, "/v1/messages", ANTHROPIC, MESSAGES, 401, "authentication_error"),
        (&lenient, "/v1/messages", "x-api-key: k\r\n", MESSAGES, 400, "invalid_request_error"),
    ] {
        let answer = post_with(simulator, path, headers, body).await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &json!(kind)));
    }
    let bearer = format!("{OPENAI}{VERSION}");
    assert_eq!(post_with(&lenient, "/v1/messages", &bearer, MESSAGES).await.status, 200);
    let right = post_with(&strict, chat, "authorization: Bearer sk-right\r\n", CHAT).await;
    assert_eq!(right.status, 200);
}

#[tokio::test]
async fn a_wrong_path_method_type_or_body_is_refused() {
    let simulator = simulator().await;
    for path in ["/chat/completions", "/messages", "/v1/v1/chat/completions", "/v1/unknown", "/"] {
        assert_eq!(post(&simulator, path, CHAT).await.status, 404, "{path}");
    }
    assert_eq!(get(&simulator, "/v1/chat/completions").await.status, 405);
    let form = "authorization: Bearer k\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    assert_eq!(post_with(&simulator, "/v1/chat/completions", form, CHAT).await.status, 415);
    for body in ["", "{", "[]", "null", r#"{"model":7}"#, r#"{"model":"a","model":"b"}"#] {
        assert_eq!(post(&simulator, "/v1/chat/completions", body).await.status, 400, "{body}");
    }
}
