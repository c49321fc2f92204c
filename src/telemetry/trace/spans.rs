//! The spans of a request that is over: the request itself, each phase, each call to a provider.
//!
//! Names follow OpenTelemetry's conventions for HTTP and for generative AI; what they have no name for is
//! below `sluicegate.`.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::SystemTime;

use opentelemetry::trace::{Event, SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, StringValue, TraceFlags, Value,
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents};

use super::record::{Attempt, Finished, Lap, Record, Summary};

/// Bytes of a text that a provider or a token's issuer has chosen.
const MAX_TEXT: usize = 256;

/// Adds the spans of `finished` to `spans`.
pub fn of(finished: &Finished, scope: &InstrumentationScope, spans: &mut Vec<SpanData>) {
    let Finished { record, summary } = finished;
    let state = record.state.as_ref().and_then(|state| state.to_str().ok());
    let state = state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
    let maker = Maker { record, scope, state, ids: RandomIdGenerator::default() };
    spans.push(maker.request(summary));
    spans.extend(record.laps.iter().map(|lap| maker.phase(lap, summary)));
    spans.extend(record.attempts.iter().map(|(id, attempt)| maker.attempt(*id, attempt)));
}

struct Maker<'a> {
    record: &'a Record,
    scope: &'a InstrumentationScope,
    state: TraceState,
    ids: RandomIdGenerator,
}

