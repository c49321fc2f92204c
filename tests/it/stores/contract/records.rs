use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, hash_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value};
use sluicegate::stores::records::{
    Key, KeyHash, Limits, Member, MemberRole, Organization, PreviousHash, Team, User, UserRole,
};
use sluicegate::stores::{Store, StoreError};
use uuid::Uuid;

use super::samples::{hash, key, member, organization, team, user};

pub async fn a_record_is_created_read_updated_and_deleted(store: Arc<dyn Store>) {
    let mut acme = organization("acme");
    store.create_organization(&acme).await.unwrap();
    assert_eq!(store.organization("acme").await.unwrap().as_ref(), Some(&acme));
    acme.blocked = true;
    acme.alias = Some("Acme".to_owned());
    acme.version = store.update_organization(&acme).await.unwrap();
    assert_eq!(acme.version, 2);
    assert_eq!(store.organization("acme").await.unwrap().as_ref(), Some(&acme));

    let mut anna = user("anna");
    store.create_user(&anna).await.unwrap();
    assert_eq!(store.user("anna").await.unwrap().as_ref(), Some(&anna));
    anna.role = UserRole::ProxyAdmin;
    anna.organization = Some("acme".to_owned());
    anna.version = store.update_user(&anna).await.unwrap();
    assert_eq!(store.user("anna").await.unwrap().as_ref(), Some(&anna));

    let mut red = team("red");
    red.members = vec![member("zoe", MemberRole::User), member("anna", MemberRole::Admin)];
    store.create_team(&red).await.unwrap();
    assert_eq!(store.team("red").await.unwrap().as_ref(), Some(&red));
    red.members = vec![member("anna", MemberRole::User), member("ben", MemberRole::User)];
    red.organization = Some("acme".to_owned());
    red.version = store.update_team(&red).await.unwrap();
    assert_eq!(store.team("red").await.unwrap().as_ref(), Some(&red));

    let mut first = key(1);
    store.create_key(&first).await.unwrap();
    assert_eq!(store.key(first.id).await.unwrap().as_ref(), Some(&first));
    first.previous = Some(PreviousHash { hash: first.hash, until: 1_800_000_000_000 });
    first.hash = hash(2);
    first.user = Some("anna".to_owned());
    first.team = Some("red".to_owned());
    first.organization = Some("acme".to_owned());
    first.version = store.update_key(&first).await.unwrap();
    assert_eq!(store.key(first.id).await.unwrap().as_ref(), Some(&first));

    store.delete_key(first.id).await.unwrap();
    store.delete_team("red").await.unwrap();
    store.delete_user("anna").await.unwrap();
    store.delete_organization("acme").await.unwrap();
    assert_eq!(store.key(first.id).await.unwrap(), None);
    assert_eq!(store.team("red").await.unwrap(), None);
    assert_eq!(store.user("anna").await.unwrap(), None);
    assert_eq!(store.organization("acme").await.unwrap(), None);
}

/// Whatever a caller puts in, quotes and all, it is a value and never a part of a statement.
pub async fn hostile_text_is_stored_as_it_is(store: Arc<dyn Store>) {
    for text in HOSTILE {
        let mut wanted = organization(text);
        wanted.alias = Some(text.to_owned());
        wanted.tags = vec![text.to_owned()];
        wanted.metadata.insert(text.to_owned(), Value::String(text.to_owned()));
        wanted.limits.model_rpm.insert(text.to_owned(), 1);
        store.create_organization(&wanted).await.unwrap();
        assert_eq!(store.organization(text).await.unwrap(), Some(wanted), "{text:?}");
        let mut owned = team(text);
        owned.organization = Some(text.to_owned());
        owned.members = vec![member(text, MemberRole::Admin)];
        store.create_team(&owned).await.unwrap();
        assert_eq!(store.team(text).await.unwrap().as_ref(), Some(&owned), "{text:?}");
        let owner = store.owner(Some(text), Some(text), None).await.unwrap();
        assert_eq!(owner.member, Some(MemberRole::Admin), "{text:?}");
        assert_eq!(owner.organization.unwrap().id, text);
    }
}

const HOSTILE: [&str; 11] = [
    "'; DROP TABLE keys; --",
    "\"quoted\" and 'quoted'",
    "back\\slash \\' \\u0000",
    "$1 ?1 :name @name %s {}",
    "",
    " ",
    "line\nline\r\n\ttab\u{1}\u{7f}",
    "Ünïcode \u{1F469}\u{200d}\u{1F4BB} \u{202e}",
    "%",
    "_",
    "E'\\047'",
];

pub async fn a_megabyte_of_metadata_is_stored(store: Arc<dyn Store>) {
    let mut large = key(1);
    large.metadata.insert("text".to_owned(), Value::String("é\"\\".repeat(1 << 18)));
    store.create_key(&large).await.unwrap();
    assert_eq!(store.key(large.id).await.unwrap(), Some(large));
}

pub async fn any_record_comes_back_as_it_was_stored(store: Arc<dyn Store>) {
    for Records { organization, team, user, key } in some_records() {
        match store.create_organization(&organization).await {
            // Met by chance; the others would meet, too.
            Err(StoreError::Conflict { field: "id" }) => continue,
            created => created.unwrap(),
        }
        let stored = store.organization(&organization.id).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&organization));
        store.create_team(&team).await.unwrap();
        assert_eq!(store.team(&team.id).await.unwrap().as_ref(), Some(&team));
        store.create_user(&user).await.unwrap();
        assert_eq!(store.user(&user.id).await.unwrap().as_ref(), Some(&user));
        store.create_key(&key).await.unwrap();
        assert_eq!(store.key(key.id).await.unwrap().as_ref(), Some(&key));
    }
}

