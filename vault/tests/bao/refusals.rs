//! What the server, or the client, refuses.

use serde_json::json;
use sluicegate_vault::{Auth, Operation, Options, Outcome, Vault, VaultError};

use super::{Bao, OFTEN, READER, Role, get, options, until};

#[test]
fn a_wrong_secret_id_is_tried_once_until_it_changes() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "key": "one" }));
    let role = Role::make(&bao, &json!({}));
    role.write("0d1f2c3b-wrong");
    let vault = Vault::start(options(&bao.url(), role.auth())).unwrap();
    for _ in 0..5 {
        let error = get(&vault, "secret/xai#key").unwrap_err();
        assert_eq!(error, VaultError::LoginRefused { mount: "approle".to_owned(), status: 400 });
        assert!(!format!("{error} {error:?}").contains("wrong-"));
        assert!(vault.refresh().is_err());
    }
    let status = vault.status();
    assert!(!status.up);
    assert_eq!(
        status.count(Operation::Login, Outcome::Denied),
        1,
        "a role is locked out after five"
    );
    std::fs::remove_file(role.file()).unwrap();
    assert!(matches!(vault.refresh(), Err(VaultError::Credential { .. })));
    role.renew_secret_id(&bao);
    assert_eq!(vault.refresh(), Ok(()));
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");
}

#[test]
fn a_secret_that_may_no_longer_be_read_keeps_its_value_and_the_others_go_on() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "key": "one" }));
    bao.write_secret("brave", &json!({ "key": "b-1" }));
    let role = Role::make(&bao, &json!({}));
    let eager = Options { refresh: OFTEN, ..options(&bao.url(), role.auth()) };
    let vault = Vault::start(eager).unwrap();
    assert_eq!(get(&vault, "secret/brave#key").unwrap(), "b-1");
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");

    let narrow = r#"path "secret/data/xai" { capabilities = ["read"] }"#;
    bao.put("sys/policies/acl/reader", &json!({ "policy": narrow }));
    let denied = VaultError::Denied { path: "secret/data/brave".to_owned() };
    until("a refusal", || vault.status().error == Some(denied.clone()));
    bao.write_secret("xai", &json!({ "key": "two" }));
    until("the other's new value", || get(&vault, "secret/xai#key").unwrap() == "two");
    assert_eq!(get(&vault, "secret/brave#key").unwrap(), "b-1");
    let status = vault.status();
    assert!(status.up, "the server answers");
    assert_eq!(status.count(Operation::Login, Outcome::Ok), 1, "another token would not help");

    let path = "other/data/xai".to_owned();
    assert_eq!(get(&vault, "other/xai#key"), Err(VaultError::Denied { path }));
    bao.put("sys/policies/acl/reader", &json!({ "policy": READER }));
    until("no refusal", || vault.status().error.is_none());
}

#[test]
fn a_root_token_is_refused() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "key": "one" }));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, bao.root_token()).unwrap();
    let strict = options(&bao.url(), Auth::Token { file: file.clone() });
    let vault = Vault::start(strict.clone()).unwrap();
    assert_eq!(get(&vault, "secret/xai#key"), Err(VaultError::RootToken));
    assert_eq!(vault.status().count(Operation::Read, Outcome::Ok), 0);

    let lenient = Vault::start(Options { refuse_root: false, ..strict.clone() }).unwrap();
    assert_eq!(get(&lenient, "secret/xai#key").unwrap(), "one");
    assert_eq!(lenient.status().token_expires, None);

    std::fs::write(&file, "s.unknown").unwrap();
    let unknown = Vault::start(strict).unwrap();
    assert_eq!(get(&unknown, "secret/xai#key"), Err(VaultError::TokenRefused));
}
