//! What a caller asks: a JSON-RPC message and the headers that go with it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;

use super::fault::{Fault, HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR};
use super::members::{self, Members};
use super::upstream::{META_CAPABILITIES, META_PROTOCOL};
use super::version::Version;

/// The version that a request speaks.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method of the body, for boxes on the way.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The name of the tool in the body, for boxes on the way.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Around the Base64 of a header's value that could not stand there as it is.
pub const BASE64: (&str, &str) = ("=?base64?", "?=");

/// Bytes of a request's id, at most.
const MAX_ID: usize = 256;

/// A message.
#[derive(Debug)]
pub enum Message {
    /// It wants an answer.
    Request(Request),
    /// It wants none: the request with this id is to end.
    Cancelled(Box<RawValue>),
    /// It wants none: another notification, or an answer to what nobody has asked.
    Other,
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// A string or a number, as it is written.
    pub id: Box<RawValue>,
    /// What is asked for.
    pub method: String,
    /// With what.
    pub params: Members,
    /// What the caller speaks.
    pub version: Version,
}

/// A fault with the id of the request that has it, as far as that could be read.
#[derive(Debug)]
pub struct Unreadable {
    /// What is wrong.
    pub fault: Fault,
    /// The request's id.
    pub id: Option<Box<RawValue>>,
}

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        Self { fault, id: None }
    }
}

/// Reads a message.
///
/// # Errors
/// It is none, or its headers say something else.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Message, Unreadable> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        let message = "Several messages in one request are not taken; send one at a time.";
        return Err(Fault::new(INVALID_REQUEST, message).into());
    }
    let mut members = Members::parse(body).map_err(|error| {
        let code = if error.is_data() { INVALID_REQUEST } else { PARSE_ERROR };
        Fault::new(code, format!("The body is no JSON-RPC message: {}.", members::why(&error)))
    })?;
    if members.text("jsonrpc").as_deref() != Some("2.0") {
        return Err(Fault::new(INVALID_REQUEST, "The message's `jsonrpc` is not \"2.0\".").into());
    }
    let Some(id) = members.remove("id") else {
        let missing = Fault::new(INVALID_REQUEST, "The message has neither `id` nor `method`.");
        let method = members.text("method").ok_or(missing)?;
        let request = members.object("params").and_then(|mut params| params.remove("requestId"));
        return Ok(match request.filter(|id| method == "notifications/cancelled" && is_id(id)) {
            Some(id) => Message::Cancelled(id),
            None => Message::Other,
        });
    };
    if members.get("method").is_none()
        && (members.get("result").is_some() || members.get("error").is_some())
    {
        return Ok(Message::Other);
    }
    if !is_id(&id) {
        let message = "The message's `id` is neither a string nor a whole number, or is too long.";
        return Err(Fault::new(INVALID_REQUEST, message).into());
    }
    request(headers, &mut members)
        .map(|(method, params, version)| {
            Message::Request(Request { id: id.clone(), method, params, version })
        })
        .map_err(|fault| Unreadable { fault, id: Some(id) })
}

fn request(
    headers: &HeaderMap,
    members: &mut Members,
) -> Result<(String, Members, Version), Fault> {
    let method = members.text("method");
    let method =
        method.ok_or(Fault::new(INVALID_REQUEST, "The message's `method` is no string."))?;
    let params = match members.remove("params") {
        None => Members::default(),
        Some(params) => Members::parse(params.get().as_bytes()).map_err(|error| {
            let why = members::why(&error);
            Fault::new(INVALID_PARAMS, format!("The message's `params` can't be used: {why}."))
        })?,
    };
    let version = version(headers, &method, &params)?;
    if version.is_stateless() {
        same(headers, &METHOD, Some(&method))?;
        // Other methods have names of other kinds, and none of them is served.
        if method == "tools/call" {
            same(headers, &NAME, params.text("name").as_deref())?;
        }
    }
    Ok((method, params, version))
}

fn is_id(id: &RawValue) -> bool {
    let text = id.get();
    let number =
        || serde_json::from_str::<i64>(text).is_ok() || serde_json::from_str::<u64>(text).is_ok();
    text.len() <= MAX_ID && (text.starts_with('"') || number())
}

