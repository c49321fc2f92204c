//! Accounts, clients that leave, connections.

use serde_json::Value;
use sluicegate_simulator::{Ledger, Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::*;

const CHAT_PATH: &str = "/v1/chat/completions";

fn chat(directives: &str, body: &str) -> String {
    request("POST", CHAT_PATH, &format!("{HEADERS}x-sim: {directives}\r\n"), body)
}

#[tokio::test]
async fn tokens_are_counted_by_model() {
    let simulator = simulator().await;
    let directives = "tokens=5,prompt_tokens=100,cached_tokens=40,reasoning_tokens=2";
    post_sim(&simulator, CHAT_PATH, directives, CHAT).await;
    post_sim(&simulator, CHAT_PATH, directives, CHAT_STREAM).await;
    let other = MESSAGES_STREAM.replace("\"m\"", "\"other;tokens=3\"");
    post(&simulator, "/v1/messages", &other).await;
    let ledger = simulator.ledger();
    let m = ledger.models["m"];
    assert_eq!((m.requests, m.streams, m.completed, m.aborted), (2, 1, 2, 0));
    assert_eq!((m.prompt_tokens, m.cached_tokens), (200, 80));
    assert_eq!((m.completion_tokens, m.reasoning_tokens), (14, 4));
    assert_eq!(ledger.models["other"].completion_tokens, 3);
    assert_eq!(ledger.total.completion_tokens, 17);

    let by_http: Ledger = serde_json::from_value(get(&simulator, "/ledger").await.json()).unwrap();
    assert_eq!(by_http, ledger);
    let reset = request("POST", "/ledger/reset", "connection: close\r\n", "");
    assert_eq!(send(&simulator, &reset).await.status, 200);
    assert_eq!(simulator.ledger(), Ledger::default());
}

#[tokio::test]
async fn a_client_that_leaves_a_stalled_stream_is_noticed() {
    let simulator = simulator().await;
    let open =
        open(&simulator, &chat("fault=stall,after=3", CHAT_STREAM), "\"content\":\"token").await;
    simulator.wait_until(|stats| stats.stalled == 1).await;
    assert_eq!((simulator.streams_open(), simulator.connections_open()), (1, 1));
    drop(open);
    simulator.wait_until(|stats| stats.total.aborted == 1).await;
    simulator.wait_until(|stats| stats.connections_open == 0).await;
    let stats = simulator.stats();
    assert_eq!((stats.streams_open, stats.stalled, stats.in_flight), (0, 0, 0));
    // The role and two tokens had left.
    assert_eq!((stats.total.completion_tokens, stats.total.failed), (2, 0));
}

#[tokio::test]
async fn a_client_that_leaves_a_stalled_plain_answer_is_noticed() {
    let simulator = simulator().await;
    let open = open(&simulator, &chat("fault=stall", CHAT), "chat.completion").await;
    simulator.wait_until(|stats| stats.stalled == 1).await;
    drop(open);
    simulator.wait_until(|stats| stats.total.aborted == 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_noticed() {
    let simulator = simulator().await;
    let hour = 3_600_000;
    for directives in [format!("fault=delay-head,ms={hour}"), format!("first_token_ms={hour}")] {
        simulator.reset_ledger();
        let mut connection = tokio::net::TcpStream::connect(simulator.address()).await.unwrap();
        connection.write_all(chat(&directives, CHAT).as_bytes()).await.unwrap();
        simulator.wait_until(|stats| stats.in_flight == 1).await;
        drop(connection);
        simulator.wait_until(|stats| stats.total.aborted == 1).await;
        assert_eq!(simulator.ledger().total.completion_tokens, 0, "{directives}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_between_two_tokens_is_noticed() {
    let simulator = simulator().await;
    let bytes = chat("token_ms=3600000", CHAT_STREAM);
    drop(open(&simulator, &bytes, "\"content\":\"token").await);
    simulator.wait_until(|stats| stats.total.aborted == 1).await;
    assert_eq!(simulator.ledger().total.completion_tokens, 1);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let simulator = simulator().await;
    let bytes = request("POST", CHAT_PATH, HEADERS, CHAT);
    let mut connection = open(&simulator, &bytes, "fp_sim\"}").await;
    for _ in 0..3 {
        connection.write_all(bytes.as_bytes()).await.unwrap();
        let mut received = String::new();
        while !received.contains("fp_sim\"}") {
            let mut buffer = [0; 4096];
            let count = connection.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0);
            received.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    }
    assert_eq!((simulator.connections_accepted(), simulator.ledger().total.completed), (1, 4));
}

#[tokio::test]
async fn shutdown_and_drop_close_what_is_open() {
    for by_drop in [false, true] {
        let simulator = simulator().await;
        let bytes = chat("fault=stall", CHAT_STREAM);
        let mut connection = open(&simulator, &bytes, "assistant").await;
        let address = simulator.address();
        if by_drop {
            drop(simulator);
        } else {
            simulator.shutdown().await;
            assert!(tokio::net::TcpStream::connect(address).await.is_err());
        }
        let mut rest = Vec::new();
        // Cut, by whatever means: no last chunk follows.
        let _ = connection.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"));
    }
}

#[tokio::test]
async fn requests_are_recorded_when_asked() {
    let options = Options { record_requests: true, ..Options::default() };
    let recording = Simulator::start(options).await.unwrap();
    post(&recording, "/v1/chat/completions?q=1", CHAT).await;
    post(&recording, "/v1/nowhere", "x").await;
    let requests = recording.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("POST", "/v1/chat/completions?q=1")
    );
    assert_eq!(requests[0].body, CHAT);
    assert_eq!(requests[0].headers["authorization"], "Bearer sk-test");
    let seen = get(&recording, "/requests").await.json();
    assert_eq!(seen[1]["path"], Value::from("/v1/nowhere"));

    let forgetful = simulator().await;
    post(&forgetful, CHAT_PATH, CHAT).await;
    assert!(forgetful.requests().is_empty());
}
