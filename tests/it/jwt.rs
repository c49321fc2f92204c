//! Issuers of tokens: their keys over real TLS, and the command that verifies a token.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate::config::valid::{JwtIssuer, KeySource};
use sluicegate::identity::jwks::{IssuerKeys, KeySets, Timing};
use sluicegate_filters::identify::jwt::{self, JwtError, Verified, Verifier};
use tokio::runtime::Handle;

use crate::support::issuer::{Issuer, Page, SigningKey, claims, key_set};
use crate::support::soon;

/// So long that nothing happens by itself.
const NEVER: Duration = Duration::from_secs(3600);

/// What is fetched once is fresh for an hour, and may be asked for at any time.
fn patient() -> Timing {
    Timing {
        timeout: NEVER,
        lifetime: NEVER,
        backoff: NEVER,
        max_backoff: NEVER,
        gap: Duration::ZERO,
        ..Timing::default()
    }
}

fn sets(timing: Timing) -> KeySets {
    KeySets::new(Handle::current(), timing)
}

/// An issuer whose keys are at `path`.
fn at(issuer: &Issuer, path: &str) -> JwtIssuer {
    let url = format!("{}{path}", issuer.url()).parse().unwrap();
    JwtIssuer {
        rules: jwt::Issuer::new(issuer.url(), "sluicegate"),
        keys: KeySource::Url(url),
        ca: issuer.url().starts_with("https").then(|| issuer.ca()),
        stale_for: NEVER,
    }
}

/// An issuer that is to say itself where its keys are.
fn discovered(issuer: &Issuer) -> JwtIssuer {
    JwtIssuer { keys: KeySource::Discovery(issuer.url().parse().unwrap()), ..at(issuer, "/unused") }
}

fn verify(issuer: &JwtIssuer, keys: &IssuerKeys, token: &str) -> Result<Verified, JwtError> {
    let verifier = Verifier::new(vec![issuer.rules.clone()]).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    verifier.verify(token.as_bytes(), &|index| keys.current(index), now)
}

