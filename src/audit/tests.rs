//! The log as a whole: what is written, what survives, and what shows.

mod disk;
mod keeping;
mod tampering;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::segment::Wrap;
use super::writer::Setup;
use super::*;

/// The longest that anything here waits. Only so that a hang fails.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: i64 = 24 * 3600 * 1000;
const START: i64 = 1_764_000_000_000;

/// A directory, and a clock that stands still.
struct Place {
    _root: tempfile::TempDir,
    directory: PathBuf,
    clock: Arc<AtomicI64>,
    segment_size: u64,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("audit");
        let clock = Arc::new(AtomicI64::new(START));
        Self { _root: root, directory, clock, segment_size: 1 << 20 }
    }

    fn with_segments_of(segment_size: u64) -> Self {
        Self { segment_size, ..Self::new() }
    }

    fn open(&self) -> Arc<AuditLog> {
        self.open_on(Arc::new(|file| Box::new(file)))
    }

    fn open_on(&self, wrap: Wrap) -> Arc<AuditLog> {
        let clock = self.clock.clone();
        let mut options = AuditOptions::new(&self.directory, "test");
        options.segment_size = self.segment_size;
        // What is tested is what is written. Disks are slow.
        options.fsync = false;
        let clock: Arc<dyn Fn() -> i64 + Send + Sync> =
            Arc::new(move || clock.load(Ordering::SeqCst));
        AuditLog::start(Setup { options, clock, wrap }).unwrap()
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn advance(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    fn act(&self, action: &'static str) -> Event {
        let actor = Actor { kind: "master".into(), ..Actor::default() };
        Event { actor, status: 200, ..Event::new(self.now(), Kind::AdminAct, action) }
    }

    fn verify(&self) -> Report {
        verify(&self.directory, None).unwrap()
    }

    /// The paths of all segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let listing = super::files::list(&self.directory).unwrap();
        listing.segments.iter().map(|segment| segment.within(&self.directory)).collect()
    }
}

/// All files with their content.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect()
}

