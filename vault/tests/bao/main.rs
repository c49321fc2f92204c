//! The client against a real OpenBao, which each test starts for itself, and against servers that
//! answer what no OpenBao would.
#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

mod engines;
mod hostile;
mod methods;
mod outages;
mod refusals;
#[expect(dead_code, reason = "the gateway's tests use the rest")]
mod server;
mod tokens;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use serde_json::json;
use sluicegate_vault::{Auth, Options, Retry, Vault, VaultError};
use tempfile::TempDir;

use self::server::Bao;

/// The longest that anything here waits. Not a measurement: only so that a hang fails.
const PATIENCE: Duration = Duration::from_secs(90);
/// Refreshes that only come when they are wished for.
const NEVER: Duration = Duration::from_secs(3600);
/// Refreshes that come by themselves.
const OFTEN: Duration = Duration::from_millis(50);

/// A role of the AppRole method, and a file with its secret id.
struct Role {
    directory: TempDir,
    role_id: String,
}

impl Role {
    /// Makes a role whose tokens may read all of `secret/` and `old/`.
    fn make(bao: &Bao, settings: &serde_json::Value) -> Self {
        bao.put("sys/policies/acl/reader", &json!({ "policy": READER }));
        bao.put("sys/auth/approle", &json!({ "type": "approle" }));
        let mut role = json!({ "token_policies": ["reader"] });
        role.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        bao.put("auth/approle/role/gateway", &role);
        let role_id = bao.get("auth/approle/role/gateway/role-id")["data"]["role_id"].clone();
        let role = Self {
            directory: tempfile::tempdir().unwrap(),
            role_id: role_id.as_str().unwrap().to_owned(),
        };
        role.renew_secret_id(bao);
        role
    }

    /// Puts a new secret id into the file.
    fn renew_secret_id(&self, bao: &Bao) {
        let made = bao.put("auth/approle/role/gateway/secret-id", &json!({}));
        self.write(made["data"]["secret_id"].as_str().unwrap());
    }

    fn write(&self, secret_id: &str) {
        std::fs::write(self.file(), format!("{secret_id}\n")).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("secret-id")
    }

    fn auth(&self) -> Auth {
        Auth::AppRole {
            mount: "approle".to_owned(),
            role_id: self.role_id.clone().into(),
            secret_id_file: self.file(),
        }
    }
}

const READER: &str = r#"
    path "secret/data/*" { capabilities = ["read"] }
    path "old/*" { capabilities = ["read"] }
"#;

fn options(address: &str, auth: Auth) -> Options {
    Options {
        address: address.parse().unwrap(),
        namespace: None,
        ca: None,
        auth,
        mounts: [].into(),
        refresh: NEVER,
        timeout: Duration::from_secs(20),
        retry: Retry {
            first: Duration::from_millis(20),
            most: Duration::from_millis(200),
            refused: NEVER,
        },
        refuse_root: true,
    }
}

fn get(vault: &Vault, reference: &str) -> Result<String, VaultError> {
    vault.get(&reference.parse().unwrap()).map(|value| value.expose_secret().to_owned())
}

/// Waits until `seen`.
fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
