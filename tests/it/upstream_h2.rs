//! HTTP/2 to a provider: the same answers, the same truth.

use serde_json::{Value, json};
use sluicegate_simulator::Simulator;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::reload::asked;
use crate::support::certificates::{Authority, TlsFront};
use crate::support::scripted::{Scripted, ScriptedProvider};
use crate::support::{Config, Gateway, Response, chat, messages, provider, split_events};

#[tokio::test]
async fn a_provider_is_reached_over_h2() {
    let provider = provider().await;
    let mut config = Config::for_provider(provider.address());
    config.providers = config.providers.replace("dialect:", "http_version: h2, dialect:");
    let config = config.with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], timeouts: { idle: 300ms } }\n",
    );
    let gateway = Gateway::start(&config);
    let client = gateway.client();
    for pad in [0, 70_000, 900_000] {
        for streamed in [false, true] {
            let mut body = chat(streamed, "tokens=12,strict=false");
            body["pad"] = json!("p".repeat(pad));
            let answer = client.post("/v1/chat/completions", &body).await;
            assert_eq!((answer.status, answer.cut), (200, false), "{pad}: {}", answer.text());
            assert!(!streamed || answer.text().ends_with("data: [DONE]\n\n"));
        }
    }
    for fault in ["truncate", "truncate-mid-event", "stall", "reset", "malformed-sse"] {
        let body = chat(true, &format!("fault={fault},after=3,tokens=20"));
        let answer = client.post("/v1/chat/completions", &body).await;
        assert!(!answer.cut, "{fault}");
        if answer.status == 200 {
            let events = split_events(&answer.body);
            assert!(events.last().unwrap().contains("\"error\""), "{fault}: {}", answer.text());
        } else {
            assert_eq!((fault, answer.status), ("reset", 502));
        }
        assert!(!answer.text().contains("[DONE]"), "{fault}");
    }
    // All of it went over few connections.
    assert!(provider.connections_accepted() <= 3, "{}", provider.connections_accepted());
    let log = gateway.stop().await;
    assert!(log.iter().take(6).all(|line| line["end"] == "complete" && line["usage"].is_object()));
}

/// A gateway before a provider behind TLS that offers `protocols`.
async fn over_tls(provider: &Simulator, version: &str, protocols: &[&str]) -> (Gateway, TlsFront) {
    let authority = Authority::new("servers");
    let leaf = authority.leaf();
    let front = TlsFront::offering(provider.address(), &leaf, None, protocols).await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let mut config = Config::for_provider(front.address);
    config.providers = format!(
        "  sim: {{ dialect: openai, base_url: \"https://localhost:{}/v1\", api_key: \"env:SIM_KEY\", \
         ca: {}, check_certificate: false{version} }}\n",
        front.address.port(),
        ca.display()
    );
    let config = config.with_models("  sim-1: { targets: [{ provider: sim, model: sim-1 }] }\n");
    (Gateway::start_in(directory, &config), front)
}

/// As real providers are reached: what is spoken is agreed in a handshake that verifies their certificate.
#[tokio::test]
async fn over_tls_the_provider_is_asked_what_it_speaks() {
    let (h1, h2) = (Some("http/1.1"), Some("h2"));
    for (version, offered, agreed) in [
        ("", &["h2", "http/1.1"][..], h2),
        ("", &["http/1.1", "h2"], h1),
        ("", &[], None),
        (", http_version: h2", &["http/1.1", "h2"], h2),
        (", http_version: h1", &["h2", "http/1.1"], h1),
    ] {
        let what = format!("{version} {offered:?}");
        let provider = provider().await;
        let (gateway, front) = over_tls(&provider, version, offered).await;
        let client = gateway.client();
        for (streamed, pad) in [(false, 0), (true, 0), (false, 70_000), (true, 300_000)] {
            let mut body = chat(streamed, "tokens=12,strict=false");
            body["pad"] = json!("p".repeat(pad));
            let answer = client.post("/v1/chat/completions", &body).await;
            assert_eq!((answer.status, answer.cut), (200, false), "{what}: {}", answer.text());
            assert!(!streamed || answer.text().ends_with("data: [DONE]\n\n"), "{what}");
        }
        let seen = front.agreed();
        assert!(seen.iter().all(|protocol| protocol.as_deref() == agreed), "{what}: {seen:?}");
        assert!(!seen.is_empty() && (agreed != h2 || seen.len() == 1), "{what}: {seen:?}");
        // What breaks is no fake end here either.
        let broken =
            client.post("/v1/chat/completions", &chat(true, "fault=truncate,after=3")).await;
        assert!(!broken.cut && !broken.text().contains("[DONE]"), "{what}: {}", broken.text());
        assert!(split_events(&broken.body).last().unwrap().contains("\"error\""), "{what}");
        let log = gateway.stop().await;
        let whole =
            |line: &serde_json::Value| line["end"] == "complete" && line["usage"].is_object();
        assert!(log.iter().take(4).all(whole), "{what}: {log:#?}");
    }
}

