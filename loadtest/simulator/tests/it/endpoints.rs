//! The shapes of good answers.

use serde_json::{Value, json};
use sluicegate_simulator::{Behaviour, Chunking, LineEnding, Options, Simulator};

use crate::client::*;

const CHAT_PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn chat_answers_with_text_and_usage() {
    let simulator = simulator().await;
    let answer =
        post_sim(&simulator, CHAT_PATH, "tokens=2,cached_tokens=3,reasoning_tokens=4", CHAT).await;
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("x-request-id").is_some());
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "m");
    assert_eq!(body["choices"][0]["message"]["content"], "token token ");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let prompt = CHAT.len() as u64 / 4;
    assert_eq!(body["usage"]["prompt_tokens"], prompt);
    assert_eq!(body["usage"]["completion_tokens"], 6);
    assert_eq!(body["usage"]["total_tokens"], prompt + 6);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
}

#[tokio::test]
async fn a_chat_stream_has_role_content_finish_and_done() {
    let simulator = simulator().await;
    let answer = post_sim(&simulator, CHAT_PATH, "tokens=3", CHAT_STREAM).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(answer.end, End::Complete);
    assert_eq!(answer.events().last().unwrap().1, "[DONE]");
    let data = answer.data();
    assert_eq!(data.len(), 5);
    assert_eq!(data[0]["choices"][0]["delta"]["role"], "assistant");
    for chunk in &data[1..4] {
        assert_eq!(chunk["choices"][0]["delta"], json!({"content": "token "}));
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
    }
    assert_eq!(data[4]["choices"][0]["finish_reason"], "stop");
    assert!(data.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(data.iter().all(|chunk| chunk["id"] == data[0]["id"]));
}

#[tokio::test]
async fn a_chat_stream_has_usage_only_when_asked() {
    let simulator = simulator().await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let data = post_sim(&simulator, CHAT_PATH, "tokens=3", body).await.data();
    let (last, others) = data.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 3);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null()));
    assert!(others.iter().all(|chunk| chunk.get("usage").is_some()));

    let without = post_sim(&simulator, CHAT_PATH, "omit_usage=true", body).await.data();
    assert!(without.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn several_choices_are_several_texts() {
    let simulator = simulator().await;
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"n":3}"#;
    let whole = post_sim(&simulator, CHAT_PATH, "tokens=2", plain).await.json();
    assert_eq!(whole["choices"].as_array().unwrap().len(), 3);
    assert_eq!(whole["usage"]["completion_tokens"], 6);

    let stream = plain.replace("\"n\":3", "\"n\":3,\"stream\":true");
    let data = post_sim(&simulator, CHAT_PATH, "tokens=2", &stream).await.data();
    for index in 0..3 {
        let of_choice = data.iter().filter(|chunk| chunk["choices"][0]["index"] == index);
        let text: String = of_choice
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    }
}

#[tokio::test]
async fn the_request_limits_the_answer() {
    let simulator = simulator().await;
    let body =
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":2}"#;
    let answer = post_sim(&simulator, CHAT_PATH, "tokens=9", body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 2);

    let body = MESSAGES.replace("99", "2");
    let answer = post_sim(&simulator, "/v1/messages", "tokens=9", &body).await.json();
    assert_eq!(answer["stop_reason"], "max_tokens");

    let body = r#"{"model":"m","input":"hi","max_output_tokens":16}"#;
    let answer = post_sim(&simulator, "/v1/responses", "tokens=99", body).await.json();
    assert_eq!(answer["status"], "incomplete");
    assert_eq!(answer["incomplete_details"]["reason"], "max_output_tokens");
}

#[tokio::test]
async fn legacy_completions_answer_and_stream() {
    let simulator = simulator().await;
    let plain = r#"{"model":"m","prompt":"hi"}"#;
    let whole = post(&simulator, "/v1/completions", plain).await.json();
    assert_eq!(whole["object"], "text_completion");
    let stream = r#"{"model":"m","prompt":["hi"],"stream":true}"#;
    let answer = post(&simulator, "/v1/completions", stream).await;
    let text: String =
        answer.data().iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(whole["choices"][0]["text"], text);
    assert_eq!(answer.events().last().unwrap().1, "[DONE]");
}

