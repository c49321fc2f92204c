//! Secrets of both versions of the engine, and their changes.

use std::time::SystemTime;

use serde_json::json;
use sluicegate_vault::{KvVersion, Options, Reference, Vault, VaultError};

use super::{Bao, OFTEN, Role, get, options, until};

#[test]
fn both_versions_of_the_engine_are_read() {
    let bao = Bao::start();
    bao.put("sys/mounts/old", &json!({ "type": "kv", "options": { "version": "1" } }));
    bao.put("old/brave", &json!({ "key": "b-1", "number": 7 }));
    bao.write_secret("a/b", &json!({ "key": "ab-1" }));
    let role = Role::make(&bao, &json!({}));
    let mounts = [("old".to_owned(), KvVersion::V1)].into();
    let vault = Vault::start(Options { mounts, ..options(&bao.url(), role.auth()) }).unwrap();
    for (reference, value) in
        [("old/brave#key", "b-1"), ("secret/a/b#key", "ab-1"), ("secret/data/a/b#key", "ab-1")]
    {
        assert_eq!(get(&vault, reference).unwrap(), value);
    }
    let path = "old/brave".to_owned();
    let field = "number".to_owned();
    assert_eq!(get(&vault, "old/brave#number"), Err(VaultError::NotText { path, field }));
    let path = "secret/data/a/b".to_owned();
    let field = "none".to_owned();
    assert_eq!(get(&vault, "secret/a/b#none"), Err(VaultError::NoField { path, field }));
    let path = "secret/data/none".to_owned();
    assert_eq!(get(&vault, "secret/none#key"), Err(VaultError::NotFound { path }));
    assert!(vault.status().up);
}

#[test]
fn a_changed_value_is_seen_by_itself_and_told_once() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "key": "one", "other": "a" }));
    let role = Role::make(&bao, &json!({}));
    let eager = Options { refresh: OFTEN, ..options(&bao.url(), role.auth()) };
    let vault = Vault::start(eager).unwrap();
    let reference: Reference = "secret/xai#key".parse().unwrap();
    assert_eq!(vault.since(&reference), None);
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");
    let (since, changes) = (vault.since(&reference).unwrap(), vault.changes());
    assert!(since <= SystemTime::now());

    // A version that changes nothing that is held.
    bao.write_secret("xai", &json!({ "key": "one", "other": "b" }));
    assert_eq!(vault.refresh(), Ok(()));
    assert_eq!((*changes.borrow(), vault.since(&reference)), (0, Some(since)));

    bao.write_secret("xai", &json!({ "key": "two", "other": "b" }));
    until("the change", || *changes.borrow() == 1);
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "two");
    assert!(vault.since(&reference).unwrap() > since);
    assert_eq!(vault.refresh(), Ok(()));
    assert_eq!(*changes.borrow(), 1);
}

#[test]
fn a_change_is_seen_at_once_where_somebody_asks() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "key": "one" }));
    bao.write_secret("brave", &json!({ "key": "b" }));
    let role = Role::make(&bao, &json!({}));
    let vault = Vault::start(options(&bao.url(), role.auth())).unwrap();
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");
    assert_eq!(get(&vault, "secret/brave#key").unwrap(), "b");
    bao.write_secret("xai", &json!({ "key": "two" }));
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");
    assert_eq!(vault.refresh(), Ok(()));
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "two");

    let brave: Reference = "secret/brave#key".parse().unwrap();
    vault.keep_only([&brave]);
    assert!(vault.since(&brave).is_some());
    assert_eq!(vault.since(&"secret/xai#key".parse().unwrap()), None, "forgotten");
}
