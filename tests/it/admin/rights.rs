//! Nobody gives, takes or sees more than they should.

use serde_json::{Value, json};
use sluicegate::stores::records::{Limits, Member, MemberRole, UserRole};

use super::harness::{Admin, LOCKED, bearer, error, message, nothing};
use crate::support::Response;

/// A team `red` that anna administers and of which ben is a member, and a team `blue` of carl's.
async fn world(tokens: bool) -> Admin {
    let known = [
        ("anna", bearer(Some("anna"), None, &[])),
        ("ben", bearer(Some("ben"), None, &[])),
        ("carl", bearer(Some("carl"), None, &[])),
        ("red-boss", bearer(Some("dora"), Some("red"), &["team_admin"])),
        ("red-user", bearer(Some("ben"), Some("red"), &[])),
        ("root", bearer(Some("root"), None, &["proxy_admin"])),
        ("eye", bearer(None, None, &["proxy_admin_viewer"])),
        ("nobody", bearer(Some("stranger"), None, &[])),
    ];
    let admin = Admin::with(LOCKED, if tokens { &known } else { &[] }).await;
    for user in ["anna", "ben", "carl"] {
        admin.user(user, UserRole::InternalUser).await;
    }
    let mut red = admin.team("red", "anna").await;
    red.members.push(Member { user: "ben".to_owned(), role: MemberRole::User });
    red.models = vec!["gpt-*".to_owned()];
    red.limits = Limits { rpm: Some(100), budget: Some(5_000_000_000), ..Limits::default() };
    admin.store().update_team(&red).await.unwrap();
    admin.team("blue", "carl").await;
    admin
}

async fn make(admin: &Admin, who: &str, body: Value) -> Response {
    admin.as_(who, "POST", "/admin/v1/keys", &body).await
}

fn key_of(made: &Response) -> (String, String) {
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
    (format!("/admin/v1/keys/{}", text("id")), text("key"))
}

#[tokio::test]
async fn a_teams_administrator_stays_within_the_teams_models_and_limits() {
    let admin = world(true).await;
    for (body, field) in [
        (json!({"models": ["gpt-4o", "o3"]}), "models[1]"),
        (json!({"models": ["*"]}), ""),
        (json!({"limits": {"rpm": 101}}), "limits.rpm"),
        (json!({"limits": {"budget": "5.000000001"}}), "limits.budget"),
        (json!({"user": "carl"}), "user"),
        (json!({"organization": "acme"}), "organization"),
    ] {
        let mut body = body;
        body["team"] = json!("red");
        let answer = make(&admin, "anna", body.clone()).await;
        if field.is_empty() {
            assert_eq!(answer.status, 201, "all that the team may: {}", answer.text());
        } else {
            assert_eq!(
                error(&answer),
                (422, "invalid_field".to_owned(), field.to_owned()),
                "{body}"
            );
        }
    }
    let good = json!({"team": "red", "user": "ben", "models": ["gpt-4o"], "limits": {"rpm": 100}});
    let (path, _) = key_of(&make(&admin, "anna", good).await);
    let raised = admin.as_("anna", "PATCH", &path, &json!({"limits": {"rpm": 101}})).await;
    assert_eq!(error(&raised).2, "limits.rpm");
    for body in
        [json!({"key": "sk-0123456789abcdefghijk"}), json!({"litellm_hash": "0".repeat(64)})]
    {
        let mut body = body;
        body["team"] = json!("red");
        assert_eq!(make(&admin, "anna", body).await.status, 403);
    }
}

