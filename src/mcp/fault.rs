//! Requests that are no MCP, or ask for what there is not, as JSON-RPC tells it.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::{Value, json};

use super::version::Version;

/// The text is no JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON is no request.
pub const INVALID_REQUEST: i32 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters are not the method's.
pub const INVALID_PARAMS: i32 = -32602;
/// A refusal or a failure of the gateway's; `data.code` says which.
pub const REFUSED: i32 = -32000;
/// A header says something else than the body.
pub const HEADER_MISMATCH: i32 = -32020;
/// The client lacks a capability that the answer takes.
pub const MISSING_CAPABILITY: i32 = -32021;
/// The version is not spoken.
pub const UNSUPPORTED_VERSION: i32 = -32022;

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// JSON-RPC's number for it.
    pub code: i32,
    /// For people.
    pub message: Cow<'static, str>,
    /// For programs.
    pub data: Option<Value>,
    /// The status of the answer. In the older era many clients never look at the body of an error, so that
    /// what can be told of a request that was understood is told with 200.
    pub status: StatusCode,
}

impl Fault {
    /// A fault in the request as such.
    pub fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None, status: StatusCode::BAD_REQUEST }
    }

    /// A fault in what is asked for, told in an answer that HTTP takes for a good one.
    pub fn in_band(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::OK, ..Self::new(code, message) }
    }

    /// There is no such method.
    pub fn no_method(version: Version, method: &str) -> Self {
        let shown: String = method.chars().take(64).collect();
        let message = format!(
            "There is no method `{}` here; there are tools/list and tools/call.",
            shown.escape_debug()
        );
        let status = if version.is_stateless() { StatusCode::NOT_FOUND } else { StatusCode::OK };
        Self { status, ..Self::new(METHOD_NOT_FOUND, message) }
    }

    /// A version that is not spoken.
    pub fn unsupported(requested: &str) -> Self {
        let requested: String = requested.chars().take(64).collect();
        let supported = Version::ALL.map(Version::as_str);
        let message =
            format!("This version of MCP is not spoken here; {} are.", supported.join(", "));
        Self {
            data: Some(json!({ "supported": supported, "requested": requested })),
            ..Self::new(UNSUPPORTED_VERSION, message)
        }
    }
}
