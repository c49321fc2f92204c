//! Whether a log is what was written.
//!
//! Each segment is a chain of its own, and each names how the others stood when it was opened. So
//! whatever is changed, removed or added breaks a chain, or contradicts another segment. What nobody
//! has seen yet, the end of the newest segment, can only be checked against a hash that was noted
//! elsewhere.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::check::{Checked, Seen, check};
use super::files::{self, is_growing};
use super::line::LineHash;
use super::records::{Anchor, Retired};
use super::segment::SegmentName;

/// Processes that start together may not see each other's segments. Milliseconds.
const TOGETHER: i64 = 60_000;
/// Attempts to read a log in which segments come and go.
const ATTEMPTS: usize = 5;

/// What [`verify`] found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Files that were read.
    pub segments: usize,
    /// Their lines, the log's own included.
    pub records: u64,
    /// Segments that are gone by rule, as far as the log still knows.
    pub retired: usize,
    /// Events that the log says it could not record.
    pub dropped: u64,
    /// What is wrong. Empty: the log is sound.
    pub problems: Vec<Problem>,
    /// What is unusual, and happens without anybody's fault.
    pub warnings: Vec<Problem>,
    /// Where the log ends: the last lines that no other segment has seen. Note the hashes elsewhere.
    pub heads: Vec<Head>,
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file's name within the directory.
    pub file: String,
    /// The line, counted from 1; 0 where it is about the file.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// The end of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The file's name within the directory.
    pub segment: String,
    /// The last line's number.
    pub seq: u64,
    /// The last line's hash.
    pub hash: LineHash,
    /// Whether a process is still writing it.
    pub live: bool,
}

/// Reads the whole log in `directory`. `noted` is a hash that was noted earlier, and must still be
/// there. The log may be in use meanwhile.
///
/// # Errors
/// The directory can't be read.
pub fn verify(directory: &Path, noted: Option<LineHash>) -> io::Result<Report> {
    let mut log = Log::read(directory, noted)?;
    for _ in 1..ATTEMPTS {
        if !log.moved {
            break;
        }
        log = Log::read(directory, noted)?;
    }
    Ok(log.report())
}

#[derive(Default)]
struct Log {
    segments: Vec<Segment>,
    /// What is said of each segment, present or not.
    seen: HashMap<SegmentName, Vec<Seen>>,
    retired: HashMap<SegmentName, Retired>,
    noted: Option<LineHash>,
    found: bool,
    /// A segment came or went while we were reading.
    moved: bool,
    report: Report,
}

struct Segment {
    name: SegmentName,
    live: bool,
    anchors: Vec<Anchor>,
    checked: Checked,
}

impl Log {
    fn read(directory: &Path, noted: Option<LineHash>) -> io::Result<Self> {
        let mut log = Self { noted, ..Self::default() };
        let listing = files::list(directory)?;
        for other in listing.others.into_iter().filter(|file| !is_growing(directory, file)) {
            log.warn(other, 0, "is not part of the log");
        }
        for name in listing.segments {
            log.survey(directory, name);
        }
        for index in 0..log.segments.len() {
            log.check(directory, index);
        }
        log.moved |=
            log.missing().iter().any(|seen| seen.anchor.segment.within(directory).exists());
        Ok(log)
    }

    /// What others have seen and is not there, where it should be or have left word.
    fn missing(&self) -> Vec<Seen> {
        let present: HashSet<_> = self.segments.iter().map(|segment| segment.name).collect();
        let absent = self.seen.iter().filter(|(name, _)| !present.contains(name));
        absent
            .flat_map(|(_, seen)| seen.iter().copied())
            // What knows of the going may have gone before that which is itself about to go.
            .filter(|seen| !self.retired.contains_key(&seen.by))
            .collect()
    }

    fn survey(&mut self, directory: &Path, name: SegmentName) {
        let looked = files::open(directory, name).and_then(|file| {
            let live = files::is_locked(&file);
            Ok((live, files::anchors(&file)?))
        });
        match looked {
            Ok((live, anchors)) => {
                for anchor in &anchors {
                    let seen = self.seen.entry(anchor.segment).or_default();
                    seen.push(Seen { anchor: *anchor, by: name });
                }
                self.segments.push(Segment { name, live, anchors, checked: Checked::default() });
            }
            Err(error) => self.unreadable(name, &error),
        }
    }

    fn check(&mut self, directory: &Path, index: usize) {
        let name = self.segments[index].name;
        let seen = self.seen.get(&name).map(Vec::as_slice).unwrap_or_default();
        let (noted, found) = (self.noted, &mut self.found);
        match check(directory, name, seen, &mut |hash| *found |= noted == Some(hash)) {
            Ok(mut checked) => {
                for retired in checked.retired.drain(..) {
                    self.found |= noted == Some(retired.hash);
                    self.retired.insert(retired.segment, retired);
                }
                self.segments[index].checked = checked;
            }
            Err(error) => self.unreadable(name, &error),
        }
    }

