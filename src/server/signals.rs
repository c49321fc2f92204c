//! What signals mean: TERM and INT drain, QUIT hands the sockets to a new process and drains. INT during a
//! drain ends it, and during one that QUIT began TERM does, too.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::handover;
use crate::app::Gateway;

/// The exit codes that shells give to a process which a signal has ended.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;

/// Waits for the signal that ends the process.
pub struct Signals {
    gateway: Arc<Gateway>,
    upgrade_socket: PathBuf,
    streams: Mutex<Option<Streams>>,
}

/// A signal that comes before somebody waits for it is not lost.
struct Streams {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Sockets are handed over at `upgrade_socket`. From now on these signals don't end the process by
    /// themselves.
    ///
    /// # Errors
    /// The system takes no handler.
    ///
    /// # Panics
    /// Outside of a runtime. It has to last as long as the process.
    pub fn install(gateway: Arc<Gateway>, upgrade_socket: PathBuf) -> std::io::Result<Self> {
        let streams = Streams {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        };
        Ok(Self { gateway, upgrade_socket, streams: Mutex::new(Some(streams)) })
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        // Pingora waits once.
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(streams) = streams else { return std::future::pending().await };
        let Streams { mut terminate, mut interrupt, mut quit } = streams;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = quit.recv() => {
                    // Pingora would leave without one.
                    if handover::somebody_waits(&self.upgrade_socket) {
                        tracing::info!("handing the listening sockets to a new process");
                        // The process is on its way out, and the new one is who is to be asked to drain.
                        let gateway = self.gateway.clone();
                        tokio::spawn(async move {
                            let code = tokio::select! {
                                _ = terminate.recv() => TERMINATED,
                                _ = interrupt.recv() => INTERRUPTED,
                            };
                            tracing::warn!("ended before all was done");
                            leave(&gateway, code).await;
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
            let gateway = self.gateway.clone();
            tokio::spawn(async move {
                interrupt.recv().await;
                leave(&gateway, INTERRUPTED).await;
            });
            return ShutdownSignal::GracefulTerminate;
        }
    }
}

/// Ends the process at once, and the programs that it has started with it: they have secrets.
async fn leave(gateway: &Gateway, code: i32) {
    gateway.current().mcp.programs().kill().await;
    std::process::exit(code);
}
