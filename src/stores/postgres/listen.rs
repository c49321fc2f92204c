//! Hears of other instances' writes.

use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tracing::debug;

/// The pause after a connection that could not be made or was lost. It doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long silence is believed. A connection that is gone without a word looks like one on which
/// nothing happens.
const SILENCE: Duration = Duration::from_secs(30);

/// The longest that connecting, or an answer on the connection, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on a connection of its own, for ever. Behind PgBouncer in transaction mode, the server's
/// words may reach nobody; then changes are found by asking.
pub(super) async fn run(options: PgConnectOptions, wakeups: watch::Sender<()>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listen(&options, &wakeups).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => debug!(%error, "can't listen for changes"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Until the connection is lost. An error: it was never there.
async fn listen(options: &PgConnectOptions, wakeups: &watch::Sender<()>) -> sqlx::Result<()> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    within(PATIENCE, listener.listen("sluicegate_changes")).await?;
    loop {
        // The first time, too: something may have happened since the last connection.
        wakeups.send_replace(());
        loop {
            match tokio::time::timeout(SILENCE, listener.try_recv()).await {
                Ok(Ok(Some(_))) => break,
                Ok(Ok(None) | Err(_)) => return Ok(()),
                Err(_) => {
                    if within(PATIENCE, listener.execute("SELECT 1")).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

async fn within<T>(
    patience: Duration,
    future: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    tokio::time::timeout(patience, future).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
