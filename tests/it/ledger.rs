//! What is written down of each attempt: once, whatever becomes of the gateway, its store and its clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use sluicegate::stores::sqlite::SqliteStore;
use sluicegate_ledger::{LedgerStore as _, UsageQuery};
use sluicegate_simulator::{Counts, Simulator};
use sqlx::{Connection as _, Row as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::postgres::Postgres;
use crate::support::{Config, Gateway, chat, provider, soon};

/// Nano-USD a token: 10 and 20 USD a million.
const IN: u64 = 10_000;
const OUT: u64 = 20_000;

fn config(provider: &Simulator, store: &str, directory: &Path) -> Config {
    let mut config = Config::for_provider(provider.address());
    config.head = format!(
        "admin: {{ master_key: \"env:MASTER_KEY\" }}\nstore: {store}\n\
         ledger: {{ directory: \"{}\" }}\n",
        directory.display()
    );
    config.with_models(
        "  sim-1: { targets: [{ provider: sim, model: sim-1 }], price: { input: \"10\", output: \"20\" } }\n",
    )
}

fn cost(counts: &Counts) -> i64 {
    (counts.prompt_tokens * IN + counts.completion_tokens * OUT).cast_signed()
}

fn request(tokens: u64, stream: bool) -> Value {
    let mut body = chat(stream, &format!("tokens={tokens}"));
    body["max_tokens"] = json!(tokens);
    body
}

/// What a database has.
struct Rows {
    rows: i64,
    cost: i64,
    totals: (i64, i64),
    outcomes: Vec<(String, i64)>,
}

/// What the ledger of a PostgreSQL database says.
async fn rows(url: &str) -> Rows {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let all = "SELECT count(*), COALESCE(sum(cost), 0)::bigint FROM sluicegate.ledger";
    let row = sqlx::query(all).fetch_one(&mut connection).await.unwrap();
    let totals = "SELECT COALESCE(sum(attempts), 0)::bigint, COALESCE(sum(cost), 0)::bigint \
                  FROM sluicegate.ledger_daily";
    let total = sqlx::query(totals).fetch_one(&mut connection).await.unwrap();
    let by = "SELECT outcome, count(*) FROM sluicegate.ledger GROUP BY outcome ORDER BY outcome";
    let outcomes = sqlx::query(by).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Rows {
        rows: row.get(0),
        cost: row.get(1),
        totals: (total.get(0), total.get(1)),
        outcomes: outcomes.iter().map(|row| (row.get(0), row.get(1))).collect(),
    }
}

/// What the counters of a PostgreSQL database have counted of money.
async fn counted(url: &str) -> (i64, i64) {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let statement = "SELECT \
        (SELECT COALESCE(sum(b.value::bigint), 0)::bigint FROM sluicegate.quota_counters c, \
         jsonb_each_text(c.buckets) b WHERE c.counter LIKE '%nano_usd%'), \
        (SELECT COALESCE(sum((l.value ->> 'leased')::bigint), 0)::bigint \
         FROM sluicegate.quota_counters c, jsonb_each(c.leases) l WHERE c.counter LIKE '%nano_usd%')";
    let row = sqlx::query(statement).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (row.get(0), row.get(1))
}

fn postgres(server: &Postgres) -> String {
    format!("{{ postgres: {{ url: \"{}\" }} }}", server.url())
}

#[tokio::test]
async fn each_attempt_is_a_row_and_rows_cost_what_the_provider_counted() {
    let provider = provider().await;
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(&provider, &postgres(&server), directory.path()));
    let key = gateway.key(&json!({"max_budget": 100})).await;
    for index in 0..30 {
        let answer = gateway.chat(&key, &request(5 + index % 3, index % 2 == 0)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // One that is refused, one that fails and is tried again.
    let answer = gateway.chat(&key, &request(100_000_000, false)).await;
    assert_eq!(answer.status, 402, "{}", answer.text());
    let answer = gateway.chat(&key, &chat(false, "fault=refuse-first,n=32")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    gateway.stop().await;
    let found = rows(&server.url()).await;
    let judge = provider.ledger().total;
    assert_eq!((found.rows, found.cost), (32, cost(&judge)), "{:?}", found.outcomes);
    assert_eq!(found.totals, (32, cost(&judge)));
    let outcomes = [("complete".to_owned(), 30), ("upstream_error".to_owned(), 2)];
    assert_eq!(found.outcomes, outcomes);
    assert_eq!(
        counted(&server.url()).await,
        (cost(&judge), 0),
        "the counter agrees, nothing is leased"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the journal is gone");
}

#[tokio::test]
async fn rows_wait_while_the_database_is_away_and_none_is_written_twice() {
    let provider = provider().await;
    let mut server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(&provider, &postgres(&server), directory.path()));
    let key = gateway.key(&json!({})).await;
    // What the feed says of a key after it was looked up is a reason to look it up again.
    let made = Instant::now();
    soon("what the feed says of the new key", async {
        let age = "sluicegate_store_feed_age_seconds";
        while gateway.metric(age, "").await >= made.elapsed().as_secs_f64() {}
    })
    .await;
    assert_eq!(gateway.chat(&key, &request(5, false)).await.status, 200);
    server.kill();
    for _ in 0..20 {
        let answer = gateway.chat(&key, &request(5, false)).await;
        assert_eq!(answer.status, 200, "no limit, no store: {}", answer.text());
    }
    server.restart();
    soon("all rows", async { while rows(&server.url()).await.rows < 21 {} }).await;
    gateway.stop().await;
    let found = rows(&server.url()).await;
    assert_eq!((found.rows, found.cost), (21, cost(&provider.ledger().total)));
}

/// Directories and files in them.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = |directory: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let files = paths(directory).into_iter().flat_map(|journal| paths(&journal));
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Waits until there are no more journals than `count`: those of processes that live.
async fn until_journals(directory: &Path, count: usize) {
    soon("the journals of the dead", async {
        while std::fs::read_dir(directory).unwrap().count() > count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_two_stores_share_mixes_nothing() {
    let provider = provider().await;
    let (directory, stores) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = |name: &str| {
        let path = stores.path().join(name);
        let store = format!("{{ sqlite: {{ path: \"{}\" }} }}", path.display());
        config(&provider, &store, directory.path())
    };
    let attempts = async |gateway: &Gateway| {
        let answer = gateway.admin("GET", "/admin/v1/usage", &json!({})).await;
        answer.json()["items"][0]["attempts"].as_u64().unwrap()
    };
    let killed = Gateway::start(&config("one.db"));
    let key = killed.key(&json!({})).await;
    assert_eq!(killed.chat(&key, &request(5, false)).await.status, 200);
    killed.signal("KILL");
    killed.ended().await;
    let left = files(directory.path());
    assert!(!left.is_empty());

    // Another store's gateway leaves it, and says so.
    let other = Gateway::start(&config("other.db"));
    let named = left.keys().next().unwrap().parent().unwrap();
    other.until_metric("sluicegate_ledger_foreign_journals", "", 1.0).await;
    let mut now = files(directory.path());
    now.retain(|path, _| path.starts_with(named));
    assert_eq!(now, left, "as it was");
    assert_eq!(attempts(&other).await, 0);

    // Its own store's takes it, and the other forgets it.
    let second = Gateway::start(&config("one.db"));
    until_journals(directory.path(), 2).await;
    assert!(!named.exists());
    assert_eq!(attempts(&second).await, 1);
    soon("no more of it", async {
        while other.metric("sluicegate_ledger_foreign_journals", "").await > 0.0 {}
    })
    .await;

    // And one that lives beside it takes what the other left.
    let third = Gateway::start(&config("one.db"));
    assert_eq!(second.chat(&key, &request(5, false)).await.status, 200);
    second.signal("KILL");
    second.ended().await;
    until_journals(directory.path(), 2).await;
    assert_eq!((attempts(&third).await, attempts(&other).await), (2, 0));
    third.stop().await;
    other.stop().await;
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_process_left_half_made_is_removed() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join(".new-0198c7a2-0000-7000-8000-000000000000");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("lock"), "").unwrap();
    let store = "{ sqlite: { path: \":memory:\" } }";
    let gateway = Gateway::start(&config(&provider, store, directory.path()));
    until_journals(directory.path(), 1).await;
    assert!(!left.exists());
    gateway.stop().await;
}

#[tokio::test]
async fn a_row_that_was_deleted_for_its_age_is_not_counted_again_from_a_journal() {
    let provider = provider().await;
    let (directory, stores) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = stores.path().join("one.db");
    let store = format!("{{ sqlite: {{ path: \"{}\" }} }}", path.display());
    let config = config(&provider, &store, directory.path());
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({})).await;
    assert_eq!(gateway.chat(&key, &request(5, false)).await.status, 200);
    gateway.until_metric("sluicegate_ledger_rows_total", "result=\"stored\"", 1.0).await;
    gateway.signal("KILL");
    gateway.ended().await;

    // Longer than rows are kept, nobody comes to see what the killed one has left.
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.forget(i64::MAX).await.unwrap(), 1);
    let gateway = Gateway::start(&config);
    until_journals(directory.path(), 1).await;
    gateway.until_metric("sluicegate_ledger_rows_total", "result=\"too_old\"", 1.0).await;
    assert_eq!(gateway.metric("sluicegate_ledger_recovered_rows_total", "").await, 0.0);
    gateway.stop().await;
    let all = UsageQuery { limit: 1, ..UsageQuery::default() };
    let total = store.usage(&all).await.unwrap()[0].total;
    assert_eq!(
        (total.attempts, total.nano_usd),
        (1, cost(&provider.ledger().total).cast_unsigned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_loses_nothing_and_charges_nothing_twice() {
    let provider = provider().await;
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let config = config(&provider, &postgres(&server), directory.path());
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({"max_budget": 100})).await;
    gateway.stop().await;
    let kills = 50;
    for round in 0..kills {
        let gateway = Gateway::start(&config);
        // Under load until some more are through, and then gone, wherever it is.
        let enough = provider.ledger().total.completed + 20 + round % 12 * 7;
        let load = async {
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let (address, key) = (gateway.proxy, key.clone());
                clients.spawn(async move {
                    let bearer = format!("Authorization: Bearer {key}\r\n");
                    loop {
                        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
                        let request = crate::support::Client::request(
                            "/v1/chat/completions",
                            &format!("{bearer}Connection: close\r\n"),
                            &request(5, false),
                        );
                        stream.write_all(&request).await.ok()?;
                        let mut answer = Vec::new();
                        stream.read_to_end(&mut answer).await.ok()?;
                        if answer.is_empty() {
                            return Some(());
                        }
                    }
                });
            }
            provider.wait_until(|stats| stats.total.completed >= enough).await;
            gateway.signal("KILL");
            while clients.join_next().await.is_some() {}
        };
        soon("a killed gateway", load).await;
        drop(gateway);
    }
    // The next one finds what they left.
    let gateway = Gateway::start(&config);
    until_journals(directory.path(), 1).await;
    gateway.stop().await;
    let found = rows(&server.url()).await;
    let judge = provider.ledger().total;
    // What was under way when it was killed is charged what it held; all else to the last unit.
    let crashed: i64 = found.outcomes.iter().filter(|(o, _)| o == "crashed").map(|(_, n)| n).sum();
    assert!(crashed <= 8 * kills.cast_signed(), "{:?}", found.outcomes);
    assert!(found.rows >= judge.completed.cast_signed(), "a row for each that the provider served");
    assert!(found.cost >= cost(&judge), "{} for {}", found.cost, cost(&judge));
    assert_eq!(found.totals, (found.rows, found.cost));
    let (used, leased) = counted(&server.url()).await;
    assert_eq!((used, leased), (found.cost, 0), "the counter agrees with the ledger");
}
