//! Policies on the proxy's listener: who is refused, by what, and where that is written down.

use std::path::Path;

use serde_json::{Value, json};
use sluicegate::clock::now_ms;
use sluicegate_simulator::Simulator;

use crate::support::issuer::{Issuer, SigningKey, claims};
use crate::support::{
    Client, Config, Gateway, MASTER_KEY, Response, chat, messages, provider, soon,
};

const RULES: &str = r#"
@id("developers-small-models")
permit (principal in Role::"developer", action in Action::"infer", resource == Model::"sim-1");

@id("developers-see")
permit (principal in Role::"developer", action == Action::"list_models", resource == Model::"sim-1");

@id("no-streams-for-interns")
forbid (principal, action in Action::"infer", resource)
when { context.stream && principal.hasTag("level") && principal.getTag("level").contains("intern") };
"#;

/// A gateway that trusts one issuer and asks the policies in its directory.
struct Fixture {
    _provider: Simulator,
    issuer: Issuer,
    key: SigningKey,
    /// Outlives the gateway.
    audit: tempfile::TempDir,
    gateway: Gateway,
}

impl Fixture {
    async fn new(mode: &str) -> Self {
        Self::with(mode, RULES, |config| config).await
    }

    async fn with(mode: &str, rules: &str, change: impl FnOnce(Config) -> Config) -> Self {
        let provider = provider().await;
        let (issuer, key) = (Issuer::start_plain().await, SigningKey::new("one"));
        issuer.publish(&[&key]);
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), rules);
        let mut config = Config::for_provider(provider.address());
        let url = issuer.url();
        let root = directory.path().display();
        let audit = tempfile::tempdir().unwrap();
        let log = audit.path().join("log");
        let log = log.display();
        config.head = format!(
            "admin: {{ master_key: \"env:MASTER_KEY\" }}\n\
             auth:\n  jwt:\n    - issuer: \"{url}\"\n      audience: [sluicegate]\n      \
             jwks_url: \"{url}/jwks\"\n      algorithms: [ES256]\n      \
             claims: {{ user: sub, roles: roles, expose: [level] }}\n\
             policies: {{ directory: \"{root}\", mode: {mode} }}\n\
             audit: {{ directory: \"{log}\" }}\n"
        );
        let gateway = Gateway::start_in(directory, &change(config));
        Self { _provider: provider, issuer, key, audit, gateway }
    }

    fn token(&self, level: &str, roles: &[&str]) -> String {
        let mut claims = claims(&self.issuer.url(), "ann");
        claims["roles"] = json!(roles);
        claims["level"] = json!(level);
        self.key.token(&claims)
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Response {
        let header = format!("Authorization: Bearer {token}\r\n");
        self.gateway.client().post_with(path, &header, body).await
    }

    async fn chat(&self, token: &str, stream: bool) -> Response {
        self.post(token, "/v1/chat/completions", &chat(stream, "")).await
    }

    async fn models(&self, token: &str) -> Vec<Value> {
        let get =
            format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        let list = self.gateway.client().raw(get).await.json();
        list["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect()
    }
}

fn write(directory: &Path, rules: &str) {
    let next = directory.join("next");
    std::fs::write(&next, rules).unwrap();
    std::fs::rename(next, directory.join("rules.cedar")).unwrap();
}

#[tokio::test]
async fn a_token_s_bearer_may_what_the_policies_permit_and_the_refusals_say_why() {
    let fixture = Fixture::new("enforce").await;
    let (senior, intern) =
        (fixture.token("senior", &["developer"]), fixture.token("intern", &["developer"]));
    for (token, stream) in [(&senior, false), (&senior, true), (&intern, false)] {
        let answer = fixture.chat(token, stream).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let answer = fixture.chat(&intern, true).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "policy_denied"));
    assert!(answer.text().contains("no-streams-for-interns"), "{}", answer.text());
    let answer = fixture.post(&senior, "/v1/messages", &messages(false, "")).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"]["type"], "permission_error", "{}", answer.text());
    let nobody = fixture.token("senior", &[]);
    assert_eq!(fixture.chat(&nobody, false).await.code(), "policy_denied");

    assert_eq!(fixture.models(&senior).await, ["sim-1"]);
    assert_eq!(fixture.models(&nobody).await, Vec::<Value>::new());
    let mut unknown = chat(false, "");
    unknown["model"] = json!("claude-simm");
    let answer = fixture.post(&senior, "/v1/chat/completions", &unknown).await;
    assert_eq!(answer.status, 404);
    assert!(!answer.text().contains("`claude-sim`"), "no hint of what they may not know");

    let decisions = fixture
        .gateway
        .metric("sluicegate_authorization_decisions_total", "refused_by_policy")
        .await;
    assert_eq!(decisions, 3.0);
    let audit = fixture.audit.path().join("log");
    let log = fixture.gateway.stop().await;
    let mut refused: Vec<_> = log.iter().filter(|line| line["code"] == "policy_denied").collect();
    // A line is written once its answer has gone, so that the next one may overtake it.
    refused.sort_by_key(|line| line["request_id"].as_str());
    assert_eq!(refused.len(), 3);
    assert_eq!(refused[0]["policies"], json!(["no-streams-for-interns"]));
    assert_eq!((&refused[0]["user"], &refused[0]["permitted"]), (&json!("ann"), &json!(false)));
    let version = refused[0]["policy_version"].as_str().unwrap();
    assert_eq!(version.len(), 16, "{version}");

    let recorded = records(&audit);
    let refusals: Vec<_> =
        recorded.iter().filter(|record| record["kind"] == "policy_refusal").collect();
    assert_eq!(refusals.len(), 3);
    assert_eq!(refusals[0]["policy_ids"], json!(["no-streams-for-interns"]));
    assert_eq!(refusals[0]["request_id"], refused[0]["request_id"]);
    assert_eq!(refusals[0]["resource"]["id"], "sim-1");
    for secret in [&senior, &intern, &nobody] {
        assert!(recorded.iter().all(|record| !record.to_string().contains(&secret[..40])));
    }
    let report = sluicegate::audit::verify(&audit, None).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

/// All records of an audit log, in the order of their files.
/// What an audit log has, the oldest first.
pub fn records(directory: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let lines = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    });
    lines.collect()
}

