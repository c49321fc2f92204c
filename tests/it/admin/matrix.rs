//! Who may do what: every route, for every sort of caller. What is refused changes nothing, and is written down.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluicegate::admin::audit::Outcome;
use sluicegate::admin::routes::endpoints;
use sluicegate::stores::records::UserRole;

use super::harness::Admin;
use crate::support::{Client, Config, Gateway, MASTER_KEY, provider};

/// Nobody; a key's holder; the administrator of another team; of the team in question; a viewer; the
/// master key.
type Expected = [u16; 6];

struct Row {
    method: &'static str,
    /// As the router knows it.
    route: &'static str,
    /// What follows the path: a query.
    query: &'static str,
    body: Value,
    expected: Expected,
}

fn row(
    method: &'static str,
    route: &'static str,
    query: &'static str,
    body: Value,
    expected: Expected,
) -> Row {
    Row { method, route, query, body, expected }
}

/// `$key`, `$team`, `$user`, `$org`, `$hash` stand for records of the team in question. A team's name is
/// nothing that its foreign administrator should learn, hence 404 before 403.
#[rustfmt::skip]
fn table() -> Vec<Row> {
    const ANYBODY: Expected = [200; 6];
    const HOLDERS: Expected = [401, 200, 200, 200, 200, 200];
    const LOOKERS: Expected = [401, 403, 403, 403, 200, 200];
    let masters = |status| [401, 403, 403, 403, 403, status];
    let own_team = |status| [401, 403, 404, status, 403, status];
    const SEEN_BY_TEAM: Expected = [401, 403, 404, 200, 200, 200];
    const LISTS: Expected = [401, 403, 200, 200, 200, 200];
    const OWN_KEY: Expected = [401, 404, 404, 200, 200, 200];
    let none = || json!(null);
    let key = || json!({"key": "$hash"});
    let team = || json!({"team_id": "$team"});
    let member = || json!({"team_id": "$team", "member": {"user_id": "someone", "role": "user"}});
    vec![
        row("GET", "/admin/v1/openapi.json", "", none(), ANYBODY),
        row("GET", "/admin/v1/keys", "", none(), LISTS),
        row("POST", "/admin/v1/keys", "", json!({"team": "$team"}), [401, 403, 403, 201, 403, 201]),
        row("GET", "/admin/v1/keys/self", "", none(), [401, 200, 200, 200, 200, 404]),
        row("GET", "/admin/v1/keys/{id}", "", none(), OWN_KEY),
        row("PATCH", "/admin/v1/keys/{id}", "", json!({"alias": "$key-renamed"}), own_team(200)),
        row("DELETE", "/admin/v1/keys/{id}", "", none(), own_team(204)),
        row("POST", "/admin/v1/keys/{id}/block", "", none(), own_team(200)),
        row("POST", "/admin/v1/keys/{id}/unblock", "", none(), own_team(200)),
        row("POST", "/admin/v1/keys/{id}/rotate", "", none(), own_team(200)),
        row("GET", "/admin/v1/teams", "", none(), LISTS),
        row("POST", "/admin/v1/teams", "", json!({"alias": "new"}), masters(201)),
        row("GET", "/admin/v1/teams/{id}", "", none(), SEEN_BY_TEAM),
        row("PATCH", "/admin/v1/teams/{id}", "", json!({"alias": "renamed"}), masters(200)),
        row("DELETE", "/admin/v1/teams/{id}", "", none(), masters(204)),
        row("GET", "/admin/v1/teams/{id}/members", "", none(), SEEN_BY_TEAM),
        row("PUT", "/admin/v1/teams/{id}/members/{user}", "", json!({"role": "admin"}), own_team(200)),
        row("DELETE", "/admin/v1/teams/{id}/members/{user}", "", none(), own_team(204)),
        row("GET", "/admin/v1/users", "", none(), LOOKERS),
        row("POST", "/admin/v1/users", "", json!({"email": "x@example.com"}), masters(201)),
        row("GET", "/admin/v1/users/{id}", "", none(), [401, 403, 404, 404, 200, 200]),
        row("PATCH", "/admin/v1/users/{id}", "", json!({"role": "proxy_admin"}), masters(200)),
        row("DELETE", "/admin/v1/users/{id}", "", none(), masters(204)),
        row("GET", "/admin/v1/organizations", "", none(), LOOKERS),
        row("POST", "/admin/v1/organizations", "", json!({"alias": "new"}), masters(201)),
        row("GET", "/admin/v1/organizations/{id}", "", none(), LOOKERS),
        row("PATCH", "/admin/v1/organizations/{id}", "", json!({"alias": "x"}), masters(200)),
        row("DELETE", "/admin/v1/organizations/{id}", "", none(), masters(204)),
        row("GET", "/admin/v1/quotas", "", none(), [401, 403, 403, 403, 200, 200]),
        row("GET", "/admin/v1/quotas/{scope}", "", none(), [401, 404, 404, 200, 200, 200]),
        row("GET", "/admin/v1/usage", "", none(), LISTS),
        row("GET", "/admin/v1/usage/rows", "", none(), LISTS),
        row("GET", "/admin/v1/models", "", none(), HOLDERS),
        row("GET", "/admin/v1/providers", "", none(), LOOKERS),
        row("GET", "/admin/v1/policies", "", none(), LOOKERS),
        row("POST", "/admin/v1/policies/explain", "", json!({"action": "chat_completions", "resource": "gpt-4o"}), LOOKERS),
        // No log is kept here.
        row("GET", "/admin/v1/audit", "", none(), [401, 403, 403, 403, 404, 404]),
        row("GET", "/admin/v1/config", "", none(), LOOKERS),
        row("POST", "/admin/v1/config/reload", "", none(), masters(200)),

        row("POST", "/key/generate", "", json!({"team_id": "$team"}), [401, 403, 403, 200, 403, 200]),
        row("GET", "/key/info", "?key=$hash", none(), OWN_KEY),
        row("GET", "/key/list", "", none(), LISTS),
        row("POST", "/key/update", "", json!({"key": "$hash", "rpm_limit": 5}), own_team(200)),
        row("POST", "/key/delete", "", json!({"keys": ["$hash"]}), own_team(200)),
        row("POST", "/key/block", "", key(), own_team(200)),
        row("POST", "/key/unblock", "", key(), own_team(200)),
        row("POST", "/key/regenerate", "", key(), own_team(200)),
        row("POST", "/key/{key}/regenerate", "", none(), own_team(200)),
        row("POST", "/team/new", "", json!({"team_alias": "new"}), masters(200)),
        row("GET", "/team/info", "?team_id=$team", none(), SEEN_BY_TEAM),
        row("GET", "/team/list", "", none(), LISTS),
        row("POST", "/team/update", "", json!({"team_id": "$team", "rpm_limit": 1}), masters(200)),
        row("POST", "/team/delete", "", json!({"team_ids": ["$team"]}), masters(200)),
        row("POST", "/team/block", "", team(), masters(200)),
        row("POST", "/team/unblock", "", team(), masters(200)),
        row("POST", "/team/member_add", "", member(), own_team(200)),
        row("POST", "/team/member_delete", "", json!({"team_id": "$team", "user_id": "$user"}), own_team(200)),
        row("POST", "/user/new", "", json!({}), masters(200)),
        row("GET", "/user/info", "?user_id=$user", none(), [401, 403, 404, 404, 200, 200]),
        row("GET", "/user/list", "", none(), LOOKERS),
        row("POST", "/user/update", "", json!({"user_id": "$user", "rpm_limit": 1}), masters(200)),
        row("POST", "/user/delete", "", json!({"user_ids": ["$user"]}), masters(200)),
        row("POST", "/organization/new", "", json!({"organization_alias": "new"}), masters(200)),
        row("GET", "/organization/info", "?organization_id=$org", none(), LOOKERS),
        row("GET", "/organization/list", "", none(), LOOKERS),
        row("GET", "/spend/logs", "", none(), LISTS),
        row("GET", "/global/spend/report", "?start_date=2026-01-01&end_date=2026-01-31", none(), LISTS),
        row("GET", "/model/info", "", none(), HOLDERS),
        row("GET", "/v1/model/info", "", none(), HOLDERS),
    ]
}

