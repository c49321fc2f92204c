//! `sluicegate migrate`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{USAGE, complain};
use crate::config::{Problem, Problems};
use crate::migrate::{Migrated, Outcome, litellm};

/// Larger than any file that is read; a longer one is refused by what reads it.
const MOST: u64 = 2 * 1024 * 1024;

/// Where to move from.
#[derive(Subcommand)]
pub enum Migrate {
    /// From the config.yaml of LiteLLM's proxy: the configuration on standard output, the report of what
    /// has no equal or was changed on standard error.
    Litellm(Litellm),
}

/// Options of `migrate litellm`.
#[derive(Args)]
pub struct Litellm {
    /// LiteLLM's configuration file.
    #[arg(long, short)]
    config: PathBuf,
    /// Write the configuration to this file, or to `sluicegate.yaml` in this directory.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Write over a file that is there.
    #[arg(long, requires = "out")]
    force: bool,
    /// Print one JSON object on standard output instead: the configuration, unless it is written to a
    /// file, and the report.
    #[arg(long)]
    json: bool,
    /// Exit with 1 where something has no equal.
    #[arg(long)]
    strict: bool,
}

pub fn run(command: &Migrate) -> ExitCode {
    match command {
        Migrate::Litellm(args) => run_litellm(args),
    }
}

fn run_litellm(args: &Litellm) -> ExitCode {
    let name = args.config.display().to_string();
    let migrated = match read(&args.config) {
        Ok(text) => {
            let beside = args.config.parent().unwrap_or(Path::new(""));
            litellm(&name, &text, &mut |included| read(&beside.join(included)))
        }
        Err(message) => Err(unreadable(&name, message)),
    };
    let migrated = match migrated {
        Ok(migrated) => migrated,
        Err(problems) if args.json => {
            print(&format!("{}\n", json!({ "ok": false, "problems": problems })));
            return ExitCode::from(USAGE);
        }
        Err(problems) => return complain(problems),
    };
    let out = args
        .out
        .as_deref()
        .map(|out| if out.is_dir() { out.join("sluicegate.yaml") } else { out.to_owned() });
    if let Some(out) = &out
        && let Err(error) = write(out, &migrated.config, args.force)
    {
        let shown = out.display();
        if error.kind() == io::ErrorKind::AlreadyExists {
            return complain(format!("{shown} is there already; --force writes over it"));
        }
        eprintln!("{shown} can't be written: {error}");
        return ExitCode::FAILURE;
    }
    tell(args, &migrated, out.as_deref())
}

fn tell(args: &Litellm, migrated: &Migrated, out: Option<&Path>) -> ExitCode {
    let Migrated { config, report } = migrated;
    let written = if args.json {
        let mut shown = json!({ "ok": true, "summary": report.summary(), "report": report });
        match out {
            Some(out) => shown["out"] = json!(out),
            None => shown["config"] = json!(config),
        }
        print(&format!("{shown:#}\n"))
    } else {
        let next = out.map_or("the configuration".into(), Path::to_string_lossy);
        eprint!("{report}");
        eprintln!("Next: `sluicegate check --config` {next}, and docs/migrating-from-litellm.md.");
        out.is_some() || print(config)
    };
    let lost = args.strict && report.count(Outcome::NoEqual) > 0;
    if written && !lost { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A file's text, or why there is none.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // Opening succeeds for a directory.
    file.take(MOST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut file = if force { File::create(path)? } else { File::create_new(path)? };
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unreadable(name: &str, message: String) -> Problems {
    let file = name.to_owned();
    let (line, column, path, hint) = (0, 0, String::new(), None);
    Problems(vec![Problem { file, line, column, path, message, hint }])
}

fn print(text: &str) -> bool {
    io::stdout().lock().write_all(text.as_bytes()).is_ok()
}
