//! One of a journal's files: mapped, of a fixed length, and on the disk before it is used.
//!
//! A record is its length, a checksum, and its bytes. The checksum is over the segment's number too, so
//! that what a file held before it was used again is no record. The length is written last: what was
//! being written when the process ended is no record either.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::MmapMut;
use nix::fcntl::posix_fallocate;

/// Bytes before the records: a word, and the segment's number.
pub const OVERHEAD: usize = 16;
/// Bytes for records.
pub const USABLE: usize = 4 * 1024 * 1024 - OVERHEAD;
/// Bytes before each record.
pub const FRAME: usize = 8;

/// Bytes of a file that hold its first record, where that is a short one.
const BEGINNING: u64 = 256;

const WORD: [u8; 8] = *b"sgledgr1";
const SUFFIX: &str = ".segment";

/// A segment that is written to.
pub struct Segment {
    number: u64,
    path: PathBuf,
    file: Arc<File>,
    map: MmapMut,
    /// Bytes of records, their frames included.
    written: usize,
}

impl Segment {
    /// Makes a file for it, which begins with the record `first`.
    ///
    /// # Errors
    /// Where the disk has no room.
    #[expect(unsafe_code, reason = "a mapping is sound as long as nobody else changes the file")]
    pub fn create(directory: &Path, number: u64, first: &[u8]) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = path(directory, number);
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        // Blocks, not only a length: a page without one would end the process when the disk is full.
        let length = (OVERHEAD + USABLE) as i64;
        if let Err(errno) = posix_fallocate(&file, 0, length) {
            std::fs::remove_file(&path).ok();
            return Err(errno.into());
        }
        // SAFETY: the directory is this process's own, by the lock on it; whoever reads it before the
        // process is gone is not this program, and nobody truncates it.
        let mut map = unsafe { MmapMut::map_mut(&file)? };
        head(&mut map, number);
        let mut segment = Self { number, path, file: Arc::new(file), map, written: 0 };
        segment.write(first);
        Ok(segment)
    }

    /// The same file for another segment, which begins with `first` as well.
    ///
    /// # Errors
    /// Where it can't be renamed.
    pub fn again(mut self, directory: &Path, number: u64, first: &[u8]) -> io::Result<Self> {
        let path = path(directory, number);
        // The number goes first: under its old name, the file then has no records.
        head(&mut self.map, number);
        std::fs::rename(&self.path, &path)?;
        let mut segment = Self { number, path, written: 0, ..self };
        segment.write(first);
        Ok(segment)
    }

    /// Deletes the file.
    pub fn delete(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "a segment of the ledger's journal was not deleted");
        }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Bytes of records, frames included.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Bytes that are left.
    pub fn room(&self) -> usize {
        USABLE - self.written
    }

    /// Writes a record. Says where. `None`: it does not fit.
    pub fn write(&mut self, record: &[u8]) -> Option<usize> {
        let length = u32::try_from(record.len()).ok().filter(|length| *length > 0)?;
        let at = self.written;
        if self.room() < record.len() + FRAME {
            return None;
        }
        let start = OVERHEAD + at;
        let end = start + FRAME + record.len();
        // What follows is not a record yet, whatever the file held before.
        if let Some(next) = self.map.get_mut(end..end + 4) {
            next.fill(0);
        }
        self.map[start + FRAME..end].copy_from_slice(record);
        self.map[start + 4..start + 8].copy_from_slice(&sum(self.number, record).to_le_bytes());
        // A killed process has done its stores in their order, if the compiler keeps it.
        compiler_fence(Ordering::Release);
        self.map[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.written = end - OVERHEAD;
        Some(at)
    }

    /// The record at `at`.
    pub fn record(&self, at: usize) -> Option<&[u8]> {
        record(self.map.get(OVERHEAD + at..)?, self.number)
    }

    /// Records from `at` on, up to about `most` bytes; the last may be cut.
    pub fn bytes(&self, at: usize, most: usize) -> &[u8] {
        let end = self.written.min(at.saturating_add(most));
        &self.map[OVERHEAD + at..OVERHEAD + end]
    }
}

fn head(map: &mut MmapMut, number: u64) {
    // No record, before there is a number that would make old ones good.
    map[OVERHEAD..OVERHEAD + 4].fill(0);
    map[..8].copy_from_slice(&WORD);
    map[8..16].copy_from_slice(&number.to_le_bytes());
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016}{SUFFIX}"))
}

fn sum(number: u64, record: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(record);
    sum.finalize()
}

/// The record at the beginning of `bytes`. `None`: there is none, or not all of it.
fn record(bytes: &[u8], number: u64) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (length, expected) = (usize::try_from(word(0)?).ok()?, word(4)?);
    if length == 0 {
        return None;
    }
    let record = bytes.get(FRAME..FRAME.checked_add(length)?)?;
    (sum(number, record) == expected).then_some(record)
}

/// The first record of a segment. `None`: there is none, or not all of it.
pub fn first(bytes: &[u8], number: u64) -> Option<&[u8]> {
    record(bytes, number)
}

/// Calls `each` with every record and its length, frame included, up to the first that is none.
pub fn walk(mut bytes: &[u8], number: u64, mut each: impl FnMut(&[u8], usize)) {
    while let Some(found) = record(bytes, number) {
        let length = FRAME + found.len();
        each(found, length);
        bytes = &bytes[length..];
    }
}

/// The segments in a directory, with what is behind their heads.
///
/// # Errors
/// Where they can't be read.
pub fn find(directory: &Path) -> io::Result<Vec<(u64, Vec<u8>)>> {
    read(directory, u64::MAX)
}

/// The same, each with no more than a record as short as those that segments begin with.
///
/// # Errors
/// Where they can't be read.
pub fn find_beginnings(directory: &Path) -> io::Result<Vec<(u64, Vec<u8>)>> {
    read(directory, BEGINNING)
}

fn read(directory: &Path, most: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != &SUFFIX[1..]) {
            continue;
        }
        let mut bytes = Vec::new();
        File::open(&path)?.take(most).read_to_end(&mut bytes)?;
        if bytes.len() < OVERHEAD || bytes[..8] != WORD {
            continue;
        }
        let rest = bytes.split_off(OVERHEAD);
        let Ok(number) = <[u8; 8]>::try_from(&bytes[8..16]) else { continue };
        segments.push((u64::from_le_bytes(number), rest));
    }
    Ok(segments)
}
