//! What becomes of the journals of processes that are gone.
#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use async_trait::async_trait;
use parking_lot::Mutex;
use sluicegate_ledger::journal::{self, Journal, record};
use sluicegate_ledger::replay::{Found, Replayed, replay};
use sluicegate_ledger::{Again, Group, LedgerError, LedgerStore, Row, RowsQuery, UsageQuery};
use sluicegate_quota::MemoryQuotas;
use uuid::Uuid;

const MOST: u64 = 64 * 1024 * 1024;
const ONE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

/// A store in memory.
struct Rows {
    id: Uuid,
    forgotten_up_to: Option<i64>,
    rows: Mutex<HashMap<(Uuid, u16), Row<'static>>>,
}

impl Rows {
    fn new(id: Uuid) -> Self {
        Self { id, forgotten_up_to: None, rows: Mutex::default() }
    }

    /// Numbers of requests, and how they ended.
    fn outcomes(&self) -> BTreeMap<u128, String> {
        let rows = self.rows.lock();
        rows.values().map(|row| (row.request_id.as_u128(), row.outcome.to_string())).collect()
    }
}

#[async_trait]
impl LedgerStore for Rows {
    async fn id(&self) -> Result<Uuid, LedgerError> {
        Ok(self.id)
    }

    async fn append(&self, rows: &[Row<'static>]) -> Result<u64, LedgerError> {
        let mut kept = self.rows.lock();
        let before = kept.len();
        for row in rows {
            kept.entry((row.request_id, row.attempt)).or_insert_with(|| row.clone());
        }
        Ok((kept.len() - before) as u64)
    }

    async fn append_again(&self, rows: &[Row<'static>]) -> Result<Again, LedgerError> {
        let is_old = |row: &&Row<'_>| self.forgotten_up_to.is_some_and(|at| row.begun_at <= at);
        let (old, young): (Vec<_>, Vec<_>) = rows.iter().partition(is_old);
        let young: Vec<_> = young.into_iter().cloned().collect();
        Ok(Again { added: self.append(&young).await?, too_old: old.len() as u64 })
    }

    async fn usage(&self, _: &UsageQuery) -> Result<Vec<Group>, LedgerError> {
        Ok(Vec::new())
    }

    async fn rows(&self, _: &RowsQuery) -> Result<Vec<Row<'static>>, LedgerError> {
        Ok(self.rows.lock().values().cloned().collect())
    }

    async fn forget(&self, _: i64) -> Result<u64, LedgerError> {
        Ok(0)
    }
}

async fn replayed(directory: &Path, store: &Rows) -> Found {
    replay(directory, store, store.id, &MemoryQuotas::new(), 0).await.unwrap()
}

fn row(number: u128, outcome: &'static str) -> Row<'static> {
    Row {
        request_id: Uuid::from_u128(number),
        attempt: 1,
        outcome: outcome.into(),
        ..Row::default()
    }
}

fn begun(number: u128) -> Vec<u8> {
    let mut out = Vec::new();
    record::begun(&mut out, &row(number, "crashed"), &[], &[]);
    out
}

fn ended(number: u128) -> Vec<u8> {
    let mut out = Vec::new();
    record::ended(&mut out, &row(number, "complete"), &[]);
    out
}

/// Writes as a process of `store` does that ends while its second attempt is under way.
fn leave(directory: &Path, store: Uuid) {
    let journal = Journal::create(directory, MOST, store).unwrap();
    let first = journal.begin(&begun(1)).unwrap();
    _ = journal.begin(&begun(2)).unwrap();
    assert!(journal.end(first, &ended(1)));
}

/// All files, by name.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(Result::unwrap)
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn both() -> BTreeMap<u128, String> {
    BTreeMap::from([(1, "complete".to_owned()), (2, "crashed".to_owned())])
}

const BOTH: Replayed = Replayed { rows: 2, too_old: 0, crashed: 1, behind: 0 };

#[tokio::test]
async fn a_journal_goes_to_its_own_store_and_no_other() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a");
    leave(&directory, ONE);
    let before = files(&directory);
    let (one, other) = (Rows::new(ONE), Rows::new(OTHER));
    for _ in 0..2 {
        assert_eq!(replayed(&directory, &other).await, Found::Foreign(ONE));
        assert_eq!(files(&directory), before, "as it was");
    }
    assert!(other.outcomes().is_empty());
    assert_eq!(replayed(&directory, &one).await, Found::Replayed(BOTH));
    assert_eq!(one.outcomes(), both());
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_journal_whose_process_lives_is_nobodys_to_replay() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a");
    let journal = Journal::create(&directory, MOST, ONE).unwrap();
    for store in [ONE, OTHER] {
        assert_eq!(replayed(&directory, &Rows::new(store)).await, Found::Nothing);
    }
    drop(journal);
    let nothing = Found::Replayed(Replayed::default());
    assert_eq!(replayed(&directory, &Rows::new(ONE)).await, nothing);
}

/// A file as it was written before journals said which store they are of.
fn old_segment(records: &[Vec<u8>]) -> Vec<u8> {
    let number = 1_u64.to_le_bytes();
    let mut file = [b"sgledgr1".as_slice(), &number].concat();
    for record in records {
        let sum = crc32fast::hash(&[&number, record.as_slice()].concat());
        file.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
        file.extend(sum.to_le_bytes());
        file.extend(record);
    }
    file.resize(4 * 1024 * 1024, 0);
    file
}

#[tokio::test]
async fn a_journal_that_does_not_say_its_store_is_replayed() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join(journal::LOCK), "").unwrap();
    let old = old_segment(&[begun(1), begun(2), ended(1)]);
    std::fs::write(directory.join("0000000000000001.segment"), old).unwrap();
    let store = Rows::new(ONE);
    assert_eq!(replayed(&directory, &store).await, Found::Replayed(BOTH));
    assert_eq!(store.outcomes(), both());
    assert!(!directory.exists());
}

#[tokio::test]
async fn files_of_several_stores_are_left_to_somebody_who_knows() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, second) = (parent.path().join("a"), parent.path().join("b"));
    leave(&directory, ONE);
    leave(&second, OTHER);
    let name = "0000000000000001.segment";
    std::fs::rename(second.join(name), directory.join("0000000000000002.segment")).unwrap();
    let before = files(&directory);
    for store in [ONE, OTHER] {
        let store = Rows::new(store);
        let error = replay(&directory, &store, store.id, &MemoryQuotas::new(), 0).await;
        assert!(error.unwrap_err().to_string().contains("several stores"));
        assert!(store.outcomes().is_empty());
    }
    assert_eq!(files(&directory), before);
}

#[tokio::test]
async fn rows_that_the_store_may_have_deleted_are_left_out() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a");
    leave(&directory, ONE);
    let store = Rows { forgotten_up_to: Some(0), ..Rows::new(ONE) };
    let expected = Replayed { too_old: 2, crashed: 1, ..Replayed::default() };
    assert_eq!(replayed(&directory, &store).await, Found::Replayed(expected));
    assert!(store.outcomes().is_empty() && !directory.exists());
}
