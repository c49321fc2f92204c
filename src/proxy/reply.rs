//! The answer on its way through: watched, never held up.

use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use sluicegate_filters::price::ServiceTier;

use super::translate::Translated;
use crate::chat::Usage;
use crate::dialects::body_usage::UsageScanner;
use crate::dialects::error::ErrorReply;
use crate::dialects::observe::{Finish, Progress, StreamEnd, StreamObserver};

/// How an answer's body is watched.
pub enum Reply {
    /// No header has come yet.
    Awaited,
    /// An event stream.
    Stream(Box<StreamState>),
    /// A JSON document with usage in it.
    Document(Box<UsageScanner>),
    /// An answer in another dialect than the caller's.
    Translated(Box<Translated>),
    /// Anything else, such as a provider's error: only passed on.
    Opaque,
}

/// What an answer's `content-type` says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `text/event-stream`.
    Events,
    /// `application/json`.
    Json,
    /// `application/vnd.amazon.eventstream`.
    Frames,
    /// Anything else, or nothing.
    Other,
}

impl Content {
    /// Of an answer with these headers. Parameters such as `charset` don't matter.
    pub fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let is = |kind: &[u8]| {
            value.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
        };
        if is(b"text/event-stream") {
            Self::Events
        } else if is(b"application/json") {
            Self::Json
        } else if is(b"application/vnd.amazon.eventstream") {
            Self::Frames
        } else {
            Self::Other
        }
    }
}

/// An event stream.
pub struct StreamState {
    observer: StreamObserver,
    /// The error event has been written: nothing may follow.
    closed: bool,
}

/// What became of a piece of a stream.
pub enum Step {
    /// Forward this, if anything.
    Forward(Option<Bytes>),
    /// Forward this, then write the error event and end.
    Break(Option<Bytes>, Broken),
    /// The provider's own error event is in here: forward it and end.
    Last(Option<Bytes>),
}

/// Why a stream must end with an error event of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It ended before its last event.
    Truncated,
    /// It sent what is not its dialect.
    Malformed,
}

impl StreamState {
    /// Watches with `observer`.
    pub fn new(observer: StreamObserver) -> Self {
        Self { observer, closed: false }
    }

    /// Takes a piece from the provider; `end` with the last.
    pub fn step(&mut self, chunk: Option<Bytes>, end: bool) -> Step {
        if self.closed {
            return Step::Forward(None);
        }
        let forward = chunk.and_then(|chunk| self.observer.push(chunk));
        match self.observer.state() {
            Progress::Open | Progress::Terminal if !end => Step::Forward(forward),
            Progress::Malformed => Step::Break(forward, Broken::Malformed),
            Progress::Errored => {
                self.closed = true;
                Step::Last(forward)
            }
            Progress::Open | Progress::Terminal => {
                let Finish { rest, end } = self.observer.finish();
                let forward = join(forward, rest);
                match end {
                    StreamEnd::Complete => {
                        self.closed = true;
                        Step::Forward(forward)
                    }
                    StreamEnd::UpstreamError => {
                        self.closed = true;
                        Step::Last(forward)
                    }
                    StreamEnd::Truncated => Step::Break(forward, Broken::Truncated),
                    StreamEnd::Malformed => Step::Break(forward, Broken::Malformed),
                }
            }
        }
    }

    /// Marks the stream as ended by us; `true` the first time.
    pub fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.closed, true)
    }

    /// Whether a terminal event has been forwarded: whatever breaks now, the answer was whole.
    pub fn is_whole(&self) -> bool {
        self.observer.state() == Progress::Terminal
    }

    /// The observer, for what it saw.
    pub fn observer(&self) -> &StreamObserver {
        &self.observer
    }
}

impl Reply {
    /// Whether it is an event stream.
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Stream(_) => true,
            Self::Translated(translated) => translated.is_stream(),
            Self::Awaited | Self::Document(_) | Self::Opaque => false,
        }
    }

    /// Whether it is an event stream that has more content to come.
    pub fn goes_on(&self) -> bool {
        match self {
            Self::Stream(stream) => !stream.is_whole() && stream.observer.finish_reason().is_none(),
            Self::Translated(translated) => !translated.has_finished(),
            Self::Awaited | Self::Document(_) | Self::Opaque => false,
        }
    }

    /// Ends a stream with an error of ours. `None`: it is none, or has ended already.
    pub fn close_with(&mut self, error: &ErrorReply<'_>) -> Option<Bytes> {
        match self {
            Self::Stream(stream) => stream.close().then(|| stream.observer.error_event(error)),
            Self::Translated(translated) => translated.close_with(error),
            Self::Awaited | Self::Document(_) | Self::Opaque => None,
        }
    }

    /// Whether all of the answer has been forwarded, whatever becomes of its connection.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Translated(translated) => translated.is_whole(),
            Self::Stream(stream) => stream.is_whole(),
            Self::Document(scanner) => scanner.is_complete(),
            Self::Awaited | Self::Opaque => false,
        }
    }

    /// The usage seen so far.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Stream(stream) => stream.observer.usage(),
            Self::Document(scanner) => scanner.finish(),
            Self::Translated(translated) => translated.usage(),
            Self::Awaited | Self::Opaque => None,
        }
    }

    /// The tokens known so far: what the provider has told, and what was seen of its answer. What a client
    /// that left early is charged.
    pub fn so_far(&self) -> Option<Usage> {
        match self {
            Self::Stream(stream) => stream.observer.so_far(),
            Self::Translated(translated) => translated.so_far(),
            Self::Document(_) | Self::Awaited | Self::Opaque => self.usage(),
        }
    }

    /// Input and output tokens of a stream so far.
    #[inline]
    pub fn counts(&self) -> (u64, u64) {
        match self {
            Self::Stream(stream) => stream.observer.counts(),
            Self::Translated(translated) => translated.counts(),
            Self::Document(_) | Self::Awaited | Self::Opaque => (0, 0),
        }
    }

    /// How fast the provider says that it has served.
    pub fn tier(&self) -> Option<ServiceTier> {
        match self {
            Self::Stream(stream) => stream.observer.tier(),
            Self::Document(scanner) => scanner.tier(),
            Self::Translated(translated) => translated.tier(),
            Self::Awaited | Self::Opaque => None,
        }
    }

    /// Whether content has been seen, of a stream; of anything else, whether it has begun.
    pub fn has_content(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.observer.first_content_seen(),
            Self::Translated(translated) => translated.has_content(),
            Self::Document(_) | Self::Opaque => true,
            Self::Awaited => false,
        }
    }

    /// Notes the time of the first content, where it has just been seen.
    pub fn note_first_content(&self, at: &mut Option<Instant>, now: Instant) {
        if at.is_none() && self.has_content() {
            *at = Some(now);
        }
    }
}

fn join(first: Option<Bytes>, second: Option<Bytes>) -> Option<Bytes> {
    match (first, second) {
        (Some(first), Some(second)) => Some([first, second].concat().into()),
        (first, second) => first.or(second),
    }
}
