use std::sync::Arc;
use std::time::Duration;

use sluicegate_quota::postgres::PostgresQuotas;
use sluicegate_quota::{QuotaStore, QuotaStoreError};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::contract::{self, Effort, exchange};
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::Postgres;
use crate::support::soon;

const MIGRATION: &str = include_str!("../../../src/stores/migrations/postgres/0002_quota.sql");
const ROLES: &str = include_str!("../../../sql/roles.sql");

/// As the gateway's store connects.
fn store(url: &str) -> PostgresQuotas {
    let options: PgConnectOptions = url.parse().unwrap();
    let options = options.statement_cache_capacity(0).extra_float_digits(None);
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(1))
        .connect_lazy_with(options);
    PostgresQuotas::new(pool)
}

async fn migrate(postgres: &Postgres) {
    let sql =
        format!("CREATE SCHEMA sluicegate; SET search_path = sluicegate, pg_temp; {MIGRATION}");
    postgres.execute("postgres", &sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contract_also_behind_pgbouncer_and_after_a_restart() {
    let mut postgres = Postgres::start();
    migrate(&postgres).await;
    let direct: Arc<dyn QuotaStore> = Arc::new(store(&postgres.url()));
    contract::check(Arc::clone(&direct), Effort::Some).await;

    // Two sessions for four connections: a statement that needs the session of the one before it fails.
    let bouncer = PgBouncer::start(&postgres, 2);
    let pooled: Arc<dyn QuotaStore> = Arc::new(store(&bouncer.url_of("postgres")));
    contract::check(Arc::clone(&pooled), Effort::Little).await;
    contract::concurrency(&[Arc::clone(&direct), pooled]).await;
    drop(bouncer);

    let before = contract::done(&*direct, &exchange("restart", "a", 1)).await;
    postgres.kill();
    let away = soon("an answer", direct.exchange(&[exchange("restart", "a", 2)])).await;
    assert!(matches!(away, Err(QuotaStoreError::Unavailable(_))), "{away:?}");
    postgres.restart();
    let after = soon("the store", async {
        loop {
            match direct.exchange(&[exchange("restart", "a", 2)]).await {
                Ok(replies) => break contract::answer(&replies[0]),
                Err(QuotaStoreError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(after.previous_seq, 1);
    assert!(after.now >= before.now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_that_instances_run_as_is_enough() {
    let postgres = Postgres::start();
    postgres.execute("postgres", ROLES).await;
    for role in ["sluicegate_migrate", "sluicegate_run", "sluicegate_read"] {
        let password = format!(
            "SET password_encryption = 'scram-sha-256'; ALTER ROLE {role} PASSWORD 'secret'"
        );
        postgres.execute("postgres", &password).await;
    }
    let url = |role| postgres.url_of(role, "secret", "postgres");
    let early = store(&url("sluicegate_run")).exchange(&[exchange("c", "a", 1)]).await.unwrap_err();
    assert!(early.to_string().contains("not been made yet"), "{early}");
    let sql =
        format!("SET ROLE sluicegate_migrate; SET search_path = sluicegate, pg_temp; {MIGRATION}");
    postgres.execute("postgres", &sql).await;
    let run = store(&url("sluicegate_run"));
    contract::done(&run, &exchange("c", "a", 1)).await;
    run.look(&[contract::look("c")]).await.unwrap();
    run.forget(0).await.unwrap();
    // As after an upgrade.
    postgres.execute("postgres", ROLES).await;
    let read = store(&url("sluicegate_read"));
    assert_eq!(read.look(&[contract::look("c")]).await.unwrap()[0].leases.len(), 1);
    for refused in [read.exchange(&[exchange("c", "b", 1)]).await.err(), read.forget(0).await.err()]
    {
        let Some(QuotaStoreError::Broken(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("sql/roles.sql"), "{why}");
    }
}
