//! The port to where rows are kept.

use async_trait::async_trait;
use uuid::Uuid;

use crate::row::Row;

/// The most rows in one call.
pub const MAX_ROWS: usize = 500;

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// It can't be reached, or does not answer in time. Passes by itself.
    #[error("the ledger's store is not available: {0}")]
    Unavailable(String),
    /// It refused, or what it holds can't be understood.
    #[error("the ledger's store is at fault: {0}")]
    Broken(String),
}

/// Where rows are kept.
#[async_trait]
pub trait LedgerStore: Send + Sync + 'static {
    /// Which store this is: random, made with its tables, and the same wherever they are.
    ///
    /// # Errors
    /// Where the store is away.
    async fn id(&self) -> Result<Uuid, LedgerError>;

    /// Adds rows, at most [`MAX_ROWS`], all or none. Those that are there already, by request and
    /// attempt, are left as they are. Says how many were not.
    ///
    /// # Errors
    /// `Unavailable`: they may have been added; [add them again](Self::append_again).
    async fn append(&self, rows: &[Row<'static>]) -> Result<u64, LedgerError>;

    /// The same, for rows that may have been added before: by a call whose answer got lost, or by a process
    /// that is gone. Those as old as what was [forgotten](Self::forget) are left out. They may be among it,
    /// and then their totals would count twice.
    ///
    /// # Errors
    /// As for `append`.
    async fn append_again(&self, rows: &[Row<'static>]) -> Result<Again, LedgerError>;

    /// Totals by `query.by`, in the order of what they are by.
    ///
    /// # Errors
    /// Where the store is away.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<Group>, LedgerError>;

    /// Rows, the newest first.
    ///
    /// # Errors
    /// Where the store is away.
    async fn rows(&self, query: &RowsQuery) -> Result<Vec<Row<'static>>, LedgerError>;

    /// Deletes some rows that began before `before`, and says how many. Totals stay.
    ///
    /// # Errors
    /// Where the store is away.
    async fn forget(&self, before: i64) -> Result<u64, LedgerError>;
}

/// What became of rows that may have been added before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Rows that were not there.
    pub added: u64,
    /// Rows that were left out, as nobody knows whether they have been there.
    pub too_old: u64,
}

/// What totals are by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// Of UTC, as `2026-11-26`.
    Day,
    Key,
    User,
    Team,
    Organization,
    EndUser,
    Model,
    Provider,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Day,
        Self::Key,
        Self::User,
        Self::Team,
        Self::Organization,
        Self::EndUser,
        Self::Model,
        Self::Provider,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::User => "user",
            Self::Team => "team",
            Self::Organization => "organization",
            Self::EndUser => "end_user",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }

    /// That of the name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }
}

/// Which totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Without any, one total of all.
    pub by: Vec<Dimension>,
    /// Days of UTC, since the epoch: from the first up to, and without, the second.
    pub days: Option<(i64, i64)>,
    /// Only where each of these has one of the values.
    pub only: Vec<(Dimension, Vec<String>)>,
    /// Behind a group, by its values in the order of `by`.
    pub after: Option<Vec<String>>,
    /// At most so many groups.
    pub limit: usize,
}

/// A group's total.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// In the order of the query's `by`. Empty: there is none.
    pub values: Vec<String>,
    pub total: Total,
}

/// What was used and paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Attempts that reached a provider.
    pub attempts: u64,
    pub input_tokens: u64,
    pub cached_tokens: u64,
    pub output_tokens: u64,
    pub nano_usd: u64,
    /// Attempts whose tokens are an estimate.
    pub estimated: u64,
}

/// Which rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsQuery {
    /// Begun from the first up to, and without, the second.
    pub begun: Option<(i64, i64)>,
    pub request_id: Option<Uuid>,
    /// Only where each of these, but for the day, has one of the values.
    pub only: Vec<(Dimension, Vec<String>)>,
    /// With this tag.
    pub tag: Option<String>,
    /// Behind a row: its beginning, request and attempt.
    pub after: Option<(i64, Uuid, u16)>,
    /// At most so many.
    pub limit: usize,
}
