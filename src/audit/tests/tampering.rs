//! What somebody does to the files must show.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// A log of two processes with a few segments, each closed, and what it ends in.
static SAMPLE: LazyLock<(BTreeMap<String, Vec<u8>>, LineHash)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Place::with_segments_of(1500);
        let logs = [place.open(), place.open()];
        for _ in 0..6 {
            for log in &logs {
                place.advance(100_000);
                log.commit(place.act("keys.create")).await.unwrap();
            }
        }
        logs.iter().for_each(|log| close(log));
        let last = place.open();
        last.commit(place.act("keys.delete")).await.unwrap();
        close(&last);
        let report = place.verify();
        assert!(report.is_sound() && report.heads.len() == 1 && report.segments > 4, "{report:#?}");
        (files(&place.directory), report.heads[0].hash)
    })
});

fn verify_files(files: &BTreeMap<String, Vec<u8>>, noted: Option<LineHash>) -> Report {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(root.path().join(name), content).unwrap();
    }
    verify(root.path(), noted).unwrap()
}

fn sample() -> (BTreeMap<String, Vec<u8>>, LineHash) {
    SAMPLE.clone()
}

fn split(content: &[u8]) -> Vec<Vec<u8>> {
    content.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// One of the files, and whether it is the last, whose end only the noted head knows.
fn pick(files: &BTreeMap<String, Vec<u8>>, at: prop::sample::Index) -> (String, bool) {
    let index = at.index(files.len());
    (files.keys().nth(index).unwrap().clone(), index + 1 == files.len())
}

proptest! {
    #[test]
    fn every_changed_byte_shows(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        change in 1u8..=255,
    ) {
        let (mut files, _) = sample();
        let (name, _) = pick(&files, file);
        let content = files.get_mut(&name).unwrap();
        let at = at.index(content.len());
        content[at] ^= change;
        let report = verify_files(&files, None);
        prop_assert!(!report.is_sound(), "{name}:{at}: {report:#?}");
        prop_assert!(report.problems.iter().any(|problem| problem.file == name), "{report:#?}");
    }

    #[test]
    fn every_removed_swapped_or_repeated_line_shows(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        what in 0usize..3,
    ) {
        let (mut files, head) = sample();
        let (name, last) = pick(&files, file);
        let mut lines = split(&files[&name]);
        let (at, other) = (at.index(lines.len()), other.index(lines.len()));
        prop_assume!(what == 0 || at != other);
        match what {
            0 => drop(lines.remove(at)),
            1 => lines.swap(at, other),
            _ => lines.insert(at, lines[other].clone()),
        }
        files.insert(name.clone(), lines.concat());
        let noted = last.then_some(head);
        let report = verify_files(&files, noted);
        prop_assert!(!report.is_sound(), "{name}: {at} {other} {what}: {report:#?}");
    }

    #[test]
    fn every_shortened_file_shows(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
    ) {
        let (mut files, head) = sample();
        let (name, last) = pick(&files, file);
        let content = files.get_mut(&name).unwrap();
        content.truncate(at.index(content.len()));
        let report = verify_files(&files, last.then_some(head));
        prop_assert!(!report.is_sound(), "{name}: {report:#?}");
    }

    #[test]
    fn a_line_that_is_written_anew_with_all_hashes_after_it_shows(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
    ) {
        let (mut files, head) = sample();
        let (name, last) = pick(&files, file);
        let mut chain = line::Chain::default();
        let mut content = Vec::new();
        let lines = split(&files[&name]);
        let at = at.index(lines.len());
        for (number, line) in lines.iter().enumerate() {
            let mut value: serde_json::Map<String, Value> = serde_json::from_slice(line).unwrap();
            for member in ["seq", "time", "prev", "hash"] {
                value.remove(member);
            }
            if number == at {
                value.insert("request_id".into(), "forged".into());
            }
            chain.seal(&mut content, START, &value).unwrap();
        }
        files.insert(name.clone(), content);
        let report = verify_files(&files, last.then_some(head));
        prop_assert!(!report.is_sound(), "{name}:{at}: {report:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Rubbish in the place of a segment is told, and hurts nobody.
    #[test]
    fn rubbish_is_survived(
        rubbish in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), any::<u8>()], 0..500),
        behind in any::<bool>(),
    ) {
        let (mut files, _) = sample();
        let name = files.keys().next().unwrap().clone();
        let content = files.get_mut(&name).unwrap();
        if !behind {
            content.clear();
        }
        prop_assume!(!behind || !rubbish.is_empty());
        content.extend_from_slice(&rubbish);
        prop_assert!(!verify_files(&files, None).is_sound());
        let place = Place::new();
        std::fs::create_dir(&place.directory).unwrap();
        for (name, content) in &files {
            std::fs::write(place.directory.join(name), content).unwrap();
        }
        read_newest(&place.directory, &Filter::default(), 1000, None).unwrap();
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&place.directory, own).unwrap();
        close(&place.open());
    }
}

#[test]
fn every_removed_segment_shows() {
    let (files, head) = sample();
    for (index, name) in files.keys().enumerate() {
        let mut files = files.clone();
        files.remove(name);
        let last = index == files.len();
        let report = verify_files(&files, last.then_some(head));
        assert!(!report.is_sound(), "{index}");
    }
    assert!(!verify_files(&BTreeMap::new(), None).is_sound());
}

#[test]
fn the_noted_head_may_be_any_that_was_once_the_head() {
    let (files, head) = sample();
    assert_sound(&verify_files(&files, Some(head)));
    let early: Value = serde_json::from_slice(&split(files.values().next().unwrap())[1]).unwrap();
    let early = early["hash"].as_str().unwrap().parse().unwrap();
    assert_sound(&verify_files(&files, Some(early)));
    let report = verify_files(&files, Some(LineHash::default()));
    assert!(report.problems[0].what.contains("noted head"), "{report:?}");
}

#[test]
fn a_segment_from_elsewhere_shows() {
    let (mut files, _) = sample();
    let elsewhere = Place::new();
    let log = elsewhere.open();
    log.record(elsewhere.act("keys.create"));
    close(&log);
    files.extend(super::files(&elsewhere.directory));
    let report = verify_files(&files, None);
    assert!(report.problems[0].what.contains("added by somebody else"), "{report:?}");
}

#[test]
fn a_copied_or_renamed_segment_shows_and_other_files_are_told() {
    let (mut files, _) = sample();
    let content = files.values().next().unwrap().clone();
    files.insert("audit-0199f3f4-0000-7000-8000-000000000000.jsonl".into(), content);
    files.insert("notes.txt".into(), Vec::new());
    let report = verify_files(&files, None);
    assert!(report.problems.iter().any(|problem| problem.what.contains("copied")), "{report:?}");
    assert_eq!(report.warnings[0].to_string(), "notes.txt: is not part of the log");
}
