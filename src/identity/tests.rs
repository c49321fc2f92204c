use std::sync::atomic::Ordering;

use http::HeaderMap;
use sluicegate_filters::identify::{Accepts, Identify, Presented};
use sluicegate_filters::{CallerKind, DenialKind};
use uuid::Uuid;

use super::*;
use crate::stores::records::{Key, Limits, Member, MemberRole, PreviousHash, Team, User, UserRole};
use crate::stores::sqlite::SqliteStore;

const PEPPER: &[u8] = b"a pepper for tests, of 32 bytes+";

struct Fixture {
    store: Arc<SqliteStore>,
    identity: Arc<Identity>,
    filter: Identify,
}

impl Fixture {
    async fn new() -> Self {
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let options = Options {
            hasher: KeyHasher::new(PEPPER, None),
            capacity: 1000,
            stale_for: Duration::from_secs(3600),
            issuers: watch::Sender::new(0).subscribe(),
        };
        let identity = Identity::new(Some(store.clone()), options, Handle::current());
        let filter = Identify::new(false, None, Accepts { keys: true, tokens: false }).unwrap();
        Self { store, identity, filter }
    }

    /// A stored key; `number` makes it.
    async fn key(&self, number: u8, change: impl FnOnce(&mut Key)) -> (Key, String) {
        let issued = self.identity.hasher().issue(&[number; 32]);
        let mut key = key(KeyHash(issued.hash));
        change(&mut key);
        self.store.create_key(&key).await.unwrap();
        (key, issued.text)
    }

