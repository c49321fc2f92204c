//! What goes on beside the traffic: reloads on change and on SIGHUP, and names resolved anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{Gateway, Source};
use crate::config::watch::watch;

/// How often provider names are resolved anew.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// How soon a name without any address is tried again.
const RESOLVE_PENDING_EVERY: Duration = Duration::from_secs(2);

/// Runs for as long as the process.
pub async fn run(gateway: Arc<Gateway>) {
    tokio::join!(on_hangup(&gateway), on_change(&gateway), resolve(&gateway));
}

async fn on_hangup(gateway: &Gateway) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP can't be handled");
        return;
    };
    while hangup.recv().await.is_some() {
        // The outcome is logged and counted where it is decided.
        gateway.reload().await.ok();
    }
}

async fn on_change(gateway: &Gateway) {
    let Source::File(path) = gateway.source() else { return };
    let (_watcher, mut changes) = watch(path);
    while changes.recv().await.is_some() {
        gateway.reload().await.ok();
    }
}

async fn resolve(gateway: &Gateway) {
    let mut all = tokio::time::interval(RESOLVE_EVERY);
    let mut pending = tokio::time::interval(RESOLVE_PENDING_EVERY);
    loop {
        tokio::select! {
            _ = all.tick() => gateway.resolvers.refresh(false).await,
            _ = pending.tick() => gateway.resolvers.refresh(true).await,
        }
    }
}
