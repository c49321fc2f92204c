//! Deletes segments that are older than the retention, and leaves word of each.
//!
//! A segment goes only if it is sound: what was tampered with stays, for somebody to look at. The word
//! of it is on disk before the file goes, so a segment that is missing without one was removed by hand.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::check::{Checked, Seen, check};
use super::files::{self, Summary};
use super::records::Retired;
use super::segment::{SegmentName, sync_directory};

/// The segments to look at, one at a time, so that nothing waits long for its line.
#[derive(Debug, Default)]
pub(super) struct Pass {
    due: VecDeque<Summary>,
    staying: Vec<Summary>,
}

/// A segment that may go once `record` is on disk.
#[derive(Debug)]
pub(super) struct Leaving {
    segment: SegmentName,
    pub record: Vec<Retired>,
}

impl Pass {
    /// Finds the segments that end before `oldest_ms` and that nobody writes.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn plan(directory: &Path, oldest_ms: i64) -> io::Result<Self> {
        // A line's time is its event's, which may have been long before.
        let last = |segment: &Summary| {
            segment.end.as_ref().map(|end| end.at_ms.max(segment.name.opened_ms()))
        };
        let is_due =
            |segment: &Summary| !segment.live && last(segment).is_some_and(|last| last < oldest_ms);
        let (due, staying): (Vec<_>, _) = files::survey(directory)?.into_iter().partition(is_due);
        Ok(Self { due: due.into(), staying })
    }

    /// Whether there is nothing more to do.
    pub fn is_over(&self) -> bool {
        self.due.is_empty()
    }

    /// The next segment, if it is sound.
    pub fn next(&mut self, directory: &Path) -> Option<Leaving> {
        let summary = self.due.pop_front()?;
        let segment = summary.name;
        match check(directory, segment, &self.seen_of(segment), &mut |_| {}) {
            Ok(checked) if checked.flaws.is_empty() => {
                let record = self.word_of(&summary, &checked);
                Some(Leaving { segment, record })
            }
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            outcome => {
                let reason = match outcome {
                    Ok(checked) => {
                        checked.flaws.first().map(|(line, what)| format!("{line}: {what}"))
                    }
                    Err(error) => Some(error.to_string()),
                };
                tracing::error!(
                    %segment,
                    reason,
                    "an audit segment is past its retention and kept, because it is not sound"
                );
                self.staying.push(summary);
                None
            }
        }
    }

    /// The segment, and those of whose going only it knows while others still ask for them.
    fn word_of(&self, summary: &Summary, checked: &Checked) -> Vec<Retired> {
        let own = summary.end.as_ref().map(|end| Retired {
            segment: summary.name,
            seq: checked.end.seq,
            hash: checked.end.last,
            until: end.time.clone(),
        });
        let asked_for = |gone: &&Retired| !self.seen_of(gone.segment).is_empty();
        own.into_iter().chain(checked.retired.iter().filter(asked_for).cloned()).collect()
    }

    fn seen_of(&self, segment: SegmentName) -> Vec<Seen> {
        let others = self.due.iter().chain(&self.staying);
        let anchors = others.flat_map(|by| by.anchors.iter().map(|anchor| (by.name, *anchor)));
        let of_it = anchors.filter(|(_, anchor)| anchor.segment == segment);
        of_it.map(|(by, anchor)| Seen { anchor, by }).collect()
    }
}

impl Leaving {
    /// Deletes the segment.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn delete(&self, directory: &Path) -> io::Result<()> {
        match std::fs::remove_file(self.segment.within(directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_directory(directory),
        }
    }
}
