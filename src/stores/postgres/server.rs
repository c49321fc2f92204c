//! One server: its connections, and who may wait for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::StoreError;
use super::breaker::Breaker;
use super::transaction::{PgTransaction, Purpose, fault};

/// How long to wait for a connection, whether others have them all or a new one is being made.
const PATIENCE: Duration = Duration::from_secs(2);

/// Callers that may wait for each connection. A statement takes about a millisecond: whoever finds
/// more callers than this before it is better told at once than after its own client has given up.
const WAITING_PER_CONNECTION: usize = 8;

/// A connection not used for so long is closed, and so is one that is this old: a server behind a
/// name may have moved.
const IDLE: Duration = Duration::from_secs(5 * 60);
const OLD: Duration = Duration::from_secs(30 * 60);

pub(super) struct Server {
    pool: PgPool,
    breaker: Breaker,
    /// One for each connection.
    busy: Arc<Semaphore>,
    /// One for each connection and each caller that may wait.
    admitted: Arc<Semaphore>,
}

impl Server {
    /// Connects when a connection is needed first.
    pub fn new(options: PgConnectOptions, max_connections: u32) -> Self {
        let max_connections = max_connections.max(1);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(PATIENCE)
            .idle_timeout(IDLE)
            .max_lifetime(OLD)
            .connect_lazy_with(options);
        let connections = usize::try_from(max_connections).unwrap_or(usize::MAX);
        let admitted = connections.saturating_mul(WAITING_PER_CONNECTION + 1);
        Self {
            pool,
            breaker: Breaker::default(),
            busy: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            admitted: Arc::new(Semaphore::new(admitted.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// `Unavailable`: at once if the server is known to be away or too many wait already, and else after
    /// [`PATIENCE`].
    pub async fn begin(&self, purpose: Purpose) -> Result<PgTransaction, StoreError> {
        let place = self.place().await?;
        let connection = self.connection().await?;
        PgTransaction::begin(connection, place, purpose).await
    }

    /// Waits for others to be done. That they take long says nothing about the server, so the
    /// breaker has no part in it.
    async fn place(&self) -> Result<Place, StoreError> {
        let Ok(admitted) = Arc::clone(&self.admitted).try_acquire_owned() else {
            return Err(unavailable("too many callers wait for a connection"));
        };
        let busy = Arc::clone(&self.busy).acquire_owned();
        match tokio::time::timeout(PATIENCE, busy).await {
            Ok(Ok(busy)) => Ok(Place { _busy: busy, _admitted: admitted }),
            _ => Err(unavailable("all connections are in use")),
        }
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        let pass = self.breaker.pass(Instant::now());
        // A connection that is there may be good, whatever became of attempts to make another.
        if pass.is_none() && self.pool.num_idle() == 0 {
            return Err(unavailable("the server could not be reached a moment ago"));
        }
        let acquired = self.pool.acquire().await;
        if let Some(pass) = pass {
            match &acquired {
                Ok(_) => pass.succeeded(),
                Err(_) => pass.failed(Instant::now()),
            }
        }
        acquired.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => unavailable("the server could not be reached in time"),
            error => fault(error),
        })
    }
}

/// The right to use a connection, for as long as a transaction takes.
pub(super) struct Place {
    _busy: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}
