//! The log's directory, and what can be known of its segments without reading them whole.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::line::{Chain, Head, Lines, MAX_LINE, Piece};
use super::records::{Anchor, Own};
use super::segment::SegmentName;

/// Bytes that are read at once.
const BLOCK: u64 = 64 * 1024;
/// Lines from the end of a damaged segment among which its last whole one is looked for.
const LAST_LINES: usize = 16;
/// Segments that one directory may hold. More would be a mistake, or an attack on our memory.
const MAX_SEGMENTS: usize = 100_000;

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Oldest first.
    pub segments: Vec<SegmentName>,
    /// Files that are no segments.
    pub others: Vec<String>,
}

/// What a segment's ends say.
#[derive(Debug)]
pub(super) struct Summary {
    pub name: SegmentName,
    /// What it anchors.
    pub anchors: Vec<Anchor>,
    /// Its last whole line; none if the end can't be understood.
    pub end: Option<End>,
    /// A process has it open for writing.
    pub live: bool,
}

/// A segment's last whole line.
#[derive(Debug)]
pub(super) struct End {
    pub chain: Chain,
    /// As it is written.
    pub time: String,
    /// In milliseconds since the epoch.
    pub at_ms: i64,
}

/// Makes the directory for us alone, or refuses one that others can write: they could put their own
/// files in the place of ours.
///
/// # Errors
/// It can't be made, or is not ours alone to write.
pub(super) fn prepare(directory: &Path) -> Result<(), String> {
    let io = |error: io::Error| error.to_string();
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
    let metadata = directory.metadata().map_err(io)?;
    let me = std::fs::metadata("/proc/self").map_err(io)?.uid();
    if metadata.mode() & 0o022 != 0 || (metadata.uid() != me && metadata.uid() != 0) {
        return Err(
            "others can write to it; chmod 700 it, or name a directory that does not exist \
                    yet: it will be made for this process alone"
                .to_owned(),
        );
    }
    Ok(())
}

/// Removes what became no segment before `before_ms`, because its writer died or its disk was full. What
/// is younger may be another process's that has not come to lock it yet.
pub(super) fn clear_unfinished(directory: &Path, before_ms: i64) {
    for other in list(directory).unwrap_or_default().others {
        let old = SegmentName::of_unfinished(&other).is_some_and(|it| it.opened_ms() < before_ms);
        if old && !is_growing(directory, &other) {
            std::fs::remove_file(directory.join(&other)).ok();
        }
    }
}

/// Whether a file is about to become a segment.
pub(super) fn is_growing(directory: &Path, file: &str) -> bool {
    SegmentName::of_unfinished(file).is_some()
        && open_regular(&directory.join(file)).is_ok_and(|file| is_locked(&file))
}

/// The directory's content.
///
/// # Errors
/// It can't be read, or holds too much.
pub(super) fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        match name.parse() {
            Ok(segment) => listing.segments.push(segment),
            Err(_) => listing.others.push(name),
        }
        if listing.segments.len().max(listing.others.len()) > MAX_SEGMENTS {
            return Err(io::Error::other(format!("holds more than {MAX_SEGMENTS} files")));
        }
    }
    listing.segments.sort_unstable();
    listing.others.sort_unstable();
    Ok(listing)
}

/// Opens a segment for reading.
///
/// # Errors
/// It is not there, or no regular file.
pub(super) fn open(directory: &Path, name: SegmentName) -> io::Result<File> {
    open_regular(&name.within(directory))
}

/// A link may lead anywhere, and opening a pipe may never return.
fn open_regular(path: &Path) -> io::Result<File> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    File::open(path)
}

/// Whether the process that makes a segment still has it.
pub(super) fn is_locked(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => {
            file.unlock().ok();
            false
        }
        Err(TryLockError::WouldBlock) => true,
        // Where there are no locks, nobody can be known to have gone.
        Err(TryLockError::Error(_)) => true,
    }
}

/// The ends of all segments, oldest first. Those that can't be read are left out.
///
/// # Errors
/// The directory can't be read.
pub(super) fn survey(directory: &Path) -> io::Result<Vec<Summary>> {
    let names = list(directory)?.segments;
    Ok(names.into_iter().filter_map(|name| summary(directory, name).ok()).collect())
}

fn summary(directory: &Path, name: SegmentName) -> io::Result<Summary> {
    let file = open(directory, name)?;
    // Before its end is read: once nobody writes it, the end stays the end.
    let live = is_locked(&file);
    let length = file.metadata()?.len();
    let anchors = anchors(&file)?;
    let mut lines = Backwards::new(file, length);
    let mut end = None;
    for _ in 0..LAST_LINES {
        let Ok(Some((_, line))) = lines.next() else { break };
        end = Head::read(&line).ok().and_then(|head| {
            Some(End { chain: head.chain(), at_ms: head.at_ms()?, time: head.time.into_owned() })
        });
        if end.is_some() {
            break;
        }
    }
    Ok(Summary { name, anchors, end, live })
}