    fn unreadable(&mut self, name: SegmentName, error: &io::Error) {
        self.moved |= error.kind() == io::ErrorKind::NotFound;
        self.problem(name.to_string(), 0, format!("can't be read: {error}"));
    }

    fn report(mut self) -> Report {
        for segment in std::mem::take(&mut self.segments) {
            self.report_segment(&segment);
            self.segments.push(segment);
        }
        self.report_missing();
        self.report_strangers();
        if self.noted.is_some() && !self.found {
            let what = "the noted head is not in the log: lines were removed or rewritten";
            self.problem(String::from("."), 0, what);
        }
        if self.segments.is_empty() {
            self.problem(String::from("."), 0, "there is no segment: this is no audit log");
        }
        self.report.segments = self.segments.len();
        self.report.retired = self.retired.len();
        self.report.problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        self.report
    }

    fn report_segment(&mut self, segment: &Segment) {
        let Segment { name, live, checked, .. } = segment;
        let file = name.to_string();
        for (line, what) in &checked.flaws {
            self.problem(file.clone(), *line, what);
        }
        let seen = self.seen.get(name).map(Vec::as_slice).unwrap_or_default();
        let ended = seen.iter().any(|seen| seen.anchor.ended);
        if seen.iter().all(|seen| seen.anchor.seq < checked.end.seq) {
            let chain = checked.end;
            let (segment, hash) = (file.clone(), chain.last);
            self.report.heads.push(Head { segment, seq: chain.seq, hash, live: *live });
        }
        let next = checked.records + 1;
        if checked.torn && !live {
            self.warn(file.clone(), next, "is unfinished: its writer was killed");
        } else if !checked.closed && !live && !ended {
            let what = "is not there, and the segment was not closed: its writer was killed, or its end was removed";
            self.warn(file.clone(), next, what);
        }
        if self.retired.contains_key(name) {
            self.warn(file, 0, "was retired and is still there; the next deletion removes it");
        }
        self.report.records += checked.records;
        self.report.dropped = self.report.dropped.saturating_add(checked.dropped);
    }

    fn report_missing(&mut self) {
        for Seen { anchor, by } in self.missing() {
            let name = anchor.segment;
            match self.retired.get(&name) {
                None => self.problem(
                    by.to_string(),
                    1,
                    format!(
                        "has seen {name}, which is not there: it was removed, and not by retention"
                    ),
                ),
                Some(gone) if !agree(gone, &anchor) => self.problem(
                    by.to_string(),
                    1,
                    format!("has seen {name} otherwise than it was when it was retired"),
                ),
                Some(_) => {}
            }
        }
    }

    /// Segments that no later one knows: somebody put them there.
    fn report_strangers(&mut self) {
        let unseen = self.segments.iter().filter(|segment| !self.seen.contains_key(&segment.name));
        let strangers: Vec<_> = unseen.filter(|segment| self.has_successor(segment)).collect();
        let files: Vec<_> = strangers.iter().map(|segment| segment.name.to_string()).collect();
        for file in files {
            let what = "is unknown to the segments that were opened after it: it was added by somebody else";
            self.problem(file, 0, what);
        }
    }

    /// Whether there is a segment that was opened after `segment` and so must know it. One that
    /// `segment` itself knows was opened before, whatever the clock said.
    fn has_successor(&self, segment: &Segment) -> bool {
        let by_name: HashMap<_, _> = self.segments.iter().map(|one| (one.name, one)).collect();
        let mut before = HashSet::from([segment.name]);
        let mut open = vec![segment];
        while let Some(one) = open.pop() {
            for anchor in &one.anchors {
                if before.insert(anchor.segment) {
                    open.extend(by_name.get(&anchor.segment));
                }
            }
        }
        let after = segment.name.opened_ms().saturating_add(TOGETHER);
        self.segments.iter().any(|one| one.name.opened_ms() > after && !before.contains(&one.name))
    }

    fn problem(&mut self, file: String, line: u64, what: impl fmt::Display) {
        self.report.problems.push(Problem { file, line, what: what.to_string() });
    }

    fn warn(&mut self, file: String, line: u64, what: impl fmt::Display) {
        self.report.warnings.push(Problem { file, line, what: what.to_string() });
    }
}

fn agree(gone: &Retired, anchor: &Anchor) -> bool {
    let same = gone.seq == anchor.seq && gone.hash == anchor.hash;
    same || (gone.seq > anchor.seq && !anchor.ended)
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.what)
        } else {
            write!(f, "{}:{}: {}", self.file, self.line, self.what)
        }
    }
}
