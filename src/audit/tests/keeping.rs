//! Crashes, rotation and retention.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn files_are_for_us_alone() {
    let place = Place::new();
    let log = place.open();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.directory), 0o700);
    assert_eq!(mode(&place.segments()[0]), 0o600);
    close(&log);
}

#[tokio::test]
async fn after_a_crash_a_torn_line_is_told_and_the_end_is_kept_for_ever() {
    let live = Place::new();
    let log = live.open();
    for _ in 0..3 {
        log.commit(live.act("keys.create")).await.unwrap();
    }
    let place = crashed(&live);
    close(&log);
    let torn = place.segments().remove(0);
    let whole = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, [&whole[..], &whole[..100]].concat()).unwrap();
    let report = place.verify();
    assert_sound(&report);
    assert_eq!((report.records, report.warnings[0].line), (4, 5));
    assert!(report.warnings[0].what.contains("unfinished"), "{report:?}");

    let next = place.open();
    next.commit(place.act("keys.create")).await.unwrap();
    close(&next);
    assert_sound(&place.verify());
    assert_eq!(place.verify().heads.len(), 1);

    // Now somebody shortens what the next process has seen, or adds to it with all hashes right.
    let end = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    std::fs::write(&torn, &whole[..=end]).unwrap();
    let report = place.verify();
    assert!(report.problems[0].what.contains("end was removed"), "{report:?}");
    let last = String::from_utf8(whole[end + 1..].to_vec()).unwrap();
    let mut chain = line::Head::read(last.trim_end().as_bytes()).unwrap().chain();
    let mut forged = whole.clone();
    chain.seal(&mut forged, place.now(), &place.act("keys.delete")).unwrap();
    std::fs::write(&torn, forged).unwrap();
    let report = place.verify();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert!(report.problems[0].what.contains("was added after"), "{report:?}");
}

#[test]
fn what_never_became_a_segment_is_removed() {
    let place = Place::new();
    close(&place.open());
    let name = place.segments()[0].file_name().unwrap().to_str().unwrap().to_owned();
    let unfinished = place.directory.join(format!("{name}.new"));
    std::fs::write(&unfinished, "").unwrap();
    // It may be another process's, this very moment.
    close(&place.open());
    assert!(unfinished.exists());
    place.advance(100_000);
    close(&place.open());
    assert!(!unfinished.exists());
    assert_sound(&place.verify());
}

#[tokio::test]
async fn a_day_ends_a_segment() {
    let place = Place::new();
    let log = place.open();
    log.commit(place.act("today")).await.unwrap();
    place.advance(DAY);
    log.commit(place.act("tomorrow")).await.unwrap();
    close(&log);
    let segments = place.segments();
    assert_eq!(segments.len(), 2);
    assert_eq!(segments.iter().map(|path| kinds(path).len()).sum::<usize>(), 6);
    assert!(segments.iter().all(|path| kinds(path).ends_with(&["closed".to_owned()])));
    assert_sound(&place.verify());
}

/// As many acts as the writer needs to look after all segments: one each time.
async fn time_passes(place: &Place, log: &AuditLog) {
    for _ in 0..place.segments().len() + 3 {
        log.commit(place.act("keys.list")).await.unwrap();
    }
}

#[tokio::test]
async fn old_segments_go_and_leave_word() {
    let place = Place::new();
    for _ in 0..4 {
        let log = place.open();
        log.commit(place.act("old")).await.unwrap();
        close(&log);
        place.advance(1000);
    }
    // Not all are too old.
    place.advance(50 * DAY);
    let log = place.open();
    log.commit(place.act("young")).await.unwrap();
    close(&log);
    place.advance(41 * DAY);
    let log = place.open();
    time_passes(&place, &log).await;
    close(&log);
    let report = place.verify();
    assert_sound(&report);
    assert_eq!((report.segments, report.retired, report.warnings.len()), (2, 4, 0));
    // One that goes otherwise is missed.
    std::fs::remove_file(&place.segments()[0]).unwrap();
    let report = place.verify();
    assert!(report.problems[0].what.contains("not by retention"), "{report:?}");
}

#[tokio::test]
async fn a_segment_that_was_tampered_with_is_kept() {
    let place = Place::new();
    let log = place.open();
    log.commit(place.act("old")).await.unwrap();
    close(&log);
    let first = place.segments().remove(0);
    let text = std::fs::read_to_string(&first).unwrap().replace("old", "odd");
    std::fs::write(&first, text).unwrap();
    place.advance(200 * DAY);
    let log = place.open();
    time_passes(&place, &log).await;
    close(&log);
    assert!(first.exists());
    assert!(!place.verify().is_sound());
}

#[tokio::test]
async fn a_segment_in_use_is_kept() {
    let place = Place::new();
    let idle = place.open();
    let first = place.segments().remove(0);
    place.advance(200 * DAY);
    let log = place.open();
    time_passes(&place, &log).await;
    assert!(first.exists());
    close(&log);
    close(&idle);
    assert_sound(&place.verify());
}

/// Waits until the writer has nothing to do.
fn idle(log: &AuditLog) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !log.shared.as_ref().unwrap().is_parked() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Whatever processes come, go, crash and write side by side over a year: nobody is accused.
    #[test]
    fn keeping_and_deleting_never_looks_like_tampering(
        steps in prop::collection::vec((0usize..3, 0i64..30, any::<bool>()), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::with_segments_of(3000);
            let mut logs: [Option<Arc<AuditLog>>; 3] = [None, None, None];
            for (which, days, stop) in steps {
                // Days must not pass while a segment gets its name.
                logs.iter().flatten().for_each(|log| idle(log));
                place.advance(days * DAY + 100);
                let log = logs[which].get_or_insert_with(|| place.open()).clone();
                time_passes(&place, &log).await;
                if stop {
                    close(&log);
                    logs[which] = None;
                }
                let report = place.verify();
                assert!(report.is_sound(), "{report:#?}");
            }
            logs.iter().flatten().for_each(|log| close(log));
            let report = place.verify();
            assert!(report.is_sound(), "{report:#?}");
        });
    }
}