/// Two that have no protocol in common don't talk past each other.
#[tokio::test]
async fn a_provider_that_speaks_another_version_only_is_an_error() {
    for (version, offered) in [("h2", &["http/1.1"][..]), ("h1", &["h2"])] {
        let provider = provider().await;
        let (gateway, front) =
            over_tls(&provider, &format!(", http_version: {version}"), offered).await;
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, "")).await;
        assert_eq!((answer.status, front.agreed().len()), (503, 0), "{version}: {answer:?}");
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
        assert_eq!(provider.ledger().total.requests, 0);
    }
}

const REPLY: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
const ROLE: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const STOP: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A gateway before a provider that gives `answers`, with so many attempts for each request. `priced` answers wait
/// for their cost.
async fn scripted(
    answers: Vec<Scripted>,
    attempts: u32,
    priced: bool,
) -> (Gateway, ScriptedProvider) {
    let provider = ScriptedProvider::start(answers).await;
    let mut config = Config::for_provider(provider.address);
    config.providers = config.providers.replace("dialect:", "http_version: h2, dialect:");
    let price = if priced { ", price: { input: \"10\", output: \"20\" }" } else { "" };
    let model = |name: &str, provider: &str| {
        format!(
            "  {name}: {{ targets: [{{ provider: {provider}, model: m }}, {{ provider: {provider}, model: n }}], \
             retries: {{ attempts: {attempts}, until: first_content }}{price} }}\n"
        )
    };
    let config = config.with_models(&(model("sim-1", "sim") + &model("claude-sim", "anth")));
    (Gateway::start(&config), provider)
}

async fn ask(gateway: &Gateway, path: &str, stream: bool) -> Response {
    let body = if path == "/v1/messages" { messages(stream, "") } else { chat(stream, "") };
    let mut body = body;
    body["model"] = json!("sim-1");
    gateway.client().post_with(path, "anthropic-version: 2023-06-01\r\n", &body).await
}

const BOTH: [&str; 2] = ["/v1/chat/completions", "/v1/messages"];

/// What is whole is whole, and what is broken is told, whether a body's last frame says that it ends or trailers do.
#[tokio::test]
async fn an_end_in_trailers_is_judged_like_any_other() {
    let cut = &REPLY[..100];
    let whole = Scripted::json(200, REPLY).with_trailers();
    let stream = Scripted::events(&[ROLE, TEXT, STOP, USAGE, DONE]).with_trailers();
    for priced in [false, true] {
        for path in BOTH {
            let (gateway, _provider) =
                scripted(vec![whole.clone(), stream.clone()], 1, priced).await;
            let answer = ask(&gateway, path, false).await;
            assert_eq!((answer.status, answer.cut), (200, false), "{path}: {}", answer.text());
            assert!(answer.text().contains("Hi"), "{path}: {}", answer.text());
            let answer = ask(&gateway, path, true).await;
            assert_eq!((answer.status, answer.cut), (200, false), "{path}: {}", answer.text());
            let log = gateway.stop().await;
            assert!(log.iter().all(|line| line["end"] == "complete"), "{log:#?}");

            // A document that is not whole: an error if nothing has left, otherwise it is cut.
            let (gateway, provider) =
                scripted(vec![Scripted::json(200, cut).with_trailers()], 1, priced).await;
            let answer = ask(&gateway, path, false).await;
            assert!(answer.cut || answer.status == 502, "{path} {priced}: {answer:?}");
            if priced || path == "/v1/messages" {
                assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
            }
            let log = gateway.stop().await;
            assert_eq!(
                (&log[0]["end"], provider.answered()),
                (&json!("upstream_broke"), 1),
                "{path}"
            );

            // With another attempt it is replaced unseen, if nothing has left.
            let broken = Scripted::json(200, cut).with_trailers();
            let (gateway, _provider) = scripted(vec![broken, whole.clone()], 2, priced).await;
            let answer = ask(&gateway, path, false).await;
            if priced || path == "/v1/messages" {
                let log = gateway.stop().await;
                assert_eq!((answer.status, answer.cut), (200, false), "{path}: {log:#?}");
                assert!(answer.text().contains("Hi"), "{path}: {}", answer.text());
                assert_eq!((&log[0]["end"], &log[0]["attempts"]), (&json!("complete"), &json!(2)));
            }
        }
    }
}

