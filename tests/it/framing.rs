//! What Pingora's parser lets through and should not: each is 400, and the connection closes.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, Config, Gateway, chat, gateway, provider, read_response, soon};

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn ambiguous_requests_are_refused_and_the_connection_closed() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let post = |lines: &str, body: &str| {
        format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{JSON}{lines}\r\n{body}")
    };
    let get = |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    let cases = [
        ("both lengths", post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", chunked)),
        (
            "both lengths, other order",
            post("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", chunked),
        ),
        ("two equal lengths", post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}")),
        ("two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")),
        ("a list of lengths", post("Content-Length: 2, 2\r\n", "{}")),
        ("a signed length", post("Content-Length: +2\r\n", "{}")),
        ("a hexadecimal length", post("Content-Length: 0x2\r\n", "{}")),
        ("a huge length", post("Content-Length: 99999999999999999999\r\n", "{}")),
        ("xchunked", post("Transfer-Encoding: xchunked\r\n", chunked)),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", chunked)),
        ("chunked not last", post("Transfer-Encoding: chunked, identity\r\n", chunked)),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", chunked)),
        (
            "two codings",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked),
        ),
        ("a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", chunked)),
        (
            "HTTP/1.0 with chunks",
            post("Transfer-Encoding: chunked\r\n", chunked).replace("HTTP/1.1", "HTTP/1.0"),
        ),
        ("a bare line feed", post("X: y\n", "")),
        ("a folded line", post("X: y\r\n z\r\n", "")),
        ("a space before the colon", post("Content-Length : 2\r\n", "{}")),
        ("no host", get("/v1/models", "")),
        ("two hosts", get("/v1/models", "Host: a\r\nHost: b\r\n")),
        ("userinfo", get("/v1/models", "Host: a@b\r\n")),
        ("a list of hosts", get("/v1/models", "Host: a, b\r\n")),
        ("a host with a path", get("/v1/models", "Host: a/b\r\n")),
        ("absolute form", get("http://x/v1/models", "Host: x\r\n")),
        ("absolute form, other host", get("http://y/v1/models", "Host: x\r\n")),
        ("asterisk form", get("*", "Host: x\r\n")),
        (
            "an upgrade",
            get("/v1/models", "Host: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"),
        ),
        (
            "h2c by upgrade",
            get(
                "/v1/models",
                "Host: x\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            ),
        ),
        ("a body on GET", get("/v1/models", "Host: x\r\nContent-Length: 2\r\n") + "{}"),
        ("dot segments", get("/v1/../v1/models", "Host: x\r\n")),
        ("hidden dot segments", get("/v1/%2e%2e/v1/models", "Host: x\r\n")),
        ("two slashes", get("//v1/models", "Host: x\r\n")),
        ("a backslash", get("/v1\\models", "Host: x\r\n")),
        ("a hidden NUL", get("/v1/models/%00", "Host: x\r\n")),
        ("another expectation", post("Expect: 200-ok\r\nContent-Length: 2\r\n", "{}")),
        ("chunks that are none", post("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")),
        ("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_owned()),
        ("257 headers", get("/v1/models", &format!("Host: x\r\n{}", "A: b\r\n".repeat(256)))),
        ("CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n".to_owned()),
    ];
    let sent = cases.len();
    for (what, request) in cases {
        let mut stream = gateway.client().connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_response(&mut stream).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        // Whether Pingora refuses it before any filter, or we do.
        assert!(!answer.code().is_empty() && answer.closes(), "{what}: {}", answer.text());
        assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 36), "{what}");
        assert!(answer.header("date").is_some_and(|date| date.ends_with("GMT")), "{what}");
        let mut rest = Vec::new();
        soon(what, stream.read_to_end(&mut rest)).await.ok();
        assert!(rest.is_empty(), "{what}: something follows: {}", rest.escape_ascii());
    }
    assert_eq!(provider.ledger().total.requests, 0);
    gateway.until_metric("sluicegate_requests_total", "status=\"4xx\"", sent as f64).await;
    assert!(gateway.metric(REFUSED, "reason=\"malformed\"").await > 5.0);
    let log = gateway.stop().await;
    assert_eq!(log.len(), sent);
    assert!(log.iter().all(|line| line["status"] == 400 && line["code"].is_string()), "{log:#?}");
    assert!(log.iter().all(|line| line["client"] == "127.0.0.1"), "{log:#?}");
}

const REFUSED: &str = "sluicegate_connections_refused_total";

