//! The way out: as soon as nothing is being served, and never later than `shutdown.timeout`.
//!
//! Pingora itself sleeps a fixed time after a signal and then cuts whatever is left. So this task
//! counts what is in flight and ends the process.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora_core::server::ExecutionPhase;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;

use crate::app::Gateway;

/// How long nothing must be in flight. A keep-alive client between two requests is given this long
/// to send the next, whose answer then tells it to close.
const QUIET: Duration = Duration::from_millis(250);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long HTTP/2 connections may take to send what is queued.
const FLUSH: Duration = Duration::from_secs(5);
/// How long the last traces may take to leave. Nobody waits longer for a collector that does not answer.
const LAST_TRACES: Duration = Duration::from_secs(2);
/// What is left of the timeout for telling clients, writing logs and leaving.
const FAREWELL: Duration = Duration::from_millis(750);

/// Waits until the listeners are closed, drains, and ends the process.
pub async fn watch(gateway: Arc<Gateway>, mut phases: Receiver<ExecutionPhase>) {
    loop {
        match phases.recv().await {
            Ok(ExecutionPhase::ShutdownGracePeriod) => break,
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            // Pingora is gone without a shutdown: main returns by itself.
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
    gateway.begin_draining();
    let timeout = gateway.current().config.shutdown.timeout;
    let deadline = Instant::now() + timeout;
    let drained = idle_by(&gateway, QUIET, deadline - FAREWELL.min(timeout)).await;
    if !drained {
        // Streams under way end with an error event instead of a cut.
        gateway.leaving.cancel();
        idle_by(&gateway, Duration::ZERO, deadline - FAREWELL.min(timeout) / 3).await;
    }
    flushed_by(&gateway, deadline.min(Instant::now() + FLUSH)).await;
    // Beside what follows, as they may take their time.
    let programs = gateway.current().mcp.programs().clone();
    let programs = tokio::spawn(async move { programs.end(deadline).await });
    // What was used is told to whoever counts, and what was leased goes back to others.
    let counted = gateway.quotas.engine().close(deadline.saturating_duration_since(Instant::now()));
    if !counted.await {
        tracing::error!("the quota store was not told all; leases end by themselves");
    }
    if !gateway.ledger.close(deadline.saturating_duration_since(Instant::now())).await {
        tracing::error!("rows of the ledger wait in its journal for the next process");
    }
    if let Some(vault) = gateway.vault() {
        // A token that is not ended in time ends by itself.
        let closed = tokio::task::spawn_blocking(move || vault.close());
        tokio::time::timeout_at(deadline, closed).await.ok();
    }
    let left = deadline.saturating_duration_since(Instant::now()).min(LAST_TRACES);
    if !gateway.tracer.close(left).await {
        tracing::warn!("the last traces were not exported");
    }
    programs.await.ok();
    tracing::info!(drained, "leaving");
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(50));
    gateway.access_log.flush(left);
    if !gateway.audit.close(left) {
        tracing::error!("the audit log was not finished");
    }
    std::process::exit(0);
}

/// Waits for the HTTP/2 connections to close. An answer that has ended for us may still be queued in
/// one; Pingora has said GOAWAY on each and closes it once all is written.
async fn flushed_by(gateway: &Gateway, deadline: Instant) {
    while gateway.multiplexed.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether nothing was in flight for `quiet` at some time before `deadline`.
async fn idle_by(gateway: &Gateway, quiet: Duration, deadline: Instant) -> bool {
    let mut idle_since = None;
    loop {
        let now = Instant::now();
        match (gateway.is_idle(), idle_since) {
            (true, Some(since)) if now - since >= quiet => return true,
            (true, None) if quiet.is_zero() => return true,
            (true, None) => idle_since = Some(now),
            (true, Some(_)) => {}
            (false, _) => idle_since = None,
        }
        if now >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
