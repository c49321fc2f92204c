//! The audit log: every act of an administrator and every refusal by a policy, in a form in which no
//! line can be changed, removed or added without its showing.
//!
//! | module | what it is |
//! |---|---|
//! | `event` | what is recorded, in bounded size and without secrets |
//! | `line` | a line of JSON that holds the hash of the line before |
//! | `records` | what the log says of itself |
//! | `segment` | one file while it is written |
//! | `files` | the directory, and the ends of its segments |
//! | `queue` | between those who record and the writer |
//! | `writer` | the thread that writes, rotates and recovers |
//! | `retention` | the end of old segments |
//! | `check`, `verify` | one segment, and all of them, against what was written |
//! | `read` | the newest records, for people |
//!
//! The log is a directory of segments. Each is a hash chain, and its first record says how every other
//! segment stood that no earlier one has seen end. So several processes, such as two during an
//! upgrade, write side by side without knowing of each other. The format is described in `docs/audit.md`.

mod check;
mod event;
mod files;
mod line;
mod queue;
mod read;
mod records;
mod retention;
mod segment;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::event::{Actor, Event, Kind, Outcome, Resource};
pub use self::line::{LineHash, NotAHash};
pub use self::read::{Filter, Found, ReadError, Record, read_newest};
pub use self::verify::{Head, Problem, Report, verify};

use self::queue::{Act, Shared};
use self::writer::{Setup, Writer};
use crate::clock::now_ms;

/// How long [`AuditLog::commit`] waits for a disk.
const COMMIT_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an instance's name that are kept.
const MAX_INSTANCE: usize = 256;

/// Where and how to write.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The log's own directory. It is made if it is not there, closed to others.
    pub directory: PathBuf,
    /// Bytes after which a new segment is begun. Every segment ends after a day in any case.
    pub segment_size: u64,
    /// A segment is deleted when its last line is older than this.
    pub retention: Duration,
    /// Whether an act is on disk before it counts as recorded, and an event within a second. Without, they are
    /// with the operating system: they survive our end, but not the machine's.
    pub fsync: bool,
    /// What this instance is called in the log.
    pub instance: String,
}

impl AuditOptions {
    /// Segments of 64 MiB, kept for 90 days, on disk before an act counts.
    pub fn new(directory: impl Into<PathBuf>, instance: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            segment_size: 64 << 20,
            retention: Duration::from_secs(90 * 24 * 3600),
            fsync: true,
            instance: instance.into(),
        }
    }
}

/// Why something is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The directory can't be used.
    #[error("the audit directory {path} can't be used: {reason}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The disk is full, gone or broken. Passes by itself once it is writable.
    #[error("the audit log can't be written: {0}")]
    Unwritable(String),
    /// More acts wait than may.
    #[error("too many acts wait for the audit log")]
    Busy,
    /// The disk does not answer. The record may still come.
    #[error("the audit log was not written in time; nobody knows yet whether it will be")]
    Timeout,
    /// The process is ending.
    #[error("the audit log is closed")]
    Closed,
}

/// The way to the log.
pub struct AuditLog {
    /// None: nothing is recorded.
    shared: Option<Arc<Shared>>,
    directory: Option<PathBuf>,
}

impl AuditLog {
    /// Opens a segment and starts its writer. Blocks on the disk, so call it at the start.
    ///
    /// # Errors
    /// The directory can't be made or written, or others can write to it.
    pub fn open(options: &AuditOptions) -> Result<Arc<Self>, AuditError> {
        Self::start(Setup {
            options: options.clone(),
            clock: Arc::new(now_ms),
            wrap: Arc::new(|file| Box::new(file)),
        })
    }

    /// A log that records nothing.
    pub fn disabled() -> Arc<Self> {
        Arc::new(Self { shared: None, directory: None })
    }

    fn start(mut setup: Setup) -> Result<Arc<Self>, AuditError> {
        event::bound(&mut setup.options.instance, MAX_INSTANCE);
        let directory = setup.options.directory.clone();
        let shared = Arc::new(Shared::new());
        let writer = Writer::open(setup, shared.clone())?;
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(|error| AuditError::Unwritable(error.to_string()))?;
        shared.set_writer(thread.thread().clone());
        Ok(Arc::new(Self { shared: Some(shared), directory: Some(directory) }))
    }

    /// Records an event; never waits. If there is no room, or the disk fails, it is counted, and the log
    /// will say how many are missing.
    pub fn record(&self, event: Event) {
        if let Some(shared) = &self.shared {
            shared.push_event(Box::new(event.bounded()));
        }
    }

    /// Records an act and returns when that is on disk. An act must not be answered as done otherwise.
    ///
    /// # Errors
    /// It is not recorded; after [`AuditError::Timeout`] it may be later.
    pub async fn commit(&self, event: Event) -> Result<(), AuditError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let (done, written) = oneshot::channel();
        shared.push_act(Act { event: event.bounded(), done })?;
        match tokio::time::timeout(COMMIT_WITHIN, written).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(AuditError::Closed),
            Err(_) => Err(AuditError::Timeout),
        }
    }

    /// Writes what waits, ends the segment, and returns when that is done or `within` is over. Whether
    /// it was done. Without it, the log ends as if the process had been killed.
    pub fn close(&self, within: Duration) -> bool {
        let Some(shared) = &self.shared else { return true };
        shared.close();
        shared.await_finish(within)
    }

    /// Events that could not be recorded.
    pub fn dropped(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Events and acts that were recorded.
    pub fn written(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.written.load(Ordering::Relaxed))
    }

    /// Whether the last attempt to write succeeded.
    pub fn is_writable(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| !shared.failing.load(Ordering::Relaxed))
    }

    /// Where the log is, if there is one.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_deref()
    }
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The writer finishes by itself; nobody waits for it.
impl Drop for AuditLog {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.close();
        }
    }
}
