//! Traces of requests, for a collector of OpenTelemetry.
//!
//! ```text
//! a request's head   context: the caller's trace       sample: is it traced?
//! its phases         record: what happened when        (only of traced requests)
//! its end            export: the queue's one end ... its other, a thread: spans, OTLP
//! ```
//!
//! Without a collector there is nothing but an empty option; a request that is not traced costs the look
//! at its headers and a draw of chance.

mod client;
pub mod context;
mod export;
mod grpc;
mod record;
mod sample;
mod spans;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use pingora_http::RequestHeader;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::context::{Parent, TRACEPARENT, TRACESTATE, traceparent, tracestate};
use self::export::{Counts, Exporter};
pub use self::record::{Attempt, Phase, Summary};
use self::record::{Finished, Record};
use self::sample::Sampler;
pub use self::spans::EXECUTE_TOOL;
use crate::config::valid::{TraceParent, Traces};

/// Makes traces, where they are configured. Cheap to share.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

struct Shared {
    queue: mpsc::Sender<Box<Finished>>,
    sampler: Sampler,
    counts: Arc<Counts>,
    closing: CancellationToken,
    closed: CancellationToken,
}

/// What became of traces so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The collector has taken them.
    pub sent: u64,
    /// The collector has not taken all spans that were sent together with theirs.
    pub partial: u64,
    /// The collector has not.
    pub failed: u64,
    /// There was no room for them.
    pub dropped: u64,
    /// Spans that the collector has rejected.
    pub spans_rejected: u64,
    /// Spans of traces that failed.
    pub spans_failed: u64,
    /// Requests whose callers asked for a trace beyond the limit.
    pub over: u64,
}