struct Records {
    organization: Organization,
    team: Team,
    user: User,
    key: Key,
}

/// Always the same, so that a failure comes again.
fn some_records() -> Vec<Records> {
    let mut runner = TestRunner::deterministic();
    let mut records = || {
        let organization = any_organization().new_tree(&mut runner).unwrap().current();
        let within = Just(Some(organization.id.clone())).boxed();
        let team = any_team(within.clone()).new_tree(&mut runner).unwrap().current();
        let user = any_user(within.clone()).new_tree(&mut runner).unwrap().current();
        let mut key = any_key(within).new_tree(&mut runner).unwrap().current();
        key.user = key.user.and(Some(user.id.clone()));
        key.team = key.team.and(Some(team.id.clone()));
        Records { organization, team, user, key }
    };
    (0..40).map(|_| records()).collect()
}

type Reference = BoxedStrategy<Option<String>>;

/// Text of any kind but NUL.
fn any_text() -> impl Strategy<Value = String> {
    "[^\\x00]{0,20}"
}

/// Identifiers are long enough not to meet by chance.
fn any_id() -> impl Strategy<Value = String> {
    "[^\\x00]{12,40}"
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(i64::MAX), Just(i64::MIN), any::<i64>()]
}

fn any_metadata() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Those that have a short decimal form are read as they were written.
        any::<i16>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        any_text().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any_text(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    btree_map(any_text(), value, 0..4).prop_map(|map| map.into_iter().collect())
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let numbers = || of(any::<u64>());
    let by_model = || btree_map(any_text(), any::<u64>(), 0..3);
    (numbers(), numbers(), numbers(), numbers(), numbers(), of(any_text()), by_model(), by_model())
        .prop_map(
            |(rpm, tpm, parallel, budget, soft_budget, budget_duration, model_rpm, model_tpm)| {
                let (model_rpm, model_tpm): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    (model_rpm, model_tpm);
                Limits {
                    rpm,
                    tpm,
                    parallel,
                    budget,
                    soft_budget,
                    budget_duration,
                    model_rpm,
                    model_tpm,
                    ..Limits::default()
                }
            },
        )
}

prop_compose! {
    fn any_organization()(
        id in any_id(), alias in of(any_text()), models in vec(any_text(), 0..4),
        blocked in any::<bool>(), tags in vec(any_text(), 0..4), metadata in any_metadata(),
        limits in any_limits(), created_at in any_time(), updated_at in any_time(),
    ) -> Organization {
        Organization {
            id, alias, models, blocked, tags, metadata, limits, created_at, updated_at, version: 1,
        }
    }
}

prop_compose! {
    fn any_team(within: Reference)(
        record in any_organization(), organization in within,
        users in hash_set(any_text(), 0..6), roles in vec(any::<bool>(), 6),
    ) -> Team {
        let role = |admin| if admin { MemberRole::Admin } else { MemberRole::User };
        let members = users.into_iter().zip(roles);
        Team {
            id: record.id,
            alias: record.alias,
            organization,
            members: members.map(|(user, admin)| Member { user, role: role(admin) }).collect(),
            models: record.models,
            blocked: record.blocked,
            tags: record.tags,
            metadata: record.metadata,
            limits: record.limits,
            created_at: record.created_at,
            updated_at: record.updated_at,
            version: 1,
        }
    }
}

prop_compose! {
    fn any_user(within: Reference)(
        record in any_organization(), organization in within, email in of(any_text()),
        role in prop_oneof![
            Just(UserRole::ProxyAdmin), Just(UserRole::ProxyAdminViewer),
            Just(UserRole::InternalUser), Just(UserRole::InternalUserViewer),
        ],
    ) -> User {
        User {
            id: record.id,
            email,
            alias: record.alias,
            role,
            organization,
            models: record.models,
            blocked: record.blocked,
            tags: record.tags,
            metadata: record.metadata,
            limits: record.limits,
            created_at: record.created_at,
            updated_at: record.updated_at,
            version: 1,
        }
    }
}

prop_compose! {
    fn any_key(within: Reference)(
        record in any_organization(), organization in within, id in any::<u128>(),
        hash in any::<[u8; 32]>(), previous in of((any::<[u8; 32]>(), any_time())),
        hint in any_text(), alias in of(any_id()), user in of(any_text()), team in of(any_text()),
        routes in vec(any_text(), 0..4), expires_at in of(any_time()), created_by in any_text(),
    ) -> Key {
        Key {
            id: Uuid::from_u128(id),
            hash: KeyHash(hash),
            previous: previous.map(|(hash, until)| PreviousHash { hash: KeyHash(hash), until }),
            hint,
            alias,
            user,
            team,
            organization,
            models: record.models,
            routes,
            expires_at,
            blocked: record.blocked,
            tags: record.tags,
            metadata: record.metadata,
            limits: record.limits,
            created_at: record.created_at,
            updated_at: record.updated_at,
            created_by,
            version: 1,
        }
    }
}
