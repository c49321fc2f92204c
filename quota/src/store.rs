//! The port to where counters are kept.
//!
//! A counter knows what was used, by bucket of time, and what is leased to which instance. All of
//! its changes are one operation, the [`Exchange`]: an instance says what it has used of its lease and
//! what it has left, and asks for more. [`Counter`](crate::counter::Counter) is the reference of what it
//! does; every store must do the same, atomically for each exchange.

use std::sync::Arc;

use async_trait::async_trait;
use sluicegate_filters::admit::{OnLostLease, Span};

/// The largest amount that a counter holds: what a store that computes in doubles can add exactly.
pub const MAX_AMOUNT: u64 = 1 << 52;

/// The most exchanges in one call.
pub const MAX_BATCH: usize = 256;

/// The most charges in one exchange.
pub const MAX_CHARGES: usize = 64;

/// The longest that a lease lasts, in milliseconds. One for longer lasts so long.
pub const MAX_TTL_MS: u64 = 24 * 60 * 60 * 1000;

/// Where counters are kept.
#[async_trait]
pub trait QuotaStore: Send + Sync + 'static {
    /// A short name, for logs and metrics: `memory`, `sqlite`, `postgres`, `redis`.
    fn name(&self) -> &'static str;

    /// Does the exchanges, each of another counter and at most [`MAX_BATCH`], each atomically, and
    /// answers in their order. Sent again with the same numbers, they have no second effect: after an
    /// error, whatever has happened, send the same again.
    ///
    /// # Errors
    /// `Unavailable` where the store can't be reached or does not answer in time: any of them may have
    /// happened. `Broken` where an exchange is beyond what this port says: none has happened.
    async fn exchange(&self, batch: &[Exchange]) -> Result<Vec<Reply>, QuotaStoreError>;

    /// What the counters hold, in the order asked, at most [`MAX_BATCH`]. Changes nothing.
    ///
    /// # Errors
    /// Where the store can't be reached or does not answer in time.
    async fn look(&self, counters: &[Look]) -> Result<Vec<State>, QuotaStoreError>;

    /// Forgets counters that hold nothing that counts and have not been touched since `before`
    /// (milliseconds since the epoch, by the store's clock), and says how many. A store whose entries
    /// expire by themselves has nothing to do.
    ///
    /// # Errors
    /// Where the store can't be reached or does not answer in time.
    async fn forget(&self, before: i64) -> Result<u64, QuotaStoreError>;
}

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuotaStoreError {
    /// It can't be reached, or does not answer in time. Passes by itself.
    #[error("the quota store is not available: {0}")]
    Unavailable(String),
    /// It refused, or what it holds can't be understood.
    #[error("the quota store is at fault: {0}")]
    Broken(String),
}

/// What an instance has used of a counter, and what it wants. Amounts are at most [`MAX_AMOUNT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The counter, as [`Quota::id`](sluicegate_filters::admit::Quota::id) names it.
    pub counter: Arc<str>,
    /// The instance, by at most 64 bytes of `A-Z a-z 0-9 -`.
    pub instance: Arc<str>,
    /// Greater than in this instance's exchange before with this counter, and at least 1. An exchange
    /// of the number of the one before is that one, repeated: what was used is not counted again, but the
    /// lease begins anew. One of a lower number has no effect.
    pub seq: u64,
    /// Which buckets count.
    pub span: Span,
    /// How many units there are to give. At most [`MAX_AMOUNT`].
    pub limit: u64,
    /// What was used (or, if negative, given back) since the exchange before, each of another bucket.
    /// At most [`MAX_CHARGES`].
    pub charges: Vec<Charge>,
    /// What is left of the lease: free and held. The store believes it, even if the lease was lost
    /// since. So an instance must give up what is free once `ttl_ms` have gone by since it *sent* the
    /// last exchange that was answered, and go on with what is held only.
    pub left: u64,
    /// The held part of `left`. Only to be shown.
    pub held: u64,
    /// Grant this many units, or none.
    pub need: u64,
    /// Grant up to this many. At least `need`.
    pub want: u64,
    /// How long the lease lasts if nothing more is heard of the instance, in milliseconds, at most
    /// [`MAX_TTL_MS`]. 0: the instance leaves the counter, and may be forgotten in a day.
    pub ttl_ms: u64,
    /// What becomes of the lease then.
    pub on_lost_lease: OnLostLease,
    /// How much of the instance's journal is in its charges. Only to be kept.
    pub mark: u64,
}

/// Units used in a bucket, or given back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The bucket's beginning, see [`Span::bucket`].
    pub bucket: i64,
    /// At most [`MAX_AMOUNT`] in either direction.
    pub amount: i64,
}

/// What became of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Done(Answer),
    /// Nothing was done: its [`Span::Period`] is not the present one. Send the exchange again, with
    /// the same number and the right period.
    OtherPeriod {
        /// The store's time, in milliseconds since the epoch.
        now: i64,
    },
}

/// The counter after an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The store's time, in milliseconds since the epoch.
    pub now: i64,
    /// What the lease has grown by.
    pub granted: u64,
    /// Used units that count now, those in doubt included.
    pub used: u64,
    /// Units leased to any instance, this one included, after the grant.
    pub leased: u64,
    /// The part of `used` that belonged to leases that were lost.
    pub in_doubt: u64,
    /// Another instance needs units: give back what is free.
    pub hungry: bool,
    /// Where `need` was not granted: when, at the earliest, it will fit, if nothing more is used and
    /// nothing is given back. `None`: never by itself.
    pub fits_at: Option<i64>,
    /// The number of this instance's exchange before, as the store knows it. 0: none, or it was
    /// forgotten, which happens when its lease is over and what it has charged counts no more. If it is
    /// less than it should be otherwise, the store has lost writes.
    pub previous_seq: u64,
}

/// A counter to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub counter: Arc<str>,
    /// Which buckets count.
    pub span: Span,
}

/// What a counter holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The store's time, in milliseconds since the epoch.
    pub now: i64,
    /// Used units that count now, those in doubt included.
    pub used: u64,
    /// The part of `used` that belonged to leases that were lost.
    pub in_doubt: u64,
    /// By instance, in the order of their names. Those that hold nothing may be left out.
    pub leases: Vec<LeaseState>,
}

/// What is leased to an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    pub instance: String,
    /// Units that are leased.
    pub leased: u64,
    /// The part of them that is held for requests under way, when the instance last told.
    pub held: u64,
    /// Units of a lost lease that count as used, see [`OnLostLease::Charge`].
    pub in_doubt: u64,
    /// The bucket that they count in.
    pub doubt_bucket: i64,
    /// When the lease is lost, if nothing is heard of the instance.
    pub expires_at: i64,
    /// The number of the instance's last exchange.
    pub seq: u64,
    /// See [`Exchange::mark`].
    pub mark: u64,
}
