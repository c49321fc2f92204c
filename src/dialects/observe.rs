//! Watches the event stream of an answer on its way to the caller.
//!
//! Bytes pass unaltered. What is held back is the event that is still arriving, so that a broken
//! upstream can be followed by a clean error event, and what is taken out is the usage chunk that
//! the caller did not ask for. A chunk of whole events passes without a copy or an allocation.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use sluicegate_chat::split::{Splitter, Step};
use sluicegate_filters::price::ServiceTier;

use super::{
    Endpoint,
    error::{ErrorReply, numbered_error_event},
    inspect::{Facts, Verdict},
    oversized::{Oversized, Reached},
};
use crate::chat::{FinishReason, Usage};

/// The longest event that is held back, in bytes. A longer one passes as it comes.
pub const MAX_HELD: usize = 64 * 1024;

/// Where a stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More events have to come.
    Open,
    /// The dialect's last event was seen. Bytes behind it pass.
    Terminal,
    /// The provider's error event was seen. It was forwarded, and nothing behind it is.
    Errored,
    /// Something was seen that is not of the dialect. From there on nothing is forwarded.
    Malformed,
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamEnd {
    /// With the dialect's last event.
    Complete,
    /// Without it: the caller needs an error event.
    Truncated,
    /// With the provider's own error event, which the caller has.
    UpstreamError,
    /// With something that is not of the dialect: the caller needs an error event.
    Malformed,
}

/// What is left when the upstream's body ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Finish {
    /// Bytes still to forward: a last event whose blank line is missing.
    pub rest: Option<Bytes>,
    /// How the stream ended.
    pub end: StreamEnd,
}

/// Writes members that a caller is to find in the usage, such as `"cost_usd":"0.1"`, for a usage that the
/// provider has told.
pub type Annotate = Box<dyn Fn(&Usage, ServiceTier) -> String + Send + Sync>;

/// Watches one stream.
///
/// What it forwards and finds depends on the stream's bytes alone, not on how they are cut.
pub struct StreamObserver {
    facts: Facts,
    remove_usage_chunk: bool,
    annotate: Option<Annotate>,
    max_held: usize,
    state: Progress,
    events: u64,
    splitter: Splitter,
    /// The bytes of the event that is still arriving, at most `max_held`.
    held: BytesMut,
    /// An event that was too long to be held, while it passes.
    oversized: Option<Box<Oversized>>,
    mid_event: bool,
    /// Whether the last step was forwarded: the LF of its CR LF shares its fate.
    last_forwarded: bool,
}

impl StreamObserver {
    /// An observer for an answer of `endpoint`.
    ///
    /// `remove_usage_chunk`: take out the chunk with `"choices":[]` and usage, because we asked
    /// for it and the caller did not.
    pub fn new(endpoint: Endpoint, remove_usage_chunk: bool) -> Self {
        Self::with_limit(endpoint, remove_usage_chunk, MAX_HELD)
    }

    pub(super) fn with_limit(
        endpoint: Endpoint,
        remove_usage_chunk: bool,
        max_held: usize,
    ) -> Self {
        Self {
            max_held,
            facts: Facts::new(endpoint),
            remove_usage_chunk,
            annotate: None,
            state: Progress::Open,
            events: 0,
            splitter: Splitter::new(max_held),
            held: BytesMut::new(),
            oversized: None,
            mid_event: false,
            last_forwarded: true,
        }
    }

    /// Has members added to each usage that passes, before its closing brace. An event that is too long to
    /// be held, or whose data is in several lines, stays as it is.
    #[must_use]
    pub fn with_annotation(mut self, annotate: Annotate) -> Self {
        self.annotate = Some(annotate);
        self
    }

    /// The same, without the short way for events that are like earlier ones.
    #[cfg(test)]
    pub(super) fn that_never_learns(mut self) -> Self {
        self.facts.never_learn();
        self
    }

    /// Whether `event` would go the short way.
    #[cfg(test)]
    pub(super) fn recognises(&mut self, event: &[u8]) -> bool {
        self.facts.take_alike(event).is_some()
    }

    /// Takes the next bytes from upstream; gives what to forward now, never empty.
    pub fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        if chunk.is_empty() {
            return None;
        }
        if self.state == Progress::Terminal {
            return Some(chunk);
        }
        if self.held.is_empty() {
            let (pieces, used) = self.process(&chunk);
            // The tail is copied, so that a few bytes do not keep a whole read buffer alive.
            self.held.extend_from_slice(&chunk[used..]);
            return pieces.take_from(chunk);
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(&chunk);
        let (pieces, used) = self.process(&held);
        let done = held.split_to(used);
        if !held.is_empty() {
            self.held = held;
        }
        pieces.take_from(done.freeze())
    }

