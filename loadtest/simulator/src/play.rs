//! An answer's body: events at their pace, cut into writes, broken off where a fault wants it.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::{Behaviour, Chunking, Fault, entry::Entry, mcp, server::ResetSwitch};

/// A response body.
#[expect(clippy::large_enum_variant, reason = "the fast path allocates nothing")]
pub(crate) enum Answer {
    /// All at once: the fast path.
    Whole { body: Bytes, entry: Option<Entry> },
    /// Everything else.
    Play(Box<Play>),
    /// An event stream of the MCP server's.
    Mcp(Box<mcp::Body>),
}

impl Answer {
    /// A body that no ledger line hangs on.
    pub(crate) fn plain(body: impl Into<Bytes>) -> Self {
        Self::Whole { body: body.into(), entry: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole { body, entry } => {
                if let Some(mut entry) = entry.take() {
                    entry.completed();
                }
                let body = std::mem::take(body);
                Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))))
            }
            Self::Play(play) => play.poll(cx).map(|next| next.map(|data| data.map(Frame::data))),
            Self::Mcp(body) => body.poll(cx).map(|next| next.map(|data| data.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole { body, entry: None } if body.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { body, .. } => SizeHint::with_exact(body.len() as u64),
            Self::Play(_) | Self::Mcp(_) => SizeHint::default(),
        }
    }
}

/// A stream's events in order. The events with content are alike, so they are not stored.
#[derive(Debug)]
pub(crate) struct Script {
    /// Before the content.
    pub(crate) opening: Vec<Bytes>,
    /// How many content events.
    pub(crate) content: u64,
    pub(crate) delta: Delta,
    /// After the content. The last one is what tells the client that the stream is complete.
    pub(crate) closing: Vec<Bytes>,
    /// The dialect's error event. Sent only by [`Fault::ErrorEvent`].
    pub(crate) error: Bytes,
}

/// A content event.
#[derive(Debug)]
pub(crate) enum Delta {
    /// The same bytes every time, or the same few in turn (one a choice).
    Cycle(Vec<Bytes>),
    /// A sequence number between two fixed parts.
    Numbered { before: String, first: u64, after: String },
    /// Each its own, and some of them no token.
    Steps(Vec<Step>),
}

/// One of [`Delta::Steps`].
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) event: Bytes,
    /// A token is generated with it.
    pub(crate) token: bool,
}

impl Script {
    /// All events of a faultless stream.
    pub(crate) fn events(&self) -> u64 {
        self.opening.len() as u64 + self.content + self.closing.len() as u64
    }

    /// All events at once.
    pub(crate) fn joined(&self) -> Bytes {
        let mut whole = BytesMut::new();
        for index in 0..self.events() {
            whole.extend_from_slice(&self.event(index));
        }
        whole.freeze()
    }

    /// Whether a token is generated with this event.
    fn is_token(&self, index: u64) -> bool {
        let Some(index) = index.checked_sub(self.opening.len() as u64) else { return false };
        match &self.delta {
            Delta::Steps(steps) => steps.get(index as usize).is_some_and(|step| step.token),
            Delta::Cycle(_) | Delta::Numbered { .. } => index < self.content,
        }
    }

    fn event(&self, index: u64) -> Bytes {
        let opening = self.opening.len() as u64;
        if index < opening {
            return self.opening[index as usize].clone();
        }
        let index = index - opening;
        if index >= self.content {
            return self.closing[(index - self.content) as usize].clone();
        }
        match &self.delta {
            Delta::Cycle(events) => events[(index % events.len() as u64) as usize].clone(),
            Delta::Numbered { before, first, after } => {
                Bytes::from(format!("{before}{}{after}", first + index))
            }
            Delta::Steps(steps) => steps[index as usize].event.clone(),
        }
    }
}

/// What happens next to a body.
#[derive(Debug)]
pub(crate) enum Op {
    Write(Bytes),
    /// A content token is generated; its event follows.
    Token,
    Sleep(Duration),
    /// Silence until the client leaves.
    Stall,
    /// The connection is closed, or the stream reset, within the body.
    Close,
    /// The same with a TCP reset.
    Reset,
    /// A clean end that is nevertheless a failure.
    EndFailed,
    End,
}

