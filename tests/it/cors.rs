//! Browsers: exact origins, readable refusals.

use crate::support::{Config, Gateway, chat, provider};

const PAGE: &str = "Origin: https://app.example.com\r\n";

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_others_may_not() {
    let provider = provider().await;
    let config = Config::for_provider(provider.address())
        .with("cors: { origins: [\"https://app.example.com\"] }");
    let gateway = Gateway::start(&config);
    let client = gateway.client();
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization, content-type, x-evil\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = client.raw(preflight("https://app.example.com")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, content-type"));
    assert!(answer.header("vary").unwrap().contains("Origin"));
    for origin in [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com.evil.com",
        "https://app.example.com:8443",
        "null",
    ] {
        let answer = client.raw(preflight(origin)).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
        let lines = format!("Origin: {origin}\r\n");
        let answer = client.post_with("/v1/chat/completions", &lines, &chat(false, "")).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cors_origin_denied"));
    }
    assert_eq!(provider.ledger().total.requests, 0);

    for stream in [false, true] {
        let answer = client.post_with("/v1/chat/completions", PAGE, &chat(stream, "")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
        assert!(answer.header("access-control-expose-headers").unwrap().contains("x-request-id"));
    }
    // A refusal can be read by the page, too.
    let refused = client.post_with("/v1/chat/completions", PAGE, &serde_json::json!({})).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example.com"));
}