/// The directory as it would be found after a power cut right now.
fn crashed(place: &Place) -> Place {
    let image = Place::new();
    std::fs::create_dir(&image.directory).unwrap();
    std::fs::set_permissions(&image.directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    for (name, content) in files(&place.directory) {
        std::fs::write(image.directory.join(name), content).unwrap();
    }
    image.clock.store(place.now() + 1000, Ordering::SeqCst);
    image
}

fn close(log: &AuditLog) {
    assert!(log.close(PATIENCE));
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds(path: &Path) -> Vec<String> {
    lines(path).iter().map(|line| line["kind"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_sound(report: &Report) {
    assert!(report.is_sound(), "{report:#?}");
}

#[tokio::test]
async fn what_is_committed_is_there_and_the_rest_follows() {
    let place = Place::new();
    let log = place.open();
    let event = Event {
        outcome: Outcome::Refused,
        status: 403,
        code: Some("policy_denied"),
        actor: Actor {
            kind: "key".into(),
            id: Some("0197".into()),
            team: Some("research".into()),
            ip: Some([10, 0, 0, 1].into()),
        },
        resource: Resource { kind: "model".into(), id: Some("gpt-4o".into()) },
        policy_ids: vec!["no-large-models".into()],
        policy_generation: Some(3),
        config_generation: 7,
        request_id: "req-1".into(),
        ..Event::new(START, Kind::PolicyRefusal, "chat.completions")
    };
    log.record(event);
    let changes = Some(vec!["max_budget".into()]);
    log.commit(Event { changes, ..place.act("keys.update") }).await.unwrap();
    let segment = place.segments().remove(0);
    let text = std::fs::read_to_string(&segment).unwrap();
    assert!(text.contains(
        r#""kind":"admin_act","action":"keys.update","outcome":"allowed","status":200,"#
    ));
    assert!(text.contains(r#""changes":["max_budget"],"prev":""#), "{text}");
    close(&log);
    let text = std::fs::read_to_string(&segment).unwrap();
    let expected = r#""time":"2025-11-24T16:00:00.000Z","kind":"policy_refusal","action":"chat.completions","outcome":"refused","status":403,"code":"policy_denied","actor":{"kind":"key","id":"0197","team":"research","ip":"10.0.0.1"},"resource":{"kind":"model","id":"gpt-4o"},"policy_ids":["no-large-models"],"policy_generation":3,"config_generation":7,"request_id":"req-1","prev":""#;
    assert!(text.contains(expected), "{text}");
    assert_eq!((log.written(), log.dropped(), log.is_writable()), (2, 0, true));
    let kinds = kinds(&segment);
    assert_eq!((&kinds[0][..], &kinds[3][..]), ("opened", "closed"));
    let opened = &lines(&segment)[0];
    assert_eq!((&opened["instance"], &opened["anchors"]), (&"test".into(), &Value::Array(vec![])));
    let report = place.verify();
    assert_sound(&report);
    assert_eq!((report.segments, report.records, report.warnings.len()), (1, 4, 0));
    assert_eq!(report.heads[0].hash.to_string(), lines(&segment)[3]["hash"]);
}

#[tokio::test]
async fn a_disabled_or_closed_log_takes_nothing() {
    let place = Place::new();
    let log = AuditLog::disabled();
    log.record(place.act("x"));
    assert_eq!(log.commit(place.act("x")).await, Ok(()));
    assert_eq!((log.written(), log.dropped(), log.directory()), (0, 0, None));
    assert!(log.close(Duration::ZERO));
    let log = place.open();
    close(&log);
    assert_eq!(log.commit(place.act("x")).await, Err(AuditError::Closed));
    log.record(place.act("x"));
    assert_eq!((log.written(), log.dropped()), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_write_side_by_side_and_the_next_one_joins_their_ends() {
    let place = Place::with_segments_of(2000);
    let logs = [place.open(), place.open()];
    for _ in 0..30 {
        place.advance(1000);
        for log in &logs {
            log.record(place.act("models.list"));
            log.commit(place.act("keys.create")).await.unwrap();
        }
    }
    assert_sound(&place.verify());
    assert!(!place.verify().heads.is_empty());
    logs.iter().for_each(|log| close(log));
    let report = place.verify();
    assert_sound(&report);
    assert!(report.segments > 6, "{report:?}");
    assert_eq!(report.heads.len(), 2);
    let last = place.open();
    last.commit(place.act("keys.delete")).await.unwrap();
    close(&last);
    let report = place.verify();
    assert_sound(&report);
    assert_eq!((report.heads.len(), report.warnings.len(), report.dropped), (1, 0, 0));
    let acts = place.segments().into_iter().flat_map(|path| kinds(&path));
    assert_eq!(acts.filter(|kind| kind == "admin_act").count(), 121);
}

#[tokio::test]
async fn a_clock_that_jumps_breaks_nothing() {
    let place = Place::new();
    for jump in [DAY, -30 * DAY, 3 * DAY, -DAY, 40 * DAY] {
        let log = place.open();
        log.commit(place.act("keys.create")).await.unwrap();
        place.advance(jump);
        close(&log);
        assert_sound(&place.verify());
    }
    assert_eq!(place.verify().heads.len(), 1);
}

#[tokio::test]
async fn records_are_read_from_the_newest_each_once() {
    let place = Place::with_segments_of(1500);
    let log = place.open();
    for number in 0..50 {
        let outcome = if number % 5 == 0 { Outcome::Refused } else { Outcome::Allowed };
        let request_id = number.to_string();
        place.advance(60_000);
        log.commit(Event { outcome, request_id, ..place.act("keys.create") }).await.unwrap();
    }
    let numbers = |filter: &Filter, limit| {
        let (mut numbers, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let found = read_newest(&place.directory, filter, limit, cursor.as_deref()).unwrap();
            assert!(found.records.len() <= limit);
            let ids = found.records.iter().map(|record| &record.value["request_id"]);
            numbers.extend(ids.filter_map(|id| id.as_str()?.parse::<i64>().ok()));
            cursor = found.next;
            if cursor.is_none() {
                return numbers;
            }
        }
    };
    let all: Vec<_> = (0..50).rev().collect();
    for limit in [1, 7, 1000] {
        assert_eq!(numbers(&Filter::default(), limit), all, "{limit}");
    }
    let refused = Filter { outcome: Some(Outcome::Refused), ..Filter::default() };
    assert_eq!(numbers(&refused, 3), [45, 40, 35, 30, 25, 20, 15, 10, 5, 0]);
    let since_ms = Some(START + 48 * 60_000);
    assert_eq!(numbers(&Filter { since_ms, ..Filter::default() }, 10), [49, 48, 47]);
    let nobody = Filter { actor: Some("key".into()), ..Filter::default() };
    assert!(numbers(&nobody, 10).is_empty());
    let master = Filter { actor: Some("master".into()), ..Filter::default() };
    assert_eq!(numbers(&master, 10), all);
    let opened = Filter { kind: Some("opened".into()), ..Filter::default() };
    let found = read_newest(&place.directory, &opened, 1000, None).unwrap();
    assert_eq!(found.records.len(), place.segments().len());
    for cursor in ["", "x", "@", "audit-x.jsonl@0", "../etc/passwd@0"] {
        let read = read_newest(&place.directory, &Filter::default(), 10, Some(cursor));
        assert!(matches!(read, Err(ReadError::Cursor)), "{cursor}");
    }
    let name = place.segments()[0].file_name().unwrap().to_str().unwrap().to_owned();
    for offset in ["1", "99999999", "-1"] {
        let cursor = format!("{name}@{offset}");
        let read = read_newest(&place.directory, &Filter::default(), 10, Some(&cursor));
        assert!(matches!(read, Err(ReadError::Cursor)), "{cursor}");
    }
}
