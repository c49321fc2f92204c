//! The program of a server: how it is started, and in which surroundings.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use tokio::process::{Child, Command};

use super::super::Failure;
use crate::config::valid::mcp::StdioTransport;

/// What a child has of the gateway's own environment.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER"];

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
    ///
    /// # Errors
    /// The system does not start it.
    pub fn start(&self) -> Result<(Child, Group), Failure> {
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
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok((child, Group(group)))
    }
}

/// A child's process group. Dropped, all that is left of it is killed.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// Sends a signal to all of it. That nobody is left is no failure.
    pub fn signal(&self, signal: Signal) {
        let Some(group) = self.0 else { return };
        match killpg(group, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                tracing::warn!(group = group.as_raw(), %signal, %error, "no signal could be sent");
            }
        }
    }

    /// Kills what is left of it. Its leader is gone: from now on its id may become another's.
    pub fn sweep(&mut self) {
        self.signal(Signal::SIGKILL);
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.sweep();
    }
}
