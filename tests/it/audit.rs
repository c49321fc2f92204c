//! The audit log under a process that is killed, and the commands that read it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use sluicegate::audit::{
    Actor, AuditLog, AuditOptions, Event, Filter, Kind, Outcome, Resource, read_newest, verify,
};

use crate::support::PATIENCE;

fn event(number: u64, outcome: Outcome) -> Event {
    Event {
        outcome,
        actor: Actor {
            kind: "key".into(),
            id: Some(format!("k{}", number % 2)),
            ..Actor::default()
        },
        resource: Resource { kind: "team".into(), id: Some("t1".into()) },
        request_id: number.to_string(),
        ..Event::new(1_764_000_000_000, Kind::AdminAct, "teams.update")
    }
}

/// Not a test: the process that [`what_was_committed_survives_a_kill`] kills. Its working directory holds the
/// log. It ends with its standard input, so it never outlives whoever started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other half of what_was_committed_survives_a_kill"]
async fn commit_until_killed() {
    std::thread::spawn(|| {
        std::io::stdin().lock().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    });
    let options =
        AuditOptions { segment_size: 20_000, ..AuditOptions::new(Path::new("log"), "victim") };
    let log = AuditLog::open(&options).unwrap();
    for number in 0.. {
        log.commit(event(number, Outcome::Allowed)).await.unwrap();
        writeln!(std::io::stdout(), "\ncommitted {number}").unwrap();
    }
}

struct Victim(Child);

impl Victim {
    fn start(root: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit::commit_until_killed", "--ignored", "--nocapture"])
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Lets it commit `enough`, kills it as the kernel would, and gives the last one that it had answered.
    fn kill_after(mut self, enough: u64) -> u64 {
        let mut committed = BufReader::new(self.0.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok());
        let reached = committed.by_ref().find(|number| *number >= enough);
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        committed.last().or(reached).unwrap()
    }
}

#[test]
fn what_was_committed_survives_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("log");
    for round in 0..3 {
        // Two at once, as during an upgrade.
        let victims = [Victim::start(root.path()), Victim::start(root.path())];
        let answered = victims.map(|victim| victim.kill_after(100));
        let report = verify(&directory, None).unwrap();
        assert!(report.is_sound(), "{round}: {report:#?}");
        let written = count_acts(&directory);
        let expected: u64 = answered.iter().map(|last| last + 1).sum();
        assert!(written >= expected, "{written} of {expected}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

fn count_acts(directory: &Path) -> u64 {
    let filter = Filter { kind: Some("admin_act".into()), ..Filter::default() };
    let (mut count, mut cursor) = (0, None::<String>);
    loop {
        let found = read_newest(directory, &filter, 1000, cursor.as_deref()).unwrap();
        count += found.records.len() as u64;
        cursor = found.next;
        if cursor.is_none() {
            return count;
        }
    }
}

/// A log that was closed: ten acts by two keys, the last five refused.
fn sample(root: &Path) -> PathBuf {
    let directory = root.join("audit");
    let log = AuditLog::open(&AuditOptions::new(&directory, "test")).unwrap();
    for number in 0..10 {
        let outcome = if number < 5 { Outcome::Allowed } else { Outcome::Refused };
        log.record(event(number, outcome));
    }
    assert!(log.close(PATIENCE));
    directory
}

fn run(command: &str, directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["audit", command])
        .arg(directory)
        .args(args)
        .env_clear()
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn verify_says_where_the_log_is_broken() {
    let root = tempfile::tempdir().unwrap();
    let directory = sample(root.path());
    let output = run("verify", &directory, &[]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("sound: 12 records in 1 segments"), "{text}");
    let head = text.split_once("head: ").unwrap().1[..64].to_owned();
    let output = run("verify", &directory, &["--head", &head, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["sound"]), (Some(0), &true.into()));
    assert_eq!(report["heads"][0]["hash"], head);

    let segment = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let lines = std::fs::read_to_string(&segment).unwrap();
    std::fs::write(&segment, lines.replace(r#""request_id":"3""#, r#""request_id":"4""#)).unwrap();
    let output = run("verify", &directory, &[]);
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains(&format!("{name}:5: was changed")), "{}", stdout(&output));

    // The end is cut off, on a line's end: only who noted the head can tell.
    let cut = lines.trim_end().rsplit_once('\n').unwrap().0;
    std::fs::write(&segment, format!("{cut}\n")).unwrap();
    let output = run("verify", &directory, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("warning: "), "{}", stdout(&output));
    let output = run("verify", &directory, &["--head", &head, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["sound"]), (Some(1), &false.into()));
}

#[test]
fn wrong_usage_is_told_from_a_broken_log() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(run("verify", &root.path().join("none"), &[]).status.code(), Some(64));
    assert_eq!(run("verify", root.path(), &["--head", "abc"]).status.code(), Some(64));
    assert_eq!(run("show", root.path(), &["--since", "yesterday"]).status.code(), Some(64));
    assert_eq!(run("show", root.path(), &["--outcome", "good"]).status.code(), Some(64));
    let output = run("verify", root.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("this is no audit log"), "{}", stdout(&output));
}

#[test]
fn show_prints_the_newest_records_that_are_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let directory = sample(root.path());
    let ids = |args: &[&str]| {
        let output = run("show", &directory, args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = stdout(&output);
        let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        values
            .filter_map(|value| Some(value["request_id"].as_str()?.to_owned()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(ids(&[]), "0 1 2 3 4 5 6 7 8 9");
    assert_eq!(ids(&["--actor", "k1"]), "1 3 5 7 9");
    assert_eq!(ids(&["--outcome", "refused", "--limit", "2"]), "8 9");
    assert_eq!(ids(&["--resource", "t1", "--kind", "admin_act", "--limit", "1"]), "9");
    assert_eq!(ids(&["--since", "2025-11-24T15:59:59Z", "--limit", "100000"]), ids(&[]));
    // The events are from 2025.
    assert_eq!(ids(&["--since", "1m"]), "");
}

#[test]
fn a_reader_and_a_writer_do_not_disturb_each_other() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("audit");
    let options = AuditOptions { segment_size: 50_000, ..AuditOptions::new(&directory, "test") };
    let log = AuditLog::open(&options).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..5000 {
                log.record(event(number, Outcome::Refused));
            }
            assert!(log.close(Duration::from_secs(60)));
        });
        while !writer.is_finished() {
            let report = verify(&directory, None).unwrap();
            assert!(report.is_sound(), "{report:#?}");
            read_newest(&directory, &Filter::default(), 100, None).unwrap();
        }
    });
    assert_eq!(log.written() + log.dropped(), 5000);
    assert_eq!(log.dropped(), 0, "the queue holds more than these");
    assert!(verify(&directory, None).unwrap().warnings.is_empty());
}
