//! What it costs to verify a token that is not remembered, by algorithm, and to tell a token from a
//! key.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use sluicegate_filters::identify::jwt::{
    Algorithm, ClaimMap, Issuer, JwtError, KeySet, Verifier, looks_like_token,
};

const NOW: i64 = 1_800_000_000;

/// A token as identity providers make them, and the key set that it is verified with.
struct Case {
    algorithm: Algorithm,
    jwk: Value,
    token: String,
}

impl Case {
    fn new(algorithm: Algorithm, jwk: Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        let header = json!({"alg": algorithm.name(), "typ": "JWT", "kid": "2026-01"});
        let claims = json!({
            "iss": "https://login.example.com/", "aud": ["sluicegate", "account"],
            "sub": "9f2c1a60-5f0e-4b8a-9c53-0d0f6c1f7a11", "jti": "6f1d2c3b4a596877",
            "iat": NOW, "nbf": NOW, "exp": NOW + 600, "azp": "web", "scope": "openid profile email",
            "email": "alice@example.com", "team": "research",
            "realm_access": {"roles": ["offline_access", "developer", "uma_authorization"]},
        });
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let token = format!("{message}.{}", encode(sign(message.as_bytes())));
        Self { algorithm, jwk, token }
    }

    fn keys(&self) -> Arc<KeySet> {
        let set = json!({"keys": [self.jwk]}).to_string();
        Arc::new(KeySet::parse(set.as_bytes(), &[self.algorithm]).expect("a key set"))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(algorithm: Algorithm, size: KeySize) -> Case {
    let pair = RsaKeyPair::generate(size).expect("a new key");
    let RsaPublicKeyComponents { n, e } =
        RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let jwk = json!({"kty": "RSA", "kid": "2026-01", "n": encode(n), "e": encode(e)});
    Case::new(algorithm, jwk, |message| {
        let mut signature = vec![0; pair.public_modulus_len()];
        let random = SystemRandom::new();
        let made = match algorithm {
            Algorithm::PS256 => pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature),
            _ => pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature),
        };
        made.expect("a signature");
        signature
    })
}

fn ec(algorithm: Algorithm) -> Case {
    let (signing, curve) = match algorithm {
        Algorithm::ES384 => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
        _ => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
    };
    let pair = EcdsaKeyPair::generate(signing).expect("a new key");
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "kid": "2026-01", "crv": curve, "x": encode(x), "y": encode(y)});
    Case::new(algorithm, jwk, |message| {
        pair.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
    })
}

fn ed() -> Case {
    let pair = Ed25519KeyPair::generate().expect("a new key");
    let x = encode(pair.public_key().as_ref());
    let jwk = json!({"kty": "OKP", "kid": "2026-01", "crv": "Ed25519", "x": x});
    Case::new(Algorithm::EdDSA, jwk, |message| pair.sign(message).as_ref().to_vec())
}

fn issuer(algorithm: Algorithm) -> Issuer {
    let path = |text: &str| text.parse().expect("a path");
    Issuer {
        algorithms: vec![algorithm],
        claims: ClaimMap {
            team: Some(path("team")),
            roles: Some(path("realm_access.roles")),
            expose: vec![path("scope")],
            ..ClaimMap::default()
        },
        ..Issuer::new("https://login.example.com/", "sluicegate")
    }
}

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("jwt");
    for (name, case) in [
        ("RS256, 2048 bits", rsa(Algorithm::RS256, KeySize::Rsa2048)),
        ("RS256, 4096 bits", rsa(Algorithm::RS256, KeySize::Rsa4096)),
        ("PS256, 2048 bits", rsa(Algorithm::PS256, KeySize::Rsa2048)),
        ("ES256", ec(Algorithm::ES256)),
        ("ES384", ec(Algorithm::ES384)),
        ("EdDSA", ed()),
    ] {
        let verifier = Verifier::new(vec![issuer(case.algorithm)]).expect("a usable issuer");
        let keys = case.keys();
        let token = case.token.as_bytes();
        let verified = verifier.verify(token, &|_| Some(keys.clone()), NOW * 1000);
        assert_eq!(verified.expect("valid").bearer.roles.len(), 3);
        group.bench_function(name, |b| {
            b.iter(|| verifier.verify(black_box(token), &|_| Some(keys.clone()), NOW * 1000));
        });
    }
    let case = ed();
    let verifier = Verifier::new(vec![issuer(Algorithm::EdDSA)]).expect("a usable issuer");
    let token = case.token.as_bytes();
    // All of the reading and none of the cryptography.
    assert_eq!(verifier.verify(token, &|_| None, 0), Err(JwtError::KeysUnavailable { issuer: 0 }));
    group.bench_function("read, not verified", |b| {
        b.iter(|| verifier.verify(black_box(token), &|_| None, 0));
    });
    group.bench_function("told from a key", |b| {
        b.iter(|| looks_like_token(black_box(token)));
    });
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
