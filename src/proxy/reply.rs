//! The answer on its way through: watched, never held up.

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
    /// The provider has ended it, well or not.
    ended: bool,
}

/// Bytes of text for each token, about: of English four or a little more, of most else fewer.
const BYTES_A_TOKEN: u64 = 4;

/// What was seen of a stream of which the provider has not told all that it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Events with content, each of a token at least.
    pub events: u64,
    /// Bytes of that content.
    pub bytes: u64,
    /// No more content comes: the provider has ended it, well or not.
    pub ended: bool,
    /// The provider has counted all of its output.
    pub counted: bool,
}

impl Seen {
    /// Output tokens, as an estimate. The provider has told `told`, no answer may have more than `most`, and
    /// `held` were held for it. A model that reasons unseen sends nothing for as long as it does, so that who
    /// leaves before the first content may leave behind all that was held.
    pub fn output(&self, told: u64, most: u64, held: u64) -> u64 {
        let least = told.max(self.events);
        if self.counted {
            least
        } else if self.events == 0 && !self.ended {
            least.max(held)
        } else {
            least.max(self.bytes.div_ceil(BYTES_A_TOKEN).min(most))
        }
    }
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
        Self { observer, closed: false, ended: false }
    }

    /// Takes a piece from the provider; `end` with the last.
    pub fn step(&mut self, chunk: Option<Bytes>, end: bool) -> Step {
        if self.closed {
            return Step::Forward(None);
        }
        let forward = chunk.and_then(|chunk| self.observer.push(chunk));
        let goes_on = matches!(self.observer.state(), Progress::Open | Progress::Terminal);
        self.ended = end || !goes_on;
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

    /// What was seen of it.
    fn seen(&self) -> Seen {
        let finished = self.is_whole() || self.observer.finish_reason().is_some();
        let (events, bytes) = self.observer.content();
        Seen {
            events,
            bytes,
            ended: self.ended || finished,
            counted: finished && self.observer.usage().is_some_and(|usage| usage.output > 0),
        }
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

    /// The provider has ended it with its head, so that no piece of it says so.
    pub fn end(&mut self) {
        match self {
            Self::Stream(stream) => stream.ended = true,
            Self::Translated(translated) => translated.end(),
            Self::Document(_) | Self::Awaited | Self::Opaque => {}
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

    /// The tokens known so far: what the provider has told, and what was surely seen of its answer.
    pub fn so_far(&self) -> Option<Usage> {
        match self {
            Self::Stream(stream) => stream.observer.so_far(),
            Self::Translated(translated) => translated.so_far(),
            Self::Document(_) | Self::Awaited | Self::Opaque => self.usage(),
        }
    }

    /// What was seen of a stream. `None`: it is none.
    pub fn seen(&self) -> Option<Seen> {
        match self {
            Self::Stream(stream) => Some(stream.seen()),
            Self::Translated(translated) => translated.seen(),
            Self::Document(_) | Self::Awaited | Self::Opaque => None,
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
}

fn join(first: Option<Bytes>, second: Option<Bytes>) -> Option<Bytes> {
    match (first, second) {
        (Some(first), Some(second)) => Some([first, second].concat().into()),
        (first, second) => first.or(second),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// An estimate is never less than what is surely known, never more than an answer may have unless
        /// that is known, and never less for having seen more.
        #[test]
        fn an_estimate_is_between_what_is_known_and_what_may_be(
            (told, events, bytes) in (0_u64..1_000, 0_u64..1_000, 0_u64..100_000),
            (most, held, more) in (0_u64..2_000, 0_u64..2_000, 0_u64..100),
            (ended, counted) in any::<(bool, bool)>(),
        ) {
            let seen = Seen { events, bytes, ended, counted };
            let output = seen.output(told, most, held);
            prop_assert!(output >= told.max(events));
            prop_assert!(output <= told.max(events).max(most).max(held));
            if counted {
                prop_assert_eq!(output, told.max(events));
            }
            if !counted && events > 0 {
                prop_assert!(output.saturating_mul(BYTES_A_TOKEN) >= bytes || output >= most);
                let later = Seen { events: events + more, bytes: bytes + more, ..seen };
                prop_assert!(later.output(told, most, held) >= output);
            }
        }
    }

    #[test]
    fn who_leaves_before_the_first_content_may_leave_behind_all_that_was_held() {
        let head = Seen::default();
        assert_eq!(head.output(0, 500, 400), 400);
        assert_eq!(head.output(1, 500, 400), 400, "the first count of a provider is no last one");
        assert_eq!(Seen { ended: true, ..head }.output(0, 500, 400), 0, "it has ended");
        let one = Seen { events: 1, bytes: 41, ..head };
        assert_eq!((one.output(0, 500, 400), one.output(0, 5, 4)), (11, 5));
        assert_eq!(Seen { counted: true, ..one }.output(7, 500, 400), 7);
    }
}
