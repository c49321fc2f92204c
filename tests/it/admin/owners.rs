//! Teams, users and organizations in our own dialect.

use serde_json::json;

use super::harness::{Admin, error, nothing};

#[tokio::test]
async fn the_same_again_changes_nothing_and_something_else_is_refused() {
    let admin = Admin::start().await;
    for (path, body, other) in [
        ("/admin/v1/teams", json!({"id": "x", "alias": "a"}), json!({"id": "x", "alias": "b"})),
        ("/admin/v1/users", json!({"id": "x", "email": "a@b"}), json!({"id": "x"})),
        ("/admin/v1/organizations", json!({"id": "x"}), json!({"id": "x", "blocked": true})),
    ] {
        let made = admin.post(path, body.clone()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let before = admin.changes().await;
        let again = admin.post(path, body).await;
        assert_eq!((again.status, again.json()), (200, made.json()));
        let refused = admin.post(path, other).await;
        assert_eq!(error(&refused), (409, "already_exists".to_owned(), "id".to_owned()));
        assert_eq!(admin.changes().await, before);
        let generated = admin.post(path, json!({})).await;
        assert_eq!((generated.status, generated.json()["id"].as_str().unwrap().len()), (201, 36));
    }
}

#[tokio::test]
async fn a_change_is_a_merge_patch() {
    let admin = Admin::start().await;
    let team = json!({
        "id": "red", "alias": "Red", "models": ["gpt-4o"], "tags": ["x"],
        "metadata": {"a": 1, "deep": {"b": 2, "c": 3}},
        "limits": {"rpm": 5, "budget": "12.50", "budget_duration": "30d", "model_rpm": {"o3": 1}},
    });
    admin.post("/admin/v1/teams", team).await;
    let changes = json!({
        "alias": null, "models": ["o3"], "metadata": {"deep": {"b": null, "d": 4}, "e": [1]},
        "limits": {"rpm": null, "tpm": 7, "model_rpm": {"gpt-4o": 2}},
    });
    let changed = admin.patch("/admin/v1/teams/red", changes).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let changed = changed.json();
    assert!(changed.get("alias").is_none());
    assert_eq!(changed["models"], json!(["o3"]));
    assert_eq!(changed["tags"], json!(["x"]));
    assert_eq!(changed["metadata"], json!({"a": 1, "deep": {"c": 3, "d": 4}, "e": [1]}));
    let limits = json!({
        "tpm": 7, "budget": "12.5", "budget_duration": "30d", "model_rpm": {"o3": 1, "gpt-4o": 2},
    });
    assert_eq!(changed["limits"], limits);
    assert_eq!(changed["version"], 2);
    let same = admin.patch("/admin/v1/teams/red", json!({"models": ["o3"]})).await;
    assert_eq!(same.json()["version"], 2, "nothing was changed");
}

#[tokio::test]
async fn members_come_change_and_go() {
    let admin = Admin::start().await;
    admin.post("/admin/v1/teams", json!({"id": "red"})).await;
    let path = "/admin/v1/teams/red/members";
    let set = |user: &str, body| {
        let path = format!("{path}/{user}");
        let admin = &admin;
        async move { admin.master("PUT", &path, &body).await }
    };
    assert_eq!(set("anna", json!({"role": "admin"})).await.status, 200);
    assert_eq!(set("ben%40example.com", json!({})).await.json()["user"], "ben@example.com");
    assert_eq!(set("anna", json!({"role": "user"})).await.json()["role"], "user");
    let list = admin.get(path).await.json();
    let expected = json!([
        {"user": "anna", "role": "user"}, {"user": "ben@example.com", "role": "user"},
    ]);
    assert_eq!((&list["items"], &list["total"]), (&expected, &json!(2)));
    let remove = format!("{path}/anna");
    assert_eq!(admin.master("DELETE", &remove, &nothing()).await.status, 204);
    assert_eq!(admin.master("DELETE", &remove, &nothing()).await.status, 404);
    assert_eq!(error(&set("anna", json!({"role": "boss"})).await).2, "role");
    assert_eq!(error(&set("%20", json!({})).await).2, "user");
}

#[tokio::test]
async fn deleting_takes_along_what_belongs_to_it_and_spares_what_does_not() {
    let admin = Admin::start().await;
    admin.post("/admin/v1/organizations", json!({"id": "acme"})).await;
    admin.post("/admin/v1/teams", json!({"id": "red", "organization": "acme"})).await;
    let (key, _) = admin.key(json!({"team": "red"})).await;
    let in_use = admin.master("DELETE", "/admin/v1/organizations/acme", &nothing()).await;
    assert_eq!(error(&in_use).1, "in_use");
    assert_eq!(in_use.status, 409);
    assert_eq!(admin.master("DELETE", "/admin/v1/teams/red", &nothing()).await.status, 204);
    assert_eq!(admin.get(&format!("/admin/v1/keys/{key}")).await.status, 404);
    let gone = admin.master("DELETE", "/admin/v1/organizations/acme", &nothing()).await;
    assert_eq!(gone.status, 204);
}

#[tokio::test]
async fn a_key_is_of_its_teams_organization_and_of_none_other() {
    let admin = Admin::start().await;
    for id in ["acme", "other"] {
        admin.post("/admin/v1/organizations", json!({"id": id})).await;
    }
    admin.post("/admin/v1/teams", json!({"id": "red", "organization": "acme"})).await;
    let refused =
        admin.post("/admin/v1/keys", json!({"team": "red", "organization": "other"})).await;
    assert_eq!(error(&refused).2, "organization");
    admin.key(json!({"team": "red", "organization": "acme"})).await;
    for field in ["team", "user", "organization"] {
        let refused = admin.post("/admin/v1/keys", json!({field: "nowhere"})).await;
        assert_eq!(error(&refused), (422, "invalid_field".to_owned(), field.to_owned()));
    }
    let dangling = admin.post("/admin/v1/teams", json!({"organization": "nowhere"})).await;
    assert_eq!(error(&dangling).2, "organization");
}
