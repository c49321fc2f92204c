//! Issuers of tokens: where their keys are, and what must not be trusted.

use sluicegate_filters::identify::jwt::{Algorithm, Verifier};

use super::*;
use crate::config::valid::{JwtIssuer, KeySource};

const GOOD: &str = "issuer: https://login.test/, audience: [a]";

/// A file with one issuer. Its text begins in line 3, column 9.
fn with(issuer: &str) -> String {
    format!("auth:\n  jwt:\n    - {{ {issuer} }}")
}

fn issuers(text: &str) -> Vec<JwtIssuer> {
    loaded(text).config.auth.jwt
}

fn issuer(text: &str) -> JwtIssuer {
    issuers(&with(text)).remove(0)
}

#[test]
fn an_issuer_needs_a_name_and_an_audience_and_the_rest_has_defaults() {
    let found = issuer(GOOD);
    assert_eq!(found.rules.issuer, "https://login.test/");
    assert_eq!(found.rules.audience, ["a"]);
    assert_eq!(found.rules.algorithms, [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
    assert_eq!(found.rules.leeway, Duration::from_secs(30));
    assert!(found.rules.required.is_empty() && found.rules.claims.expose.is_empty());
    assert_eq!(found.rules.claims.user.as_str(), "sub");
    assert_eq!(found.stale_for, Duration::from_secs(86_400));
    let KeySource::Discovery(url) = found.keys else { panic!("{:?}", found.keys) };
    assert_eq!(url, "https://login.test/");
    for (text, expected) in [
        ("audience: [a]", "3:7: auth.jwt[0]: `issuer` is missing; write the `iss` of its tokens"),
        (
            "issuer: https://login.test",
            "3:7: auth.jwt[0]: `audience` is missing; write the `aud` of tokens for this gateway, as in [sluicegate]",
        ),
        (
            "issuer: https://login.test, audience: []",
            "3:47: auth.jwt[0].audience: no audience; write the `aud` of tokens for this gateway, as in [sluicegate]",
        ),
        ("issuer: https://login.test, audience: [\"\"]", "3:48: auth.jwt[0].audience[0]: is empty"),
        (
            "issuer: \"a\\nb\", audience: [a], jwks_url: https://a",
            "3:17: auth.jwt[0].issuer: longer than 1024 bytes, or with control characters",
        ),
        (
            "iss: x, issuer: https://login.test, audience: [a]",
            "3:9: auth.jwt[0].iss: unknown key; it is called `issuer` here",
        ),
    ] {
        refused(&with(text), &format!("c.yaml:{expected}"));
    }
    refused(
        "auth: { jwt: https://login.test, anonymous: true }",
        "c.yaml:1:14: auth.jwt: expected a list, found `https://login.test`; write `[a, b]`, or one `- item` a line",
    );
}

#[test]
fn everything_of_an_issuer_can_be_said_and_passes_the_verifiers_own_check() {
    let text = "
auth:
  jwt:
    - issuer: https://login.test/realms/main
      audience: [sluicegate, api://sluicegate]
      algorithms: [PS512, ES384, ES384, EdDSA]
      jwks_url: https://login.test:8443/keys?p=sign&v=1
      stale_for: 2h
      leeway: 5m
      required: [jti, realm.id]
      claims:
        user: email
        team: https://example.com/team
        organization: org.id
        roles: realm_access.roles
        tags: scope
        prefix: \"main:\"
        expose: [scope, acr]
";
    let found = issuers(text).remove(0);
    assert_eq!(found.rules.algorithms, [Algorithm::PS512, Algorithm::ES384, Algorithm::EdDSA]);
    let KeySource::Url(url) = &found.keys else { panic!("{:?}", found.keys) };
    assert_eq!(url, "https://login.test:8443/keys?p=sign&v=1");
    let claims = &found.rules.claims;
    let roles = claims.roles.as_ref().map(|path| path.as_str());
    assert_eq!((claims.prefix.as_str(), roles), ("main:", Some("realm_access.roles")));
    let exposed: Vec<_> = claims.expose.iter().map(|path| path.as_str()).collect();
    assert_eq!(exposed, ["acr", "scope"]);
    Verifier::new(vec![found.rules.clone()]).expect("what loads can be used");
    let dumped = dump(&loaded(text).config);
    assert_eq!(issuers(&dumped), [found], "{dumped}");
}

#[test]
fn algorithms_that_prove_nothing_are_refused_with_the_reason() {
    for (text, expected) in [
        ("[]", "no algorithms; leave it out for RS256, ES256 and EdDSA"),
        (
            "[HS256]",
            "`HS256`: whoever can check an HMAC can also make one; use one with a public key, as ES256",
        ),
        (
            "[none]",
            "`none`: a token without a signature proves nothing; use one with a public key, as ES256",
        ),
        (
            "[rs256]",
            "unknown value `rs256`; did you mean `RS256`? It can be `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`",
        ),
    ] {
        let (column, item) = if text == "[]" { (65, "") } else { (66, "[0]") };
        refused(
            &with(&format!("{GOOD}, algorithms: {text}")),
            &format!("c.yaml:3:{column}: auth.jwt[0].algorithms{item}: {expected}"),
        );
    }
}

#[test]
fn keys_come_from_one_place_that_nobody_on_the_way_can_change() {
    let name = "issuer: x, audience: [a]";
    for (text, expected) in [
        (
            name.to_owned(),
            "3:17: auth.jwt[0].issuer: `x` does not begin with http:// or https://; add `jwks_url` or `jwks_file`: only an issuer whose name is an https:// URL tells where its keys are",
        ),
        (
            format!("{name}, jwks_url: https://a, jwks_file: b"),
            "3:56: auth.jwt[0].jwks_file: `jwks_file` beside `jwks_url`; keep one of the two",
        ),
        (
            format!("{name}, jwks_url: http://keys.test/jwks"),
            "3:45: auth.jwt[0].jwks_url: keys over plain http from another host; use https://; http:// is for this machine only",
        ),
        (
            format!("{name}, jwks_url: \"https://user:hunter2@a/jwks\""),
            "3:45: auth.jwt[0].jwks_url: the URL has a user name or password in it; leave them out; credentials go to `api_key`",
        ),
        (
            format!("{name}, jwks_url: \"https://a/jwks?x#y\""),
            "3:45: auth.jwt[0].jwks_url: the URL has a query or a fragment; leave out what begins with `?` or `#`",
        ),
        (
            format!("{name}, jwks_file: /nowhere/jwks.json"),
            "3:46: auth.jwt[0].jwks_file: `/nowhere/jwks.json` can't be read: No such file or directory (os error 2)",
        ),
        (
            format!("{name}, jwks_url: http://127.0.0.1:1/jwks, ca: Cargo.toml"),
            "3:74: auth.jwt[0].ca: `ca` without TLS; fetch the keys from an https:// URL, or take it out",
        ),
        (
            format!("{name}, jwks_file: Cargo.toml, ca: Cargo.toml"),
            "3:62: auth.jwt[0].ca: `ca` without TLS; fetch the keys from an https:// URL, or take it out",
        ),
        (
            "issuer: http://login.test, audience: [a]".to_owned(),
            "3:17: auth.jwt[0].issuer: keys over plain http from another host; use https://; http:// is for this machine only",
        ),
    ] {
        refused(&with(&text), &format!("c.yaml:{expected}"));
    }
    let local = issuer("issuer: x, audience: [a], jwks_url: \"http://[::1]:1/jwks\"");
    assert!(matches!(local.keys, KeySource::Url(_)));
    refused_in_production(
        &with("issuer: x, audience: [a], jwks_url: http://127.0.0.1:1/jwks"),
        "c.yaml:3:45: auth.jwt[0].jwks_url: keys over plain http are refused in production; use https://",
    );
    refused_in_production(
        &with("issuer: http://localhost:1, audience: [a]"),
        "c.yaml:3:17: auth.jwt[0].issuer: keys over plain http are refused in production; use https://",
    );
}

#[test]
fn claims_have_paths_and_times_have_bounds() {
    for (text, expected) in [
        (
            "claims: { user: a.b.c.d.e.f.g.h.i.j }",
            "3:69: auth.jwt[0].claims.user: a claim's path has 1 to 256 bytes, at most 8 dots and no control characters; write it as in sub or realm_access.roles",
        ),
        (
            "claims: { sub: email }",
            "3:63: auth.jwt[0].claims.sub: unknown key; it is called `user` here",
        ),
        ("leeway: 6m", "3:61: auth.jwt[0].leeway: `6m` is out of range; it can be 0s to 5m"),
        ("stale_for: 8d", "3:64: auth.jwt[0].stale_for: `8d` is out of range; it can be 0s to 7d"),
    ] {
        refused(&with(&format!("{GOOD}, {text}")), &format!("c.yaml:{expected}"));
    }
}

#[test]
fn two_issuers_must_differ_in_name_and_should_in_prefix() {
    let two = |second: &str| format!("auth:\n  jwt:\n    - {{ {GOOD} }}\n    - {{ {second} }}\n");
    refused(
        &two(GOOD),
        "c.yaml:4:7: auth.jwt[1]: this issuer is there already; merge the two: `audience` takes several names",
    );
    let other = "issuer: https://other.test, audience: [a]";
    let warned = loaded(&two(other));
    let warnings: Vec<_> = warned.warnings.iter().map(|w| w.message.as_str()).collect();
    let expected =
        "a user of this issuer and one of another are the same where they have the same name";
    assert!(warnings.contains(&expected), "{warnings:?}");
    let told_apart = loaded(&two(&format!("{other}, claims: {{ prefix: \"other:\" }}")));
    assert!(told_apart.warnings.iter().all(|warning| warning.message != expected));
}

#[test]
fn an_issuer_is_somebody_who_could_call() {
    assert_eq!(problems(&with(GOOD)), [""; 0]);
    assert_eq!(problems("auth: { jwt: [] }").len(), 1, "nobody is no issuer");
}