#[tokio::test]
async fn a_teams_administrator_moves_no_key_and_touches_no_other_team() {
    let admin = world(true).await;
    admin.team("green", "anna").await;
    let (path, _) = key_of(&make(&admin, "anna", json!({"team": "red"})).await);
    for team in [json!("green"), json!("blue"), json!(null)] {
        let moved = admin.as_("anna", "PATCH", &path, &json!({"team": team})).await;
        assert_eq!(moved.status, 403, "{}", moved.text());
    }
    let (foreign, _) = key_of(&make(&admin, "carl", json!({"team": "blue"})).await);
    let unknown = "/admin/v1/keys/01890000-0000-7000-8000-000000000000";
    for (method, suffix, body) in [
        ("GET", "", nothing()),
        ("PATCH", "", json!({"alias": "mine"})),
        ("DELETE", "", nothing()),
        ("POST", "/block", nothing()),
        ("POST", "/rotate", json!({})),
    ] {
        let theirs = admin.as_("anna", method, &format!("{foreign}{suffix}"), &body).await;
        let nobodys = admin.as_("anna", method, &format!("{unknown}{suffix}"), &body).await;
        assert_eq!(theirs.status, 404, "{method} {suffix}");
        assert_eq!(theirs.json(), nobodys.json(), "a foreign key is as one that is not there");
    }
    let alien = make(&admin, "anna", json!({"team": "blue"})).await;
    let ghost = make(&admin, "anna", json!({"team": "no-such-team"})).await;
    assert_eq!((alien.status, alien.json()), (403, ghost.json()));
}

#[tokio::test]
async fn lists_show_what_is_within_reach_and_count_no_more() {
    let admin = world(true).await;
    key_of(&make(&admin, "root", json!({"alias": "red-1", "team": "red"})).await);
    key_of(&make(&admin, "root", json!({"alias": "red-ben", "team": "red", "user": "ben"})).await);
    key_of(&make(&admin, "root", json!({"alias": "blue-1", "team": "blue"})).await);
    key_of(&make(&admin, "ben", json!({"alias": "ben-1", "user": "ben"})).await);
    for (who, query, expected) in [
        ("anna", "", vec!["red-1", "red-ben"]),
        ("anna", "?team=blue", vec![]),
        ("anna", "?user=ben", vec!["red-ben"]),
        ("ben", "", vec!["ben-1", "red-ben"]),
        ("ben", "?user=carl", vec![]),
        ("ben", "?team=red", vec!["red-ben"]),
        ("red-user", "", vec!["red-ben"]),
        ("red-user", "?team=blue", vec![]),
        ("red-boss", "", vec!["red-1", "red-ben"]),
        ("eye", "", vec!["ben-1", "blue-1", "red-1", "red-ben"]),
    ] {
        let list = admin.as_(who, "GET", &format!("/admin/v1/keys{query}"), &nothing()).await;
        assert_eq!(list.status, 200, "{who}: {}", list.text());
        let list = list.json();
        let mut found: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| k["alias"].as_str().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{who} {query}");
        assert_eq!(list["total"], expected.len(), "{who} {query}");
    }
    let teams = admin.as_("ben", "GET", "/admin/v1/teams", &nothing()).await.json();
    assert_eq!((&teams["total"], &teams["items"][0]["id"]), (&json!(1), &json!("red")));
    let nobody = admin.as_("nobody", "GET", "/admin/v1/teams", &nothing()).await;
    assert_eq!(nobody.status, 403);
}

