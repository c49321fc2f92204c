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
//! | [`units`] | sizes and durations |
//! | [`watch`] | notices when the file changes |
//!
//! Everything that is wrong is reported at once, each with its place. A key that this version does
//! not know, or does not do yet, is an error: nothing that was written is silently ignored.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

mod check;
mod diff;
mod effective;
mod env;
mod interpolate;
mod master_key;
mod node;
mod overrides;
mod postgres;
mod problem;
pub mod raw;
pub mod raw_quotas;
pub mod raw_secrets;
mod reader;
mod redis;
mod report;
mod schema;
pub mod secrets;
pub mod units;
mod url;
pub mod valid;
pub mod watch;

pub use diff::{Change, Effect, diff};
pub use env::Env;
pub use problem::{Problem, Problems};
pub use schema::schema;
pub use valid::{Config, Secret};

use report::{Place, Report};
use secrets::{LocalResolver, Resolver};

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
}

/// Loads the file at `path`, secrets included.
///
/// # Errors
/// Everything that is wrong with it, an unreadable file too.
pub fn load_file(path: &Path, env: &Env) -> Result<Loaded, Problems> {
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
        Ok(text) => load_str(&name, text, env),
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

/// Loads a configuration from `text`; `name` stands for the file in what is reported.
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
    match (config, report.finish()) {
        (Some(config), (errors, warnings)) if errors.is_empty() => {
            let hash = hash(&config);
            Ok(Loaded { config, hash, warnings })
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
