//! Tokens that pass, and the one thing that keeps others from passing.

use proptest::prelude::*;
use serde_json::json;

use super::testing::*;
use super::*;

#[test]
fn a_token_of_each_algorithm_passes() {
    let cases = [
        (&RSA, Algorithm::RS256),
        (&RSA, Algorithm::RS384),
        (&RSA, Algorithm::RS512),
        (&RSA, Algorithm::PS256),
        (&RSA, Algorithm::PS384),
        (&RSA, Algorithm::PS512),
        (&P256, Algorithm::ES256),
        (&P384, Algorithm::ES384),
        (&ED, Algorithm::EdDSA),
    ];
    assert_eq!(cases.map(|(_, algorithm)| algorithm), Algorithm::NAMES.map(|(_, known)| known));
    for (signer, algorithm) in cases {
        let header = changed(signer.header(), &json!({"alg": algorithm.name()}));
        let unsigned = signer.token(&header, &claims());
        let (message, _) = unsigned.rsplit_once('.').expect("three parts");
        let signature = signer.sign(algorithm, message.as_bytes());
        let token = format!("{message}.{}", encode(&signature));
        assert!(looks_like_token(token.as_bytes()));
        let verified = verify(&token).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(verified.subject.as_deref(), Some("alice"));
        assert_eq!(verified.bearer.user.as_deref(), Some("alice"));
        assert_eq!((verified.issuer, verified.until_ms), (0, (NOW + 630) * 1000));
        // The same signature under every other name of the key's type.
        for (name, other) in Algorithm::NAMES.into_iter().filter(|(_, other)| *other != algorithm) {
            let header = changed(signer.header(), &json!({"alg": name}));
            let renamed = format!("{}.{}", encode(header.to_string().as_bytes()), rest_of(&token));
            let refused = verify(&renamed).expect_err("another algorithm");
            let same_type = signer.kid == "rsa" && other.is_rsa();
            let expected = match same_type {
                true => JwtError::Signature { issuer: 0, named: true },
                false => JwtError::KeyAlgorithm,
            };
            assert_eq!(refused, expected, "{algorithm} as {name}");
        }
    }
}

#[test]
fn the_newer_name_of_ed25519_is_understood() {
    assert!(verify(&ED.with_header(&json!({"alg": "Ed25519"}))).is_ok());
    let keys = key_set(&[changed(ED.jwk(), &json!({"alg": "Ed25519"}))]);
    let token = ED.with_claims(&json!({}));
    assert!(verify_with(issuer(), &keys, token.as_bytes()).is_ok());
}

#[test]
fn a_tokens_type_may_be_absent_or_any_spelling_of_the_registered_ones() {
    for kind in
        [json!(null), json!("jwt"), json!("JWT"), json!("at+JWT"), json!("application/at+jwt")]
    {
        assert!(verify(&P256.with_header(&json!({"typ": kind}))).is_ok(), "{kind}");
    }
}

#[test]
fn one_of_several_audiences_is_enough() {
    let two = Issuer { audience: vec!["a".to_owned(), "b".to_owned()], ..issuer() };
    for (aud, passes) in [
        (json!("a"), true),
        (json!("b"), true),
        (json!(["x", "b"]), true),
        (json!(["x"]), false),
        (json!("a b"), false),
    ] {
        let token = P256.with_claims(&json!({"aud": aud}));
        let result = verify_with(two.clone(), &all_keys(), token.as_bytes());
        assert_eq!(result.is_ok(), passes, "{aud}");
    }
}