/// Records of which nobody has heard before, and a credential of each sort.
struct World {
    names: [(&'static str, String); 5],
    credentials: [Option<String>; 6],
}

impl World {
    async fn make(admin: &Admin, number: usize) -> Self {
        let name = |what: &str| format!("{what}-{number}");
        let [own, foreign, viewer, user] = ["own", "foreign", "viewer", "user"].map(name);
        for id in [&own, &foreign, &user] {
            admin.user(id, UserRole::InternalUser).await;
        }
        admin.user(&viewer, UserRole::ProxyAdminViewer).await;
        let team = name("team");
        let mut stored = admin.team(&team, &own).await;
        stored.members.push(sluicegate::stores::records::Member {
            user: user.clone(),
            role: sluicegate::stores::records::MemberRole::User,
        });
        admin.store().update_team(&stored).await.unwrap();
        admin.team(&name("other-team"), &foreign).await;
        admin.organization(&name("org")).await;
        let (target, _) = admin.stored_key(None, Some(&team)).await;
        let (_, holder) = admin.stored_key(None, Some(&team)).await;
        let (_, own_key) = admin.stored_key(Some(&own), None).await;
        let (_, foreign_key) = admin.stored_key(Some(&foreign), None).await;
        let (_, viewer_key) = admin.stored_key(Some(&viewer), None).await;
        Self {
            names: [
                ("$key", target.id.to_string()),
                ("$hash", target.hash.to_hex()),
                ("$team", team),
                ("$user", user),
                ("$org", name("org")),
            ],
            credentials: [
                None,
                Some(holder),
                Some(foreign_key),
                Some(own_key),
                Some(viewer_key),
                Some(MASTER_KEY.to_owned()),
            ],
        }
    }

    fn filled(&self, text: &str) -> String {
        let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        self.names.iter().fold(text.to_owned(), fill)
    }

    fn path(&self, row: &Row) -> String {
        let id = match row.route.split('/').nth(3) {
            Some("keys") => "$key",
            Some("teams") => "$team",
            Some("users") => "$user",
            _ => "$org",
        };
        let route = row.route.replace("{id}", id).replace("{key}", "$hash");
        let route = route.replace("{scope}", "team:$team");
        self.filled(&(route.replace("{user}", "$user") + row.query))
    }
}

#[tokio::test]
async fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let admin = Admin::start().await;
    let (mut number, mut wrong) = (0, Vec::new());
    let acts: BTreeSet<_> = endpoints()
        .into_iter()
        .filter(|endpoint| endpoint.act.is_some())
        .map(|endpoint| (endpoint.method.to_string(), endpoint.path))
        .collect();
    for row in table() {
        for (column, expected) in row.expected.into_iter().enumerate() {
            number += 1;
            let world = World::make(&admin, number).await;
            let body = (!row.body.is_null()).then(|| world.filled(&row.body.to_string()));
            let header = world.credentials[column]
                .as_ref()
                .map(|credential| format!("Authorization: Bearer {credential}"));
            let headers: Vec<&str> = header.as_deref().into_iter().collect();
            admin.audit.taken();
            let before = admin.changes().await;
            let path = world.path(&row);
            let answer = admin.send(row.method, &path, &headers, body.as_deref()).await;
            let what = format!("{} {} column {column}", row.method, row.route);
            if answer.status != expected {
                wrong.push(format!(
                    "{what}: {} and not {expected}: {}",
                    answer.status,
                    answer.text()
                ));
                continue;
            }
            let is_act = acts.contains(&(row.method.to_owned(), row.route));
            let lines = admin.audit.taken();
            if !is_act || expected >= 400 {
                assert_eq!(admin.changes().await, before, "{what} changed something");
            }
            if is_act {
                let outcome = if expected < 400 { Outcome::Allowed } else { Outcome::Refused };
                assert!(
                    lines.iter().any(|line| line.outcome == outcome),
                    "{what} is not written down as {outcome:?}: {lines:?}"
                );
            } else {
                assert_eq!(lines, [], "{what} only looks");
            }
            assert!(answer.header("x-request-id").is_some(), "{what}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_route_is_missing_from_the_table() {
    let known = |method: String, route: &'static str| format!("{method} {route}");
    let routed: BTreeSet<_> =
        endpoints().into_iter().map(|e| known(e.method.to_string(), e.path)).collect();
    let tested: BTreeSet<_> =
        table().into_iter().map(|row| known(row.method.to_owned(), row.route)).collect();
    assert_eq!(tested.difference(&routed).collect::<Vec<_>>(), [""; 0], "no such route");
    assert_eq!(routed.difference(&tested).collect::<Vec<_>>(), [""; 0], "not in the table");
}

#[tokio::test]
async fn no_route_of_the_admin_api_is_on_the_proxys_listener() {
    let provider = provider().await;
    let config =
        Config::for_provider(provider.address()).with("admin: { master_key: \"env:MASTER_KEY\" }");
    let gateway = Gateway::start(&config);
    for row in table() {
        let path = row.route.replace(['{', '}'], "");
        let request = format!(
            "{} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
            row.method
        );
        let on_proxy = Client::new(gateway.proxy).raw(&request).await;
        let refused = matches!(on_proxy.status, 404 | 405);
        assert!(refused, "{} {path}: {} {}", row.method, on_proxy.status, on_proxy.text());
    }
}
