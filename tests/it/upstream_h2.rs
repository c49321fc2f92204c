//! HTTP/2 to a provider: the same answers, the same truth.

use serde_json::json;

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