    /// The upstream's body ended, or broke. Call it once.
    ///
    /// What is held of an unfinished event is dropped, unless it is the dialect's last event and
    /// lacks nothing but its blank line.
    pub fn finish(&mut self) -> Finish {
        let held = std::mem::take(&mut self.held);
        if self.state == Progress::Open && self.ends_with_terminal(&held) {
            self.state = Progress::Terminal;
            let mut pieces = Pieces::default();
            pieces.add(0..held.len());
            self.annotate(&held, 0, &mut pieces);
            return Finish { rest: pieces.take_from(held.freeze()), end: StreamEnd::Complete };
        }
        let end = match self.state {
            Progress::Open => StreamEnd::Truncated,
            Progress::Terminal => StreamEnd::Complete,
            Progress::Errored => StreamEnd::UpstreamError,
            Progress::Malformed => StreamEnd::Malformed,
        };
        Finish { rest: None, end }
    }

    /// The usage that the provider told so far.
    pub fn usage(&self) -> Option<Usage> {
        self.facts.usage
    }

    /// The tokens known so far: what the provider has told, and at least one for each event with content.
    pub fn so_far(&self) -> Option<Usage> {
        let told = self.facts.usage;
        if told.is_none() && self.facts.content_events == 0 {
            return None;
        }
        let told = told.unwrap_or_default();
        Some(Usage { output: told.output.max(self.facts.content_events), ..told })
    }

    /// Input and output tokens of [`so_far`](Self::so_far).
    #[inline]
    pub fn counts(&self) -> (u64, u64) {
        let (input, output) =
            self.facts.usage.as_ref().map_or((0, 0), |usage| (usage.total_input(), usage.output));
        (input, output.max(self.facts.content_events))
    }

    /// Events with content so far, and the bytes of that content.
    pub fn content(&self) -> (u64, u64) {
        (self.facts.content_events, self.facts.content_bytes)
    }

    /// How fast the provider says that it serves.
    pub fn tier(&self) -> Option<ServiceTier> {
        self.facts.tier
    }

    /// The model that the provider says it is.
    pub fn model(&self) -> Option<&str> {
        self.facts.model.as_deref()
    }

    /// Events with data so far, removed ones included.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether generated content was seen, rather than only roles and headings.
    pub fn first_content_seen(&self) -> bool {
        self.facts.content_seen
    }