#[tokio::test]
async fn a_responses_stream_is_numbered_and_ends_with_the_whole_response() {
    let simulator = simulator().await;
    let whole = post(&simulator, "/v1/responses", r#"{"model":"m","input":"hi"}"#).await.json();
    let stream = r#"{"model":"m","input":[],"stream":true}"#;
    let answer = post_sim(&simulator, "/v1/responses", "prompt_tokens=5", stream).await;
    let names: Vec<String> = answer.events().into_iter().map(|(name, _)| name).collect();
    let opening = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ];
    let closing = [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names[..4], opening);
    assert!(names[4..12].iter().all(|name| name == "response.output_text.delta"));
    assert_eq!(names[12..], closing);
    let data = answer.data();
    for (number, (event, name)) in data.iter().zip(&names).enumerate() {
        assert_eq!(event["sequence_number"], number);
        assert_eq!(event["type"], name.as_str());
    }
    let text: String = data.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = &data.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], text);
    assert_eq!(data[12]["text"], text);
    assert_eq!(last["usage"]["total_tokens"], 13);
    assert_eq!(whole["output"][0]["content"][0]["text"], text);
}

#[tokio::test]
async fn embeddings_are_the_same_in_both_encodings() {
    let simulator = simulator().await;
    let body = r#"{"model":"m","input":["a","b"],"dimensions":5}"#;
    let floats = post(&simulator, "/v1/embeddings", body).await.json();
    assert_eq!(floats["data"].as_array().unwrap().len(), 2);
    assert_eq!(floats["data"][1]["embedding"], json!([-0.5, -0.4375, -0.375, -0.3125, -0.25]));
    let body = r#"{"model":"m","input":"a","dimensions":2,"encoding_format":"base64"}"#;
    let encoded = post(&simulator, "/v1/embeddings", body).await.json();
    // -0.5 is 0xbf000000 and -0.4375 is 0xbee00000, little-endian.
    assert_eq!(encoded["data"][0]["embedding"], "AAAAvwAA4L4=");
    assert_eq!(encoded["usage"]["prompt_tokens"], encoded["usage"]["total_tokens"]);
}

#[tokio::test]
async fn messages_answer_and_count() {
    let simulator = simulator().await;
    let directives = "tokens=2,prompt_tokens=50,cached_tokens=30,cache_write_tokens=5";
    let answer = post_sim(&simulator, "/v1/messages", directives, MESSAGES).await;
    assert!(answer.header("request-id").is_some());
    let body = answer.json();
    assert_eq!(body["type"], "message");
    assert_eq!(body["content"][0]["text"], "token token ");
    assert_eq!(body["usage"]["input_tokens"], 15);
    assert_eq!(body["usage"]["cache_read_input_tokens"], 30);
    assert_eq!(body["usage"]["cache_creation_input_tokens"], 5);
    assert_eq!(body["usage"]["cache_creation"]["ephemeral_5m_input_tokens"], 5);
    assert_eq!(body["usage"]["output_tokens"], 2);
    let count = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let count = post_sim(&simulator, "/v1/messages/count_tokens", "prompt_tokens=7", count).await;
    assert_eq!(count.json(), json!({"input_tokens": 7}));
}

#[tokio::test]
async fn a_messages_stream_has_every_kind_of_event_in_order() {
    let simulator = simulator().await;
    let answer = post_sim(&simulator, "/v1/messages", "tokens=2", MESSAGES_STREAM).await;
    let names: Vec<String> = answer.events().into_iter().map(|(name, _)| name).collect();
    let wanted = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, wanted);
    let data = answer.data();
    assert!(data.iter().zip(&names).all(|(event, name)| event["type"] == name.as_str()));
    assert_eq!(data[0]["message"]["usage"]["input_tokens"], MESSAGES_STREAM.len() / 4);
    assert_eq!(data[3]["delta"]["text"], "token ");
    assert_eq!(data[6]["usage"]["output_tokens"], 2);
}