#[tokio::test]
async fn what_can_not_be_parsed_is_refused_in_the_callers_dialect() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    assert!(gateway.has_metric(REFUSED, "reason=\"malformed\"").await, "there from the start");
    let head =
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    let answer = gateway.client().raw(head).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error", "{}", answer.text());
    assert_eq!(answer.json()["request_id"].as_str(), answer.header("x-request-id"));
    assert_eq!(gateway.metric(REFUSED, "reason=\"malformed\"").await, 1.0);
    // A good request and a bad one at once: the second has its answer, too.
    let mut stream = gateway.client().connect().await;
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\nGET\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 200);
    let second = read_response(&mut stream).await;
    assert_eq!((second.status, second.code().as_str()), (400, "invalid_request_framing"));
    assert_eq!(gateway.metric(REFUSED, "reason=\"malformed\"").await, 2.0);
}

#[tokio::test]
async fn a_pipelined_request_is_refused_and_not_lost() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let request = Client::request("/v1/chat/completions", "", &chat(false, ""));
    let chunked = {
        let body = chat(false, "").to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    for first in [request.clone(), chunked.into_bytes()] {
        let mut stream = gateway.client().connect().await;
        let both = [first.as_slice(), b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
        stream.write_all(&both).await.unwrap();
        assert_eq!(read_response(&mut stream).await.status, 200);
        let second = read_response(&mut stream).await;
        assert_eq!((second.status, second.code().as_str()), (400, "invalid_request_framing"));
        assert!(second.closes());
    }
    // A request that only begins early is no better.
    let mut stream = gateway.client().connect().await;
    let early = [request.as_slice(), b"GET /v1/mod"].concat();
    stream.write_all(&early).await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 200);
    stream.write_all(b"els HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 400);
}

/// A refusal on a connection, and whether it closes.
async fn refused(stream: &mut (impl AsyncRead + Unpin)) -> (u16, bool) {
    let answer = read_response(stream).await;
    (answer.status, answer.closes())
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_where_a_small_body_is_sure_to_come() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut stream = gateway.client().connect().await;
    // What is in a body is in a body, and no request.
    let inner = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
    let full = [inner.as_slice(), &vec![b'x'; 64 * 1024 - inner.len()]].concat();
    for body in [&inner, &full] {
        let head = format!(
            "POST /v1/nowhere HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        assert_eq!(refused(&mut stream).await, (404, false));
        // In pieces, too.
        stream.write_all(head.as_bytes()).await.unwrap();
        for piece in body.chunks(1 + body.len() / 3) {
            tokio::task::yield_now().await;
            stream.write_all(piece).await.unwrap();
        }
        assert_eq!(refused(&mut stream).await, (404, false));
    }
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(refused(&mut stream).await, (200, false));
    // What comes behind a body that was not wanted is a pipelined request like any other.
    let post = "POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(format!("{post}{post}").as_bytes()).await.unwrap();
    assert_eq!(refused(&mut stream).await, (404, false));
    assert_eq!(refused(&mut stream).await, (400, true));
}

#[tokio::test]
async fn a_refusal_closes_where_the_body_is_large_or_in_doubt() {
    let provider = provider().await;
    let limits = "limits: { requests_per_ip: { rate: 1, burst: 100 } }";
    let gateway = Gateway::start(&Config::for_provider(provider.address()).with(limits));
    let post = |lines: &str| format!("POST /v1/nowhere HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    for (what, request) in [
        ("too large", post("Content-Length: 65537\r\n")),
        ("chunks", post("Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n0\r\n\r\n"),
        ("waits for 100", post("Expect: 100-continue\r\nContent-Length: 2\r\n")),
        ("never comes", post("Content-Length: 2\r\n") + "{"),
    ] {
        let mut stream = gateway.client().connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(refused(&mut stream).await, (404, true), "{what}");
    }
    // Beyond the address's rate a request is refused for that; what was wrong with it stays so.
    let mut stream = gateway.client().connect().await;
    let until_limited = async |stream: &mut _, target: &str| {
        for _ in 0..1000 {
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            AsyncWriteExt::write_all(stream, head.as_bytes()).await.unwrap();
            let (status, closes) = refused(stream).await;
            if status == 429 || closes {
                return (status, closes);
            }
        }
        panic!("there is a limit");
    };
    assert_eq!(until_limited(&mut stream, "/v1/models").await, (429, false));
    for _ in 0..100 {
        let mut stream = gateway.client().connect().await;
        let (status, closes) = until_limited(&mut stream, "/v1/../v1/models").await;
        assert!(closes, "{status}");
        if status == 429 {
            return;
        }
    }
    panic!("no bad request was beyond the limit");
}

#[tokio::test]
async fn a_body_that_ends_early_reaches_nobody() {
    let provider = provider().await;
    let gateway = gateway(&provider).await;
    let mut stream = gateway.client().connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 100\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end", stream.read_to_end(&mut rest)).await.ok();
    assert_eq!(provider.ledger().total.requests, 0);
    let log = gateway.stop().await;
    assert_eq!(log[0]["end"], "client_gone", "{log:?}");
}
