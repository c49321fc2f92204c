use proptest::prelude::*;

use super::*;
use crate::testing::Head;

const APP: &str = "https://app.example.com";
const LOCAL: &str = "http://localhost:3000";

fn list(origins: &[&str]) -> CorsConfig {
    CorsConfig::new(Origins::List(origins.iter().map(|origin| (*origin).to_owned()).collect()))
}

fn cors() -> Cors {
    Cors::new(list(&[LOCAL, APP])).expect("valid origins")
}

fn any() -> Cors {
    Cors::new(CorsConfig::new(Origins::Any)).expect("valid settings")
}

fn chat_from(origin: &str) -> Head {
    Head::chat().with("origin", origin)
}

fn preflight_from(origin: &str) -> Head {
    Head::http1("OPTIONS", "/v1/chat/completions")
        .with("origin", origin)
        .with("access-control-request-method", "POST")
}

fn map(headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        assert!(!map.contains_key(&name), "{name} is there twice");
        map.append(name, value);
    }
    map
}

fn granted(cors: &Cors, head: &Head) -> HeaderMap {
    let grant = cors.grant(&head.parts).expect("allowed");
    map(grant.iter().flat_map(CorsGrant::headers))
}

fn answered(cors: &Cors, head: &Head) -> HeaderMap {
    let answer = cors.answer_options(&head.parts, Allowed::Post).expect("allowed");
    map(answer.headers)
}

/// That a refusal opens nothing: no header but `Vary`.
fn assert_denied(denied: &Denied) {
    assert_eq!(denied.denial.kind(), DenialKind::CorsOriginDenied);
    let headers = map(denied.cors.iter().flat_map(CorsGrant::headers));
    assert!(headers.keys().all(|name| name == header::VARY), "{headers:?}");
}

#[test]
fn a_listed_origin_is_echoed_and_told_what_it_may_read() {
    // Configured in no order.
    let origins = [LOCAL, APP, "https://b.test", "https://z.test", "https://a.test"];
    let cors = Cors::new(list(&origins)).expect("valid origins");
    for origin in origins {
        let headers = granted(&cors, &chat_from(origin));
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["vary"], "Origin");
        assert_eq!(headers["access-control-expose-headers"], DEFAULT_EXPOSE_HEADERS.join(", "));
        assert_eq!(headers.len(), 3);
    }
}

#[test]
fn foreign_origins_are_refused_before_they_have_an_effect() {
    for origin in [
        "https://evil.test",
        "http://app.example.com",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://app.example.com.evil.test",
        "https://evil-app.example.com",
        "https://sub.app.example.com",
        "https://app.example.com/",
        "https://APP.example.com",
        "https://app.example.com, https://evil.test",
        " https://app.example.com",
        "http://localhost",
        "http://localhost:30000",
        "null",
        "*",
        "",
    ] {
        let denied = cors().grant(&chat_from(origin).parts).expect_err("a foreign origin");
        assert_denied(&denied);
        let headers = map(denied.cors.iter().flat_map(CorsGrant::headers));
        assert_eq!(headers["vary"], "Origin", "a cache must not give it to another page");
        let denied = cors()
            .answer_options(&preflight_from(origin).parts, Allowed::Post)
            .expect_err("a foreign origin");
        assert_denied(&denied);
    }
}

#[test]
fn two_origins_are_refused_even_if_both_are_listed() {
    for cors in [cors(), any()] {
        let twice = chat_from(APP).with("origin", APP);
        assert_denied(&cors.grant(&twice.parts).expect_err("two origins"));
    }
}

#[test]
fn without_an_origin_only_the_dependence_on_it_is_told() {
    let headers = granted(&cors(), &Head::chat());
    assert_eq!(headers["vary"], "Origin");
    assert_eq!(headers.len(), 1);
    for cors in [any(), Cors::disabled()] {
        assert!(cors.grant(&Head::chat().parts).expect("allowed").is_none());
    }
}

#[test]
fn without_origins_no_page_may_call() {
    for cors in [Cors::disabled(), Cors::new(list(&[])).expect("an empty list")] {
        for origin in [APP, "null", "http://gateway.test"] {
            assert_denied(&cors.grant(&chat_from(origin).parts).expect_err("disabled"));
        }
    }
}

#[test]
fn any_origin_is_answered_with_a_star_but_null_is_not() {
    let headers = granted(&any(), &chat_from("https://whoever.test"));
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(!headers.contains_key("vary"));
    for origin in ["null", ""] {
        assert_denied(&any().grant(&chat_from(origin).parts).expect_err("nobody"));
    }
}

