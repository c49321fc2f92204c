//! What goes on beside the traffic: reloads on change, on SIGHUP and on a rotation in Vault, and names resolved anew.

use std::path::PathBuf;
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
    tokio::join!(
        on_hangup(&gateway),
        on_change(&gateway),
        on_change_of(&gateway, policies),
        on_change_of(&gateway, prices),
        on_rotation(&gateway),
        resolve(&gateway),
        check_health(&gateway)
    );
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

/// What a configuration names beside itself; which path that is can change with any reload.
async fn on_change_of(gateway: &Gateway, named: fn(&Gateway) -> Option<PathBuf>) {
    let mut generations = gateway.generations();
    loop {
        let path = named(gateway);
        let mut watching = path.as_ref().map(watch);
        while named(gateway) == path {
            let changed = async {
                match &mut watching {
                    Some((_watcher, changes)) => changes.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(()) = changed => drop(gateway.reload().await),
                Ok(()) = generations.changed() => {}
                else => return,
            }
        }
    }
}

/// Other values in Vault. Which Vault that is can change with any reload.
async fn on_rotation(gateway: &Gateway) {
    let mut generations = gateway.generations();
    let mut vault = gateway.vault();
    let mut changes = vault.as_ref().map(|vault| vault.changes());
    loop {
        let changed = async {
            match &mut changes {
                Some(changes) => changes.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = changed => drop(gateway.reload().await),
            Ok(()) = generations.changed() => {}
            else => return,
        }
        let now = gateway.vault();
        if vault.as_ref().map(Arc::as_ptr) != now.as_ref().map(Arc::as_ptr) {
            changes = now.as_ref().map(|vault| vault.changes());
            vault = now;
        }
    }
}

fn policies(gateway: &Gateway) -> Option<PathBuf> {
    gateway.current().config.policies.as_ref().map(|policies| policies.directory.clone())
}

fn prices(gateway: &Gateway) -> Option<PathBuf> {
    gateway.current().config.prices.as_ref().map(|prices| prices.file.clone())
}

/// Asks providers whether they are well. Which ones, and how, can change with any reload: those who asked
/// before end with their set.
async fn check_health(gateway: &Gateway) {
    let mut generations = gateway.generations();
    loop {
        let mut asking = tokio::task::JoinSet::new();
        for checker in gateway.current().routes.checkers() {
            asking.spawn(checker.clone().run());
        }
        if generations.changed().await.is_err() {
            return;
        }
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
