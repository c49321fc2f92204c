//! `sluicegate check`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::USAGE;
use crate::app::{Gateway, Source};
use crate::config::{Env, load_file};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// Options of `check`.
#[derive(Args)]
pub struct Check {
    /// The configuration file.
    #[arg(long, short, env = "SLUICEGATE_CONFIG", default_value = "conf/sluicegate.yaml")]
    config: PathBuf,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Check) -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let (problems, warnings) = match load_file(&args.config, &Env::from_process()) {
        Ok(loaded) => {
            let warnings = json!(loaded.warnings);
            for warning in &loaded.warnings {
                if !args.json {
                    eprintln!("warning: {warning}");
                }
            }
            (unservable(args, loaded), warnings)
        }
        Err(problems) => {
            if !args.json {
                eprintln!("{problems}");
            }
            (json!(problems), json!([]))
        }
    };
    let ok = problems.as_array().is_some_and(Vec::is_empty);
    let mut out = std::io::stdout().lock();
    let written = if args.json {
        writeln!(out, "{}", json!({"ok": ok, "problems": problems, "warnings": warnings}))
    } else if ok {
        writeln!(out, "{}: ok", args.config.display())
    } else {
        Ok(())
    };
    if ok && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(USAGE) }
}

/// What only shows when the configuration is put to use: certificates, CA files.
fn unservable(args: &Check, loaded: crate::config::Loaded) -> serde_json::Value {
    let source = Source::File(args.config.clone());
    let built = Metrics::new().map_err(|error| error.to_string()).and_then(|metrics| {
        let log = AccessLog::start(std::io::sink()).map_err(|error| error.to_string())?;
        Gateway::new(source, loaded, metrics, log).map_err(|error| error.to_string())
    });
    match built {
        Ok(_) => json!([]),
        Err(message) => {
            if !args.json {
                eprintln!("{}: {message}", args.config.display());
            }
            json!([{"file": args.config, "message": message}])
        }
    }
}
