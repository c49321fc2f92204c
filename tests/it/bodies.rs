//! Request bodies: sizes to the byte, every framing, replay.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Config, Gateway, chat, gateway, provider, read_response};

const LIMIT: usize = 1_048_576;

/// A chat request of exactly `size` bytes.
fn sized(size: usize) -> Value {
    let mut body = chat(false, "strict=false");
    body["pad"] = json!("");
    let pad = size - body.to_string().len();
    body["pad"] = json!("x".repeat(pad));
    assert_eq!(body.to_string().len(), size);
    body
}

/// The same request in chunks of `chunk` bytes.
fn chunked(body: &Value, chunk: usize) -> Vec<u8> {
    let mut bytes =
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for piece in body.to_string().as_bytes().chunks(chunk) {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

#[tokio::test]
async fn the_limit_is_exact_in_every_framing() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let client = gateway.client();
    let (fits, over) = (sized(LIMIT), sized(LIMIT + 1));
    assert_eq!(client.post("/v1/chat/completions", &fits).await.status, 200);
    assert_eq!(client.raw(chunked(&fits, 4096)).await.status, 200);
    assert_eq!(provider.ledger().total.requests, 2);
    for request in [
        Client::request("/v1/chat/completions", "", &over),
        chunked(&over, 4096),
        chunked(&over, 1_000_000),
        chunked(&sized(5 * LIMIT), 65_536),
    ] {
        let answer = client.raw(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "request_too_large"));
        assert!(answer.closes());
        assert!(answer.text().contains("1048576"), "{}", answer.text());
    }
    assert_eq!(provider.ledger().total.requests, 2, "nothing too large may reach the provider");
}

#[tokio::test]
async fn a_declared_length_is_refused_before_the_body_is_read() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        LIMIT + 1
    );
    assert_eq!(gateway.client().raw(head).await.status, 413);
}

#[tokio::test]
async fn a_route_may_have_a_limit_of_its_own() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with(
        "limits: { request_size: 2KiB, routes: { /v1/chat/completions: { request_size: 6MiB } } }",
    );
    let gateway = Gateway::start(&config);
    let big = sized(5 * LIMIT);
    assert_eq!(gateway.client().post("/v1/chat/completions", &big).await.status, 200);
    assert_eq!(gateway.client().raw(chunked(&big, 10_000)).await.status, 200);
    assert_eq!(gateway.client().post("/v1/embeddings", &sized(3000)).await.status, 413);
    let requests = provider.requests();
    assert!(requests.iter().all(|request| request.body == big.to_string().as_bytes()));
}

#[tokio::test]
async fn bodies_of_every_size_and_framing_arrive_whole() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    for size in [300, 4_000, 16_383, 65_535, 65_536, 65_537, 131_072, 300_000, LIMIT] {
        let mut body = sized(size);
        body["model"] = json!("alias");
        for request in [Client::request("/v1/chat/completions", "", &body), chunked(&body, 7_777)] {
            let answer = gateway.client().raw(request).await;
            let expected = if body.to_string().len() > LIMIT { 413 } else { 200 };
            assert_eq!(answer.status, expected, "{size}: {}", answer.text());
        }
        let sent = body.to_string().replace("\"alias\"", "\"a-longer-name-upstream\"");
        let requests = provider.requests();
        assert_eq!(requests.last().unwrap().body, sent.as_bytes(), "{size}");
    }
}

#[tokio::test]
async fn compressed_and_foreign_bodies_are_refused() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let client = gateway.client();
    let gzip = client
        .post_with("/v1/chat/completions", "Content-Encoding: gzip\r\n", &chat(false, ""))
        .await;
    assert_eq!((gzip.status, gzip.code().as_str()), (415, "unsupported_content_encoding"));
    let form = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
    let form = client.raw(form).await;
    assert_eq!((form.status, form.code().as_str()), (415, "unsupported_media_type"));
    assert_eq!(provider.ledger().total.requests, 0);
}

#[tokio::test]
async fn expect_continue_is_answered_once_the_head_is_accepted() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let body = chat(false, "").to_string();
    let head = |length: usize| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut stream = gateway.client().connect().await;
    stream.write_all(head(body.len()).as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 Continue"), "{}", go_on.escape_ascii());
    stream.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 200);
    // Who is refused is not asked for a body.
    assert_eq!(gateway.client().raw(head(LIMIT + 1)).await.status, 413);
}
