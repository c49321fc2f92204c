//! A journal, read again after any end.

use proptest::prelude::*;
use sluicegate_quota::Charged;
use uuid::Uuid;

use super::*;
use crate::row::Row;

const MOST: u64 = 64 * 1024 * 1024;
const STORE: Uuid = Uuid::from_u128(1);

fn row(n: u128) -> Row<'static> {
    Row {
        request_id: Uuid::from_u128(n),
        attempt: 1,
        model: "m".into(),
        user: Some("ann".into()),
        ..Row::default()
    }
}

fn charged(counter: &str, seq: u64) -> Vec<Charged> {
    vec![Charged { counter: counter.into(), bucket: 7, amount: -3, seq }]
}

fn begun(n: u128) -> Vec<u8> {
    let mut out = Vec::new();
    record::begun(&mut out, &row(n), &charged("c", 1), &charged("d", 2));
    out
}

fn ended(n: u128) -> Vec<u8> {
    let mut out = Vec::new();
    record::ended(&mut out, &row(n), &charged("c", 3));
    out
}

fn journal(most: u64) -> (tempfile::TempDir, Journal) {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::create(&directory.path().join("one"), most, STORE).unwrap();
    (directory, journal)
}

fn read_through(journal: &Journal) -> usize {
    let mut records = 0;
    while let Some(read) = journal.read() {
        records += read.records.len();
        journal.dealt_with(&read);
    }
    records
}

#[test]
fn what_is_written_is_read_by_the_process_and_by_whoever_comes_after_it() {
    let (directory, journal) = journal(MOST);
    let slot = journal.begin(&begun(1)).unwrap();
    let other = journal.begin(&begun(2)).unwrap();
    assert!(journal.end(slot, &ended(1)));
    assert_eq!(journal.under_way(), 1);
    let Some(Record::Begun { row: drafted, .. }) = journal.begun(other) else { panic!() };
    assert_eq!(drafted, row(2));

    let read = journal.read().unwrap();
    assert_eq!(read.records.len(), 3);
    assert_eq!(read.records[2], Record::Ended { row: row(1), charged: charged("c", 3) });
    // Nobody has dealt with it, so it is read again.
    assert_eq!(journal.read().unwrap().records.len(), 3);
    journal.dealt_with(&read);
    assert!(journal.read().is_none() && journal.is_read());

    let path = directory.path().join("one");
    assert!(take_over(&path).unwrap().is_none(), "its process lives");
    drop(journal);
    assert!(take_over(&path).unwrap().is_some());
    assert_eq!(store(&path).unwrap(), Some(STORE));
    let beginning = segment::find_beginnings(&path).unwrap().remove(0);
    let first = segment::first(&beginning.1, beginning.0).unwrap();
    assert_eq!(Record::decode(first), None, "programs before this one don't know it, and leave it");
    assert_eq!(read_all(&path).unwrap(), read.records);
}

#[test]
fn a_segment_is_freed_when_all_of_it_is_known_and_what_is_under_way_moves_on() {
    let (directory, journal) = journal(MOST);
    let stays = journal.begin(&begun(0)).unwrap();
    let each = begun(1).len() + ended(1).len() + 2 * segment::FRAME;
    for n in 1..=(2 * USABLE / each) as u128 {
        let slot = journal.begin(&begun(n)).unwrap();
        assert!(journal.end(slot, &ended(n)));
    }
    let full = journal.bytes();
    journal.free(|_, _| true);
    assert_eq!(journal.state.lock().segments.len(), 3, "nobody has read it");
    read_through(&journal);
    journal.free(|_, seq| seq < 3);
    assert_eq!(journal.state.lock().segments.len(), 3, "the counters don't know all");
    journal.free(|_, _| true);
    assert_eq!(journal.state.lock().segments.len(), 1);
    assert!(journal.bytes() <= full, "segments are used again");
    let Some(Record::Begun { row: drafted, .. }) = journal.begun(stays) else { panic!() };
    assert_eq!(drafted, row(0));
    assert_eq!(read_through(&journal), 1, "the beginning that moved on");
    assert!(!journal.is_needless(|_, _| true), "one is under way");
    assert!(journal.end(stays, &ended(0)));
    read_through(&journal);
    assert!(journal.is_needless(|_, _| true) && !journal.is_needless(|_, _| false));
    drop(journal);
    for (number, bytes) in segment::find(&directory.path().join("one")).unwrap() {
        let first = segment::first(&bytes, number).and_then(record::decode_store);
        assert_eq!(first, Some(STORE), "also of a file that is used again");
    }
    let left = read_all(&directory.path().join("one")).unwrap();
    let last = 2 * USABLE / each;
    let known = |record: &Record| {
        let n = record.id().0.as_u128();
        n == 0 || n > last as u128 - 10
    };
    assert!(left.len() >= 2 && left.iter().all(known), "what was in a file before is no record");
}

