//! The command line. Exit codes: 0 ok, 1 failed while running, 64 bad usage or configuration.

mod audit;
mod check;
mod config;
mod demo;
mod jwt;
mod keys;
mod migrate;
mod policy;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Bad usage or a bad configuration (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;

/// An AI gateway: one process before your models.
#[derive(Parser)]
#[command(name = "sluicegate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway. SIGHUP reloads, SIGTERM drains, SIGQUIT hands over to `--upgrade`.
    Serve(Serve),
    /// Run with embedded defaults and a simulated provider, and print a curl to try.
    Demo(demo::Demo),
    /// Validate a configuration: every error as file:line:column.
    Check(check::Check),
    /// Show the configuration's schema, its effective values, or what a change would do.
    #[command(subcommand)]
    Config(config::Config),
    /// See what the gateway makes of a JSON Web Token.
    #[command(subcommand)]
    Jwt(jwt::Jwt),
    /// Make keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Check or show an audit log.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Validate policies, explain what they decide, run their tests.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Move from another gateway: its configuration to one of ours.
    #[command(subcommand)]
    Migrate(migrate::Migrate),
}

/// Options of `serve`.
#[derive(Args)]
pub struct Serve {
    /// The configuration file.
    #[arg(long, short, env = "SLUICEGATE_CONFIG", default_value = "conf/sluicegate.yaml")]
    config: PathBuf,
    #[command(flatten)]
    run: Run,
}

/// Options of everything that runs the gateway.
#[derive(Args)]
pub struct Run {
    /// Take the listening sockets of the running process. With its id, it is asked for them; without,
    /// send it SIGQUIT within five seconds.
    #[arg(long, value_name = "PID", num_args = 0..=1, require_equals = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    upgrade: Option<Option<i32>>,
    /// Where sockets are handed over; its directory is made for the owner alone.
    #[arg(long, env = "SLUICEGATE_UPGRADE_SOCKET")]
    upgrade_socket: Option<PathBuf>,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            error.print().ok();
            return ExitCode::from(code);
        }
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Jwt(command) => jwt::run(&command),
        Command::Keys(command) => keys::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Policy(command) => policy::run(&command),
        Command::Migrate(command) => migrate::run(&command),
    }
}

/// Says on standard error what a person did wrong.
fn complain(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(USAGE)
}
