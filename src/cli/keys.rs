//! `sluicegate keys`.

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

/// What to make.
#[derive(Subcommand)]
pub enum Keys {
    /// Print a new master key: 256 random bits. Nothing is stored.
    GenerateMaster,
}

pub fn run(command: &Keys) -> ExitCode {
    match command {
        Keys::GenerateMaster => {
            let mut bits = [0; 32];
            let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
            if random.fill(&mut bits).is_err() {
                eprintln!("sluicegate: the system gives no random bits");
                return ExitCode::FAILURE;
            }
            let hex: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
            match writeln!(std::io::stdout().lock(), "sk-{hex}") {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
    }
}
