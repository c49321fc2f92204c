//! Another attempt, unseen: the body is replayed whole, whatever its framing.

use serde_json::json;

use crate::support::{Client, Config, Gateway, chat, free_address, provider};

fn two_targets(first: std::net::SocketAddr, second: std::net::SocketAddr) -> Config {
    let mut config = Config::for_provider(second);
    config.providers += &format!(
        "  dead: {{ dialect: openai, base_url: \"http://{first}/v1\", api_key: \"env:SIM_KEY\" }}\n"
    );
    config.with_models(
        "  sim-1:\n    targets:\n      - { provider: dead, model: first-name, weight: 1000 }\n      \
         - { provider: sim, model: the-second-name, weight: 1 }\n    \
         retries: { attempts: 3, on: [connect, timeout, 429, 5xx] }\n    timeouts: { first_byte: 500ms }\n",
    )
}

#[tokio::test]
async fn another_target_gets_the_same_body_under_its_own_name() {
    let provider = provider().await;
    let gateway = Gateway::start(&two_targets(free_address(), provider.address()));
    for size in [10, 70_000, 900_000] {
        let mut body = chat(false, "strict=false");
        body["pad"] = json!("y".repeat(size));
        let text = body.to_string();
        let chunked = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
            text.len()
        );
        for request in [Client::request("/v1/chat/completions", "", &body), chunked.into_bytes()] {
            let answer = gateway.client().raw(request).await;
            assert_eq!(answer.status, 200, "{size}: {}", answer.text());
            let requests = provider.requests();
            let sent = text.replace("\"sim-1\"", "\"the-second-name\"");
            assert_eq!(requests.last().unwrap().body, sent.as_bytes(), "{size}");
        }
    }
    assert_eq!(provider.ledger().total.requests, 6);
}

#[tokio::test]
async fn errors_and_silence_are_tried_again_and_the_last_error_passes() {
    let failing = provider().await;
    let good = provider().await;
    let gateway = Gateway::start(&two_targets(failing.address(), good.address()));
    for directives in
        ["fault=refuse-first,n=1000000", "fault=delay-head,ms=600000", "fault=empty-reply"]
    {
        // The directive is for whoever reads it, so both get it; the good one must be told apart.
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, directives)).await;
        assert!(answer.status >= 500, "{directives}: {}", answer.status);
    }
    // Each request was tried three times in all, over both.
    gateway.until_metric("sluicegate_upstream_attempts_total", "", 9.0).await;
    let log = gateway.stop().await;
    assert!(log.iter().all(|line| line["attempts"] == 3), "{log:#?}");
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let gateway = Gateway::start(&Config::for_provider(free_address()));
    let answer = gateway.client().post("/v1/chat/completions", &chat(true, "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
    assert!(answer.header("retry-after").is_some());
    let log = gateway.stop().await;
    assert_eq!((&log[0]["end"], &log[0]["attempts"]), (&json!("unreachable"), &json!(2)));
}

#[tokio::test]
async fn a_name_without_an_address_is_passed_over() {
    let provider = provider().await;
    let mut config = two_targets(free_address(), provider.address());
    config.providers += "  lost: { dialect: openai, base_url: \"https://name.invalid/v1\", api_key: \"env:SIM_KEY\" }\n";
    config.models = config.models.replace("provider: dead", "provider: lost");
    let gateway = Gateway::start(&config);
    for _ in 0..5 {
        let answer = gateway.client().post("/v1/chat/completions", &chat(false, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(provider.ledger().total.requests, 5);
}
