//! A server that is sealed or away: values stay, and everything comes back by itself.

use serde_json::json;
use sluicegate_vault::{Operation, Options, Outcome, Vault, VaultError};

use super::{Bao, OFTEN, Role, get, options, until};

#[test]
fn values_outlive_a_seal_and_a_crash_and_the_client_comes_back_by_itself() {
    let mut bao = Bao::start_durable();
    bao.write_secret("xai", &json!({ "key": "one" }));
    bao.write_secret("brave", &json!({ "key": "b" }));
    let role = Role::make(&bao, &json!({ "token_ttl": "2s", "token_max_ttl": "4s" }));
    let eager = Options { refresh: OFTEN, ..options(&bao.url(), role.auth()) };
    let vault = Vault::start(eager).unwrap();
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");

    bao.seal();
    until("a sealed server", || !vault.status().up);
    assert_eq!(vault.refresh(), Err(VaultError::Sealed));
    assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");
    assert_eq!(get(&vault, "secret/brave#key"), Err(VaultError::Sealed));
    assert_eq!(vault.status().error, Some(VaultError::Sealed));
    bao.unseal();
    until("the server back", || vault.status().up && vault.status().error.is_none());
    assert_eq!(get(&vault, "secret/brave#key").unwrap(), "b");

    bao.kill();
    until("a server that is away", || !vault.status().up);
    let away = vault.status();
    // Long enough for the token to have ended.
    until("many tries", || {
        assert_eq!(get(&vault, "secret/xai#key").unwrap(), "one");
        let tries = |status: &sluicegate_vault::Status| {
            status.count(Operation::Login, Outcome::Unreachable)
        };
        tries(&vault.status()) > tries(&away) + 10
    });
    assert!(matches!(vault.refresh(), Err(VaultError::Unreachable(_))));
    bao.restart();
    bao.write_secret("xai", &json!({ "key": "two" }));
    until("the new value", || get(&vault, "secret/xai#key").unwrap() == "two");
    until("no trouble", || vault.status().up && vault.status().error.is_none());
}
