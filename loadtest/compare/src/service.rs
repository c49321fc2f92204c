//! The processes under comparison: started on free ports, stopped when dropped.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::procfs::Processes;
use crate::system::System;

/// How long a process may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What stands between the load generator and the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proxy {
    /// Nothing: the most that load generator and simulator can do.
    Direct,
    /// nginx.
    Nginx,
    /// Pingora with nothing added; what the others are held against.
    Pingora,
    /// The gateway.
    Sluicegate,
}

impl Proxy {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Nginx, Self::Pingora, Self::Sluicegate];

    /// Its name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Pingora => "pingora",
            Self::Sluicegate => "sluicegate",
        }
    }
}

/// How processes are started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Worker threads of each proxy.
    pub(crate) threads: usize,
    /// Where `bare-pingora` is.
    pub(crate) bare_pingora: PathBuf,
    /// Where `sluicegate` is.
    pub(crate) sluicegate: PathBuf,
    /// CPUs for proxies, as `taskset -c` takes them.
    pub(crate) proxy_cpus: Option<String>,
    /// CPUs for the simulator.
    pub(crate) load_cpus: Option<String>,
}

/// A process that could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The program, its files or its port.
    #[error("{name}: {source}")]
    Io {
        /// The process.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended or did not listen.
    #[error("{name} does not listen; its last words: {log}")]
    Silent {
        /// The process.
        name: String,
        /// The end of its output.
        log: String,
    },
}

/// A running process that listens.
#[derive(Debug)]
pub(crate) struct Service {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    name: String,
    child: Child,
    directory: TempDir,
}