/// The performance of a [`Script`], or of a fixed list of steps.
#[derive(Debug)]
pub(crate) struct Play {
    script: Option<Script>,
    behaviour: Behaviour,
    next: u64,
    /// The first token is on its way.
    begun: bool,
    fault_at: Option<u64>,
    /// Events are frames of Amazon's, not server-sent events.
    frames: bool,
    ops: VecDeque<Op>,
    /// What is due but not yet written.
    due: Bytes,
    joined: BytesMut,
    sleep: Option<Pin<Box<Sleep>>>,
    sleeping: bool,
    /// The transport must write out what it has before the next step.
    flush: bool,
    /// It had its chance to, before a break.
    flushed: bool,
    stalled: bool,
    entry: Entry,
    reset: ResetSwitch,
}

/// Coalesced chunks are cut at this size.
const MAX_JOINED: usize = 64 << 10;

impl Play {
    /// A stream.
    pub(crate) fn stream(
        script: Script,
        frames: bool,
        behaviour: Behaviour,
        entry: Entry,
        reset: ResetSwitch,
    ) -> Self {
        let last = script.events() - 1;
        let fault_at = match behaviour.fault {
            Some(
                Fault::Stall { after_events }
                | Fault::Truncate { after_events }
                | Fault::TruncateMidEvent { after_events }
                | Fault::Reset { after_events }
                | Fault::MalformedSse { after_events }
                | Fault::CorruptFrame { after_events }
                | Fault::ErrorEvent { after_events },
            ) => Some(u64::from(after_events).min(last)),
            _ => None,
        };
        Self {
            fault_at,
            frames,
            ..Self::steps(Some(script), VecDeque::new(), behaviour, entry, reset)
        }
    }

    /// Given steps. The last one must end the body.
    pub(crate) fn fixed(
        ops: impl Into<VecDeque<Op>>,
        behaviour: Behaviour,
        entry: Entry,
        reset: ResetSwitch,
    ) -> Self {
        Self::steps(None, ops.into(), behaviour, entry, reset)
    }

