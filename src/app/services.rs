//! What is opened once and outlives every generation of the configuration.

use std::sync::Arc;

use secrecy::ExposeSecret;
use sluicegate_filters::identify::virtual_key::KeyHasher;
use tokio::runtime::Handle;

use crate::config::Secret;
use crate::config::valid::{self, Config, SqlitePath};
use crate::identity::{self, Identity};
use crate::stores::sqlite::SqliteStore;
use crate::stores::{Store, StoreError};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// Opened for the process, closed with it.
pub struct Services {
    /// Everything that `/metrics` shows.
    pub metrics: Metrics,
    /// One line a request.
    pub access_log: AccessLog,
    /// Where keys and their owners are kept, where that is configured.
    pub store: Option<Arc<dyn Store>>,
    /// Who credentials belong to.
    pub identity: Arc<Identity>,
}

/// A service that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store of keys.
    #[error("store: {0}")]
    Store(#[from] StoreError),
}

impl Services {
    /// Opens what `config` asks for. What must not live on a request's runtime lives on `io`.
    ///
    /// # Errors
    /// What can't be opened: the process can't serve then.
    pub async fn open(
        config: &Config,
        metrics: Metrics,
        access_log: AccessLog,
        io: &Handle,
    ) -> Result<Self, OpenError> {
        let store = open_store(config).await?;
        let options = identity::Options {
            hasher: hasher(config),
            capacity: config.auth.keys.cache as u64,
            stale_for: config.auth.keys.stale_for,
        };
        let identity = Identity::new(store.clone(), options, io.clone());
        Ok(Self { metrics, access_log, store, identity })
    }
}

/// Hashes keys when no pepper is configured, which production does not allow. A key has 256 random
/// bits, so its hash gives it away no more than with a secret pepper; what is lost is that a stolen
/// store could be told from a made-up one.
const DEVELOPMENT_PEPPER: &[u8] = b"sluicegate development pepper, not a secret";

fn hasher(config: &Config) -> KeyHasher {
    let bytes = |secret: &Secret| secret.value.expose_secret().as_bytes().to_vec();
    let keys = &config.auth.keys;
    let pepper = keys.pepper.as_ref().map_or_else(|| DEVELOPMENT_PEPPER.to_vec(), bytes);
    KeyHasher::new(&pepper, keys.previous_pepper.as_ref().map(bytes).as_deref())
}

async fn open_store(config: &Config) -> Result<Option<Arc<dyn Store>>, OpenError> {
    let store: Arc<dyn Store> = match &config.store {
        None => return Ok(None),
        Some(valid::Store::Sqlite { path: SqlitePath::Memory }) => {
            Arc::new(SqliteStore::in_memory().await?)
        }
        Some(valid::Store::Sqlite { path: SqlitePath::File(path) }) => {
            Arc::new(SqliteStore::open(path).await?)
        }
        Some(valid::Store::Postgres { .. }) => {
            return Err(StoreError::Unavailable("not yet".to_owned()).into());
        }
    };
    Ok(Some(store))
}
