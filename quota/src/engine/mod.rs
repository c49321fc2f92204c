//! Holds for requests, all or nothing over all of a request's quotas, and their settlement.
//!
//! | module | what it is |
//! |---|---|
//! | [`holds`] | what one request has, until it ends |
//! | `pump` | the exchanges with the store, behind the requests' back |
//! | [`recover`] | what an instance that is gone had leased |
//!
//! In the common case a hold is a few locks that nobody else wants, each for some tens of
//! nanoseconds. Only where a lease is spent does the request wait for the store, together with all
//! others that need the same.

pub mod holds;
mod pump;
pub mod recover;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use sluicegate_filters::admit::{Quota, ScopeKind, Unit};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

pub use self::holds::{Extended, Holds};
use crate::slice::{Crossing, Now, Short, Slice, Standing, Terms};
use crate::store::{Look, MAX_BATCH, QuotaStore, QuotaStoreError, State};

/// How long a request waits for the store, at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Soft limits reached that nobody has asked for yet, at most: beyond it the oldest are only counted.
const CROSSINGS: usize = 1_024;

/// How an engine works.
#[derive(Clone, Debug)]
pub struct Options {
    /// This process, by at most 64 bytes of `A-Z a-z 0-9 -`. No two may ever have the same name.
    pub instance: Arc<str>,
    /// How long a lease lasts when nothing is heard of this instance.
    pub lease_ttl: Duration,
    /// How often what was used is told to the store.
    pub tick: Duration,
}

/// What a request needs, or has used, of each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub requests: u64,
    pub tokens: u64,
    /// Billionths of a US dollar.
    pub nano_usd: u64,
    pub parallel: u64,
}

/// Why a request is not admitted.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Which limit.
    pub quota: Arc<Quota>,
    /// How much of its unit was asked for.
    pub amount: u64,
    /// What is left of it.
    pub standing: Standing,
    /// Whether it is not known if the limit is used up, because the store is away.
    pub store_away: bool,
    /// In how many milliseconds the request fits, if nothing else happens. `None`: unknown, or never.
    pub fits_in_ms: Option<i64>,
}

/// Which of a request's slices does not have what it needs.
struct Missed {
    index: usize,
    short: Short,
    now: Now,
}

/// Our own time, which never goes back.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since any fixed moment.
    fn local_ms(&self) -> i64;
}

/// The system's monotonic clock.
pub struct SystemClock(Instant);

impl SystemClock {
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn local_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// What there was to do.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls of the store.
    pub calls: AtomicU64,
    /// Exchanges in them.
    pub exchanges: AtomicU64,
    /// Calls that failed.
    pub failures: AtomicU64,
    /// Requests that had to wait for the store.
    pub waits: AtomicU64,
    /// Soft limits that were reached, once in each window.
    pub soft_exceeded: AtomicU64,
    /// Requests that a limit has refused, by unit and by kind of scope, in the order of their `ALL`.
    refusals: [[AtomicU64; ScopeKind::ALL.len()]; Unit::ALL.len()],
    /// Units used beyond what had been held, in the order of [`Unit::ALL`].
    overrun: [AtomicU64; Unit::ALL.len()],
}

impl Counts {
    /// Requests that limits on this unit for this kind of scope have refused.
    pub fn refusals(&self, unit: Unit, kind: ScopeKind) -> u64 {
        self.refusals[unit as usize][kind as usize].load(Ordering::Relaxed)
    }

    /// Units of this sort used beyond what had been held.
    pub fn overrun_units(&self, unit: Unit) -> u64 {
        self.overrun[unit as usize].load(Ordering::Relaxed)
    }

    fn refused(&self, quota: &Quota) {
        let counter = &self.refusals[quota.unit as usize][quota.scope.kind as usize];
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn overrun(&self, unit: Unit, units: u64) {
        if units > 0 {
            self.overrun[unit as usize].fetch_add(units, Ordering::Relaxed);
        }
    }
}

/// This instance's part of all counters.
pub struct Engine {
    shared: Arc<Shared>,
}

/// What requests, holds and the pump share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn QuotaStore>,
    pub(crate) options: Options,
    clock: Box<dyn Clock>,
    /// The store's time less ours.
    offset: AtomicI64,
    /// The store did not answer when last asked.
    pub(crate) away: AtomicBool,
    slices: RwLock<HashMap<Arc<str>, Arc<Slice>>>,
    /// Held by whoever writes down what is charged, and by the pump while it takes what there is to tell: the
    /// store is told of nothing that is not written down.
    unwritten: RwLock<()>,
    /// Slices that requests wait for.
    urgent: Mutex<Vec<Arc<Slice>>>,
    /// Slices whose exchange has not been answered.
    unanswered: Mutex<Vec<Arc<Slice>>>,
    wake: Arc<Notify>,
    /// Calls of the store at once, behind the requests' back.
    calls: Arc<Semaphore>,
    pub(crate) counts: Counts,
    /// Soft limits that were reached and nobody has been told of.
    crossings: Mutex<VecDeque<Crossing>>,
}

