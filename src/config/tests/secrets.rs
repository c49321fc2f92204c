//! `secrets`, and references into Vault.

use sluicegate_vault::{Auth, KvVersion};

use super::*;
use crate::config::vault::references;

const APPROLE: &str = "approle: { role_id: \"env:VAULT_ROLE_ID\", secret_id_file: /run/id }";

fn vault(keys: &str, auth: &str) -> String {
    format!("secrets:\n  vault: {{ address: \"https://vault:8200\", {keys} auth: {{ {auth} }} }}\n")
}

fn options(keys: &str, auth: &str) -> sluicegate_vault::Options {
    let text = format!("{}auth: {{ anonymous: true }}\n", vault(keys, auth));
    loaded(&text).config.secrets.vault.unwrap().options
}

#[test]
fn defaults_and_ways_to_log_in() {
    let given = options("", APPROLE);
    assert_eq!(given.address.to_string(), "https://vault:8200");
    assert_eq!((given.refresh.as_secs(), given.timeout.as_secs()), (300, 10));
    assert!(!given.refuse_root && given.namespace.is_none() && given.mounts.is_empty());
    let Auth::AppRole { mount, role_id, secret_id_file } = given.auth else { panic!() };
    assert_eq!((mount.as_str(), role_id.expose_secret()), ("approle", "hidden-role-id"));
    assert_eq!(secret_id_file.to_str(), Some("/run/id"));

    let given = options("", "kubernetes: { role: gate, mount: clusters/one }");
    let Auth::Kubernetes { mount, role, jwt_file } = given.auth else { panic!() };
    assert_eq!((mount.as_str(), role.as_str()), ("clusters/one", "gate"));
    assert!(jwt_file.ends_with("serviceaccount/token"));

    let given =
        options("namespace: team/a/, mounts: { old: 1, team/kv: 2 },", "token: { file: /t }");
    assert!(matches!(given.auth, Auth::Token { .. }));
    assert_eq!(given.namespace.as_deref(), Some("team/a"));
    assert_eq!(given.mounts["old"], KvVersion::V1);
    assert_eq!(given.mounts["team/kv"], KvVersion::V2);
}

#[test]
fn what_is_refused() {
    let vault = |keys: &str| format!("secrets: {{ vault: {{ {keys} }} }}");
    for (keys, expected) in [
        (
            "auth: { token: { file: /t } }",
            "1:12: secrets.vault: `address` is missing; write it as in https://vault.example.com:8200",
        ),
        (
            "address: \"https://vault/v1\", auth: { token: { file: /t } }",
            "1:30: secrets.vault.address: the address has a path or a query; paths belong into references; write it as in https://vault.example.com:8200",
        ),
        (
            "address: \"https://me:hidden@vault\", auth: { token: { file: /t } }",
            "1:30: secrets.vault.address: the address has a user name or password in it; leave them out; credentials go to `auth`",
        ),
        (
            "address: \"https://vault\", auth: {}",
            "1:47: secrets.vault.auth: no way to log in; choose `approle`, `kubernetes` or `token`",
        ),
        (
            "address: \"https://vault\", auth: { token: { file: /t }, kubernetes: { role: r } }",
            "1:55: secrets.vault.auth.token: several ways to log in at once; keep one of them",
        ),
        (
            "address: \"https://vault\", auth: { token: { file: \"env:T\" } }",
            "1:70: secrets.vault.auth.token.file: is not the path of a file; write the path alone, as in /run/secrets/id",
        ),
        (
            "address: \"https://vault\", mounts: { a/../b: 1 }, auth: { token: { file: /t } }",
            "1:57: secrets.vault.mounts.\"a/../b\": not a mount's name; write it without a slash at an end",
        ),
        (
            "address: \"https://vault\", skip_verify: true, auth: { token: { file: /t } }",
            "1:47: secrets.vault.skip_verify: unknown key; it is called `ca` here",
        ),
        (
            "address: \"http://vault\", ca: /dev/null, auth: { token: { file: /t } }",
            "1:50: secrets.vault.ca: `ca` without TLS; use an https:// `address`, or take it out",
        ),
    ] {
        let found = problems(&format!("{}\nauth: {{ anonymous: true }}\n", vault(keys)));
        assert_eq!(found.first(), Some(&format!("c.yaml:{expected}")), "{keys}");
    }
    refused_in_production(
        &vault("address: \"http://127.0.0.1:8200\", auth: { token: { file: /t } }"),
        "c.yaml:1:30: secrets.vault.address: a plain connection to where secrets are kept is refused in production; use https://",
    );
}

#[test]
fn a_wrong_vault_is_one_mistake_and_not_one_for_each_reference() {
    let provider = "providers: { groq: { api_key: \"vault:secret/groq#key\" } }\n";
    let text = format!(
        "secrets: {{ vault: {{ address: nowhere }} }}\n{provider}auth: {{ anonymous: true }}\n"
    );
    let found = problems(&text);
    assert!(found.iter().all(|problem| problem.contains("secrets.vault")), "{found:?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_vault_can_t_open_itself() {
    let auth = "approle: { role_id: \"vault:secret/role#id\", secret_id_file: /run/id }";
    let found = problems(&format!("{}auth: {{ anonymous: true }}\n", vault("", auth)));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("secrets.vault.auth.approle.role_id"), "{found:?}");
}

#[test]
fn production_takes_all_providers_keys_from_vault_and_refuses_root_there() {
    let config = loaded(PRODUCTION).config;
    let shown: Vec<_> = references(&config).into_iter().map(ToString::to_string).collect();
    for provider in ["anthropic", "openai", "xai"] {
        assert!(shown.contains(&format!("secret/data/{provider}#api_key")), "{shown:?}");
    }
    for reference in ["secret/data/github#token", "secret/data/brave#api_key"] {
        assert!(shown.contains(&reference.to_owned()), "{shown:?}");
    }
    assert!(config.secrets.vault.unwrap().options.refuse_root);
}

#[test]
fn without_a_server_the_key_and_the_reference_are_named_and_nothing_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let path = directory.path().join("c.yaml");
    let token = directory.path().join("token");
    std::fs::write(&token, "s.hidden").unwrap();
    let text = format!(
        "secrets: {{ vault: {{ address: \"http://{nobody}\", auth: {{ token: {{ file: {} }} }} }} }}\n\
         auth: {{ anonymous: true }}\nproviders: {{ groq: {{ api_key: \"vault:secret/groq#key\" }} }}\n",
        token.display()
    );
    std::fs::write(&path, text).unwrap();
    let problems = load_file(&path, &env()).unwrap_err().to_string();
    assert!(
        problems.contains("providers.groq.api_key: vault:secret/groq#key: Vault can't be reached"),
        "{problems}"
    );
    assert!(!shows_a_secret(&problems));
}