/// A model with a price, and one without.
const PRICED_OR_NOT: &str = r#"  priced: { targets: [{ provider: sim, model: sim-1 }], price: { input: "0", output: "20" }, max_output_tokens: 2501 }
  unpriced: { targets: [{ provider: sim, model: sim-1 }] }
"#;

#[tokio::test]
async fn policies_see_the_most_that_a_request_may_cost() {
    // As the one for trial users that is shipped: 5 cents, here 2500 tokens of output.
    let rules = r#"
@id("all") permit (principal, action in Action::"infer", resource);
@id("small") forbid (principal, action in Action::"infer", resource)
when { context has estimated_cost && context.estimated_cost > 50000000 };
"#;
    let fixture = Fixture::with("enforce", rules, |config| config.with_models(PRICED_OR_NOT)).await;
    let token = fixture.token("senior", &[]);
    let ask = async |model: &str, fields: Value| {
        let mut body = chat(false, "");
        body["model"] = json!(model);
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        fixture.post(&token, "/v1/chat/completions", &body).await
    };
    for (model, fields) in [
        ("priced", json!({"max_tokens": 2500})),
        ("priced", json!({"max_tokens": 1250, "n": 2})),
        ("unpriced", json!({"max_tokens": 1_000_000})),
    ] {
        let answer = ask(model, fields).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for fields in [
        json!({"max_tokens": 2501}),
        json!({"max_tokens": 1251, "n": 2}),
        // As long as the model's longest answer.
        json!({}),
    ] {
        let answer = ask("priced", fields).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "policy_denied"));
        assert!(answer.text().contains("small"), "{}", answer.text());
    }
}

#[tokio::test]
async fn policies_change_live_and_a_wrong_set_changes_nothing() {
    let fixture = Fixture::new("enforce").await;
    let token = fixture.token("senior", &["developer"]);
    assert_eq!(fixture.chat(&token, false).await.status, 200);
    write(
        fixture.gateway.root(),
        "permit (principal, action, resource) when { context.nonsense };",
    );
    let line = fixture.gateway.await_log("configuration refused");
    let message = line["message"].as_str().unwrap();
    assert!(message.contains("rules.cedar:1:"), "{message}");
    assert_eq!(fixture.chat(&token, false).await.status, 200, "the set before is in force");
    write(fixture.gateway.root(), "@id(\"closed\") forbid (principal, action, resource);");
    fixture.gateway.await_log("configuration in force");
    let answer = fixture.chat(&token, false).await;
    assert!(answer.text().contains("`closed`"), "{}", answer.text());
}

#[tokio::test]
async fn what_is_only_tried_out_refuses_nobody_and_is_written_down() {
    let fixture = Fixture::new("shadow").await;
    let token = fixture.token("intern", &["developer"]);
    assert_eq!(fixture.chat(&token, true).await.status, 200);
    let metric = "sluicegate_authorization_decisions_total";
    assert_eq!(fixture.gateway.metric(metric, "shadow_refused").await, 1.0);
    let audit = fixture.audit.path().join("log");
    let log = fixture.gateway.stop().await;
    assert_eq!(log.last().unwrap()["permitted"], false);
    let shadow = records(&audit).into_iter().find(|record| record["kind"] == "policy_shadow");
    assert_eq!(shadow.unwrap()["policy_ids"], json!(["no-streams-for-interns"]));
}

