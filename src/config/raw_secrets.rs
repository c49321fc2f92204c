//! The shape of `secrets`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluicegate_vault as client;

use super::raw::Wait;
use super::valid;

/// Stores of secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// HashiCorp Vault or OpenBao: where `vault:MOUNT/PATH#FIELD` leads. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<Vault>,
}

/// A server of HashiCorp Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Its URL, without a path. In production with https.
    pub address: String,
    /// The namespace of everything. Default: the root's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// PEM file with the authorities that may vouch for the server. Default: the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How to log in: one of the three.
    pub auth: VaultAuth,
    /// Mounts with their version of the key-value engine, 1 or 2. Default: a mount is the first
    /// segment of a path, and of version 2.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, KvVersion>,
    /// How often values are read anew, 1s to 24h. Default: 5m.
    pub refresh: Option<Wait>,
    /// The longest that one exchange may take, 100ms to 60s. Default: 10s.
    pub timeout: Option<Wait>,
}

/// A version of the key-value engine: 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("minimum" = 1, "maximum" = 2))]
pub struct KvVersion(pub u8);

/// How to log in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultAuth {
    /// With a role and a secret id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approle: Option<VaultAppRole>,
    /// As a service account: the methods `kubernetes` and `jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VaultKubernetes>,
    /// With a token that somebody else got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<VaultToken>,
}

/// A role of the method AppRole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultAppRole {
    /// The role's id: a reference to a secret.
    pub role_id: String,
    /// File with the secret id. Read at each login, so that it can be rotated.
    pub secret_id_file: String,
    /// Where the method is mounted, below `auth/`. Default: approle.
    pub mount: Option<String>,
}

/// A role for a service account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultKubernetes {
    /// The role's name.
    pub role: String,
    /// File with the service account's token. Read at each login. Default: where Kubernetes puts it.
    pub jwt_file: Option<String>,
    /// Where the method is mounted, below `auth/`. Default: kubernetes.
    pub mount: Option<String>,
}

/// A token of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultToken {
    /// File with the token. It is renewed, and read again when it can't be.
    pub file: String,
}

impl Secrets {
    /// `secrets` as it would be written; `None` where it would be empty.
    pub(super) fn of(secrets: &valid::Secrets) -> Option<Self> {
        secrets.vault.as_ref().map(|vault| Self { vault: Some(Vault::of(vault)) })
    }
}

impl Vault {
    fn of(vault: &valid::Vault) -> Self {
        let valid::Vault { options, role_id } = vault;
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let mut auth = VaultAuth { approle: None, kubernetes: None, token: None };
        match &options.auth {
            client::Auth::AppRole { mount, secret_id_file, .. } => {
                auth.approle = Some(VaultAppRole {
                    role_id: role_id
                        .as_ref()
                        .map(|it| it.reference.to_string())
                        .unwrap_or_default(),
                    secret_id_file: path(secret_id_file),
                    mount: Some(mount.clone()),
                });
            }
            client::Auth::Kubernetes { mount, role, jwt_file } => {
                auth.kubernetes = Some(VaultKubernetes {
                    role: role.clone(),
                    jwt_file: Some(path(jwt_file)),
                    mount: Some(mount.clone()),
                });
            }
            client::Auth::Token { file } => auth.token = Some(VaultToken { file: path(file) }),
        }
        let version = |version: &client::KvVersion| match version {
            client::KvVersion::V1 => KvVersion(1),
            client::KvVersion::V2 => KvVersion(2),
        };
        let mounts = options.mounts.iter().map(|(name, of)| (name.clone(), version(of)));
        Self {
            address: options.address.to_string(),
            namespace: options.namespace.clone(),
            ca: options.ca.as_deref().map(path),
            auth,
            mounts: mounts.collect(),
            refresh: Some(Wait(options.refresh)),
            timeout: Some(Wait(options.timeout)),
        }
    }
}
