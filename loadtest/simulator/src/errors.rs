//! Refusals, in the shapes that the providers document.
//!
//! OpenAI: <https://platform.openai.com/docs/guides/error-codes>;
//! Anthropic: <https://docs.claude.com/en/api/errors>.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use crate::replies::json_string;

/// Whose wire format an endpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Anthropic,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// OpenAI: the field at fault.
    pub(crate) param: Option<Cow<'static, str>>,
    /// OpenAI: a stable word.
    pub(crate) code: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    pub(crate) fn param(self, param: impl Into<Cow<'static, str>>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The JSON body.
    pub(crate) fn body(&self, dialect: Dialect, request_id: &str) -> Bytes {
        let message = json_string(&self.message);
        let kind = kind(dialect, self.status);
        let body = match dialect {
            Dialect::OpenAi => {
                let param = self.param.as_deref().map_or_else(|| "null".to_owned(), json_string);
                let code = self.code.map_or_else(|| "null".to_owned(), json_string);
                format!(
                    r#"{{"error":{{"message":{message},"type":"{kind}","param":{param},"code":{code}}}}}"#
                )
            }
            Dialect::Anthropic => format!(
                r#"{{"type":"error","error":{{"type":"{kind}","message":{message}}},"request_id":"{request_id}"}}"#
            ),
        };
        Bytes::from(body)
    }
}

/// The error type that goes with a status.
fn kind(dialect: Dialect, status: StatusCode) -> &'static str {
    match (dialect, status.as_u16()) {
        (Dialect::OpenAi, 429) => "rate_limit_error",
        (Dialect::OpenAi, 500..) => "server_error",
        (Dialect::Anthropic, 401) => "authentication_error",
        (Dialect::Anthropic, 403) => "permission_error",
        (Dialect::Anthropic, 404) => "not_found_error",
        (Dialect::Anthropic, 413) => "request_too_large",
        (Dialect::Anthropic, 429) => "rate_limit_error",
        (Dialect::Anthropic, 504) => "timeout_error",
        (Dialect::Anthropic, 529) => "overloaded_error",
        (Dialect::Anthropic, 500..) => "api_error",
        _ => "invalid_request_error",
    }
}