    async fn caller(&self, text: &str) -> Result<Arc<Caller>, DenialKind> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", text.parse().unwrap());
        match self.filter.identify(&headers) {
            Ok(Presented::Caller(caller)) => Ok(caller),
            Ok(Presented::Credential(credential)) => {
                let peer = "192.0.2.1".parse().ok();
                self.identity.caller(&credential, None, peer).await.map_err(|denial| denial.kind())
            }
            Err(denial) => Err(denial.kind()),
        }
    }

    /// Asks until the answer is the expected one; the feed of changes needs its moment.
    async fn until(&self, text: &str, expected: Result<(), DenialKind>) {
        let asking = async {
            while self.caller(text).await.map(drop) != expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect("the expected answer");
    }

    fn lookups(&self) -> u64 {
        let counts = self.identity.counts();
        [&counts.found, &counts.unknown, &counts.unavailable]
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

fn key(hash: KeyHash) -> Key {
    Key {
        id: Uuid::now_v7(),
        hash,
        previous: None,
        hint: "sk-...0000".to_owned(),
        alias: None,
        user: None,
        team: None,
        organization: None,
        models: Vec::new(),
        routes: Vec::new(),
        expires_at: None,
        blocked: false,
        tags: Vec::new(),
        metadata: serde_json::Map::new(),
        limits: Limits::default(),
        created_at: now_ms(),
        updated_at: now_ms(),
        created_by: "test".to_owned(),
        version: 1,
    }
}

fn team(id: &str) -> Team {
    Team {
        id: id.to_owned(),
        alias: None,
        organization: None,
        members: Vec::new(),
        models: Vec::new(),
        blocked: false,
        tags: vec!["prod".to_owned()],
        metadata: serde_json::Map::new(),
        limits: Limits::default(),
        created_at: now_ms(),
        updated_at: now_ms(),
        version: 1,
    }
}

fn user(id: &str) -> User {
    User {
        id: id.to_owned(),
        email: None,
        alias: None,
        role: UserRole::InternalUser,
        organization: None,
        models: Vec::new(),
        blocked: false,
        tags: Vec::new(),
        metadata: serde_json::Map::new(),
        limits: Limits::default(),
        created_at: now_ms(),
        updated_at: now_ms(),
        version: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_looked_up_once_however_many_requests_carry_it() {
    let fixture = Arc::new(Fixture::new().await);
    let (_, text) = fixture.key(1, |_| {}).await;
    // The feed's first word marks everything; a look-up before it is repeated after it.
    fixture.until(&text, Ok(())).await;
    let before = fixture.lookups();
    let (_, second) = fixture.key(2, |_| {}).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (fixture, second) = (fixture.clone(), second.clone());
        callers.spawn(async move { fixture.caller(&second).await.map(|caller| caller.kind()) });
    }
    for caller in callers.join_all().await {
        assert_eq!(caller, Ok(CallerKind::Key));
    }
    // One, and one more for each change that came while it was read.
    assert!(fixture.lookups() - before <= 3, "{} look-ups", fixture.lookups() - before);
    for _ in 0..100 {
        fixture.caller(&second).await.unwrap();
    }
    assert!(fixture.lookups() - before <= 3);
}

#[tokio::test]
async fn the_caller_is_the_key_with_all_that_is_stored_of_its_owner() {
    let fixture = Fixture::new().await;
    let mut red = team("red");
    red.models = vec!["gpt-*".to_owned()];
    red.members = vec![Member { user: "ann".to_owned(), role: MemberRole::Admin }];
    fixture.store.create_team(&red).await.unwrap();
    fixture.store.create_user(&user("ann")).await.unwrap();
    let (stored, text) = fixture
        .key(1, |key| {
            key.alias = Some("ci".to_owned());
            key.team = Some("red".to_owned());
            key.user = Some("ann".to_owned());
            key.tags = vec!["nightly".to_owned(), "prod".to_owned()];
            key.models = vec!["gpt-4o".to_owned(), "o3".to_owned()];
        })
        .await;
    let caller = fixture.caller(&text).await.unwrap();
    let identity = caller.key().expect("a key");
    assert_eq!((identity.id, identity.alias.as_deref()), (stored.id, Some("ci")));
    assert_eq!((caller.user(), caller.team()), (Some("ann"), Some("red")));
    assert_eq!(caller.roles(), ["internal_user", "team_admin"]);
    assert_eq!(caller.tags(), ["nightly", "prod"]);
    assert!(caller.models().allows("gpt-4o"));
    assert!(!caller.models().allows("o3"), "the team leaves it out");
    assert!(!caller.models().allows("gpt-4"), "the key leaves it out");
}

#[tokio::test]
async fn a_change_of_any_record_behind_a_key_is_seen() {
    let fixture = Fixture::new().await;
    fixture.store.create_team(&team("red")).await.unwrap();
    fixture.store.create_user(&user("ann")).await.unwrap();
    let (stored, text) = fixture
        .key(1, |key| {
            key.team = Some("red".to_owned());
            key.user = Some("ann".to_owned());
        })
        .await;
    fixture.until(&text, Ok(())).await;
    let blocked = Err(DenialKind::ApiKeyBlocked);

    let version = fixture.store.update_key(&Key { blocked: true, ..stored.clone() }).await.unwrap();
    fixture.until(&text, blocked).await;
    let version = fixture.store.update_key(&Key { version, ..stored.clone() }).await.unwrap();
    fixture.until(&text, Ok(())).await;

    fixture.store.update_team(&Team { blocked: true, ..team("red") }).await.unwrap();
    fixture.until(&text, blocked).await;
    fixture.store.update_team(&Team { version: 2, ..team("red") }).await.unwrap();
    fixture.until(&text, Ok(())).await;

    fixture.store.update_user(&User { blocked: true, ..user("ann") }).await.unwrap();
    fixture.until(&text, blocked).await;
    fixture.store.update_user(&User { version: 2, ..user("ann") }).await.unwrap();
    fixture.until(&text, Ok(())).await;

    // A rotation: the new key is good, the old one for its grace alone.
    let new = fixture.identity.hasher().issue(&[9; 32]);
    let previous = PreviousHash { hash: stored.hash, until: now_ms() + 3_600_000 };
    let rotated =
        Key { hash: KeyHash(new.hash), previous: Some(previous), version, ..stored.clone() };
    let version = fixture.store.update_key(&rotated).await.unwrap();
    fixture.until(&new.text, Ok(())).await;
    fixture.until(&text, Ok(())).await;
    let over = Key { previous: Some(PreviousHash { until: 1, ..previous }), version, ..rotated };
    fixture.store.update_key(&over).await.unwrap();
    fixture.until(&text, Err(DenialKind::ApiKeyExpired)).await;

    fixture.store.delete_key(stored.id).await.unwrap();
    fixture.until(&new.text, Err(DenialKind::InvalidApiKey)).await;
}

#[tokio::test]
async fn a_key_that_is_made_after_it_was_asked_for_is_found() {
    let fixture = Fixture::new().await;
    let text = fixture.identity.hasher().issue(&[5; 32]).text;
    assert_eq!(fixture.caller(&text).await.map(drop), Err(DenialKind::InvalidApiKey));
    fixture.key(5, |_| {}).await;
    fixture.until(&text, Ok(())).await;
}

#[tokio::test]
async fn an_expired_key_is_refused_when_its_time_comes() {
    let fixture = Fixture::new().await;
    let (_, text) = fixture.key(1, |key| key.expires_at = Some(now_ms() + 200)).await;
    fixture.until(&text, Err(DenialKind::ApiKeyExpired)).await;
}

#[tokio::test]
async fn made_up_keys_of_one_address_are_soon_not_looked_up() {
    let fixture = Fixture::new().await;
    let (_, known) = fixture.key(1, |_| {}).await;
    fixture.until(&known, Ok(())).await;
    let made_up = async {
        for number in 0u64.. {
            match fixture.caller(&format!("sk-made-up-{number}")).await {
                Err(DenialKind::InvalidApiKey) => {}
                other => return other.map(drop),
            }
        }
        unreachable!("numbers do not end")
    };
    let refused = tokio::time::timeout(Duration::from_secs(30), made_up).await.unwrap();
    assert_eq!(refused, Err(DenialKind::TooManyFailedCredentials));
    let before = fixture.lookups();
    let mut refused = 0;
    for number in 0..100 {
        let answer = fixture.caller(&format!("sk-another-{number}")).await.map(drop);
        refused += u64::from(answer == Err(DenialKind::TooManyFailedCredentials));
    }
    assert!(refused > 0);
    assert_eq!(fixture.lookups() - before, 100 - refused, "the store is not asked");
    fixture.caller(&known).await.expect("what is known passes");
}
