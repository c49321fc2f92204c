//! One file of the log while it is written.
//!
//! A segment appears under its name with its first line in it and already locked, or not at all. Only
//! the process that made it writes to it, and the lock (`flock`) says so for as long as it lives.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

use super::line::Chain;
use super::records::{Anchor, Own};

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
/// What stands behind a segment's name until its first line is on disk.
const UNFINISHED: &str = ".new";
/// Anchors of one line.
const ANCHORS_AT_ONCE: usize = 64;

/// A segment's name: `audit-<UUIDv7>.jsonl`. Ordered by the time when it was opened (RFC 9562 section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct SegmentName(Uuid);

/// Not the name of a segment.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not the name of a segment")]
pub(super) struct NotASegment;

/// A segment that this process writes.
pub(super) struct Segment {
    pub name: SegmentName,
    pub opened_ms: i64,
    /// Where the chain stands: at the last line that was written whole.
    pub chain: Chain,
    /// Where it stood when the file was last known to be on disk.
    pub synced: Chain,
    /// Bytes of whole lines.
    pub length: u64,
    file: Box<dyn Storage>,
}

/// What a segment needs of its file. A trait so that tests can be a disk that fails.
pub(super) trait Storage: Send {
    /// Appends all of `bytes`, or fails having appended some.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Returns once everything is on disk.
    fn sync(&mut self) -> io::Result<()>;
    /// The file's length; none if it has no name any more.
    fn length(&self) -> io::Result<Option<u64>>;
}

/// Makes a storage of a segment's file.
pub(super) type Wrap = Arc<dyn Fn(File) -> Box<dyn Storage> + Send + Sync>;

/// Why lines were not appended.
#[derive(Debug)]
pub(super) struct AppendError {
    pub source: io::Error,
    /// The file may end in a part of a line, or not be on disk: it must not be written any more.
    pub spoilt: bool,
}

impl Segment {
    /// Makes the segment that anchors `anchors`, and locks it.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn create(
        directory: &Path,
        at_ms: i64,
        instance: &str,
        anchors: &[Anchor],
        wrap: &Wrap,
    ) -> io::Result<Self> {
        let name = SegmentName::new(at_ms);
        let unfinished = directory.join(format!("{name}{UNFINISHED}"));
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.try_lock().map_err(io::Error::from)?;
        let mut segment = Self {
            name,
            opened_ms: at_ms,
            chain: Chain::default(),
            synced: Chain::default(),
            length: 0,
            file: wrap(file),
        };
        let finished = segment
            .write_opening(at_ms, instance, anchors)
            .and_then(|()| std::fs::rename(&unfinished, name.within(directory)))
            .and_then(|()| sync_directory(directory));
        if let Err(error) = finished {
            std::fs::remove_file(&unfinished).ok();
            return Err(error);
        }
        Ok(segment)
    }

    fn write_opening(&mut self, at_ms: i64, instance: &str, anchors: &[Anchor]) -> io::Result<()> {
        let (mut chain, mut lines) = (Chain::default(), Vec::new());
        let mut parts = anchors.chunks(ANCHORS_AT_ONCE);
        let opened = Own::Opened {
            segment: self.name,
            instance: instance.to_owned().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            anchors: parts.next().unwrap_or_default().to_vec(),
        };
        chain.seal(&mut lines, at_ms, &opened)?;
        for part in parts {
            chain.seal(&mut lines, at_ms, &Own::Anchored { anchors: part.to_vec() })?;
        }
        self.append(&lines, chain).map_err(|error| error.source)?;
        self.sync()
    }

    /// Appends lines, after which the chain stands at `chain`. All of them, or none.
    ///
    /// # Errors
    /// None of them are there, as far as the file could be cut again.
    pub fn append(&mut self, lines: &[u8], chain: Chain) -> Result<(), AppendError> {
        if let Err(source) = self.file.append(lines) {
            let spoilt = self.file.truncate(self.length).is_err();
            return Err(AppendError { source, spoilt });
        }
        self.length += lines.len() as u64;
        self.chain = chain;
        Ok(())
    }

    /// Returns once every line is on disk.
    ///
    /// # Errors
    /// Nobody knows what is. A second attempt would succeed without the lines being there, so the
    /// segment must be given up.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.synced = self.chain;
        Ok(())
    }

    /// What has happened to the file that we have not done to it.
    pub fn disturbance(&self) -> Option<&'static str> {
        match self.file.length() {
            Ok(Some(length)) if length == self.length => None,
            Ok(Some(length)) if length < self.length => Some("was cut by somebody else"),
            Ok(Some(_)) => Some("was written by somebody else"),
            Ok(None) => Some("was removed"),
            Err(_) => Some("can't be looked at"),
        }
    }

    /// What the next segment says of this one: that it stands at `chain`, and whether for ever.
    pub fn anchor(&self, chain: Chain, ended: bool) -> Anchor {
        Anchor { segment: self.name, seq: chain.seq, hash: chain.last, ended }
    }
}

impl Storage for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<Option<u64>> {
        let metadata = self.metadata()?;
        Ok((metadata.nlink() > 0).then_some(metadata.len()))
    }
}

/// Returns once the names in `directory` are on disk.
///
/// # Errors
/// It can't be opened, or the disk fails.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl SegmentName {
    fn new(at_ms: i64) -> Self {
        let at_ms = u64::try_from(at_ms).unwrap_or_default();
        let nanos = u32::try_from(at_ms % 1000).unwrap_or_default() * 1_000_000;
        Self(Uuid::new_v7(Timestamp::from_unix(NoContext, at_ms / 1000, nanos)))
    }

    /// The file of that name.
    pub fn within(&self, directory: &Path) -> PathBuf {
        directory.join(self.to_string())
    }

    /// When it was opened, in milliseconds since the epoch, as its name says.
    pub fn opened_ms(&self) -> i64 {
        let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000))
    }

    /// What `file` is to become, or was when its writer died.
    pub fn of_unfinished(file: &str) -> Option<Self> {
        file.strip_suffix(UNFINISHED)?.parse().ok()
    }
}

impl std::fmt::Display for SegmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}{SUFFIX}", self.0)
    }
}

impl FromStr for SegmentName {
    type Err = NotASegment;

    /// Only as it is written, so that one segment has one name.
    fn from_str(text: &str) -> Result<Self, NotASegment> {
        let id = text.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
        let id = id.ok_or(NotASegment)?.parse::<Uuid>().map_err(|_| NotASegment)?;
        let name = Self(id);
        let ours = id.get_version_num() == 7 && name.to_string() == text;
        if ours { Ok(name) } else { Err(NotASegment) }
    }
}

impl TryFrom<String> for SegmentName {
    type Error = NotASegment;

    fn try_from(text: String) -> Result<Self, NotASegment> {
        text.parse()
    }
}

impl From<SegmentName> for String {
    fn from(name: SegmentName) -> Self {
        name.to_string()
    }
}
