//! HTTP/2 to a provider: the same answers, the same truth.

use serde_json::json;
use sluicegate_simulator::Simulator;

use crate::support::certificates::{Authority, TlsFront};
use crate::support::{Config, Gateway, chat, provider, split_events};

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
