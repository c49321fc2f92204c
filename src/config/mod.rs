//! Configuration: from a YAML file to values that the rest of the program can trust.
//!
//! ```text
//! text -> node (a tree with places) -> overrides (environment) -> check -> valid::Config
//!                                                      effective -> raw -> dump, hash, diff
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`valid`] | the checked configuration |
//! | [`raw`] | the file's shape, for the schema, the dump and the comparison |
//! | [`secrets`] | references to secrets, and their values |
//! | [`vault`] | those that are kept in Vault |
//! | [`named`] | files of certificates, and the places of the keys that name them |
//! | [`units`] | sizes and durations |
//! | [`watch`] | notices when the file changes |
//!
//! Everything that is wrong is reported at once, each with its place. A key that this version does
//! not know, or does not do yet, is an error: nothing that was written is silently ignored.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sluicegate_vault::Vault;

mod check;
mod diff;
mod effective;
mod env;
mod interpolate;
mod master_key;
pub mod named;
mod node;
mod overrides;
pub(crate) mod postgres;
mod problem;
pub mod raw;
pub mod raw_mcp;
pub mod raw_quotas;
pub mod raw_secrets;
pub mod raw_telemetry;
mod reader;
mod redis;
mod report;
mod schema;
pub mod secrets;
pub mod units;
mod url;
pub mod valid;
pub mod vault;
pub mod watch;

pub use diff::{Change, Effect, diff, secrets as secrets_of};
pub use env::Env;
pub use problem::{Problem, Problems};
pub use schema::schema;
pub use valid::{Config, Secret};

pub(crate) use check::access::is_own as is_own_header;
pub(crate) use check::mcp::{is_own as is_own_mcp_header, is_secret_option, is_secret_variable};
pub(crate) use url::{
    names_version, parse_base as parse_base_url, parse_endpoint as parse_endpoint_url,
};

use named::PemFiles;
use report::{Place, Report};
use secrets::{LocalResolver, Resolver};
use vault::VaultResolver;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// SHA-256 of the effective configuration in hex, secrets counted as their references. The same
    /// for two files that differ only in comments, order or spelled-out defaults. A secret's new
    /// value behind an old reference does not change it; [`diff()`] sees that.
    pub hash: String,
    /// What should be better, though it works.
    pub warnings: Vec<Problem>,
    /// The files of certificates that it names.
    pub certificates: Vec<PemFiles>,
    /// The client that knows the values behind `vault:` references, where there is a Vault.
    pub vault: Option<Arc<Vault>>,
}

impl Loaded {
    /// For programs that end here: leaves no token behind. Waits for that, but not for long.
    pub fn close(&self) {
        if let Some(vault) = &self.vault {
            vault.close();
        }
    }
}

/// Loads the file at `path`, secrets included. Blocks on the disk, and on Vault where it is needed.
///
/// # Errors
/// Everything that is wrong with it, an unreadable file too.
pub fn load_file(path: &Path, env: &Env) -> Result<Loaded, Problems> {
    load_file_again(path, env, None)
}

/// The same for a process that has a client of Vault already: it is used where it leads to the same
/// server.
///
/// # Errors
/// As [`load_file`].
pub fn load_file_again(
    path: &Path,
    env: &Env,
    vault: Option<Arc<Vault>>,
) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        // One byte more than allowed tells that there is more.
        file.take(node::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return Err(unreadable(&name, Place { line: 0, ..Place::START }, error.to_string()));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let resolver = VaultResolver::new(env, vault);
            let mut loaded = load(&name, text, env, &resolver)?;
            loaded.vault = resolver.into_client();
            Ok(loaded)
        }
        // Cut at the limit, which may be within a character.
        Err(_) if bytes.len() > node::MAX_BYTES => Err(too_large(&name)),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
            Err(unreadable(&name, Place::new(line, column), "not UTF-8".to_owned()))
        }
    }
}

/// Loads a configuration from `text`; `name` stands for the file in what is reported. Nothing but this
/// machine is asked: a `vault:` reference is a mistake here.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_str(name: &str, text: &str, env: &Env) -> Result<Loaded, Problems> {
    load(name, text, env, &LocalResolver::new(env.clone()))
}

/// The effective configuration as YAML: every default filled in, secrets as their references. It
/// loads to the same configuration, unless a secret stood in the file itself.
pub fn dump(config: &Config) -> String {
    // Writing plain data into a string can't fail.
    serde_saphyr::to_string(&effective::raw(config)).unwrap_or_default()
}

fn load(name: &str, text: &str, env: &Env, resolver: &dyn Resolver) -> Result<Loaded, Problems> {
    if text.len() > node::MAX_BYTES {
        return Err(too_large(name));
    }
    let mut report = Report::new(name);
    let root = node::parse(text, env, &mut report);
    let config = root.map(|mut root| {
        overrides::apply(&mut root, env, &mut report);
        check::check(&root, resolver, &mut report)
    });
    let certificates = std::mem::take(&mut report.certificates);
    match (config, report.finish()) {
        (Some(config), (errors, warnings)) if errors.is_empty() => {
            let hash = hash(&config);
            Ok(Loaded { config, hash, warnings, certificates, vault: None })
        }
        (_, (errors, _)) => Err(Problems(errors)),
    }
}

fn hash(config: &Config) -> String {
    let json = serde_json::to_vec(&effective::raw(config)).unwrap_or_default();
    Sha256::digest(&json).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing into a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn too_large(name: &str) -> Problems {
    let limit = units::format_size(node::MAX_BYTES as u64);
    unreadable(name, Place { line: 0, ..Place::START }, format!("larger than {limit}"))
}

fn unreadable(name: &str, place: Place, message: String) -> Problems {
    let mut report = Report::new(name);
    report.error(place, "", message, None::<&str>);
    Problems(report.finish().0)
}

#[cfg(test)]
mod tests;
