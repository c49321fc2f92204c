//! HTTP/2: over TLS by ALPN, and with prior knowledge where it is allowed.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Config, Gateway, chat, in_time, provider, read_response, soon};

/// A gateway with a certificate of its own, and a client that trusts it.
async fn tls_gateway(
    provider: &sluicegate_simulator::Simulator,
) -> (Gateway, tempfile::TempDir, rustls::RootCertStore) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let config = Config::for_provider(provider.address()).with(&format!(
        "listeners:\n  proxy: {{ address: \"127.0.0.1:0\", tls: {{ certificate: {}, key: {} }} }}\n  \
         admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}",
        certificate.display(),
        key.display()
    ));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    (Gateway::start(&config), directory, roots)
}

async fn tls(
    gateway: &Gateway,
    roots: rustls::RootCertStore,
    alpn: &[u8],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(gateway.proxy).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn h2_client<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> SendRequest<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

async fn h2_requests(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut sender = h2_client(stream).await;
    // Bodies without a length, small and large, plain and streamed, at once.
    let mut answers = Vec::new();
    let mut body = chat(false, "tokens=12,strict=false");
    body["pad"] = json!("");
    let fits = 1_048_576 - body.to_string().len();
    for (streamed, pad) in [
        (true, 0),
        (false, 0),
        (true, 200_000),
        (false, 900_000),
        (false, fits),
        (false, fits + 1),
        (false, 1_100_000),
    ] {
        let mut body = chat(streamed, "tokens=12,strict=false");
        body["pad"] = json!("z".repeat(pad));
        let request = http::Request::post("https://localhost/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())).map_frame(|frame| frame).boxed())
            .unwrap();
        let answer = sender.send_request(request);
        answers.push((streamed, pad, answer));
    }
    for (streamed, pad, answer) in answers {
        let answer = soon("an answer", answer).await.unwrap();
        let status = answer.status().as_u16();
        assert!(answer.headers().contains_key("x-request-id"));
        assert!(!answer.headers().contains_key("transfer-encoding"));
        let body = soon("a body", answer.into_body().collect()).await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(status, if pad > fits { 413 } else { 200 }, "{pad}: {text}");
        assert!(!streamed || text.ends_with("data: [DONE]\n\n"), "{text}");
    }
}

#[tokio::test]
async fn tls_speaks_h2_and_http1_by_alpn() {
    let provider = provider().await;
    let (gateway, _directory, roots) = tls_gateway(&provider).await;
    let stream = tls(&gateway, roots.clone(), b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    h2_requests(stream).await;
    let mut stream = tls(&gateway, roots, b"http/1.1").await;
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 200);
    let log = gateway.stop().await;
    assert_eq!(log.iter().filter(|line| line["end"] == "complete").count(), 6, "{log:#?}");
}

#[tokio::test]
async fn h2_without_tls_only_where_it_is_allowed() {
    let provider = provider().await;
    let listeners = |h2c: bool| {
        format!(
            "listeners:\n  proxy: {{ address: \"127.0.0.1:0\", h2c: {h2c} }}\n  \
             admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}"
        )
    };
    let config = Config::for_provider(provider.address());
    let gateway = Gateway::start(&config.clone().with(&listeners(true)));
    h2_requests(TcpStream::connect(gateway.proxy).await.unwrap()).await;
    assert_eq!(gateway.client().get("/v1/models").await.status, 200, "HTTP/1.1 on the same port");

    let gateway = Gateway::start(&config.with(&listeners(false)));
    let answer = gateway.client().raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_connection_without_a_request_is_idle() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address()).with(
        "listeners:\n  proxy: { address: \"127.0.0.1:0\", h2c: true }\n  \
         admin: { address: \"127.0.0.1:0\" }\n  metrics: { address: \"127.0.0.1:0\" }\n\
         limits: { header_timeout: 200ms, keepalive_timeout: 1h }",
    );
    let gateway = Gateway::start(&config);
    let stream = TcpStream::connect(gateway.proxy).await.unwrap();
    let mut sender = h2_client::<Full<Bytes>>(stream).await;
    // What has its deadline is over by the time that another connection has waited for the same one.
    for _ in 0..2 {
        let mut slow = TcpStream::connect(gateway.proxy).await.unwrap();
        slow.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
        let mut rest = Vec::new();
        soon("half a preface", slow.read_to_end(&mut rest)).await.ok();
    }
    let request = http::Request::get("http://localhost/v1/models").body(Full::default()).unwrap();
    let answer = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_takes_the_upstream_request_with_it() {
    let provider = provider().await;
    let (gateway, _directory, roots) = tls_gateway(&provider).await;
    let stream = tls(&gateway, roots, b"h2").await;
    let mut sender = h2_client(stream).await;
    for directives in ["fault=stall,after=2", "tokens=100000,token_ms=5"] {
        in_time("the abort", Duration::from_secs(1), async || {
            let request = http::Request::post("https://localhost/v1/chat/completions")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(chat(true, directives).to_string())))
                .unwrap();
            let mut answer = soon("an answer", sender.send_request(request)).await.unwrap();
            soon("an event", answer.body_mut().frame()).await.unwrap().unwrap();
            assert_eq!(provider.streams_open(), 1);
            let left = Instant::now();
            drop(answer);
            soon("the abort", provider.wait_until(|stats| stats.streams_open == 0)).await;
            left.elapsed()
        })
        .await;
    }
    // While nothing has come yet, too.
    in_time("the abort without an answer", Duration::from_secs(1), async || {
        let before = provider.ledger().total;
        let body = chat(false, "fault=delay-head,ms=600000");
        let request = http::Request::post("https://localhost/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let waiting = tokio::spawn(sender.send_request(request));
        soon("the request", provider.wait_until(|stats| stats.total.requests > before.requests))
            .await;
        let left = Instant::now();
        waiting.abort();
        soon("the abort", provider.wait_until(|stats| stats.total.aborted > before.aborted)).await;
        left.elapsed()
    })
    .await;
    // It was the streams that were given up, and not their connection.
    let request = http::Request::post("https://localhost/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(chat(false, "").to_string())))
        .unwrap();
    let answer = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
}
