//! Whatever is in a journal's file, it is read: to the first record that is none, and no further. What is read
//! and written again is the same.
//!
//! Input: one byte that says what follows: a whole file; or records, each with its length before it, whose
//! checksums are right; or one record.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluicegate_ledger::journal::{
    read_all,
    record::{Record, begun, cancelled, ended},
    segment::{FRAME, OVERHEAD, walk},
};

const NUMBER: u64 = 9;

/// A directory of this process, on whatever is fast.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("sluicegate-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
});

fuzz_target!(|input: &[u8]| {
    let Some((&pick, rest)) = input.split_first() else { return };
    match pick % 3 {
        0 => file(rest),
        1 => records(rest),
        _ => record(rest),
    }
});

fn file(bytes: &[u8]) {
    let path = DIRECTORY.join("1.segment");
    std::fs::write(&path, bytes).expect("a file");
    if let Ok(records) = read_all(&DIRECTORY) {
        assert!(records.len() * (FRAME + 1) <= bytes.len().saturating_sub(OVERHEAD));
    }
}

fn records(mut input: &[u8]) {
    let (mut bytes, mut written) = (Vec::new(), Vec::new());
    while let Some((&length, rest)) = input.split_first() {
        let (record, rest) = rest.split_at(usize::from(length).min(rest.len()));
        input = rest;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&NUMBER.to_le_bytes());
        sum.update(record);
        bytes.extend(u32::try_from(record.len()).expect("a short record").to_le_bytes());
        bytes.extend(sum.finalize().to_le_bytes());
        bytes.extend_from_slice(record);
        written.push(record);
    }
    let mut found = Vec::new();
    walk(&bytes, NUMBER, |record, length| {
        assert_eq!(length, record.len() + FRAME);
        found.push(record.to_vec());
    });
    // An empty one is the end.
    let end = written.iter().position(|record| record.is_empty()).unwrap_or(written.len());
    assert_eq!(found, written[..end]);
    let mut others = 0;
    walk(&bytes, NUMBER + 1, |_, _| others += 1);
    assert_eq!(others, 0);

    let mut file = b"sgledgr1".to_vec();
    file.extend(NUMBER.to_le_bytes());
    file.extend_from_slice(&bytes);
    std::fs::write(DIRECTORY.join("1.segment"), &file).expect("a file");
    let decoded: Option<Vec<_>> = found.iter().map(|record| Record::decode(record)).collect();
    assert_eq!(read_all(&DIRECTORY).ok(), decoded);
}

fn record(bytes: &[u8]) {
    let Some(read) = Record::decode(bytes) else { return };
    let mut out = Vec::new();
    match &read {
        Record::Begun { row, charged, under_way } => begun(&mut out, row, charged, under_way),
        Record::Ended { row, charged } => ended(&mut out, row, charged),
        Record::Cancelled { id, charged } => cancelled(&mut out, *id, charged),
    }
    assert_eq!(Record::decode(&out), Some(read));
}
