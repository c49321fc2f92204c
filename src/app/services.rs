//! What is opened once and outlives every generation of the configuration.

use std::sync::{Arc, Weak};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sluicegate_filters::identify::virtual_key::KeyHasher;
use sluicegate_ledger::{Ledger, LedgerError, LedgerStore};
use sluicegate_quota::redis::{RedisOptions, RedisQuotas, RedisServers};
use sluicegate_quota::{Engine, MemoryQuotas, QuotaStore, QuotaStoreError};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::audit::{AuditError, AuditLog, AuditOptions};
use crate::clock::now_ms;
use crate::config::Secret;
use crate::config::valid::{self, Config, Environment, SqlitePath};
use crate::identity::jwks::{KeySets, Timing};
use crate::identity::{self, Identity};
use crate::providers::token::AccessTokens;
use crate::quotas::{Quotas, warnings};
use crate::stores::postgres::{PostgresOptions, PostgresStore};
use crate::stores::sqlite::SqliteStore;
use crate::stores::{Store, StoreError};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracer;

/// Opened for the process, closed with it.
pub struct Services {
    /// Everything that `/metrics` shows.
    pub metrics: Metrics,
    /// One line a request.
    pub access_log: AccessLog,
    /// Traces of requests, where they are wanted.
    pub tracer: Tracer,
    /// Where keys and their owners are kept, where that is configured.
    pub store: Option<Arc<dyn Store>>,
    /// Acts of administrators and refusals by policies.
    pub audit: Arc<AuditLog>,
    /// Who credentials belong to.
    pub identity: Arc<Identity>,
    /// Keys of issuers of tokens.
    pub key_sets: KeySets,
    /// Access tokens for providers.
    pub tokens: AccessTokens,
    /// How much callers may use.
    pub quotas: Quotas,
    /// What was used and paid.
    pub ledger: Ledger,
}

/// A service that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store of keys.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// Where limits are counted.
    #[error("quota_store: {0}")]
    Quotas(#[from] QuotaStoreError),
    /// The audit log.
    #[error("audit: {0}")]
    Audit(#[from] AuditError),
    /// What sends traces.
    #[error("telemetry.traces: {0}")]
    Traces(String),
    /// The ledger's rows.
    #[error("ledger: {0}")]
    Rows(#[from] LedgerError),
    /// The ledger's journal.
    #[error("ledger: {directory}: {error}")]
    Ledger { directory: String, error: std::io::Error },
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
        let audit = config.audit.as_ref().map(open_audit).transpose()?;
        let Stores { store, counters, rows } = open_store(config).await?;
        let key_sets = KeySets::new(io.clone(), Timing::default());
        let options = identity::Options {
            hasher: hasher(config),
            capacity: config.auth.keys.cache as u64,
            stale_for: config.auth.keys.stale_for,
            issuers: key_sets.changes(),
        };
        let identity = Identity::new(store.clone(), options, io.clone());
        let audit = audit.unwrap_or_else(AuditLog::disabled);
        let counters = match &config.quota_store.redis {
            Some(redis) => Arc::new(open_redis(redis, config.environment, io)?),
            None => counters,
        };
        let quotas = open_quotas(counters, config.quota_store.lease_ttl, io);
        io.spawn(warnings::run(Arc::downgrade(quotas.engine()), audit.clone()));
        let ledger = open_ledger(config, rows, &quotas, io).await?;
        let tokens = AccessTokens::new(io.clone());
        let tracer = Tracer::start(config.telemetry.traces.as_ref()).map_err(OpenError::Traces)?;
        Ok(Self {
            metrics,
            access_log,
            tracer,
            store,
            audit,
            identity,
            key_sets,
            tokens,
            quotas,
            ledger,
        })
    }
}

/// How often the store of the limits is told what was used.
const TICK: Duration = Duration::from_millis(200);

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

fn open_audit(config: &valid::Audit) -> Result<Arc<AuditLog>, AuditError> {
    // A pod's name is its host's; several processes of one host differ in their number.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    AuditLog::open(&AuditOptions {
        directory: config.directory.clone(),
        segment_size: config.segment_size,
        retention: config.retention,
        fsync: true,
        instance: format!("{}/{}", host.trim(), std::process::id()),
    })
}

/// How often counters that hold nothing are looked for, and how long nobody must have touched them.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);
const UNTOUCHED_MS: i64 = 60 * 60 * 1_000;

