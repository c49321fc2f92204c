//! The keys of the trusted issuers of tokens: fetched, kept fresh, and at hand without waiting.
//!
//! | module | what it does |
//! |---|---|
//! | `entry` | one issuer's keys and when to fetch them again |
//! | `fetch` | gets a key set, from a URL or a file |
//! | `lifetime` | how long an answer is fresh |
//!
//! Keys are fetched in the background before they are out of date, so that no request waits for an
//! issuer. One that names a key which is not known may ask for them at once: whoever asks meanwhile
//! shares the answer, and a flood of made-up names costs an issuer one request in ten seconds.
//! While an issuer can't be reached, its last keys are used for `stale_for`; then there are none.
//!
//! A generation of the configuration holds the [`IssuerKeys`] that were selected for it, in the
//! order of its own issuers. What two generations have in common they share. Nobody asks for keys
//! by the place of an issuer in a list that is not theirs.

mod entry;
mod fetch;
mod lifetime;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sluicegate_filters::identify::jwt::KeySet;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use fetch::{FetchError, SetupError};

use self::entry::{Entry, Reason};
use crate::config::valid::JwtIssuer;

/// When keys are fetched.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For one fetch with all that belongs to it.
    pub timeout: Duration,
    /// How long keys are fresh where the answer does not say.
    pub lifetime: Duration,
    /// The least and the most that an answer can say.
    pub lifetimes: (Duration, Duration),
    /// How long to wait after a failure. Doubles with each more.
    pub backoff: Duration,
    /// The longest wait after failures.
    pub max_backoff: Duration,
    /// The least time between the beginnings of two fetches that unknown keys cause.
    pub gap: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            lifetime: Duration::from_mins(10),
            lifetimes: (Duration::from_mins(1), Duration::from_hours(24)),
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_mins(1),
            gap: Duration::from_secs(10),
        }
    }
}

/// The keys of all issuers in use. Outlives generations of the configuration.
pub struct KeySets {
    entries: Mutex<Vec<Weak<Entry>>>,
    timing: Timing,
    io: Handle,
    changes: watch::Sender<u64>,
}

impl KeySets {
    /// No keys yet. What is fetched is fetched on `io`, which must outlive this.
    pub fn new(io: Handle, timing: Timing) -> Self {
        Self { entries: Mutex::default(), timing, io, changes: watch::Sender::new(0) }
    }

    /// Sees that the keys of `issuers` could be fetched, as far as this machine has a part in it.
    ///
    /// # Errors
    /// [`SetupError`] for the first issuer of which that is not so.
    pub fn check(issuers: &[JwtIssuer]) -> Result<(), SetupError> {
        issuers.iter().try_for_each(|issuer| fetch::Fetcher::new(issuer).map(drop))
    }

    /// The keys of `issuers`, in their order. Those of an issuer that is in use already are the
    /// same ones. For another, fetching begins, and goes on until nobody holds them any more.
    ///
    /// # Errors
    /// As [`check`](Self::check); then nothing has changed.
    pub fn select(&self, issuers: &[JwtIssuer]) -> Result<IssuerKeys, SetupError> {
        let mut known = self.lock();
        known.retain(|entry| entry.strong_count() > 0);
        let mut selected = Vec::with_capacity(issuers.len());
        for issuer in issuers {
            let same = known.iter().filter_map(Weak::upgrade).find(|entry| entry.is_of(issuer));
            selected.push(match same {
                Some(entry) => entry,
                None => Arc::new(Entry::new(issuer, self.timing, self.changes.clone())?),
            });
        }
        for entry in &selected {
            let new = Arc::downgrade(entry);
            if !known.iter().any(|entry| entry.ptr_eq(&new)) {
                self.io.spawn(entry::keep_fresh(new.clone()));
                known.push(new);
            }
        }
        Ok(IssuerKeys { entries: selected.into(), io: self.io.clone() })
    }

    /// Counts up whenever an issuer's keys have changed, or can't be used any more. What was
    /// verified before may have been signed with a key that is withdrawn.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How each issuer in use is doing.
    pub fn status(&self) -> Vec<IssuerStatus> {
        let entries: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        entries.iter().map(|entry| entry.status()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of one generation's issuers, by their places in its configuration.
#[derive(Clone)]
pub struct IssuerKeys {
    entries: Arc<[Arc<Entry>]>,
    io: Handle,
}

impl IssuerKeys {
    /// The present keys of an issuer: an atomic load. `None` while they are not known, or not known
    /// to be good any more.
    pub fn current(&self, issuer: usize) -> Option<Arc<KeySet>> {
        self.entries.get(issuer)?.current()
    }

    /// Returns when the keys of an issuer are as new as they can be had now: fetched by this call
    /// or by one at the same time, or too short a time ago to ask again.
    pub async fn refetch(&self, issuer: usize) {
        if let Some(entry) = self.entries.get(issuer) {
            self.refresh(entry, Reason::UnknownKey).await;
        }
    }

    /// How each issuer is doing, in the order of the configuration.
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.entries.iter().map(|entry| entry.status()).collect()
    }

    /// Returns when the keys of each issuer have been fetched once, or could not be.
    pub async fn first_fetch(&self) {
        let mut fetches = tokio::task::JoinSet::new();
        for entry in self.entries.iter().filter(|entry| entry.current().is_none()) {
            let entry = entry.clone();
            fetches.spawn_on(async move { entry.refresh(Reason::Due).await }, &self.io);
        }
        fetches.join_all().await;
    }

    /// On the runtime that is for this, and to its end even where the request that asked is gone:
    /// others wait for the same answer.
    async fn refresh(&self, entry: &Arc<Entry>, reason: Reason) {
        let entry = entry.clone();
        self.io.spawn(async move { entry.refresh(reason).await }).await.ok();
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| entry.status().issuer)).finish()
    }
}

/// How one issuer is doing.
#[derive(Clone, Debug)]
pub struct IssuerStatus {
    /// Its name.
    pub issuer: String,
    /// Keys that can be used; `None` while there are none to be had.
    pub keys: Option<usize>,
    /// Time since they were fetched.
    pub age: Option<Duration>,
    /// Fetches that gave a key set.
    pub fetched: u64,
    /// Fetches that did not.
    pub failed: u64,
    /// What was in the way, where the last fetch failed.
    pub last_error: Option<String>,
}