/// What the request speaks. A handshake says it in its own way, and agrees on it there.
fn version(headers: &HeaderMap, method: &str, params: &Members) -> Result<Version, Fault> {
    let header = one(headers, &PROTOCOL_VERSION)?;
    if method == "initialize" {
        return Ok(Version::NEWEST_WITH_INITIALIZE);
    }
    let meta = params.object("_meta").unwrap_or_default();
    let in_meta = meta.text(META_PROTOCOL);
    let header = match (header, &in_meta) {
        (Some(header), _) => header,
        (None, None) => return Ok(Version::UNSAID),
        (None, Some(_)) => {
            let message = "The request's `_meta` names a version, and there is no header mcp-protocol-version.";
            return Err(Fault::new(HEADER_MISMATCH, message));
        }
    };
    let version = Version::parse(&header).ok_or_else(|| Fault::unsupported(&header))?;
    if !version.is_stateless() && in_meta.is_none() {
        return Ok(version);
    }
    let capabilities = meta.get(META_CAPABILITIES);
    if in_meta.is_none() || !capabilities.is_some_and(|value| value.get().starts_with('{')) {
        let message = format!(
            "The request's `_meta` must have {META_PROTOCOL} and {META_CAPABILITIES} in this version."
        );
        return Err(Fault::new(INVALID_PARAMS, message));
    }
    if in_meta.as_deref() != Some(&*header) {
        let message =
            "The header mcp-protocol-version and the request's `_meta` name different versions.";
        return Err(Fault::new(HEADER_MISMATCH, message));
    }
    Ok(version)
}

/// A header's value, where the header stands once.
fn one(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Fault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(value) if values.next().is_none() => Ok(Some(value.trim().to_owned())),
        _ => {
            let message =
                format!("The header {name} stands twice, or has a character outside ASCII.");
            Err(Fault::new(HEADER_MISMATCH, message))
        }
    }
}

/// A header that says what the body says.
fn same(headers: &HeaderMap, name: &HeaderName, body: Option<&str>) -> Result<(), Fault> {
    let header = one(headers, name)?.map(|value| match decode(&value) {
        Some(decoded) => decoded,
        None => value,
    });
    if header.as_deref() == body {
        return Ok(());
    }
    let message = match header {
        None => format!("The header {name} is missing, which this version wants."),
        Some(_) => format!("The header {name} says something else than the body."),
    };
    Err(Fault::new(HEADER_MISMATCH, message))
}

/// What a value in Base64 stands for.
fn decode(value: &str) -> Option<String> {
    let inner = value.strip_prefix(BASE64.0)?.strip_suffix(BASE64.1)?;
    String::from_utf8(STANDARD.decode(inner).ok()?).ok()
}

