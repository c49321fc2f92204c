//! `ledger`: one row for each attempt that reached a provider.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::{section, value};
use crate::config::reader::{Cursor, Keys, Reader};
use crate::config::valid::Ledger;

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["directory", "journal_size", "retention"],
    renamed: &[
        ("path", "directory"),
        ("dir", "directory"),
        ("journal", "directory"),
        ("journal_directory", "directory"),
        ("max_size", "journal_size"),
        ("size", "journal_size"),
        ("keep", "retention"),
        ("max_age", "retention"),
        ("retention_days", "retention"),
    ],
    later: &[],
};

const MIB: u64 = 1024 * 1024;

/// At least some segments, and no more than a disk has.
const SIZES: RangeInclusive<u64> = 16 * MIB..=64 * 1024 * MIB;
const RETENTIONS: RangeInclusive<Duration> =
    Duration::from_hours(24)..=Duration::from_hours(24 * 3_650);

/// Reads `ledger`.
pub(super) fn ledger(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> Ledger {
    let fields = section(reader, at, &KEYS);
    let fields = fields.as_ref();
    let directory = value(reader, fields, "directory", |reader, at| {
        let path = PathBuf::from(reader.text(at)?);
        if path.exists() && !path.is_dir() {
            reader.wrong(at, "is not a directory", "name a directory; a missing one is made");
            return None;
        }
        Some(path)
    });
    let journal_size = value(reader, fields, "journal_size", |r, at| r.size(at, SIZES));
    let retention = value(reader, fields, "retention", |r, at| r.duration(at, RETENTIONS));
    Ledger { directory, journal_size: journal_size.unwrap_or(256 * MIB), retention }
}