/// An end that is read before its beginning would lose what the beginning was charged with.
#[test]
fn files_that_are_used_again_are_read_in_the_order_of_their_records() {
    let (directory, journal) = journal(MOST);
    let each = begun(1).len() + ended(1).len() + 2 * segment::FRAME;
    let most = 3 * USABLE / each;
    let write = |from: usize| {
        for n in (from..from + most).map(|n| n as u128) {
            let slot = journal.begin(&begun(n)).unwrap();
            assert!(journal.end(slot, &ended(n)));
        }
    };
    write(0);
    read_through(&journal);
    journal.free(|_, _| true);
    assert!(journal.state.lock().spares.len() > 1, "there is an order that can be wrong");
    write(most);
    drop(journal);
    let read = read_all(&directory.path().join("one")).unwrap();
    let order: Vec<_> = read.iter().map(|record| record.id().0.as_u128()).collect();
    let wrong = order.windows(2).position(|pair| pair[0] > pair[1]);
    assert_eq!(wrong.map(|at| (at, order[at], order[at + 1])), None, "of {} records", order.len());
    assert!(order.len() > 2 * most);
    assert!(matches!(read.last(), Some(Record::Ended { .. })));
}

#[test]
fn without_room_for_its_end_no_attempt_begins_and_every_end_has_room() {
    let (_directory, journal) = journal(2 * (USABLE + OVERHEAD) as u64);
    let mut slots = Vec::new();
    while let Ok(slot) = journal.begin(&begun(slots.len() as u128)) {
        slots.push(slot);
    }
    assert!(slots.len() > 1_000);
    for (n, slot) in slots.into_iter().enumerate() {
        assert!(journal.end(slot, &ended(n as u128)), "end {n}");
    }
    let mut more = Vec::new();
    // There was room aside for longer ends.
    while let Ok(slot) = journal.begin(&begun(1)) {
        more.push(slot);
    }
    for slot in more {
        assert!(journal.end(slot, &ended(1)));
    }
    read_through(&journal);
    journal.free(|_, _| true);
    assert!(journal.begin(&begun(2)).is_ok(), "there is room again");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_cut_off_or_changed_a_prefix_is_left_and_nothing_is_invented(
        kinds in prop::collection::vec(0_u8..3, 1..40),
        cut in any::<prop::sample::Index>(),
        flip in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(directory.path(), 9, &[]).unwrap();
        let mut written = Vec::new();
        for (n, kind) in kinds.iter().enumerate() {
            let mut out = Vec::new();
            let id = n as u128;
            match kind {
                0 => out = begun(id),
                1 => out = ended(id),
                _ => record::cancelled(&mut out, (Uuid::from_u128(id), 1), &charged("e", 4)),
            }
            segment.write(&out).unwrap();
            written.push(Record::decode(&out).unwrap());
        }
        let mut bytes = segment.bytes(0, usize::MAX).to_vec();
        let end = cut.index(bytes.len() + 1);
        bytes.truncate(end);
        if let (Some(flip), false) = (flip, bytes.is_empty()) {
            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
        }
        let mut found = Vec::new();
        segment::walk(&bytes, 9, |record, _| found.extend(Record::decode(record)));
        prop_assert!(found.len() <= written.len());
        prop_assert_eq!(&found[..], &written[..found.len()]);
        let mut others = 0;
        segment::walk(&bytes, 8, |_, _| others += 1);
        prop_assert_eq!(others, 0, "of another segment's number, nothing is good");
    }
}