/// Whether the caller takes an answer as an event stream.
pub fn takes_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(http::header::ACCEPT).iter();
    let ranges = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges.into_iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let refused =
            parts.any(|part| matches!(part.strip_prefix("q="), Some(q) if q.parse() == Ok(0.0)));
        kind.eq_ignore_ascii_case("text/event-stream") && !refused
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const CALL: &str =
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x_y"}}"#;
    const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&HeaderName, &str)| {
            ((*name).clone(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn request(headers: &HeaderMap, body: &str) -> Result<Request, Fault> {
        match read(headers, body.as_bytes()) {
            Ok(Message::Request(request)) => Ok(request),
            Ok(other) => panic!("a request, not {other:?}"),
            Err(unreadable) => Err(unreadable.fault),
        }
    }

    fn stateless(
        method: &str,
        name: Option<&str>,
        params: &str,
    ) -> (Vec<(HeaderName, String)>, String) {
        let mut headers =
            vec![(PROTOCOL_VERSION, "2026-07-28".to_owned()), (METHOD, method.to_owned())];
        headers.extend(name.map(|name| (NAME, name.to_owned())));
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{META}{params}}}}}"#
        );
        (headers, body)
    }

    fn ask((headers, body): &(Vec<(HeaderName, String)>, String)) -> Result<Request, Fault> {
        let pairs: Vec<_> = headers.iter().map(|(name, value)| (name, value.as_str())).collect();
        request(&self::headers(&pairs), body)
    }

    #[test]
    fn a_request_of_the_older_era_says_its_version_in_a_header_or_not_at_all() {
        let plain = request(&HeaderMap::new(), CALL).unwrap();
        assert_eq!((plain.version, plain.id.get()), (Version::UNSAID, r#""a""#));
        assert_eq!(plain.params.text("name").as_deref(), Some("x_y"));
        let said = request(&headers(&[(&PROTOCOL_VERSION, "2025-06-18")]), CALL).unwrap();
        assert_eq!(said.version, Version::V2025_06_18);
        let unknown = request(&headers(&[(&PROTOCOL_VERSION, "2031-01-01")]), CALL).unwrap_err();
        assert_eq!(unknown.code, super::super::fault::UNSUPPORTED_VERSION);
        assert!(unknown.data.unwrap()["supported"].as_array().unwrap().len() == 5);
    }

    #[test]
    fn a_request_of_the_newer_era_says_all_in_its_body_and_again_in_its_headers() {
        let good = stateless("tools/call", Some("x_y"), r#","name":"x_y""#);
        assert_eq!(ask(&good).unwrap().version, Version::V2026_07_28);
        let encoded = stateless("tools/call", Some("=?base64?w7w=?="), r#","name":"ü""#);
        assert!(ask(&encoded).is_ok());
        let other = stateless("prompts/get", Some("a prompt"), "");
        assert!(ask(&other).is_ok(), "a name of another kind");
        let (headers, body) = stateless("tools/list", None, "");
        let nobody = (headers, body.replace("clientInfo", "somebody"));
        assert!(ask(&nobody).is_ok(), "who asks need not be said");
        for (what, (mut headers, mut body), code) in [
            (
                "another name",
                stateless("tools/call", Some("y_z"), r#","name":"x_y""#),
                HEADER_MISMATCH,
            ),
            ("no name", stateless("tools/call", None, r#","name":"x_y""#), HEADER_MISMATCH),
            ("another method", stateless("tools/list", None, ""), HEADER_MISMATCH),
            ("another version", stateless("tools/list", None, ""), HEADER_MISMATCH),
            ("no version", stateless("tools/list", None, ""), HEADER_MISMATCH),
            ("two methods", stateless("tools/list", None, ""), HEADER_MISMATCH),
            ("no capabilities", stateless("tools/list", None, ""), INVALID_PARAMS),
        ] {
            match what {
                "another method" => headers[1].1 = "tools/call".to_owned(),
                "another version" => headers[0].1 = "2025-11-25".to_owned(),
                "no version" => drop(headers.remove(0)),
                "two methods" => headers.push((METHOD, "tools/list".to_owned())),
                "no capabilities" => body = body.replace("clientCapabilities", "nothing"),
                _ => {}
            }
            assert_eq!(ask(&(headers, body)).map(drop).unwrap_err().code, code, "{what}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_so_with_the_id_where_it_has_one() {
        for (body, code) in [
            ("", PARSE_ERROR),
            ("{", PARSE_ERROR),
            ("[]", INVALID_REQUEST),
            ("7", INVALID_REQUEST),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#, INVALID_PARAMS),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":1,"name":2}}"#,
                INVALID_PARAMS,
            ),
            (r#"{"jsonrpc":"2.0"}"#, INVALID_REQUEST),
        ] {
            let error = read(&HeaderMap::new(), body.as_bytes()).map(drop).unwrap_err();
            assert_eq!(error.fault.code, code, "{body}");
            assert_eq!(
                error.id.is_some(),
                body.contains(r#""params""#) || body.contains(":7}"),
                "{body}"
            );
        }
    }

    #[test]
    fn notifications_and_answers_want_no_answer() {
        for body in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
        ] {
            assert!(
                matches!(read(&HeaderMap::new(), body.as_bytes()), Ok(Message::Other)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_cancellation_names_the_request_that_is_to_end() {
        let read = |params: &str| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#
            );
            read(&HeaderMap::new(), body.as_bytes()).unwrap()
        };
        assert!(
            matches!(read(r#"{"requestId":"a"}"#), Message::Cancelled(id) if id.get() == r#""a""#)
        );
        for params in ["{}", "[]", r#"{"requestId":{}}"#] {
            assert!(matches!(read(params), Message::Other), "{params}");
        }
    }

    #[test]
    fn events_are_sent_to_those_who_take_them() {
        for (accept, takes) in [
            ("application/json, text/event-stream", true),
            ("Text/Event-Stream;q=0.5", true),
            ("application/json", false),
            ("text/event-stream;q=0, */*", false),
            ("*/*", false),
        ] {
            assert_eq!(
                takes_events(&headers(&[(&http::header::ACCEPT, accept)])),
                takes,
                "{accept}"
            );
        }
    }

    proptest! {
        /// Whatever comes is read or refused.
        #[test]
        fn no_body_breaks_the_reader(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&HeaderMap::new(), &body));
        }

        #[test]
        fn ids_come_back_as_they_are_written(id in "[0-9]{1,18}|\"[a-z\\\\u00e4]{0,20}\"") {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{id}}}"#);
            if let Ok(Message::Request(request)) = read(&HeaderMap::new(), body.as_bytes()) {
                prop_assert_eq!(request.id.get(), id);
            }
        }
    }
}
