//! Counters in a SQLite database: for the instances of one machine.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqlitePool, Transaction};

use crate::check;
use crate::counter::Counter;
use crate::store::{Exchange, Look, QuotaStore, QuotaStoreError, Reply, State};

/// Milliseconds since the epoch. SQLite tells the same within a statement.
const NOW: &str = "SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";

const LOAD: &str = "SELECT counter, buckets, leases FROM quota_counters \
                    WHERE counter IN (SELECT value FROM json_each($1))";

const SAVE: &str = "INSERT INTO quota_counters (counter, buckets, leases, touched_at, ends_at) \
                    VALUES ($1, $2, $3, $4, $5) \
                    ON CONFLICT (counter) DO UPDATE SET buckets = excluded.buckets, \
                    leases = excluded.leases, touched_at = excluded.touched_at, \
                    ends_at = excluded.ends_at";

/// Counters in a SQLite database. As durable as its commits are.
pub struct SqliteQuotas {
    writer: SqlitePool,
}

impl SqliteQuotas {
    /// Counters in the table `quota_counters`, which a migration makes. `writer` is best a pool of one
    /// connection: SQLite writes one transaction at a time.
    pub fn new(writer: SqlitePool) -> Self {
        Self { writer }
    }
}

#[async_trait]
impl QuotaStore for SqliteQuotas {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn exchange(&self, batch: &[Exchange]) -> Result<Vec<Reply>, QuotaStoreError> {
        check::batch(batch)?;
        // At once, and not with the first write: a transaction that has read before it locks fails if
        // another process wrote in between.
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        let now = now(&mut tx).await?;
        let names: Vec<&str> = batch.iter().map(|it| &*it.counter).collect();
        let mut counters = load(&mut tx, &names).await?;
        let mut replies = Vec::with_capacity(batch.len());
        for it in batch {
            let counter = counters.entry(it.counter.to_string()).or_default();
            let reply = counter.exchange(it, now);
            if matches!(reply, Reply::Done(_)) {
                save(&mut tx, it, counter, now).await?;
            }
            replies.push(reply);
        }
        tx.commit().await.map_err(fault)?;
        Ok(replies)
    }

    async fn look(&self, asked: &[Look]) -> Result<Vec<State>, QuotaStoreError> {
        check::looks(asked)?;
        let mut tx = self.writer.begin().await.map_err(fault)?;
        let now = now(&mut tx).await?;
        let names: Vec<&str> = asked.iter().map(|look| &*look.counter).collect();
        let counters = load(&mut tx, &names).await?;
        tx.commit().await.map_err(fault)?;
        let state = |look: &Look| match counters.get(&*look.counter) {
            Some(counter) => counter.look(look.span, now),
            None => State { now, ..State::default() },
        };
        Ok(asked.iter().map(state).collect())
    }

    async fn forget(&self, before: i64) -> Result<u64, QuotaStoreError> {
        let delete = "DELETE FROM quota_counters WHERE touched_at < $1 AND ends_at <= \
                      CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";
        let done = sqlx::query(delete).bind(before).execute(&self.writer).await.map_err(fault)?;
        Ok(done.rows_affected())
    }
}

async fn now(tx: &mut Transaction<'_, Sqlite>) -> Result<i64, QuotaStoreError> {
    sqlx::query_scalar(NOW).fetch_one(&mut **tx).await.map_err(fault)
}

async fn load(
    tx: &mut Transaction<'_, Sqlite>,
    names: &[&str],
) -> Result<HashMap<String, Counter>, QuotaStoreError> {
    let names = json(&names)?;
    let rows = sqlx::query(LOAD).bind(names).fetch_all(&mut **tx).await.map_err(fault)?;
    rows.iter().map(counter).collect()
}

fn counter(row: &SqliteRow) -> Result<(String, Counter), QuotaStoreError> {
    let name: String = row.try_get(0).map_err(fault)?;
    let counter =
        Counter::from_json(&name, row.try_get(1).map_err(fault)?, row.try_get(2).map_err(fault)?)?;
    Ok((name, counter))
}

async fn save(
    tx: &mut Transaction<'_, Sqlite>,
    it: &Exchange,
    counter: &Counter,
    now: i64,
) -> Result<(), QuotaStoreError> {
    let query = sqlx::query(SAVE)
        .bind(Arc::clone(&it.counter))
        .bind(json(&counter.buckets)?)
        .bind(json(&counter.leases)?)
        .bind(now)
        .bind(counter.ends_at(it.span));
    query.execute(&mut **tx).await.map(drop).map_err(fault)
}

fn json(value: &impl serde::Serialize) -> Result<String, QuotaStoreError> {
    serde_json::to_string(value).map_err(|error| QuotaStoreError::Broken(error.to_string()))
}

/// SQLite's messages name tables and columns, and no values.
fn fault(error: sqlx::Error) -> QuotaStoreError {
    /// The result codes of a database that another process has locked.
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    match &error {
        sqlx::Error::PoolTimedOut => {
            QuotaStoreError::Unavailable("all connections to the file are in use".to_owned())
        }
        sqlx::Error::Database(database) => {
            // Extended codes have the plain one in their low byte.
            let code = database.code().and_then(|code| code.parse::<i32>().ok());
            match code.map(|code| code & 0xff) {
                Some(BUSY | LOCKED) => {
                    QuotaStoreError::Unavailable("another process is writing".to_owned())
                }
                _ => QuotaStoreError::Broken(database.to_string()),
            }
        }
        _ => QuotaStoreError::Broken(error.to_string()),
    }
}
