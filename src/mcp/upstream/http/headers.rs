//! What a request's headers repeat of its body since 2026-07-28, for those between who read no bodies: the
//! tool's name, and the arguments that its schema names with `x-mcp-header`.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mcp::request::BASE64;

/// The most headers of one call. With more, what is beyond is left out, and the server refuses the call.
const MOST: usize = 64;

/// The longest value of one. A longer one is left out.
const LONGEST: usize = 8 * 1_024;

const PREFIX: &str = "mcp-param-";
const OPEN: &str = BASE64.0;
const CLOSE: &str = BASE64.1;

/// `Mcp-Param-*`: the headers that a call with `arguments` carries to a tool whose input schema is
/// `input_schema`.
///
/// A property that is reached through `properties` alone, is a string, an integer or a boolean, and has the
/// annotation `x-mcp-header` with a token in it, gives a header. Where two have the same, neither does.
pub fn param_headers(
    input_schema: &RawValue,
    arguments: &RawValue,
) -> Vec<(HeaderName, HeaderValue)> {
    // Most schemas have none, and needn't be read.
    if !input_schema.get().contains("x-mcp-header") {
        return Vec::new();
    }
    let (Ok(schema), Ok(arguments)) = (
        serde_json::from_str::<Value>(input_schema.get()),
        serde_json::from_str::<Value>(arguments.get()),
    ) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    collect(&schema, Some(&arguments), &mut found);
    let mut times = HashMap::new();
    for (name, _) in &found {
        *times.entry(name.clone()).or_insert(0) += 1;
    }
    let alone = found.into_iter().filter(|(name, _)| times.get(name) == Some(&1));
    alone.filter_map(|(name, value)| Some((name, value?))).take(MOST).collect()
}

/// The annotations of an object's properties, with their values where they have one.
fn collect(
    schema: &Value,
    argument: Option<&Value>,
    found: &mut Vec<(HeaderName, Option<HeaderValue>)>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        let argument = argument.and_then(|argument| argument.get(name));
        if let Some(header) = annotation(schema) {
            found.push((header, argument.and_then(text).and_then(|text| value(&text))));
        }
        collect(schema, argument, found);
    }
}

fn annotation(schema: &Value) -> Option<HeaderName> {
    let token = schema.get("x-mcp-header")?.as_str().filter(|token| !token.is_empty())?;
    let kind = schema.get("type")?.as_str()?;
    matches!(kind, "string" | "integer" | "boolean")
        .then(|| HeaderName::try_from(format!("{PREFIX}{token}")).ok())
        .flatten()
}

fn text(argument: &Value) -> Option<String> {
    match argument {
        Value::String(text) => Some(text.clone()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// `Mcp-Name`. `None` for a name that is too long for a header.
pub fn name_header(name: &str) -> Option<HeaderValue> {
    value(name)
}

/// A text as the value of a header: as it is where it arrives so, else in base64 between two marks.
fn value(text: &str) -> Option<HeaderValue> {
    if text.len() > LONGEST {
        return None;
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = text.as_bytes();
    let marked = text.starts_with(OPEN) && text.ends_with(CLOSE);
    let plain = bytes.iter().all(|byte| matches!(byte, 0x20..=0x7E))
        && !blank(bytes.first())
        && !blank(bytes.last())
        && !marked;
    if plain {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::try_from(format!("{OPEN}{}{CLOSE}", BASE64_STANDARD.encode(text))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(schema: &str, arguments: &str) -> Vec<(String, String)> {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        param_headers(&raw(schema), &raw(arguments))
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const SCHEMA: &str = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "count":{"type":"integer","x-mcp-header":"Count"},
        "plain":{"type":"string"},
        "place":{"type":"object","properties":{"near":{"type":"boolean","x-mcp-header":"Near"}}},
        "list":{"type":"array","items":{"type":"string","x-mcp-header":"Item"}}}}"#;

    #[test]
    fn annotated_arguments_become_headers() {
        let arguments =
            r#"{"region":"eu","count":-7,"plain":"x","place":{"near":true},"list":["a"]}"#;
        let mut found = headers(SCHEMA, arguments);
        found.sort();
        let expected =
            [("mcp-param-count", "-7"), ("mcp-param-near", "true"), ("mcp-param-region", "eu")];
        assert_eq!(found, pairs(&expected));
    }

    #[test]
    fn what_is_not_there_gives_none() {
        for arguments in ["{}", r#"{"region":null}"#, r#"{"near":true}"#, "[]", r#"{"region":{}}"#]
        {
            assert!(headers(SCHEMA, arguments).is_empty(), "{arguments}");
        }
        assert!(headers("{}", r#"{"region":"eu"}"#).is_empty());
        assert!(headers("[\"x-mcp-header\"]", "{}").is_empty());
    }

    #[test]
    fn annotations_that_are_none_give_none() {
        for property in [
            r#"{"type":"number","x-mcp-header":"A"}"#,
            r#"{"x-mcp-header":"A"}"#,
            r#"{"type":"string","x-mcp-header":""}"#,
            r#"{"type":"string","x-mcp-header":"a b"}"#,
            r#"{"type":"string","x-mcp-header":"a\r\nb: c"}"#,
            r#"{"type":"string","x-mcp-header":7}"#,
        ] {
            let schema = format!(r#"{{"properties":{{"a":{property}}}}}"#);
            assert!(headers(&schema, r#"{"a":"x"}"#).is_empty(), "{property}");
        }
        let twice = r#"{"properties":{"a":{"type":"string","x-mcp-header":"H"},
            "b":{"type":"string","x-mcp-header":"h"},"c":{"type":"string","x-mcp-header":"C"}}}"#;
        let found = headers(twice, r#"{"a":"1","b":"2","c":"3"}"#);
        assert_eq!(found, pairs(&[("mcp-param-c", "3")]));
    }

    #[test]
    fn a_value_that_does_not_arrive_as_it_is_goes_in_base64() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("", ""),
            (" before", "=?base64?IGJlZm9yZQ==?="),
            ("after\t", "=?base64?YWZ0ZXIJ?="),
            ("Zürich", "=?base64?WsO8cmljaA==?="),
            ("a\r\nb: c", "=?base64?YQ0KYjogYw==?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert_eq!(value(text).unwrap(), expected, "{text:?}");
        }
        assert!(value(&"x".repeat(LONGEST)).is_some());
        assert!(value(&"x".repeat(LONGEST + 1)).is_none());
    }
}
