//! Those who have no credential, guess one, or come from elsewhere.

use std::sync::atomic::Ordering;

use super::harness::{Admin, OPEN, error, nothing};
use crate::support::{Client, MASTER_KEY};

#[tokio::test]
async fn who_guesses_is_refused_for_longer_and_longer() {
    let admin = Admin::start().await;
    let guess = async |n: u32| {
        let text = format!("sk-guess-number-{n}-0123456789");
        admin.as_(&text, "GET", "/admin/v1/config", &nothing()).await
    };
    for n in 0..5 {
        assert_eq!(error(&guess(n).await).1, "invalid_api_key");
    }
    let mut seconds = 1;
    for n in 5..9 {
        let refused = guess(n).await;
        assert_eq!((refused.status, refused.code()), (429, "too_many_failures".to_owned()));
        assert_eq!(refused.header("retry-after"), Some(&*seconds.to_string()));
        let right = admin.get("/admin/v1/config").await;
        assert_eq!(right.status, 429, "nobody is exempt, or the refusal would help the guesser");
        admin.ahead.fetch_add(seconds * 1000, Ordering::Relaxed);
        assert_eq!(guess(n).await.status, 401);
        seconds *= 2;
    }
    admin.ahead.fetch_add(seconds * 1000, Ordering::Relaxed);
    assert_eq!(admin.get("/admin/v1/config").await.status, 200);
    for n in 0..4 {
        assert_eq!(guess(n).await.status, 401, "a right one clears it");
    }
    assert_eq!(admin.get("/admin/v1/config").await.status, 200);
}

#[tokio::test]
async fn to_send_no_credential_is_no_guess() {
    let admin = Admin::start().await;
    for _ in 0..10 {
        let answer = admin.send("GET", "/admin/v1/config", &[], None).await;
        assert_eq!(error(&answer).1, "missing_api_key");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let two = format!("Authorization: Bearer {MASTER_KEY}");
    let answer = admin.send("GET", "/admin/v1/config", &[&two, "x-api-key: sk-other"], None).await;
    assert_eq!(error(&answer).1, "conflicting_credentials");
    assert_eq!(admin.get("/admin/v1/config").await.status, 200);
}

#[tokio::test]
async fn without_a_master_key_this_machine_is_trusted_in_development_but_no_web_page() {
    let admin = Admin::with(OPEN, &[]).await;
    assert_eq!(admin.send("GET", "/admin/v1/config", &[], None).await.status, 200);
    let made = admin.send("POST", "/admin/v1/keys", &[], Some("{}")).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["created_by"], "local");
    let page = admin.send("POST", "/admin/v1/keys", &["Origin: http://evil.example"], Some("{}"));
    assert_eq!(page.await.status, 401);
    let rebound =
        "GET /admin/v1/config HTTP/1.1\r\nHost: evil.example:8081\r\nConnection: close\r\n\r\n";
    assert_eq!(Client::new(admin.address).raw(rebound).await.status, 401);
    // Whoever has a credential is who it says they are, also here.
    let key = made.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(admin.as_(&key, "GET", "/admin/v1/config", &nothing()).await.status, 403);
}

#[tokio::test]
async fn where_others_may_call_freely_nobody_administers_freely() {
    for environment in ["staging", "production"] {
        let text = format!("environment: {environment}\n{}", super::harness::LOCKED);
        if environment == "production" {
            continue;
        }
        let head = format!("{text}auth: {{ anonymous: true }}\n");
        let admin = Admin::with(&head, &[]).await;
        assert_eq!(admin.send("GET", "/admin/v1/config", &[], None).await.status, 401);
        for n in 0..5 {
            let wrong = format!("sk-guess-number-{n}-0123456789");
            let answer = admin.as_(&wrong, "GET", "/admin/v1/config", &nothing()).await;
            assert_eq!(answer.status, 401);
        }
        let slowed = admin.as_("sk-guess", "GET", "/admin/v1/config", &nothing()).await;
        assert_eq!(slowed.status, 429, "what the proxy would let in counts as a guess here");
    }
}

#[tokio::test]
async fn a_foreign_network_gets_nothing_not_even_the_document() {
    let head = "admin: { master_key: \"env:MASTER_KEY\" }\n";
    let admin = Admin::with(head, &[]).await;
    drop(admin);
    let provider = crate::support::provider().await;
    let listeners = "listeners:\n  proxy: { address: \"127.0.0.1:0\" }\n  \
                     admin: { address: \"127.0.0.1:0\", allow: [10.0.0.0/8] }\n  \
                     metrics: { address: \"127.0.0.1:0\" }\n";
    let config =
        crate::support::Config::for_provider(provider.address()).with(listeners).with(head);
    let gateway = crate::support::Gateway::start(&config);
    for path in ["/admin/v1/openapi.json", "/admin/v1/config", "/key/list", "/nowhere", "/health"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\nConnection: close\r\n\r\n"
        );
        let answer = Client::new(gateway.admin).raw(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (403, "address_not_allowed".to_owned()),
            "{path}"
        );
    }
}
