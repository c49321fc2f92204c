//! Wrong requests, and exactly what is said of them.

use serde_json::{Value, json};

use super::harness::{Admin, error, message};
use crate::support::MASTER_KEY;

/// A body that is not quite right for making a key, and what is said of it.
#[rustfmt::skip]
fn table() -> Vec<(&'static str, u16, &'static str)> {
    vec![
        (r#"{"alais":"x"}"#, 422, "`alais` is not known"),
        (r#"{"alias":5}"#, 422, "`alias` must be a string, not a number"),
        (r#"{"alias":""}"#, 422, "`alias` must not be empty"),
        (r#"{"alias":" x"}"#, 422, "`alias` must not begin or end with a space"),
        (r#"{"alias":"a\u0000b"}"#, 422, "`alias` must not hold control characters"),
        (r#"{"alias":"a","alias":"b"}"#, 422, "`alias` is given more than once"),
        (r#"{"models":"gpt-4o"}"#, 422, "`models` must be a list, not a string"),
        (r#"{"models":["gpt-4o",7]}"#, 422, "`models[1]` must be a string, not a number"),
        (r#"{"models":["a","a"]}"#, 422, "`models[1]` is there twice"),
        (r#"{"blocked":"true"}"#, 422, "`blocked` must be true or false, not a string"),
        (r#"{"metadata":[]}"#, 422, "`metadata` must be an object, not a list"),
        (r#"{"metadata":{"a":{"b":1,"b":2}}}"#, 422, "`metadata.a.b` is given more than once"),
        (r#"{"metadata":{"a":"\u0000"}}"#, 422, "`metadata` must not hold NUL characters"),
        (r#"{"limits":{"rpm":-1}}"#, 422, "`limits.rpm` must be a whole number, 0 or more"),
        (r#"{"limits":{"rpm":1.5}}"#, 422, "`limits.rpm` must be a whole number, 0 or more, not a fraction"),
        (r#"{"limits":{"rpm":"5"}}"#, 422, "`limits.rpm` must be a whole number, 0 or more, not a string"),
        (r#"{"limits":{"rpm":18446744073709551615}}"#, 422, "`limits.rpm` is too large a number"),
        (r#"{"limits":{"rqm":1}}"#, 422, "`limits.rqm` is not known"),
        (r#"{"limits":{"budget":"ten"}}"#, 422, "`limits.budget` must be a decimal number of USD, 0 or more, such as \"12.50\""),
        (r#"{"limits":{"budget":"-1"}}"#, 422, "`limits.budget` must be a decimal number of USD, 0 or more, such as \"12.50\""),
        (r#"{"limits":{"budget":"0.0000000001"}}"#, 422, "`limits.budget` must not have more than 9 digits after the point"),
        (r#"{"limits":{"budget":"99999999999"}}"#, 422, "`limits.budget` must not be over 9223372036 USD"),
        (r#"{"limits":{"budget":"1","soft_budget":"2"}}"#, 422, "`limits.soft_budget` must not be over limits.budget: it would never warn"),
        (r#"{"limits":{"budget_duration":"monthly"}}"#, 422, "`limits.budget_duration` must be a span of time such as 90s, 30m, 24h, 30d, 4w or 1mo, up to ten years"),
        (r#"{"expires_at":"tomorrow"}"#, 422, "`expires_at` must be a time such as 2030-01-31T12:00:00Z (RFC 3339)"),
        (r#"{"expires_at":"2001-01-01T00:00:00Z"}"#, 422, "`expires_at` must be in the future"),
        (r#"{"expires_at":"2099-01-01T00:00:00Z","expires_in":"1d"}"#, 422, "`expires_in` can't be given with `expires_at`"),
        (r#"{"key":"sk-short"}"#, 422, "`key` must have 20 to 512 characters"),
        (r#"{"key":"0123456789abcdef0123456789abcdef"}"#, 422, "`key` must begin with `sk-`"),
        (r#"{"key":"sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#, 422, "`key` is too easily guessed: it has too few different characters"),
        (r#"{"key":"sk-0123456789 abcdef 0123456789"}"#, 422, "`key` must be visible ASCII characters without spaces, since it is sent in a header"),
        (r#"{"key":"sk-sg-0123456789abcdef0123456789"}"#, 422, "`key` begins with `sk-sg-` but is not a key that the gateway made"),
        (r#"{"litellm_hash":"abc"}"#, 422, "`litellm_hash` must be 64 hexadecimal digits"),
        (r#"{"key":"sk-x","litellm_hash":"abc"}"#, 422, "`litellm_hash` can't be given together with `key`"),
        (r#"[]"#, 422, "The body must be an object."),
        (r#"{"alias""#, 400, "The body is not JSON: EOF while parsing an object at line 1 column 8."),
    ]
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nothing_is_made() {
    let admin = Admin::start().await;
    let header = format!("Authorization: Bearer {MASTER_KEY}");
    for (body, status, expected) in table() {
        let answer = admin.send("POST", "/admin/v1/keys", &[&header], Some(body)).await;
        assert_eq!(message(&answer), (status, expected.to_owned()), "{body}");
    }
    assert_eq!(admin.changes().await, 0);
}

#[tokio::test]
async fn a_slip_is_told_the_nearest_name() {
    let admin = Admin::start().await;
    let hint = |answer: &crate::support::Response| answer.json()["error"]["hint"].clone();
    let answer = admin.post("/admin/v1/keys", json!({"alais": "x"})).await;
    assert_eq!(hint(&answer), "did you mean `alias`?");
    let answer = admin.post("/admin/v1/teams", json!({"limits": {"tmp": 1}})).await;
    assert_eq!(hint(&answer), "did you mean `tpm`?");
    let answer = admin.post("/admin/v1/users", json!({"role": "proxy_admn"})).await;
    assert_eq!(hint(&answer), "did you mean `proxy_admin`?");
    let answer = admin.get("/admin/v1/keys?limt=5").await;
    assert_eq!(hint(&answer), "did you mean `limit`?");
    for query in ["limit=0", "limit=501", "limit=x", "blocked=maybe", "team=a&team=b"] {
        assert_eq!(admin.get(&format!("/admin/v1/keys?{query}")).await.status, 422, "{query}");
    }
}

#[tokio::test]
async fn what_can_only_be_said_once_can_not_be_changed() {
    let admin = Admin::start().await;
    let (id, _) = admin.key(json!({})).await;
    let path = format!("/admin/v1/keys/{id}");
    for (field, value) in [
        ("id", json!("x")),
        ("key", json!("sk-0123456789abcdefghij")),
        ("litellm_hash", json!("0")),
        ("hint", json!("x")),
        ("created_by", json!("me")),
        ("version", json!(9)),
    ] {
        let refused = admin.patch(&path, json!({field: value})).await;
        assert_eq!(error(&refused), (422, "invalid_field".to_owned(), field.to_owned()));
    }
    admin.post("/admin/v1/teams", json!({"id": "red"})).await;
    for field in ["id", "members", "created_at"] {
        let refused = admin.patch("/admin/v1/teams/red", json!({field: null})).await;
        let known = error(&refused);
        // To take away what is not there changes nothing, but for the id.
        assert!(known.0 == 422 || field != "id", "{field}: {}", refused.text());
    }
    let refused = admin.patch("/admin/v1/teams/red", json!({"members": []})).await;
    assert_eq!(error(&refused).2, "members");
}

#[tokio::test]
async fn a_body_of_the_wrong_kind_or_size_is_refused() {
    let admin = Admin::start().await;
    let header = format!("Authorization: Bearer {MASTER_KEY}");
    let large = json!({"metadata": {"a": "x".repeat(1024 * 1024)}}).to_string();
    let answer = admin.send("POST", "/admin/v1/keys", &[&header], Some(&large)).await;
    assert_eq!(error(&answer).1, "request_too_large", "{}", answer.status);
    assert_eq!(answer.status, 413);
    assert!(answer.closes());
    let metadata = json!({"metadata": {"a": "x".repeat(100 * 1024)}}).to_string();
    let answer = admin.send("POST", "/admin/v1/keys", &[&header], Some(&metadata)).await;
    assert_eq!(error(&answer).2, "metadata");

    let send = |kind: &'static str, body: &'static str| {
        let length = format!("Content-Length: {}", body.len());
        let (header, admin) = (&header, &admin);
        async move {
            let request = format!(
                "POST /admin/v1/keys HTTP/1.1\r\nHost: x\r\n{header}\r\n{kind}\r\n{length}\r\n\
                 Connection: close\r\n\r\n{body}"
            );
            crate::support::Client::new(admin.address).raw(request).await
        }
    };
    for kind in
        ["Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "X-A: b"]
    {
        let answer = send(kind, "{}").await;
        assert_eq!((answer.status, answer.code()), (415, "unsupported_media_type".to_owned()));
    }
    let answer = send("Content-Type: application/json\r\nContent-Encoding: gzip", "{}").await;
    assert_eq!((answer.status, answer.code()), (415, "unsupported_content_encoding".to_owned()));
    assert_eq!(send("Content-Type: application/json; charset=utf-8", "{}").await.status, 201);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_said_so() {
    let admin = Admin::start().await;
    let answer = admin.get("/admin/v1/kyes").await;
    assert_eq!((answer.status, answer.code()), (404, "not_found".to_owned()));
    assert!(answer.header("x-request-id").is_some());
    let answer = admin.master("PUT", "/admin/v1/keys", &json!({})).await;
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed".to_owned()));
    let allow = answer.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    for id in ["x", "%00", "%ff", "00000000-0000-0000-0000-000000000000"] {
        let status = admin.get(&format!("/admin/v1/keys/{id}")).await.status;
        assert!(matches!(status, 404 | 422), "{id}: {status}");
        let status = admin.get(&format!("/admin/v1/teams/{id}")).await.status;
        assert!(matches!(status, 404 | 422), "{id}: {status}");
    }
}

#[tokio::test]
async fn an_imported_hash_and_a_chosen_text_let_their_holders_in() {
    use sluicegate_filters::identify::virtual_key::litellm_hash;

    let admin = Admin::start().await;
    let (imported, chosen) = ("sk-imported-0123456789abc", "sk-chosen-0123456789abcdef");
    let hash = sluicegate::stores::records::KeyHash(litellm_hash(imported)).to_hex();
    let made = admin.post("/admin/v1/keys", json!({"litellm_hash": hash})).await;
    assert_eq!((made.status, made.json().get("key")), (201, None));
    let made = admin.post("/admin/v1/keys", json!({"key": chosen})).await;
    assert_eq!((made.status, &made.json()["key"]), (201, &json!(chosen)));
    for text in [imported, chosen] {
        let own = admin.as_(text, "GET", "/admin/v1/keys/self", &Value::Null).await;
        assert_eq!(own.status, 200, "{}", own.text());
    }
    for body in [json!({"litellm_hash": hash}), json!({"key": chosen})] {
        assert_eq!(error(&admin.post("/admin/v1/keys", body).await).2, "key");
    }
    let master = admin.post("/admin/v1/keys", json!({"key": MASTER_KEY})).await;
    assert_eq!(message(&master).1, "`key` is in use already");
}
