//! What the log says of itself.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::line::LineHash;
use super::segment::SegmentName;

/// A record of the log's own, by its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Own {
    /// The first of each segment.
    Opened {
        segment: SegmentName,
        instance: Cow<'static, str>,
        version: Cow<'static, str>,
        anchors: Vec<Anchor>,
    },
    /// More anchors than there is room for in the first.
    Anchored { anchors: Vec<Anchor> },
    /// The last of a segment that was not broken off.
    Closed { reason: Cow<'static, str> },
    /// Events that could not be recorded, since the last such record.
    Dropped { events: u64 },
    /// Segments that are deleted because they are older than the retention.
    Retired { segments: Vec<Retired> },
}

/// Where another segment stood when this one was opened. It must still have that line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Anchor {
    pub segment: SegmentName,
    /// Its last whole line then.
    pub seq: u64,
    pub hash: LineHash,
    /// Nobody was writing it any more, so that was its last line for ever.
    pub ended: bool,
}

/// A segment that is gone by rule, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Retired {
    pub segment: SegmentName,
    pub seq: u64,
    pub hash: LineHash,
    /// The time of its last line.
    pub until: String,
}

impl Own {
    /// The words of all kinds.
    const KINDS: [&'static str; 5] = ["opened", "anchored", "closed", "dropped", "retired"];

    /// Whether lines of this kind are the log's own.
    pub fn is_own(kind: &str) -> bool {
        Self::KINDS.contains(&kind)
    }

    /// Reads a line of such a kind.
    pub fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The anchors, if it is of a kind that has some.
    pub fn anchors(&self) -> &[Anchor] {
        match self {
            Self::Opened { anchors, .. } | Self::Anchored { anchors } => anchors,
            _ => &[],
        }
    }
}
