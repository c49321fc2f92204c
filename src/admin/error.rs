//! What goes wrong in the admin API, and how it is said in its two dialects.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use sluicegate_filters::denial::Denial;

use crate::stores::StoreError;

/// A request that is refused or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Of the answer.
    pub status: StatusCode,
    /// A stable word.
    pub code: &'static str,
    /// One sentence for a person. It holds no secret.
    pub message: Cow<'static, str>,
    /// The field at fault, as a path: `limits.rpm`, `models[2]`.
    pub field: Option<String>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
    /// When to try again, in seconds.
    pub retry_after: Option<u32>,
    /// How to authenticate (RFC 9110 section 15.5.2).
    challenge: Option<&'static str>,
}

/// In which words an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Ours.
    Own,
    /// LiteLLM's.
    LiteLlm,
}

impl ApiError {
    /// An error with a code of its own.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let challenge = (status == StatusCode::UNAUTHORIZED).then_some("Bearer");
        let message = message.into();
        Self { status, code, message, field: None, hint: None, retry_after: None, challenge }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 422: a field's value can't be used. `reason` goes on from the field's name: `must be ...`.
    pub fn invalid(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let field = field.into();
        let message = format!("`{field}` {reason}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", message).at(field)
    }

    /// 404. The same for what does not exist and for what is none of the caller's business.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
    }

    /// 403: the caller is known, and may not.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 409.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 412: `If-Match` names a version that is not the present one.
    pub fn stale() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "version_mismatch",
            "The record is not in the version that If-Match names.",
        )
        .hint("read it again and repeat the change with the new ETag")
    }

    /// 500. The details are for the log.
    pub fn internal() -> Self {
        let message = "A fault of the gateway; its log says more under this request id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// The answer in the endpoint's words.
    pub fn answer(&self, dialect: Dialect) -> Response {
        let (status, body) = match dialect {
            Dialect::Own => (self.status, self.own()),
            Dialect::LiteLlm => self.litellm(),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }

    fn own(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".to_owned(), json!(self.code));
        error.insert("message".to_owned(), json!(self.message));
        if let Some(field) = &self.field {
            error.insert("field".to_owned(), json!(field));
        }
        if let Some(hint) = &self.hint {
            error.insert("hint".to_owned(), json!(hint));
        }
        json!({"error": error})
    }

    /// LiteLLM's clients read `error.message`, and `error.code` as the status in a string.
    fn litellm(&self) -> (StatusCode, Value) {
        // What is in conflict is a bad request to LiteLLM.
        let status = match self.status {
            StatusCode::CONFLICT => StatusCode::BAD_REQUEST,
            status => status,
        };
        let message = match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone().into_owned(),
        };
        let kind = match status.as_u16() {
            401 | 403 => "auth_error",
            404 => "not_found_error",
            422 => "validation_error",
            503 => "no_db_connection",
            500.. => "internal_server_error",
            _ => "bad_request_error",
        };
        let error = json!({"error": {
            "message": message,
            "type": kind,
            "param": self.field,
            "code": status.as_str(),
        }});
        (status, error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(detail) => {
                tracing::warn!(detail, "the store is not available to the admin API");
                let message = "The store of keys does not answer.";
                let mut error =
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message);
                error.retry_after = Some(1);
                error
            }
            StoreError::Conflict { field } => {
                Self::conflict("already_exists", format!("Another record has this `{field}`."))
                    .at(field)
            }
            StoreError::Stale => {
                Self::conflict("changed_meanwhile", "The record was changed at the same time.")
                    .hint("read it again and repeat the change")
            }
            StoreError::NotFound => Self::not_found("record"),
            StoreError::Dangling { field } => Self::invalid(field, "names what does not exist"),
            StoreError::Invalid { field, reason } => Self::invalid(field, reason),
            StoreError::InUse(what) => {
                Self::conflict("in_use", format!("It can't be deleted while {what} refer to it."))
            }
            StoreError::Broken(detail) => {
                tracing::error!(detail, "the store is at fault");
                Self::internal()
            }
        }
    }
}

/// A refused credential.
impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        let mut error = Self::new(denial.status(), denial.code(), denial.message().to_owned());
        error.retry_after = denial.kind().retry_after_seconds();
        error.challenge = denial.kind().challenge();
        error
    }
}
