//! What goes on beside the traffic: reloads on change, on SIGHUP and on a rotation in Vault, certificates
//! that are replaced or looked at, and names resolved anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Barrier;
use tokio::sync::mpsc::Receiver;

use crate::app::{Gateway, Source};
use crate::config;
use crate::config::secrets::SecretRef;
use crate::config::watch::{Watcher, watch};
use crate::providers::certificate_check;

/// How often provider names are resolved anew.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// How soon a name without any address is tried again.
const RESOLVE_PENDING_EVERY: Duration = Duration::from_secs(2);

/// How often MCP servers' lists of tools are looked at, whether they are too old.
const LOOK_AT_TOOLS_EVERY: Duration = Duration::from_secs(15);

/// How often files of certificates are looked at beside changes of them.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(60);

/// Runs for as long as the process. `hangup`: each asks for a reload.
pub async fn run(gateway: Arc<Gateway>, hangup: Signal) {
    let watched = Barrier::new(4);
    tokio::join!(
        on_hangup(&gateway, hangup),
        on_change(&gateway, &watched),
        on_change_of(&gateway, policies, &watched),
        on_change_of(&gateway, prices, &watched),
        on_change_of(&gateway, secrets, &watched),
        certificates(&gateway),
        certificate_check::run(&gateway),
        on_rotation(&gateway),
        resolve(&gateway),
        check_health(&gateway),
        look_at_tools(&gateway)
    );
}

/// Has the tools of MCP servers known before anybody asks, and programs started: from the start, after each
/// reload, and when what is known has become too old.
async fn look_at_tools(gateway: &Gateway) {
    let mut generations = gateway.generations();
    loop {
        for server in gateway.current().mcp.iter() {
            server.look();
        }
        // A generation that is over means that the process is.
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_AT_TOOLS_EVERY, generations.changed()).await {
            return;
        }
    }
}

async fn on_hangup(gateway: &Gateway, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        // The outcome is logged and counted where it is decided.
        gateway.reload().await.ok();
    }
}

/// Takes up what has changed between loading and the beginning of the last watch, once.
async fn catch_up(gateway: &Gateway, watched: &Barrier) {
    if watched.wait().await.is_leader() {
        gateway.reload().await.ok();
    }
}

async fn on_change(gateway: &Gateway, watched: &Barrier) {
    let Source::File(path) = gateway.source() else {
        catch_up(gateway, watched).await;
        return;
    };
    let (_watcher, mut changes) = watch(std::slice::from_ref(path));
    catch_up(gateway, watched).await;
    while changes.recv().await.is_some() {
        gateway.reload().await.ok();
    }
}

/// What a configuration names beside itself; which paths those are can change with any reload.
async fn on_change_of(gateway: &Gateway, named: fn(&Gateway) -> Vec<PathBuf>, watched: &Barrier) {
    let mut generations = gateway.generations();
    let mut first = Some(watched);
    loop {
        let paths = named(gateway);
        let mut watching = Watching::of(&paths);
        // What has changed before this watch began.
        match first.take() {
            Some(watched) => catch_up(gateway, watched).await,
            None => drop(gateway.reload().await),
        }
        while named(gateway) == paths {
            tokio::select! {
                Some(()) = watching.changed() => drop(gateway.reload().await),
                Ok(()) = generations.changed() => {}
                else => return,
            }
        }
    }
}

/// Certificates, keys and authorities. They are taken up by themselves: a configuration that is refused
/// must not keep a certificate from being renewed.
async fn certificates(gateway: &Gateway) {
    let mut generations = gateway.generations();
    let mut look = tokio::time::interval(LOOK_AGAIN_EVERY);
    loop {
        let paths = gateway.certificate_files();
        let mut watching = Watching::of(&paths);
        // What has changed before the watch began.
        gateway.refresh_certificates().await;
        while gateway.certificate_files() == paths {
            tokio::select! {
                Some(()) = watching.changed() => gateway.refresh_certificates().await,
                // For a certificate that was refused because it was not good yet.
                _ = look.tick() => gateway.refresh_certificates().await,
                Ok(()) = generations.changed() => {}
            }
        }
    }
}

/// A watch of some files, or of none.
struct Watching(Option<(Watcher, Receiver<()>)>);

impl Watching {
    fn of(paths: &[PathBuf]) -> Self {
        Self((!paths.is_empty()).then(|| watch(paths)))
    }

    async fn changed(&mut self) -> Option<()> {
        match &mut self.0 {
            Some((_watcher, changes)) => changes.recv().await,
            None => std::future::pending().await,
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

fn policies(gateway: &Gateway) -> Vec<PathBuf> {
    let runtime = gateway.current();
    runtime.config.policies.iter().map(|policies| policies.directory.clone()).collect()
}

fn prices(gateway: &Gateway) -> Vec<PathBuf> {
    gateway.current().config.prices.iter().map(|prices| prices.file.clone()).collect()
}

/// Files that secrets are in.
fn secrets(gateway: &Gateway) -> Vec<PathBuf> {
    let runtime = gateway.current();
    let mut files: Vec<_> = config::secrets_of(&runtime.config)
        .into_iter()
        .filter_map(|(_, secret)| match &secret.reference {
            SecretRef::File(path) => Some(path.clone()),
            _ => None,
        })
        .collect();
    files.sort();
    files.dedup();
    files
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