#[test]
fn required_claims_must_be_there_and_say_something() {
    let strict = Issuer {
        required: ["jti", "realm.id"].map(|path| path.parse().expect("a path")).to_vec(),
        ..issuer()
    };
    for (change, missing) in [
        (json!({"jti": "1", "realm": {"id": 0}}), None),
        (json!({"jti": "1", "realm.id": false}), None),
        (json!({"realm": {"id": "x"}}), Some("jti")),
        (json!({"jti": "", "realm": {"id": "x"}}), Some("jti")),
        (json!({"jti": "1", "realm": {"id": null}}), Some("realm.id")),
        (json!({"jti": "1", "realm": "id"}), Some("realm.id")),
    ] {
        let token = P256.with_claims(&change);
        let result = verify_with(strict.clone(), &all_keys(), token.as_bytes());
        let expected = missing.map(|name| JwtError::MissingClaim(name.to_owned()));
        assert_eq!(result.err(), expected, "{change}");
    }
}

#[test]
fn each_issuers_tokens_are_verified_with_its_own_keys_only() {
    let other = Issuer::new("https://other.test", "other");
    let verifier = Verifier::new(vec![issuer(), other]).expect("usable issuers");
    let keys = [key_set(&[P256.jwk()]), key_set(&[ED.jwk()])];
    let verify = |token: &str| {
        verifier.verify(token.as_bytes(), &|index| Some(keys[index].clone()), NOW * 1000)
    };
    let ours = P256.with_claims(&json!({}));
    assert_eq!(verify(&ours).expect("valid").issuer, 0);
    let theirs = json!({"iss": "https://other.test", "aud": "other"});
    assert_eq!(verify(&ED.with_claims(&theirs)).expect("valid").issuer, 1);
    let kid = Some("p256".to_owned());
    let crossed = P256.with_claims(&theirs);
    assert_eq!(verify(&crossed), Err(JwtError::UnknownKey { issuer: 1, kid }));
    // The audience of one issuer is nothing to another.
    let aud = json!({"aud": "other"});
    assert_eq!(verify(&P256.with_claims(&aud)), Err(JwtError::Audience));
}

#[test]
fn without_its_issuers_keys_a_token_is_neither_valid_nor_at_fault() {
    let verifier = Verifier::new(vec![issuer()]).expect("a usable issuer");
    let token = P256.with_claims(&json!({}));
    let refused = verifier.verify(token.as_bytes(), &|_| None, NOW * 1000);
    assert_eq!(refused, Err(JwtError::KeysUnavailable { issuer: 0 }));
}

#[test]
fn keys_of_one_name_and_unnamed_tokens_are_tried_within_bounds() {
    let signers: Vec<_> = (0..5).map(|_| Signer::new("same", Algorithm::ES256)).collect();
    let jwks: Vec<_> = signers.iter().map(Signer::jwk).collect();
    let four = key_set(&jwks[..4]);
    for (index, signer) in signers.iter().enumerate() {
        for header in [json!({}), json!({"kid": null})] {
            let token = signer.with_header(&header);
            let result = verify_with(issuer(), &four, token.as_bytes());
            let named = header.get("kid").is_none();
            match index {
                4 => assert_eq!(result, Err(JwtError::Signature { issuer: 0, named })),
                _ => assert!(result.is_ok(), "{index} {header}"),
            }
        }
    }
    let named = |kid: &str, jwk: &Value| changed(jwk.clone(), &json!({"kid": kid}));
    let five: Vec<_> =
        jwks.iter().zip(["a", "b", "c", "d", "e"]).map(|(jwk, kid)| named(kid, jwk)).collect();
    let token = signers[0].with_header(&json!({"kid": null}));
    let refused = verify_with(issuer(), &key_set(&five), token.as_bytes());
    assert_eq!(refused, Err(JwtError::UnnamedKey));
}

