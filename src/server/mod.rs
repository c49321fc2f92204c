//! Runs the process: listeners, signals, reloads, and the way out.

mod descriptors;
mod drain;
mod handover;
mod listen;
mod signals;
mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Pid;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::listening::Service;
use pingora_proxy::http_proxy;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use self::signals::Signals;
use crate::app::Gateway;
use crate::config::valid::Limits;
use crate::edge::Edge;
use crate::proxy::Proxy;
use crate::tls::Listener;
use crate::{admin, edge};

/// Idle connections to providers that are kept, in all.
const UPSTREAM_POOL: usize = 1024;
/// Far beyond any `shutdown.timeout`: Pingora sleeps this long whatever happens, and our drain ends
/// the process before.
const PINGORA_GRACE: Duration = Duration::from_secs(24 * 3600);
/// Streams of one HTTP/2 connection that a client may have open.
const H2_STREAMS: u32 = 256;
/// Bytes of the table that one HTTP/2 connection's headers are packed with.
const H2_HEADER_TABLE: u32 = 4096;
/// Bytes of a body that a client may send before we have read them, and of all bodies of a connection.
const H2_WINDOW: u32 = 64 * 1024 - 1;
/// Bytes of an answer that wait in an HTTP/2 stream while its client reads slowly. A stream's events are small;
/// the library's 400 KiB for each of a connection's streams would be 100 MiB.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may reset before they are begun, and that stay known after a reset of ours.
const H2_RESETS: usize = 20;
/// Streams of one HTTP/2 connection that we must reset because of what the client sends on them. A client
/// that makes us reset more is told to go (CVE-2025-8671).
const H2_ERRORS: usize = 512;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Take the listening sockets of a running process.
    pub upgrade: bool,
    /// The id of that process, if it is to be asked for them.
    pub upgrade_from: Option<Pid>,
    /// Where the sockets are handed over.
    pub upgrade_socket: PathBuf,
}

/// Why the process can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address can't be listened on.
    #[error("can't listen on {address} ({key}): {source}")]
    Listen {
        /// The config key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The directory of the hand-over socket.
    #[error("{}: {message}", path.display())]
    UpgradeSocket {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The process that is to give its sockets.
    #[error("can't take the sockets of process {pid} (--upgrade): {source}")]
    UpgradeFrom {
        /// Its id.
        pid: Pid,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something of the system's.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The addresses in use, with the ports that the system chose where the config says 0.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For callers.
    pub proxy: SocketAddr,
    /// For the administrator.
    pub admin: SocketAddr,
    /// For Prometheus.
    pub metrics: SocketAddr,
}

/// Everything that is not the request path lives on this runtime, for as long as the process does.
///
/// # Errors
/// The system gives no thread.
pub fn io_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("io")
        .enable_all()
        .build()
}

/// Serves until a signal ends the process. `announce` is called once when the listeners accept.
///
/// Must be called outside tokio: Pingora makes its own runtimes.
///
/// # Errors
/// What keeps it from starting. It does not return otherwise.
pub fn serve(
    gateway: &Arc<Gateway>,
    io: Runtime,
    options: &Options,
    announce: impl FnOnce(&Addresses) + Send + 'static,
) -> Result<(), ServeError> {
    let runtime = gateway.current();
    let listeners = &runtime.config.listeners;
    descriptors::raise(&runtime.config.limits);
    listen::prepare_socket_directory(&options.upgrade_socket)?;

    let admin = listen::shared(&io, "listeners.admin.address", listeners.admin.address)?;
    let metrics = listen::shared(&io, "listeners.metrics.address", listeners.metrics.address)?;
    let reserved = listen::reserve("listeners.proxy.address", listeners.proxy.address)?;
    let addresses = Addresses {
        proxy: reserved.address(),
        admin: admin.local_addr()?,
        metrics: metrics.local_addr()?,
    };

    // Before anybody is told that we listen, and may send one.
    let (signals, hangup) = {
        let _runtime = io.enter();
        let signals = Signals::install(gateway.clone(), options.upgrade_socket.clone())?;
        (signals, signal(SignalKind::hangup())?)
    };

    io.block_on(gateway.resolvers.refresh(true));
    let services = admin::Services::of(gateway);
    io.spawn(admin::serve_admin(Arc::new(services), admin));
    io.spawn(admin::serve_metrics(gateway.clone(), metrics));
    io.spawn(upkeep::run(gateway.clone(), hangup));

    let mut server = Server::new_with_opt_and_conf(
        Opt { upgrade: options.upgrade, ..Opt::default() },
        server_conf(&runtime.config, options),
    );
    if let Some(pid) = options.upgrade_from {
        handover::ask(&io, pid, options.upgrade_socket.clone())
            .map_err(|source| ServeError::UpgradeFrom { pid, source })?;
    }
    server.bootstrap();
    io.spawn(drain::watch(gateway.clone(), server.watch_execution_phase()));
    server.add_service(proxy_service(gateway, &server, &addresses));
    io.spawn(async move {
        listen::until_accepting(addresses.proxy).await;
        drop(reserved);
        announce(&addresses);
    });
    drop(runtime);
    server.run(RunArgs { shutdown_signal: Box::new(signals) });
    Ok(())
}

fn server_conf(config: &crate::config::Config, options: &Options) -> ServerConf {
    ServerConf {
        threads: config.workers.threads,
        work_stealing: true,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        upgrade_sock: options.upgrade_socket.to_string_lossy().into_owned(),
        grace_period_seconds: Some(PINGORA_GRACE.as_secs()),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

/// What one HTTP/2 connection may make us do. Each bound is said, whatever the library's own may become; those
/// that it has none for are in [`edge`].
fn h2_options(limits: &Limits) -> H2Options {
    let mut options = H2Options::default();
    options
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
        .header_table_size(H2_HEADER_TABLE)
        .initial_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW)
        .max_send_buffer_size(H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(H2_RESETS)
        .max_concurrent_reset_streams(H2_RESETS)
        .max_local_error_reset_streams(Some(H2_ERRORS));
    options
}

fn proxy_service(
    gateway: &Arc<Gateway>,
    server: &Server,
    addresses: &Addresses,
) -> Service<edge::Edge> {
    let config = &gateway.current().config;
    let mut proxy = http_proxy(&server.configuration, Proxy::new(gateway.clone()));
    let mut options = HttpServerOptions::default();
    options.h2c = config.listeners.proxy.h2c;
    options.h2_idle_timeout = Some(config.limits.keepalive_timeout);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(h2_options(&config.limits));

    let edge = Edge::new(proxy, gateway.clone(), gateway.tls.get(Listener::Proxy).cloned());
    let mut service = Service::new("proxy".to_owned(), edge);
    service.set_connection_filter(Arc::new(edge::Gate(gateway.clone())));
    let mut socket = TcpSocketOptions::default();
    // Held while we find out which port it is; see `listen::reserve`.
    socket.so_reuseport = Some(true);
    // Everything that reads from a client has a buffer of its own; another one of 64 KiB between
    // would cost each connection its memory and each byte a copy.
    let unbuffered = L4BufferSettings::default().read(0);
    service.add_listener(
        ListenerConfig::tcp(addresses.proxy.to_string())
            .tcp_socket_options(socket)
            .l4_buffer(unbuffered),
    );
    service
}