impl Engine {
    /// An engine whose exchanges run on `io`.
    pub fn start(store: Arc<dyn QuotaStore>, options: Options, io: &Handle) -> Arc<Self> {
        Self::start_with_clock(store, options, Box::new(SystemClock::new()), io)
    }

    /// An engine with a clock of its own.
    pub fn start_with_clock(
        store: Arc<dyn QuotaStore>,
        options: Options,
        clock: Box<dyn Clock>,
        io: &Handle,
    ) -> Arc<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A first guess, until the store tells.
        let system = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let shared = Arc::new(Shared {
            offset: AtomicI64::new(system - clock.local_ms()),
            store,
            options,
            clock,
            away: AtomicBool::new(false),
            slices: RwLock::default(),
            unwritten: RwLock::default(),
            urgent: Mutex::default(),
            unanswered: Mutex::default(),
            wake: Arc::default(),
            calls: Arc::new(Semaphore::new(pump::CALLS)),
            counts: Counts::default(),
            crossings: Mutex::default(),
        });
        io.spawn(pump::run(Arc::downgrade(&shared)));
        Arc::new(Self { shared })
    }

    /// This instance's part of a quota's counter. To be kept by whoever uses it often. The limit is the
    /// one that was given last.
    pub fn slice(&self, quota: &Quota) -> Arc<Slice> {
        let id = quota.id();
        let known = self.shared.slices.read().get(&id).cloned();
        let slice = known.unwrap_or_else(|| {
            let mut slices = self.shared.slices.write();
            slices.entry(id).or_insert_with(|| Arc::new(Slice::new(quota))).clone()
        });
        slice.set_quota(quota);
        slice
    }

    /// This instance's part of a counter, where it has one.
    pub fn known(&self, counter: &str) -> Option<Arc<Slice>> {
        self.shared.slices.read().get(counter).cloned()
    }

    /// Whether the store was told of all that the exchange `seq` with a counter tells.
    pub fn has_told(&self, counter: &str, seq: u64) -> bool {
        // One that is gone had nothing left to tell.
        self.known(counter).is_none_or(|slice| slice.has_told(seq))
    }

    /// Holds what a request needs on all of `slices`, or nothing.
    ///
    /// # Errors
    /// Which limit does not leave enough.
    pub async fn hold(&self, slices: &[Arc<Slice>], amounts: &Amounts) -> Result<Holds, Refused> {
        let missed = match self.hold_or_miss(slices, amounts).await {
            Ok(holds) => return Ok(holds),
            Err(missed) => missed,
        };
        Err(self.refuse(&slices[missed.index], amounts, missed.short, missed.now))
    }

    /// The same, where a nearer bound than `amounts` can be found, and is worth to be found only if those
    /// do not fit. Returns as well what is held.
    ///
    /// # Errors
    /// Which limit does not leave enough.
    pub async fn hold_nearer(
        &self,
        slices: &[Arc<Slice>],
        amounts: &Amounts,
        nearer: impl Future<Output = Option<Amounts>>,
    ) -> Result<(Holds, Amounts), Refused> {
        let missed = match self.hold_or_miss(slices, amounts).await {
            Ok(holds) => return Ok((holds, *amounts)),
            Err(missed) => missed,
        };
        let unit = slices[missed.index].unit();
        let full = matches!(missed.short, Short::Full { .. });
        if full
            && matches!(unit, Unit::Tokens | Unit::NanoUsd)
            && let Some(nearer) = nearer.await
            && nearer.of(unit) < amounts.of(unit)
        {
            let holds = self.hold(slices, &nearer).await?;
            return Ok((holds, nearer));
        }
        Err(self.refuse(&slices[missed.index], amounts, missed.short, missed.now))
    }

    async fn hold_or_miss(
        &self,
        slices: &[Arc<Slice>],
        amounts: &Amounts,
    ) -> Result<Holds, Missed> {
        let mut waited: Option<Instant> = None;
        loop {
            let now = self.shared.now();
            let (index, short) = match self.try_hold(slices, amounts, now) {
                Ok(holds) => return Ok(holds),
                Err(missed) => missed,
            };
            let patience =
                PATIENCE.saturating_sub(waited.map_or(Duration::ZERO, |at| at.elapsed()));
            if short != Short::Ask || patience.is_zero() {
                return Err(Missed { index, short, now });
            }
            if waited.is_none() {
                self.shared.counts.waits.fetch_add(1, Ordering::Relaxed);
                waited = Some(Instant::now());
            }
            let answered = slices[index].answered.notified();
            tokio::pin!(answered);
            // From here on no answer is missed.
            answered.as_mut().enable();
            self.ask(&slices[index..], amounts, now);
            timeout(patience, answered).await.ok();
        }
    }

    fn try_hold(
        &self,
        slices: &[Arc<Slice>],
        amounts: &Amounts,
        now: Now,
    ) -> Result<Holds, (usize, Short)> {
        let away = self.shared.away.load(Ordering::Relaxed);
        let mut parts = Vec::with_capacity(slices.len());
        for (index, slice) in slices.iter().enumerate() {
            match slice.hold(amounts.of(slice.unit()), now, away) {
                Ok((part, low)) => {
                    parts.push((slice.clone(), part));
                    if low {
                        self.shared.urge([slice.clone()]);
                    }
                }
                Err(short) => {
                    for (slice, part) in &parts {
                        slice.undo(part, now);
                    }
                    return Err((index, short));
                }
            }
        }
        Ok(Holds::new(self.shared.clone(), parts))
    }

    /// Has the store asked for what these slices lack.
    fn ask(&self, slices: &[Arc<Slice>], amounts: &Amounts, now: Now) {
        let lacking = slices.iter().filter(|slice| {
            let amount = amounts.of(slice.unit());
            let lacks = slice.lacks(amount, now);
            if lacks {
                slice.wait_for(amount);
            }
            lacks
        });
        self.shared.urge(lacking.cloned());
    }

    fn refuse(&self, slice: &Slice, amounts: &Amounts, short: Short, now: Now) -> Refused {
        let quota = slice.quota();
        let amount = amounts.of(slice.unit());
        let standing = slice.standing(now);
        let (store_away, fits_at) = match short {
            Short::Full { fits_at } => (false, fits_at),
            Short::Ask | Short::Away => (true, None),
        };
        slice.refused(amount, store_away, now);
        if !store_away {
            self.shared.counts.refused(&quota);
        }
        let fits_in_ms = fits_at.map(|at| (at - now.store).max(1));
        Refused { quota, amount, standing, store_away, fits_in_ms }
    }

    /// What the store has of counters.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn look(&self, quotas: &[Quota]) -> Result<Vec<State>, QuotaStoreError> {
        let now = self.shared.now();
        let looks: Vec<_> = quotas
            .iter()
            .map(|quota| Look { counter: quota.id(), span: quota.window.span(now.store) })
            .collect();
        let mut states = Vec::with_capacity(looks.len());
        for part in looks.chunks(MAX_BATCH) {
            states.extend(self.shared.store.look(part).await?);
        }
        Ok(states)
    }

    /// The time, by both clocks.
    pub fn now(&self) -> Now {
        self.shared.now()
    }

    /// Whether the store answers.
    pub fn store_is_away(&self) -> bool {
        self.shared.away.load(Ordering::Relaxed)
    }

    /// What there was to do.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Units in doubt, by unit in the order of [`Unit::ALL`], on the counters of which this instance has a
    /// part: what instances that are gone had leased, and nobody knows the use of.
    pub fn in_doubt(&self) -> [u64; Unit::ALL.len()] {
        let mut all = [0_u64; Unit::ALL.len()];
        for slice in self.shared.slices.read().values() {
            let units = &mut all[slice.unit() as usize];
            *units = units.saturating_add(slice.in_doubt());
        }
        all
    }

    /// Soft limits that were reached since this was last asked, each once in its window. They are known
    /// a tick after the use that reached them.
    pub fn take_crossings(&self) -> Vec<Crossing> {
        self.shared.crossings.lock().drain(..).collect()
    }

    /// The name of this instance.
    pub fn instance(&self) -> &Arc<str> {
        &self.shared.options.instance
    }

    /// Where the counters are.
    pub fn store(&self) -> &Arc<dyn QuotaStore> {
        &self.shared.store
    }

    /// Tells the store all that is pending, and gives back what is free. Holds that are not settled yet
    /// keep theirs. Returns whether all of it was done within `patience`.
    pub async fn close(&self, patience: Duration) -> bool {
        pump::drain(&self.shared, patience).await
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Now {
        let local = self.clock.local_ms();
        Now { local, store: local.saturating_add(self.offset.load(Ordering::Relaxed)) }
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms { ttl_ms: i64::try_from(self.options.lease_ttl.as_millis()).unwrap_or(i64::MAX) }
    }

    /// Keeps soft limits that were reached until somebody asks.
    pub(crate) fn note(&self, reached: Vec<Crossing>) {
        if reached.is_empty() {
            return;
        }
        self.counts.soft_exceeded.fetch_add(reached.len() as u64, Ordering::Relaxed);
        let mut crossings = self.crossings.lock();
        crossings.extend(reached);
        let beyond = crossings.len().saturating_sub(CROSSINGS);
        crossings.drain(..beyond);
    }

    /// Has exchanges of `slices` sent at once.
    pub(crate) fn urge(&self, slices: impl IntoIterator<Item = Arc<Slice>>) {
        self.urgent.lock().extend(slices);
        self.wake.notify_one();
    }
}

impl Amounts {
    /// The amount of a unit.
    pub fn of(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Requests => self.requests,
            Unit::Tokens => self.tokens,
            Unit::NanoUsd => self.nano_usd,
            Unit::Parallel => self.parallel,
        }
    }
}

#[cfg(test)]
mod tests;