#[tokio::test]
async fn a_user_manages_the_keys_that_they_made_and_rotates_those_that_they_have() {
    let admin = world(true).await;
    let (own, _) = key_of(&make(&admin, "ben", json!({"user": "ben"})).await);
    assert_eq!(admin.as_("ben", "PATCH", &own, &json!({"alias": "mine"})).await.status, 200);
    let given = json!({"user": "ben", "limits": {"budget": "1"}, "blocked": true});
    let (given, _) = key_of(&make(&admin, "root", given).await);
    let raised = admin.as_("ben", "PATCH", &given, &json!({"limits": null})).await;
    assert_eq!(raised.status, 403, "what somebody else gave is not theirs to change");
    assert_eq!(admin.as_("ben", "POST", &format!("{given}/unblock"), &nothing()).await.status, 403);
    assert_eq!(admin.as_("ben", "POST", &format!("{given}/rotate"), &json!({})).await.status, 200);
    admin.master("POST", &format!("{own}/block"), &nothing()).await;
    let unblocked = admin.as_("ben", "POST", &format!("{own}/unblock"), &nothing()).await;
    assert_eq!(unblocked.status, 403, "an administrator's block is an administrator's to lift");
    for body in [json!({}), json!({"user": "carl"}), json!({"user": "ben", "team": "red"})] {
        assert_eq!(make(&admin, "ben", body.clone()).await.status, 403, "{body}");
    }
    let bound = make(&admin, "red-user", json!({"user": "ben"})).await;
    assert_eq!(bound.status, 403, "a credential of the team's makes no key without its limits");
    assert_eq!(make(&admin, "nobody", json!({"user": "stranger"})).await.status, 403);
}

#[tokio::test]
async fn a_key_for_a_mighty_user_gives_a_teams_administrator_no_might() {
    let admin = world(true).await;
    admin.user("mighty", UserRole::ProxyAdmin).await;
    let member = json!({"role": "admin"});
    let added = admin.as_("anna", "PUT", "/admin/v1/teams/red/members/mighty", &member).await;
    assert_eq!(added.status, 200);
    let (_, text) = key_of(&make(&admin, "anna", json!({"team": "red", "user": "mighty"})).await);
    let config = admin.as_(&text, "GET", "/admin/v1/config", &nothing()).await;
    assert_eq!(config.status, 403, "within the team it speaks for the team's administrator only");
    let team = admin.as_(&text, "GET", "/admin/v1/teams/red", &nothing()).await;
    assert_eq!(team.status, 200);
    assert_eq!(admin.as_(&text, "GET", "/admin/v1/teams/blue", &nothing()).await.status, 404);
    let (_, own) = key_of(&make(&admin, "root", json!({"user": "mighty"})).await);
    assert_eq!(admin.as_(&own, "GET", "/admin/v1/config", &nothing()).await.status, 200);
}

#[tokio::test]
async fn a_key_for_carl_in_annas_team_reaches_nothing_of_carls() {
    let admin = world(true).await;
    admin.as_("anna", "PUT", "/admin/v1/teams/red/members/carl", &json!({})).await;
    let (_, text) = key_of(&make(&admin, "anna", json!({"team": "red", "user": "carl"})).await);
    let (personal, _) = key_of(&make(&admin, "carl", json!({"user": "carl"})).await);
    let (of_blue, _) = key_of(&make(&admin, "carl", json!({"team": "blue"})).await);
    for path in [&personal, &of_blue] {
        assert_eq!(admin.as_(&text, "GET", path, &nothing()).await.status, 404);
        let rotated = admin.as_(&text, "POST", &format!("{path}/rotate"), &json!({})).await;
        assert_eq!(rotated.status, 404, "its text would be carl's whole might");
    }
    assert_eq!(make(&admin, &text, json!({"user": "carl"})).await.status, 403);
}

