use std::path::Path;
use std::sync::Arc;

use sluicegate_quota::sqlite::SqliteQuotas;
use sluicegate_quota::{QuotaStore, QuotaStoreError};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::contract::{self, Effort, exchange};

const MIGRATION: &str = include_str!("../../../src/stores/migrations/sqlite/0002_quota.sql");

async fn pool(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off);
    SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let pool = pool(&directory.path().join("quotas.db")).await;
    sqlx::raw_sql(MIGRATION).execute(&pool).await.unwrap();
    contract::check(Arc::new(SqliteQuotas::new(pool)), Effort::Some).await;
}

/// As while one hands over to its successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_may_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("quotas.db");
    let first = pool(&path).await;
    sqlx::raw_sql(MIGRATION).execute(&first).await.unwrap();
    let stores: [Arc<dyn QuotaStore>; 2] =
        [Arc::new(SqliteQuotas::new(first)), Arc::new(SqliteQuotas::new(pool(&path).await))];
    contract::concurrency(&stores).await;
}

#[tokio::test]
async fn what_cannot_be_understood_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let pool = pool(&directory.path().join("quotas.db")).await;
    let store = SqliteQuotas::new(pool.clone());
    let missing = store.exchange(&[exchange("c", "a", 1)]).await.unwrap_err();
    assert!(matches!(missing, QuotaStoreError::Broken(_)), "{missing}");
    sqlx::raw_sql(MIGRATION).execute(&pool).await.unwrap();
    store.exchange(&[exchange("c", "a", 1)]).await.unwrap();
    for corruption in ["leases = '{\"a\": 1}'", "buckets = '{\"x\": 1}'", "buckets = '{\"1\": -1}'"]
    {
        let sql = format!("UPDATE quota_counters SET {corruption}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        let error = store.exchange(&[exchange("c", "a", 2)]).await.unwrap_err();
        assert!(
            matches!(&error, QuotaStoreError::Broken(why) if why.contains("counter c")),
            "{error}"
        );
    }
}
