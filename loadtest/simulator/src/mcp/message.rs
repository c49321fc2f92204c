//! JSON-RPC messages, read strictly.

use ::http::StatusCode;
use serde_json::{Map, Value, json, value::RawValue};

use crate::request::Json;

pub(crate) const PARSE_ERROR: i32 = -32700;
pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
pub(crate) const INVALID_PARAMS: i32 = -32602;
pub(crate) const INTERNAL_ERROR: i32 = -32603;
/// Headers and body say different things (2026-07-28).
pub(crate) const HEADER_MISMATCH: i32 = -32020;
/// A version that is not spoken here (2026-07-28).
pub(crate) const UNSUPPORTED_VERSION: i32 = -32022;

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    /// By HTTP.
    pub(crate) status: StatusCode,
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) data: Option<Box<Value>>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: None }
    }

    /// With status 400.
    pub(crate) fn bad(code: i32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The whole message.
    pub(crate) fn text(&self, id: Option<&Value>) -> String {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = (**data).clone();
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string()
    }
}

/// A message of a client's.
#[derive(Debug)]
pub(crate) enum Message {
    Request(Request),
    Notification {
        method: String,
        params: Map<String, Value>,
    },
    /// To a request of the server's, which there are none of.
    Response,
}

#[derive(Debug)]
pub(crate) struct Request {
    /// A text or an integer.
    pub(crate) id: Value,
    pub(crate) method: String,
    pub(crate) params: Map<String, Value>,
    /// `params.arguments` as it was written.
    pub(crate) arguments: Option<Box<RawValue>>,
}

impl Request {
    pub(crate) fn meta(&self) -> Option<&Map<String, Value>> {
        self.params.get("_meta").and_then(Value::as_object)
    }

    /// What progress is to be reported under: a text or an integer.
    pub(crate) fn progress_token(&self) -> Option<&Value> {
        self.meta().and_then(|meta| meta.get("progressToken"))
    }

    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }
}

impl Message {
    pub(crate) fn method(&self) -> Option<&str> {
        match self {
            Self::Request(request) => Some(&request.method),
            Self::Notification { method, .. } => Some(method),
            Self::Response => None,
        }
    }

    pub(crate) fn params(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Request(request) => Some(&request.params),
            Self::Notification { params, .. } => Some(params),
            Self::Response => None,
        }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// Its id, as far as it has one, and what is wrong.
    pub(crate) fn read(text: &[u8]) -> Result<Self, (Option<Value>, Refused)> {
        let parse_error = |why: String| (None, Refused::bad(PARSE_ERROR, why));
        let text = std::str::from_utf8(text).map_err(|error| parse_error(error.to_string()))?;
        // A key twice: whoever reads it next could take the other one.
        serde_json::from_str::<Json<'_>>(text).map_err(|error| parse_error(error.to_string()))?;
        let whole: Value =
            serde_json::from_str(text).map_err(|error| parse_error(error.to_string()))?;
        let invalid = |why: &str| Refused::bad(INVALID_REQUEST, why);
        let Value::Object(mut members) = whole else {
            return Err((None, invalid("a message is one object")));
        };
        let id = members.remove("id");
        let known_id = id.clone().filter(is_id);
        let refused = |why: &str| (known_id.clone(), invalid(why));
        if members.remove("jsonrpc") != Some(json!("2.0")) {
            return Err(refused("jsonrpc must be \"2.0\""));
        }
        let Some(method) = members.remove("method") else {
            let answers = id.is_some() && (members.len() == 1);
            let answers =
                answers && (members.contains_key("result") || members.contains_key("error"));
            return if answers { Ok(Self::Response) } else { Err(refused("there is no method")) };
        };
        let Value::String(method) = method else {
            return Err(refused("method must be a text"));
        };
        let params = match members.remove("params") {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(refused("params must be an object")),
        };
        if let Some(unknown) = members.keys().next() {
            return Err(refused(&format!("a message has no member {unknown}")));
        }
        let Some(id) = id else {
            return Ok(Self::Notification { method, params });
        };
        if !is_id(&id) {
            return Err(refused("id must be a text or an integer"));
        }
        let arguments = raw_arguments(text);
        let request = Request { id, method, params, arguments };
        check_meta(&request).map_err(|refused| (Some(request.id.clone()), refused))?;
        Ok(Self::Request(request))
    }
}

fn check_meta(request: &Request) -> Result<(), Refused> {
    match request.params.get("_meta") {
        None | Some(Value::Object(_)) => {}
        Some(_) => return Err(Refused::bad(INVALID_PARAMS, "_meta must be an object")),
    }
    match request.progress_token() {
        Some(token) if !is_id(token) => {
            Err(Refused::bad(INVALID_PARAMS, "progressToken must be a text or an integer"))
        }
        _ => Ok(()),
    }
}

fn is_id(value: &Value) -> bool {
    value.is_string() || value.is_i64() || value.is_u64()
}

fn raw_arguments(text: &str) -> Option<Box<RawValue>> {
    #[derive(serde::Deserialize)]
    struct Outer {
        params: Option<Inner>,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        arguments: Option<Box<RawValue>>,
    }
    serde_json::from_str::<Outer>(text).ok()?.params?.arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<i32> {
        Message::read(text.as_bytes()).err().map(|(_, refused)| refused.code)
    }

    #[test]
    fn messages_are_read_strictly() {
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), None);
        assert_eq!(code(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
        for parse in ["", "{", r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#] {
            assert_eq!(code(parse), Some(PARSE_ERROR), "{parse}");
        }
        for invalid in [
            "[]",
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            assert_eq!(code(invalid), Some(INVALID_REQUEST), "{invalid}");
        }
        let meta =
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":null}}}"#;
        assert_eq!(code(meta), Some(INVALID_PARAMS));
    }

    #[test]
    fn arguments_are_kept_as_they_were_written() {
        let text = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"arguments":{"b":1.50, "a":1}}}"#;
        let Ok(Message::Request(request)) = Message::read(text.as_bytes()) else {
            panic!("it is a request");
        };
        assert_eq!(request.arguments.unwrap().get(), r#"{"b":1.50, "a":1}"#);
    }
}