#[tokio::test]
async fn a_key_makes_no_key_that_is_more_than_itself() {
    let admin = world(true).await;
    let narrow = json!({"user": "ben", "models": ["gpt-4o"], "expires_in": "1d"});
    let (path, narrow) = key_of(&make(&admin, "root", narrow).await);
    for (body, field) in [
        (json!({}), "models"),
        (json!({"models": ["*"], "expires_in": "1h"}), "models[0]"),
        (json!({"models": ["gpt-4o"]}), "expires_at"),
        (json!({"models": ["gpt-4o"], "expires_in": "2d"}), "expires_at"),
    ] {
        let mut body = body;
        body["user"] = json!("ben");
        assert_eq!(error(&make(&admin, &narrow, body.clone()).await).2, field, "{body}");
    }
    let within = json!({"user": "ben", "models": ["gpt-4o"], "expires_in": "1h"});
    let (made, _) = key_of(&make(&admin, &narrow, within).await);
    let wider = admin.as_(&narrow, "PATCH", &made, &json!({"models": []})).await;
    assert_eq!(error(&wider).2, "models");
    let (free, _) = key_of(&make(&admin, "ben", json!({"user": "ben"})).await);
    let rotated = admin.as_(&narrow, "POST", &format!("{free}/rotate"), &json!({})).await;
    assert_eq!(error(&rotated).2, "models", "its new text would be more than this key");
    assert_eq!(admin.as_(&narrow, "GET", &path, &nothing()).await.status, 200);

    let limited = json!({"user": "anna", "limits": {"rpm": 5}});
    let (_, limited) = key_of(&make(&admin, "root", limited).await);
    let refused = make(&admin, &limited, json!({"user": "anna"})).await;
    let expected = "A key that has limits of its own can neither make nor change keys.";
    assert_eq!(message(&refused), (403, expected.to_owned()));
}

#[tokio::test]
async fn a_key_for_some_routes_administers_only_with_the_word_for_it() {
    let admin = world(false).await;
    for (routes, list, make_status) in [
        (json!([]), 200, 201),
        (json!(["management_routes"]), 200, 201),
        (json!(["info_routes"]), 200, 403),
        (json!(["llm_api_routes"]), 403, 403),
        (json!(["/v1/chat/completions", "/key/*"]), 403, 403),
    ] {
        let (_, text) = admin.key(json!({"user": "ben", "routes": routes})).await;
        let listed = admin.as_(&text, "GET", "/admin/v1/keys", &nothing()).await;
        assert_eq!(listed.status, list, "{routes}");
        let made = make(&admin, &text, json!({"user": "ben"})).await;
        assert_eq!(made.status, make_status, "{routes}: {}", made.text());
        let own = admin.as_(&text, "GET", "/admin/v1/keys/self", &nothing()).await;
        assert_eq!(own.status, 200, "{routes}");
    }
}

#[tokio::test]
async fn tokens_say_who_administers() {
    let admin = world(true).await;
    assert_eq!(admin.as_("root", "GET", "/admin/v1/config", &nothing()).await.status, 200);
    assert_eq!(admin.as_("eye", "GET", "/admin/v1/users", &nothing()).await.status, 200);
    assert_eq!(admin.as_("eye", "POST", "/admin/v1/users", &json!({})).await.status, 403);
    assert_eq!(make(&admin, "root", json!({"litellm_hash": "0".repeat(64)})).await.status, 403);
    let boss = make(&admin, "red-boss", json!({"team": "red"})).await;
    assert_eq!(boss.status, 201, "{}", boss.text());
    assert_eq!(boss.json()["created_by"], "user:dora");
    assert_eq!(make(&admin, "red-boss", json!({"team": "blue"})).await.status, 403);
    let put = admin.as_("red-boss", "PUT", "/admin/v1/teams/red/members/eve", &json!({})).await;
    assert_eq!(put.status, 200);
    let own = admin.as_("ben", "GET", "/admin/v1/users/ben", &nothing()).await;
    assert_eq!((own.status, &own.json()["id"]), (200, &json!("ben")));
}

#[tokio::test]
async fn a_blocked_user_administers_nothing() {
    let admin = world(true).await;
    admin.patch("/admin/v1/users/anna", json!({"blocked": true})).await;
    let refused = admin.as_("anna", "GET", "/admin/v1/teams", &nothing()).await;
    assert_eq!((refused.status, refused.code()), (403, "api_key_blocked".to_owned()));
    admin.patch("/admin/v1/users/root", json!({})).await;
    admin.post("/admin/v1/users", json!({"id": "root", "blocked": true})).await;
    let refused = admin.as_("root", "GET", "/admin/v1/config", &nothing()).await;
    assert_eq!(refused.status, 403, "also with an administrator's role in the token");
}
