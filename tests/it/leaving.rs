//! Shutdown and upgrade: nothing is dropped.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::reload::Load;
use crate::support::{
    Client, Config, Gateway, chat, gateway, provider, read_response, soon, split_events,
};

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_leaves_as_soon_as_idle() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut stream = gateway.client().connect().await;
    let request = Client::request("/v1/chat/completions", "", &chat(true, "tokens=30,token_ms=20"));
    stream.write_all(&request).await.unwrap();
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    gateway.signal("TERM");
    gateway.await_log("draining");
    // Not ready any more, though it still answers.
    let ready = Client::new(gateway.metrics).get("/health/ready").await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("draining")));
    assert_eq!(Client::new(gateway.metrics).get("/health/live").await.status, 200);
    let answer = read_response(&mut stream).await;
    assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.cut, "{answer:?}");
    // The default timeout is 30 s, as is our patience: leaving late would fail.
    let (code, log) = gateway.ended().await;
    assert_eq!(code, 0);
    assert_eq!(log[0]["end"], "complete");
}

#[tokio::test]
async fn an_idle_gateway_leaves_at_once_even_with_open_connections() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut idle = gateway.client().connect().await;
    idle.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut idle).await.status, 200);
    assert_eq!(gateway.stop().await.len(), 1);
}

#[tokio::test]
async fn what_outlasts_the_timeout_ends_in_an_error_event() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("shutdown: { timeout: 1s }");
    let gateway = Gateway::start(&config);
    let mut stream = gateway.client().connect().await;
    let request = Client::request("/v1/chat/completions", "", &chat(true, "fault=stall,after=3"));
    stream.write_all(&request).await.unwrap();
    soon("the stream", provider.wait_until(|stats| stats.streams_open == 1)).await;
    gateway.signal("TERM");
    let answer = read_response(&mut stream).await;
    let events = split_events(&answer.body);
    assert!(events.last().unwrap().contains("shutting down"), "{answer:?}");
    assert!(!answer.cut);
    let (code, log) = gateway.ended().await;
    assert_eq!((code, log.len()), (0, 1));
}

#[tokio::test]
async fn sigquit_without_a_successor_changes_nothing() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    gateway.signal("QUIT");
    gateway.await_log("no new process waits");
    assert_eq!(gateway.client().get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_fails_nobody_and_open_streams_finish_on_the_old_process() {
    let provider = provider().await;
    let reserved = crate::support::free_address();
    let mut config = Config::for_provider(provider.address());
    config.listen = reserved.to_string();
    let old = Gateway::start(&config);
    let client = old.client();
    let load = Load::start(client, 8);
    load.go_on_for(50).await;

    // A stream that outlives the hand-over, which takes Pingora five seconds.
    let mut long = client.connect().await;
    let request =
        Client::request("/v1/chat/completions", "", &chat(true, "tokens=400,token_ms=20"));
    long.write_all(&request).await.unwrap();
    let mut first = [0; 16];
    long.read_exact(&mut first).await.unwrap();

    let mut new = old.successor();
    soon("the successor", async {
        while !old.root().join("handover/upgrade.sock").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    old.signal("QUIT");
    new.await_listening();
    load.go_on_for(200).await;

    let mut rest = String::new();
    soon("the long stream", async {
        while !rest.contains("[DONE]") {
            let mut piece = [0; 4096];
            let n = long.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "the stream was cut after {rest}");
            rest.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
    })
    .await;
    let (code, log) = old.ended().await;
    assert_eq!(code, 0);
    assert!(log.iter().all(|line| line["end"] == "complete"), "{log:?}");
    load.go_on_for(50).await;
    load.finish().await;
    let log = new.stop().await;
    assert!(log.len() >= 50 && log.iter().all(|line| line["end"] == "complete"));
}

#[tokio::test]
async fn a_process_that_has_handed_its_sockets_over_can_be_ended_without_waiting() {
    let provider = provider().await;
    for (signal, expected) in [("TERM", 143), ("INT", 130)] {
        let mut config = Config::for_provider(provider.address());
        config.listen = crate::support::free_address().to_string();
        let old = Gateway::start(&config);
        let mut stream = old.client().connect().await;
        let stalls = chat(true, "fault=stall,after=3");
        let request = Client::request("/v1/chat/completions", "", &stalls);
        stream.write_all(&request).await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();

        let mut new = old.successor();
        soon("the successor", async {
            while !old.root().join("handover/upgrade.sock").exists() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        old.signal("QUIT");
        new.await_listening();
        // Its stream would keep it until `shutdown.timeout`.
        old.signal(signal);
        let (code, _) = old.ended().await;
        assert_eq!(code, expected, "{signal}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"), "what was under way is cut");
        assert_eq!(new.client().get("/health").await.status, 200, "the new process serves");
    }
}
