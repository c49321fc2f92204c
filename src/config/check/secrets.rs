//! `secrets`: where secrets come from that are in neither a variable nor a file.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use sluicegate_vault::reference::is_segment;
use sluicegate_vault::{Address, AddressError, Auth, KvVersion, Options, Retry};

use super::{authorities, required, section, value};
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::valid::{Secret, Secrets, Vault};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["vault"],
    renamed: &[("openbao", "vault"), ("hashicorp_vault", "vault"), ("bao", "vault")],
    later: &[],
};

pub(in crate::config) const VAULT: Keys = Keys {
    known: &["address", "namespace", "ca", "auth", "mounts", "refresh", "timeout"],
    renamed: &[
        ("url", "address"),
        ("addr", "address"),
        ("vault_addr", "address"),
        ("hcp_vault_addr", "address"),
        ("cacert", "ca"),
        ("ca_cert", "ca"),
        ("ca_file", "ca"),
        ("skip_verify", "ca"),
        ("tls_skip_verify", "ca"),
        ("insecure", "ca"),
        ("approle", "auth.approle"),
        ("token", "auth.token.file"),
        ("role_id", "auth.approle.role_id"),
        ("kv_version", "mounts"),
        ("engines", "mounts"),
        ("refresh_interval", "refresh"),
    ],
    later: &[],
};

pub(in crate::config) const AUTH: Keys = Keys {
    known: &["approle", "kubernetes", "token"],
    renamed: &[("app_role", "approle"), ("jwt", "kubernetes"), ("k8s", "kubernetes")],
    later: &[],
};

pub(in crate::config) const APPROLE: Keys = Keys {
    known: &["role_id", "secret_id_file", "mount"],
    renamed: &[
        ("secret_id", "secret_id_file"),
        ("secret_id_path", "secret_id_file"),
        ("role", "role_id"),
        ("path", "mount"),
        ("mount_path", "mount"),
    ],
    later: &[],
};

pub(in crate::config) const KUBERNETES: Keys = Keys {
    known: &["role", "jwt_file", "mount"],
    renamed: &[
        ("token_path", "jwt_file"),
        ("jwt_path", "jwt_file"),
        ("jwt", "jwt_file"),
        ("path", "mount"),
        ("mount_path", "mount"),
    ],
    later: &[],
};

pub(in crate::config) const TOKEN: Keys = Keys {
    known: &["file"],
    renamed: &[("path", "file"), ("token_file", "file"), ("token", "file")],
    later: &[],
};

/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Often enough for a rotation to be noticed on its day.
const REFRESHES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// Characters of a role's name or a namespace.
const MAX_NAME: usize = 256;