/// What the fetch of `path` ended with, given what it serves.
async fn error_of(issuer: &Issuer, settings: &JwtIssuer) -> Option<String> {
    let sets = sets(patient());
    let keys = sets.select(std::slice::from_ref(settings)).unwrap();
    soon(&issuer.url(), keys.first_fetch()).await;
    let status = keys.status().remove(0);
    assert_eq!(
        (status.fetched, status.failed),
        if status.last_error.is_some() { (0, 1) } else { (1, 0) }
    );
    assert_eq!(keys.current(0).is_none(), status.last_error.is_some());
    status.last_error
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn keys_are_fetched_over_tls_and_verify_tokens() {
    let server = Issuer::start().await;
    let key = SigningKey::new("one");
    server.put("/jwks?p=sign", Page::json(&key_set(&[&key])));
    let issuer = at(&server, "/jwks?p=sign");
    let sets = sets(patient());
    let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
    let token = key.token(&claims(&server.url(), "alice"));
    soon("keys", keys.first_fetch()).await;
    let verified = verify(&issuer, &keys, &token).unwrap();
    assert_eq!(verified.bearer.user.as_deref(), Some("alice"));
    let forged = SigningKey::new("one").token(&claims(&server.url(), "alice"));
    let refused = verify(&issuer, &keys, &forged).unwrap_err();
    assert_eq!(refused, JwtError::Signature { issuer: 0, named: true });
}

#[tokio::test]
async fn a_certificate_that_is_not_vouched_for_is_not_believed() {
    let (server, other) = (Issuer::start().await, Issuer::start().await);
    server.publish(&[&SigningKey::new("one")]);
    let issuer = JwtIssuer { ca: Some(other.ca()), ..at(&server, "/jwks") };
    let error = error_of(&server, &issuer).await.unwrap();
    assert!(error.contains("certificate"), "{error}");
    // Nor is one for another name.
    let renamed = server.url().replace("127.0.0.1", "127.0.0.2");
    let keys = KeySource::Url(format!("{renamed}/jwks").parse().unwrap());
    let error = error_of(&server, &JwtIssuer { keys, ..at(&server, "/jwks") }).await.unwrap();
    assert!(error.contains("client error"), "{error}");
    assert_eq!(server.asked("/jwks"), 0);
}

#[tokio::test]
async fn another_authority_is_trusted_once_the_file_names_it() {
    let (server, other) = (Issuer::start().await, Issuer::start().await);
    let key = SigningKey::new("one");
    server.publish(&[&key]);
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::copy(other.ca(), &ca).unwrap();
    let issuer = JwtIssuer { ca: Some(ca.clone()), ..at(&server, "/jwks") };
    let sets = sets(patient());
    let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
    keys.first_fetch().await;
    assert!(sets.status()[0].last_error.as_ref().unwrap().contains("certificate"));
    // What is no authority changes nothing.
    std::fs::write(&ca, "").unwrap();
    keys.refetch(0).await;
    assert!(keys.current(0).is_none());
    std::fs::copy(server.ca(), &ca).unwrap();
    keys.refetch(0).await;
    let token = key.token(&claims(&server.url(), "u"));
    verify(&issuer, &keys, &token).unwrap();
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are() {
    let server = Issuer::start().await;
    let key = SigningKey::new("one");
    server.publish(&[&key]);
    let issuer = discovered(&server);
    let (url, path) = (server.url(), "/.well-known/openid-configuration");
    server
        .put(path, Page::json(&json!({"issuer": url, "jwks_uri": format!("{url}/jwks"), "x": 1})));
    assert_eq!(error_of(&server, &issuer).await, None);
    for (description, expected) in [
        (
            json!({"issuer": format!("{url}/"), "jwks_uri": format!("{url}/jwks")}),
            "is of another issuer",
        ),
        (
            json!({"issuer": "https://evil.test", "jwks_uri": format!("{url}/jwks")}),
            "is of another issuer",
        ),
        (
            json!({"issuer": url, "jwks_uri": format!("{}/jwks", url.replace("https", "http"))}),
            "has a `jwks_uri` that is not https",
        ),
        (json!({"issuer": url, "jwks_uri": "ftp://a/jwks"}), "has a `jwks_uri` that is not https"),
        (
            json!({"issuer": url, "jwks_uri": "https://a@b/jwks"}),
            "has a `jwks_uri` that is not https",
        ),
        (json!({"issuer": url, "jwks_uri": "/jwks"}), "has a `jwks_uri` that is not https"),
        (json!({"issuer": url, "jwks_uri": "https://[/"}), "has a `jwks_uri` that is no URL"),
        (json!({"issuer": url}), "is not JSON with `issuer` and `jwks_uri`"),
        (json!([]), "is not JSON with `issuer` and `jwks_uri`"),
    ] {
        server.put(path, Page::json(&description));
        let error = error_of(&server, &issuer).await;
        assert_eq!(error, Some(format!("the issuer's description {expected}")), "{description}");
    }
    let twice = format!("{{\"issuer\":\"x\",\"issuer\":\"{url}\",\"jwks_uri\":\"{url}/jwks\"}}");
    server.put(path, Page { body: twice.into(), ..Page::status(200) });
    assert!(error_of(&server, &issuer).await.is_some(), "which `issuer` counts is in doubt");
}

#[tokio::test]
async fn answers_that_are_no_key_set_are_refused() {
    let (server, elsewhere) = (Issuer::start().await, Issuer::start().await);
    let key = SigningKey::new("one");
    let good = || Page::json(&key_set(&[&key]));
    elsewhere.put("/jwks", good());
    server.put("/good", good());
    let redirect = |status, to: &str| Page::status(status).with("location", to);
    let many = json!({"keys": vec![json!({"kty": "oct"}); 101]});
    let plain = server.url().replace("https", "http");
    for (page, expected) in [
        (good(), None),
        (good().with("content-type", "text/plain"), None),
        (redirect(302, "/good"), None),
        (redirect(308, &format!("{}/good", server.url())), None),
        (
            redirect(301, &format!("{}/jwks", elsewhere.url())),
            Some("the answer redirects to another origin"),
        ),
        (redirect(301, &format!("{plain}/good")), Some("the answer redirects to another origin")),
        (redirect(302, "//evil.test/jwks"), Some("the answer redirects nowhere")),
        (redirect(302, "good"), Some("the answer redirects nowhere")),
        (Page::status(302), Some("the answer redirects nowhere")),
        (redirect(307, "/jwks"), Some("the answer redirects too often")),
        (Page::status(500), Some("the answer has status 500 Internal Server Error")),
        (Page::status(204), Some("the answer has status 204 No Content")),
        (
            Page { body: vec![b' '; 256 * 1024 + 1].into(), ..good() },
            Some("the answer is larger than 256 KiB"),
        ),
        (
            Page { body: "<html>".into(), ..good() },
            Some("the key set is unusable: it is not JSON in UTF-8"),
        ),
        (Page::json(&many), Some("the key set has more than 100 keys")),
    ] {
        let shown = format!("{} {:?}", page.status, page.headers);
        server.put("/jwks", page);
        let error = error_of(&server, &at(&server, "/jwks")).await;
        assert_eq!(error.as_deref(), expected, "{shown}");
    }
    assert_eq!(elsewhere.asked("/jwks"), 0);
}

#[tokio::test]
async fn a_silent_issuer_is_given_up() {
    let server = Issuer::start().await;
    server.set_open(false);
    let timing = Timing { timeout: Duration::from_millis(50), ..patient() };
    let sets = sets(timing);
    let keys = sets.select(&[at(&server, "/jwks")]).unwrap();
    soon("a timeout", keys.first_fetch()).await;
    let error = keys.status().remove(0).last_error;
    assert_eq!(error.as_deref(), Some("no whole answer came in time"));
}

#[tokio::test]
async fn a_new_key_is_known_when_a_token_names_it() {
    let server = Issuer::start().await;
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    server.publish(&[&old]);
    let issuer = at(&server, "/jwks");
    let sets = sets(patient());
    let mut changes = sets.changes();
    let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
    soon("keys", keys.first_fetch()).await;
    let token = |key: &SigningKey| key.token(&claims(&server.url(), "alice"));
    assert!(verify(&issuer, &keys, &token(&old)).is_ok());
    let unknown = verify(&issuer, &keys, &token(&new)).unwrap_err();
    assert_eq!(unknown.worth_refetching(), Some(0));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();

    let before = keys.current(0).unwrap();
    soon("a fetch", keys.refetch(0)).await;
    assert_eq!(server.asked("/jwks"), 2);
    assert!(!changes.has_changed().unwrap(), "the same keys are no change");
    assert!(Arc::ptr_eq(&before, &keys.current(0).unwrap()));
    server.publish(&[&new]);
    soon("a fetch", keys.refetch(0)).await;
    assert!(verify(&issuer, &keys, &token(&new)).is_ok());
    assert!(changes.has_changed().unwrap());
    // A key that is withdrawn is withdrawn.
    let refused = verify(&issuer, &keys, &token(&old)).unwrap_err();
    assert_eq!(refused, JwtError::UnknownKey { issuer: 0, kid: Some("old".to_owned()) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_costs_the_issuer_one_request() {
    let server = Issuer::start().await;
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    server.publish(&[&old]);
    let issuer = at(&server, "/jwks");
    // Nothing may be asked for again: so only those that wait for one fetch can have its result.
    let sets = sets(Timing { gap: NEVER, ..patient() });
    server.set_open(false);
    server.publish(&[&new]);
    let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
    let token = Arc::new(new.token(&claims(&server.url(), "alice")));
    until("the first fetch", || server.asked("/jwks") == 1).await;
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let (keys, issuer, token) = (keys.clone(), issuer.clone(), token.clone());
        flood.spawn(async move {
            keys.refetch(0).await;
            verify(&issuer, &keys, &token).map(drop)
        });
    }
    tokio::task::yield_now().await;
    server.set_open(true);
    for outcome in soon("the flood", flood.join_all()).await {
        assert_eq!(outcome, Ok(()));
    }
    assert_eq!(server.asked("/jwks"), 1);
    // And once more after it.
    soon("a refusal to ask", keys.refetch(0)).await;
    assert_eq!(server.asked("/jwks"), 1);
}

#[tokio::test]
async fn who_asked_first_may_leave_and_the_others_get_the_keys() {
    let server = Issuer::start().await;
    let key = SigningKey::new("one");
    server.put("/jwks", Page::status(500));
    let issuer = at(&server, "/jwks");
    let sets = sets(patient());
    let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
    soon("a failure", keys.first_fetch()).await;
    server.set_open(false);
    server.publish(&[&key]);
    let first = tokio::spawn({
        let keys = keys.clone();
        async move { keys.refetch(0).await }
    });
    until("the fetch", || server.asked("/jwks") == 2).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    server.set_open(true);
    until("the keys", || keys.current(0).is_some()).await;
    assert_eq!(server.asked("/jwks"), 2);
}

#[tokio::test]
async fn keys_are_fetched_again_before_they_are_out_of_date() {
    let server = Issuer::start().await;
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let short = |key: &SigningKey| Page::json(&key_set(&[key])).with("cache-control", "max-age=0");
    server.put("/jwks", short(&old));
    let issuer = at(&server, "/jwks");
    let lifetimes = (Duration::from_millis(20), NEVER);
    let sets = sets(Timing { lifetimes, ..patient() });
    let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
    soon("keys", keys.first_fetch()).await;
    server.put("/jwks", short(&new));
    let token = new.token(&claims(&server.url(), "alice"));
    until("the new key", || verify(&issuer, &keys, &token).is_ok()).await;
    until("more fetches", || sets.status()[0].fetched >= 5).await;
}

#[tokio::test]
async fn while_an_issuer_is_away_its_keys_are_used_as_long_as_allowed() {
    let server = Issuer::start().await;
    let key = SigningKey::new("one");
    let stale_at_once = Page::json(&key_set(&[&key])).with("cache-control", "no-store");
    for (stale_for, usable) in [(NEVER, true), (Duration::ZERO, false)] {
        server.put("/jwks", stale_at_once.clone());
        let issuer = JwtIssuer { stale_for, ..at(&server, "/jwks") };
        let short = Duration::from_millis(20);
        let sets = sets(Timing { lifetimes: (short, short), backoff: short, ..patient() });
        let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
        soon("keys", keys.first_fetch()).await;
        let mut changes = sets.changes();
        changes.mark_unchanged();
        server.put("/jwks", Page::status(503));
        until("failures", || sets.status()[0].failed >= 4).await;
        let token = key.token(&claims(&server.url(), "alice"));
        let result = verify(&issuer, &keys, &token).map(drop);
        match usable {
            true => assert_eq!(result, Ok(())),
            false => {
                assert_eq!(result, Err(JwtError::KeysUnavailable { issuer: 0 }));
                soon("an announcement", changes.changed()).await.unwrap();
            }
        }
        // It comes back by itself.
        server.put("/jwks", stale_at_once.clone());
        let fetched = sets.status()[0].fetched;
        until("recovery", || sets.status()[0].fetched > fetched).await;
    }
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_issuers_that_stay() {
    let (first, second) = (Issuer::start().await, Issuer::start().await);
    first.publish(&[&SigningKey::new("one")]);
    second.publish(&[&SigningKey::new("two")]);
    let issuers = [at(&first, "/jwks"), at(&second, "/jwks")];
    let sets = sets(patient());
    let before = sets.select(&issuers).unwrap();
    soon("keys", before.first_fetch()).await;
    let kept = before.current(1).unwrap();
    // In another place, and with other rules for its tokens.
    let mut stays = issuers[1].clone();
    stays.rules.audience = vec!["other".to_owned()];
    let after = sets.select(&[stays, issuers[0].clone()]).unwrap();
    assert!(Arc::ptr_eq(&kept, &after.current(0).unwrap()));
    // The generation before still has them in its own order.
    assert!(Arc::ptr_eq(&kept, &before.current(1).unwrap()));
    drop(before);
    let only = sets.select(&issuers[1..]).unwrap();
    drop(after);
    let names: Vec<_> = sets.status().into_iter().map(|status| status.issuer).collect();
    assert_eq!(names, [second.url()]);
    assert!(Arc::ptr_eq(&kept, &only.current(0).unwrap()));
    assert_eq!((first.asked("/jwks"), second.asked("/jwks")), (1, 1));
    // Other algorithms read the same document in another way.
    let mut narrow = issuers[1].clone();
    narrow.rules.algorithms = vec![jwt::Algorithm::RS256];
    let narrow = sets.select(&[narrow]).unwrap();
    soon("keys", narrow.first_fetch()).await;
    assert_eq!((narrow.current(0).unwrap().len(), only.current(0).unwrap().len()), (0, 1));
}

#[tokio::test]
async fn keys_come_from_a_file_or_over_plain_http_of_this_machine_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    std::fs::write(&path, key_set(&[&old]).to_string()).unwrap();
    let mut issuer = JwtIssuer {
        rules: jwt::Issuer::new("files", "sluicegate"),
        keys: KeySource::File(path.clone()),
        ca: None,
        stale_for: NEVER,
    };
    let sets = sets(patient());
    let keys = sets.select(std::slice::from_ref(&issuer)).unwrap();
    soon("keys", keys.first_fetch()).await;
    assert!(verify(&issuer, &keys, &old.token(&claims("files", "alice"))).is_ok());
    std::fs::write(&path, key_set(&[&new]).to_string()).unwrap();
    soon("a fetch", keys.refetch(0)).await;
    assert!(verify(&issuer, &keys, &new.token(&claims("files", "alice"))).is_ok());
    std::fs::remove_file(&path).unwrap();
    soon("a failure", keys.refetch(0)).await;
    assert!(keys.status()[0].last_error.as_ref().unwrap().contains("jwks.json"));
    assert!(keys.current(0).is_some(), "the last keys are used meanwhile");

    let server = Issuer::start_plain().await;
    server.publish(&[&new]);
    issuer = at(&server, "/jwks");
    assert_eq!(error_of(&server, &issuer).await, None);
    let description = json!({"issuer": server.url(), "jwks_uri": format!("{}/jwks", server.url())});
    server.put("/.well-known/openid-configuration", Page::json(&description));
    assert_eq!(error_of(&server, &discovered(&server)).await, None);
}

#[tokio::test]
async fn what_this_machine_lacks_is_said_before_anything_is_fetched() {
    let server = Issuer::start().await;
    let empty = tempfile::NamedTempFile::new().unwrap();
    let issuer = JwtIssuer { ca: Some(empty.path().to_owned()), ..at(&server, "/jwks") };
    let error = KeySets::check(std::slice::from_ref(&issuer)).unwrap_err().to_string();
    assert!(error.contains("ca: ") && error.contains("no PEM certificate"), "{error}");
    let sets = sets(patient());
    assert!(sets.select(&[at(&server, "/jwks"), issuer]).is_err());
    assert!(sets.status().is_empty(), "nothing has begun");
}

/// Runs `sluicegate jwt verify`.
fn cli(args: &[&str], stdin: &str) -> Output {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["jwt", "verify"])
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may leave without reading.
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_command_prints_what_the_gateway_makes_of_a_token_or_why_it_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let key = SigningKey::new("one");
    std::fs::write(&path, key_set(&[&key]).to_string()).unwrap();
    let jwks = path.to_str().unwrap();
    let claims = json!({
        "iss": "https://login.test", "aud": ["x", "sluicegate"], "sub": "alice",
        "exp": 1_800_000_600, "team": "red",
    });
    let token = key.token(&claims);
    let base = ["--jwks", jwks, "--issuer", "https://login.test", "--audience", "sluicegate"];
    let with = |more: &[&str], stdin: &str| cli(&[&base[..], more].concat(), stdin);
    for (args, stdin) in [
        (&["--at", "1800000000", &token][..], ""),
        (&["--at", "2027-01-15T08:00:00Z"], &*format!("{token}\n")),
        (&["--at", "1800000000", "--algorithm", "ES256", "-"], &token),
    ] {
        let output = with(args, stdin);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["caller"]["user"], "alice");
        assert_eq!(shown["caller"]["team"], Value::Null, "no claim is mapped to it");
        assert_eq!(shown["claims"], claims);
        assert_eq!(shown["valid_until"], "2027-01-15T08:10:30Z");
        assert_eq!(shown["issuer"], "https://login.test");
    }
    let expired = with(&["--at", "1800000640", &token], "");
    assert_eq!(expired.status.code(), Some(1));
    assert_eq!(text(&expired.stderr), "the token expired 40 seconds ago\n");
    assert!(expired.stdout.is_empty());
    let stranger = SigningKey::new("two").token(&claims);
    let refused = with(&["--at", "1800000000", &stranger], "");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        text(&refused.stderr),
        "the token is signed with a key that its issuer does not publish\n\
         note: keys of the issuer that can be used: 1\n"
    );
}

#[test]
fn the_command_says_what_is_wrong_with_how_it_is_called() {
    let missing = ["--jwks", "/nowhere/jwks", "--issuer", "a", "--audience", "b", "token"];
    for (args, expected) in [
        (&["token"][..], "--jwks"),
        (&["--config", "c.yaml", "--issuer", "a"], "--issuer"),
        (&missing, "/nowhere/jwks: No such file"),
        (&["--config", "/nowhere/c.yaml", "token"], "/nowhere/c.yaml"),
        (&[&missing[..6], &["--algorithm", "HS256", "t"]].concat(), "ES256"),
        (&[&missing[..6], &["--at", "yesterday", "t"]].concat(), "--at"),
        (&missing[..6], "no token was given"),
    ] {
        let output = cli(args, "");
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        let error = text(&output.stderr);
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_takes_issuers_and_mapping_from_a_configuration() {
    let (server, away) = (Issuer::start().await, Issuer::start().await);
    away.put("/jwks", Page::status(500));
    let key = SigningKey::new("one");
    server.publish(&[&key]);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("c.yaml");
    let entry = |issuer: &Issuer, prefix: &str| {
        let (url, ca) = (issuer.url(), issuer.ca());
        format!(
            "    - issuer: {url}\n      audience: [sluicegate]\n      jwks_url: {url}/jwks\n      \
             ca: {}\n      claims: {{ roles: realm.roles, prefix: \"{prefix}\", expose: [scope] }}\n",
            ca.display()
        )
    };
    let yaml = format!("auth:\n  jwt:\n{}{}", entry(&away, "a:"), entry(&server, "s:"));
    std::fs::write(&config, yaml).unwrap();
    let config = config.to_str().unwrap().to_owned();
    let mut said = claims(&server.url(), "alice");
    said["realm"] = json!({"roles": ["admin"]});
    said["scope"] = json!("read write");
    let run = |token: String| {
        let config = config.clone();
        async move {
            let run = move || cli(&["--config", &config], &token);
            soon("the command", tokio::task::spawn_blocking(run)).await.unwrap()
        }
    };
    let output = run(key.token(&said)).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let caller = &shown["caller"];
    assert_eq!((&caller["user"], &caller["roles"]), (&json!("s:alice"), &json!(["s:admin"])));
    assert_eq!(caller["claims"], json!({"scope": ["read", "write"]}));

    let output = run(key.token(&claims(&away.url(), "alice"))).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "the keys of the token's issuer can't be had at the moment\n\
         note: the answer has status 500 Internal Server Error\n"
    );
}
