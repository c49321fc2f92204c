//! What both databases have in common: the statements, and the rules of the port.
//!
//! A [`Database`] only opens transactions; everything else is said once, here. Every write holds the
//! database's one lock for writers from its first statement to its commit. So a rule can be checked
//! by reading first: nobody changes what was read before the write is done. The constraints of the
//! tables stand behind that.

mod feed;
mod keys;
#[macro_use]
pub(super) mod ledger;
mod organizations;
mod owner;
mod row;
mod schema;
mod statement;
mod teams;
mod text;
mod users;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

pub(super) use self::row::{Cell, Row};
pub(super) use self::schema::{Migration, migrate, version, wanted};
pub(super) use self::statement::{Bind, Statement};
use super::records::{Key, KeyHash, Organization, OwnedKey, Owner, Team, User};
use super::{
    Changes, KeyFilter, Page, Paged, RecordKind, Store, StoreError, TeamFilter, UserFilter,
};

/// A database that opens transactions.
#[async_trait]
pub(super) trait Database: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// A transaction that reads one state of the whole database.
    async fn read(&self, from: Source) -> Result<Box<dyn Transaction>, StoreError>;

    /// A transaction that no other writer runs beside.
    async fn write(&self) -> Result<Box<dyn Transaction>, StoreError>;

    /// A transaction that only adds to the ledger: nobody follows it, so that others may write beside it.
    async fn append(&self) -> Result<Box<dyn Transaction>, StoreError>;

    /// Is told of this process's writes, and of others' where the database can.
    fn wakeups(&self) -> &watch::Sender<()>;
}

/// Where to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Whatever was committed is seen.
    Primary,
    /// May be a little behind.
    Replica,
}

/// An open transaction. Dropped without an end, it is undone.
#[async_trait]
pub(super) trait Transaction: Send {
    /// The rows that a statement gives.
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError>;

    /// How many rows a statement changed.
    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError>;

    /// Several statements without values.
    async fn script(&mut self, text: &'static str) -> Result<(), StoreError>;

    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    async fn rollback(self: Box<Self>);
}

impl dyn Transaction + '_ {
    /// The first row that a statement gives.
    async fn row(&mut self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }
}

/// Commits what went well, and undoes what did not.
pub(super) async fn end<T>(
    transaction: Box<dyn Transaction>,
    result: Result<T, StoreError>,
) -> Result<T, StoreError> {
    match result {
        Ok(value) => transaction.commit().await.map(|()| value),
        Err(error) => {
            transaction.rollback().await;
            Err(error)
        }
    }
}

/// Runs `$body` in a new transaction and ends it.
macro_rules! reading {
    ($database:expr, $source:ident, |$transaction:ident| $body:expr) => {{
        let mut transaction = $database.read(Source::$source).await?;
        let $transaction = &mut *transaction;
        let result = $body.await;
        end(transaction, result).await
    }};
}

/// As `reading`, for a write. Who waits for changes is woken.
macro_rules! writing {
    ($database:expr, |$transaction:ident| $body:expr) => {{
        let mut transaction = $database.write().await?;
        let $transaction = &mut *transaction;
        let result = $body.await;
        let result = end(transaction, result).await;
        // Also after an error: a commit whose answer got lost may have happened.
        $database.wakeups().send_replace(());
        result
    }};
}

