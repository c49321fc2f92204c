//! What it costs to know who calls, once the credential is known: from the head to the caller.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use sluicegate::clock::now_ms;
use sluicegate::config::valid::{JwtIssuer, KeySource};
use sluicegate::identity::issuers::Issuers;
use sluicegate::identity::jwks::{KeySets, Timing};
use sluicegate::identity::{Identity, Options};
use sluicegate::stores::Store;
use sluicegate::stores::records::{Key, KeyHash, Limits};
use sluicegate::stores::sqlite::SqliteStore;
use sluicegate_filters::identify::jwt::{Issuer, Verifier};
use sluicegate_filters::identify::virtual_key::KeyHasher;
use sluicegate_filters::identify::{Accepts, Identify, Presented};
use tokio::sync::watch;

const ISSUER: &str = "https://login.example.com/";

struct Fixture {
    identify: Identify,
    identity: Arc<Identity>,
    issuers: Arc<Issuers>,
    key: HeaderMap,
    token: HeaderMap,
}

impl Fixture {
    async fn new(directory: &std::path::Path) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let io = tokio::runtime::Handle::current();
        let store = Arc::new(SqliteStore::in_memory().await.expect("a store"));
        let options = Options {
            hasher: KeyHasher::new(b"a pepper of thirty-two bytes ...", None),
            capacity: 100_000,
            stale_for: Duration::from_secs(3600),
            issuers: watch::Sender::new(0).subscribe(),
        };
        let identity = Identity::new(Some(store.clone()), options, io.clone());
        let issued = identity.hasher().issue(&[7; 32]);
        store.create_key(&key(KeyHash(issued.hash))).await.expect("a key");
        let (token, jwks) = token(directory);
        let settings = JwtIssuer {
            rules: Issuer::new(ISSUER, "sluicegate"),
            keys: KeySource::File(jwks),
            ca: None,
            stale_for: Duration::from_secs(3600),
        };
        let verifier = Verifier::new(vec![settings.rules.clone()]).expect("usable settings");
        let keys = KeySets::new(io, Timing::default()).select(&[settings]).expect("usable keys");
        keys.first_fetch().await;
        let accepts = Accepts { keys: true, tokens: true };
        Self {
            identify: Identify::new(false, Some("sk-master"), accepts).expect("usable settings"),
            identity,
            issuers: Arc::new(Issuers::new(verifier, keys, 1)),
            key: bearer(&issued.text),
            token: bearer(&token),
        }
    }

    async fn caller(&self, headers: &HeaderMap) {
        match self.identify.identify(headers).expect("a credential") {
            Presented::Caller(caller) => drop(black_box(caller)),
            Presented::Credential(credential) => {
                let issuers = Some(&self.issuers);
                let caller = self.identity.caller(&credential, issuers, None).await;
                drop(black_box(caller.expect("a known credential")));
            }
        }
    }
}

fn bearer(credential: &str) -> HeaderMap {
    let value = format!("Bearer {credential}").parse().expect("a header value");
    HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
}

fn key(hash: KeyHash) -> Key {
    Key {
        id: uuid::Uuid::now_v7(),
        hash,
        previous: None,
        hint: "sk-...0000".to_owned(),
        alias: None,
        user: None,
        team: None,
        organization: None,
        models: vec!["gpt-*".to_owned()],
        routes: Vec::new(),
        expires_at: None,
        blocked: false,
        tags: Vec::new(),
        metadata: serde_json::Map::new(),
        limits: Limits::default(),
        created_at: now_ms(),
        updated_at: now_ms(),
        created_by: "bench".to_owned(),
        version: 1,
    }
}

/// A token as providers of identities make them, about 700 bytes, and the file with its key.
fn token(directory: &std::path::Path) -> (String, std::path::PathBuf) {
    let pair = rcgen::KeyPair::generate().expect("a pair of keys");
    let private = EncodingKey::from_ec_der(&pair.serialize_der());
    let jwk = Jwk::from_encoding_key(&private, Algorithm::ES256).expect("a public key");
    let path = directory.join("jwks.json");
    std::fs::write(&path, json!({"keys": [jwk]}).to_string()).expect("a file");
    let claims = json!({
        "iss": ISSUER, "aud": "sluicegate", "sub": "0197f0a4-1111-7222-8333-444455556666",
        "iat": now_ms() / 1000, "exp": now_ms() / 1000 + 3600,
        "email": "ann@example.com", "name": "Ann Example", "team": "red",
        "roles": ["developer", "team_admin"], "scope": "openid profile email",
        "padding": "x".repeat(300),
    });
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &private);
    (token.expect("a token"), path)
}

fn identity(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let fixture = runtime.block_on(Fixture::new(directory.path()));
    let mut group = criterion.benchmark_group("identity");
    for (name, headers) in [("known_key", &fixture.key), ("known_token", &fixture.token)] {
        runtime.block_on(fixture.caller(headers));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..times {
                        fixture.caller(black_box(headers)).await;
                    }
                    begun.elapsed()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, identity);
criterion_main!(benches);
