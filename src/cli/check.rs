//! `sluicegate check`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::USAGE;
use crate::app::{Source, Sources, dry_run};

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
    let (problems, warnings) = match Source::File(args.config.clone()).load() {
        Ok(sources) => {
            let warnings = json!(sources.loaded.warnings);
            for warning in &sources.loaded.warnings {
                if !args.json {
                    eprintln!("warning: {warning}");
                }
            }
            sources.loaded.close();
            (unservable(args, sources), warnings)
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
fn unservable(args: &Check, sources: Sources) -> serde_json::Value {
    match dry_run(sources) {
        Ok(_) => json!([]),
        Err(error) => {
            let message = error.to_string();
            if !args.json {
                eprintln!("{}: {message}", args.config.display());
            }
            json!([{"file": args.config, "message": message}])
        }
    }
}
