//! Secrets from Vault: rotated under load, held while it is away, explained where it lacks them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use sluicegate_simulator::Simulator;

use crate::reload::Load;
use crate::support::bao::{Bao, free_address};
use crate::support::certificates::{Authority, client_config, handshake, replace};
use crate::support::{Client, Config, Gateway, chat, provider, soon};

/// The role that the gateway logs in by.
const ROLE: &str = "auth/approle/role/gateway";

/// A Vault with the provider's key and a role that may read it, and a configuration that uses both. The
/// credentials are below `directory`.
fn prepare(bao: &Bao, provider: &Simulator, directory: &Path) -> Config {
    bao.write_secret("sim", &json!({ "api_key": "sk-of-the-vault-1" }));
    let policy = r#"path "secret/data/sim" { capabilities = ["read"] }"#;
    bao.put("sys/policies/acl/gateway", &json!({ "policy": policy }));
    bao.put("sys/auth/approle", &json!({ "type": "approle" }));
    let role = json!({ "token_policies": ["gateway"], "role_id": "gateway" });
    bao.put(ROLE, &role);
    let made = bao.put("auth/approle/role/gateway/secret-id", &json!({}));
    let secret_id = made["data"]["secret_id"].as_str().unwrap();
    std::fs::write(directory.join("secret-id"), secret_id).unwrap();
    std::fs::write(directory.join("role-id"), "gateway\n").unwrap();
    let mut config = Config::for_provider(provider.address()).with(&format!(
        "secrets: {{ vault: {{ address: \"{}\", refresh: 1s, auth: {{ approle: {{ role_id: \"file:{1}/role-id\", \
         secret_id_file: \"{1}/secret-id\" }} }} }} }}",
        bao.url(),
        directory.display(),
    ));
    config.providers = config.providers.replace("env:SIM_KEY", "vault:secret/data/sim#api_key");
    config
}

