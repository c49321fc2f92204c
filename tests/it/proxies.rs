//! Whose address counts behind a proxy that is trusted, and behind one that is not.

use std::net::IpAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::access::records;
use crate::support::{Client, Config, Gateway, Response, chat, provider, read_response, soon};

const PROXY: [u8; 4] = [127, 0, 0, 2];
const STRANGER: [u8; 4] = [127, 0, 0, 3];
const TRUSTED: &str = "127.0.0.2, 10.0.0.0/8, \"fd00::/8\"";

fn listeners(trusted: &str) -> String {
    format!(
        "listeners:\n  proxy: {{ address: \"127.0.0.1:0\", trusted_proxies: [{trusted}] }}\n  \
         admin: {{ address: \"127.0.0.1:0\" }}\n  metrics: {{ address: \"127.0.0.1:0\" }}"
    )
}

/// A client whose connections come from `source`.
fn by(gateway: &Gateway, source: [u8; 4]) -> Client {
    gateway.client().from(IpAddr::from(source))
}

async fn models(client: Client, forwarded: &str) -> Response {
    let head = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\n{forwarded}\r\n");
    client.raw(head).await
}

/// Asks until the gateway has had enough.
async fn exhaust(client: Client, forwarded: impl Fn(u32) -> String) {
    soon("a refusal", async {
        for n in 0.. {
            match models(client, &forwarded(n)).await.status {
                429 => break,
                status => assert_eq!(status, 200),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_have_a_bucket_each() {
    let provider = provider().await;
    let limits = "limits: { requests_per_ip: { rate: 1, burst: 50 } }";
    let config = Config::for_provider(provider.address()).with(limits);
    let gateway = Gateway::start(&config.clone().with(&listeners(TRUSTED)));
    let proxy = by(&gateway, PROXY);
    // What the client itself writes is left of what the proxies do, and changes nothing.
    exhaust(proxy, |n| format!("X-Forwarded-For: 198.51.100.{}, 192.0.2.1, 10.1.1.1\r\n", n % 250))
        .await;
    let other = models(proxy, "X-Forwarded-For: 192.0.2.2\r\nX-Forwarded-For: 10.1.1.1\r\n").await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(models(proxy, "X-Forwarded-For: [2001:db8::1]:4711\r\n").await.status, 200);
    assert_eq!(models(proxy, "").await.status, 200, "its own requests are its own");

    // Whoever is not trusted has one address, whatever they say.
    exhaust(by(&gateway, STRANGER), |n| format!("X-Forwarded-For: 203.0.113.{}\r\n", n % 250))
        .await;

    // Health is for everybody.
    let health = "GET /health HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    assert_eq!(proxy.raw(health).await.status, 200);

    // Nobody is trusted any more: the proxy has a bucket of its own, and it is everybody's.
    gateway.rewrite_config(&config.with(&listeners("10.0.0.0/8")));
    gateway.await_log("configuration in force");
    exhaust(proxy, |n| format!("X-Forwarded-For: 203.0.113.{}\r\n", n % 250)).await;
}

#[tokio::test]
async fn policies_and_the_access_log_go_by_the_client_and_providers_learn_nothing() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let rules = "permit (principal, action, resource)\n\
                 when { context.ip.isInRange(ip(\"192.0.2.0/24\")) };";
    std::fs::write(directory.path().join("rules.cedar"), rules).unwrap();
    let policies = format!("policies: {{ directory: \"{}\" }}", directory.path().display());
    let audit = tempfile::tempdir().unwrap();
    let log = format!("audit: {{ directory: \"{}\" }}", audit.path().join("log").display());
    let config = Config::for_provider(provider.address())
        .with(&policies)
        .with(&log)
        .with(&listeners(TRUSTED));
    let gateway = Gateway::start_in(directory, &config);
    let mut expected = Vec::new();
    for (source, forwarded, client, status) in [
        (PROXY, "X-Forwarded-For: 192.0.2.9, fd00::7\r\n", "192.0.2.9", 200),
        (PROXY, "X-Forwarded-For: 192.0.2.9, 198.51.100.9\r\n", "198.51.100.9", 403),
        (PROXY, "X-Forwarded-For: 192.0.2.9, unknown\r\n", "127.0.0.2", 403),
        (PROXY, "", "127.0.0.2", 403),
        (STRANGER, "X-Forwarded-For: 192.0.2.9\r\n", "127.0.0.3", 403),
    ] {
        let id = format!("{}", expected.len());
        let body = chat(false, "");
        let answer = by(&gateway, source).post_with("/v1/chat/completions", forwarded, &body).await;
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        let request_id = answer.header("x-request-id").unwrap().to_owned();
        expected.push((request_id, client));
    }
    let sent = provider.requests();
    assert_eq!(sent.len(), 1);
    assert!(!format!("{sent:?}").contains("192.0.2.9"), "{sent:?}");
    let log = gateway.stop().await;
    let audited = records(&audit.path().join("log"));
    for (id, client) in expected {
        let line = log.iter().find(|line| line["request_id"] == id.as_str()).unwrap();
        assert_eq!(line["client"], Value::from(client), "{line}");
        let record = audited.iter().find(|record| record["request_id"] == id.as_str());
        match record.filter(|record| record["kind"] == "policy_refusal") {
            Some(record) => assert_eq!(record["actor"]["ip"], Value::from(client), "{record}"),
            None => assert_eq!(line["status"], 200, "{line}"),
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_have_as_many_connections_as_there_are() {
    let provider = provider().await;
    let limits = "limits: { connections_per_ip: 2, connection_rate_per_ip: { rate: 1, burst: 2 } }";
    let config = Config::for_provider(provider.address()).with(limits).with(&listeners(TRUSTED));
    let gateway = Gateway::start(&config);
    let mut open = Vec::new();
    for n in 0..20 {
        let mut stream = by(&gateway, PROXY).connect().await;
        let head =
            format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{n}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_response(&mut stream).await.status, 200);
        open.push(stream);
    }
    let mut others = Vec::new();
    soon("the end of one", async {
        loop {
            let mut stream = by(&gateway, STRANGER).connect().await;
            stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await.ok();
            if !stream.read_u8().await.is_ok_and(|byte| byte == b'H') {
                break;
            }
            others.push(stream);
        }
    })
    .await;
    assert!(others.len() <= 2, "{}", others.len());
}
