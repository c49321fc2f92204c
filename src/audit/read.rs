//! The newest records, for people to look at.

use std::fs::File;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::event::Outcome;
use super::files::{self, Backwards};
use super::segment::SegmentName;

/// Bytes that one call reads at most. What is older comes with the next call.
const MAX_READ: u64 = 32 << 20;
/// Records of one call, at most.
const MAX_RECORDS: usize = 1000;

/// Which records. All that is given must hold. With an actor or an outcome, the log's own records don't.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not before, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// The actor's id or kind.
    pub actor: Option<String>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// The record's kind, in the word of the line: `admin_act`, `policy_refusal`, `dropped`.
    pub kind: Option<String>,
    /// The resource's id or kind.
    pub resource: Option<String>,
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The line, without its line feed.
    pub line: String,
    /// The same, read.
    pub value: Value,
}

/// Some records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Newest first; of processes that wrote side by side, those of the one that began later first.
    pub records: Vec<Record>,
    /// Where to go on; none at the end of the log. There may be a cursor where no record was found: the work of
    /// one call is bounded.
    pub next: Option<String>,
}

/// Why the log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not a cursor that an earlier call gave.
    #[error("the cursor is not one that this log gave; begin without one")]
    Cursor,
    /// The directory or a file can't be read.
    #[error("the audit log can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the newest records, at most `limit` and at most 1000. `cursor` is the [`Found::next`] of the call before. Blocks on
/// the disk: keep it off the threads that carry requests.
///
/// # Errors
/// A wrong cursor, or the disk.
pub fn read_newest(
    directory: &Path,
    filter: &Filter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Found, ReadError> {
    let from = cursor.map(Cursor::parse).transpose()?;
    let mut segments = files::list(directory)?.segments;
    if let Some(from) = from {
        segments.retain(|segment| *segment <= from.segment);
    }
    let mut reading = Reading {
        filter,
        limit: limit.clamp(1, MAX_RECORDS),
        left: MAX_READ,
        found: Found::default(),
    };
    for segment in segments.into_iter().rev() {
        let file = match files::open(directory, segment) {
            Ok(file) => file,
            // Retired since, or no file that was ours.
            Err(_) => continue,
        };
        let before = match from {
            Some(from) if from.segment == segment => from.check(&file)?,
            _ => file.metadata()?.len(),
        };
        if let Some(at) = reading.segment(file, before) {
            reading.found.next = Some(Cursor { segment, before: at }.to_string());
            break;
        }
    }
    Ok(reading.found)
}

struct Reading<'a> {
    filter: &'a Filter,
    limit: usize,
    left: u64,
    found: Found,
}

impl Reading<'_> {
    /// Reads the lines before byte `before`. Where to go on, unless the segment was read to its beginning.
    fn segment(&mut self, file: File, before: u64) -> Option<u64> {
        let mut lines = Backwards::new(file, before);
        let mut at = before;
        // What can't be read ends the segment: `verify` says what is wrong with it.
        loop {
            if at > 0 && (self.found.records.len() >= self.limit || self.left == 0) {
                return Some(at);
            }
            let Ok(Some((offset, line))) = lines.next() else { return None };
            self.left = self.left.saturating_sub(line.len() as u64 + 1);
            at = offset;
            let Ok(line) = String::from_utf8(line) else { continue };
            let Ok(value) = serde_json::from_str(&line) else { continue };
            if self.filter.admits(&value) {
                self.found.records.push(Record { line, value });
            } else if self.is_over(&value) {
                return None;
            }
        }
    }

    /// Whether everything before is too old. A process's lines are in the order of their times but for
    /// the moment that they wait.
    fn is_over(&self, value: &Value) -> bool {
        const MOMENT: i64 = 60_000;
        let since = self.filter.since_ms.map(|since| since.saturating_sub(MOMENT));
        since.is_some_and(|since| time_of(value).is_some_and(|time| time < since))
    }
}

impl Filter {
    fn admits(&self, record: &Value) -> bool {
        let is = |wanted: &Option<String>, places: &[&str]| {
            wanted.as_deref().is_none_or(|wanted| {
                let mut held = places.iter().map(|place| record.pointer(place));
                held.any(|held| held.and_then(Value::as_str) == Some(wanted))
            })
        };
        let outcome = self.outcome.map(|outcome| outcome.name().to_owned());
        is(&self.actor, &["/actor/id", "/actor/kind"])
            && is(&self.resource, &["/resource/id", "/resource/kind"])
            && is(&self.kind, &["/kind"])
            && is(&outcome, &["/outcome"])
            && self.since_ms.is_none_or(|since| time_of(record).is_some_and(|time| time >= since))
    }
}

fn time_of(record: &Value) -> Option<i64> {
    let time: jiff::Timestamp = record.get("time")?.as_str()?.parse().ok()?;
    Some(time.as_millisecond())
}

/// A place in the log: the lines of `segment` before byte `before`, and all older segments.
#[derive(Clone, Copy)]
struct Cursor {
    segment: SegmentName,
    before: u64,
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, ReadError> {
        let (segment, before) = text.rsplit_once('@').ok_or(ReadError::Cursor)?;
        let segment = segment.parse().map_err(|_| ReadError::Cursor)?;
        let before = before.parse().map_err(|_| ReadError::Cursor)?;
        Ok(Self { segment, before })
    }

    /// The offset, if a line begins there.
    fn check(self, mut file: &File) -> Result<u64, ReadError> {
        use std::io::{Read, Seek, SeekFrom};
        if self.before > file.metadata()?.len() {
            return Err(ReadError::Cursor);
        }
        let Some(last) = self.before.checked_sub(1) else { return Ok(0) };
        let mut byte = [0];
        file.seek(SeekFrom::Start(last))?;
        file.read_exact(&mut byte)?;
        if byte == *b"\n" { Ok(self.before) } else { Err(ReadError::Cursor) }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.segment, self.before)
    }
}
