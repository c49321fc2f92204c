//! An attempt, from its beginning to its row.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_quota::{Charged, Engine};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::journal::record::{self, Id, Record};
use crate::journal::{Full, Journal, Slot};
use crate::replay;
use crate::row::Row;
use crate::store::LedgerStore;
use crate::writer;

/// How a ledger works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the journals of all instances of this machine are.
    pub directory: PathBuf,
    /// The most bytes of a journal.
    pub journal_size: u64,
    /// How long rows are kept. `None`: for ever.
    pub retention: Option<Duration>,
}

/// What there was to do.
#[derive(Debug, Default)]
pub struct Counts {
    /// Rows that the store has.
    pub written: AtomicU64,
    /// Rows that it had already.
    pub repeated: AtomicU64,
    /// Rows that it may have had already, and that are as old as what it has deleted: left out.
    pub too_old: AtomicU64,
    /// Calls of it that failed.
    pub failures: AtomicU64,
    /// Attempts that were refused, for want of room.
    pub refused: AtomicU64,
    /// Rows of instances that were gone.
    pub recovered: AtomicU64,
    /// Those among them whose end nobody knows.
    pub crashed: AtomicU64,
    /// Ends that there was no room for. Always 0, but for a fault in this program.
    pub lost: AtomicU64,
    /// Journals of other stores in the directory, whose processes are gone: how many there are.
    pub foreign: AtomicU64,
}

/// The ledger of this instance.
pub struct Ledger(Option<Arc<Inner>>);

pub(crate) struct Inner {
    pub(crate) journal: Journal,
    pub(crate) store: Arc<dyn LedgerStore>,
    pub(crate) store_id: Uuid,
    pub(crate) engine: Arc<Engine>,
    pub(crate) options: Options,
    pub(crate) counts: Counts,
    pub(crate) wake: Notify,
    pub(crate) store_away: AtomicBool,
}

/// An attempt under way. Dropped without an end, it ends as it was drafted.
#[must_use = "an attempt ends as it was drafted when this is dropped"]
pub struct Entry {
    ledger: Arc<Inner>,
    slot: Option<Slot>,
    id: Id,
}

thread_local! {
    /// Records are put together here.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Ledger {
    /// One that writes nothing down, for want of a place.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// One with a journal in a directory of its own, named after the engine's instance. What other
    /// instances of the store, whose `id` this is, have left there is seen to on `io`.
    ///
    /// # Errors
    /// Where the journal can't be made.
    pub fn open(
        options: Options,
        store: Arc<dyn LedgerStore>,
        id: Uuid,
        engine: Arc<Engine>,
        io: &Handle,
    ) -> io::Result<Self> {
        let directory = options.directory.join(&**engine.instance());
        let inner = Arc::new(Inner {
            journal: Journal::create(&directory, options.journal_size, id)?,
            store,
            store_id: id,
            engine,
            options,
            counts: Counts::default(),
            wake: Notify::new(),
            store_away: AtomicBool::new(false),
        });
        io.spawn(writer::run(Arc::downgrade(&inner)));
        io.spawn(replay::run(Arc::downgrade(&inner)));
        Ok(Self(Some(inner)))
    }

    /// Begins an attempt. `draft` is its row if nothing more is heard of it: charged what it holds.
    /// `charged` is what was charged by its admission, `under_way` what will be at its end, at most.
    ///
    /// # Errors
    /// Where there is no room for its end.
    pub fn begin(
        &self,
        draft: &Row<'_>,
        charged: &[Charged],
        under_way: &[Charged],
    ) -> Result<Option<Entry>, Full> {
        let Some(inner) = &self.0 else { return Ok(None) };
        let begun = SCRATCH.with_borrow_mut(|out| {
            record::begun(out, draft, charged, under_way);
            inner.journal.begin(out)
        });
        match begun {
            Ok(slot) => {
                let id = (draft.request_id, draft.attempt);
                Ok(Some(Entry { ledger: inner.clone(), slot: Some(slot), id }))
            }
            Err(full) => {
                inner.counts.refused.fetch_add(1, Ordering::Relaxed);
                Err(full)
            }
        }
    }

    /// Writes all that has ended to the store, and deletes the journal if nothing in it is needed any
    /// more. Returns whether that was so within `patience`; else, whoever starts next sees to it.
    pub async fn close(&self, patience: Duration) -> bool {
        let Some(inner) = &self.0 else { return true };
        let deadline = Instant::now() + patience;
        loop {
            inner.wake.notify_one();
            if inner.journal.is_needless(|counter, seq| inner.engine.has_told(counter, seq)) {
                // What is deleted while the lock is held, nobody takes for a dead one's.
                return std::fs::remove_dir_all(inner.journal.directory()).is_ok();
            }
            if Instant::now() >= deadline {
                return inner.journal.is_read();
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What there was to do. `None`: nothing is written down.
    pub fn counts(&self) -> Option<&Counts> {
        self.0.as_ref().map(|inner| &inner.counts)
    }

    /// Bytes of the journal.
    pub fn journal_bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.journal.bytes())
    }

    /// The most bytes that the journal may have.
    pub fn journal_limit(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.options.journal_size)
    }

    /// Attempts under way.
    pub fn under_way(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.journal.under_way())
    }

    /// Whether the store did not answer when last asked.
    pub fn store_is_away(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.store_away.load(Ordering::Relaxed))
    }

    /// Where rows are. `None`: nowhere.
    pub fn store(&self) -> Option<&Arc<dyn LedgerStore>> {
        self.0.as_ref().map(|inner| &inner.store)
    }

    /// Where the journal is.
    pub fn directory(&self) -> Option<&Path> {
        self.0.as_ref().map(|inner| inner.journal.directory())
    }
}

impl Entry {
    /// Ends the attempt with its row. `charged` is what was charged at its end.
    pub fn end(mut self, row: &Row<'_>, charged: &[Charged]) {
        self.write(|out| record::ended(out, row, charged));
    }

    /// Ends it without a row: no provider has seen it.
    pub fn cancel(mut self, charged: &[Charged]) {
        let id = self.id;
        self.write(|out| record::cancelled(out, id, charged));
    }

    /// Ends it as it was drafted, with another word for how. `charged` is what was charged at its end.
    pub fn abandon(mut self, outcome: &'static str, charged: &[Charged]) {
        self.end_as_drafted(outcome, charged);
    }

    fn end_as_drafted(&mut self, outcome: &'static str, charged: &[Charged]) {
        let Some(slot) = self.slot else { return };
        match self.ledger.journal.begun(slot) {
            Some(Record::Begun { mut row, .. }) => {
                row.outcome = outcome.into();
                row.ended_at = row.ended_at.max(row.begun_at);
                self.write(|out| record::ended(out, &row, charged));
            }
            _ => {
                self.ledger.counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let Some(slot) = self.slot.take() else { return };
        let written = SCRATCH.with_borrow_mut(|out| {
            put(out);
            self.ledger.journal.end(slot, out)
        });
        if !written {
            self.ledger.counts.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(request_id = %self.id.0, "an attempt's end is not in the ledger");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end_as_drafted("abandoned", &[]);
    }
}
