//! The program of a server: how it is started, and in which surroundings.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use tokio::process::{Child, Command};

use super::super::Failure;
use super::group::{Group, Programs, Start};
use crate::config::valid::mcp::StdioTransport;

/// What a child has of the gateway's own environment.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER"];

/// Why there is no program any more.
pub const LEAVING: &str = "the gateway is on its way out";

/// The program of a server. `Debug` shows its name alone: arguments may hold secrets, too.
pub struct Program {
    program: String,
    arguments: Vec<String>,
    inherited: Vec<(&'static str, OsString)>,
    environment: Vec<(String, SecretString)>,
    directory: Option<PathBuf>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({:?})", self.program)
    }
}

impl Program {
    /// As it is configured.
    ///
    /// # Errors
    /// There is no program in the command.
    pub fn new(transport: &StdioTransport) -> Result<Self, String> {
        let Some((program, arguments)) = transport.command.split_first() else {
            return Err("names no program".to_owned());
        };
        let own = |name| Some((name, std::env::var_os(name)?));
        let given = |(name, secret): (&String, &crate::config::valid::Secret)| {
            (name.clone(), secret.value.clone())
        };
        Ok(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            inherited: INHERITED.into_iter().filter_map(own).collect(),
            environment: transport.environment.iter().map(given).collect(),
            directory: transport.directory.clone(),
        })
    }

    /// The values of its environment that nobody may read.
    pub fn secrets(&self) -> Vec<SecretString> {
        self.environment.iter().map(|(_, value)| value.clone()).collect()
    }

    /// Starts it, in a process group of its own, with pipes for its input, its output and its errors.
    /// Everything else that the gateway has open is closed for it: the standard library and Tokio open
    /// nothing that is inherited, and neither do sockets come that way that another process hands over.
    /// It is one of `programs` until it has ended.
    ///
    /// # Errors
    /// The system does not start it, or the gateway is on its way out.
    pub fn start(&self, programs: &Arc<Programs>) -> Result<(Child, Group), Failure> {
        let start = Start::new(programs).ok_or_else(|| Failure::Unreachable(LEAVING.to_owned()))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.inherited.iter().map(|(name, value)| (name, value)))
            .envs(self.environment.iter().map(|(name, value)| (name, value.expose_secret())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn().map_err(|error| {
            let place = self
                .directory
                .as_ref()
                .map_or_else(String::new, |directory| format!(" in {}", directory.display()));
            let program = self.program.escape_debug();
            Failure::Unreachable(format!(
                "the program `{program}` can't be started{place}: {error}"
            ))
        })?;
        let group = start.began(&child);
        Ok((child, group))
    }
}
