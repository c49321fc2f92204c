//! SQLite: one file and no server.
//!
//! The file is in WAL mode, so that readers and the writer don't wait for each other, and every commit
//! is on the disk before it is answered. One connection writes. Another process may write as well
//! (a second instance during a hand-over); it is noticed when its changes are asked for, not sooner.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_quota::sqlite::SqliteQuotas;
use sqlx::pool::PoolOptions;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Row as _, TypeInfo, ValueRef};
use tokio::sync::watch;

use super::StoreError;
use super::sql::{
    Bind, Cell, Database, Migration, Row, Source, Statement, Transaction, end, migrate,
};

/// Connections that read at the same time.
const READERS: u32 = 4;

/// How long to wait for another process's write, or for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

const MIGRATIONS: [Migration; 4] = [
    Migration { version: 1, script: include_str!("migrations/sqlite/0001_records.sql") },
    Migration { version: 2, script: include_str!("migrations/sqlite/0002_quota.sql") },
    Migration { version: 3, script: include_str!("migrations/sqlite/0003_ledger.sql") },
    Migration { version: 4, script: include_str!("migrations/sqlite/0004_ledger_store.sql") },
];

/// A store in one file. Cheap to share behind an `Arc`.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    wakeups: watch::Sender<()>,
}

impl SqliteStore {
    /// Opens the file, with its directory made first if it isn't there, and brings its tables to the
    /// newest version. Nobody but the process's own user may read the file.
    ///
    /// # Errors
    /// `Broken`, if the file can't be made or read, isn't a database, or is of a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let broken = |error| StoreError::Broken(format!("{}: {error}", path.display()));
        // A relative path that starts with `file:` would be taken for a URI.
        let path = &std::path::absolute(path).map_err(broken)?;
        keep_private(path).map_err(broken)?;
        let options = options()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let readers = pool(READERS).connect_lazy_with(options.clone().pragma("query_only", "on"));
        Self::with(pool(1).connect_lazy_with(options), readers).await.map_err(|error| match error {
            StoreError::Broken(why) => StoreError::Broken(format!("{}: {why}", path.display())),
            error => error,
        })
    }

    /// A store that is gone with the process.
    ///
    /// # Errors
    /// `Broken`, if memory is short.
    pub async fn in_memory() -> Result<Self, StoreError> {
        // The database lives as long as its one connection.
        let pool = pool(1).connect_lazy_with(options().in_memory(true));
        Self::with(pool.clone(), pool).await
    }

    /// The counters of limits in the same database.
    pub fn counters(&self) -> SqliteQuotas {
        SqliteQuotas::new(self.writer.clone())
    }

    async fn with(writer: SqlitePool, readers: SqlitePool) -> Result<Self, StoreError> {
        let store = Self { writer, readers, wakeups: watch::Sender::new(()) };
        let mut transaction = store.write().await?;
        let migrated = migrate(&mut *transaction, &MIGRATIONS).await;
        end(transaction, migrated).await?;
        Ok(store)
    }
}

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new().foreign_keys(true).busy_timeout(PATIENCE)
}

fn pool(connections: u32) -> PoolOptions<Sqlite> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Makes the file, if need be, and takes everybody else's rights to it away. SQLite gives its other
/// files the same rights.
fn keep_private(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(permissions.mode() & 0o700);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

#[async_trait]
impl Database for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn read(&self, _: Source) -> Result<Box<dyn Transaction>, StoreError> {
        let transaction = self.readers.begin().await.map_err(fault)?;
        Ok(Box::new(SqliteTransaction(transaction)))
    }

    async fn write(&self) -> Result<Box<dyn Transaction>, StoreError> {
        // At once, and not with the first write: a transaction that has read before it locks fails if
        // another process wrote in between.
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        Ok(Box::new(SqliteTransaction(transaction)))
    }

    async fn append(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Database::write(self).await
    }

    fn wakeups(&self) -> &watch::Sender<()> {
        &self.wakeups
    }
}

ledger_store!(SqliteStore, "EXISTS (SELECT 1 FROM json_each(l.tags) WHERE value = ");

struct SqliteTransaction(sqlx::Transaction<'static, Sqlite>);

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let rows = query(statement).fetch_all(&mut *self.0).await.map_err(fault)?;
        rows.iter().map(cells).collect()
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let done = query(statement).execute(&mut *self.0).await.map_err(fault)?;
        Ok(done.rows_affected())
    }

    async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(text).execute(&mut *self.0).await.map(drop).map_err(fault)
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.0.commit().await.map_err(fault)
    }

    async fn rollback(self: Box<Self>) {
        // What can't be undone now is undone when the connection is used next.
        self.0.rollback().await.ok();
    }
}

fn query(statement: Statement) -> Query<'static, Sqlite, SqliteArguments> {
    let text = if statement.in_order { nameless(&statement.text) } else { statement.text };
    // All of a statement's text is the program's own; see `Statement`.
    let query = sqlx::query(AssertSqlSafe(text));
    statement.binds.into_iter().fold(query, |query, bind| match bind {
        Bind::Text(text) => query.bind(text),
        Bind::Int(number) => query.bind(number),
        Bind::Bytes(bytes) => query.bind(bytes),
        Bind::Flag(flag) => query.bind(flag),
        Bind::Id(id) => query.bind(id.map(|id| id.to_string())),
        Bind::Json(value) => query.bind(value.to_string()),
    })
}

/// The text with `?` for each `$n`. SQLite looks a value's name up among all that stand before it: with
/// names, the time for a statement grows with the square of its values.
fn nameless(text: &str) -> String {
    let mut parts = text.split('$');
    let mut nameless = String::with_capacity(text.len());
    nameless.push_str(parts.next().unwrap_or_default());
    for part in parts {
        nameless.push('?');
        nameless.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    nameless
}

fn cells(row: &SqliteRow) -> Result<Row, StoreError> {
    (0..row.len()).map(|index| cell(row, index).map_err(fault)).collect()
}

fn cell(row: &SqliteRow, index: usize) -> Result<Cell, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    Ok(match value.type_info().name() {
        "INTEGER" | "BOOLEAN" => Cell::Int(row.try_get_unchecked(index)?),
        "BLOB" => Cell::Bytes(row.try_get_unchecked(index)?),
        "TEXT" => Cell::Text(row.try_get_unchecked(index)?),
        _ => Cell::Unknown,
    })
}

/// SQLite's messages name tables and columns, and no values.
fn fault(error: sqlx::Error) -> StoreError {
    /// The result codes of a database that another process has locked.
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    match &error {
        sqlx::Error::PoolTimedOut => {
            StoreError::Unavailable("all connections to the file are in use".to_owned())
        }
        sqlx::Error::Database(database) => {
            // Extended codes have the plain one in their low byte.
            let code = database.code().and_then(|code| code.parse::<i32>().ok());
            match code.map(|code| code & 0xff) {
                Some(BUSY | LOCKED) => {
                    StoreError::Unavailable("another process is writing".to_owned())
                }
                _ => StoreError::Broken(database.to_string()),
            }
        }
        _ => StoreError::Broken(error.to_string()),
    }
}
