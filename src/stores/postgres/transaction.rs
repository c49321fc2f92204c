//! Transactions.
//!
//! Each has what it needs in its own opening statement, and no statement is prepared beyond it. So it
//! makes no difference if the next one gets another session, as behind PgBouncer in transaction mode.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _, TypeInfo, ValueRef};

use super::super::StoreError;
use super::super::sql::{Bind, Cell, Row, Statement, Transaction};
use super::server::Place;

/// What a transaction is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Read,
    Write,
    /// Rows that nobody follows, in an order of their own: no lock, and nobody is told.
    Append,
    Migrate,
}

impl Purpose {
    /// Every writer waits for one lock, whose number is the first letters of the program's name.
    /// Otherwise a transaction could take a change's number and commit after another that took a
    /// higher one; and whoever follows the feed would step over it. A lock of the transaction, not of
    /// the session: it ends with it in every case.
    ///
    /// `NOTIFY` reaches nobody before the commit, nor without one. The timeouts are in milliseconds; the
    /// second one frees the lock if this process stands still. The tables are found in one schema
    /// only, whatever others put into theirs.
    const fn opening(self) -> &'static str {
        match self {
            Self::Read => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; \
                 SET LOCAL search_path = sluicegate, pg_temp; \
                 SET LOCAL statement_timeout = 5000"
            }
            // Not `READ WRITE`: a database that was made read-only stays so.
            Self::Write => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; \
                 SET LOCAL search_path = sluicegate, pg_temp; \
                 SET LOCAL statement_timeout = 5000; \
                 SET LOCAL idle_in_transaction_session_timeout = 10000; \
                 SELECT pg_advisory_xact_lock(8317151707346069364); \
                 NOTIFY sluicegate_changes"
            }
            Self::Append => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; \
                 SET LOCAL search_path = sluicegate, pg_temp; \
                 SET LOCAL statement_timeout = 5000; \
                 SET LOCAL idle_in_transaction_session_timeout = 10000"
            }
            Self::Migrate => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; \
                 SET LOCAL search_path = sluicegate, pg_temp; \
                 SET LOCAL statement_timeout = 0; \
                 SELECT pg_advisory_xact_lock(8317151707346069364); \
                 NOTIFY sluicegate_changes"
            }
        }
    }

    /// How long to wait for an answer: longer than the server takes to give a statement up, so that
    /// this is for a server that does not answer at all.
    const fn patience(self) -> Duration {
        match self {
            Self::Read | Self::Write | Self::Append => Duration::from_secs(7),
            Self::Migrate => Duration::from_secs(60 * 60),
        }
    }
}

pub(super) struct PgTransaction {
    connection: PoolConnection<Postgres>,
    patience: Duration,
    ended: bool,
    /// Given back when the connection is.
    _place: Place,
}

impl PgTransaction {
    pub async fn begin(
        connection: PoolConnection<Postgres>,
        place: Place,
        purpose: Purpose,
    ) -> Result<Self, StoreError> {
        let patience = purpose.patience();
        let mut transaction = Self { connection, patience, ended: false, _place: place };
        transaction.script(purpose.opening()).await?;
        Ok(transaction)
    }
}

#[async_trait]
impl Transaction for PgTransaction {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let rows = query(statement).fetch_all(&mut *self.connection);
        let rows = answer(self.patience, rows).await?;
        rows.iter().map(cells).collect()
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let done = query(statement).execute(&mut *self.connection);
        Ok(answer(self.patience, done).await?.rows_affected())
    }

    async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        let done = sqlx::raw_sql(text).execute(&mut *self.connection);
        answer(self.patience, done).await.map(drop)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.script("COMMIT").await?;
        self.ended = true;
        Ok(())
    }

    async fn rollback(mut self: Box<Self>) {
        self.ended = self.script("ROLLBACK").await.is_ok();
    }
}

impl Drop for PgTransaction {
    fn drop(&mut self) {
        // In the middle of something, or in what state nobody knows: not for the next caller.
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

async fn answer<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer.map_err(fault),
        Err(_) => Err(StoreError::Unavailable("the server does not answer".to_owned())),
    }
}

fn query(statement: Statement) -> Query<'static, Postgres, PgArguments> {
    // All of a statement's text is the program's own; see `Statement`.
    let query = sqlx::query(AssertSqlSafe(statement.text)).persistent(false);
    statement.binds.into_iter().fold(query, |query, bind| match bind {
        Bind::Text(text) => query.bind(text),
        Bind::Int(number) => query.bind(number),
        Bind::Bytes(bytes) => query.bind(bytes),
        Bind::Flag(flag) => query.bind(flag),
        Bind::Id(id) => query.bind(id),
        Bind::Json(value) => query.bind(value),
    })
}

fn cells(row: &PgRow) -> Result<Row, StoreError> {
    (0..row.len()).map(|index| cell(row, index).map_err(fault)).collect()
}

fn cell(row: &PgRow, index: usize) -> Result<Cell, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let name = value.type_info().name().to_owned();
    Ok(match name.as_str() {
        "INT8" => Cell::Int(row.try_get(index)?),
        "INT4" => Cell::Int(row.try_get::<i32, _>(index)?.into()),
        "TEXT" => Cell::Text(row.try_get(index)?),
        "BYTEA" => Cell::Bytes(row.try_get(index)?),
        "BOOL" => Cell::Flag(row.try_get(index)?),
        "UUID" => Cell::Id(row.try_get(index)?),
        "JSONB" => Cell::Json(row.try_get(index)?),
        _ => Cell::Unknown,
    })
}

/// Which errors pass by themselves. PostgreSQL's messages name tables and columns; the values are in
/// the details, which are left out.
///
/// Codes: PostgreSQL's documentation, appendix "PostgreSQL Error Codes".
pub(super) fn fault(error: sqlx::Error) -> StoreError {
    let sqlx::Error::Database(database) = &error else {
        return match error {
            sqlx::Error::Configuration(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_) => StoreError::Broken(error.to_string()),
            _ => StoreError::Unavailable(error.to_string()),
        };
    };
    let code = database.code().unwrap_or_default();
    let message = database.message();
    match &*code {
        "57014" => StoreError::Unavailable("a statement took too long".to_owned()),
        "25006" => StoreError::Unavailable("the server takes no writes: a replica?".to_owned()),
        "42501" => StoreError::Broken(format!("{message} (sql/roles.sql says who may do what)")),
        "42P01" => StoreError::Broken(format!("{message}: the tables have not been made yet")),
        // The connection; the server's resources; an operator; a conflict with another transaction.
        code if ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unavailable(message.to_owned())
        }
        "55P03" => StoreError::Unavailable(message.to_owned()),
        code => StoreError::Broken(format!("{message} (code {code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_never_comes_is_given_up() {
        let never = std::future::pending::<Result<(), sqlx::Error>>();
        let answer = answer(Duration::from_millis(1), never).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))));
    }
}
