//! Certificates for those that are asked beside providers: Vault, Redis, PostgreSQL, issuers of tokens, MCP
//! servers.
//!
//! Who asks them reads and follows their files. Here it is only told when they expire.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use secrecy::ExposeSecret;

use super::{File, Kind, now, pem};
use crate::config::postgres;
use crate::config::valid::mcp::Transport;
use crate::config::valid::{Config, Store};

/// By kind and name: until when the next of them to expire is good, in seconds since the epoch.
type Ends = BTreeMap<(Kind, String), i64>;

/// A file of authorities, or of what is shown to one of these.
struct Named {
    kind: Kind,
    name: String,
    file: File,
}

/// When they expire, as far as their files could be read.
#[derive(Default)]
pub struct Authorities(Mutex<Ends>);

impl Authorities {
    /// Reads the files. Blocks on the disk. What is told of one that can't be used stays: those that it held
    /// before stay in use, too.
    pub fn look(&self, config: &Config) {
        let now = now();
        let look = |named: Named| {
            let content = named.file.read().ok()?;
            let end = match named.kind {
                Kind::PostgresClient | Kind::McpClient => {
                    pem::chain(named.kind, &named.file, &content).ok()?
                }
                _ => pem::authorities(named.kind, &named.file, &content, now).ok()?.next,
            }
            .chain_not_after;
            Some(((named.kind, named.name), end))
        };
        let found: Vec<_> = named(config).into_iter().filter_map(look).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    }

    /// Those that `config` names.
    pub fn of(&self, config: &Config) -> Ends {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |named: Named| {
            let key = (named.kind, named.name);
            let end = *known.get(&key)?;
            Some((key, end))
        };
        named(config).into_iter().filter_map(of).collect()
    }
}

/// Their files.
pub fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    named(config).into_iter().map(|named| named.file.path)
}

fn named(config: &Config) -> Vec<Named> {
    let mut all = Vec::new();
    let mut add = |kind, name: &str, key: &str, path: Option<&PathBuf>| {
        let of = |path: &PathBuf| Named { kind, name: name.to_owned(), file: File::new(key, path) };
        all.extend(path.map(of));
    };
    let vault = config.secrets.vault.as_ref();
    let redis = config.quota_store.redis.as_ref();
    let of_vault = vault.and_then(|vault| vault.options.ca.as_ref());
    add(Kind::VaultCa, "vault", "secrets.vault.ca", of_vault);
    let of_redis = redis.and_then(|redis| redis.ca.as_ref());
    add(Kind::RedisCa, "redis", "quota_store.redis.ca", of_redis);
    if let Some(Store::Postgres { url, replica_url, .. }) = &config.store {
        for (name, key, url) in [
            ("postgres", "store.postgres.url", Some(url)),
            ("postgres_replica", "store.postgres.replica_url", replica_url.as_ref()),
        ] {
            let read = url.and_then(|url| postgres::parse(url.value.expose_secret()).ok());
            let Some(files) = read.map(|read| read.files) else { continue };
            add(Kind::PostgresCa, name, key, files.authorities.as_ref());
            add(Kind::PostgresClient, name, key, files.certificate.as_ref());
        }
    }
    for issuer in &config.auth.jwt {
        add(Kind::IssuerCa, &issuer.rules.issuer, "auth.jwt.ca", issuer.ca.as_ref());
    }
    for (name, target) in &config.mcp.targets {
        let Transport::Http(http) = &target.transport else { continue };
        add(Kind::McpCa, name, "mcp.targets.ca", http.ca.as_ref());
        let shown = http.client_certificate.as_ref().map(|pair| &pair.certificate);
        add(Kind::McpClient, name, "mcp.targets.client_certificate", shown);
    }
    all
}
