//! What a caller is answered: JSON-RPC messages, alone or as events of a stream.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fault::Fault;
use super::members::{Members, one_line};
use super::version::Version;

/// The end of an answer: what it says, as its server wrote it.
#[derive(Clone, Copy, Debug)]
pub enum Last<'a> {
    /// A result. `completed`: it is to say its kind, which it does not.
    Result {
        /// As it is written.
        text: &'a RawValue,
        /// Whether `resultType` is to be added.
        completed: bool,
    },
    /// An error.
    Error(&'a RawValue),
}

/// Writes an answer's last message; `as_event`: of a stream. It may be long, so that it is copied once.
pub fn last(id: &RawValue, last: Last<'_>, as_event: bool) -> Bytes {
    let (member, added, text) = match last {
        Last::Result { text, completed: false } => (RESULT, "", text.get()),
        Last::Result { text, completed: true } => {
            // The rest of the object, whose brace is written here.
            let rest = text.get().strip_prefix('{').unwrap_or_default();
            let empty = rest.trim_start().starts_with('}');
            (RESULT, if empty { COMPLETE } else { COMPLETE_AND }, rest)
        }
        Last::Error(text) => (",\"error\":", "", text.get()),
    };
    let (before, after) = if as_event { (EVENT, EVENT_END) } else { ("", "") };
    let pieces =
        [before, "{\"jsonrpc\":\"2.0\",\"id\":", id.get(), member, added, text, "}", after];
    let mut out = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
    if as_event {
        let end = out.len() - after.len();
        // A line end would end the event.
        one_line(&mut out[before.len()..end]);
    }
    out.into()
}

const RESULT: &str = ",\"result\":";
const COMPLETE: &str = "{\"resultType\":\"complete\"";
const COMPLETE_AND: &str = "{\"resultType\":\"complete\",";
const EVENT: &str = "event: message\ndata: ";
const EVENT_END: &str = "\n\n";

/// A result of the gateway's.
pub fn result(id: &RawValue, result: &RawValue) -> Bytes {
    last(id, Last::Result { text: result, completed: false }, false)
}

/// A fault of the request's. Without an id it is of a message that could not be read.
pub fn fault(id: Option<&RawValue>, fault: &Fault) -> Bytes {
    let mut error = json!({ "code": fault.code, "message": fault.message });
    if let Some(data) = &fault.data {
        error["data"] = data.clone();
    }
    last(id.unwrap_or(RawValue::NULL), Last::Error(&raw(&error)), false)
}

/// A message as an event of a stream.
pub fn event(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + EVENT.len() + EVENT_END.len());
    event.extend_from_slice(EVENT.as_bytes());
    event.extend_from_slice(message);
    one_line(&mut event[EVENT.len()..]);
    event.extend_from_slice(EVENT_END.as_bytes());
    event.into()
}

/// What is looked at of a result. The rest of it is text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// It says that the tool failed.
    pub is_error: bool,
    /// It says what kind of result it is.
    pub has_type: bool,
}

impl Peek {
    /// Looks at a result. `None`: it is no object.
    pub fn of(result: &RawValue) -> Option<Self> {
        serde_json::from_str(result.get()).ok()
    }
}

/// Whatever stands where the tool has written it: it has had its effect, and its result is the caller's.
impl<'de> Deserialize<'de> for Peek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Peek;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Peek, A::Error> {
                let mut peek = Peek::default();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "isError" => peek.is_error = map.next_value::<&RawValue>()?.get() == "true",
                        "resultType" => {
                            map.next_value::<IgnoredAny>()?;
                            peek.has_type = true;
                        }
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(peek)
            }
        }

        deserializer.deserialize_map(Members)
    }
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
        assert_eq!(last(&id, Last::Error(&wrote), false), expected);
    }

    #[test]
    fn no_line_end_breaks_an_event() {
        let (id, wrote) = (text("1"), text("{\n  \"a\": [\r\n1, \"\\n\"]\n}"));
        let event = last(&id, Last::Result { text: &wrote, completed: true }, true);
        let expected = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\
                        {\"resultType\":\"complete\",   \"a\": [  1, \"\\n\"] }}\n\n";
        assert_eq!(event, expected);
        assert_eq!(super::event(b"{\n}"), "event: message\ndata: { }\n\n");
    }

    #[test]
    fn a_result_says_its_kind_to_those_who_look_for_it() {
        for (wrote, expected) in [
            (r#"{"content":[]}"#, r#"{"resultType":"complete","content":[]}"#),
            ("{ }", r#"{"resultType":"complete" }"#),
        ] {
            let (wrote, id) = (text(wrote), text("1"));
            let message = last(&id, Last::Result { text: &wrote, completed: true }, false);
            let message: Value = serde_json::from_slice(&message).unwrap();
            assert_eq!(message["result"], serde_json::from_str::<Value>(expected).unwrap());
        }
    }

    #[test]
    fn whatever_a_tool_writes_is_its_result() {
        for (wrote, is_error, has_type) in [
            (r#"{"isError":true}"#, true, false),
            (r#"{"isError":null,"x":[{"isError":true}]}"#, false, false),
            (r#"{"isError":"yes","isError":false}"#, false, false),
            (r#"{"resultType":7}"#, false, true),
            ("{}", false, false),
        ] {
            assert_eq!(Peek::of(&text(wrote)), Some(Peek { is_error, has_type }), "{wrote}");
        }
        for wrote in ["[]", "1", "null"] {
            assert_eq!(Peek::of(&text(wrote)), None, "{wrote}");
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
