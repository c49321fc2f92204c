//! Streamable HTTP.

use super::{Call, Event, Failure};
use crate::config::valid::mcp::{HttpTransport, Target};

/// A server that is reached by HTTP.
#[derive(Debug)]
pub struct HttpUpstream {}

/// An answer on its way.
#[derive(Debug)]
pub struct Answer {}

impl HttpUpstream {
    /// A server that nobody has called yet.
    ///
    /// # Errors
    /// Its authorities or its certificate can't be used.
    pub fn new(_target: &Target, _transport: &HttpTransport) -> Result<Self, String> {
        Ok(Self {})
    }

    pub(super) async fn request(&self, _call: Call) -> Result<Answer, Failure> {
        Err(Failure::Unreachable("no transport".to_owned()))
    }
}

impl Answer {
    pub(super) async fn next(&mut self) -> Result<Event, Failure> {
        Err(Failure::Broken("no transport".to_owned()))
    }
}

/// What a tool's arguments say again in headers.
pub fn param_headers(
    _schema: &serde_json::value::RawValue,
    _arguments: &serde_json::value::RawValue,
) -> Vec<(::http::HeaderName, ::http::HeaderValue)> {
    Vec::new()
}