/// Reads `secrets`, and says where references lead from now on.
pub(super) fn secrets(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Secrets {
    let fields = section(reader, at, &KEYS);
    let vault = value(reader, fields.as_ref(), "vault", vault);
    match &vault {
        Some(vault) => reader.resolver.lead_to(&vault.options),
        None => {
            reader.vault_is_wrong = fields.is_some_and(|fields| fields.get("vault").is_some());
        }
    }
    Secrets { vault }
}

fn vault(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vault> {
    let fields = reader.fields(at, &VAULT);
    let hint = "write it as in https://vault.example.com:8200";
    let address =
        required(reader, at, &fields, "address", hint).and_then(|at| address(reader, &at));
    let namespace = value(reader, Some(&fields), "namespace", |reader, at| path(reader, at));
    let ca = value(reader, Some(&fields), "ca", |reader, at| {
        if address.as_ref().is_some_and(|address| !address.is_tls()) {
            reader.wrong(at, "`ca` without TLS", "use an https:// `address`, or take it out");
        }
        authorities(reader, at)
    });
    let hint = "write `auth: { approle: { role_id: \"env:VAULT_ROLE_ID\", secret_id_file: \
                /run/secrets/vault-secret-id } }`";
    let auth = required(reader, at, &fields, "auth", hint).and_then(|at| auth(reader, &at));
    let mounts = value(reader, Some(&fields), "mounts", mounts);
    let refresh = value(reader, Some(&fields), "refresh", |r, at| r.duration(at, REFRESHES));
    let timeout = value(reader, Some(&fields), "timeout", |r, at| r.duration(at, TIMEOUTS));
    let (auth, role_id) = auth?;
    Some(Vault {
        options: Options {
            address: address?,
            namespace,
            ca,
            auth,
            mounts: mounts.unwrap_or_default(),
            refresh: refresh.unwrap_or(Duration::from_mins(5)),
            timeout: timeout.unwrap_or(Duration::from_secs(10)),
            retry: Retry::default(),
            refuse_root: reader.production,
        },
        role_id,
    })
}

fn address(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Address> {
    let text = reader.text(at)?;
    match text.parse::<Address>() {
        Ok(address) => {
            if reader.production && !address.is_tls() {
                let message =
                    "a plain connection to where secrets are kept is refused in production";
                reader.wrong(at, message, "use https://");
            }
            Some(address)
        }
        Err(error) => {
            let hint = match error {
                AddressError::UserInfo => "leave them out; credentials go to `auth`",
                AddressError::NotAUrl | AddressError::Path => {
                    "write it as in https://vault.example.com:8200"
                }
            };
            reader.wrong(at, format!("the address {error}"), hint);
            None
        }
    }
}

fn auth(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<(Auth, Option<Secret>)> {
    let fields = reader.fields(at, &AUTH);
    let given: Vec<_> =
        AUTH.known.iter().filter_map(|key| Some((*key, fields.get(key)?))).collect();
    match given.as_slice() {
        [("approle", at)] => approle(reader, at),
        [("kubernetes", at)] => kubernetes(reader, at).map(|auth| (auth, None)),
        [(_, at)] => token(reader, at).map(|auth| (auth, None)),
        [] => {
            if !at.is_broken() {
                let hint = "choose `approle`, `kubernetes` or `token`";
                reader.report.error(at.key, &at.path, "no way to log in", hint);
            }
            None
        }
        [_, (_, second), ..] => {
            let message = "several ways to log in at once";
            reader.report.error(second.key, &second.path, message, "keep one of them");
            None
        }
    }
}

fn approle(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<(Auth, Option<Secret>)> {
    let fields = reader.fields(at, &APPROLE);
    let hint = "set `role_id: env:VAULT_ROLE_ID`";
    let role_id = required(reader, at, &fields, "role_id", hint).and_then(|at| reader.secret(&at));
    let hint = "write the path of a file with the secret id; it is read at each login";
    let file = required(reader, at, &fields, "secret_id_file", hint);
    let file = file.and_then(|at| file_to_come(reader, &at));
    let mount = value(reader, Some(&fields), "mount", path);
    let (role_id, secret_id_file) = (role_id?, file?);
    let mount = mount.unwrap_or_else(|| "approle".to_owned());
    let auth = Auth::AppRole { mount, role_id: role_id.value.clone(), secret_id_file };
    Some((auth, Some(role_id)))
}

fn kubernetes(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Auth> {
    let fields = reader.fields(at, &KUBERNETES);
    let hint = "write the name of the role in Vault";
    let role = required(reader, at, &fields, "role", hint).and_then(|at| path(reader, &at));
    let jwt_file = value(reader, Some(&fields), "jwt_file", file_to_come);
    let mount = value(reader, Some(&fields), "mount", path);
    Some(Auth::Kubernetes {
        mount: mount.unwrap_or_else(|| "kubernetes".to_owned()),
        role: role?,
        jwt_file: jwt_file.unwrap_or_else(|| SERVICE_ACCOUNT.into()),
    })
}

fn token(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Auth> {
    let fields = reader.fields(at, &TOKEN);
    let hint = "write the path of a file with the token";
    let file = required(reader, at, &fields, "file", hint)?;
    Some(Auth::Token { file: file_to_come(reader, &file)? })
}

/// The path of a file that is read whenever it is needed: it may come, go and change.
fn file_to_come(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<PathBuf> {
    let text = reader.text(at)?;
    if text.contains(':') {
        reader.wrong(
            at,
            "is not the path of a file",
            "write the path alone, as in /run/secrets/id",
        );
        return None;
    }
    Some(PathBuf::from(text))
}

/// A name that may have slashes within: a mount, a namespace.
fn path(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<String> {
    let text = reader.text(at)?.trim_matches('/');
    if text.len() > MAX_NAME || !text.split('/').all(is_segment) {
        let hint = "write letters, digits and `-._~@+=,:` between single slashes";
        reader.wrong(at, "is not a name that Vault could have", hint);
        return None;
    }
    Some(text.to_owned())
}

fn mounts(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<BTreeMap<String, KvVersion>> {
    let mut mounts = BTreeMap::new();
    for (name, at) in reader.map(at).named() {
        if !name.split('/').all(is_segment) {
            let hint = "write it without a slash at an end";
            reader.report.error(at.key, &at.path, "not a mount's name", hint);
        } else if let Some(version) = reader.integer(&at, 1..=2) {
            let version = if version == 1 { KvVersion::V1 } else { KvVersion::V2 };
            mounts.insert(name.to_owned(), version);
        }
    }
    Some(mounts)
}
