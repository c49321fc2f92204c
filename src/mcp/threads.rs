//! Threads on which servers are asked for their tools, and with that the programs are read that are started for
//! it: they have to last as long as the process does, and not to be those of the admin's listener.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

const COUNT: usize = 2;

/// The threads. There are none before they are first needed.
#[derive(Debug, Default)]
pub struct Threads(OnceLock<Option<Runtime>>);

impl Threads {
    /// Does something there; where the system gives no threads, here.
    pub fn spawn(&self, it: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.0.get_or_init(|| {
            let made = Builder::new_multi_thread()
                .worker_threads(COUNT)
                .thread_name("mcp")
                .enable_all()
                .build();
            made.inspect_err(|error| tracing::warn!(%error, "no threads for MCP servers")).ok()
        });
        match runtime {
            Some(runtime) => drop(runtime.spawn(it)),
            None => drop(tokio::spawn(it)),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take().flatten() {
            // Perhaps on one of its own threads, or on another runtime's, which must not wait.
            runtime.shutdown_background();
        }
    }
}