#[test]
fn settings_that_would_trust_too_much_are_refused() {
    let none = |change: fn(&mut Issuer)| {
        let mut changed = issuer();
        change(&mut changed);
        Verifier::new(vec![changed]).expect_err("refused")
    };
    let name = || ISSUER.to_owned();
    assert_eq!(none(|issuer| issuer.issuer.clear()), IssuerError::Unnamed);
    assert_eq!(none(|issuer| issuer.audience.clear()), IssuerError::NoAudience(name()));
    assert_eq!(none(|issuer| issuer.audience[0].clear()), IssuerError::NoAudience(name()));
    assert_eq!(none(|issuer| issuer.algorithms.clear()), IssuerError::NoAlgorithms(name()));
    let leeway = none(|issuer| issuer.leeway = MAX_LEEWAY + Duration::from_millis(1));
    assert_eq!(leeway, IssuerError::Leeway(name()));
    let twice = Verifier::new(vec![issuer(), issuer()]).expect_err("refused");
    assert_eq!(twice, IssuerError::Repeated(name()));
}

#[test]
fn debugging_a_verified_token_names_nobody() {
    let verified = verify(&P256.with_claims(&json!({}))).expect("valid");
    assert!(!format!("{verified:?}").contains("alice"));
}

#[test]
fn every_bit_of_a_token_counts() {
    for signer in [&RSA, &P256, &P384, &ED] {
        let token = signer.with_claims(&json!({}));
        assert!(verify(&token).is_ok());
        for index in 0..token.len() {
            for bit in 0..8 {
                let mut flipped = token.clone().into_bytes();
                flipped[index] ^= 1 << bit;
                let result = verify_with(issuer(), &all_keys(), &flipped);
                assert!(result.is_err(), "{} byte {index} bit {bit}", signer.kid);
            }
        }
        for length in 0..token.len() {
            assert!(verify(&token[..length]).is_err(), "{} cut at {length}", signer.kid);
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Payload and signature.
fn rest_of(token: &str) -> &str {
    token.split_once('.').expect("three parts").1
}

proptest! {
    #[test]
    fn what_an_issuer_signs_comes_through(
        user in "[a-zA-Z0-9|@.é-]{1,40}",
        roles in proptest::collection::hash_set("[a-z:/-]{1,12}", 0..8),
        lifetime in 1_i64..100_000,
    ) {
        let roles: Vec<_> = roles.into_iter().collect();
        let exp = NOW + lifetime;
        let token = ED.with_claims(&json!({"sub": user, "groups": roles, "exp": exp}));
        let map = ClaimMap { roles: "groups".parse().ok(), ..ClaimMap::default() };
        let mapped = Issuer { claims: map, ..issuer() };
        let verified = verify_with(mapped, &all_keys(), token.as_bytes()).expect("valid");
        prop_assert_eq!(verified.bearer.user, Some(user));
        prop_assert_eq!(verified.bearer.roles, roles);
        prop_assert_eq!(verified.until_ms, (exp + 30) * 1000);
    }

    #[test]
    fn no_mutation_of_a_token_passes(
        at in 0_usize..400,
        remove in 0_usize..8,
        insert in "[A-Za-z0-9_.=-]{0,8}",
    ) {
        static TOKEN: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| P256.with_claims(&json!({})));
        let at = at.min(TOKEN.len());
        let end = (at + remove).min(TOKEN.len());
        let mutated = format!("{}{insert}{}", &TOKEN[..at], &TOKEN[end..]);
        prop_assume!(mutated != *TOKEN);
        prop_assert!(verify(&mutated).is_err());
    }

    #[test]
    fn no_parts_of_two_tokens_make_a_third(first in 0_usize..2, second in 0_usize..2, third in 0_usize..2) {
        static TOKENS: std::sync::LazyLock<[String; 2]> = std::sync::LazyLock::new(|| {
            [P256.with_claims(&json!({})), ED.with_claims(&json!({"sub": "bob"}))]
        });
        prop_assume!(first != second || second != third);
        let part = |token: usize, part: usize| TOKENS[token].split('.').nth(part).expect("three parts");
        let mixed = format!("{}.{}.{}", part(first, 0), part(second, 1), part(third, 2));
        prop_assert!(verify(&mixed).is_err());
    }
}
