//! Tokens of an issuer's on the administrator's listener: roles that it signs, from the wire to the answer.

use serde_json::{Value, json};

use super::harness::error;
use crate::support::issuer::{Issuer, SigningKey, claims};
use crate::support::{Client, Config, Gateway, MASTER_KEY, Response, provider};

const KEYS: &str = "/admin/v1/keys";
const CONFIG: &str = "/admin/v1/config";

struct Fixture {
    issuer: Issuer,
    key: SigningKey,
    gateway: Gateway,
}

impl Fixture {
    async fn new() -> Self {
        let provider = provider().await;
        let (issuer, key) = (Issuer::start_plain().await, SigningKey::new("one"));
        issuer.publish(&[&key]);
        let mut config = Config::for_provider(provider.address());
        let url = issuer.url();
        config.head = format!(
            "admin: {{ master_key: \"env:MASTER_KEY\" }}\nstore: {{ sqlite: {{ path: \":memory:\" }} }}\n\
             auth:\n  jwt:\n    - issuer: \"{url}\"\n      audience: [sluicegate]\n      \
             jwks_url: \"{url}/jwks\"\n      algorithms: [ES256]\n      \
             claims: {{ user: sub, team: team, roles: realm_access.roles }}\n"
        );
        Self { issuer, key, gateway: Gateway::start(&config) }
    }

    /// What the issuer says of a user with these roles.
    fn said(&self, user: &str, roles: &[&str]) -> Value {
        let mut said = claims(&self.issuer.url(), user);
        said["realm_access"] = json!({ "roles": roles });
        said
    }

    fn token(&self, user: &str, roles: &[&str]) -> String {
        self.key.token(&self.said(user, roles))
    }

    async fn ask(&self, bearer: &str, method: &str, path: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Client::new(self.gateway.admin).raw(request).await
    }

    async fn get(&self, bearer: &str, path: &str) -> Response {
        self.ask(bearer, "GET", path, &Value::Null).await
    }
}

#[tokio::test]
async fn who_administers_is_what_the_issuer_signs() {
    let fixture = Fixture::new().await;
    let team = json!({"id": "red"});
    let admin = fixture.token("ann", &["offline_access", "proxy_admin"]);
    let made = fixture.ask(&admin, "POST", "/admin/v1/teams", &team).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = fixture.ask(&admin, "POST", KEYS, &json!({"alias": "ci"})).await;
    assert_eq!((made.status, made.json()["created_by"].as_str()), (201, Some("user:ann")));
    let id = made.json()["id"].as_str().unwrap().to_owned();

    let viewer = fixture.token("vic", &["proxy_admin_viewer"]);
    for path in [CONFIG, KEYS, &format!("{KEYS}/{id}")] {
        assert_eq!(fixture.get(&viewer, path).await.status, 200, "{path}");
    }
    let refused = fixture.ask(&viewer, "POST", KEYS, &json!({})).await;
    assert_eq!(error(&refused).1, "forbidden", "{}", refused.text());
    let deleted = fixture.ask(&viewer, "DELETE", &format!("{KEYS}/{id}"), &Value::Null).await;
    assert_eq!(deleted.status, 403, "{}", deleted.text());

    // The administrator of a team, and of no other.
    let mut said = fixture.said("tom", &["team_admin"]);
    said["team"] = json!("red");
    let team_admin = fixture.key.token(&said);
    let made = fixture.ask(&team_admin, "POST", KEYS, &json!({"team": "red"})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    for body in [json!({"team": "blue"}), json!({})] {
        let refused = fixture.ask(&team_admin, "POST", KEYS, &body).await;
        assert!([403, 422].contains(&refused.status), "{body}: {}", refused.text());
    }
    assert_eq!(fixture.get(&team_admin, CONFIG).await.status, 403);

    // A role that is nearly one, one in another place, and one that the user only calls itself.
    let mut elsewhere = fixture.said("eve", &[]);
    elsewhere["roles"] = json!(["proxy_admin"]);
    for token in [
        fixture.token("eve", &["proxy_admin_"]),
        fixture.token("proxy_admin", &[]),
        fixture.key.token(&elsewhere),
    ] {
        assert_eq!(fixture.get(&token, CONFIG).await.status, 403);
        assert_eq!(fixture.ask(&token, "POST", KEYS, &json!({})).await.status, 403);
    }
    assert_eq!(fixture.get(MASTER_KEY, KEYS).await.json()["total"].as_u64(), Some(2));
}

#[tokio::test]
async fn a_role_that_the_issuer_does_not_vouch_for_is_none() {
    let fixture = Fixture::new().await;
    let said = fixture.said("eve", &["proxy_admin"]);
    let with = |name: &str, value: Value| {
        let mut said = said.clone();
        said[name] = value;
        fixture.key.token(&said)
    };
    let good = fixture.key.token(&said);
    let unsigned = good.rsplit_once('.').unwrap().0;
    for (what, token, code) in [
        ("another's key", SigningKey::new("one").token(&said), "invalid_token"),
        ("no signature", format!("{unsigned}."), "invalid_token"),
        ("for somebody else", with("aud", json!("other")), "invalid_token"),
        ("over", with("exp", json!(1_000_000_000)), "token_expired"),
    ] {
        let refused = fixture.get(&token, CONFIG).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, code), "{what}");
        let challenge = refused.header("www-authenticate").unwrap();
        assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{what}");
        // A right one clears what wrong ones have added up to.
        assert_eq!(fixture.get(&good, CONFIG).await.status, 200, "{what}");
    }
}
