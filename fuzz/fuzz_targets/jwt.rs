//! Whatever an issuer signs is accepted only if a full JSON parser sees in it what we see, and
//! nothing that it did not sign is accepted.
//!
//! Input: one byte that picks what it is, then either the bytes of a header and of a payload, each
//! with its length before it, which are signed; or a whole token; or a key set.

#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Signing, EncodingKey, crypto, jwk::Jwk};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use sluicegate_filters::identify::jwt::{
    Algorithm, ClaimMap, Issuer, KeySet, Verifier, looks_like_token,
};

const ISSUER: &str = "i";
const AUDIENCE: &str = "a";
const NOW: i64 = 1_000_000;

/// An Ed25519 key of 32 fixed bytes in PKCS #8 (RFC 8410 section 7), so that inputs can be
/// repeated.
static KEY: LazyLock<EncodingKey> = LazyLock::new(|| {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend_from_slice(&[7; 32]);
    EncodingKey::from_ed_der(&der)
});

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let claims = ClaimMap {
        team: "t".parse().ok(),
        roles: "r.s".parse().ok(),
        expose: vec!["x.y".parse().expect("a path")],
        ..ClaimMap::default()
    };
    let issuer = Issuer { claims, ..Issuer::new(ISSUER, AUDIENCE) };
    Verifier::new(vec![issuer]).expect("a usable issuer")
});

static KEYS: LazyLock<Arc<KeySet>> = LazyLock::new(|| {
    let jwk = Jwk::from_encoding_key(&KEY, Signing::EdDSA).expect("a usable key");
    let set = json!({"keys": [jwk]}).to_string();
    Arc::new(KeySet::parse(set.as_bytes(), &[Algorithm::EdDSA]).expect("a key set"))
});

fuzz_target!(|input: &[u8]| {
    let Some((&pick, rest)) = input.split_first() else { return };
    match pick % 3 {
        0 => signed(rest),
        1 => {
            looks_like_token(rest);
            // No input is ever a token that was signed: those of the other kind are signed here.
            let verified = VERIFIER.verify(rest, &|_| Some(KEYS.clone()), NOW * 1000);
            assert!(verified.is_err(), "a forged token");
        }
        _ => {
            let all = Algorithm::NAMES.map(|(_, algorithm)| algorithm);
            if let Ok(set) = KeySet::parse(rest, &all) {
                let whole: Value = serde_json::from_slice(rest).expect("a key set is JSON");
                let listed = whole["keys"].as_array().map_or(0, Vec::len);
                assert_eq!(set.len() + set.skipped().len(), listed);
            }
        }
    }
});

fn signed(input: &[u8]) {
    let Some((&length, rest)) = input.split_first() else { return };
    let (header, payload) = rest.split_at(usize::from(length).min(rest.len()));
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = crypto::sign(message.as_bytes(), &KEY, Signing::EdDSA).expect("a signature");
    let token = format!("{message}.{signature}");
    let Ok(verified) = VERIFIER.verify(token.as_bytes(), &|_| Some(KEYS.clone()), NOW * 1000)
    else {
        return;
    };
    let header: Value = serde_json::from_slice(header).expect("an accepted header is JSON");
    let claims: Value = serde_json::from_slice(payload).expect("accepted claims are JSON");
    assert!(header["alg"] == "EdDSA" || header["alg"] == "Ed25519");
    assert!(header.get("crit").is_none() && header.get("b64").is_none());
    assert_eq!(claims["iss"], ISSUER);
    let aud = &claims["aud"];
    assert!(aud == AUDIENCE || aud.as_array().is_some_and(|list| list.contains(&json!(AUDIENCE))));
    let expiry = claims["exp"].as_f64().expect("a time");
    assert!(expiry + 30.0 > NOW as f64);
    assert!((verified.until_ms as f64 - (expiry + 30.0) * 1000.0).abs() <= 1.0);
    for name in ["nbf", "iat"] {
        assert!(claims[name].as_f64().unwrap_or(0.0) <= NOW as f64 + 30.0);
    }
    let user = verified.bearer.user.expect("a user");
    assert_eq!(claims["sub"].as_str(), Some(user.as_str()));
    assert!(!user.is_empty() && user.len() <= 256 && !user.chars().any(char::is_control));
    for name in verified.bearer.roles.iter().chain(&verified.bearer.team) {
        assert!(!name.is_empty() && name.len() <= 256 && !name.chars().any(char::is_control));
    }
}
