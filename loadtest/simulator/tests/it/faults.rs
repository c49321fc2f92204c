//! What each fault looks like to a client.

use serde_json::json;
use sluicegate_simulator::Simulator;

use crate::client::*;

const CHAT_PATH: &str = "/v1/chat/completions";

async fn stream(simulator: &Simulator, directives: &str) -> Answer {
    post_sim(simulator, CHAT_PATH, directives, CHAT_STREAM).await
}

async fn plain(simulator: &Simulator, directives: &str) -> Answer {
    post_sim(simulator, CHAT_PATH, directives, CHAT).await
}

fn done(answer: &Answer) -> bool {
    answer.body.contains("[DONE]")
}

#[tokio::test]
async fn an_error_status_has_the_dialects_shape() {
    let simulator = simulator().await;
    for (status, kind) in [(429, "rate_limit_error"), (500, "server_error")] {
        let answer = plain(&simulator, &format!("fault=status,status={status}")).await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &json!(kind)));
    }
    for (status, kind) in [(429, "rate_limit_error"), (529, "overloaded_error")] {
        let directives = format!("fault=status,status={status}");
        let answer = post_sim(&simulator, "/v1/messages", &directives, MESSAGES_STREAM).await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &json!(kind)));
    }
    let total = simulator.ledger().total;
    assert_eq!((total.failed, total.prompt_tokens, total.completion_tokens), (4, 0, 0));
}

#[tokio::test]
async fn retry_after_and_delay_and_html() {
    let simulator = simulator().await;
    let answer = plain(&simulator, "fault=retry-after,status=503,seconds=7").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("7")));
    let answer = plain(&simulator, "fault=delay-head,ms=1").await;
    assert_eq!((answer.status, &answer.json()["object"]), (200, &json!("chat.completion")));
    let answer = stream(&simulator, "fault=not-json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html")));
}

#[tokio::test]
async fn refuse_first_counts_by_model() {
    let simulator = simulator().await;
    for (body, status) in [
        (CHAT.to_owned(), 503),
        (CHAT.to_owned(), 503),
        (CHAT.replace("\"m\"", "\"other\""), 503),
        (CHAT.to_owned(), 200),
    ] {
        let answer = post_sim(&simulator, CHAT_PATH, "fault=refuse-first,n=2", &body).await;
        assert_eq!(answer.status, status, "{body}");
    }
}

#[tokio::test]
async fn an_empty_reply_closes_the_connection() {
    let simulator = simulator().await;
    let headers = format!("{HEADERS}x-sim: fault=empty-reply\r\n");
    let bytes = request("POST", CHAT_PATH, &headers, CHAT);
    assert!(exchange(simulator.address(), &bytes).await.is_none());
    assert_eq!(simulator.ledger().total.failed, 1);
}

#[tokio::test]
async fn truncated_streams_end_cleanly_without_the_end() {
    let simulator = simulator().await;
    let answer = stream(&simulator, "fault=truncate,after=3").await;
    assert_eq!((answer.end, answer.events().len(), done(&answer)), (End::Complete, 3, false));
    assert!(answer.body.ends_with("\n\n"));

    let answer = stream(&simulator, "fault=truncate,after=1000").await;
    assert_eq!(answer.data().last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(!done(&answer));

    let answer = stream(&simulator, "fault=truncate-mid-event,after=3").await;
    assert_eq!((answer.end, answer.events().len()), (End::Complete, 3));
    assert!(!answer.body.ends_with('\n'));

    let answer = stream(&simulator, "fault=truncate,after=0").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    // Of each stream's tokens, only those that left: 2, 8, 2 and 0.
    let total = simulator.ledger().total;
    assert_eq!((total.failed, total.completion_tokens), (4, 12));
}

#[tokio::test]
async fn a_reset_comes_after_what_was_sent() {
    let simulator = simulator().await;
    let answer = stream(&simulator, "fault=reset,after=3").await;
    assert_eq!((answer.end, answer.events().len()), (End::Reset, 3));
    let answer = plain(&simulator, "fault=reset").await;
    assert_eq!((answer.status, answer.end), (200, End::Reset));
}

#[tokio::test]
async fn a_length_is_not_kept() {
    let simulator = simulator().await;
    for answer in [
        stream(&simulator, "fault=close-mid-body").await,
        plain(&simulator, "fault=close-mid-body").await,
    ] {
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert_eq!((answer.end, answer.body.len()), (End::Closed, length / 2));
    }
}

#[tokio::test]
async fn a_malformed_event_is_followed_by_the_rest() {
    let simulator = simulator().await;
    let answer = stream(&simulator, "fault=malformed-sse,after=2").await;
    let events = answer.events();
    assert!(serde_json::from_str::<serde_json::Value>(&events[2].1).is_err());
    assert!(serde_json::from_str::<serde_json::Value>(&events[3].1).is_ok());
    assert!(done(&answer));
    let answer = plain(&simulator, "fault=malformed-sse").await;
    assert_eq!(answer.end, End::Complete);
    assert!(serde_json::from_str::<serde_json::Value>(&answer.body).is_err());
    assert_eq!(simulator.ledger().total.failed, 2);
}

#[tokio::test]
async fn an_error_event_ends_each_dialects_stream() {
    let simulator = simulator().await;
    let answer = stream(&simulator, "fault=error-event,after=2").await;
    assert_eq!(answer.data()[2]["error"]["type"], "server_error");
    assert!(!done(&answer));

    let directives = "fault=error-event,after=5";
    let body = r#"{"model":"m","input":"hi","stream":true}"#;
    let answer = post_sim(&simulator, "/v1/responses", directives, body).await;
    let (name, data) = answer.events()[5].clone();
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!((name.as_str(), &data["sequence_number"]), ("error", &json!(5)));
    assert_eq!(answer.events().len(), 6);

    let answer = post_sim(&simulator, "/v1/messages", directives, MESSAGES_STREAM).await;
    let (name, data) = answer.events()[5].clone();
    assert!(name == "error" && data.contains("overloaded_error"));
    assert_eq!(answer.events().len(), 6);

    assert_eq!(plain(&simulator, directives).await.status, 500);
}

#[tokio::test]
async fn a_plain_answer_is_cut_in_its_middle() {
    let simulator = simulator().await;
    let answer = plain(&simulator, "fault=truncate").await;
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert!(serde_json::from_str::<serde_json::Value>(&answer.body).is_err());
}
