use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use sluicegate::stores::postgres::{PostgresOptions, PostgresStore};
use sluicegate::stores::{KeyFilter, Store, StoreError, TeamFilter, UserFilter};
use sluicegate_ledger::{LedgerStore, Row, RowsQuery, UsageQuery};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::contract;
use super::contract::samples::{ALL, hash, key, organization, team, user};
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::Postgres;
use crate::support::soon;

/// A store with its tables.
async fn open(url: &str) -> PostgresStore {
    let store = connect(url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn connect(url: &str) -> Result<PostgresStore, StoreError> {
    let options = PostgresOptions {
        url: SecretString::from(url),
        max_connections: 8,
        replica_url: None,
        production: true,
    };
    PostgresStore::connect(&options).await
}

/// Takes all tables away.
const ANEW: &str = "DROP SCHEMA IF EXISTS sluicegate CASCADE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_over_tls_keeps_the_contract() {
    let postgres = Postgres::start_with_tls();
    contract::check(async || {
        postgres.execute("postgres", ANEW).await;
        Arc::new(open(&postgres.url()).await)
    })
    .await;
}

/// Two sessions for eight connections: a statement that needs the session of the one before it fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_behind_pgbouncer_keeps_the_contract() {
    let postgres = Postgres::start();
    let bouncer = PgBouncer::start(&postgres, 2);
    contract::check(async || {
        postgres.execute("postgres", ANEW).await;
        Arc::new(open(&bouncer.url_of("postgres")).await)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_another_authority_vouches_for_is_refused() {
    // As `main` does. The driver needs it for `verify-ca`.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let (postgres, other) = (Postgres::start_with_tls(), Postgres::start_with_tls());
    let authority = |server: &Postgres| server.authority().to_str().unwrap().to_owned();
    let url = postgres.url().replace(&authority(&postgres), &authority(&other));
    let refused = connect(&url).await.err().unwrap();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // The name in the certificate is `localhost`.
    let refused = connect(&postgres.url().replace("localhost", "127.0.0.1")).await.err().unwrap();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // `require` with an authority verifies it, too.
    let url = url.replace("verify-full", "require");
    assert!(connect(&url).await.is_err());
    open(&postgres.url()).await;
}

/// Without an authority, `require` encrypts and does not ask who the server is.
#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_reached_by_tls_where_that_is_all_that_is_required() {
    // As `main` does.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let postgres = Postgres::start_with_tls();
    let unknown = postgres.url();
    let unknown = unknown.split_once("?").unwrap().0;
    // The server takes nothing but TLS, and the name in its certificate is another one.
    let url = format!("{}?sslmode=require", unknown.replace("localhost", "127.0.0.1"));
    let store = open(&url).await;
    store.create_team(&team("red")).await.unwrap();
    assert!(store.team("red").await.unwrap().is_some());
    for mode in ["verify-ca", "verify-full"] {
        let url = url.replace("require", mode);
        let refused = connect(&url).await.err().unwrap().to_string();
        assert!(refused.contains("certificate"), "{mode}: {refused}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let postgres = Postgres::start();
    let url = postgres.url_of("postgres", "hunter2", "postgres");
    let error = format!("{:?}", connect(&url).await.err().unwrap());
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_survives_its_server() {
    let mut postgres = Postgres::start();
    let store = Arc::new(open(&postgres.url()).await);
    store.create_key(&key(1)).await.unwrap();
    postgres.kill();

    // Every call is answered, and more and more of them at once.
    let mut calls = JoinSet::new();
    for _ in 0..300 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.key_by_hash(&[hash(1)]).await });
    }
    for answer in soon("the answers", calls.join_all()).await {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    let before = Instant::now();
    let mut quick = 0;
    while quick < 50 {
        let started = Instant::now();
        let answer = store.key_by_hash(&[hash(1)]).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        if started.elapsed() < Duration::from_millis(100) {
            quick += 1;
        }
        assert!(before.elapsed() < crate::support::PATIENCE, "they go on waiting for the server");
    }

    postgres.restart();
    let found = soon("the store", async {
        loop {
            match store.key_by_hash(&[hash(1)]).await {
                Ok(found) => break found,
                Err(StoreError::Unavailable(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert_eq!(found.await.unwrap().key, key(1));
    store.create_key(&key(2)).await.unwrap();
    let other = open(&postgres.url()).await;
    hears(&store, &other).await;
}

/// Waits until a store is woken by a write of another. It may not be listening yet.
async fn hears(store: &PostgresStore, other: &PostgresStore) {
    let mut wakeups = Store::wakeups(store);
    soon("a wakeup", async {
        loop {
            wakeups.mark_unchanged();
            other.create_user(&user(&Uuid::now_v7().to_string())).await.unwrap();
            let woken = tokio::time::timeout(Duration::from_millis(300), wakeups.changed());
            if woken.await.is_ok() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://postgres@{}/postgres", silent.local_addr().unwrap());
    let answer = soon("an answer", connect(&url)).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))));

    // One that has stood still since the connections were made.
    let postgres = Postgres::start();
    let store = open(&postgres.url()).await;
    store.ping().await.unwrap();
    postgres.pause();
    let answer = soon("an answer", store.ping()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    postgres.go_on();
    soon("the store", async { while store.ping().await.is_err() {} }).await;
}

#[tokio::test]
async fn whoever_comes_when_too_many_wait_is_told_at_once() {
    let postgres = Postgres::start();
    let store = Arc::new(open(&postgres.url()).await);
    // Somebody holds the writers' lock: all the store's connections come to wait for it.
    let options: PgConnectOptions = postgres.url().parse().unwrap();
    let mut holder = options.connect().await.unwrap();
    let lock = "BEGIN; LOCK TABLE sluicegate.keys";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.create_key(&key(number)).await });
    }
    // 8 have a connection and 64 wait for one.
    for _ in 0..200 - 72 {
        let answer = soon("a refusal", calls.join_next()).await.unwrap().unwrap();
        let Err(StoreError::Unavailable(why)) = answer else { panic!("{answer:?}") };
        assert!(why.contains("too many"), "{why}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let rest = soon("the rest", calls.join_all()).await;
    assert!(rest.iter().any(Result::is_ok));
    store.create_key(&key(1000)).await.unwrap();
}

#[tokio::test]
async fn a_write_in_one_store_wakes_another() {
    let postgres = Postgres::start();
    let (one, other) = (open(&postgres.url()).await, open(&postgres.url()).await);
    hears(&one, &other).await;
    hears(&other, &one).await;
}

/// PgBouncer would give what a session hears to whoever has the session next.
#[tokio::test]
async fn nobody_listens_through_a_pooler() {
    let postgres = Postgres::start();
    for ignored in ["", "options", "extra_float_digits, options"] {
        let bouncer = PgBouncer::start_ignoring(&postgres, 1, ignored);
        let store = open(&bouncer.url_of("postgres")).await;
        let other = open(&postgres.url()).await;
        hears(&other, &store).await;
        // With one session, it would come with the next answer.
        for number in 0..20 {
            other.create_user(&user(&format!("{ignored:?} {number}"))).await.unwrap();
            store.ping().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_may_migrate_at_once() {
    let postgres = Postgres::start();
    let mut stores = JoinSet::new();
    for _ in 0..4 {
        let url = postgres.url();
        stores.spawn(async move { open(&url).await });
    }
    let stores = stores.join_all().await;
    let id = stores[0].id().await.unwrap();
    for store in &stores {
        assert_eq!(store.id().await.unwrap(), id);
    }
    for (number, store) in stores.iter().enumerate() {
        store.create_team(&team(&format!("t{number}"))).await.unwrap();
    }
    assert_eq!(stores[0].changes(None).await.unwrap().last, 4);
}

#[tokio::test]
async fn lists_come_from_a_replica_and_decisions_from_the_primary() {
    let postgres = Postgres::start();
    // Another database stands in for a replica: what is read from it is seen.
    let replica = postgres.create_database().await;
    let replica = postgres.url_of("postgres", crate::support::postgres::PASSWORD, &replica);
    open(&replica).await.create_team(&team("far")).await.unwrap();
    let options = PostgresOptions {
        url: SecretString::from(postgres.url()),
        max_connections: 4,
        replica_url: Some(SecretString::from(replica)),
        production: true,
    };
    let store = PostgresStore::connect(&options).await.unwrap();
    store.migrate().await.unwrap();
    store.create_team(&team("near")).await.unwrap();
    let listed = store.teams(&TeamFilter::default(), &ALL).await.unwrap();
    assert_eq!(listed.items[0].id, "far");
    assert!(store.team("near").await.unwrap().is_some());
    let member = TeamFilter { member: Some("anna".to_owned()), ..TeamFilter::default() };
    assert_eq!(store.teams(&member, &ALL).await.unwrap().total, 0);
    assert!(store.owner(None, Some("near"), None).await.unwrap().team.is_some());

    // Without it, the primary answers.
    let gone = crate::support::free_address();
    let options = PostgresOptions {
        replica_url: Some(SecretString::from(format!("postgres://postgres@{gone}/postgres"))),
        ..options
    };
    let store = PostgresStore::connect(&options).await.unwrap();
    let listed = store.teams(&TeamFilter::default(), &ALL).await.unwrap();
    assert_eq!(listed.items[0].id, "near");
}

#[tokio::test]
async fn each_role_may_do_its_part_and_no_more() {
    let postgres = Postgres::start();
    let roles = include_str!("../../../sql/roles.sql");
    postgres.execute("postgres", roles).await;
    let mut urls = Vec::new();
    for role in ["sluicegate_migrate", "sluicegate_run", "sluicegate_read"] {
        let password = format!(
            "SET password_encryption = 'scram-sha-256'; ALTER ROLE {role} PASSWORD 'secret'"
        );
        postgres.execute("postgres", &password).await;
        urls.push(postgres.url_of(role, "secret", "postgres"));
    }
    let [migrate, run, read] = &urls[..] else { unreachable!() };
    postgres.execute("postgres", "CREATE TABLE public.keys (trap BIGINT)").await;

    // Before there are tables, the running role says what is missing and where to find it.
    let early = connect(run).await.unwrap();
    let error = early.migrate().await.err().unwrap().to_string();
    for part in ["version 0", "version 4", "sql/roles.sql"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(early.ping().await, Err(StoreError::Broken(_))));

    open(migrate).await;
    // Again, as after an upgrade: it may be run any number of times.
    postgres.execute("postgres", roles).await;

    let store = open(run).await;
    store.ping().await.unwrap();
    everything_that_the_gateway_does(&store).await;
    everything_that_the_ledger_does(&store).await;
    for forbidden in [
        "CREATE TABLE more (id BIGINT)",
        "CREATE TABLE public.more (id BIGINT)",
        "CREATE TEMPORARY TABLE more (id BIGINT)",
        "CREATE SCHEMA more",
        "DROP TABLE keys",
        "ALTER TABLE keys ADD COLUMN more TEXT",
        "TRUNCATE keys",
        "CREATE INDEX more ON keys (hint)",
        "DELETE FROM schema_version",
        "CREATE ROLE more",
    ] {
        assert_eq!(refusal(run, forbidden).await, "42501", "{forbidden}");
    }

    store.create_key(&key(1)).await.unwrap();
    for allowed in [
        "SELECT id, alias, user_id, limits, created_at FROM keys",
        "SELECT * FROM users, teams, organizations, team_members, schema_version",
    ] {
        assert_eq!(refusal(read, allowed).await, "", "{allowed}");
    }
    for forbidden in [
        "SELECT hash FROM keys",
        "SELECT previous_hash FROM keys",
        "SELECT * FROM keys",
        "SELECT id FROM keys WHERE hash IS NOT NULL",
        "SELECT k FROM keys k",
        "UPDATE keys SET blocked = false",
        "INSERT INTO feed VALUES (1, 1)",
        "DELETE FROM changes",
        "CREATE TABLE more (id BIGINT)",
    ] {
        assert_eq!(refusal(read, forbidden).await, "42501", "{forbidden}");
    }
}

/// The code of the error with which a statement is refused; empty if it is not.
async fn refusal(url: &str, statement: &str) -> String {
    let options: PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await {
        Ok(_) => String::new(),
        Err(sqlx::Error::Database(error)) => error.code().unwrap().into_owned(),
        Err(error) => panic!("{error}"),
    }
}

async fn everything_that_the_ledger_does(store: &dyn LedgerStore) {
    store.id().await.unwrap();
    let row = |number| Row { request_id: Uuid::from_u128(number), ..Row::default() };
    assert_eq!(store.append(&[row(1)]).await.unwrap(), 1);
    assert_eq!(store.append_again(&[row(1), row(2)]).await.unwrap().added, 1);
    assert_eq!(store.rows(&RowsQuery { limit: 3, ..RowsQuery::default() }).await.unwrap().len(), 2);
    assert_eq!(store.forget(1).await.unwrap(), 2);
    assert_eq!(store.append_again(&[row(1)]).await.unwrap().too_old, 1);
    let query = UsageQuery { limit: 1, ..UsageQuery::default() };
    assert_eq!(store.usage(&query).await.unwrap()[0].total.attempts, 2);
}

async fn everything_that_the_gateway_does(store: &dyn Store) {
    let acme = Some("acme".to_owned());
    store.create_organization(&organization("acme")).await.unwrap();
    store.update_organization(&organization("acme")).await.unwrap();
    let (mut red, mut anna, mut first) = (team("red"), user("anna"), key(1));
    red.organization = acme.clone();
    anna.organization = acme.clone();
    first.organization = acme;
    store.create_user(&anna).await.unwrap();
    store.update_user(&anna).await.unwrap();
    red.members.push(contract::samples::member("anna", super::MemberRole::User));
    store.create_team(&red).await.unwrap();
    store.update_team(&red).await.unwrap();
    first.user = Some("anna".to_owned());
    first.team = Some("red".to_owned());
    store.create_key(&first).await.unwrap();
    store.update_key(&first).await.unwrap();
    assert!(store.key_by_hash(&[hash(1)]).await.unwrap().is_some());
    store.owner(Some("anna"), Some("red"), None).await.unwrap();
    assert_eq!(store.keys(&KeyFilter::default(), &ALL).await.unwrap().total, 1);
    assert_eq!(store.teams(&TeamFilter::default(), &ALL).await.unwrap().total, 1);
    assert_eq!(store.users(&UserFilter::default(), &ALL).await.unwrap().total, 1);
    assert_eq!(store.organizations(&ALL).await.unwrap().total, 1);
    store.delete_key(first.id).await.unwrap();
    store.delete_user("anna").await.unwrap();
    store.delete_team("red").await.unwrap();
    store.delete_organization("acme").await.unwrap();
    assert_eq!(store.changes(Some(0)).await.unwrap().last, 13);
    assert_eq!(store.forget_changes(i64::MAX).await.unwrap(), 13);
    assert!(store.changes(Some(0)).await.unwrap().gap);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_both_versions() {
    let postgres = Postgres::start();
    open(&postgres.url()).await;
    postgres
        .execute("postgres", "INSERT INTO sluicegate.schema_version (version) VALUES (99)")
        .await;
    let store = connect(&postgres.url()).await.unwrap();
    let error = store.migrate().await.err().unwrap().to_string();
    assert!(error.contains("version 99") && error.contains("version 4"), "{error}");
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let postgres = Postgres::start();
    let create = "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'";
    postgres.execute("postgres", create).await;
    let url = postgres.url_of("postgres", crate::support::postgres::PASSWORD, "latin");
    let error = connect(&url).await.err().unwrap().to_string();
    assert!(error.contains("UTF8"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_understood_is_an_error_and_no_panic() {
    let postgres = Postgres::start();
    let store = open(&postgres.url()).await;
    for (corruption, column) in [
        ("UPDATE sluicegate.keys SET hash = '\\x00'", "hash"),
        ("UPDATE sluicegate.keys SET models = '{}'", "models"),
        ("UPDATE sluicegate.keys SET limits = '{\"rpm\": -1}'", "limits"),
    ] {
        store.create_key(&key(1)).await.unwrap();
        postgres.execute("postgres", corruption).await;
        let error = store.key(key(1).id).await.err().unwrap();
        assert!(matches!(&error, StoreError::Broken(why) if why.contains(column)), "{error}");
        store.delete_key(key(1).id).await.unwrap();
    }
}
