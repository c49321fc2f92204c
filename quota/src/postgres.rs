//! Counters in a PostgreSQL database: for any number of instances.
//!
//! A call is one statement that needs nothing of its session: it may go through PgBouncer in transaction
//! mode. It is sent as one text, values included. Values that are sent apart take a statement that is
//! prepared first, and a pooler may give that to another session than the one that has the values.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use sluicegate_filters::admit::Span;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row};

use crate::check;
use crate::counter::Counter;
use crate::counter::lease::on_lost_lease;
use crate::store::{Answer, Exchange, Look, MAX_TTL_MS, QuotaStore, QuotaStoreError, Reply, State};

/// The longest to wait for an answer: longer than the server waits for a lock, so that this is for a
/// server that does not answer at all.
const PATIENCE: Duration = Duration::from_secs(4);

/// Milliseconds since the epoch.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Counters in a PostgreSQL database.
pub struct PostgresQuotas {
    pool: PgPool,
}

impl PostgresQuotas {
    /// Counters in the table `sluicegate.quota_counters`, which a migration makes, with the function that
    /// changes them.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The rows that a statement gives, on a connection that nobody else gets if it is left in the
    /// middle of something.
    async fn rows(&self, statement: String) -> Result<Vec<PgRow>, QuotaStoreError> {
        let mut lent = Lent { connection: self.pool.acquire().await.map_err(fault)?, ended: false };
        // All that is not the program's own in it went through `quoted`, or is a number.
        let rows = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(&mut *lent.connection);
        let Ok(rows) = tokio::time::timeout(PATIENCE, rows).await else {
            return Err(QuotaStoreError::Unavailable("PostgreSQL does not answer".to_owned()));
        };
        lent.ended = matches!(rows, Ok(_) | Err(sqlx::Error::Database(_)));
        rows.map_err(fault)
    }
}

struct Lent {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

#[async_trait]
impl QuotaStore for PostgresQuotas {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn exchange(&self, batch: &[Exchange]) -> Result<Vec<Reply>, QuotaStoreError> {
        check::batch(batch)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let asked = quoted(&Value::Array(batch.iter().map(encode).collect()))?;
        let rows = self.rows(format!("SELECT sluicegate.quota_exchange({asked})::text")).await?;
        let answered: String =
            rows.first().ok_or_else(|| broken("no answer"))?.try_get(0).map_err(fault)?;
        let replies: Vec<Replied> = serde_json::from_str(&answered).map_err(broken)?;
        if replies.len() != batch.len() {
            return Err(broken("it has answered to another number of exchanges"));
        }
        Ok(replies.into_iter().map(Reply::from).collect())
    }

    async fn look(&self, asked: &[Look]) -> Result<Vec<State>, QuotaStoreError> {
        check::looks(asked)?;
        let names = quoted(&asked.iter().map(|look| &*look.counter).collect())?;
        let select = format!(
            "SELECT counter, buckets::text, leases::text FROM sluicegate.quota_counters \
             WHERE counter = ANY (ARRAY(SELECT jsonb_array_elements_text({names}))) \
             UNION ALL SELECT NULL, {NOW}::text, NULL"
        );
        let (mut counters, mut now) = (HashMap::new(), None);
        for row in self.rows(select).await? {
            let text: String = row.try_get(1).map_err(fault)?;
            match row.try_get::<Option<String>, _>(0).map_err(fault)? {
                None => now = Some(text.parse::<i64>().map_err(broken)?),
                Some(name) => {
                    let leases: String = row.try_get(2).map_err(fault)?;
                    let counter = Counter::from_json(&name, &text, &leases)?;
                    counters.insert(name, counter);
                }
            }
        }
        let now = now.ok_or_else(|| broken("it does not tell the time"))?;
        let state = |look: &Look| match counters.get(&*look.counter) {
            Some(counter) => counter.look(look.span, now),
            None => State { now, ..State::default() },
        };
        Ok(asked.iter().map(state).collect())
    }