/// What a new segment must anchor: every segment of which nobody has said yet how it ended. `own`, if
/// given, is what the writer knows of its segment before.
pub(super) fn unended(segments: &[Summary], own: Option<Anchor>) -> Vec<Anchor> {
    let ended: HashSet<_> = segments
        .iter()
        .flat_map(|segment| &segment.anchors)
        .filter(|anchor| anchor.ended)
        .map(|anchor| anchor.segment)
        .collect();
    let others = segments.iter().filter(|segment| {
        !ended.contains(&segment.name) && own.is_none_or(|own| own.segment != segment.name)
    });
    let anchors = others.filter_map(|Summary { name, end, live, .. }| {
        let Chain { seq, last: hash } = end.as_ref()?.chain;
        Some(Anchor { segment: *name, seq, hash, ended: !live })
    });
    anchors.chain(own).collect()
}

/// What the first lines of a segment anchor.
///
/// # Errors
/// It can't be read.
pub(super) fn anchors(file: &File) -> io::Result<Vec<Anchor>> {
    let mut anchors = Vec::new();
    let mut lines = Lines(BufReader::new(file));
    while let Some(Piece::Line(line)) = lines.next()? {
        match Own::read(&line) {
            Some(own @ (Own::Opened { .. } | Own::Anchored { .. })) => {
                anchors.extend_from_slice(own.anchors());
            }
            _ => break,
        }
    }
    Ok(anchors)
}

/// Reads a file's whole lines from its end.
pub(super) struct Backwards<F> {
    file: F,
    /// Where `buffer` begins in the file.
    at: u64,
    /// Ends behind a line feed, once `fresh` is over.
    buffer: Vec<u8>,
    fresh: bool,
}

impl<F: Read + Seek> Backwards<F> {
    /// The lines before byte `end`. What comes behind the last line feed before it is left out.
    pub fn new(file: F, end: u64) -> Self {
        Self { file, at: end, buffer: Vec::new(), fresh: true }
    }

    /// The line before, without its line feed, and the offset of its first byte.
    ///
    /// # Errors
    /// The file can't be read, or has a line that is too long.
    pub fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            if self.fresh {
                if let Some(end) = memchr::memrchr(b'\n', &self.buffer) {
                    self.buffer.truncate(end + 1);
                    self.fresh = false;
                } else if self.at == 0 {
                    return Ok(None);
                }
            }
            if !self.fresh {
                let content = self.buffer.len().saturating_sub(1);
                let before = memchr::memrchr(b'\n', &self.buffer[..content]);
                if before.is_some() || self.at == 0 {
                    return Ok(self.split(before.map_or(0, |before| before + 1)));
                }
            }
            self.read_block()?;
        }
    }

    fn split(&mut self, start: usize) -> Option<(u64, Vec<u8>)> {
        let mut line = self.buffer.split_off(start);
        // There is a line feed unless the file is at its beginning.
        line.pop()?;
        Some((self.at + start as u64, line))
    }

    fn read_block(&mut self) -> io::Result<()> {
        if self.buffer.len() > MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "has a line that is too long"));
        }
        let length = self.at.min(BLOCK);
        self.at -= length;
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut block = Vec::with_capacity(self.buffer.len() + BLOCK as usize);
        let read = self.file.by_ref().take(length).read_to_end(&mut block)?;
        if read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        block.append(&mut self.buffer);
        self.buffer = block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn backwards(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut lines = Backwards::new(Cursor::new(bytes), bytes.len() as u64);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line);
        }
        all
    }

    proptest! {
        #[test]
        fn lines_backwards_are_the_lines(
            lines in prop::collection::vec("[a-z]{0,9}", 0..30),
            widen in prop_oneof![4 => Just(0usize), 1 => 60_000usize..70_000],
            rest in "[a-z]{0,9}",
        ) {
            let lines: Vec<String> =
                lines.iter().map(|line| format!("{line}{}", "x".repeat(widen))).collect();
            let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            text.push_str(&rest);
            let mut found = backwards(text.as_bytes());
            found.reverse();
            prop_assert_eq!(found.len(), lines.len());
            for ((offset, line), expected) in found.iter().zip(&lines) {
                prop_assert_eq!(&line[..], expected.as_bytes());
                prop_assert!(text[usize::try_from(*offset).unwrap()..].starts_with(expected));
            }
        }
    }

    #[test]
    fn a_line_without_end_is_not_held_in_memory() {
        let bytes = [&b"a\n"[..], &vec![b'x'; 3 * MAX_LINE], b"\n"].concat();
        let mut lines = Backwards::new(Cursor::new(&bytes), bytes.len() as u64);
        assert_eq!(lines.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let made = root.path().join("a/b");
        prepare(&made).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700);
        prepare(&made).unwrap();
        std::fs::set_permissions(&made, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(prepare(&made).unwrap_err().contains("chmod 700"));
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(prepare(&file).is_err());
    }

    #[test]
    fn a_link_is_no_segment() {
        let root = tempfile::tempdir().unwrap();
        let name: SegmentName = "audit-019ac0de-0000-7000-8000-000000000000.jsonl".parse().unwrap();
        std::os::unix::fs::symlink("/dev/zero", name.within(root.path())).unwrap();
        assert!(open(root.path(), name).is_err());
        assert!(survey(root.path()).unwrap().is_empty());
    }
}
