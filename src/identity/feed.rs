//! Follows the store's changes, so that a verdict ends when what it rests on does.
//!
//! The store wakes us where it can (PostgreSQL's `NOTIFY`, in one process a channel); what decides is
//! the numbered feed, which is asked at every wake-up and at the latest twice a second. So a missed or
//! late wake-up, or a pooler between that passes none, costs half a second and no correctness.

use std::sync::Arc;
use std::time::Duration;

use super::Identity;
use super::freshness::Dependency;
use crate::clock::now_ms;
use crate::stores::{RecordKind, Store};

/// How often the feed is asked without a wake-up.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often old changes are forgotten.
const FORGET_EVERY_MS: i64 = 3_600_000;
/// Changes are kept for so long. An instance that has not asked for longer looks at everything anew.
const KEEP_MS: i64 = 24 * 3_600_000;

/// Runs for as long as the process.
pub async fn follow(identity: Arc<Identity>, store: Arc<dyn Store>) {
    let mut wakeups = store.wakeups();
    let mut last = None;
    let mut reachable = true;
    let mut forgotten_at = now_ms();
    loop {
        wakeups.mark_unchanged();
        match ask(&identity, &*store, &mut last).await {
            Ok(more) => {
                if !std::mem::replace(&mut reachable, true) {
                    tracing::info!(store = store.name(), "the store answers again");
                }
                if more {
                    continue;
                }
            }
            Err(error) => {
                if std::mem::replace(&mut reachable, false) {
                    tracing::error!(store = store.name(), %error, "the store does not answer; known credentials go on working");
                }
            }
        }
        if now_ms() - forgotten_at > FORGET_EVERY_MS {
            forgotten_at = now_ms();
            if let Err(error) = store.forget_changes(now_ms() - KEEP_MS).await {
                tracing::warn!(%error, "old changes are not forgotten");
            }
        }
        // A store that went away says so by an error here, and is asked at the same pace as before.
        let woken = tokio::time::timeout(ASK_EVERY, wakeups.changed()).await;
        if let Ok(Err(_)) = woken {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

/// Takes up the changes since `last`. `Ok(true)` where there are more.
async fn ask(
    identity: &Identity,
    store: &dyn Store,
    last: &mut Option<i64>,
) -> Result<bool, crate::stores::StoreError> {
    let asked_at = now_ms();
    let feed = store.changes(*last).await?;
    if last.is_none() || feed.gap {
        // What was read before the feed was followed may be from before a change that it won't show.
        identity.freshness.all_changed();
    }
    for change in feed.changes.iter() {
        if change.kind == RecordKind::Key {
            identity.freshness.changed(&Dependency::NoSuchKey);
        }
        identity.freshness.changed(&Dependency::Record(change.kind, change.id.clone()));
    }
    *last = Some(feed.last);
    let more = feed.changes.len() >= crate::stores::CHANGES_AT_ONCE;
    if !more {
        identity.confirm(asked_at);
    }
    Ok(more)
}
