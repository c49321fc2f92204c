use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate::stores::records::{MemberRole, PreviousHash};
use sluicegate::stores::{KeyFilter, Store, StoreError, TeamFilter};
use uuid::Uuid;

use super::samples::{ALL, hash, key, member, organization, team, user};

pub async fn a_stale_version_is_refused(store: Arc<dyn Store>) {
    let mut acme = organization("acme");
    store.create_organization(&acme).await.unwrap();
    store.update_organization(&acme).await.unwrap();
    acme.blocked = true;
    assert!(matches!(store.update_organization(&acme).await, Err(StoreError::Stale)));
    acme.version = 7;
    assert!(matches!(store.update_organization(&acme).await, Err(StoreError::Stale)));
    let stored = store.organization("acme").await.unwrap().unwrap();
    assert!(!stored.blocked && stored.version == 2);

    store.create_user(&user("anna")).await.unwrap();
    store.update_user(&user("anna")).await.unwrap();
    assert!(matches!(store.update_user(&user("anna")).await, Err(StoreError::Stale)));
    store.create_team(&team("red")).await.unwrap();
    store.update_team(&team("red")).await.unwrap();
    assert!(matches!(store.update_team(&team("red")).await, Err(StoreError::Stale)));
    store.create_key(&key(1)).await.unwrap();
    store.update_key(&key(1)).await.unwrap();
    assert!(matches!(store.update_key(&key(1)).await, Err(StoreError::Stale)));
}

pub async fn what_does_not_exist_is_not_found(store: Arc<dyn Store>) {
    assert_eq!(store.key(Uuid::nil()).await.unwrap(), None);
    assert_eq!(store.team("none").await.unwrap(), None);
    assert_eq!(store.user("none").await.unwrap(), None);
    assert_eq!(store.organization("none").await.unwrap(), None);
    let not_found = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
    };
    not_found(store.update_key(&key(1)).await.map(drop));
    not_found(store.update_team(&team("none")).await.map(drop));
    not_found(store.update_user(&user("none")).await.map(drop));
    not_found(store.update_organization(&organization("none")).await.map(drop));
    not_found(store.delete_key(Uuid::nil()).await);
    not_found(store.delete_team("none").await);
    not_found(store.delete_user("none").await);
    not_found(store.delete_organization("none").await);
}

pub async fn identifiers_are_unique(store: Arc<dyn Store>) {
    let conflict = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Conflict { field: "id" })), "{result:?}");
    };
    store.create_organization(&organization("one")).await.unwrap();
    conflict(store.create_organization(&organization("one")).await);
    store.create_team(&team("one")).await.unwrap();
    conflict(store.create_team(&team("one")).await);
    store.create_user(&user("one")).await.unwrap();
    conflict(store.create_user(&user("one")).await);
    store.create_key(&key(1)).await.unwrap();
    let mut same = key(2);
    same.id = key(1).id;
    conflict(store.create_key(&same).await);
    // Upper and lower case are different identifiers.
    store.create_team(&team("ONE")).await.unwrap();
}

pub async fn an_alias_of_a_key_is_unique(store: Arc<dyn Store>) {
    let named = |number, alias: &str| {
        let mut key = key(number);
        key.alias = Some(alias.to_owned());
        key
    };
    let conflict = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Conflict { field: "alias" })), "{result:?}");
    };
    store.create_key(&named(1, "ci")).await.unwrap();
    conflict(store.create_key(&named(2, "ci")).await);
    store.create_key(&named(2, "cd")).await.unwrap();
    conflict(store.update_key(&named(2, "ci")).await.map(drop));
    // Its own alias is not in its way, and those without one are not in each other's.
    store.update_key(&named(1, "ci")).await.unwrap();
    store.create_key(&key(3)).await.unwrap();
    store.create_key(&key(4)).await.unwrap();
}

