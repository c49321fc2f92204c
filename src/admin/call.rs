//! One request to the admin API, as handlers see it.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::actor::Actor;
use super::audit::Act;
use super::error::ApiError;
use super::input::json;
use super::input::query::Query;
use super::services::Services;

/// Names fields of a request to one of LiteLLM's paths that mean nothing here.
pub const IGNORED_FIELDS: HeaderName = HeaderName::from_static("x-sluicegate-ignored-fields");
/// Names of ignored fields that are given back, at most.
const MAX_IGNORED: usize = 32;

/// A request whose sender is known, and may do such things at all.
pub struct Call {
    pub services: Arc<Services>,
    pub actor: Arc<Actor>,
    /// What is to be written down of it.
    pub act: Arc<Act>,
    /// The parts of the path that are parameters, decoded.
    pub path: Vec<(String, String)>,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Whoever does something, with what they do it.
#[derive(Clone, Copy)]
pub struct By<'c> {
    pub services: &'c Services,
    pub actor: &'c Actor,
    /// Where it is written down.
    pub act: &'c Act,
}

/// What a handler answers.
pub type Answer = Result<Response, ApiError>;

impl<'c> By<'c> {
    /// The same, doing a part of it that has a name of its own.
    pub fn doing(self, act: &'c Act) -> Self {
        Self { act, ..self }
    }
}

impl Call {
    /// Who does it, for the rules.
    pub fn by(&self) -> By<'_> {
        By { services: &self.services, actor: &self.actor, act: &self.act }
    }

    /// A parameter of the path.
    pub fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// The body, in which every field must be known.
    ///
    /// # Errors
    /// See [`json::strict`].
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        json::strict(&self.body)
    }

    /// The body, and the fields of it and of the query that are not known.
    ///
    /// # Errors
    /// See [`json::lenient`].
    pub fn lenient_body<T: DeserializeOwned>(&self) -> Result<(T, Ignored), ApiError> {
        let (body, mut ignored) = json::lenient(&self.body)?;
        ignored.extend(self.query.ignored().map(str::to_owned));
        Ok((body, Ignored(ignored)))
    }

    /// The version that `If-Match` wants (RFC 9110 section 13.1.1); `*` wants any.
    ///
    /// # Errors
    /// 412 for an entity tag that can't be one of ours.
    pub fn if_match(&self) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.headers.get(IF_MATCH) else { return Ok(None) };
        let tag = value.to_str().unwrap_or_default().trim();
        if tag == "*" {
            return Ok(None);
        }
        let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        match version.and_then(|version| version.parse().ok()) {
            Some(version) => Ok(Some(version)),
            None => Err(ApiError::stale()),
        }
    }
}

/// Fields that were not understood.
#[derive(Debug, Default)]
pub struct Ignored(pub Vec<String>);

impl Ignored {
    /// Tells of them in the answer's header.
    #[must_use]
    pub fn told(self, mut response: Response) -> Response {
        let mut names = self.0;
        // What can't stand in a header is no field of anybody's documentation.
        names.retain(|name| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        });
        names.truncate(MAX_IGNORED);
        if !names.is_empty()
            && let Ok(value) = HeaderValue::try_from(names.join(", "))
        {
            response.headers_mut().insert(IGNORED_FIELDS, value);
        }
        response
    }
}

/// Answers 200 with JSON.
pub fn ok(body: impl Serialize) -> Response {
    Json(body).into_response()
}

/// Answers with a record and its version.
pub fn record(status: StatusCode, version: i64, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
