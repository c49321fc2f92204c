//! Versions, repetitions, and many at once.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::harness::{Admin, bearer, error, nothing};
use crate::support::{MASTER_KEY, Response};

const DAY: i64 = 24 * 3_600_000;

async fn create(admin: &Admin, credential: &str, key: &str, body: &Value) -> Response {
    let authorization = format!("Authorization: Bearer {credential}");
    let idempotency = format!("Idempotency-Key: {key}");
    let body = body.to_string();
    let headers = [authorization.as_str(), idempotency.as_str()];
    admin.send("POST", "/admin/v1/keys", &headers, Some(&body)).await
}

async fn conditional(
    admin: &Admin,
    method: &str,
    path: &str,
    tag: &str,
    body: Option<&str>,
) -> Response {
    let authorization = format!("Authorization: Bearer {MASTER_KEY}");
    let condition = format!("If-Match: {tag}");
    admin.send(method, path, &[&authorization, &condition], body).await
}

#[tokio::test]
async fn if_match_lets_only_the_seen_version_be_changed() {
    let admin = Admin::start().await;
    let (id, _) = admin.key(json!({})).await;
    let path = format!("/admin/v1/keys/{id}");
    let shown = admin.get(&path).await;
    let tag = shown.header("etag").unwrap().to_owned();
    assert_eq!(tag, "\"1\"");
    let changed = conditional(&admin, "PATCH", &path, &tag, Some(r#"{"alias":"a"}"#)).await;
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")));
    for (method, path, body) in [
        ("PATCH", path.clone(), Some(r#"{"alias":"b"}"#)),
        ("POST", format!("{path}/block"), None),
        ("POST", format!("{path}/rotate"), Some("{}")),
        ("DELETE", path.clone(), None),
    ] {
        let stale = conditional(&admin, method, &path, &tag, body).await;
        assert_eq!(error(&stale).1, "version_mismatch", "{method} {path}");
        assert_eq!(stale.status, 412);
        let foreign = conditional(&admin, method, &path, "\"x\"", body).await;
        assert_eq!(foreign.status, 412, "a tag that is none of ours");
    }
    let any = conditional(&admin, "PATCH", &path, "*", Some(r#"{"alias":"c"}"#)).await;
    assert_eq!(any.status, 200, "{}", any.text());
    assert_eq!(conditional(&admin, "DELETE", &path, "\"3\"", None).await.status, 204);
    assert_eq!(admin.get(&path).await.status, 404);

    let team = admin.post("/admin/v1/teams", json!({"id": "red"})).await;
    assert_eq!(team.header("etag"), Some("\"1\""));
    let path = "/admin/v1/teams/red";
    assert_eq!(admin.patch(path, json!({"alias": "x"})).await.header("etag"), Some("\"2\""));
    let stale = conditional(&admin, "DELETE", path, "\"1\"", None).await;
    assert_eq!(stale.status, 412);
    let member = format!("{path}/members/ben");
    assert_eq!(conditional(&admin, "PUT", &member, "\"1\"", Some("{}")).await.status, 412);
    assert_eq!(conditional(&admin, "DELETE", path, "\"2\"", None).await.status, 204);
}

#[tokio::test]
async fn a_repeated_request_makes_one_key_and_gives_the_same_answer() {
    let admin = Admin::start().await;
    let body = json!({"alias": "ci", "expires_in": "30d"});
    let first = create(&admin, MASTER_KEY, "deploy-1", &body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    let again = create(&admin, MASTER_KEY, "deploy-1", &body).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(again.json(), first.json());
    assert!(first.json()["key"].is_string());
    assert_eq!(admin.get("/admin/v1/keys").await.json()["total"], 1);

    let other = create(&admin, MASTER_KEY, "deploy-1", &json!({"alias": "cd"})).await;
    assert_eq!(error(&other).1, "idempotency_key_reused");
    assert_eq!(other.status, 409);
    let second = create(&admin, MASTER_KEY, "deploy-2", &json!({})).await;
    assert_eq!(second.status, 201);
    assert_ne!(second.json()["key"], first.json()["key"]);
}

#[tokio::test]
async fn a_repetition_ends_with_a_day_and_with_a_rotation() {
    let admin = Admin::start().await;
    let made = create(&admin, MASTER_KEY, "a", &json!({})).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    admin.ahead.store(DAY - 60_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(create(&admin, MASTER_KEY, "a", &json!({})).await.status, 200);
    admin.ahead.store(DAY + 60_000, std::sync::atomic::Ordering::Relaxed);
    let late = create(&admin, MASTER_KEY, "a", &json!({})).await;
    assert_eq!(late.status, 409, "{}", late.text());
    admin.ahead.store(0, std::sync::atomic::Ordering::Relaxed);
    admin.post(&format!("/admin/v1/keys/{id}/rotate"), json!({})).await;
    let rotated = create(&admin, MASTER_KEY, "a", &json!({})).await;
    assert_eq!(rotated.status, 409, "the old text would not be good any more");
}

#[tokio::test]
async fn what_one_repeats_nobody_else_can() {
    let tokens = [
        ("of-anna", bearer(Some("anna"), None, &["proxy_admin"])),
        ("of-ben", bearer(Some("ben"), None, &["proxy_admin"])),
        ("of-nobody", bearer(None, None, &["proxy_admin"])),
    ];
    let admin = Admin::with(super::harness::LOCKED, &tokens).await;
    let body = json!({});
    let anna = create(&admin, "of-anna", "same", &body).await;
    let ben = create(&admin, "of-ben", "same", &body).await;
    assert_eq!((anna.status, ben.status), (201, 201));
    assert_ne!(anna.json()["key"], ben.json()["key"]);
    let nobody = create(&admin, "of-nobody", "same", &body).await;
    let field = "idempotency-key".to_owned();
    assert_eq!(error(&nobody), (422, "invalid_field".to_owned(), field.clone()));
    for wrong in ["", "a b", &"x".repeat(256), "\u{e9}"] {
        let refused = create(&admin, MASTER_KEY, wrong, &body).await;
        assert_eq!(error(&refused).2, field, "{wrong:?}");
    }
}

#[tokio::test]
async fn repetitions_at_once_make_one_key() {
    let admin = std::sync::Arc::new(Admin::start().await);
    let mut set = JoinSet::new();
    for _ in 0..16 {
        let admin = admin.clone();
        set.spawn(async move { create(&admin, MASTER_KEY, "one", &json!({"tags": ["x"]})).await });
    }
    let answers = set.join_all().await;
    let texts: HashSet<String> = answers.iter().map(|a| a.json()["key"].to_string()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(admin.get("/admin/v1/keys").await.json()["total"], 1);
}

#[tokio::test]
async fn changes_at_once_are_all_made() {
    let admin = std::sync::Arc::new(Admin::start().await);
    let (id, _) = admin.key(json!({})).await;
    let path = format!("/admin/v1/keys/{id}");
    let mut set = JoinSet::new();
    for n in 0..12 {
        let (admin, path) = (admin.clone(), path.clone());
        set.spawn(async move {
            let change = json!({"metadata": {format!("n{n}"): n}});
            admin.patch(&path, change).await.status
        });
    }
    assert!(set.join_all().await.into_iter().all(|status| status == 200));
    let shown = admin.get(&path).await.json();
    assert_eq!(shown["metadata"].as_object().unwrap().len(), 12, "{shown}");
    assert_eq!(shown["version"], 13);
}

#[tokio::test]
async fn of_conditional_changes_at_once_one_is_made() {
    let admin = std::sync::Arc::new(Admin::start().await);
    let (id, _) = admin.key(json!({})).await;
    let path = format!("/admin/v1/keys/{id}");
    let mut set = JoinSet::new();
    for n in 0..8 {
        let (admin, path) = (admin.clone(), path.clone());
        set.spawn(async move {
            let body = json!({"alias": format!("a{n}")}).to_string();
            conditional(&admin, "PATCH", &path, "\"1\"", Some(&body)).await.status
        });
    }
    let mut statuses = set.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

#[tokio::test]
async fn one_alias_goes_to_one_key() {
    let admin = std::sync::Arc::new(Admin::start().await);
    let mut set = JoinSet::new();
    for _ in 0..8 {
        let admin = admin.clone();
        set.spawn(async move { admin.post("/admin/v1/keys", json!({"alias": "a"})).await.status });
    }
    let mut statuses = set.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_rotated_key_keeps_its_old_text_for_its_grace_only() {
    let admin = Admin::start().await;
    let (id, old) = admin.key(json!({"alias": "ci"})).await;
    let path = format!("/admin/v1/keys/{id}");
    let rotated = admin.post(&format!("{path}/rotate"), json!({"grace": "24h"})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let new = rotated.json()["key"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(rotated.json()["alias"], "ci");
    assert!(rotated.json()["previous_until"].is_string());
    let own = "/admin/v1/keys/self";
    for text in [&old, &new] {
        assert_eq!(admin.as_(text, "GET", own, &nothing()).await.status, 200);
    }
    // Without a grace the one before is void at once, and the one before that too.
    admin.post(&format!("{path}/rotate"), json!({})).await;
    for text in [&old, &new] {
        admin.own_key_until(text, 401).await;
    }
    let long = admin.post(&format!("{path}/rotate"), json!({"grace": "91d"})).await;
    assert_eq!(error(&long).2, "grace");
}
