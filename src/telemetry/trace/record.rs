//! What is remembered of one traced request, until its spans are made of it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderValue;
use opentelemetry::{SpanId, TraceId};
use sluicegate_filters::Caller;
use sluicegate_filters::authorize::Decision;

use crate::chat::Usage;

/// A step of the gateway's own, in the order of a request's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The head is judged.
    Screen,
    /// The caller is found.
    Identify,
    /// The body is read.
    Body,
    /// The policies are asked.
    Authorize,
    /// What the request may use is held.
    Admit,
}

impl Phase {
    /// The span's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Identify => "identify",
            Self::Body => "read body",
            Self::Authorize => "authorize",
            Self::Admit => "admit",
        }
    }
}

/// A phase that is over.
pub(super) struct Lap {
    pub(super) phase: Phase,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) refused: bool,
}

/// One call to a provider that is over.
pub struct Attempt {
    /// When its target was chosen.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
    /// When its first content came.
    pub first_content: Option<Instant>,
    /// Whether its connection came from the pool; `None` without a connection.
    pub reused: Option<bool>,
    /// What is asked for, as the GenAI conventions call it.
    pub operation: &'static str,
    /// The name in the configuration of the provider, or of the MCP server.
    pub provider: String,
    /// The name there of the model, or of the tool.
    pub model: String,
    /// Whether the answer is an event stream.
    pub stream: bool,
    /// The provider's status.
    pub status: Option<u16>,
    /// The model that answered, as the provider says.
    pub answered_by: Option<String>,
    /// Tokens as the provider has told them.
    pub usage: Option<Usage>,
    /// Why the model stopped.
    pub finish: Option<&'static str>,
    /// What went wrong.
    pub error: Option<Cow<'static, str>>,
}

/// The request as a whole, once it is over.
pub struct Summary {
    /// When it was over.
    pub ended: Instant,
    /// The HTTP method, where it is one that has a name.
    pub method: &'static str,
    /// A short name of the route.
    pub route: &'static str,
    /// The request's id.
    pub id: HeaderValue,
    /// The status sent; 0 where none was.
    pub status: u16,
    /// How it ended.
    pub end: &'static str,
    /// Whether it is the gateway's or a provider's fault that it did not end well.
    pub failed: bool,
    /// The refusal's stable word.
    pub code: Option<&'static str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Who asked.
    pub caller: Option<Arc<Caller>>,
    /// What the policies said.
    pub decision: Option<Arc<Decision>>,
    /// The configuration generation that decided.
    pub generation: u64,
    /// The model asked for.
    pub model: Option<String>,
    /// What all attempts cost, in nano-USD.
    pub nano_usd: Option<u64>,
}

/// A traced request.
pub struct Record {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// The caller's span.
    pub(super) parent: Option<SpanId>,
    /// What other systems have added to the trace.
    pub(super) state: Option<HeaderValue>,
    pub(super) began: SystemTime,
    pub(super) started: Instant,
    /// Where the present phase began.
    at: Instant,
    pub(super) laps: Vec<Lap>,
    /// The present attempt's span.
    pub(super) attempt: SpanId,
    pub(super) attempts: Vec<(SpanId, Attempt)>,
}

/// A traced request that is over.
pub struct Finished {
    pub(super) record: Box<Record>,
    pub(super) summary: Summary,
}

impl Record {
    /// Of a request that began at `started`, which is now.
    pub(super) fn new(
        trace_id: TraceId,
        span_id: SpanId,
        parent: Option<SpanId>,
        state: Option<HeaderValue>,
        started: Instant,
    ) -> Self {
        // The clock on the wall may jump while the request goes on: it is read once.
        let began = SystemTime::now() - started.elapsed();
        Self {
            trace_id,
            span_id,
            parent,
            state,
            began,
            started,
            at: started,
            laps: Vec::with_capacity(5),
            attempt: SpanId::INVALID,
            attempts: Vec::new(),
        }
    }

    /// Ends a phase, which began where the one before ended.
    pub(super) fn lap(&mut self, phase: Phase, refused: bool) {
        let now = Instant::now();
        self.laps.push(Lap { phase, began: self.at, ended: now, refused });
        self.at = now;
    }

    /// Lets the time since the last phase be nobody's.
    pub(super) fn skip(&mut self) {
        self.at = Instant::now();
    }

    /// The clock's time at `instant`.
    pub(super) fn time(&self, instant: Instant) -> SystemTime {
        self.began + instant.saturating_duration_since(self.started)
    }
}
