//! An issuer for tests: its keys, its key set, its tokens. Keys are made anew in each process.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{Algorithm, Issuer, JwtError, KeySet, Verified, Verifier};

pub(super) const ISSUER: &str = "https://login.test/";
pub(super) const AUDIENCE: &str = "sluicegate";
/// The time at which the tests verify, in seconds.
pub(super) const NOW: i64 = 1_800_000_000;

/// One key pair of each type.
pub(super) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new("rsa", Algorithm::RS256));
pub(super) static P256: LazyLock<Signer> = LazyLock::new(|| Signer::new("p256", Algorithm::ES256));
pub(super) static P384: LazyLock<Signer> = LazyLock::new(|| Signer::new("p384", Algorithm::ES384));
pub(super) static ED: LazyLock<Signer> = LazyLock::new(|| Signer::new("ed", Algorithm::EdDSA));

pub(super) struct Signer {
    pub(super) kid: &'static str,
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>, &'static str),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
                Pair::Ec(Box::new(pair.expect("a new key")), "P-256")
            }
            Algorithm::ES384 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
                Pair::Ec(Box::new(pair.expect("a new key")), "P-384")
            }
            Algorithm::EdDSA => Pair::Ed(Ed25519KeyPair::generate().expect("a new key")),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a new key"))),
        };
        Self { kid, algorithm, pair }
    }

    /// The public half, without `alg`.
    pub(super) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "kid": self.kid, "n": encode(&n), "e": encode(&e)})
            }
            Pair::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let (x, y) = (encode(x), encode(y));
                json!({"kty": "EC", "kid": self.kid, "crv": curve, "x": x, "y": y})
            }
            Pair::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "kid": self.kid, "crv": "Ed25519", "x": x})
            }
        }
    }

    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_SHA384,
                    Algorithm::PS512 => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut made).expect("a signature");
                made
            }
            Pair::Ec(pair, _) => {
                pair.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of exactly these bytes, truly signed.
    pub(super) fn token_of(&self, header: &[u8], payload: &[u8]) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signed = self.sign(self.algorithm, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed))
    }

    /// A token with this header and payload.
    pub(super) fn token(&self, header: &Value, payload: &Value) -> String {
        self.token_of(header.to_string().as_bytes(), payload.to_string().as_bytes())
    }

    /// The header that its tokens usually have.
    pub(super) fn header(&self) -> Value {
        json!({"alg": self.algorithm.name(), "typ": "JWT", "kid": self.kid})
    }

    /// A token that is valid but for `changes` to its claims; a null takes a claim out.
    pub(super) fn with_claims(&self, changes: &Value) -> String {
        self.token(&self.header(), &changed(claims(), changes))
    }

    /// A token that is valid but for `changes` to its header.
    pub(super) fn with_header(&self, changes: &Value) -> String {
        self.token(&changed(self.header(), changes), &claims())
    }
}

/// Claims that pass.
pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice",
        "iat": NOW, "nbf": NOW, "exp": NOW + 600,
    })
}

/// `base` with the members of `changes`; a null takes one out.
pub(super) fn changed(mut base: Value, changes: &Value) -> Value {
    let members: &mut Map<String, Value> = base.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    base
}

/// A key set of these keys.
pub(super) fn key_set(keys: &[Value]) -> Arc<KeySet> {
    let json = json!({ "keys": keys }).to_string();
    let all = Algorithm::NAMES.map(|(_, algorithm)| algorithm);
    Arc::new(KeySet::parse(json.as_bytes(), &all).expect("a usable key set"))
}

/// All keys of the issuer of these tests.
pub(super) fn all_keys() -> Arc<KeySet> {
    static ALL: LazyLock<Arc<KeySet>> =
        LazyLock::new(|| key_set(&[RSA.jwk(), P256.jwk(), P384.jwk(), ED.jwk()]));
    ALL.clone()
}

/// The issuer of these tests, with every algorithm.
pub(super) fn issuer() -> Issuer {
    let algorithms = Algorithm::NAMES.map(|(_, algorithm)| algorithm).to_vec();
    Issuer { algorithms, ..Issuer::new(ISSUER, AUDIENCE) }
}

/// Verifies at [`NOW`] with one issuer that has `keys`.
pub(super) fn verify_with(
    issuer: Issuer,
    keys: &Arc<KeySet>,
    token: &[u8],
) -> Result<Verified, JwtError> {
    let verifier = Verifier::new(vec![issuer]).expect("a usable issuer");
    verifier.verify(token, &|index| (index == 0).then(|| keys.clone()), NOW * 1000)
}

/// Verifies at [`NOW`] with the issuer of these tests.
pub(super) fn verify(token: &str) -> Result<Verified, JwtError> {
    verify_with(issuer(), &all_keys(), token.as_bytes())
}
