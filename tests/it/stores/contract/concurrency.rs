use std::sync::Arc;
use std::time::Duration;

use sluicegate::stores::{Changes, KeyFilter, Store, StoreError};
use tokio::task::JoinSet;

use super::samples::{ALL, key, organization, team};

pub async fn of_two_updates_of_one_version_one_wins(store: Arc<dyn Store>) {
    store.create_team(&team("red")).await.unwrap();
    for version in 1..=10 {
        let mut updates = JoinSet::new();
        for writer in 0..4 {
            let store = Arc::clone(&store);
            updates.spawn(async move {
                let mut team = team("red");
                team.version = version;
                team.alias = Some(format!("{version} by {writer}"));
                let alias = team.alias.clone();
                store.update_team(&team).await.map(|next| (next, alias))
            });
        }
        let mut winners = Vec::new();
        for update in updates.join_all().await {
            match update {
                Ok(winner) => winners.push(winner),
                Err(StoreError::Stale) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let [(next, alias)] = &winners[..] else { panic!("{winners:?}") };
        assert_eq!(*next, version + 1);
        let stored = store.team("red").await.unwrap().unwrap();
        assert_eq!((stored.version, &stored.alias), (*next, alias));
    }
}

pub async fn of_two_keys_with_one_alias_one_is_created(store: Arc<dyn Store>) {
    let mut creations = JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(&store);
        creations.spawn(async move {
            let mut key = key(number);
            key.alias = Some("ci".to_owned());
            store.create_key(&key).await
        });
    }
    let created = creations.join_all().await;
    let lost = |result: &&Result<(), StoreError>| {
        matches!(result, Err(StoreError::Conflict { field: "alias" }))
    };
    assert_eq!(created.iter().filter(lost).count(), 7, "{created:?}");
    assert_eq!(store.keys(&KeyFilter::default(), &ALL).await.unwrap().total, 1);
}

/// A reader that follows the feed must not be able to step over a change that is committed later
/// than one with a higher number.
pub async fn no_change_is_skipped_while_many_write(store: Arc<dyn Store>) {
    const WRITERS: u64 = 16;
    const WRITES: u64 = 12;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for write in 0..WRITES {
                store.create_key(&key(writer * 1000 + write)).await.unwrap();
                // Half of the writes are refused after numbers might have been given.
                store.create_key(&key(writer * 1000 + write)).await.unwrap_err();
            }
        });
    }
    let mut seen = Vec::new();
    let mut at = 0;
    while seen.len() < usize::try_from(WRITERS * WRITES).unwrap() {
        let Changes { changes, last, gap } = store.changes(Some(at)).await.unwrap();
        assert!(!gap);
        assert_eq!(last - at, i64::try_from(changes.len()).unwrap(), "a number is missing");
        for change in &changes {
            let id = uuid::Uuid::parse_str(&change.id).unwrap();
            assert!(store.key(id).await.unwrap().is_some(), "in the feed, and not to be seen");
        }
        seen.extend(changes.into_iter().map(|change| change.id));
        at = last;
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
    seen.sort();
    let mut wanted: Vec<_> = (0..WRITERS)
        .flat_map(|writer| (0..WRITES).map(move |write| key(writer * 1000 + write).id.to_string()))
        .collect();
    wanted.sort();
    assert_eq!(seen, wanted);
}

/// Callers go away in the middle of what they asked for.
pub async fn an_abandoned_call_leaves_the_store_usable(store: Arc<dyn Store>) {
    for micros in 0..100 {
        let write = organization(&format!("abandoned-{micros}"));
        let create = store.create_organization(&write);
        tokio::time::timeout(Duration::from_micros(micros * 20), create).await.ok();
        let all = ALL;
        let read = store.organizations(&all);
        tokio::time::timeout(Duration::from_micros(micros * 20), read).await.ok();
    }
    store.create_organization(&organization("acme")).await.unwrap();
    let total = store.organizations(&ALL).await.unwrap().total;
    assert_eq!(store.changes(None).await.unwrap().last, i64::try_from(total).unwrap());
}
