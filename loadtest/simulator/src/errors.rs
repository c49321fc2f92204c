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
    /// `google.rpc.Status`.
    Google,
    /// OpenAI's for what the model refuses, Azure's own for what comes before it.
    Azure,
    Bedrock,
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
    /// Google: the seconds to wait.
    pub(crate) retry: Option<u32>,
    /// Not the endpoint's dialect, but this one.
    pub(crate) dialect: Option<Dialect>,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
            retry: None,
            dialect: None,
        }
    }

    pub(crate) fn param(self, param: impl Into<Cow<'static, str>>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Spoken in a dialect that is not the endpoint's.
    pub(crate) fn spoken(self, dialect: Dialect) -> Self {
        Self { dialect: Some(dialect), ..self }
    }

    /// Bedrock's name for it, which stands in a header.
    pub(crate) fn amazon_kind(&self) -> &'static str {
        match (self.code, self.status.as_u16()) {
            (Some(code), 403) => code,
            (_, 401 | 403) => "AccessDeniedException",
            (_, 404) => "ResourceNotFoundException",
            (_, 408) => "ModelTimeoutException",
            (_, 424) => "ModelErrorException",
            (_, 429) => "ThrottlingException",
            (_, 503) => "ServiceUnavailableException",
            (_, 500..) => "InternalServerException",
            _ => "ValidationException",
        }
    }

    fn google(&self, message: &str) -> String {
        let status = match self.status.as_u16() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            499 => "CANCELLED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            500.. => "INTERNAL",
            _ => "INVALID_ARGUMENT",
        };
        let mut details = Vec::new();
        if let Some(param) = &self.param {
            let field = json_string(param);
            details.push(format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{{"field":{field},"description":{message}}}]}}"#
            ));
        } else if let Some(code) = self.code {
            details.push(format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{code}","domain":"googleapis.com"}}"#
            ));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = self.retry.unwrap_or(1);
            details.push(format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{seconds}s"}}"#
            ));
        }
        let details = if details.is_empty() {
            String::new()
        } else {
            format!(r#","details":[{}]"#, details.join(","))
        };
        let code = self.status.as_u16();
        format!(r#"{{"error":{{"code":{code},"message":{message},"status":"{status}"{details}}}}}"#)
    }

    /// The JSON body.
    pub(crate) fn body(&self, dialect: Dialect, request_id: &str) -> Bytes {
        let message = json_string(&self.message);
        let kind = kind(dialect, self.status);
        let body = match dialect {
            Dialect::Google => self.google(&message),
            Dialect::Bedrock => format!(r#"{{"message":{message}}}"#),
            Dialect::Azure if matches!(self.status.as_u16(), 401 | 403 | 404 | 429) => {
                format!(r#"{{"error":{{"code":"{}","message":{message}}}}}"#, self.status.as_u16())
            }
            Dialect::OpenAi | Dialect::Azure => {
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
        (Dialect::OpenAi | Dialect::Azure, 429) => "rate_limit_error",
        (Dialect::OpenAi | Dialect::Azure, 500..) => "server_error",
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