impl Service {
    /// Starts the simulated provider: this program once more, as its own process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn simulator(setup: &Setup) -> Result<Self, StartError> {
        let name = "simulator";
        Self::start(name, setup.load_cpus.as_deref(), |address, _| {
            let program = std::env::current_exe()?;
            Ok(Launch::new(program, ["--serve-simulator".to_owned(), address.to_string()]))
        })
        .await
    }

    /// Starts a system before `upstream`. `None` for [`Proxy::Direct`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn system(
        system: &System,
        upstream: SocketAddr,
        setup: &Setup,
    ) -> Result<Option<Self>, StartError> {
        if system.proxy == Proxy::Direct {
            return Ok(None);
        }
        let launch = |listen, directory: &Path| launch(system, listen, upstream, setup, directory);
        Self::start(system.name(), setup.proxy_cpus.as_deref(), launch).await.map(Some)
    }

    /// The process and its children.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn processes(&self) -> io::Result<Processes> {
        Processes::of(self.child.id())
    }

    /// The end of what it wrote, for error messages.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.directory.path().join("log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(2000)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    async fn start(
        name: &str,
        cpus: Option<&str>,
        launch: impl FnOnce(SocketAddr, &Path) -> io::Result<Launch>,
    ) -> Result<Self, StartError> {
        let io = |source| StartError::Io { name: name.to_owned(), source };
        let directory = tempfile::Builder::new().prefix("compare-").tempdir().map_err(io)?;
        let address = free_address().map_err(io)?;
        let launch = launch(address, directory.path()).map_err(io)?;
        let child = spawn(&launch, cpus, directory.path()).map_err(io)?;
        let mut service = Self { address, name: name.to_owned(), child, directory };
        service.listens().await?;
        Ok(service)
    }

    /// Waits until a connection is accepted.
    async fn listens(&mut self) -> Result<(), StartError> {
        let start = tokio::time::Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || start.elapsed() > START_TIMEOUT {
                return Err(StartError::Silent { name: self.name.clone(), log: self.last_words() });
            }
            // There is no event to wait for: the processes have nothing in common that tells.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Service {
    /// The signal that asks it to end. Asked, a program of ours writes down its profile, where it has been made
    /// to keep one, and nginx takes its workers along, which a kill would leave behind. To bare Pingora a
    /// SIGTERM means to wait for minutes.
    fn farewell(&self) -> Option<&'static str> {
        match self.name.as_str() {
            "simulator" => None,
            name if name == Proxy::Pingora.name() => Some("INT"),
            _ => Some("TERM"),
        }
    }

    /// Asks it to end, and waits until it has. Returns whether it did so in time.
    #[expect(clippy::disallowed_methods, reason = "nothing else is under way when a process ends")]
    fn leaves(&mut self) -> bool {
        let Some(signal) = self.farewell() else { return false };
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-s", signal, &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            return false;
        }
        let asked = Instant::now();
        while asked.elapsed() < FAREWELL {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.leaves() {
            // Nothing that a kill could break. A process that has ended is fine too.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A program and what it is given.
struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Launch {
    fn new(program: PathBuf, arguments: impl IntoIterator<Item = String>) -> Self {
        Self { program, arguments: arguments.into_iter().collect(), environment: Vec::new() }
    }
}

fn launch(
    system: &System,
    listen: SocketAddr,
    upstream: SocketAddr,
    setup: &Setup,
    directory: &Path,
) -> io::Result<Launch> {
    let threads = setup.threads;
    match (system.proxy, &system.variant) {
        (Proxy::Sluicegate, Some(variant)) => {
            let file = variant.config.canonicalize()?;
            let arguments = ["serve".to_owned(), "--config".to_owned(), text(&file)];
            let mut launch = Launch::new(setup.sluicegate.clone(), arguments);
            launch.environment = vec![
                ("COMPARE_LISTEN", listen.to_string()),
                ("COMPARE_UPSTREAM", upstream.to_string()),
                ("COMPARE_THREADS", threads.to_string()),
                ("COMPARE_DIRECTORY", file.parent().map(text).unwrap_or_default()),
            ];
            Ok(launch)
        }
        (Proxy::Sluicegate, None) => {
            let file = directory.join("sluicegate.yaml");
            fs::write(&file, sluicegate_config(listen, upstream, threads))?;
            let arguments = ["serve".to_owned(), "--config".to_owned(), text(&file)];
            Ok(Launch::new(setup.sluicegate.clone(), arguments))
        }
        (Proxy::Nginx, _) => {
            let file = directory.join("nginx.conf");
            fs::write(&file, nginx_config(listen, upstream, threads, directory))?;
            let arguments = ["-p", &text(directory), "-c", &text(&file)].map(str::to_owned);
            Ok(Launch::new(PathBuf::from("nginx"), arguments))
        }
        (Proxy::Direct | Proxy::Pingora, _) => {
            let arguments = [
                format!("--listen={listen}"),
                format!("--upstream={upstream}"),
                format!("--threads={threads}"),
            ];
            Ok(Launch::new(setup.bare_pingora.clone(), arguments))
        }
    }
}

/// Starts a program by a shell, which lifts the limit of open files first.
fn spawn(launch: &Launch, cpus: Option<&str>, directory: &Path) -> io::Result<Child> {
    let log = File::create(directory.join("log"))?;
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("ulimit -n 65535 2>/dev/null || ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\"");
    if let Some(cpus) = cpus {
        command.args(["taskset", "-c", cpus]);
    }
    command.arg(&launch.program).args(&launch.arguments);
    command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(directory).stdin(Stdio::null());
    // Standard output may be an access log, whose cost is the writer's; it is not read.
    command.stdout(Stdio::null()).stderr(log).spawn()
}

/// An address that nothing listens on now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn nginx_config(
    listen: SocketAddr,
    upstream: SocketAddr,
    threads: usize,
    directory: &Path,
) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
worker_processes {threads};
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 30000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 10m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    proxy_read_timeout 1h;
    upstream simulator {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://simulator;
            proxy_http_version 1.1;
            proxy_set_header connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}

/// Admin and metrics listen on any port: they are not used.
fn sluicegate_config(listen: SocketAddr, upstream: SocketAddr, threads: usize) -> String {
    format!(
        "environment: development
listeners:
  proxy: {{ address: \"{listen}\" }}
  admin: {{ address: \"127.0.0.1:0\" }}
  metrics: {{ address: \"127.0.0.1:0\" }}
workers: {{ threads: {threads} }}
limits:
  connections_per_ip: 100000
  connections: 100000
auth: {{ anonymous: true }}
providers:
  sim:
    dialect: openai
    base_url: http://{upstream}/v1
    api_key: sk-compare
models:
  sim-1:
    targets: [{{ provider: sim, model: sim-1 }}]
    timeouts: {{ connect: 2s, first_byte: 60s, idle: 1h, total: 2h }}
"
    )
}