    fn steps(
        script: Option<Script>,
        ops: VecDeque<Op>,
        behaviour: Behaviour,
        entry: Entry,
        reset: ResetSwitch,
    ) -> Self {
        Self {
            script,
            behaviour,
            next: 0,
            begun: false,
            fault_at: None,
            frames: false,
            ops,
            due: Bytes::new(),
            joined: BytesMut::new(),
            sleep: None,
            sleeping: false,
            flush: false,
            flushed: false,
            stalled: false,
            entry,
            reset,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if self.stalled {
                return Poll::Pending;
            }
            if std::mem::take(&mut self.flush) {
                // Hyper writes out its buffer when a body has nothing for it.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let (true, Some(sleep)) = (self.sleeping, &mut self.sleep) {
                ready!(sleep.as_mut().poll(cx));
                self.sleeping = false;
            }
            if !self.due.is_empty() {
                let data = self.take_due();
                self.settle_last_bytes();
                return Poll::Ready(Some(Ok(data)));
            }
            match self.next_op() {
                Op::Write(bytes) => self.due = bytes,
                Op::Token => self.entry.generated_one(),
                Op::Sleep(delay) => self.start_sleep(delay),
                Op::Stall => {
                    self.stalled = true;
                    self.entry.stalled();
                }
                broken @ (Op::Close | Op::Reset) if !self.flushed => {
                    // What was written before must leave before the connection does.
                    self.flushed = true;
                    self.flush = true;
                    self.ops.push_front(broken);
                }
                Op::Close => return Poll::Ready(Some(Err(self.broken()))),
                Op::Reset => {
                    self.reset.set();
                    return Poll::Ready(Some(Err(self.broken())));
                }
                Op::EndFailed => {
                    self.entry.failed();
                    return Poll::Ready(None);
                }
                Op::End => {
                    self.entry.completed();
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// A body with a length is dropped as soon as its last byte is taken, without another poll.
    fn settle_last_bytes(&mut self) {
        if self.script.is_none() && self.due.is_empty() {
            match self.ops.front() {
                Some(Op::End) => self.entry.completed(),
                Some(Op::EndFailed) => self.entry.failed(),
                _ => {}
            }
        }
    }

    fn broken(&mut self) -> io::Error {
        self.entry.failed();
        io::Error::other("broken off by a fault")
    }

    fn take_due(&mut self) -> Bytes {
        match self.behaviour.chunking {
            Chunking::Bytes(size) => {
                self.flush = true;
                let size = (size.max(1) as usize).min(self.due.len());
                self.due.split_to(size)
            }
            Chunking::AsEvents | Chunking::Coalesce => std::mem::take(&mut self.due),
        }
    }

    fn start_sleep(&mut self, delay: Duration) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + delay),
            None => self.sleep = Some(Box::pin(tokio::time::sleep(delay))),
        }
        self.sleeping = true;
    }

    /// The next step; with [`Chunking::Coalesce`], writes that are due together are one.
    fn next_op(&mut self) -> Op {
        if self.behaviour.chunking != Chunking::Coalesce {
            return self.next_single_op();
        }
        loop {
            match self.next_single_op() {
                Op::Write(bytes) => {
                    self.joined.extend_from_slice(&bytes);
                    if self.joined.len() >= MAX_JOINED {
                        return Op::Write(self.joined.split().freeze());
                    }
                }
                Op::Token => self.entry.generated_one(),
                other if self.joined.is_empty() => return other,
                other => {
                    self.ops.push_front(other);
                    return Op::Write(self.joined.split().freeze());
                }
            }
        }
    }

    fn next_single_op(&mut self) -> Op {
        loop {
            if let Some(op) = self.ops.pop_front() {
                return op;
            }
            self.plan_event();
        }
    }

    /// Queues the steps of the next event.
    fn plan_event(&mut self) {
        let Some(script) = &self.script else {
            return self.ops.push_back(Op::End);
        };
        if self.next == script.events() {
            let end = if self.fault_at.is_some() { Op::EndFailed } else { Op::End };
            return self.ops.push_back(end);
        }
        if self.fault_at == Some(self.next) && self.plan_fault() {
            return;
        }
        let Some(script) = &self.script else { return };
        let is_token = script.is_token(self.next);
        if is_token {
            let delay = if self.begun {
                self.behaviour.token_delay
            } else {
                self.behaviour.first_token_delay
            };
            self.begun = true;
            if !delay.is_zero() {
                self.ops.push_back(Op::Sleep(delay));
            }
        }
        if self.behaviour.comments && !self.frames {
            self.ops.push_back(Op::Write(self.comment()));
        }
        if is_token {
            // After its wait: a client that leaves during it has not caused the token.
            self.ops.push_back(Op::Token);
        }
        self.ops.push_back(Op::Write(script.event(self.next)));
        self.next += 1;
    }

    /// Queues the fault. Returns whether it ends the stream.
    fn plan_fault(&mut self) -> bool {
        let Some(script) = &self.script else {
            return false;
        };
        let eol = self.behaviour.line_ending.as_str();
        match self.behaviour.fault {
            Some(Fault::Stall { .. }) => self.ops.push_back(Op::Stall),
            Some(Fault::Truncate { .. }) => self.ops.push_back(Op::EndFailed),
            Some(Fault::TruncateMidEvent { .. }) => {
                let event = script.event(self.next);
                self.ops.push_back(Op::Write(event.slice(..event.len() / 2)));
                self.ops.push_back(Op::EndFailed);
            }
            Some(Fault::Reset { .. }) => self.ops.push_back(Op::Reset),
            Some(Fault::ErrorEvent { .. }) => {
                self.ops.push_back(Op::Write(script.error.clone()));
                self.ops.push_back(Op::EndFailed);
            }
            Some(Fault::CorruptFrame { .. }) if self.frames => {
                let mut event = BytesMut::from(script.event(self.next));
                if let Some(last) = event.last_mut() {
                    *last ^= 1;
                }
                self.ops.push_back(Op::Write(event.freeze()));
                self.ops.push_back(Op::EndFailed);
            }
            Some(Fault::MalformedSse { .. }) if self.frames => {
                self.ops.push_back(Op::Write(crate::replies::bedrock::malformed()));
                return false;
            }
            Some(Fault::MalformedSse { .. } | Fault::CorruptFrame { .. }) => {
                let event = format!("data: {{\"id\": oops{eol}{eol}");
                self.ops.push_back(Op::Write(Bytes::from(event)));
                return false;
            }
            _ => return false,
        }
        true
    }

    fn comment(&self) -> Bytes {
        Bytes::from_static(match self.behaviour.line_ending {
            crate::LineEnding::Lf => b": keep-alive\n\n",
            crate::LineEnding::CrLf => b": keep-alive\r\n\r\n",
        })
    }
}