pub async fn a_hash_leads_to_one_key(store: Arc<dyn Store>) {
    let conflict = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Conflict { field: "key" })), "{result:?}");
    };
    let mut rotated = key(1);
    rotated.hash = hash(10);
    rotated.previous = Some(PreviousHash { hash: hash(11), until: 0 });
    store.create_key(&rotated).await.unwrap();
    for taken in [10, 11] {
        let mut present = key(2);
        present.hash = hash(taken);
        conflict(store.create_key(&present).await);
        let mut previous = key(2);
        previous.previous = Some(PreviousHash { hash: hash(taken), until: 0 });
        conflict(store.create_key(&previous).await);
    }
    store.create_key(&key(2)).await.unwrap();
    let mut changed = key(2);
    changed.hash = hash(11);
    conflict(store.update_key(&changed).await.map(drop));
    // A rotation back to the hash before.
    rotated.hash = hash(11);
    rotated.previous = Some(PreviousHash { hash: hash(10), until: 0 });
    store.update_key(&rotated).await.unwrap();
}

pub async fn what_does_not_exist_cannot_be_referred_to(store: Arc<dyn Store>) {
    let none = Some("none".to_owned());
    let dangling = |result: Result<(), StoreError>, name: &str| {
        assert!(
            matches!(result, Err(StoreError::Dangling { field }) if field == name),
            "{name}: {result:?}"
        );
    };
    let mut wrong = user("anna");
    wrong.organization = none.clone();
    dangling(store.create_user(&wrong).await, "organization");
    store.create_user(&user("anna")).await.unwrap();
    dangling(store.update_user(&wrong).await.map(drop), "organization");

    let mut wrong = team("red");
    wrong.organization = none.clone();
    dangling(store.create_team(&wrong).await, "organization");
    store.create_team(&team("red")).await.unwrap();
    dangling(store.update_team(&wrong).await.map(drop), "organization");

    store.create_key(&key(1)).await.unwrap();
    for field in ["user", "team", "organization"] {
        let mut wrong = key(1);
        match field {
            "user" => wrong.user = none.clone(),
            "team" => wrong.team = none.clone(),
            _ => wrong.organization = none.clone(),
        }
        dangling(store.update_key(&wrong).await.map(drop), field);
        wrong.id = key(2).id;
        wrong.hash = key(2).hash;
        dangling(store.create_key(&wrong).await, field);
    }
}

pub async fn an_organization_in_use_cannot_be_deleted(store: Arc<dyn Store>) {
    let acme = Some("acme".to_owned());
    store.create_organization(&organization("acme")).await.unwrap();
    let (mut red, mut anna, mut first) = (team("red"), user("anna"), key(1));
    red.organization = acme.clone();
    anna.organization = acme.clone();
    first.organization = acme.clone();
    store.create_team(&red).await.unwrap();
    store.create_user(&anna).await.unwrap();
    store.create_key(&first).await.unwrap();
    let refused = store.delete_organization("acme").await;
    assert!(matches!(refused, Err(StoreError::InUse("teams"))), "{refused:?}");
    store.delete_team("red").await.unwrap();
    let refused = store.delete_organization("acme").await;
    assert!(matches!(refused, Err(StoreError::InUse("users"))), "{refused:?}");
    store.delete_user("anna").await.unwrap();
    let refused = store.delete_organization("acme").await;
    assert!(matches!(refused, Err(StoreError::InUse("keys"))), "{refused:?}");
    store.delete_key(first.id).await.unwrap();
    store.delete_organization("acme").await.unwrap();
}

pub async fn a_deleted_team_takes_its_keys_with_it(store: Arc<dyn Store>) {
    store.create_team(&team("red")).await.unwrap();
    store.create_team(&team("blue")).await.unwrap();
    for number in 1..=6 {
        let mut key = key(number);
        key.team = Some(if number <= 4 { "red" } else { "blue" }.to_owned());
        store.create_key(&key).await.unwrap();
    }
    store.delete_team("red").await.unwrap();
    assert_eq!(store.keys(&KeyFilter::default(), &ALL).await.unwrap().total, 2);
    assert_eq!(store.key_by_hash(&[hash(1)]).await.unwrap(), None);
    assert!(store.key_by_hash(&[hash(5)]).await.unwrap().is_some());
    // The name is free again, and nothing of the old team is left.
    store.create_team(&team("red")).await.unwrap();
    let filter = KeyFilter { team: Some("red".to_owned()), ..KeyFilter::default() };
    assert_eq!(store.keys(&filter, &ALL).await.unwrap().total, 0);
}

