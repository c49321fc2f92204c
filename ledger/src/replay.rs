//! The journals of processes that are gone.
//!
//! What such a process had ended becomes rows; what it had begun becomes rows as they were drafted; and
//! the counters are charged what it had not told. All of it can be done again without a second effect, so
//! that a replay that fails half-way is simply repeated.
//!
//! A journal is of one store, and what is in it goes there alone: a directory that another store's processes
//! use, or have used, costs this one nothing. The counters need no such care: what a journal tells of
//! one is charged to the lease that its process had there, by a name that no other process ever has. Counters
//! without it, in another store of quotas, stay as they are.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_filters::admit::OnLostLease;
use sluicegate_quota::engine::recover::{Remains, recover};
use sluicegate_quota::{Charged, QuotaStore, QuotaStoreError};
use tokio::time::sleep;
use uuid::Uuid;

use crate::entry::Inner;
use crate::journal;
use crate::journal::making::{self, HIDDEN};
use crate::journal::record::{Id, Record};
use crate::row::Row;
use crate::store::{Again, LedgerError, LedgerStore, MAX_ROWS};

/// How often the dead are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Why a journal could not be replayed. It will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("its files: {0}")]
    Files(#[from] io::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Quotas(#[from] QuotaStoreError),
}

/// What a journal told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Rows that the store did not have.
    pub rows: u64,
    /// Rows that it may have had, and that are as old as what it has deleted: left out.
    pub too_old: u64,
    /// Attempts whose end nobody knows.
    pub crashed: u64,
    /// Counters that did not know what the journal told.
    pub behind: usize,
}

/// What there was in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A journal whose process lives, or none.
    Nothing,
    /// A journal of this store, which is no longer there.
    Replayed(Replayed),
    /// A journal of that other store, which is as it was.
    Foreign(Uuid),
}

/// Looks for journals of the dead until the ledger is gone.
pub(crate) async fn run(ledger: Weak<Inner>) {
    // Journals of other stores are looked at, and told of, once.
    let mut foreign = HashSet::new();
    loop {
        let Some(inner) = ledger.upgrade() else { return };
        look(&inner, &mut foreign).await;
        inner.counts.foreign.store(foreign.len() as u64, Ordering::Relaxed);
        drop(inner);
        sleep(LOOK_EVERY).await;
    }
}

/// Looks once. `foreign`: the directories of other stores' journals.
async fn look(inner: &Inner, foreign: &mut HashSet<PathBuf>) {
    let parent = &inner.options.directory;
    match making::remove_unfinished(parent) {
        Ok(0) => {}
        Ok(directories) => tracing::info!(
            directories,
            "removed what processes had begun to make for their journals"
        ),
        Err(error) => {
            tracing::warn!(directory = %parent.display(), %error, "what processes had begun to make for their journals stays")
        }
    }
    let found = others(parent, inner.journal.directory());
    foreign.retain(|known| found.contains(known));
    for directory in found {
        if foreign.contains(&directory) {
            continue;
        }
        let now = inner.engine.now().store;
        let quotas = inner.engine.store();
        let shown = directory.display();
        match replay(&directory, &*inner.store, inner.store_id, &**quotas, now).await {
            Ok(Found::Nothing) => {}
            Ok(Found::Replayed(Replayed { rows, too_old, crashed, behind })) => {
                inner.counts.recovered.fetch_add(rows, Ordering::Relaxed);
                inner.counts.too_old.fetch_add(too_old, Ordering::Relaxed);
                inner.counts.crashed.fetch_add(crashed, Ordering::Relaxed);
                tracing::warn!(directory = %shown, rows, too_old, crashed, behind, "recovered the journal of a process that is gone");
            }
            Ok(Found::Foreign(its_store)) => {
                let this_store = inner.store_id;
                tracing::warn!(
                    directory = %shown, %its_store, %this_store,
                    "the journal of a process that is gone is of another store, and stays as it is: start a \
                     gateway with that store and this `ledger.directory`, which stores it, or remove it if \
                     nobody needs its rows; and give each store a directory of its own"
                );
                foreign.insert(directory);
            }
            Err(error) => {
                tracing::warn!(directory = %shown, %error, "the journal of a process that is gone waits");
            }
        }
    }
}

fn others(parent: &Path, own: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path != own && path.is_dir())
        .filter(|path| !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(HIDDEN)))
        .collect()
}

/// Replays the journal in `directory` and deletes it, if its process is gone and it is of the store `id`,
/// which `store` is, or was written before journals said of which they are. `now` is the quota store's time.
///
/// # Errors
/// Where a store is away, or the files can't be read.
pub async fn replay(
    directory: &Path,
    store: &dyn LedgerStore,
    id: Uuid,
    quotas: &dyn QuotaStore,
    now: i64,
) -> Result<Found, ReplayError> {
    let Some(lock) = journal::take_over(directory)? else { return Ok(Found::Nothing) };
    if let Some(other) = journal::store(directory)?.filter(|found| *found != id) {
        return Ok(Found::Foreign(other));
    }
    let path = directory.to_owned();
    let records = tokio::task::spawn_blocking(move || journal::read_all(&path));
    let records = records.await.map_err(io::Error::other)??;
    let Told { rows, crashed, remains } = Told::of(records);
    let mut replayed = Replayed { crashed, ..Replayed::default() };
    for rows in rows.chunks(MAX_ROWS) {
        // Whoever wrote the journal may have stored them.
        let Again { added, too_old } = store.append_again(rows).await?;
        replayed.rows += added;
        replayed.too_old += too_old;
    }
    if let Some(instance) = directory.file_name().and_then(|name| name.to_str()) {
        let policy = OnLostLease::Charge;
        let recovered = recover(quotas, &instance.into(), &remains, policy, now).await?;
        replayed.behind = recovered.behind;
    }
    std::fs::remove_dir_all(directory)?;
    drop(lock);
    Ok(Found::Replayed(replayed))
}

/// What records tell together.
struct Told {
    rows: Vec<Row<'static>>,
    crashed: u64,
    remains: Remains,
}

impl Told {
    fn of(records: Vec<Record>) -> Self {
        // A beginning may stand in two segments, and counts once.
        let mut begun: HashMap<Id, (Option<Row<'static>>, Vec<Charged>)> = HashMap::new();
        let mut told = Self { rows: Vec::new(), crashed: 0, remains: Remains::default() };
        for record in records {
            match record {
                Record::Begun { row, charged, under_way } => {
                    let id = (row.request_id, row.attempt);
                    begun.entry(id).or_insert_with(|| {
                        told.remains.charged.extend(charged);
                        (Some(row), under_way)
                    });
                }
                Record::Ended { row, charged } => {
                    begun.insert((row.request_id, row.attempt), (None, Vec::new()));
                    told.remains.charged.extend(charged);
                    told.rows.push(row);
                }
                Record::Cancelled { id, charged } => {
                    begun.insert(id, (None, Vec::new()));
                    told.remains.charged.extend(charged);
                }
            }
        }
        for (row, under_way) in begun.into_values() {
            told.remains.under_way.extend(under_way);
            if let Some(row) = row {
                told.crashed += 1;
                told.rows.push(row);
            }
        }
        told
    }
}
