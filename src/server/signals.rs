//! What signals mean: TERM and INT drain, QUIT hands the sockets to a new process and drains. INT during a
//! drain ends it, and during one that QUIT began TERM does, too.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Gateway;

/// The exit codes that shells give to a process which a signal has ended.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;

/// Waits for the signal that ends the process.
pub struct Signals {
    gateway: Arc<Gateway>,
    upgrade_socket: PathBuf,
}

impl Signals {
    /// Sockets are handed over at `upgrade_socket`.
    pub fn new(gateway: Arc<Gateway>, upgrade_socket: PathBuf) -> Self {
        Self { gateway, upgrade_socket }
    }

    /// Whether a new process is waiting for our sockets. Pingora would leave without one.
    fn successor_is_waiting(&self) -> bool {
        std::fs::symlink_metadata(&self.upgrade_socket)
            .is_ok_and(|metadata| metadata.file_type().is_socket())
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = stream(SignalKind::terminate());
        let mut interrupt = stream(SignalKind::interrupt());
        let mut quit = stream(SignalKind::quit());
        loop {
            tokio::select! {
                () = next(&mut terminate) => {}
                () = next(&mut interrupt) => {}
                () = next(&mut quit) => {
                    if self.successor_is_waiting() {
                        tracing::info!("handing the listening sockets to a new process");
                        // The process is on its way out, and the new one is who is to be asked to drain.
                        tokio::spawn(async move {
                            let code = tokio::select! {
                                () = next(&mut terminate) => TERMINATED,
                                () = next(&mut interrupt) => INTERRUPTED,
                            };
                            tracing::warn!("ended before all was done");
                            std::process::exit(code);
                        });
                        return ShutdownSignal::GracefulUpgrade;
                    }
                    tracing::error!(
                        socket = %self.upgrade_socket.display(),
                        "SIGQUIT, but no new process waits for the sockets: start one with \
                         --upgrade first; going on"
                    );
                    continue;
                }
            }
            // First, so that whoever reads the line finds it true.
            self.gateway.begin_draining();
            tracing::info!("draining");
            // A second INT is a person who does not want to wait.
            tokio::spawn(async move {
                next(&mut interrupt).await;
                std::process::exit(INTERRUPTED);
            });
            return ShutdownSignal::GracefulTerminate;
        }
    }
}

fn stream(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, ?kind, "signal not handled")).ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