    /// Why the model stopped; of several choices, the last one told.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.facts.finish_reason
    }

    /// Where the stream stands.
    pub fn state(&self) -> Progress {
        self.state
    }

    /// Whether part of an unfinished event was forwarded: an error event then needs a blank line
    /// before it.
    pub fn mid_event(&self) -> bool {
        self.mid_event
    }

    /// The error event that ends this stream here. See [`error_event`](super::error::error_event).
    pub fn error_event(&self, reply: &ErrorReply<'_>) -> Bytes {
        // The responses endpoint numbers its events from zero.
        numbered_error_event(self.facts.endpoint(), reply, self.mid_event, self.events)
    }

    /// Goes through `buffer`; gives what of it to forward, and how much of it is done with.
    fn process(&mut self, buffer: &[u8]) -> (Pieces, usize) {
        let mut out = Pieces::default();
        let mut at = 0;
        while at < buffer.len() {
            match self.state {
                Progress::Open => {}
                Progress::Terminal => {
                    out.add(at..buffer.len());
                    at = buffer.len();
                    break;
                }
                Progress::Errored | Progress::Malformed => {
                    let line_feed = self.splitter.take_after_cr() && buffer[at] == b'\n';
                    if line_feed && self.last_forwarded {
                        out.add(at..at + 1);
                    }
                    at = buffer.len();
                    break;
                }
            }
            let rest = &buffer[at..];
            if self.splitter.is_between_events()
                && self.oversized.is_none()
                && let Some(end) = self.facts.take_alike(&rest[..rest.len().min(self.max_held)])
            {
                self.events += 1;
                self.last_forwarded = true;
                out.add(at..at + end);
                at += end;
                continue;
            }
            let mut is_event = false;
            let taken = if self.oversized.is_some() {
                self.pass(rest)
            } else {
                match self.splitter.next(rest) {
                    Step::Incomplete => break,
                    Step::Blank { end } => Taken::forward(end),
                    Step::LineFeed if self.last_forwarded => Taken::forward(1),
                    Step::LineFeed => Taken::remove(1),
                    Step::Event(event) => {
                        let verdict = event.data(rest).map_or(Verdict::Pass, |data| {
                            self.events += 1;
                            is_event = true;
                            self.facts.take(event.name(rest), &data)
                        });
                        if is_event {
                            self.facts.remember(&rest[..event.end]);
                        }
                        self.judge(verdict, event.end)
                    }
                    Step::UnknownField => self.judge(Verdict::Malformed, rest.len()),
                    Step::TooLong => self.release(rest),
                }
            };
            out.add(at..at + taken.forward);
            if is_event && taken.forward > 0 {
                self.annotate(rest, at, &mut out);
            }
            self.last_forwarded = taken.forward > 0;
            at += taken.used;
        }
        (out, at)
    }

    /// Adds to the usage in the event taken last, which is in `rest`, `at` behind the buffer's start.
    fn annotate(&self, rest: &[u8], at: usize, out: &mut Pieces) {
        let Some(annotate) = &self.annotate else { return };
        let (Some(usage), Some(end)) = (&self.facts.usage, self.facts.usage_end(rest)) else {
            return;
        };
        let mut members = annotate(usage, self.facts.tier.unwrap_or(ServiceTier::Standard));
        if members.is_empty() {
            return;
        }
        // Only an empty object takes no comma.
        if rest[..end].trim_ascii_end().last() != Some(&b'{') {
            members.insert(0, ',');
        }
        out.added.push((at + end, members));
    }

    fn judge(&mut self, verdict: Verdict, end: usize) -> Taken {
        match verdict {
            Verdict::Pass => {}
            Verdict::UsageChunk if self.remove_usage_chunk => return Taken::remove(end),
            Verdict::UsageChunk => {}
            Verdict::Terminal => self.state = Progress::Terminal,
            Verdict::Error => self.state = Progress::Errored,
            Verdict::Malformed => {
                self.state = Progress::Malformed;
                return Taken::remove(end);
            }
        }
        Taken::forward(end)
    }

    /// Lets go of an event that is too long to be held.
    fn release(&mut self, buffer: &[u8]) -> Taken {
        let given_up = self.splitter.give_up(buffer);
        let mut oversized = Box::new(Oversized::new(&given_up));
        // As much as would have been held, had the bytes come one by one.
        let held = given_up.line_start.max(self.max_held).min(buffer.len());
        let line = buffer.get(given_up.line_start..held).unwrap_or_default();
        if let Reached::UnknownField { .. } = oversized.push(line) {
            return self.judge(Verdict::Malformed, buffer.len());
        }
        self.oversized = Some(oversized);
        self.mid_event = true;
        Taken::forward(held)
    }

    /// Goes on with an event that was too long to be held.
    fn pass(&mut self, buffer: &[u8]) -> Taken {
        let Some(oversized) = &mut self.oversized else {
            return Taken::forward(0);
        };
        let used = match oversized.push(buffer) {
            Reached::End => return Taken::forward(buffer.len()),
            Reached::UnknownField { used } => {
                self.state = Progress::Malformed;
                return Taken { forward: used, used: buffer.len() };
            }
            Reached::Blank { used } => used,
        };
        let verdict = match oversized.found() {
            _ if !oversized.has_data() => Verdict::Pass,
            Some(found) => self.facts.take_found(oversized.name(), found),
            None => Verdict::Malformed,
        };
        self.events += u64::from(oversized.has_data());
        if verdict == Verdict::Malformed {
            // Without its blank line, the event does not count for the caller's parser.
            self.state = Progress::Malformed;
            return Taken { forward: used - 1, used: buffer.len() };
        }
        self.oversized = None;
        self.mid_event = false;
        self.splitter.set_after_cr(buffer[used - 1] == b'\r');
        self.judge(verdict, used)
    }

    fn ends_with_terminal(&mut self, held: &[u8]) -> bool {
        let Some(event) = self.splitter.finish(held) else {
            return false;
        };
        let terminal = event
            .data(held)
            .is_some_and(|data| self.facts.take(event.name(held), &data) == Verdict::Terminal);
        self.events += u64::from(terminal);
        terminal
    }
}

/// How much of a buffer is done with, and how much of that, from its start, is forwarded.
struct Taken {
    forward: usize,
    used: usize,
}

impl Taken {
    fn forward(used: usize) -> Self {
        Self { forward: used, used }
    }

    fn remove(used: usize) -> Self {
        Self { forward: 0, used }
    }
}

/// The parts of a buffer that are forwarded. Nearly always there is one.
#[derive(Default)]
struct Pieces {
    /// Earlier parts. It allocates only when something was taken out in the middle.
    before: Vec<Range<usize>>,
    last: Range<usize>,
    /// What is added within them, and before which byte. Ascending.
    added: Vec<(usize, String)>,
}

impl Pieces {
    fn add(&mut self, piece: Range<usize>) {
        if piece.is_empty() {
        } else if self.last.is_empty() {
            self.last = piece;
        } else if self.last.end == piece.start {
            self.last.end = piece.end;
        } else {
            self.before.push(std::mem::replace(&mut self.last, piece));
        }
    }

    fn take_from(self, buffer: Bytes) -> Option<Bytes> {
        if !self.before.is_empty() || !self.added.is_empty() {
            let added: usize = self.added.iter().map(|(_, text)| text.len()).sum();
            let mut joined = BytesMut::with_capacity(buffer.len() + added);
            let mut added = self.added.iter().peekable();
            for Range { mut start, end } in self.before.into_iter().chain([self.last]) {
                while let Some((at, text)) = added.next_if(|(at, _)| *at < end) {
                    joined.extend_from_slice(&buffer[start..*at]);
                    joined.extend_from_slice(text.as_bytes());
                    start = *at;
                }
                joined.extend_from_slice(&buffer[start..end]);
            }
            return Some(joined.freeze());
        }
        match self.last {
            last if last.is_empty() => None,
            last if last.len() == buffer.len() => Some(buffer),
            last => Some(buffer.slice(last)),
        }
    }
}

#[cfg(test)]
mod tests;
