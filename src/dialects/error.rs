//! Errors in the caller's dialect, as a body and as a stream's last event.
//!
//! Sources: "Error codes" and the streaming events of OpenAI's API reference; "Errors" and
//! "Streaming messages" of Anthropic's API reference.

use bytes::Bytes;
use serde::Serialize;

use super::{Dialect, Endpoint};

/// An error as it is told to a caller. Every text in it is public.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReply<'a> {
    /// HTTP status. The dialect's `type` follows from it.
    pub status: u16,
    /// Stable word for programs, such as `rate_limit_exceeded`.
    pub code: &'a str,
    /// One sentence for people.
    pub message: &'a str,
    /// The request field at fault.
    pub param: Option<&'a str>,
    /// The id that the `x-request-id` header carries.
    pub request_id: &'a str,
}

/// The JSON body of an error answer. Send it as `application/json`.
pub fn error_body(dialect: Dialect, reply: &ErrorReply<'_>) -> Bytes {
    let mut out = Vec::with_capacity(160 + reply.message.len());
    match dialect {
        Dialect::OpenAi => write_json(&mut out, &OpenAiError::new(reply)),
        Dialect::Anthropic => write_json(&mut out, &AnthropicError::new(reply)),
    }
    Bytes::from(out)
}

/// The event that ends a broken stream.
///
/// `mid_event` says that bytes of an unfinished event were already sent: a blank line then
/// comes first, so that this event stands alone. [`StreamObserver::error_event`] knows it by
/// itself, and the sequence number that the responses endpoint wants.
///
/// [`StreamObserver::error_event`]: super::observe::StreamObserver::error_event
pub fn error_event(endpoint: Endpoint, reply: &ErrorReply<'_>, mid_event: bool) -> Bytes {
    numbered_error_event(endpoint, reply, mid_event, 0)
}

/// As [`error_event`], with the number that this event has in its stream.
pub(super) fn numbered_error_event(
    endpoint: Endpoint,
    reply: &ErrorReply<'_>,
    mid_event: bool,
    sequence_number: u64,
) -> Bytes {
    let mut out = Vec::with_capacity(224 + reply.message.len());
    if mid_event {
        out.extend_from_slice(b"\n\n");
    }
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings => {
            out.extend_from_slice(b"data: ");
            write_json(&mut out, &OpenAiError::new(reply));
        }
        Endpoint::Responses => {
            out.extend_from_slice(b"event: error\ndata: ");
            let event = ResponsesErrorEvent {
                kind: "error",
                code: reply.code,
                message: reply.message,
                param: reply.param,
                sequence_number,
                error: OpenAiError::new(reply).error,
            };
            write_json(&mut out, &event);
        }
        Endpoint::Messages | Endpoint::CountTokens => {
            out.extend_from_slice(b"event: error\ndata: ");
            write_json(&mut out, &AnthropicError::new(reply));
        }
    }
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

/// OpenAI's `error.type` for a status.
fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// Anthropic's `error.type` for a status.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    error: OpenAiDetail<'a>,
}

#[derive(Serialize)]
struct OpenAiDetail<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'a str,
}

impl<'a> OpenAiError<'a> {
    fn new(reply: &ErrorReply<'a>) -> Self {
        Self {
            error: OpenAiDetail {
                message: reply.message,
                kind: openai_type(reply.status),
                param: reply.param,
                code: reply.code,
            },
        }
    }
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: AnthropicDetail<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicDetail<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

impl<'a> AnthropicError<'a> {
    fn new(reply: &ErrorReply<'a>) -> Self {
        Self {
            kind: "error",
            error: AnthropicDetail { kind: anthropic_type(reply.status), message: reply.message },
            request_id: reply.request_id,
        }
    }
}

#[derive(Serialize)]
struct ResponsesErrorEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    sequence_number: u64,
    /// Not in the reference, but what OpenAI's servers send and what its SDKs look for: without it
    /// they take the event for one like any other.
    error: OpenAiDetail<'a>,
}

/// Strings and numbers only, written to memory: there is nothing that can fail.
fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "plain data always serialises");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const REPLY: ErrorReply<'static> = ErrorReply {
        status: 429,
        code: "rate_limit_exceeded",
        message: "Slow down: \"10\" a minute.\nThen wait.",
        param: Some("model"),
        request_id: "req-1",
    };

    #[test]
    fn bodies_have_each_dialects_shape() {
        let openai: Value = serde_json::from_slice(&error_body(Dialect::OpenAi, &REPLY)).unwrap();
        assert_eq!(
            openai,
            json!({"error": {"message": REPLY.message, "type": "rate_limit_error",
                "param": "model", "code": "rate_limit_exceeded"}})
        );
        let anthropic: Value =
            serde_json::from_slice(&error_body(Dialect::Anthropic, &REPLY)).unwrap();
        assert_eq!(
            anthropic,
            json!({"type": "error", "request_id": "req-1",
                "error": {"type": "rate_limit_error", "message": REPLY.message}})
        );
    }

    #[test]
    fn events_are_one_event_each_even_when_the_message_has_line_ends() {
        for endpoint in Endpoint::ALL {
            let event = error_event(endpoint, &REPLY, false);
            let text = std::str::from_utf8(&event).unwrap();
            assert!(text.ends_with("\n\n"), "{text}");
            assert_eq!(text.matches("\n\n").count(), 1, "{text}");
            let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            assert!(data.contains("Slow down"), "{text}");
            assert!(serde_json::from_str::<Value>(data).unwrap().is_object());
        }
    }

    #[test]
    fn a_blank_line_first_when_an_event_is_open() {
        let event = error_event(Endpoint::ChatCompletions, &REPLY, true);
        assert!(event.starts_with(b"\n\ndata: {\"error\":"));
    }

    #[test]
    fn responses_events_are_typed_and_numbered() {
        let event = numbered_error_event(Endpoint::Responses, &REPLY, false, 7);
        let data = event.strip_prefix(b"event: error\ndata: ").unwrap();
        let value: Value = serde_json::from_slice(data).unwrap();
        assert_eq!(
            value,
            json!({"type": "error", "code": "rate_limit_exceeded", "message": REPLY.message,
                "param": "model", "sequence_number": 7, "error": {"message": REPLY.message,
                "type": "rate_limit_error", "param": "model", "code": "rate_limit_exceeded"}})
        );
    }

    #[test]
    fn every_status_has_a_type() {
        let table = [
            (400, "invalid_request_error", "invalid_request_error"),
            (401, "authentication_error", "authentication_error"),
            (402, "invalid_request_error", "billing_error"),
            (403, "permission_error", "permission_error"),
            (404, "not_found_error", "not_found_error"),
            (405, "invalid_request_error", "invalid_request_error"),
            (413, "invalid_request_error", "request_too_large"),
            (415, "invalid_request_error", "invalid_request_error"),
            (429, "rate_limit_error", "rate_limit_error"),
            (500, "server_error", "api_error"),
            (502, "server_error", "api_error"),
            (503, "server_error", "overloaded_error"),
            (504, "server_error", "timeout_error"),
            (529, "server_error", "overloaded_error"),
        ];
        for (status, openai, anthropic) in table {
            assert_eq!(openai_type(status), openai, "{status}");
            assert_eq!(anthropic_type(status), anthropic, "{status}");
        }
    }
}
