use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sluicegate::stores::sqlite::SqliteStore;
use sluicegate::stores::{Store, StoreError};
use sluicegate_ledger::LedgerStore;

use super::contract;
use super::contract::samples::organization;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_in_memory_keeps_the_contract() {
    contract::check(async || Arc::new(SqliteStore::in_memory().await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_in_a_file_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let mut count = 0;
    contract::check(async || {
        count += 1;
        let path = directory.path().join(format!("{count}/sluicegate.db"));
        Arc::new(SqliteStore::open(&path).await.unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_file_and_its_directory_are_made_for_this_user_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/keys/sluicegate.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.create_organization(&organization("acme")).await.unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let files: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 2, "a journal is beside the file: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_file_that_others_may_read_is_closed_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluicegate.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    SqliteStore::open(&path).await.unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_is_stored_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluicegate.db");
    let acme = organization("acme");
    SqliteStore::open(&path).await.unwrap().create_organization(&acme).await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.organization("acme").await.unwrap(), Some(acme));
    assert_eq!(store.changes(None).await.unwrap().last, 1);
}

#[tokio::test]
async fn a_copy_made_while_it_is_in_use_holds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("a.db"), directory.path().join("b.db"));
    let store = open(path.clone()).await.unwrap();
    let acme = organization("acme");
    store.create_organization(&acme).await.unwrap();
    execute(&path, &format!("VACUUM INTO '{}'", copy.display())).await;
    store.delete_organization("acme").await.unwrap();
    let restored = open(copy).await.unwrap();
    assert_eq!(restored.id().await.unwrap(), store.id().await.unwrap());
    assert_eq!(restored.organization("acme").await.unwrap(), Some(acme));
    // Whoever followed the feed further than the copy goes must look at everything anew.
    assert!(restored.changes(Some(2)).await.unwrap().gap);
}

#[tokio::test]
async fn several_may_open_one_new_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluicegate.db");
    let opened: Vec<_> = (0..8).map(|_| tokio::spawn(open(path.clone()))).collect();
    let mut ids = std::collections::HashSet::new();
    for (number, store) in opened.into_iter().enumerate() {
        let store = store.await.unwrap().unwrap();
        ids.insert(store.id().await.unwrap());
        store.create_organization(&organization(&format!("o{number}"))).await.unwrap();
    }
    let store = open(path).await.unwrap();
    assert_eq!(store.changes(None).await.unwrap().last, 8);
    ids.insert(store.id().await.unwrap());
    assert_eq!(ids.len(), 1, "one store, whoever made it");
    let other = open(directory.path().join("other.db")).await.unwrap();
    assert!(!ids.contains(&other.id().await.unwrap()));
}

async fn open(path: std::path::PathBuf) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&path).await
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluicegate.db");
    open(path.clone()).await.unwrap();
    execute(&path, "INSERT INTO schema_version (version) VALUES (99)").await;
    let error = open(path).await.err().unwrap().to_string();
    assert!(error.contains("version 99") && error.contains("version 4"), "{error}");
    assert!(error.contains("sluicegate.db"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    std::fs::write(&path, "this is text, and long enough to be no header of a database").unwrap();
    let error = open(path).await.err().unwrap();
    assert!(matches!(&error, StoreError::Broken(why) if why.contains("notes.txt")), "{error}");
}

#[tokio::test]
async fn what_cannot_be_understood_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluicegate.db");
    let store = open(path.clone()).await.unwrap();
    let corruptions = [
        ("UPDATE organizations SET models = 'no JSON'", "models"),
        ("UPDATE organizations SET models = '{}'", "models"),
        ("UPDATE organizations SET metadata = '[]'", "metadata"),
        ("UPDATE organizations SET limits = '{\"rpm\": -1}'", "limits"),
        ("UPDATE organizations SET limits = '{\"unknown\": 1}'", "limits"),
        ("UPDATE organizations SET blocked = 7", "blocked"),
    ];
    for (number, (corruption, column)) in corruptions.into_iter().enumerate() {
        let id = format!("o{number}");
        store.create_organization(&organization(&id)).await.unwrap();
        execute(&path, corruption).await;
        let error = store.organization(&id).await.err().unwrap();
        assert!(matches!(&error, StoreError::Broken(why) if why.contains(column)), "{error}");
        store.delete_organization(&id).await.unwrap();
    }
    execute(&path, "UPDATE changes SET kind = 'unheard of'").await;
    assert!(matches!(store.changes(Some(0)).await, Err(StoreError::Broken(_))));
    execute(&path, "DELETE FROM feed").await;
    assert!(matches!(store.changes(None).await, Err(StoreError::Broken(_))));
}

async fn execute(path: &std::path::Path, sql: &str) {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}