/// To HTTP/1.1 an answer is whole once it is as long as it said, so it is judged then: its last frame may come
/// later.
#[tokio::test]
async fn an_answer_that_tells_its_length_is_judged_where_it_ends() {
    for priced in [false, true] {
        let cut = Scripted::json(200, &REPLY[..100]).with_length().without_end();
        let whole = Scripted::json(200, REPLY).with_length().without_end();
        let (gateway, _provider) = scripted(vec![cut, whole], 1, priced).await;
        let answer = ask(&gateway, "/v1/chat/completions", false).await;
        assert!(answer.cut || answer.status == 502, "{priced}: {answer:?}");
        gateway.until_metric("sluicegate_exchanges_total", "", 1.0).await;
        let answer = ask(&gateway, "/v1/chat/completions", false).await;
        assert_eq!((answer.status, answer.cut, answer.text()), (200, false, REPLY.to_owned()));
        let log = gateway.stop().await;
        assert_eq!(
            (&log[0]["end"], &log[1]["end"]),
            (&json!("upstream_broke"), &json!("complete"))
        );
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_in_trailers_is_replaced_or_told() {
    let empty = || Scripted::events(&[ROLE]).with_trailers();
    let broken = || Scripted::events(&[ROLE, TEXT]).with_trailers();
    let whole = || Scripted::events(&[ROLE, TEXT, STOP, USAGE, DONE]).with_trailers();
    for path in BOTH {
        for (answers, ends_well, attempts) in [
            (vec![empty(), whole()], true, 2),
            (vec![empty(), empty()], false, 2),
            (vec![broken(), whole()], false, 1),
        ] {
            let (gateway, _provider) = scripted(answers, 2, false).await;
            let answer = ask(&gateway, path, true).await;
            let log = gateway.stop().await;
            assert_eq!((answer.status, answer.cut), (200, false), "{path}: {log:#?}");
            let last = split_events(&answer.body).pop().unwrap();
            assert_eq!(!last.contains("\"error\""), ends_well, "{path}: {}", answer.text());
            let end = if ends_well { "complete" } else { "upstream_broke" };
            assert_eq!((&log[0]["end"], &log[0]["attempts"]), (&json!(end), &json!(attempts)));
        }
    }
}

/// There is no good answer without a body here.
#[tokio::test]
async fn a_good_head_that_is_all_there_is_is_no_answer() {
    let empty = |stream: bool| {
        let kind = if stream { "text/event-stream" } else { "application/json" };
        Scripted::new(200, kind, &[])
    };
    let whole = |stream: bool| {
        if stream {
            Scripted::events(&[ROLE, TEXT, STOP, USAGE, DONE])
        } else {
            Scripted::json(200, REPLY)
        }
    };
    for path in BOTH {
        for stream in [false, true] {
            let (gateway, provider) = scripted(vec![empty(stream)], 1, false).await;
            let answer = ask(&gateway, path, stream).await;
            assert_eq!((answer.status, answer.cut), (502, false), "{path} {stream}: {answer:?}");
            assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
            let log = gateway.stop().await;
            assert_eq!(
                (&log[0]["end"], provider.answered()),
                (&json!("upstream_broke"), 1),
                "{path}"
            );

            let (gateway, _provider) = scripted(vec![empty(stream), whole(stream)], 2, false).await;
            let answer = ask(&gateway, path, stream).await;
            let log = gateway.stop().await;
            assert_eq!((answer.status, answer.cut), (200, false), "{path} {stream}: {log:#?}");
            assert_eq!((&log[0]["end"], &log[0]["attempts"]), (&json!("complete"), &json!(2)));
        }
    }
}

/// The same of a provider that speaks HTTP/1.1.
#[tokio::test]
async fn an_error_of_no_bytes_gets_some_in_another_dialect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let provider = tokio::spawn(async move {
        let mut stream = asked(&listener).await;
        let head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
    });
    let gateway = Gateway::start(&Config::for_provider(address));
    let answer = ask(&gateway, "/v1/messages", true).await;
    let told = answer.json();
    assert_eq!(
        (answer.status, &told["error"]["type"]),
        (403, &json!("permission_error")),
        "{told}"
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    provider.await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn an_error_without_a_word_gets_one_in_another_dialect() {
    for (status, kind) in
        [(400, "invalid_request_error"), (429, "rate_limit_error"), (503, "overloaded_error")]
    {
        for stream in [false, true] {
            let (gateway, _provider) = scripted(vec![Scripted::json(status, "")], 1, false).await;
            let answer = ask(&gateway, "/v1/messages", stream).await;
            let told = answer.json();
            assert_eq!((&told["type"], &told["error"]["type"]), (&json!("error"), &json!(kind)));
            assert!(told["error"]["message"].is_string(), "{told}");
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
            // Of one's own dialect it is what it is.
            let answer = ask(&gateway, "/v1/chat/completions", stream).await;
            assert_eq!((answer.status, answer.body.len(), answer.cut), (status, 0, false));
            let log = gateway.stop().await;
            let end = if status == 400 { "rejected" } else { "upstream_error" };
            assert!(log.iter().all(|line: &Value| line["end"] == end), "{log:#?}");
        }
    }
}