/// The key of the last request that the provider has seen.
fn key_of_the_last(provider: &Simulator) -> String {
    let requests = provider.requests();
    requests.last().unwrap().headers["authorization"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_is_used_without_a_restart_or_a_failed_request() {
    let mut bao = tokio::task::spawn_blocking(Bao::start).await.unwrap();
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&prepare(&bao, &provider, directory.path()));
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    assert_eq!(key_of_the_last(&provider), "Bearer sk-of-the-vault-1");
    let first = gateway.metric("sluicegate_secret_loaded_timestamp_seconds", "sim.api_key").await;
    assert!(first > 0.0);
    assert_eq!(gateway.metric("sluicegate_vault_up", "").await, 1.0);
    assert!(gateway.metric("sluicegate_vault_token_expiry_timestamp_seconds", "").await > first);

    let load = Load::start(gateway.client(), 4);
    bao.write_secret("sim", &json!({ "api_key": "sk-of-the-vault-2" }));
    gateway.await_log("configuration in force");
    load.go_on_for(8).await;
    load.finish().await;
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    assert_eq!(key_of_the_last(&provider), "Bearer sk-of-the-vault-2");
    let second = gateway.metric("sluicegate_secret_loaded_timestamp_seconds", "sim.api_key").await;
    assert!(second > first, "{second} after {first}");

    // Away: what is held is used, and a reload does not fail for it.
    bao.kill();
    soon("a Vault that is away", async {
        while gateway.metric("sluicegate_vault_up", "").await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gateway.signal("HUP");
    gateway.await_log("configuration is unchanged");
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    let admin = Client::new(gateway.admin);
    let shown = admin.get("/admin/v1/config").await.text();
    let page = Client::new(gateway.metrics).get("/metrics").await.text();
    assert!(shown.contains("vault:secret/data/sim#api_key"), "{shown}");
    assert!(!format!("{shown}{page}").contains("sk-of-the-vault"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_start_that_lacks_a_secret_names_its_key_its_reference_and_why() {
    let mut bao = tokio::task::spawn_blocking(Bao::start).await.unwrap();
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = prepare(&bao, &provider, directory.path());
    let file = directory.path().join("c.yaml");
    let check = |config: &Config| {
        std::fs::write(&file, config.yaml()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        let output = command.args(["check", "--config"]).arg(&file).env_clear().output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&config), (Some(0), String::new()));

    config.providers = config.providers.replacen("sim#api_key", "other#api_key", 1);
    let (code, said) = check(&config);
    assert_eq!(code, Some(64));
    for part in [
        "providers.sim.api_key: vault:secret/data/other#api_key: permission denied",
        "secret/data/other",
        "docs/vault.md",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("providers.anth"), "{said}");

    bao.kill();
    let (code, said) = check(&config);
    assert_eq!(code, Some(64));
    for key in ["providers.sim.api_key", "providers.anth.api_key"] {
        assert!(said.contains(&format!("{key}: vault:secret/data/")), "{said}");
    }
    assert!(said.contains("Vault can't be reached"), "{said}");
}

/// Tokens of six seconds that can be renewed once or twice, so that there are renewals and logins all the
/// time, under traffic, with a rotation in between. `SLUICEGATE_VAULT_SECONDS=300` has it go on for so long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_tokens_are_renewed_and_replaced_and_no_read_fails() {
    const REQUESTS: &str = "sluicegate_vault_requests_total";
    #[expect(clippy::disallowed_methods, reason = "for whoever runs the test, not for a gateway")]
    let seconds = std::env::var("SLUICEGATE_VAULT_SECONDS");
    let wanted = Duration::from_secs(seconds.map_or(0, |n| n.parse().unwrap()));
    let bao = tokio::task::spawn_blocking(Bao::start).await.unwrap();
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let config = prepare(&bao, &provider, directory.path());
    let role = json!({
        "token_policies": ["gateway"], "role_id": "gateway", "token_ttl": "6s", "token_max_ttl": "14s",
    });
    bao.put(ROLE, &role);
    let gateway = Gateway::start(&config);
    let count = async |operation: &str| {
        let labels = format!("operation=\"{operation}\",result=\"ok\"");
        gateway.metric(REQUESTS, &labels).await
    };
    let begun = Instant::now();
    let load = Load::start(gateway.client(), 1);
    let mut rotated = false;
    loop {
        load.go_on_for(20).await;
        let (logins, renewals) = (count("login").await, count("renew").await);
        if !rotated && renewals >= 1.0 && begun.elapsed() >= wanted / 2 {
            bao.write_secret("sim", &json!({ "api_key": "sk-of-the-vault-2" }));
            gateway.await_log("configuration in force");
            rotated = true;
        }
        if rotated && logins >= 2.0 && renewals >= 2.0 && begun.elapsed() >= wanted {
            break;
        }
    }
    load.finish().await;
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    assert_eq!(key_of_the_last(&provider), "Bearer sk-of-the-vault-2");
    let (logins, renewals) = (count("login").await, count("renew").await);
    let reads = count("read").await;
    let failed =
        gateway.metric(REQUESTS, "").await - gateway.metric(REQUESTS, "result=\"ok\"").await;
    eprintln!(
        "{} s: {reads} reads, {renewals} renewals, {logins} logins, {failed} of them failed; {} requests, none failed",
        begun.elapsed().as_secs(),
        provider.ledger().total.requests,
    );
    assert_eq!(failed, 0.0);
    assert_eq!(gateway.metric("sluicegate_vault_up", "").await, 1.0);
    gateway.stop().await;
}

/// The server's certificate and the authority behind it are others: new exchanges follow the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_of_vault_is_trusted_without_a_restart() {
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let put = |authority: &Authority| {
        for (name, content) in authority.leaf().files() {
            replace(&at(name), &content);
        }
    };
    put(&one);
    replace(&at("ca.crt"), &one.pem());
    let secured = free_address();
    let settings = format!(
        "listener \"tcp\" {{\n address = \"{secured}\"\n tls_cert_file = \"{}\"\n tls_key_file = \"{}\"\n}}\n",
        at("tls.crt").display(),
        at("tls.key").display()
    );
    let bao = tokio::task::spawn_blocking(move || Bao::start_with(&settings)).await.unwrap();
    let mut config = prepare(&bao, &provider, directory.path());
    config.head = config.head.replace(
        &format!("address: \"{}\"", bao.url()),
        &format!("address: \"https://{secured}\", ca: \"{}\"", at("ca.crt").display()),
    );
    let gateway = Gateway::start(&config);
    let load = Load::start(gateway.client(), 1);
    load.go_on_for(8).await;

    put(&other);
    bao.reload();
    let trusting = client_config(other.roots(), None);
    soon("the server's other certificate", async {
        while handshake(secured, &trusting).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The authority of before can't vouch for it, and what was read is held on to.
    soon("a Vault that is not believed", async {
        while gateway.metric("sluicegate_vault_up", "").await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    replace(&at("ca.crt"), "no certificate\n");
    gateway.await_log("authorities for Vault refused");
    bao.write_secret("sim", &json!({ "api_key": "sk-of-the-vault-2" }));
    replace(&at("ca.crt"), &other.pem());
    gateway.await_log("other authorities for Vault in use");
    gateway.await_log("configuration in force");
    load.go_on_for(8).await;
    load.finish().await;
    assert_eq!(gateway.client().post("/v1/chat/completions", &chat(false, "")).await.status, 200);
    assert_eq!(key_of_the_last(&provider), "Bearer sk-of-the-vault-2");
    gateway.stop().await;
}
