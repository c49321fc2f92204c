//! What is written down, and what happens when it can't be.

use serde_json::json;
use sluicegate::admin::audit::Outcome;

use super::harness::{Admin, error, nothing};
use crate::support::MASTER_KEY;

#[tokio::test]
async fn an_act_is_written_down_with_who_what_and_which_fields() {
    let admin = Admin::start().await;
    let made = admin.post("/admin/v1/keys", json!({"alias": "ci", "limits": {"rpm": 5}})).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let lines = admin.audit.taken();
    let [line] = lines.as_slice() else { panic!("one line: {lines:?}") };
    assert_eq!((line.action, line.outcome, line.status), ("keys.create", Outcome::Allowed, 200));
    assert_eq!((line.actor_kind, line.actor_id.as_deref()), ("master", Some("master")));
    assert_eq!((line.resource_kind, line.resource_id.as_deref()), ("key", Some(&*id)));
    assert_eq!(line.changes, ["alias", "limits"]);
    assert_eq!(Some(&*line.request_id), made.header("x-request-id"));
    assert!(line.ip.is_loopback());

    admin.patch(&format!("/admin/v1/keys/{id}"), json!({"alias": "cd"})).await;
    admin.post(&format!("/admin/v1/keys/{id}/block"), nothing()).await;
    admin.post(&format!("/admin/v1/keys/{id}/block"), nothing()).await;
    let lines = admin.audit.taken();
    let told: Vec<_> = lines.iter().map(|line| (line.action, line.changes.join(","))).collect();
    let text = |text: &str| text.to_owned();
    let expected = [
        ("keys.update", text("alias")),
        ("keys.block", text("blocked")),
        // It was blocked already.
        ("keys.block", text("")),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn every_part_of_an_act_is_written_down_by_its_name() {
    let admin = Admin::start().await;
    admin.team("red", "anna").await;
    let user = admin.post("/user/new", json!({"user_id": "ben", "teams": ["red"]})).await;
    assert_eq!(user.status, 200, "{}", user.text());
    assert_eq!(admin.post("/key/generate", json!({"user_id": "carl"})).await.status, 200);
    let lines = admin.audit.taken();
    let told: Vec<_> = lines.iter().map(|line| (line.action, line.resource_kind)).collect();
    let expected = [
        ("users.create", "user"),
        ("members.set", "team"),
        ("keys.create", "key"),
        ("users.create", "user"),
        ("keys.create", "key"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn refusals_are_written_down_with_their_reason() {
    let admin = Admin::start().await;
    let (id, key) = admin.key(json!({})).await;
    admin.audit.taken();
    let path = format!("/admin/v1/keys/{id}");
    let none = nothing();
    let table = [
        (admin.as_(&key, "DELETE", &path, &none).await, Outcome::Refused, "forbidden"),
        (admin.send("DELETE", &path, &[], None).await, Outcome::Refused, "missing_api_key"),
        (
            admin.as_("sk-no-such-key-of-anybody", "DELETE", &path, &none).await,
            Outcome::Refused,
            "invalid_api_key",
        ),
        (admin.patch(&path, json!({"alais": "x"})).await, Outcome::Refused, "invalid_field"),
        (admin.patch("/admin/v1/keys/x", json!({})).await, Outcome::Refused, "not_found"),
    ];
    let lines = admin.audit.taken();
    assert_eq!(lines.len(), table.len(), "{lines:?}");
    for (line, (answer, outcome, code)) in lines.iter().zip(&table) {
        assert_eq!((line.outcome, line.code), (*outcome, Some(*code)));
        assert_eq!(line.status, answer.status);
        let shown = format!("{line:?}");
        assert!(!shown.contains(&key) && !shown.contains("no-such-key"), "{shown}");
    }
    assert_eq!(lines[0].actor_id.as_deref(), Some(&*format!("key:{id}")));
    assert_eq!(lines[1].actor_id, None);
}

#[tokio::test]
async fn what_the_store_refuses_is_written_down_as_failed_after_it_was_allowed() {
    let admin = Admin::start().await;
    admin.key(json!({"alias": "taken"})).await;
    admin.audit.taken();
    let answer = admin.post("/admin/v1/keys", json!({"alias": "taken"})).await;
    assert_eq!(error(&answer), (409, "already_exists".to_owned(), "alias".to_owned()));
    let outcomes: Vec<_> = admin.audit.taken().iter().map(|line| line.outcome).collect();
    assert_eq!(outcomes, [Outcome::Allowed, Outcome::Failed]);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let admin = Admin::start().await;
    let (id, _) = admin.key(json!({})).await;
    admin.team("red", "anna").await;
    let before = admin.changes().await;
    admin.audit.break_it(true);
    let acts = [
        ("POST", "/admin/v1/keys".to_owned(), json!({})),
        ("PATCH", format!("/admin/v1/keys/{id}"), json!({"alias": "x"})),
        ("POST", format!("/admin/v1/keys/{id}/rotate"), json!({})),
        ("DELETE", format!("/admin/v1/keys/{id}"), nothing()),
        ("PUT", "/admin/v1/teams/red/members/ben".to_owned(), json!({})),
        ("DELETE", "/admin/v1/teams/red".to_owned(), nothing()),
        ("POST", "/admin/v1/users".to_owned(), json!({})),
        ("POST", "/admin/v1/config/reload".to_owned(), nothing()),
        // A refusal that is not written down is none that one may rely on.
        ("PATCH", "/admin/v1/keys/x".to_owned(), json!({})),
    ];
    for (method, path, body) in acts {
        let answer = admin.master(method, &path, &body).await;
        assert_eq!(error(&answer).1, "audit_unavailable", "{method} {path}: {}", answer.text());
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
    }
    let answer = admin.post("/key/generate", json!({})).await;
    assert_eq!(answer.json()["error"]["code"], "503");
    assert_eq!(admin.changes().await, before);
    assert_eq!(admin.get(&format!("/admin/v1/keys/{id}")).await.status, 200, "looking is no act");
    admin.audit.break_it(false);
    assert_eq!(admin.post("/admin/v1/keys", json!({})).await.status, 201);
}

#[tokio::test]
async fn an_act_is_finished_though_its_client_leaves() {
    use tokio::io::AsyncWriteExt;

    let admin = Admin::start().await;
    for _ in 0..20 {
        let mut stream = crate::support::Client::new(admin.address).connect().await;
        let request = format!(
            "POST /admin/v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    // Whatever of it was begun is whole: as many keys as lines.
    let list = admin.get("/admin/v1/keys?limit=100").await.json();
    let lines = admin.audit.taken();
    let allowed = lines.iter().filter(|line| line.outcome == Outcome::Allowed).count() as u64;
    assert!(list["total"].as_u64().unwrap() <= allowed, "a key without its line");
    assert!(lines.iter().all(|line| line.outcome == Outcome::Allowed), "{lines:?}");
}