#[tokio::test]
async fn models_are_listed_in_both_dialects() {
    let options = Options { models: vec!["a".into(), "b".into()], ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let bearer = "authorization: Bearer k\r\nconnection: close\r\n";
    let list = send(&simulator, &request("GET", "/v1/models", bearer, "")).await.json();
    assert_eq!((&list["object"], &list["data"][1]["id"]), (&json!("list"), &json!("b")));
    let one = send(&simulator, &request("GET", "/v1/models/a", bearer, "")).await.json();
    assert_eq!(one["id"], "a");
    let none = send(&simulator, &request("GET", "/v1/models/c", bearer, "")).await;
    assert_eq!(none.status, 404);
    let list = get(&simulator, "/v1/models").await.json();
    assert_eq!((&list["has_more"], &list["last_id"]), (&json!(false), &json!("b")));
    assert_eq!(get(&simulator, "/health").await.status, 200);
}

#[tokio::test]
async fn every_wire_form_carries_the_same_events() {
    let simulator = simulator().await;
    let plain = post_sim(&simulator, CHAT_PATH, "unicode=true,text_bytes=40", CHAT_STREAM).await;
    let wanted: Vec<Value> = plain.data().iter().map(|chunk| chunk["choices"].clone()).collect();
    assert!(wanted[1][0]["delta"]["content"].as_str().unwrap().contains('😀'));
    for form in
        ["line=crlf", "comments=true", "comments=true,line=crlf", "chunking=5", "chunking=coalesce"]
    {
        let directives = format!("unicode=true,text_bytes=40,{form}");
        let answer = post_sim(&simulator, CHAT_PATH, &directives, CHAT_STREAM).await;
        let choices: Vec<Value> =
            answer.data().iter().map(|chunk| chunk["choices"].clone()).collect();
        assert_eq!((choices, answer.end), (wanted.clone(), End::Complete), "{form}");
        assert_eq!(answer.body.contains("\r\n"), form.contains("crlf"), "{form}");
        assert_eq!(answer.body.contains(": keep-alive"), form.contains("comments"), "{form}");
    }
}

#[tokio::test]
async fn the_body_is_cut_as_asked() {
    let simulator = simulator().await;
    let events = post(&simulator, CHAT_PATH, CHAT_STREAM).await;
    assert_eq!(events.chunks.len(), events.events().len());
    let bytes = post_sim(&simulator, CHAT_PATH, "chunking=7", CHAT_STREAM).await;
    assert!(bytes.chunks.iter().all(|size| *size <= 7));
    assert_eq!(bytes.body.len(), events.body.len());
    let joined = post_sim(&simulator, CHAT_PATH, "chunking=coalesce", CHAT_STREAM).await;
    assert_eq!(joined.chunks, [events.body.len()]);
    // Of eight tokens only the first waits: what is due before it and with it are two chunks.
    let paced =
        post_sim(&simulator, CHAT_PATH, "chunking=coalesce,first_token_ms=1", CHAT_STREAM).await;
    assert_eq!(paced.chunks.len(), 2);
    let whole = post_sim(&simulator, CHAT_PATH, "chunking=7", CHAT).await;
    assert_eq!((whole.end, &whole.json()["object"]), (End::Complete, &json!("chat.completion")));
    let total = simulator.ledger().total;
    assert_eq!((total.requests, total.completed), (5, 5));
}

#[tokio::test]
async fn directives_come_from_four_places_and_the_header_wins() {
    let defaults = Behaviour { tokens: 1, line_ending: LineEnding::CrLf, ..Behaviour::default() };
    let defaults = Behaviour { chunking: Chunking::Coalesce, ..defaults };
    let simulator = simulator_that(defaults).await;
    let tokens = |answer: Answer| answer.json()["usage"]["completion_tokens"].clone();
    assert_eq!(tokens(post(&simulator, CHAT_PATH, CHAT).await), 1);

    let by_model = CHAT.replace("\"m\"", "\"m;tokens=2\"");
    let answer = post(&simulator, CHAT_PATH, &by_model).await;
    assert_eq!(answer.json()["model"], "m");
    assert_eq!(tokens(answer), 2);

    let by_user = by_model.replace("]}", r#"],"user":"tokens=3"}"#);
    assert_eq!(tokens(post(&simulator, CHAT_PATH, &by_user).await), 3);
    assert_eq!(tokens(post_sim(&simulator, CHAT_PATH, "tokens=4", &by_user).await), 4);

    let a_name = by_model.replace("]}", r#"],"user":"alice"}"#);
    assert_eq!(tokens(post(&simulator, CHAT_PATH, &a_name).await), 2);

    let by_metadata = MESSAGES.replace("]}", r#"],"metadata":{"user_id":"tokens=5"}}"#);
    let answer = post(&simulator, "/v1/messages", &by_metadata).await.json();
    assert_eq!(answer["usage"]["output_tokens"], 5);

    let wrong = post_sim(&simulator, CHAT_PATH, "tokns=4", CHAT).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (400, &json!("invalid_directives")));
}