fn open_quotas(store: Arc<dyn QuotaStore>, lease_ttl: Duration, io: &Handle) -> Quotas {
    io.spawn(forget(Arc::downgrade(&store)));
    let options = sluicegate_quota::Options {
        instance: Uuid::now_v7().to_string().into(),
        lease_ttl,
        tick: TICK,
    };
    Quotas::new(Engine::start(store, options, io))
}

/// Nothing is connected to: a Redis that is away does not keep the process from starting.
fn open_redis(
    redis: &valid::Redis,
    environment: Environment,
    io: &Handle,
) -> Result<RedisQuotas, OpenError> {
    let url = |url: &valid::RedisUrl| SecretString::from(url.expose());
    let value = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.value.clone());
    let servers = match &redis.servers {
        valid::RedisServers::One(server) => RedisServers::One(url(server)),
        valid::RedisServers::Cluster(nodes) => {
            RedisServers::Cluster(nodes.iter().map(url).collect())
        }
        valid::RedisServers::Sentinel { nodes, master, username, password } => {
            RedisServers::Sentinel {
                nodes: nodes.iter().map(url).collect(),
                master: master.clone(),
                username: value(username),
                password: value(password),
            }
        }
    };
    let options = RedisOptions {
        servers,
        prefix: redis.prefix.clone(),
        ca: redis.ca.clone(),
        plain_elsewhere: environment != Environment::Production,
        wait_replicas: redis.wait_replicas,
    };
    Ok(RedisQuotas::new(&options, io)?)
}

/// Forgets counters that hold nothing, for as long as there is the store.
async fn forget(store: Weak<dyn QuotaStore>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let Some(store) = store.upgrade() else { return };
        match store.forget(now_ms() - UNTOUCHED_MS).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "counters without use are forgotten"),
            Err(error) => tracing::warn!(%error, "counters without use were not forgotten"),
        }
    }
}

/// Where rows of a ledger wait if nobody says.
const LEDGER_DIRECTORY: &str = "data/ledger";

async fn open_ledger(
    config: &Config,
    rows: Option<Arc<dyn LedgerStore>>,
    quotas: &Quotas,
    io: &Handle,
) -> Result<Ledger, OpenError> {
    let Some(rows) = rows else { return Ok(Ledger::disabled()) };
    let directory = match (&config.ledger.directory, &config.store) {
        (Some(directory), _) => directory.clone(),
        // As long as the store.
        (None, Some(valid::Store::Sqlite { path: SqlitePath::Memory })) => {
            std::env::temp_dir().join(format!("sluicegate-ledger-{}", std::process::id()))
        }
        (None, Some(valid::Store::Sqlite { path: SqlitePath::File(path) })) => {
            let mut name = path.clone().into_os_string();
            name.push(".ledger");
            name.into()
        }
        (None, _) => LEDGER_DIRECTORY.into(),
    };
    let options = sluicegate_ledger::Options {
        directory: directory.clone(),
        journal_size: config.ledger.journal_size,
        retention: config.ledger.retention,
    };
    let id = rows.id().await?;
    Ledger::open(options, rows, id, quotas.engine().clone(), io)
        .map_err(|error| OpenError::Ledger { directory: directory.display().to_string(), error })
}

/// One database, as its users see it.
struct Stores {
    store: Option<Arc<dyn Store>>,
    counters: Arc<dyn QuotaStore>,
    rows: Option<Arc<dyn LedgerStore>>,
}

impl Stores {
    fn new<S: Store + LedgerStore>(store: S, counters: impl QuotaStore) -> Self {
        let store = Arc::new(store);
        Self { store: Some(store.clone()), counters: Arc::new(counters), rows: Some(store) }
    }
}

/// The store of records, where one is configured, of counters and of the ledger.
async fn open_store(config: &Config) -> Result<Stores, OpenError> {
    Ok(match &config.store {
        None => Stores { store: None, counters: Arc::new(MemoryQuotas::new()), rows: None },
        Some(valid::Store::Sqlite { path }) => {
            let store = match path {
                SqlitePath::Memory => SqliteStore::in_memory().await?,
                SqlitePath::File(path) => SqliteStore::open(path).await?,
            };
            let counters = store.counters();
            Stores::new(store, counters)
        }
        Some(valid::Store::Postgres { url, max_connections, replica_url }) => {
            let options = PostgresOptions {
                url: url.value.clone(),
                max_connections: *max_connections,
                replica_url: replica_url.as_ref().map(|url| url.value.clone()),
                production: config.environment == Environment::Production,
            };
            let store = PostgresStore::connect(&options).await?;
            store.migrate().await?;
            let counters = store.counters();
            Stores::new(store, counters)
        }
    })
}
