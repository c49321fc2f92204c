//! One issuer's keys: what they are, and when to fetch them again.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sluicegate_filters::identify::jwt::KeySet;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fetch::{FetchError, Fetched, Fetcher, SetupError};
use super::{IssuerStatus, Timing};
use crate::config::valid::JwtIssuer;

/// Fetches are begun after this part of the time for which keys are fresh, so that there is time
/// for several more where one fails.
const REFRESH_AT: f64 = 0.8;
/// By how much instances of the gateway differ, so that they don't ask all at once.
const JITTER: f64 = 0.1;
/// Doublings of the wait after failures; more would overflow.
const MAX_DOUBLINGS: u32 = 16;

/// One issuer's keys.
pub(super) struct Entry {
    issuer: JwtIssuer,
    fetcher: Fetcher,
    timing: Timing,
    current: ArcSwapOption<Current>,
    /// Held during a fetch: there is one at a time, and who waits for it shares what it brings.
    flight: Mutex<Flight>,
    changes: watch::Sender<u64>,
    fetched: AtomicU64,
    failed: AtomicU64,
    /// What was in the way at the last fetch.
    last_error: ArcSwapOption<String>,
    /// Ends [`keep_fresh`] when nobody holds the keys any more.
    dropped: CancellationToken,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.dropped.cancel();
    }
}

struct Current {
    keys: Arc<KeySet>,
    digest: [u8; 32],
    since: Instant,
    /// From then on they are not known to be good.
    until: Instant,
}

struct Flight {
    /// When the last fetch began.
    began: Option<Instant>,
    /// When the next one is due.
    due: Instant,
    /// Due fetches that failed since one did not.
    failures: u32,
}

/// Why to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is time.
    Due,
    /// A token names a key that is not known.
    UnknownKey,
}

impl Entry {
    pub(super) fn new(
        issuer: &JwtIssuer,
        timing: Timing,
        changes: watch::Sender<u64>,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            issuer: issuer.clone(),
            fetcher: Fetcher::new(issuer)?,
            timing,
            current: ArcSwapOption::empty(),
            flight: Mutex::new(Flight { began: None, due: Instant::now(), failures: 0 }),
            changes,
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_error: ArcSwapOption::empty(),
            dropped: CancellationToken::new(),
        })
    }

    /// Whether `issuer` has the same keys, fetched in the same way. What its tokens must say does
    /// not matter.
    pub(super) fn is_of(&self, issuer: &JwtIssuer) -> bool {
        let JwtIssuer { rules, keys, ca, stale_for } = &self.issuer;
        rules.issuer == issuer.rules.issuer
            && rules.algorithms == issuer.rules.algorithms
            && (keys, ca, stale_for) == (&issuer.keys, &issuer.ca, &issuer.stale_for)
    }

    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        let current = self.current.load();
        current.as_ref().filter(|keys| Instant::now() < keys.until).map(|c| c.keys.clone())
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let current = self.current.load();
        let current = current.as_ref().filter(|keys| Instant::now() < keys.until);
        IssuerStatus {
            issuer: self.issuer.rules.issuer.clone(),
            keys: current.map(|current| current.keys.len()),
            age: current.map(|current| current.since.elapsed()),
            fetched: self.fetched.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            last_error: self.last_error.load().as_deref().cloned(),
        }
    }

    /// Fetches the keys, unless that has just been done by somebody else. Must not be cancelled, or
    /// who waits would wait in vain.
    pub(super) async fn refresh(&self, reason: Reason) {
        let mut flight = self.flight.lock().await;
        let now = Instant::now();
        let wanted = match reason {
            Reason::Due => now >= flight.due,
            Reason::UnknownKey => flight.began.is_none_or(|began| now - began >= self.timing.gap),
        };
        if !wanted {
            return;
        }
        flight.began = Some(now);
        let fetched = tokio::time::timeout(self.timing.timeout, self.fetcher.fetch()).await;
        match fetched.unwrap_or(Err(FetchError::Timeout)) {
            Ok(fetched) => self.took(fetched, &mut flight),
            Err(error) => self.missed(&error, reason, &mut flight),
        }
    }

    fn took(&self, fetched: Fetched, flight: &mut Flight) {
        let Fetched { keys, digest, lifetime } = fetched;
        self.fetched.fetch_add(1, Ordering::Relaxed);
        self.last_error.store(None);
        let (least, most) = self.timing.lifetimes;
        let lifetime = lifetime.map_or(self.timing.lifetime, |said| said.clamp(least, most));
        let since = Instant::now();
        let until = since + lifetime + self.issuer.stale_for;
        flight.failures = 0;
        flight.due = since + lifetime.mul_f64(REFRESH_AT + jitter());

        // The same document is the same set: who holds it can tell by that.
        let before = self.current.load_full().filter(|before| before.digest == digest);
        let changed = before.is_none();
        let keys = before.map_or_else(|| Arc::new(keys), |before| before.keys.clone());
        self.current.store(Some(Arc::new(Current { keys: keys.clone(), digest, since, until })));
        if changed {
            self.report(&keys);
            self.announce();
        }
    }

    fn missed(&self, error: &FetchError, reason: Reason, flight: &mut Flight) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.last_error.store(Some(Arc::new(error.to_string())));
        let issuer = &self.issuer.rules.issuer;
        tracing::warn!(%issuer, %error, "the keys of an issuer of tokens can't be fetched");
        let now = Instant::now();
        if reason == Reason::Due {
            let wait = self.timing.backoff * 2_u32.pow(flight.failures.min(MAX_DOUBLINGS));
            flight.due = now + wait.min(self.timing.max_backoff).mul_f64(1.0 + jitter());
            flight.failures += 1;
        }
        if self.current.load().as_ref().is_some_and(|current| now >= current.until) {
            tracing::error!(%issuer, "the keys of an issuer of tokens are too old to be used");
            self.current.store(None);
            self.announce();
        }
    }

    fn report(&self, keys: &KeySet) {
        let issuer = &self.issuer.rules.issuer;
        tracing::info!(%issuer, keys = keys.len(), "an issuer of tokens has new keys");
        for skipped in keys.skipped() {
            let (kid, reason) = (skipped.kid.as_deref().unwrap_or_default(), skipped.reason);
            tracing::debug!(%issuer, kid, %reason, "a key can't be used");
        }
        if keys.is_empty() {
            tracing::warn!(%issuer, "none of the issuer's keys can be used");
        }
    }

    fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Fetches an issuer's keys whenever they are due, until nobody holds them any more.
pub(super) async fn keep_fresh(entry: Weak<Entry>) {
    let Some(dropped) = entry.upgrade().map(|entry| entry.dropped.clone()) else { return };
    while let Some(held) = entry.upgrade() {
        held.refresh(Reason::Due).await;
        let due = held.flight.lock().await.due;
        drop(held);
        tokio::select! {
            () = dropped.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

/// Between `-JITTER` and `JITTER`. Need not be hard to guess.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0);
    (random as f64 / u64::MAX as f64 * 2.0 - 1.0) * JITTER
}

/// How long keys from a file are taken for fresh.
pub(super) const FILE_LIFETIME: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_differs_and_stays_small() {
        let some: Vec<_> = (0..100).map(|_| jitter()).collect();
        assert!(some.iter().all(|jitter| jitter.abs() <= JITTER));
        assert!(some.iter().any(|jitter| *jitter < 0.0) && some.iter().any(|j| *j > 0.0));
    }
}
