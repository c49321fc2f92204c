//! Slow clients and many connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Config, Gateway, chat, provider, read_response, soon};

#[tokio::test]
async fn a_slow_header_ends_the_connection_however_it_is_spread() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address())
        .with("limits: { header_timeout: 400ms, keepalive_timeout: 400ms }");
    let gateway = Gateway::start(&config);
    // Nothing at all, a piece and then nothing, and a byte now and then.
    for (piece, again) in [("", false), ("POST /v1/chat/comp", false), ("X", true)] {
        let begun = !piece.is_empty();
        let stream = gateway.client().connect().await;
        let (mut read, mut write) = stream.into_inner().into_split();
        write.write_all(piece.as_bytes()).await.unwrap();
        let drip = tokio::spawn(async move {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
            while again && write.write_all(b"X").await.is_ok() {
                tick.tick().await;
            }
            // Kept open, so that only the gateway can end it.
            std::future::pending::<()>().await;
        });
        let mut rest = Vec::new();
        soon("the end", read.read_to_end(&mut rest)).await.ok();
        let told = rest.starts_with(b"HTTP/1.1 408 Request Timeout\r\n");
        assert_eq!(told, begun, "{}", rest.escape_ascii());
        assert_eq!(rest.is_empty(), !begun);
        drip.abort();
    }
    // A connection that was used and falls silent is closed, too.
    let mut stream = gateway.client().connect().await;
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 200);
    let mut rest = Vec::new();
    soon("the end", stream.read_to_end(&mut rest)).await.ok();
    assert!(rest.is_empty());
    let log = gateway.stop().await;
    let codes: Vec<_> = log.iter().filter_map(|line| line["code"].as_str()).collect();
    assert_eq!(codes, ["request_timeout"; 2], "{log:#?}");
}

#[tokio::test]
async fn a_slow_body_is_answered_with_408() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("limits: { body_timeout: 300ms }");
    let gateway = Gateway::start(&config);
    let mut stream = gateway.client().connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_response(&mut stream).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert!(answer.closes());
    assert_eq!(provider.ledger().total.requests, 0);
}

#[tokio::test]
async fn connections_of_one_address_are_capped_and_freed() {
    let provider = provider().await;
    // Ten for the client; the gateway itself looked once whether it accepts.
    let config =
        Config::for_provider(provider.address()).with("limits: { connections_per_ip: 10 }");
    let gateway = Gateway::start(&config);
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut stream = gateway.client().connect().await;
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(read_response(&mut stream).await.status, 200);
        open.push(stream);
    }
    let mut over = gateway.client().connect().await;
    let mut rest = Vec::new();
    soon("the refusal", over.read_to_end(&mut rest)).await.ok();
    assert!(rest.is_empty());
    let refused = gateway
        .metric("sluicegate_connections_refused_total", "reason=\"connections_per_ip\"")
        .await;
    assert_eq!(refused, 1.0);
    // Metrics and health are on other listeners, and those who are in go on.
    open[0].write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut open[0]).await.status, 200);
    drop(open);
    soon("a free place", async {
        while gateway.metric("sluicegate_connections", "").await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
}

#[tokio::test]
async fn long_headers_are_refused() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("limits: { header_size: 4KiB }");
    let gateway = Gateway::start(&config);
    let long = "a".repeat(5000);
    let head = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
    let answer = gateway.client().raw(head).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "header_too_large"));
    assert!(answer.closes());
}

#[tokio::test]
async fn a_head_without_an_end_is_refused_as_soon_as_it_is_too_long() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with("limits: { header_size: 4KiB }");
    let gateway = Gateway::start(&config);
    let mut stream = gateway.client().connect().await;
    // One byte more than a head may have, and no end in sight: nothing else has to come for the answer.
    let mut head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    head.resize(4097, b'a');
    stream.write_all(&head).await.unwrap();
    let answer = read_response(&mut stream).await;
    assert_eq!(answer.status, 431, "{}", answer.text());
    assert!(answer.closes() && answer.header("x-request-id").is_some());
    assert_eq!(answer.json()["type"], "error", "as Anthropic's: {}", answer.text());
    // Whoever goes on is read, and kept nothing of, so that the answer gets there.
    let gone_on = stream.write_all(&[b'a'; 100_000]).await;
    let mut rest = Vec::new();
    soon("the end", stream.read_to_end(&mut rest)).await.ok();
    assert!(rest.is_empty() && gone_on.is_ok());
    drop(stream);
    // A head of exactly the limit is none that is too long, in however many pieces it comes.
    let mut stream = gateway.client().connect().await;
    let mut head = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    head.resize(4092, b'a');
    head.extend(b"\r\n\r\n");
    for piece in head.chunks(1024) {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read_response(&mut stream).await.status, 200);
    let log = gateway.stop().await;
    assert_eq!(log[0]["code"], "header_too_large", "{log:#?}");
    assert_eq!(log.len(), 2);
}