pub async fn a_deleted_user_takes_keys_and_memberships_with_them(store: Arc<dyn Store>) {
    store.create_user(&user("anna")).await.unwrap();
    let mut red = team("red");
    red.members = vec![member("anna", MemberRole::Admin), member("ben", MemberRole::User)];
    store.create_team(&red).await.unwrap();
    store.create_team(&team("blue")).await.unwrap();
    let mut first = key(1);
    first.user = Some("anna".to_owned());
    store.create_key(&first).await.unwrap();
    store.create_key(&key(2)).await.unwrap();

    store.delete_user("anna").await.unwrap();
    assert_eq!(store.key(first.id).await.unwrap(), None);
    assert!(store.key(key(2).id).await.unwrap().is_some());
    let left = store.team("red").await.unwrap().unwrap();
    assert_eq!(left.members, [member("ben", MemberRole::User)]);
    let filter = TeamFilter { member: Some("anna".to_owned()), ..TeamFilter::default() };
    assert_eq!(store.teams(&filter, &ALL).await.unwrap().total, 0);
    // Who read the team before would bring the member back.
    assert!(matches!(store.update_team(&red).await, Err(StoreError::Stale)));
    assert_eq!(store.team("blue").await.unwrap().unwrap().version, 1);
}

pub async fn what_one_database_could_not_hold_is_refused(store: Arc<dyn Store>) {
    let invalid = |result: Result<(), StoreError>, name: &str| {
        assert!(
            matches!(result, Err(StoreError::Invalid { field, .. }) if field == name),
            "{name}: {result:?}"
        );
    };
    let nul = || "a\0b".to_owned();
    let mut wrong = key(1);
    wrong.alias = Some(nul());
    invalid(store.create_key(&wrong).await, "alias");
    let mut wrong = key(1);
    wrong.tags.push(nul());
    invalid(store.create_key(&wrong).await, "tags");
    let mut wrong = key(1);
    wrong.created_by = nul();
    invalid(store.create_key(&wrong).await, "created_by");
    for metadata in [json!({"a": [{"b": "\0"}]}), json!({"a": {"\0": 1}})] {
        let Value::Object(metadata) = metadata else { unreachable!() };
        let mut wrong = key(1);
        wrong.metadata = metadata;
        invalid(store.create_key(&wrong).await, "metadata");
    }
    let mut wrong = key(1);
    wrong.limits.model_tpm.insert(nul(), 1);
    invalid(store.create_key(&wrong).await, "limits");

    let long = "x".repeat(513);
    invalid(store.create_team(&team(&long)).await, "id");
    invalid(store.create_user(&user(&nul())).await, "id");
    invalid(store.create_organization(&organization(&long)).await, "id");
    let mut wrong = team("red");
    wrong.members = vec![member(&nul(), MemberRole::User)];
    invalid(store.create_team(&wrong).await, "members");
    wrong.members = vec![member("anna", MemberRole::User), member("anna", MemberRole::Admin)];
    invalid(store.create_team(&wrong).await, "members");
    let mut longest = team(&"x".repeat(512));
    longest.alias = None;
    store.create_team(&longest).await.unwrap();

    invalid(store.team(&nul()).await.map(drop), "id");
    invalid(store.delete_user(&nul()).await, "id");
    invalid(store.owner(None, Some(&nul()), None).await.map(drop), "team");
    let filter = KeyFilter { alias: Some(nul()), ..KeyFilter::default() };
    invalid(store.keys(&filter, &ALL).await.map(drop), "alias");
}

pub async fn a_refused_write_leaves_nothing_behind(store: Arc<dyn Store>) {
    store.create_team(&team("red")).await.unwrap();
    let before = store.changes(None).await.unwrap();
    let mut dangling = key(1);
    dangling.user = Some("none".to_owned());
    store.create_key(&dangling).await.unwrap_err();
    let mut stale = team("red");
    stale.version = 5;
    store.update_team(&stale).await.unwrap_err();
    store.create_team(&team("red")).await.unwrap_err();
    assert_eq!(store.changes(None).await.unwrap(), before);
    assert_eq!(store.keys(&KeyFilter::default(), &ALL).await.unwrap().total, 0);
    store.create_key(&key(1)).await.unwrap();
    assert_eq!(store.changes(None).await.unwrap().last, before.last + 1);
}
