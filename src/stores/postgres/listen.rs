//! Hears of other instances' writes.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Executor, Row};
use tokio::sync::watch;
use tracing::{debug, info};
use uuid::Uuid;

/// The pause after a connection that could not be made or was lost. It doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long silence is believed. A connection that is gone without a word looks like one on which
/// nothing happens.
const SILENCE: Duration = Duration::from_secs(30);

/// The longest that connecting, or an answer on the connection, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on a connection of its own, for ever; or not at all, where a pooler is in between that
/// changes sessions with every transaction. There, changes are found by asking.
pub(super) async fn run(options: PgConnectOptions, wakeups: watch::Sender<()>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listen(&options, &wakeups).await {
            Ok(Ended::Lost) => pause = FIRST_PAUSE,
            Ok(Ended::NoSessionOfOurOwn) => {
                return info!("a pooler is before PostgreSQL: changes are asked for instead");
            }
            Err(error) => debug!(%error, "can't listen for changes"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum Ended {
    Lost,
    NoSessionOfOurOwn,
}

/// Until the connection is lost. An error: it was never there.
async fn listen(options: &PgConnectOptions, wakeups: &watch::Sender<()>) -> sqlx::Result<Ended> {
    // A pooler refuses or forgets a setting that it does not know. Its sessions must not listen: what
    // they hear they would tell whoever has them next, who would take it for an answer.
    let mark = Uuid::now_v7().to_string();
    let options = options.clone().options([("sluicegate.session", &mark)]);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options);
    let mut listener = match PgListener::connect_with(&pool).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("08P01") => {
            return Ok(Ended::NoSessionOfOurOwn);
        }
        connected => connected?,
    };
    listener.eager_reconnect(false);
    let marked = sqlx::raw_sql("SELECT current_setting('sluicegate.session', true)");
    let marked = within(PATIENCE, marked.fetch_one(&mut listener)).await?;
    if marked.try_get::<Option<String>, _>(0)? != Some(mark) {
        return Ok(Ended::NoSessionOfOurOwn);
    }
    within(PATIENCE, listener.listen("sluicegate_changes")).await?;
    loop {
        // The first time, too: something may have happened since the last connection.
        wakeups.send_replace(());
        loop {
            match tokio::time::timeout(SILENCE, listener.try_recv()).await {
                Ok(Ok(Some(_))) => break,
                Ok(Ok(None) | Err(_)) => return Ok(Ended::Lost),
                Err(_) => {
                    if within(PATIENCE, listener.execute("SELECT 1")).await.is_err() {
                        return Ok(Ended::Lost);
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
