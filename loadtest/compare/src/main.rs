//! `sluicegate-compare`: how much the gateway costs beside bare Pingora, nginx and nothing.
//!
//! All are started by this program on free ports, before the same simulated provider, and measured
//! in turns within one run. Only the ratios within one run mean something: figures of two machines,
//! or of two hours, are not comparable.

mod idle;
mod ledger;
mod load;
mod procfs;
mod reply;
mod report;
mod rounds;
mod service;
mod system;
mod workload;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use sluicegate_simulator::{Options, Simulator};

use crate::reply::ReplyError;
use crate::rounds::Plan;
use crate::service::{Proxy, Setup, StartError};
use crate::system::{System, Variant};
use crate::workload::Workload;

/// Compares Sluicegate with bare Pingora, nginx and a direct connection within one run.
#[derive(Debug, Parser)]
#[command(name = "sluicegate-compare", version)]
struct Arguments {
    /// Rounds; each measures every proxy with every workload.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Connections of the load generator.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Worker threads of each proxy.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Workload>,
    /// Only these proxies. Bare Pingora is always measured: the ratios need it.
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<Proxy>,
    /// The gateway under a configuration of yours, as name=FILE or name=FILE,CREDENTIAL; may be repeated. The
    /// file finds COMPARE_LISTEN, COMPARE_UPSTREAM, COMPARE_THREADS and COMPARE_DIRECTORY (its own) as variables.
    #[arg(long = "variant", value_name = "NAME=FILE,CREDENTIAL")]
    variants: Vec<Variant>,
    /// Send so many requests a second to each instead of as many as go through.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// Open so many stalled streams instead, and report the memory of each.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    idle_streams: Option<u32>,
    /// The gateway's binary.
    #[arg(long, default_value = "target/release/sluicegate")]
    sluicegate: PathBuf,
    /// The bare proxy's binary. Default: beside this program.
    #[arg(long)]
    bare_pingora: Option<PathBuf>,
    /// CPUs for the proxies, as `taskset -c` takes them.
    #[arg(long)]
    proxy_cpus: Option<String>,
    /// CPUs for the load generator and the simulator.
    #[arg(long)]
    load_cpus: Option<String>,
    /// Also write the figures as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Be the simulated provider at this address; this program starts itself so.
    #[arg(long, hide = true)]
    serve_simulator: Option<SocketAddr>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{proxy}, workload {workload}: {source}{log}")]
    Measurement {
        proxy: String,
        workload: &'static str,
        source: ReplyError,
        /// The end of the proxy's output, on a line of its own.
        log: String,
    },
    #[error(
        "{proxy}, workload {workload}: {replies} replies, but the provider saw {served} requests"
    )]
    Unforwarded { proxy: String, workload: &'static str, replies: u64, served: u64 },
    #[error("{0} does not exist; build or write it, or name another")]
    NoFile(PathBuf),
    #[error("two variants are called `{0}`; give each a name of its own")]
    SameName(String),
    #[error("{needed} open files are needed, {limit} are allowed; see `ulimit -n`")]
    OpenFiles { needed: u64, limit: u64 },
    #[error("the simulator saw {seen} of {expected} streams end after their clients had left")]
    StreamsLeft { seen: u64, expected: u64 },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: what the load generator takes, the proxies on a small machine lack.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Failure::Io).and_then(|runtime| runtime.block_on(run(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sluicegate-compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(address) = arguments.serve_simulator {
        return serve_simulator(address).await;
    }
    if cfg!(debug_assertions) {
        // The bare proxy beside it is built alike, and many times slower than it would be.
        eprintln!("built without optimisation: these figures and ratios mean nothing");
    }
    let systems = systems(arguments)?;
    let setup = setup(arguments, &systems)?;
    if let Some(cpus) = &arguments.load_cpus {
        pin_self(cpus)?;
    }
    let mut out = io::stdout().lock();
    let json = if let Some(streams) = arguments.idle_streams {
        let figures = idle::measure(streams, &systems, &setup).await?;
        writeln!(out, "{}", report::idle_table(&figures))?;
        serde_json::to_vec_pretty(&figures)
    } else {
        let workloads = Workload::ALL.into_iter();
        let chosen = |w: &Workload| arguments.only.is_empty() || arguments.only.contains(w);
        let plan = Plan {
            rounds: arguments.rounds,
            duration: arguments.seconds,
            connections: arguments.connections as usize,
            workloads: workloads.filter(chosen).collect(),
            systems,
            rate: arguments.rate,
        };
        let measurements = rounds::measure(&plan, &setup).await?;
        let rows = report::rows(&measurements);
        writeln!(out, "{}", report::table(&rows, plan.rate))?;
        serde_json::to_vec_pretty(&report::Document::new(plan.rate, &rows, &measurements))
    };
    if let Some(path) = &arguments.json {
        fs::write(path, json.map_err(io::Error::from)?)?;
    }
    Ok(())
}

/// Runs until it is killed.
async fn serve_simulator(address: SocketAddr) -> Result<(), Failure> {
    let _simulator = Simulator::start(Options { address, ..Options::default() }).await?;
    std::future::pending().await
}

/// The chosen proxies, without nginx where it is not installed, and the variants.
fn systems(arguments: &Arguments) -> Result<Vec<System>, Failure> {
    let chosen = |proxy: &Proxy| {
        arguments.proxies.is_empty()
            || arguments.proxies.contains(proxy)
            || *proxy == Proxy::Pingora
    };
    let mut proxies: Vec<_> = Proxy::ALL.into_iter().filter(chosen).collect();
    if proxies.contains(&Proxy::Nginx) && Command::new("nginx").arg("-v").output().is_err() {
        eprintln!("nginx is not installed: left out");
        proxies.retain(|proxy| *proxy != Proxy::Nginx);
    }
    let mut systems: Vec<_> = proxies.into_iter().map(System::plain).collect();
    for (position, variant) in arguments.variants.iter().enumerate() {
        existing(&variant.config)?;
        let system = System::variant(position, variant.clone());
        if systems.iter().any(|other| other.name() == system.name()) {
            return Err(Failure::SameName(system.name().to_owned()));
        }
        systems.push(system);
    }
    Ok(systems)
}

fn setup(arguments: &Arguments, systems: &[System]) -> Result<Setup, Failure> {
    let beside = std::env::current_exe()?.with_file_name("bare-pingora");
    let bare_pingora = arguments.bare_pingora.clone().unwrap_or(beside);
    let gateway = systems.iter().any(|system| system.proxy == Proxy::Sluicegate);
    Ok(Setup {
        threads: arguments.threads,
        bare_pingora: existing(&bare_pingora)?,
        sluicegate: if gateway {
            existing(&arguments.sluicegate)?
        } else {
            arguments.sluicegate.clone()
        },
        proxy_cpus: arguments.proxy_cpus.clone(),
        load_cpus: arguments.load_cpus.clone(),
    })
}

/// The whole path: processes are started in directories of their own.
fn existing(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|_| Failure::NoFile(path.to_owned()))
}

fn pin_self(cpus: &str) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let output = Command::new("taskset").args(["-a", "-p", "-c", cpus, &pid]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(duration) }
}

fn positive(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 1.0);
    number.ok_or("must be a number of at least 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive_numbers() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "inf", "NaN", "x"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variants_join_the_chosen_proxies() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        fs::write(&file, "").unwrap();
        let parse = |names: &[&str]| {
            let variants = names.iter().map(|name| format!("--variant={name}={}", file.display()));
            let fixed = ["x", "--proxies=direct"].map(str::to_owned);
            systems(&Arguments::parse_from(fixed.into_iter().chain(variants)))
        };
        let chosen = parse(&["key", "jwt"]).unwrap();
        let names: Vec<_> = chosen.iter().map(System::name).collect();
        assert_eq!(names, ["direct", "pingora", "key", "jwt"]);
        assert!(chosen[2].is_first_variant());
        assert!(matches!(parse(&["key", "key"]), Err(Failure::SameName(name)) if name == "key"));
        fs::remove_file(&file).unwrap();
        assert!(matches!(parse(&["key"]), Err(Failure::NoFile(_))));
    }

    #[test]
    fn rates_are_positive_numbers() {
        assert_eq!(positive("1500"), Ok(1500.0));
        for wrong in ["0", "-1", "inf", "NaN", "x"] {
            assert!(positive(wrong).is_err(), "{wrong}");
        }
    }
}