impl Tracer {
    /// Starts what `settings` ask for; without any, nothing.
    ///
    /// # Errors
    /// What keeps the collector from ever being reached. One that is away does not.
    pub fn start(settings: Option<&Traces>) -> Result<Self, String> {
        let Some(settings) = settings else { return Ok(Self(None)) };
        let (sender, queue) = mpsc::channel(settings.queue);
        let shared = Shared {
            queue: sender,
            sampler: Sampler::new(),
            counts: Arc::default(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        };
        let exporter = Exporter {
            queue,
            counts: shared.counts.clone(),
            closing: shared.closing.clone(),
            closed: shared.closed.clone(),
        };
        exporter.start(settings)?;
        Ok(Self(Some(Arc::new(shared))))
    }

    /// The trace of a request with this head, which began at `started`. `settings` are of its
    /// generation; `random` is any number, another for each request.
    pub fn begin(
        &self,
        settings: Option<&Traces>,
        head: &RequestHeader,
        random: u64,
        started: Instant,
    ) -> Trace {
        let (Some(shared), Some(settings)) = (&self.0, settings) else { return Trace::default() };
        let parent = match settings.parent {
            TraceParent::Trust => Parent::of(&head.headers),
            TraceParent::Ignore => None,
        };
        let mut trace = Trace { on: true, parent, record: None };
        if shared.sampler.samples(settings, parent.as_ref(), random, started) {
            let ids = RandomIdGenerator::default();
            let (trace_id, span_id, state) = match &parent {
                Some(parent) => (parent.trace_id, Some(parent.span_id), tracestate(&head.headers)),
                None => (ids.new_trace_id(), None, None),
            };
            let record = Record::new(trace_id, ids.new_span_id(), span_id, state, started);
            trace.record = Some(Box::new(record));
        }
        trace
    }

    /// Hands a request that is over to whoever sends it; never waits.
    pub fn finish(&self, trace: Trace, summary: impl FnOnce() -> Summary) {
        if let (Some(shared), Some(record)) = (&self.0, trace.record) {
            let finished = Finished { record, summary: summary() };
            if shared.queue.try_send(Box::new(finished)).is_err() {
                shared.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What became of traces so far; nothing, where none are made.
    pub fn status(&self) -> Status {
        let Some(shared) = &self.0 else { return Status::default() };
        let counts = &*shared.counts;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            sent: count(&counts.sent),
            partial: count(&counts.partial),
            failed: count(&counts.failed),
            dropped: count(&counts.dropped),
            spans_rejected: count(&counts.spans_rejected),
            spans_failed: count(&counts.spans_failed),
            over: shared.sampler.over(),
        }
    }

    /// Takes no more, and sends what there is. Whether all was sent or given up `within`.
    pub async fn close(&self, within: Duration) -> bool {
        let Some(shared) = &self.0 else { return true };
        shared.closing.cancel();
        tokio::time::timeout(within, shared.closed.cancelled()).await.is_ok()
    }
}

/// The trace of one request: none, one that others record, or one that is recorded here.
#[derive(Default)]
pub struct Trace {
    /// Whether traces are made at all.
    on: bool,
    /// The caller's span.
    parent: Option<Parent>,
    /// What happened so far, of a request that is traced.
    record: Option<Box<Record>>,
}

impl Trace {
    /// Whether what happens is recorded.
    pub fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// The trace's id, ours or the caller's, for the log.
    pub fn id(&self) -> Option<TraceId> {
        let own = self.record.as_ref().map(|record| record.trace_id);
        own.or_else(|| self.parent.map(|parent| parent.trace_id))
    }

    /// Ends a phase; the next begins.
    pub fn lap(&mut self, phase: Phase, refused: bool) {
        if let Some(record) = &mut self.record {
            record.lap(phase, refused);
        }
    }

    /// Lets the next phase begin now instead of where the last has ended.
    pub fn skip(&mut self) {
        if let Some(record) = &mut self.record {
            record.skip();
        }
    }

    /// Writes into a provider's head which span calls it.
    ///
    /// A traced request's is a span of ours, a new one for each attempt. A caller's stays as it came where
    /// we record none; what is not one goes no further.
    pub fn write_head(&mut self, head: &mut RequestHeader) {
        if !self.on {
            return;
        }
        let Some(record) = &mut self.record else {
            if self.parent.is_none() {
                head.remove_header(&TRACEPARENT);
            }
            if self.parent.is_none() || tracestate(&head.headers).is_none() {
                head.remove_header(&TRACESTATE);
            }
            return;
        };
        record.attempt = RandomIdGenerator::default().new_span_id();
        head.remove_header(&TRACESTATE);
        let state = record.state.clone().map(|state| (TRACESTATE, state));
        let parent = traceparent(record.trace_id, record.attempt).map(|it| (TRACEPARENT, it));
        for (name, value) in parent.into_iter().chain(state) {
            // A head has room for it; without it the provider's own trace is another.
            head.insert_header(name, value).ok();
        }
    }

    /// Notes an attempt that is over.
    pub fn attempt(&mut self, attempt: impl FnOnce() -> Option<Attempt>) {
        if let Some(record) = &mut self.record
            && let Some(attempt) = attempt()
        {
            let id = std::mem::replace(&mut record.attempt, SpanId::INVALID);
            // One that got no head never reached a provider.
            let id =
                if id == SpanId::INVALID { RandomIdGenerator::default().new_span_id() } else { id };
            record.attempts.push((id, attempt));
        }
    }
}

/// The methods that have a name, so that a stranger's word gets into no span.
pub fn method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderValue;
    use opentelemetry::trace::SpanKind;

    use super::*;
    use crate::config::valid::{BaseUrl, TraceProtocol};

    /// Where nothing listens.
    pub(super) fn settings() -> Traces {
        Traces {
            endpoint: BaseUrl {
                tls: false,
                host: "127.0.0.1".into(),
                port: 1,
                path_prefix: String::new(),
                authority: "127.0.0.1:1".into(),
            },
            protocol: TraceProtocol::Http,
            headers: Vec::new(),
            sampling: 1.0,
            parent: TraceParent::Trust,
            parent_limit: 100,
            timeout: Duration::from_secs(1),
            queue: 16,
            service_name: "sluicegate".into(),
            attributes: BTreeMap::new(),
        }
    }

    fn summary(code: Option<&'static str>) -> Summary {
        Summary {
            ended: Instant::now(),
            method: "POST",
            route: "/v1/chat/completions",
            id: HeaderValue::from_static("request-1"),
            status: if code.is_some() { 403 } else { 200 },
            end: if code.is_some() { "refused" } else { "complete" },
            failed: false,
            code,
            client: None,
            caller: None,
            decision: None,
            generation: 1,
            model: Some("m".into()),
            nano_usd: None,
        }
    }

    fn attempt(model: &str) -> Attempt {
        Attempt {
            began: Instant::now(),
            ended: Instant::now(),
            first_content: None,
            reused: None,
            operation: "chat",
            provider: "xai".into(),
            model: model.into(),
            stream: false,
            status: Some(200),
            answered_by: None,
            usage: None,
            finish: Some("stop"),
            error: None,
        }
    }

    pub(super) fn finished() -> Finished {
        let ids = RandomIdGenerator::default();
        let now = Instant::now();
        let mut record = Record::new(ids.new_trace_id(), ids.new_span_id(), None, None, now);
        record.lap(Phase::Screen, false);
        Finished { record: Box::new(record), summary: summary(None) }
    }

    fn head(headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/v1/chat/completions", None).unwrap();
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn begin(settings: &Traces, head: &RequestHeader) -> Trace {
        let tracer = Tracer::start(Some(settings)).unwrap();
        tracer.begin(Some(settings), head, 7, Instant::now())
    }

    #[test]
    fn without_a_collector_there_is_nothing() {
        let tracer = Tracer::start(None).unwrap();
        let mut trace = tracer.begin(None, &head(&[("traceparent", PARENT)]), 7, Instant::now());
        assert!(!trace.is_recorded() && trace.id().is_none());
        let mut out = head(&[("traceparent", "anything")]);
        trace.write_head(&mut out);
        assert_eq!(out.headers["traceparent"], "anything");
        assert_eq!(tracer.status(), Status::default());
    }

    #[test]
    fn a_provider_is_told_our_span_and_each_attempt_another() {
        let incoming =
            head(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let mut trace = begin(&settings(), &incoming);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut out =
                head(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
            trace.write_head(&mut out);
            let parent = Parent::of(&out.headers).unwrap();
            assert_eq!(parent.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
            assert_ne!(parent.span_id.to_string(), "b7ad6b7169203331");
            assert!(parent.sampled);
            let states: Vec<_> = out.headers.get_all("tracestate").iter().collect();
            assert_eq!(states, ["a=1,b=2"]);
            seen.push(parent.span_id);
        }
        assert_ne!(seen[0], seen[1]);
    }

    #[test]
    fn what_is_not_traced_passes_on_what_is_valid() {
        let settings = Traces { sampling: 0.0, ..settings() };
        let unsampled = PARENT.replace("-01", "-00");
        for (parent, state, passes) in [
            (unsampled.as_str(), "a=1", (true, true)),
            (unsampled.as_str(), "A", (true, false)),
            ("00-bad", "a=1", (false, false)),
        ] {
            let incoming = head(&[("traceparent", parent), ("tracestate", state)]);
            let mut trace = begin(&settings, &incoming);
            assert!(!trace.is_recorded());
            let mut out = incoming.clone();
            trace.write_head(&mut out);
            let kept = |name: &str| out.headers.contains_key(name);
            assert_eq!((kept("traceparent"), kept("tracestate")), passes, "{parent} {state}");
        }
        let ignoring = Traces { parent: TraceParent::Ignore, ..settings };
        let trace = begin(&ignoring, &head(&[("traceparent", PARENT)]));
        assert!(!trace.is_recorded() && trace.id().is_none());
    }

    #[test]
    fn spans_are_one_tree() {
        let now = Instant::now();
        let ids = RandomIdGenerator::default();
        let caller = ids.new_span_id();
        let state = Some(HeaderValue::from_static("a=1"));
        let mut record =
            Record::new(ids.new_trace_id(), ids.new_span_id(), Some(caller), state, now);
        record.lap(Phase::Screen, false);
        record.lap(Phase::Authorize, true);
        let long = "m".repeat(1_000);
        record.attempts.push((ids.new_span_id(), attempt(&long)));
        let root = record.span_id;
        let code = Some("policy_denied");
        let finished = Finished { record: Box::new(record), summary: summary(code) };
        let mut made = Vec::new();
        let scope = opentelemetry::InstrumentationScope::builder("test").build();
        spans::of(&finished, &scope, &mut made);
        let kinds: Vec<_> = made.iter().map(|span| span.span_kind.clone()).collect();
        let [server, internal] = [SpanKind::Server, SpanKind::Internal];
        assert_eq!(kinds, [server, internal.clone(), internal, SpanKind::Client]);
        assert!(made[0].parent_span_id == caller && made[0].parent_span_is_remote);
        for span in &made {
            assert_eq!(span.span_context.trace_state().header(), "a=1");
            assert!(span.start_time <= span.end_time);
        }
        assert!(made[1..].iter().all(|span| span.parent_span_id == root));
        let has = |n: usize, name: &str, value: &str| {
            made[n]
                .attributes
                .iter()
                .any(|it| it.key.as_str() == name && it.value.as_str() == value)
        };
        assert!(has(0, "sluicegate.denial", "policy_denied"));
        assert!(has(2, "sluicegate.denial", "policy_denied") && made[1].attributes.is_empty());
        assert!(has(3, "gen_ai.provider.name", "x_ai"));
        assert!(has(3, "gen_ai.request.model", &long[..256]), "{:?}", made[3]);
    }

    #[test]
    fn no_room_is_counted() {
        let (queue, mut end) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            queue,
            sampler: Sampler::new(),
            counts: Arc::default(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        let tracer = Tracer(Some(shared));
        for _ in 0..3 {
            let trace = tracer.begin(Some(&settings()), &head(&[]), 7, Instant::now());
            tracer.finish(trace, || summary(None));
            tracer.finish(Trace::default(), || summary(None));
        }
        assert_eq!(tracer.status(), Status { dropped: 2, ..Status::default() });
        assert!(end.try_recv().is_ok() && end.try_recv().is_err());
    }
}