    async fn forget(&self, before: i64) -> Result<u64, QuotaStoreError> {
        let rows = self
            .rows(format!(
                "WITH forgotten AS (DELETE FROM sluicegate.quota_counters \
                 WHERE touched_at < {before} AND ends_at <= {NOW} RETURNING 1) \
                 SELECT count(*)::text FROM forgotten"
            ))
            .await?;
        let count: String =
            rows.first().ok_or_else(|| broken("no answer"))?.try_get(0).map_err(fault)?;
        count.parse().map_err(broken)
    }
}

/// A document as it is written in a statement.
fn quoted(value: &Value) -> Result<String, QuotaStoreError> {
    let text = value.to_string();
    // No name that was checked holds a `$`, so nothing ends the quote.
    if text.contains('$') {
        return Err(broken("a name with a `$`"));
    }
    Ok(format!("$json${text}$json$::jsonb"))
}

fn encode(it: &Exchange) -> Value {
    let span = match it.span {
        Span::Always => json!(["always"]),
        Span::Rolling { ms, bucket_ms } => json!(["rolling", ms, bucket_ms]),
        Span::Period { start, end } => json!(["period", start, end]),
    };
    let charges: Vec<_> = it.charges.iter().map(|it| (it.bucket, it.amount)).collect();
    json!({
        "counter": &*it.counter,
        "instance": &*it.instance,
        "seq": it.seq,
        "span": span,
        "limit": it.limit,
        "charges": charges,
        "left": it.left,
        "held": it.held,
        "need": it.need,
        "want": it.want,
        "ttl_ms": it.ttl_ms.min(MAX_TTL_MS),
        "on_lost": on_lost_lease::word(it.on_lost_lease),
        "mark": it.mark,
    })
}

/// What the function answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Replied {
    Done {
        now: i64,
        granted: u64,
        used: u64,
        leased: u64,
        in_doubt: u64,
        hungry: bool,
        fits_at: Option<i64>,
        previous_seq: u64,
    },
    OtherPeriod {
        now: i64,
    },
}

impl From<Replied> for Reply {
    fn from(replied: Replied) -> Self {
        match replied {
            Replied::Done {
                now,
                granted,
                used,
                leased,
                in_doubt,
                hungry,
                fits_at,
                previous_seq,
            } => Self::Done(Answer {
                now,
                granted,
                used,
                leased,
                in_doubt,
                hungry,
                fits_at,
                previous_seq,
            }),
            Replied::OtherPeriod { now } => Self::OtherPeriod { now },
        }
    }
}

fn broken(why: impl std::fmt::Display) -> QuotaStoreError {
    QuotaStoreError::Broken(format!("PostgreSQL: {why}"))
}

/// Which errors pass by themselves. PostgreSQL's messages name tables and columns; the values are in
/// the details, which are left out.
///
/// Codes: PostgreSQL's documentation, appendix "PostgreSQL Error Codes".
fn fault(error: sqlx::Error) -> QuotaStoreError {
    let unavailable = |why: &str| QuotaStoreError::Unavailable(format!("PostgreSQL: {why}"));
    let sqlx::Error::Database(database) = &error else {
        return match error {
            sqlx::Error::PoolTimedOut => unavailable("no connection could be had in time"),
            sqlx::Error::Configuration(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_) => broken(error),
            _ => unavailable(&error.to_string()),
        };
    };
    let message = database.message();
    match &*database.code().unwrap_or_default() {
        "55P03" => unavailable("others have held the counters for too long"),
        "57014" => unavailable("a statement took too long"),
        "25006" => unavailable("the server takes no writes: a replica?"),
        "42501" => broken(format!("{message} (sql/roles.sql says who may do what)")),
        "42P01" | "42883" | "3F000" => {
            broken(format!("{message}: the tables have not been made yet"))
        }
        // The connection; the server's resources; an operator; a conflict with another transaction.
        code if ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)) => {
            unavailable(message)
        }
        code => broken(format!("{message} (code {code})")),
    }
}
