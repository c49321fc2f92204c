//! The journals of processes that are gone.
//!
//! What such a process had ended becomes rows; what it had begun becomes rows as they were drafted; and
//! the counters are charged what it had not told. All of it can be done again without a second effect, so
//! that a replay that fails half-way is simply repeated.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_filters::admit::OnLostLease;
use sluicegate_quota::engine::recover::{Remains, recover};
use sluicegate_quota::{Charged, QuotaStore, QuotaStoreError};
use tokio::time::sleep;

use crate::entry::Inner;
use crate::journal::record::{Id, Record};
use crate::journal::{self, HIDDEN};
use crate::row::Row;
use crate::store::{LedgerError, LedgerStore, MAX_ROWS};

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
    /// Attempts whose end nobody knows.
    pub crashed: u64,
    /// Counters that did not know what the journal told.
    pub behind: usize,
}

/// Looks for journals of the dead until the ledger is gone.
pub(crate) async fn run(ledger: Weak<Inner>) {
    loop {
        let Some(inner) = ledger.upgrade() else { return };
        let own = inner.journal.directory().to_owned();
        for directory in others(&inner.options.directory, &own) {
            let now = inner.engine.now().store;
            let quotas = inner.engine.store();
            match replay(&directory, &*inner.store, &**quotas, now).await {
                Ok(None) => {}
                Ok(Some(replayed)) => {
                    let Replayed { rows, crashed, behind } = replayed;
                    inner.counts.recovered.fetch_add(rows, Ordering::Relaxed);
                    inner.counts.crashed.fetch_add(crashed, Ordering::Relaxed);
                    let directory = directory.display();
                    tracing::warn!(%directory, rows, crashed, behind, "recovered the journal of a process that is gone");
                }
                Err(error) => {
                    let directory = directory.display();
                    tracing::warn!(%directory, %error, "the journal of a process that is gone waits");
                }
            }
        }
        drop(inner);
        sleep(LOOK_EVERY).await;
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

/// Replays the journal in `directory` and deletes it. `None`: its process lives, or it is none. `now` is
/// the quota store's time.
///
/// # Errors
/// Where a store is away, or the files can't be read.
pub async fn replay(
    directory: &Path,
    store: &dyn LedgerStore,
    quotas: &dyn QuotaStore,
    now: i64,
) -> Result<Option<Replayed>, ReplayError> {
    let Some(lock) = journal::take_over(directory)? else { return Ok(None) };
    let path = directory.to_owned();
    let records = tokio::task::spawn_blocking(move || journal::read_all(&path));
    let records = records.await.map_err(io::Error::other)??;
    let Told { rows, crashed, remains } = Told::of(records);
    let mut replayed = Replayed { crashed, ..Replayed::default() };
    for rows in rows.chunks(MAX_ROWS) {
        replayed.rows += store.append(rows).await?;
    }
    if let Some(instance) = directory.file_name().and_then(|name| name.to_str()) {
        let policy = OnLostLease::Charge;
        let recovered = recover(quotas, &instance.into(), &remains, policy, now).await?;
        replayed.behind = recovered.behind;
    }
    std::fs::remove_dir_all(directory)?;
    drop(lock);
    Ok(Some(replayed))
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