#[async_trait]
impl<D: Database> Store for D {
    fn name(&self) -> &'static str {
        Database::name(self)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        reading!(self, Primary, |tx| feed::ping(tx))
    }

    async fn key_by_hash(&self, hashes: &[KeyHash]) -> Result<Option<OwnedKey>, StoreError> {
        reading!(self, Primary, |tx| owner::of_key(tx, hashes))
    }

    async fn owner(
        &self,
        user: Option<&str>,
        team: Option<&str>,
        organization: Option<&str>,
    ) -> Result<Owner, StoreError> {
        reading!(self, Primary, |tx| owner::named(tx, user, team, organization))
    }

    async fn changes(&self, after: Option<i64>) -> Result<Changes, StoreError> {
        reading!(self, Primary, |tx| feed::after(tx, after))
    }

    fn wakeups(&self) -> watch::Receiver<()> {
        Database::wakeups(self).subscribe()
    }

    async fn forget_changes(&self, before: i64) -> Result<u64, StoreError> {
        writing!(self, |tx| feed::forget(tx, before))
    }

    async fn create_key(&self, key: &Key) -> Result<(), StoreError> {
        writing!(self, |tx| keys::create(tx, key))
    }

    async fn key(&self, id: Uuid) -> Result<Option<Key>, StoreError> {
        reading!(self, Primary, |tx| keys::get(tx, id))
    }

    async fn keys(&self, filter: &KeyFilter, page: &Page) -> Result<Paged<Key>, StoreError> {
        // Who asks by hash acts on the key.
        if filter.hash.is_some() {
            return reading!(self, Primary, |tx| keys::list(tx, filter, page));
        }
        reading!(self, Replica, |tx| keys::list(tx, filter, page))
    }

    async fn update_key(&self, key: &Key) -> Result<i64, StoreError> {
        writing!(self, |tx| keys::update(tx, key))
    }

    async fn delete_key(&self, id: Uuid) -> Result<(), StoreError> {
        writing!(self, |tx| keys::delete(tx, id))
    }

    async fn create_team(&self, team: &Team) -> Result<(), StoreError> {
        writing!(self, |tx| teams::create(tx, team))
    }

    async fn team(&self, id: &str) -> Result<Option<Team>, StoreError> {
        reading!(self, Primary, |tx| teams::get(tx, id))
    }

    async fn teams(&self, filter: &TeamFilter, page: &Page) -> Result<Paged<Team>, StoreError> {
        // What somebody may do depends on the teams that they are a member of.
        if filter.member.is_some() {
            return reading!(self, Primary, |tx| teams::list(tx, filter, page));
        }
        reading!(self, Replica, |tx| teams::list(tx, filter, page))
    }

    async fn update_team(&self, team: &Team) -> Result<i64, StoreError> {
        writing!(self, |tx| teams::update(tx, team))
    }

    async fn delete_team(&self, id: &str) -> Result<(), StoreError> {
        writing!(self, |tx| teams::delete(tx, id))
    }

    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        writing!(self, |tx| users::create(tx, user))
    }

    async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        reading!(self, Primary, |tx| users::get(tx, id))
    }

    async fn users(&self, filter: &UserFilter, page: &Page) -> Result<Paged<User>, StoreError> {
        reading!(self, Replica, |tx| users::list(tx, filter, page))
    }

    async fn update_user(&self, user: &User) -> Result<i64, StoreError> {
        writing!(self, |tx| users::update(tx, user))
    }

    async fn delete_user(&self, id: &str) -> Result<(), StoreError> {
        writing!(self, |tx| users::delete(tx, id))
    }

    async fn create_organization(&self, organization: &Organization) -> Result<(), StoreError> {
        writing!(self, |tx| organizations::create(tx, organization))
    }

    async fn organization(&self, id: &str) -> Result<Option<Organization>, StoreError> {
        reading!(self, Primary, |tx| organizations::get(tx, id))
    }

    async fn organizations(&self, page: &Page) -> Result<Paged<Organization>, StoreError> {
        reading!(self, Replica, |tx| organizations::list(tx, page))
    }

    async fn update_organization(&self, organization: &Organization) -> Result<i64, StoreError> {
        writing!(self, |tx| organizations::update(tx, organization))
    }

    async fn delete_organization(&self, id: &str) -> Result<(), StoreError> {
        writing!(self, |tx| organizations::delete(tx, id))
    }
}

/// What an update does once it is known which version is stored: only the one that was read may be
/// replaced.
fn replace(stored: Option<i64>, version: i64) -> Result<i64, StoreError> {
    match stored {
        None => Err(StoreError::NotFound),
        Some(stored) if stored == version => Ok(version.saturating_add(1)),
        Some(_) => Err(StoreError::Stale),
    }
}

/// How a list is ordered.
struct Order {
    /// `ORDER BY`.
    by: &'static str,
    /// One more condition: the row of age and id is below the one that follows.
    beyond: &'static str,
    /// An id as the database compares it.
    id: fn(&str) -> Result<Bind, StoreError>,
}

/// The end of a list's statement, and the whole list's length.
async fn page<T>(
    tx: &mut dyn Transaction,
    columns: Statement,
    from: impl Fn(Statement) -> Statement,
    order: Order,
    page: &Page,
    read: impl Fn(Row) -> Result<T, StoreError>,
) -> Result<Paged<T>, StoreError> {
    text::check_page(page)?;
    let count = from(Statement::new("SELECT count(*)"));
    let total = match tx.row(count).await? {
        Some(row) => row::Reader::new("list", row).count("count")?,
        None => 0,
    };
    let mut statement = from(columns);
    if let Some(place) = &page.after {
        statement = statement
            .push(order.beyond)
            .push("(")
            .value(place.created_at)
            .push(", ")
            .value((order.id)(&place.id)?)
            .push(")");
    }
    let statement = statement
        .push(order.by)
        .push(" LIMIT ")
        .value(i64::from(page.limit))
        .push(" OFFSET ")
        .value(i64::try_from(page.offset).unwrap_or(i64::MAX));
    let items = tx.rows(statement).await?.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Paged { items, total })
}
