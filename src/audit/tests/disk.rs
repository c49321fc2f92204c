//! Disks that fail.

use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex};

use super::super::segment::Storage;
use super::*;

/// What the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Fine,
    /// Takes this many bytes of a write and fails.
    Full(usize),
    /// The same, and does not even cut a file.
    Stuck(usize),
    /// Takes everything, and loses it.
    NoSync,
    /// Does not answer.
    Held,
}

struct Disk {
    mode: Mutex<Mode>,
    changed: Condvar,
}

impl Disk {
    fn new() -> Arc<Self> {
        Arc::new(Self { mode: Mutex::new(Mode::Fine), changed: Condvar::new() })
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }

    fn mode(&self) -> Mode {
        let held = |mode: &mut Mode| *mode == Mode::Held;
        *self.changed.wait_while(self.mode.lock().unwrap(), held).unwrap()
    }

    fn wrap(self: &Arc<Self>) -> Wrap {
        let disk = self.clone();
        Arc::new(move |file| Box::new(OnDisk { disk: disk.clone(), file }))
    }
}

struct OnDisk {
    disk: Arc<Disk>,
    file: File,
}

impl Storage for OnDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.disk.mode() {
            Mode::Full(room) | Mode::Stuck(room) => {
                self.file.append(&bytes[..room.min(bytes.len())])?;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => self.file.append(bytes),
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        match self.disk.mode() {
            Mode::Stuck(_) => Err(io::ErrorKind::PermissionDenied.into()),
            _ => self.file.truncate(length),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.disk.mode() {
            Mode::NoSync => Err(io::Error::other("lost")),
            _ => self.file.sync(),
        }
    }

    fn length(&self) -> io::Result<Option<u64>> {
        self.file.length()
    }
}

/// Commits until it succeeds.
async fn recovers(log: &AuditLog, place: &Place) {
    let recovered = async { while log.commit(place.act("again")).await.is_err() {} };
    tokio::time::timeout(PATIENCE, recovered).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_fails_the_act_loses_no_line_and_heals() {
    let (place, disk) = (Place::new(), Disk::new());
    let log = place.open_on(disk.wrap());
    log.commit(place.act("before")).await.unwrap();
    disk.set(Mode::Full(100));
    let error = log.commit(place.act("during")).await.unwrap_err();
    assert!(matches!(&error, AuditError::Unwritable(what) if what.contains("storage")), "{error}");
    assert!(!log.is_writable());
    log.record(place.act("lost"));
    // The second act's failure says that the event before it has been looked at as well.
    log.commit(place.act("during")).await.unwrap_err();
    log.commit(place.act("during")).await.unwrap_err();
    assert_eq!(log.dropped(), 1);
    disk.set(Mode::Fine);
    recovers(&log, &place).await;
    close(&log);
    let report = place.verify();
    assert_sound(&report);
    // The half line was cut away, so the same segment goes on.
    assert_eq!((report.segments, report.dropped, report.warnings.len()), (1, 1, 0));
    let text = std::fs::read_to_string(&place.segments()[0]).unwrap();
    assert!(text.contains("before") && text.contains("again") && !text.contains("during"));
}

#[tokio::test]
async fn a_segment_that_can_not_be_cut_is_given_up() {
    let (place, disk) = (Place::new(), Disk::new());
    let log = place.open_on(disk.wrap());
    log.commit(place.act("before")).await.unwrap();
    disk.set(Mode::Stuck(100));
    log.commit(place.act("during")).await.unwrap_err();
    disk.set(Mode::Fine);
    recovers(&log, &place).await;
    close(&log);
    let report = place.verify();
    assert_sound(&report);
    assert_eq!(report.segments, 2);
    assert_eq!(report.warnings.len(), 1, "{report:?}");
    assert!(report.warnings[0].what.contains("unfinished"), "{report:?}");
}

#[tokio::test]
async fn an_act_that_was_not_synced_is_not_done() {
    let (place, disk) = (Place::new(), Disk::new());
    let log = {
        let clock = place.clock.clone();
        let options = AuditOptions::new(&place.directory, "test");
        assert!(options.fsync);
        let clock: Arc<dyn Fn() -> i64 + Send + Sync> =
            Arc::new(move || clock.load(Ordering::SeqCst));
        AuditLog::start(Setup { options, clock, wrap: disk.wrap() }).unwrap()
    };
    log.commit(place.act("before")).await.unwrap();
    place.advance(1000);
    disk.set(Mode::NoSync);
    log.commit(place.act("during")).await.unwrap_err();
    disk.set(Mode::Fine);
    recovers(&log, &place).await;
    close(&log);
    assert_sound(&place.verify());
    // The lines that were not synced may be lost, and their loss is not taken for an attack.
    let first = &place.segments()[0];
    let text = std::fs::read_to_string(first).unwrap();
    let kept: Vec<_> = text.split_inclusive('\n').take(2).collect();
    assert!(kept[1].contains("before"));
    std::fs::write(first, kept.concat()).unwrap();
    assert_sound(&place.verify());
    std::fs::write(first, kept[0]).unwrap();
    assert!(!place.verify().is_sound());
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_told() {
    let (place, disk) = (Place::new(), Disk::new());
    let log = place.open_on(disk.wrap());
    disk.set(Mode::Held);
    const EVENTS: u64 = 20_000;
    for _ in 0..EVENTS {
        log.record(place.act("flood"));
    }
    let dropped = log.dropped();
    assert!(dropped > EVENTS / 4, "{dropped}");
    // A flood of refusals keeps no administrator out.
    let act = tokio::spawn({
        let (log, act) = (log.clone(), place.act("act"));
        async move { log.commit(act).await }
    });
    tokio::task::yield_now().await;
    disk.set(Mode::Fine);
    tokio::time::timeout(PATIENCE, act).await.unwrap().unwrap().unwrap();
    close(&log);
    assert_eq!(log.written() + log.dropped(), EVENTS + 1);
    let report = place.verify();
    assert_sound(&report);
    assert_eq!(report.dropped, log.dropped());
    let acts: Vec<_> = place.segments().iter().flat_map(|path| lines(path)).collect();
    let written = acts.iter().filter(|line| line["kind"] == "admin_act").count();
    assert_eq!(written as u64, log.written());
}

#[tokio::test]
async fn too_many_acts_are_refused_and_not_held() {
    let (place, disk) = (Place::new(), Disk::new());
    let log = place.open_on(disk.wrap());
    disk.set(Mode::Held);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..5000 {
        let (log, act) = (log.clone(), place.act("act"));
        waiting.spawn(async move { log.commit(act).await });
    }
    let first = tokio::time::timeout(PATIENCE, waiting.join_next()).await.unwrap();
    assert_eq!(first.unwrap().unwrap(), Err(AuditError::Busy));
    disk.set(Mode::Fine);
    let outcomes = tokio::time::timeout(PATIENCE, waiting.join_all()).await.unwrap();
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(
        written >= 1024 && outcomes.iter().all(|o| matches!(o, Ok(()) | Err(AuditError::Busy)))
    );
    close(&log);
    assert_eq!(log.written(), written as u64);
}

#[tokio::test]
async fn a_segment_that_somebody_removes_cuts_or_writes_is_left_and_shows() {
    type Attack = fn(&Path);
    let attacks: [Attack; 3] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(1000).unwrap(),
        |path| {
            use io::Write;
            let mut file = File::options().append(true).open(path).unwrap();
            writeln!(file, "{{}}").unwrap();
        },
    ];
    for attack in attacks {
        let place = Place::new();
        let log = place.open();
        for _ in 0..5 {
            log.commit(place.act("before")).await.unwrap();
        }
        let first = place.segments().remove(0);
        attack(&first);
        place.advance(1000);
        log.commit(place.act("after")).await.unwrap();
        close(&log);
        let segments = place.segments();
        let last = segments.last().unwrap();
        assert!(kinds(last).contains(&"admin_act".to_owned()) && *last != first);
        assert!(!place.verify().is_sound(), "{:?}", place.verify());
    }
}

#[tokio::test]
async fn a_directory_that_goes_is_made_again() {
    let place = Place::new();
    let log = place.open();
    log.commit(place.act("before")).await.unwrap();
    std::fs::remove_dir_all(&place.directory).unwrap();
    recovers(&log, &place).await;
    close(&log);
    let report = place.verify();
    assert!(report.problems[0].what.contains("was removed"), "{report:?}");
}

#[test]
fn a_directory_of_others_is_refused_with_a_way_out() {
    let place = Place::new();
    std::fs::create_dir(&place.directory).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&place.directory, open).unwrap();
    let error = AuditLog::open(&AuditOptions::new(&place.directory, "test")).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}
