//! From the journal to the store, behind the requests' back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::entry::Inner;
use crate::journal::record::Record;
use crate::row::Row;
use crate::store::{Again, LedgerError, MAX_ROWS};

/// How often the journal is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is brought to the disk, and segments that nobody needs are freed.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often rows that are too old are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Between tries while the store is away, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Works until the ledger is gone.
pub(crate) async fn run(ledger: Weak<Inner>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry = FIRST_RETRY;
    let (mut synced_at, mut forgot_at) = (Instant::now(), Instant::now());
    let mut sent = 0;
    loop {
        let Some(inner) = ledger.upgrade() else { return };
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.wake.notified() => {}
        }
        match write(&inner, &mut sent).await {
            Ok(()) => retry = FIRST_RETRY,
            Err(error) => {
                inner.counts.failures.fetch_add(1, Ordering::Relaxed);
                if !inner.store_away.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "rows of the ledger wait in the journal");
                }
                sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
        inner.journal.free(|counter, seq| inner.engine.has_told(counter, seq));
        if synced_at.elapsed() >= SYNC_EVERY {
            synced_at = Instant::now();
            sync(&inner).await;
        }
        if let Some(retention) = inner.options.retention
            && forgot_at.elapsed() >= FORGET_EVERY
        {
            forgot_at = Instant::now();
            forget(&inner, retention).await;
        }
    }
}

/// Writes all that has ended. `sent`: how many of the rows that are read next were sent before, and may have
/// been stored though nobody heard of it.
async fn write(inner: &Inner, sent: &mut usize) -> Result<(), LedgerError> {
    while let Some(mut read) = inner.journal.read() {
        let rows: Vec<Row<'static>> = std::mem::take(&mut read.records)
            .into_iter()
            .filter_map(|record| match record {
                Record::Ended { row, .. } => Some(row),
                Record::Begun { .. } | Record::Cancelled { .. } => None,
            })
            .collect();
        // Reading goes on from where it failed, so that those that were sent are the first again.
        let (again, fresh) = rows.split_at(rows.len().min(*sent));
        let mut done = 0;
        for rows in again.chunks(MAX_ROWS) {
            let Again { added, too_old } = inner.store.append_again(rows).await?;
            written(inner, rows, added, too_old);
            done += rows.len();
        }
        for rows in fresh.chunks(MAX_ROWS) {
            *sent = done + rows.len();
            let added = inner.store.append(rows).await?;
            written(inner, rows, added, 0);
            done += rows.len();
        }
        inner.journal.dealt_with(&read);
        *sent = 0;
    }
    Ok(())
}

/// The store has taken `rows`, of which it did not know so many.
fn written(inner: &Inner, rows: &[Row<'static>], added: u64, too_old: u64) {
    let counts = &inner.counts;
    counts.written.fetch_add(added, Ordering::Relaxed);
    counts.too_old.fetch_add(too_old, Ordering::Relaxed);
    let repeated = (rows.len() as u64).saturating_sub(added).saturating_sub(too_old);
    counts.repeated.fetch_add(repeated, Ordering::Relaxed);
    if too_old > 0 {
        tracing::warn!(
            rows = too_old,
            "rows as old as what was deleted were left out of the ledger: they may have been in it"
        );
    }
    if inner.store_away.swap(false, Ordering::Relaxed) {
        tracing::info!("rows of the ledger are written again");
    }
}

/// What was in the journal before survives a power cut from now on.
async fn sync(inner: &Arc<Inner>) {
    let files = inner.journal.files();
    let synced =
        tokio::task::spawn_blocking(move || files.iter().try_for_each(|file| file.sync_data()));
    if let Ok(Err(error)) = synced.await {
        tracing::warn!(%error, "the ledger's journal was not brought to the disk");
    }
}

async fn forget(inner: &Inner, retention: Duration) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = since.saturating_sub(retention).as_millis();
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    loop {
        match inner.store.forget(before).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "old rows of the ledger were not deleted");
                return;
            }
        }
    }
}