#[tokio::test]
async fn the_admin_api_explains_and_the_master_key_is_not_above_the_policies() {
    let fixture = Fixture::new("enforce").await;
    let answer = fixture.chat(MASTER_KEY, false).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "policy_denied"));
    let admin = Client::new(fixture.gateway.admin);
    let header = format!("Authorization: Bearer {MASTER_KEY}\r\n");
    let question = json!({
        "principal": {"user": "ann", "roles": ["developer"], "claims": {"level": "intern"}},
        "action": "chat_completions",
        "resource": "sim-1",
        "context": {"stream": true},
    });
    let path = "/admin/v1/policies/explain";
    let explained = admin.post_with(path, &header, &question).await;
    assert_eq!(explained.status, 200, "{}", explained.text());
    let explained = explained.json();
    assert_eq!(explained["outcome"], "deny");
    assert_eq!(explained["decision"]["policies"][0]["id"], "no-streams-for-interns");
    let wrong = json!({"action": "call_model", "resource": "sim-1"});
    let wrong = admin.post_with(path, &header, &wrong).await;
    assert!(wrong.text().contains("chat_completions"), "{}", wrong.text());
}

#[tokio::test]
async fn a_token_is_as_good_as_its_issuer_s_keys() {
    let fixture = Fixture::new("enforce").await;
    let token = fixture.token("senior", &["developer"]);
    assert_eq!(fixture.chat(&token, false).await.status, 200);
    let stranger = SigningKey::new("two");
    let mut said = claims(&fixture.issuer.url(), "ann");
    said["roles"] = json!(["developer"]);
    let foreign = stranger.token(&said);
    let answer = fixture.chat(&foreign, false).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
    let challenge = answer.header("www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer error=\"invalid_token\"");
    assert!(!answer.text().contains(&foreign[..20]));
    said["exp"] = json!(1_000_000_000);
    assert_eq!(fixture.chat(&fixture.key.token(&said), false).await.code(), "token_expired");
    soon("known tokens stay good while the issuer is away", async {
        fixture.issuer.set_open(false);
        assert_eq!(fixture.chat(&token, false).await.status, 200);
    })
    .await;
}

/// Clocks may differ by this, unless it is configured.
const LEEWAY: i64 = 30;

/// How many credentials were looked up, and not found in memory.
async fn looked_up(gateway: &Gateway) -> f64 {
    gateway.metric("sluicegate_credential_lookups_total", "found").await
}

#[tokio::test]
async fn a_token_that_is_known_is_good_until_it_expires_and_no_longer() {
    let fixture = Fixture::new("enforce").await;
    // On a machine that stands still, a token of two seconds may be over before it is known: then another.
    for _ in 0..10 {
        let until = now_ms() / 1000 + 2;
        let mut said = claims(&fixture.issuer.url(), "ann");
        said["roles"] = json!(["developer"]);
        said["iat"] = json!(until - LEEWAY - 60);
        said["exp"] = json!(until - LEEWAY);
        let token = fixture.key.token(&said);
        let (before, mut good) = (looked_up(&fixture.gateway).await, 0);
        let refused = soon("the token's end", async {
            loop {
                let asked = now_ms();
                let answer = fixture.chat(&token, false).await;
                if answer.status != 200 {
                    return answer;
                }
                assert!(asked < until * 1000, "good {} ms after its end", asked - until * 1000);
                good += 1;
            }
        })
        .await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "token_expired"));
        assert!(now_ms() >= until * 1000, "refused before its end");
        if good >= 2 {
            // Once for all that were good, once for the refusal; once more where what is remembered ended
            // a moment before the token did.
            let lookups = looked_up(&fixture.gateway).await - before;
            assert!((2.0..=3.0).contains(&lookups), "{lookups} after {good} requests");
            if good > 2 {
                return;
            }
        }
    }
    panic!("no token was good for three requests");
}

#[tokio::test]
async fn a_token_that_is_known_is_refused_once_its_key_is_withdrawn() {
    let fixture = Fixture::new("enforce").await;
    let token = fixture.token("senior", &["developer"]);
    assert_eq!(fixture.chat(&token, false).await.status, 200);
    let before = looked_up(&fixture.gateway).await;
    assert_eq!(fixture.chat(&token, false).await.status, 200);
    assert_eq!(looked_up(&fixture.gateway).await, before, "it is known");

    let next = SigningKey::new("two");
    fixture.issuer.publish(&[&next]);
    // Tokens that name a key which is not known have the issuer asked, ten seconds after the last time. Each
    // is another one, as a refusal is remembered for as long.
    let mut number = 0;
    soon("the issuer's next key", async {
        loop {
            number += 1;
            let mut said = claims(&fixture.issuer.url(), "ann");
            said["roles"] = json!(["developer"]);
            said["jti"] = json!(number.to_string());
            let answer = fixture.chat(&next.token(&said), false).await;
            if answer.status == 200 {
                return;
            }
            assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
            if fixture.issuer.asked("/jwks") == 1 {
                // Meanwhile the gateway has no reason to doubt what it knows. A slow stream, so that the
                // question is not asked all the time.
                let slow = chat(true, "first_token_ms=200");
                let answer = fixture.post(&token, "/v1/chat/completions", &slow).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
    })
    .await;
    assert_eq!(fixture.issuer.asked("/jwks"), 2);
    let refused = soon("the end of what the old key signed", async {
        loop {
            let answer = fixture.chat(&token, false).await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_token"));
}
