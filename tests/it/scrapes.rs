//! Who may read `/metrics`: whoever has the token, from the networks on the list, and no web page.

use crate::support::{Client, Config, Gateway, Response, provider};

const TOKEN: &str = "scraper-0123456789abcdef0123456789abcdef";
const PAGE: &str = "https://page.example.com";

/// A gateway whose metrics are for one scraper's token. `more`: of `listeners.metrics`.
async fn gateway(more: &str) -> Gateway {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let config = Config::for_provider(provider.address()).with(&format!(
        "listeners:\n  proxy: {{ address: \"127.0.0.1:0\" }}\n  admin: {{ address: \"127.0.0.1:0\" }}\n  \
         metrics: {{ address: \"127.0.0.1:0\", bearer_token: \"file:{}\"{more} }}\n\
         cors: {{ origins: [\"{PAGE}\"] }}",
        token.display()
    ));
    Gateway::start_in(directory, &config)
}

/// Asks the metrics' listener, with these header lines.
async fn ask(gateway: &Gateway, request: &str, headers: &str) -> Response {
    let request =
        format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    Client::new(gateway.metrics).raw(request).await
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn metrics_are_for_whoever_has_the_scraper_s_token() {
    let gateway = gateway("").await;
    let (right, longer) = (bearer(TOKEN), bearer(&format!("{TOKEN}0")));
    for wrong in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        &bearer(&TOKEN[..TOKEN.len() - 1]),
        &longer,
        &right.replace("Bearer", "Basic"),
        &format!("x-api-key: {TOKEN}\r\n"),
        // Of two, nobody can tell which one counts.
        &format!("{right}{right}"),
    ] {
        let answer = ask(&gateway, "GET /metrics", wrong).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_api_key"), "{wrong}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(!answer.text().contains("sluicegate_"), "{wrong}");
    }
    for right in [right.clone(), right.replace("Bearer", "bearer")] {
        let answer = ask(&gateway, "GET /metrics", &right).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("sluicegate_config_generation 1"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    // Whoever looks whether the process lives has no token.
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(ask(&gateway, &format!("GET {path}"), "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_for_the_networks_on_the_list_whatever_they_know() {
    let gateway = gateway(", allow: [10.0.0.0/8]").await;
    for headers in
        [String::new(), bearer(TOKEN), format!("{}X-Forwarded-For: 10.0.0.1\r\n", bearer(TOKEN))]
    {
        let answer = ask(&gateway, "GET /metrics", &headers).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "address_not_allowed"));
        assert!(answer.text().contains("listeners.metrics.allow"), "{}", answer.text());
    }
    // A kubelet's address is on no list.
    assert_eq!(ask(&gateway, "GET /health/live", "").await.status, 200);
}

/// An origin that may call the proxy's listener may read nothing from the other two.
#[tokio::test]
async fn no_web_page_reads_metrics_or_administers() {
    let gateway = gateway("").await;
    let from = format!("Origin: {PAGE}\r\n");
    let preflight = format!(
        "{from}Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n"
    );
    let shares = |answer: &Response| {
        answer.headers.iter().any(|(name, _)| name.starts_with("access-control-"))
    };
    let allowed = format!(
        "OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{preflight}\r\n"
    );
    assert!(shares(&gateway.client().raw(allowed).await), "on the proxy's listener it may");
    let admin = Client::new(gateway.admin);
    for (method, headers) in [("GET", &format!("{from}{}", bearer(TOKEN))), ("OPTIONS", &preflight)]
    {
        for path in ["/metrics", "/health"] {
            let answer = ask(&gateway, &format!("{method} {path}"), headers).await;
            assert!(!shares(&answer), "{method} {path}: {answer:?}");
            assert!(method == "GET" || answer.status >= 400, "{method} {path}: {answer:?}");
        }
        let request = format!(
            "{method} /admin/v1/config HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        let answer = admin.raw(request).await;
        assert!(!shares(&answer) && answer.status >= 400, "{method}: {answer:?}");
    }
}