#[test]
fn a_preflight_is_told_what_the_page_may_do() {
    let head = preflight_from(APP)
        .with("access-control-request-headers", "x-evil,Content-Type , authorization,content-type")
        .with("access-control-request-headers", "anthropic-version")
        .with("access-control-request-private-network", "true");
    let headers = answered(&cors(), &head);
    assert_eq!(headers["access-control-allow-origin"], APP);
    assert_eq!(headers["access-control-allow-methods"], "POST");
    assert_eq!(
        headers["access-control-allow-headers"],
        "anthropic-version, authorization, content-type"
    );
    assert_eq!(headers["access-control-max-age"], "600");
    assert_eq!(
        headers["vary"],
        "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    );
    assert_eq!(headers["allow"], "POST, OPTIONS");
    assert_eq!(headers.len(), 6, "{headers:?}");
}

#[test]
fn a_preflight_that_asks_for_no_allowed_header_is_told_of_none() {
    for head in [
        preflight_from(APP),
        preflight_from(APP).with("access-control-request-headers", ""),
        preflight_from(APP).with("access-control-request-headers", "*, x-evil"),
    ] {
        let headers = answered(&cors(), &head);
        assert!(!headers.contains_key("access-control-allow-headers"));
    }
}

#[test]
fn a_preflight_of_any_origin_is_answered_with_a_star() {
    let headers = answered(&any(), &preflight_from("https://whoever.test"));
    assert_eq!(headers["access-control-allow-origin"], "*");
}

#[test]
fn options_that_is_no_preflight_lists_the_methods() {
    for head in [
        Head::http1("OPTIONS", "/v1/messages"),
        Head::http1("OPTIONS", "/v1/messages").with("access-control-request-method", "POST"),
        Head::http1("OPTIONS", "/v1/messages").with("origin", APP),
    ] {
        let headers = answered(&cors(), &head);
        assert_eq!(headers["allow"], "POST, OPTIONS");
        assert!(!headers.contains_key("access-control-allow-methods"));
        assert_eq!(headers["vary"], "Origin");
    }
}

#[test]
fn credentials_are_allowed_where_configured_and_never_for_any_origin() {
    let config = |origins| CorsConfig { credentials: true, ..CorsConfig::new(origins) };
    let cors = Cors::new(config(Origins::List(vec![APP.to_owned()]))).expect("valid settings");
    let allowed = "access-control-allow-credentials";
    assert_eq!(granted(&cors, &chat_from(APP))[allowed], "true");
    assert_eq!(answered(&cors, &preflight_from(APP))[allowed], "true");
    assert!(!granted(&cors, &Head::chat()).contains_key(allowed));
    assert_eq!(
        Cors::new(config(Origins::Any)).expect_err("contradictory"),
        CorsError::CredentialsForAny
    );
}

#[test]
fn origins_are_checked_when_the_filter_is_built() {
    for origin in [
        "",
        "*",
        "null",
        "app.example.com",
        "https://",
        "://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://*.example.com",
        "https://user@app.example.com",
        "https://app.example.com:0",
        "https://app.example.com:65536",
        "https://app.example.com:",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com https://b.example.com",
        "ht tp://app.example.com",
        "1http://app.example.com",
    ] {
        let error = Cors::new(list(&[APP, origin])).expect_err(origin);
        assert!(
            matches!(error, CorsError::InvalidOrigin { origin: ref found, .. } if found == origin),
            "{error}"
        );
    }
    for origin in [
        "https://app.example.com:80",
        "http://[::1]:3000",
        "chrome-extension://abcdefghijklmnop",
        "HTTPS://App.Example.com",
    ] {
        let cors = Cors::new(list(&[origin])).expect(origin);
        let lower = origin.to_ascii_lowercase();
        assert!(cors.grant(&chat_from(&lower).parts).is_ok(), "{origin}");
    }
}

proptest! {
    #[test]
    fn no_origin_off_the_list_is_ever_granted(
        listed in prop::collection::vec("https?://[a-c]{1,3}(:300[0-3])?", 0..6),
        origin in "(https?://[a-c]{1,3}(:300[0-3])?/?|null|\\*|[ -~]{0,12})",
    ) {
        let cors = Cors::new(CorsConfig::new(Origins::List(listed.clone())))
            .expect("valid origins");
        let head = chat_from(&origin);
        match cors.grant(&head.parts) {
            Ok(grant) => {
                prop_assert!(listed.contains(&origin));
                let headers = map(grant.iter().flat_map(CorsGrant::headers));
                prop_assert_eq!(&headers["access-control-allow-origin"], &origin);
            }
            Err(denied) => {
                prop_assert!(!listed.contains(&origin));
                assert_denied(&denied);
            }
        }
    }

    #[test]
    fn no_header_off_the_list_is_ever_allowed(asked in "[ -~]{0,40}") {
        let head = preflight_from(APP).with("access-control-request-headers", &asked);
        let headers = answered(&cors(), &head);
        if let Some(value) = headers.get("access-control-allow-headers") {
            for name in value.to_str().expect("names").split(", ") {
                prop_assert!(DEFAULT_ALLOW_HEADERS.contains(&name), "{}", name);
            }
        }
    }
}