impl Maker<'_> {
    fn request(&self, summary: &Summary) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("http.request.method", summary.method),
            KeyValue::new("http.route", summary.route),
            KeyValue::new("sluicegate.request_id", text(summary.id.to_str().unwrap_or_default())),
            KeyValue::new("sluicegate.end", summary.end),
            KeyValue::new("sluicegate.generation", number(summary.generation)),
        ];
        if summary.status > 0 {
            attributes.push(KeyValue::new(STATUS_CODE, i64::from(summary.status)));
        }
        if let Some(client) = summary.client {
            attributes.push(KeyValue::new("client.address", client.to_string()));
        }
        if let Some(model) = &summary.model {
            attributes.push(KeyValue::new("sluicegate.model", text(model)));
            let attempts = self.record.attempts.len() as u64;
            attributes.push(KeyValue::new("sluicegate.attempts", number(attempts)));
        }
        if let Some(nano_usd) = summary.nano_usd {
            attributes.push(KeyValue::new("sluicegate.cost_nano_usd", number(nano_usd)));
        }
        caller(summary, &mut attributes);
        if let Some(code) = summary.code {
            attributes.push(KeyValue::new("sluicegate.denial", code));
        }
        if summary.failed || summary.status >= 500 {
            attributes.push(KeyValue::new(ERROR_TYPE, summary.code.unwrap_or(summary.end)));
        }
        let status = if summary.failed || summary.status >= 500 { failed() } else { Status::Unset };
        SpanData {
            parent_span_id: self.record.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.record.parent.is_some(),
            attributes,
            status,
            ..self.span(
                self.record.span_id,
                SpanKind::Server,
                format!("{} {}", summary.method, summary.route).into(),
                (self.record.began, self.record.time(summary.ended)),
            )
        }
    }

    fn phase(&self, lap: &Lap, summary: &Summary) -> SpanData {
        let times = (self.record.time(lap.began), self.record.time(lap.ended));
        let name = lap.phase.name();
        let mut span = self.span(self.ids.new_span_id(), SpanKind::Internal, name.into(), times);
        if lap.refused {
            // The caller's fault as a rule, so that the span has no status of an error.
            let code = summary.code.unwrap_or(summary.end);
            span.attributes.push(KeyValue::new("sluicegate.denial", code));
        }
        span
    }

    fn attempt(&self, id: SpanId, attempt: &Attempt) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", attempt.operation),
            KeyValue::new("sluicegate.stream", attempt.stream),
        ];
        attributes.extend(if attempt.operation == EXECUTE_TOOL {
            vec![
                KeyValue::new("gen_ai.tool.name", text(&attempt.model)),
                KeyValue::new("mcp.method.name", "tools/call"),
                KeyValue::new("sluicegate.mcp_server", text(&attempt.provider)),
            ]
        } else {
            vec![
                KeyValue::new("gen_ai.provider.name", system(&attempt.provider)),
                KeyValue::new("gen_ai.request.model", text(&attempt.model)),
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("sluicegate.provider", text(&attempt.provider)),
            ]
        });
        if let Some(reused) = attempt.reused {
            attributes.push(KeyValue::new("sluicegate.connection_reused", reused));
        }
        if let Some(status) = attempt.status {
            attributes.push(KeyValue::new(STATUS_CODE, i64::from(status)));
        }
        if let Some(model) = &attempt.answered_by {
            attributes.push(KeyValue::new("gen_ai.response.model", text(model)));
        }
        if let Some(finish) = attempt.finish {
            attributes.push(KeyValue::new("gen_ai.response.finish_reasons", list([finish])));
        }
        if let Some(usage) = &attempt.usage {
            for (name, tokens) in [
                ("gen_ai.usage.input_tokens", usage.total_input()),
                ("gen_ai.usage.output_tokens", usage.output),
            ] {
                attributes.push(KeyValue::new(name, number(tokens)));
            }
        }
        let mut status = Status::Unset;
        if let Some(error) = &attempt.error {
            attributes.push(KeyValue::new(ERROR_TYPE, error.clone()));
            status = failed();
        }
        let mut events = SpanEvents::default();
        if let Some(at) = attempt.first_content {
            let seconds = at.saturating_duration_since(attempt.began).as_secs_f64();
            events.events.push(Event::new(
                "gen_ai.first_token",
                self.record.time(at),
                vec![KeyValue::new("gen_ai.server.time_to_first_token", seconds)],
                0,
            ));
        }
        let name = format!("{} {}", attempt.operation, text(&attempt.model));
        let times = (self.record.time(attempt.began), self.record.time(attempt.ended));
        let span = self.span(id, SpanKind::Client, name.into(), times);
        SpanData { attributes, events, status, ..span }
    }

    /// A span below the request's.
    fn span(
        &self,
        id: SpanId,
        span_kind: SpanKind,
        name: Cow<'static, str>,
        (start_time, end_time): (SystemTime, SystemTime),
    ) -> SpanData {
        let state = self.state.clone();
        let trace_id = self.record.trace_id;
        SpanData {
            span_context: SpanContext::new(trace_id, id, TraceFlags::SAMPLED, false, state),
            parent_span_id: self.record.span_id,
            parent_span_is_remote: false,
            span_kind,
            name,
            start_time,
            end_time,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// What the GenAI conventions call a call of a tool.
pub const EXECUTE_TOOL: &str = "execute_tool";

const STATUS_CODE: &str = "http.response.status_code";
const ERROR_TYPE: &str = "error.type";

/// Who asked, and what the policies said: names, never a credential.
fn caller(summary: &Summary, attributes: &mut Vec<KeyValue>) {
    let Some(caller) = summary.caller.as_deref() else { return };
    attributes.push(KeyValue::new("sluicegate.caller", caller.kind().name()));
    if let Some(key) = caller.key() {
        attributes.push(KeyValue::new("sluicegate.key", key.id.to_string()));
    }
    for (name, value) in [
        ("sluicegate.user", caller.user()),
        ("sluicegate.team", caller.team()),
        ("sluicegate.organization", caller.organization()),
    ] {
        if let Some(value) = value {
            attributes.push(KeyValue::new(name, text(value)));
        }
    }
    if let Some(decision) = summary.decision.as_deref() {
        attributes.push(KeyValue::new("sluicegate.permitted", decision.allowed));
        attributes.push(KeyValue::new("sluicegate.policies", list(decision.policy_ids())));
    }
}

/// What the GenAI conventions call a provider, where they have a word for it; else the configuration's name.
fn system(provider: &str) -> Value {
    let word = match provider {
        "azure" | "azure_openai" | "azure-openai" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "vertex" | "vertex_ai" | "vertex-ai" => "gcp.vertex_ai",
        "xai" => "x_ai",
        other => return text(other).into(),
    };
    word.into()
}

fn failed() -> Status {
    // Without a description: the type says it, and nothing of a provider's text gets here.
    Status::error("")
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    let texts = texts.into_iter().map(|it| StringValue::from(text(it))).collect();
    Value::Array(Array::String(texts))
}

/// `value`, or as much of it as a span may have.
fn text(value: &str) -> String {
    value[..value.floor_char_boundary(MAX_TEXT)].to_owned()
}
