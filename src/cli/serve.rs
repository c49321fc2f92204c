//! `sluicegate serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use nix::unistd::Pid;

use super::{Run, Serve, complain};
use crate::app::services::Services;
use crate::app::{Gateway, Source};
use crate::server::{self, Addresses, Options};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

pub fn run(args: &Serve) -> ExitCode {
    start(Source::File(args.config.clone()), &args.run, announce)
}

/// One line, for whoever waits for the process: which addresses are open.
fn announce(addresses: &Addresses) {
    tracing::info!(
        proxy = %addresses.proxy,
        admin = %addresses.admin,
        metrics = %addresses.metrics,
        pid = std::process::id(),
        "listening"
    );
}

/// Serves what `source` says until a signal.
pub fn start(
    source: Source,
    run: &Run,
    announce: impl FnOnce(&Addresses) + Send + 'static,
) -> ExitCode {
    install_tracing();
    // Before anything makes a TLS configuration. An error means that it is installed already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let sources = match source.load() {
        Ok(sources) => sources,
        Err(problems) => return complain(problems),
    };
    for warning in &sources.loaded.warnings {
        tracing::warn!("{warning}");
    }
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => return fail(error),
    };
    let access_log = match AccessLog::start(std::io::stdout()) {
        Ok(log) => log,
        Err(error) => return fail(error),
    };
    let io = match server::io_runtime() {
        Ok(io) => io,
        Err(error) => return fail(error),
    };
    let services = Services::open(&sources.loaded.config, metrics, access_log, io.handle());
    let services = match io.block_on(services) {
        Ok(services) => services,
        Err(error) => return fail(error),
    };
    let gateway = match Gateway::new(source, sources, services) {
        Ok(gateway) => gateway,
        Err(error) => return complain(error),
    };
    let options = Options {
        upgrade: run.upgrade.is_some(),
        upgrade_from: run.upgrade.flatten().map(Pid::from_raw),
        upgrade_socket: run.upgrade_socket.clone().unwrap_or_else(default_upgrade_socket),
    };
    match server::serve(&gateway, io, &options, announce) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("sluicegate: {error}");
    ExitCode::FAILURE
}

/// In the user's own runtime directory, or one of ours in the directory for temporary files.
fn default_upgrade_socket() -> PathBuf {
    let directory = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(own) => PathBuf::from(own).join("sluicegate"),
        None => {
            let user = std::os::unix::fs::MetadataExt::uid;
            let uid = std::fs::metadata("/proc/self").map_or(0, |metadata| user(&metadata));
            std::env::temp_dir().join(format!("sluicegate-{uid}"))
        }
    };
    directory.join("upgrade.sock")
}

/// What the process says of itself goes to standard error as JSON lines; `RUST_LOG` chooses.
fn install_tracing() {
    use tracing_subscriber::EnvFilter;
    // Pingora logs each failed request by its own account; the access log has it once, with an id.
    let quiet = "info,pingora_core=warn,pingora_proxy=error,pingora_core::listeners=error";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init()
        .ok();
}
