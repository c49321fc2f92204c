//! Tokens are renewed, and replaced when they can't be.

use serde_json::json;
use sluicegate_vault::{Auth, Operation, Outcome, Vault, VaultError};

use super::{Bao, OFTEN, Role, get, options, until};

/// Reads that did not bring a value.
fn failed_reads(vault: &Vault) -> u64 {
    let status = vault.status();
    Outcome::ALL[1..].iter().map(|outcome| status.count(Operation::Read, *outcome)).sum()
}

#[test]
fn a_short_lived_token_is_renewed_and_replaced_without_a_failed_read() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "api_key": "xai-1" }));
    let role = Role::make(&bao, &json!({ "token_ttl": "2s", "token_max_ttl": "6s" }));
    let vault = Vault::start(options(&bao.url(), role.auth())).unwrap();
    assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "xai-1");
    let mut seen = None;
    // Four lives of at most six seconds.
    until("four tokens, each renewed", || {
        assert_eq!(vault.refresh(), Ok(()));
        assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "xai-1");
        let status = vault.status();
        seen = status.token_expires.or(seen);
        status.count(Operation::Login, Outcome::Ok) >= 5
            && status.count(Operation::Renew, Outcome::Ok) >= 8
    });
    assert!(seen.is_some());
    assert_eq!(failed_reads(&vault), 0);
    let status = vault.status();
    assert!(status.up);
    assert_eq!(status.count(Operation::Login, Outcome::Denied), 0);
    vault.close();
    assert_eq!(vault.status().count(Operation::Revoke, Outcome::Ok), 1);
    assert_eq!(vault.refresh(), Err(VaultError::Stopped));
    assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "xai-1");
}

#[test]
fn a_revoked_token_is_replaced_with_the_secret_id_that_is_in_the_file_by_then() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "api_key": "xai-1" }));
    let role = Role::make(&bao, &json!({}));
    let vault = Vault::start(options(&bao.url(), role.auth())).unwrap();
    get(&vault, "secret/xai#api_key").unwrap();
    let old = std::fs::read_to_string(role.file()).unwrap();

    bao.put("sys/leases/revoke-prefix/auth/approle", &json!({}));
    assert_eq!(vault.refresh(), Ok(()), "nobody notices");
    assert_eq!(vault.status().count(Operation::Login, Outcome::Ok), 2);

    let old = json!({ "secret_id": old.trim() });
    bao.put("auth/approle/role/gateway/secret-id/destroy", &old);
    bao.put("sys/leases/revoke-prefix/auth/approle", &json!({}));
    let refused = VaultError::LoginRefused { mount: "approle".to_owned(), status: 400 };
    assert_eq!(vault.refresh(), Err(refused));
    assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "xai-1");
    role.renew_secret_id(&bao);
    assert_eq!(vault.refresh(), Ok(()));
}

#[test]
fn a_token_from_a_file_is_used_until_it_ends_and_then_the_next_one_is() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "api_key": "xai-1" }));
    let role = Role::make(&bao, &json!({}));
    let make = |settings| {
        let made = bao.put("auth/token/create", &settings);
        std::fs::write(role.file(), made["auth"]["client_token"].as_str().unwrap()).unwrap();
    };
    make(json!({ "policies": ["reader"], "ttl": "9s", "renewable": false }));
    let auth = Auth::Token { file: role.file() };
    let vault =
        Vault::start(sluicegate_vault::Options { refresh: OFTEN, ..options(&bao.url(), auth) });
    let vault = vault.unwrap();
    assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "xai-1");
    until("a token that ends", || vault.status().error == Some(VaultError::TokenEnds));
    make(json!({ "policies": ["reader"], "ttl": "2s", "period": "2s" }));
    until("the next token, renewed", || vault.status().count(Operation::Renew, Outcome::Ok) >= 2);
    until("no trouble", || vault.status().error.is_none());
    assert_eq!(failed_reads(&vault), 0);
}
