//! One segment read whole, against itself and against what others have seen of it.

use std::io::BufReader;
use std::path::Path;

use super::files;
use super::line::{Chain, Flaw, Head, LineHash, Lines, Piece, is_torn};
use super::records::{Anchor, Own, Retired};
use super::segment::SegmentName;

/// Flaws of one segment that are told. A file of rubbish has no end of them.
const MAX_FLAWS: usize = 100;

/// What others say of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub anchor: Anchor,
    /// The segment that says it.
    pub by: SegmentName,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub records: u64,
    /// The last line that could be read.
    pub end: Chain,
    /// It ends in `closed`.
    pub closed: bool,
    /// Behind its last line there is the beginning of another.
    pub torn: bool,
    /// Events that it says were lost.
    pub dropped: u64,
    /// Segments that it says are gone by rule.
    pub retired: Vec<Retired>,
    /// What is wrong, each with the number of its line in the file.
    pub flaws: Vec<(u64, String)>,
}

/// Reads the segment; `each` gets every line's hash.
///
/// # Errors
/// It can't be read. What is wrong with its content is no error but a flaw.
pub(super) fn check(
    directory: &Path,
    name: SegmentName,
    seen: &[Seen],
    each: &mut dyn FnMut(LineHash),
) -> std::io::Result<Checked> {
    let file = files::open(directory, name)?;
    let mut lines = Lines(BufReader::new(file));
    let mut reading = Reading {
        name,
        seen: seen.iter().map(|seen| (*seen, false)).collect(),
        number: 0,
        // Until a flaw makes it unknown how to go on.
        chain: Some(Chain::default()),
        checked: Checked::default(),
    };
    while let Some(piece) = lines.next()? {
        reading.number += 1;
        match piece {
            Piece::Line(line) => reading.line(&line, each),
            Piece::Rest(rest) => reading.rest(&rest),
            Piece::TooLong => reading.broken(Flaw::TooLong),
        }
        if reading.checked.flaws.len() >= MAX_FLAWS {
            reading.flaw("has more flaws; what follows was not looked at");
            return Ok(reading.checked);
        }
    }
    Ok(reading.finish())
}

struct Reading {
    name: SegmentName,
    /// With whether that line was there.
    seen: Vec<(Seen, bool)>,
    number: u64,
    chain: Option<Chain>,
    checked: Checked,
}

impl Reading {
    fn flaw(&mut self, what: impl std::fmt::Display) {
        self.checked.flaws.push((self.number, what.to_string()));
    }

    fn broken(&mut self, flaw: Flaw) {
        self.flaw(flaw);
        self.chain = None;
    }

    fn line(&mut self, line: &[u8], each: &mut dyn FnMut(LineHash)) {
        let head = match Head::read(line) {
            Ok(head) => head,
            Err(flaw) => return self.broken(flaw),
        };
        if let Some(Err(flaw)) = self.chain.map(|chain| chain.precedes(&head)) {
            self.flaw(flaw);
        }
        self.chain = Some(head.chain());
        self.checked.end = head.chain();
        self.checked.records += 1;
        each(head.hash);
        for (seen, found) in &mut self.seen {
            *found |= seen.anchor.seq == head.seq && seen.anchor.hash == head.hash;
        }
        if self.checked.closed {
            self.flaw("comes behind the line that closed the segment");
        }
        let own = Own::is_own(&head.kind).then(|| Own::read(line));
        match own {
            Some(None) => self.flaw(Flaw::Malformed),
            Some(Some(own)) => self.own(own),
            None if self.number == 1 => self.flaw("is not `opened`, which begins a segment"),
            None => {}
        }
    }

    fn own(&mut self, own: Own) {
        let opens = matches!(own, Own::Opened { .. });
        if opens != (self.number == 1) {
            self.flaw("`opened` begins a segment, and stands nowhere else");
        }
        match own {
            Own::Opened { segment, .. } if segment != self.name => {
                self.flaw(format!("says that this is {segment}: the file was renamed or copied"));
            }
            Own::Opened { .. } | Own::Anchored { .. } => {}
            Own::Closed { .. } => self.checked.closed = true,
            Own::Dropped { events } => {
                self.checked.dropped = self.checked.dropped.saturating_add(events);
            }
            Own::Retired { segments } => self.checked.retired.extend(segments),
        }
    }

    fn rest(&mut self, rest: &[u8]) {
        if self.checked.closed {
            self.flaw("comes behind the line that closed the segment");
        } else if is_torn(rest) {
            self.checked.torn = true;
        } else {
            self.flaw(Flaw::Unsealed);
        }
    }

    fn finish(mut self) -> Checked {
        if self.number == 0 {
            self.flaw("is empty: its content was removed");
        }
        let end = self.checked.end.seq;
        for (Seen { anchor: Anchor { seq, ended, .. }, by }, found) in
            std::mem::take(&mut self.seen)
        {
            self.number = seq;
            if seq > end {
                self.flaw(format!(
                    "is missing: {by} has seen it, so the segment's end was removed"
                ));
            } else if !found {
                self.flaw(format!("is not the line that {by} has seen: it was rewritten"));
            } else if ended && end > seq {
                self.number = seq + 1;
                self.flaw(format!("was added after {by} had found the segment ended"));
            }
        }
        self.checked
    }
}
