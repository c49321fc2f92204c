//! `sluicegate audit`: works on the log's files, and needs no running gateway.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::complain;
use crate::audit::{self, Filter, LineHash, NotAHash, Outcome, Record, Report};
use crate::config::units::parse_duration;

/// Records that are asked for at once.
const AT_ONCE: usize = 1000;

/// What to do with a log.
#[derive(Subcommand)]
pub enum Audit {
    /// Check the hash chain: every changed, missing or added line as file:line.
    Verify(Verify),
    /// Print records, the newest last.
    Show(Show),
}

/// Options of `audit verify`.
#[derive(Args)]
pub struct Verify {
    /// The log's directory.
    directory: PathBuf,
    /// A hash that was noted earlier, and must still be in the log.
    #[arg(long, value_parser = parse_hash)]
    head: Option<LineHash>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Options of `audit show`.
#[derive(Args)]
pub struct Show {
    /// The log's directory.
    directory: PathBuf,
    /// Not before this time (2026-01-31T12:00:00Z), or this long ago (24h, 7d).
    #[arg(long, value_parser = parse_since)]
    since: Option<i64>,
    /// Only of the actor with this id, or of this kind: master, key, token.
    #[arg(long)]
    actor: Option<String>,
    /// Only what was allowed, refused, or failed.
    #[arg(long, value_parser = parse_outcome)]
    outcome: Option<Outcome>,
    /// Only this kind of record: admin_act, policy_refusal, credential_refusal.
    #[arg(long)]
    kind: Option<String>,
    /// Only about the resource with this id, or of this kind.
    #[arg(long)]
    resource: Option<String>,
    /// Print this many at most, the newest.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

pub fn run(command: &Audit) -> ExitCode {
    let directory = match command {
        Audit::Verify(Verify { directory, .. }) | Audit::Show(Show { directory, .. }) => directory,
    };
    if !directory.is_dir() {
        return complain(format_args!("{}: there is no such directory", directory.display()));
    }
    let done = match command {
        Audit::Verify(args) => verify(args),
        Audit::Show(args) => show(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{}: {error}", directory.display());
        ExitCode::FAILURE
    })
}

fn verify(args: &Verify) -> io::Result<ExitCode> {
    let report = audit::verify(&args.directory, args.head)?;
    let mut out = io::stdout().lock();
    if args.json {
        let mut object = json!(report);
        object["sound"] = report.is_sound().into();
        writeln!(out, "{object}")?;
    } else {
        print(&mut out, &args.directory, &report)?;
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(out: &mut impl Write, directory: &Path, report: &Report) -> io::Result<()> {
    let Report { segments, records, retired, dropped, problems, warnings, heads } = report;
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    for warning in warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for head in heads {
        let state = if head.live { "still written" } else { "ended" };
        writeln!(out, "head: {} ({}:{}, {state})", head.hash, head.segment, head.seq)?;
    }
    let verdict = if report.is_sound() { "sound" } else { "BROKEN" };
    writeln!(
        out,
        "{}: {verdict}: {records} records in {segments} segments, {retired} segments retired, \
         {dropped} events lost, {} problems",
        directory.display(),
        problems.len()
    )
}

fn show(args: &Show) -> io::Result<ExitCode> {
    let filter = Filter {
        since_ms: args.since,
        actor: args.actor.clone(),
        outcome: args.outcome,
        kind: args.kind.clone(),
        resource: args.resource.clone(),
    };
    let mut records: Vec<Record> = Vec::new();
    let mut cursor = None;
    while records.len() < args.limit {
        let wanted = AT_ONCE.min(args.limit - records.len());
        let found = audit::read_newest(&args.directory, &filter, wanted, cursor.as_deref())
            .map_err(io::Error::other)?;
        records.extend(found.records);
        cursor = found.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    for record in records.iter().rev() {
        writeln!(out, "{}", record.line)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn parse_hash(text: &str) -> Result<LineHash, NotAHash> {
    text.parse()
}

fn parse_outcome(text: &str) -> Result<Outcome, &'static str> {
    Outcome::from_name(text).ok_or("one of allowed, refused, failed")
}

/// In milliseconds since the epoch.
fn parse_since(text: &str) -> Result<i64, &'static str> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let ago = parse_duration(text)
        .map_err(|_| "a time such as 2026-01-31T12:00:00Z, or how long ago, such as 24h")?;
    let since = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
