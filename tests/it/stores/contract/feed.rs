use std::sync::Arc;

use sluicegate::stores::records::MemberRole;
use sluicegate::stores::{CHANGES_AT_ONCE, Changes, RecordKind, Store};

use super::samples::{key, member, organization, team, user};
use crate::support::soon;

pub async fn each_write_is_in_the_feed_in_order(store: Arc<dyn Store>) {
    let nothing = store.changes(None).await.unwrap();
    assert_eq!(nothing, Changes { changes: vec![], last: 0, gap: false });
    store.create_organization(&organization("acme")).await.unwrap();
    store.create_user(&user("anna")).await.unwrap();
    let mut red = team("red");
    red.members = vec![member("anna", MemberRole::User)];
    store.create_team(&red).await.unwrap();
    for number in 1..=3 {
        let mut key = key(number);
        key.team = Some("red".to_owned());
        key.user = Some("anna".to_owned()).filter(|_| number == 3);
        store.create_key(&key).await.unwrap();
    }
    assert_eq!(
        names(&*store, 0).await,
        ["organization acme", "user anna", "team red", "key 1", "key 2", "key 3"]
    );
    let before = store.changes(None).await.unwrap().last;
    store.update_organization(&organization("acme")).await.unwrap();
    store.update_key(&key(2)).await.unwrap();
    store.update_team(&red).await.unwrap();
    store.update_user(&user("anna")).await.unwrap();
    assert_eq!(
        names(&*store, before).await,
        ["organization acme", "key 2", "team red", "user anna"]
    );
    let before = store.changes(None).await.unwrap().last;
    // Whatever a deletion takes with it is in the feed as well.
    store.delete_user("anna").await.unwrap();
    assert_eq!(names(&*store, before).await, ["key 3", "team red", "user anna"]);
    let before = store.changes(None).await.unwrap().last;
    store.delete_team("red").await.unwrap();
    store.delete_key(key(2).id).await.unwrap();
    store.delete_organization("acme").await.unwrap();
    assert_eq!(names(&*store, before).await, ["key 1", "team red", "key 2", "organization acme"]);
}

/// The changes after a number, as words. Keys have the number of their sample.
async fn names(store: &dyn Store, after: i64) -> Vec<String> {
    let found = store.changes(Some(after)).await.unwrap();
    assert!(!found.gap);
    assert_eq!(found.last, after + i64::try_from(found.changes.len()).unwrap());
    let name = |id: &str| id.rsplit('-').next().unwrap().trim_start_matches('0').to_owned();
    found
        .changes
        .iter()
        .map(|change| format!("{} {}", change.kind.name(), name(&change.id)))
        .collect()
}

pub async fn a_long_feed_is_given_in_parts(store: Arc<dyn Store>) {
    store.create_team(&team("red")).await.unwrap();
    let keys = CHANGES_AT_ONCE as u64 + 10;
    for number in 0..keys {
        let mut key = key(number);
        key.team = Some("red".to_owned());
        store.create_key(&key).await.unwrap();
    }
    let before = store.changes(None).await.unwrap().last;
    store.delete_team("red").await.unwrap();
    let first = store.changes(Some(before)).await.unwrap();
    assert_eq!(first.changes.len(), CHANGES_AT_ONCE);
    assert!(!first.gap);
    let second = store.changes(Some(first.last)).await.unwrap();
    assert_eq!(second.changes.len(), 11);
    assert_eq!(second.changes.last().unwrap().kind, RecordKind::Team);
    let third = store.changes(Some(second.last)).await.unwrap();
    assert_eq!(third, Changes { changes: vec![], last: second.last, gap: false });
    assert_eq!(third.last, store.changes(None).await.unwrap().last);
}

pub async fn whoever_missed_forgotten_changes_is_told(store: Arc<dyn Store>) {
    for id in ["a", "b", "c"] {
        store.create_user(&user(id)).await.unwrap();
    }
    assert_eq!(store.forget_changes(0).await.unwrap(), 0, "none is that old");
    assert!(!store.changes(Some(0)).await.unwrap().gap);

    assert_eq!(store.forget_changes(i64::MAX).await.unwrap(), 3);
    assert_eq!(
        store.changes(Some(0)).await.unwrap(),
        Changes { changes: vec![], last: 3, gap: true }
    );
    assert!(store.changes(Some(2)).await.unwrap().gap);
    assert!(!store.changes(Some(3)).await.unwrap().gap);
    store.create_user(&user("d")).await.unwrap();
    let missed = store.changes(Some(1)).await.unwrap();
    assert!(missed.gap && missed.changes.len() == 1 && missed.last == 4);
    let seen = store.changes(Some(3)).await.unwrap();
    assert!(!seen.gap && seen.changes.len() == 1 && seen.last == 4);
    // A number from the future: the database is not the one that gave it.
    assert_eq!(
        store.changes(Some(100)).await.unwrap(),
        Changes { changes: vec![], last: 4, gap: true }
    );
}

pub async fn a_write_wakes_whoever_waits(store: Arc<dyn Store>) {
    let mut wakeups = store.wakeups();
    wakeups.mark_unchanged();
    store.create_user(&user("anna")).await.unwrap();
    soon("a wakeup", wakeups.changed()).await.unwrap();
    assert_eq!(store.changes(Some(0)).await.unwrap().changes.len(), 1);
}
