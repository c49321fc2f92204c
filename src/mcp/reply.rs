//! What a caller is answered: JSON-RPC messages, alone or as events of a stream.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fault::Fault;
use super::members::Members;
use super::version::Version;

/// The id of an answer to what has none that could be read.
const NO_ID: &str = "null";

#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
}

/// Writes a message of texts that are JSON already.
fn message(id: &RawValue, result: Option<&RawValue>, error: Option<&RawValue>) -> Bytes {
    let answer = Answer { jsonrpc: "2.0", id, result, error };
    serde_json::to_vec(&answer).map(Bytes::from).unwrap_or_default()
}

/// A result.
pub fn result(id: &RawValue, result: &RawValue) -> Bytes {
    message(id, Some(result), None)
}

/// An error of a server's, as it wrote it.
pub fn error(id: &RawValue, error: &RawValue) -> Bytes {
    message(id, None, Some(error))
}

/// A fault of the request's. Without an id it is of a message that could not be read.
pub fn fault(id: Option<&RawValue>, fault: &Fault) -> Bytes {
    let mut error = json!({ "code": fault.code, "message": fault.message });
    if let Some(data) = &fault.data {
        error["data"] = data.clone();
    }
    let none: &RawValue = serde_json::from_str(NO_ID).unwrap_or(RawValue::NULL);
    message(id.unwrap_or(none), None, Some(&raw(&error)))
}

/// As an event of a stream. The message has no line end in it.
pub fn event(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 24);
    event.extend_from_slice(b"event: message\ndata: ");
    event.extend_from_slice(message);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// What is looked at of a result. The rest of it is text.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Peek {
    #[serde(rename = "isError")]
    is_error: bool,
    #[serde(rename = "resultType")]
    result_type: Option<String>,
}

/// A result of a server's, as a caller of `version` gets it, and whether it says that the tool failed. What
/// each result says of its kind since [`Version::V2026_07_28`] is added where an older server does not say
/// it. `None`: it is no result.
pub fn for_version(result: Box<RawValue>, version: Version) -> Option<(Box<RawValue>, bool)> {
    let peek: Peek = serde_json::from_str(result.get()).ok()?;
    if !version.is_stateless() || peek.result_type.is_some() {
        return Some((result, peek.is_error));
    }
    let rest = result.get().strip_prefix('{')?;
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    let text = format!("{{\"resultType\":\"complete\"{comma}{rest}");
    Some((RawValue::from_string(text).ok()?, peek.is_error))
}

/// What the gateway says of itself to who begins with `initialize`, and asks for `wanted`.
pub fn initialized(wanted: Option<&str>, instructions: &str) -> Box<RawValue> {
    let offered = wanted.and_then(Version::parse).filter(|version| !version.is_stateless());
    let version = offered.unwrap_or(Version::NEWEST_WITH_INITIALIZE);
    raw(&json!({
        "protocolVersion": version.as_str(),
        "capabilities": { "tools": {} },
        "serverInfo": who(),
        "instructions": instructions,
    }))
}

/// What the gateway says of itself to who asks for it in each request.
pub fn discovered(instructions: &str) -> Box<RawValue> {
    raw(&json!({
        "resultType": "complete",
        "supportedVersions": Version::ALL.map(Version::as_str),
        "capabilities": { "tools": {} },
        "instructions": instructions,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": who() },
    }))
}

/// A list of tools, whole: it is never in pages. `unavailable` are the servers whose tools are not in it.
pub fn tools(tools: &[Members], unavailable: &[Unavailable], version: Version) -> Box<RawValue> {
    let mut list = Members::default();
    if version.is_stateless() {
        // What may be seen is the caller's own, and may be another in a moment.
        list.put("resultType", &"complete");
        list.put("ttlMs", &0);
        list.put("cacheScope", &"private");
    }
    list.put("tools", &tools);
    if !unavailable.is_empty() {
        list.put("_meta", &json!({ "sluicegate/unavailable": unavailable }));
    }
    list.to_raw()
}

/// A server that gives no list of its tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unavailable {
    /// Its name.
    pub server: String,
    /// Why, in a word.
    pub reason: &'static str,
}

fn who() -> Value {
    json!({ "name": "sluicegate", "title": "Sluicegate", "version": env!("CARGO_PKG_VERSION") })
}

/// As JSON text.
pub fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn what_a_server_wrote_passes_as_it_is() {
        let id = text(r#""é-1""#);
        let wrote = text(r#"{"content":[ {"n":1.0e2} ],"x":"\u00e9"}"#);
        let expected =
            r#"{"jsonrpc":"2.0","id":"é-1","result":{"content":[ {"n":1.0e2} ],"x":"\u00e9"}}"#;
        assert_eq!(result(&id, &wrote), expected);
        let wrote = text(r#"{"code":-32602,"message":"no"}"#);
        let expected = r#"{"jsonrpc":"2.0","id":"é-1","error":{"code":-32602,"message":"no"}}"#;
        assert_eq!(error(&id, &wrote), expected);
    }

    #[test]
    fn a_result_says_its_kind_to_those_who_look_for_it() {
        let new = Version::V2026_07_28;
        for (wrote, version, expected, failed) in [
            (r#"{"content":[]}"#, new, r#"{"resultType":"complete","content":[]}"#, false),
            ("{ }", new, r#"{"resultType":"complete" }"#, false),
            (r#"{"isError":true}"#, Version::UNSAID, r#"{"isError":true}"#, true),
            (
                r#"{"resultType":"input_required"}"#,
                new,
                r#"{"resultType":"input_required"}"#,
                false,
            ),
        ] {
            let (result, is_error) = for_version(text(wrote), version).unwrap();
            assert_eq!((result.get(), is_error), (expected, failed));
        }
        for wrote in ["[]", "1", "null", r#"{"isError":"yes"}"#] {
            assert!(for_version(text(wrote), new).is_none(), "{wrote}");
        }
    }

    #[test]
    fn a_handshake_agrees_on_what_both_speak() {
        for (wanted, agreed) in [
            (Some("2024-11-05"), "2024-11-05"),
            (Some("2025-06-18"), "2025-06-18"),
            (Some("2026-07-28"), "2025-11-25"),
            (Some("1999-01-01"), "2025-11-25"),
            (None, "2025-11-25"),
        ] {
            let said: Value = serde_json::from_str(initialized(wanted, "").get()).unwrap();
            assert_eq!(said["protocolVersion"], agreed, "{wanted:?}");
        }
    }
}
