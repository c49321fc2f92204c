use std::sync::Arc;

use sluicegate::stores::Store;
use sluicegate::stores::records::{MemberRole, OwnedKey, Owner, PreviousHash};

use super::samples::{hash, key, member, organization, team, user};

pub async fn a_key_is_found_by_its_hash_with_its_owner(store: Arc<dyn Store>) {
    let (acme, mut anna, mut red) = (organization("acme"), user("anna"), team("red"));
    anna.organization = Some("acme".to_owned());
    red.members = vec![member("anna", MemberRole::Admin), member("ben", MemberRole::User)];
    let mut owned = key(1);
    owned.user = Some("anna".to_owned());
    owned.team = Some("red".to_owned());
    owned.organization = Some("acme".to_owned());
    store.create_organization(&acme).await.unwrap();
    store.create_user(&anna).await.unwrap();
    store.create_team(&red).await.unwrap();
    store.create_key(&owned).await.unwrap();
    store.create_key(&key(2)).await.unwrap();

    red.members = Vec::new();
    let wanted = OwnedKey {
        key: owned,
        owner: Owner {
            user: Some(anna),
            team: Some(red),
            member: Some(MemberRole::Admin),
            organization: Some(acme),
        },
    };
    assert_eq!(store.key_by_hash(&[hash(1)]).await.unwrap().as_ref(), Some(&wanted));
    assert_eq!(store.key_by_hash(&[hash(77), hash(1)]).await.unwrap(), Some(wanted));
    let alone = OwnedKey { key: key(2), owner: Owner::default() };
    assert_eq!(store.key_by_hash(&[hash(2)]).await.unwrap(), Some(alone));
    assert_eq!(store.key_by_hash(&[hash(3)]).await.unwrap(), None);
    assert_eq!(store.key_by_hash(&[]).await.unwrap(), None);
}

/// Whether its time is over is the caller's to judge.
pub async fn a_previous_hash_finds_its_key(store: Arc<dyn Store>) {
    let mut rotated = key(1);
    rotated.hash = hash(10);
    rotated.previous = Some(PreviousHash { hash: hash(11), until: i64::MIN });
    store.create_key(&rotated).await.unwrap();
    store.create_key(&key(2)).await.unwrap();
    for number in [10, 11] {
        let found = store.key_by_hash(&[hash(number)]).await.unwrap().unwrap();
        assert_eq!(found.key, rotated);
    }
    // With several hashes, a present one counts first, whatever their order.
    for hashes in [[hash(11), hash(2)], [hash(2), hash(11)]] {
        assert_eq!(store.key_by_hash(&hashes).await.unwrap().unwrap().key, key(2));
    }
}

pub async fn a_key_without_an_organization_has_that_of_its_team(store: Arc<dyn Store>) {
    store.create_organization(&organization("acme")).await.unwrap();
    store.create_organization(&organization("other")).await.unwrap();
    let (mut red, mut first, mut second) = (team("red"), key(1), key(2));
    red.organization = Some("acme".to_owned());
    store.create_team(&red).await.unwrap();
    first.team = Some("red".to_owned());
    second.team = Some("red".to_owned());
    second.organization = Some("other".to_owned());
    store.create_key(&first).await.unwrap();
    store.create_key(&second).await.unwrap();
    for (number, wanted) in [(1, "acme"), (2, "other")] {
        let found = store.key_by_hash(&[hash(number)]).await.unwrap().unwrap();
        assert_eq!(found.owner.organization.unwrap().id, wanted);
    }
    let owner = store.owner(None, Some("red"), None).await.unwrap();
    assert_eq!(owner.organization.unwrap().id, "acme");
    let owner = store.owner(None, Some("red"), Some("other")).await.unwrap();
    assert_eq!(owner.organization.unwrap().id, "other");
}

pub async fn an_owner_is_what_is_stored_of_the_names(store: Arc<dyn Store>) {
    let mut red = team("red");
    red.members = vec![member("ghost", MemberRole::User)];
    store.create_organization(&organization("acme")).await.unwrap();
    store.create_user(&user("anna")).await.unwrap();
    store.create_team(&red).await.unwrap();
    red.members = Vec::new();
    assert_eq!(store.owner(None, None, None).await.unwrap(), Owner::default());
    let unknown = store.owner(Some("no"), Some("no"), Some("no")).await.unwrap();
    assert_eq!(unknown, Owner::default());
    assert_eq!(
        store.owner(Some("anna"), Some("red"), Some("acme")).await.unwrap(),
        Owner {
            user: Some(user("anna")),
            team: Some(red.clone()),
            member: None,
            organization: Some(organization("acme")),
        }
    );
    // A member need not be stored.
    assert_eq!(
        store.owner(Some("ghost"), Some("red"), None).await.unwrap(),
        Owner { member: Some(MemberRole::User), team: Some(red), ..Owner::default() }
    );
}
