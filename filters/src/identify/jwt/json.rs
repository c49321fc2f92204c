//! JSON without its ambiguities: what two parsers could read in two ways is refused.
//!
//! A repeated member is the dangerous one: which of the two counts differs between parsers, so one
//! part of a system could check a claim that another does not read (RFC 7519 section 4, RFC 8259
//! section 4). Here it is refused at every depth, after escapes have been undone.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Levels of nesting that are read.
const MAX_DEPTH: u8 = 32;

/// Why bytes are no acceptable JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON in UTF-8 (RFC 8259), or something behind it.
    #[error("it is not JSON in UTF-8")]
    Syntax,
    /// JSON, but no object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A member stands twice in one object, or the nesting is deeper than 32 levels.
    #[error("a member is repeated in it, or it is nested too deeply")]
    Ambiguous,
}

/// Reads one object, and nothing behind it.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(|error| {
        // The visitor takes every type, so an error in the data is one of its own.
        if error.is_data() { JsonError::Ambiguous } else { JsonError::Syntax }
    })?;
    deserializer.end().map_err(|_| JsonError::Syntax)?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(JsonError::NotAnObject),
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(deeper)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(deeper)?;
            if values.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated"));
            }
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_objects_are_read_as_they_are() {
        let text = r#" {"a": [1, -2, 1.5, true, null, "x\u00e9"], "b": {"a": {}}} "#;
        let expected: Value = serde_json::from_str(text).expect("valid JSON");
        assert_eq!(object(text.as_bytes()).map(Value::Object), Ok(expected));
    }

    #[test]
    fn what_is_ambiguous_or_no_object_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(32), "]".repeat(32));
        for (text, expected) in [
            (&br#"{"a":1,"a":1}"#[..], JsonError::Ambiguous),
            (br#"{"a":1,"\u0061":2}"#, JsonError::Ambiguous),
            (br#"{"x":{"y":[{"a":1,"b":2,"a":3}]}}"#, JsonError::Ambiguous),
            (deep.as_bytes(), JsonError::Ambiguous),
            (b"[1]", JsonError::NotAnObject),
            (b"null", JsonError::NotAnObject),
            (b"\"{}\"", JsonError::NotAnObject),
            (b"", JsonError::Syntax),
            (b"{}{}", JsonError::Syntax),
            (b"{} x", JsonError::Syntax),
            (b"{'a':1}", JsonError::Syntax),
            (b"{\"a\":1,}", JsonError::Syntax),
            (b"{\"a\":NaN}", JsonError::Syntax),
            (b"{\"a\":Infinity}", JsonError::Syntax),
            (b"{\"a\":1e999}", JsonError::Syntax),
            (b"{\"a\":01}", JsonError::Syntax),
            (b"{\"a\":\"\\ud800\"}", JsonError::Syntax),
            (b"{\"a\":\"\xff\"}", JsonError::Syntax),
            (b"{\"a\":\"\n\"}", JsonError::Syntax),
            (b"\xef\xbb\xbf{}", JsonError::Syntax),
            (b"{/**/}", JsonError::Syntax),
        ] {
            assert_eq!(object(text), Err(expected), "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_what_a_lenient_parser_sees(text in r#"[{}\[\]"a,:0-9. \\u]{0,40}"#) {
            let text = format!("{{{text}}}");
            if let Ok(members) = object(text.as_bytes()) {
                let lenient: Value = serde_json::from_str(&text).expect("what is strict is JSON");
                prop_assert_eq!(Value::Object(members), lenient);
            }
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = object(&bytes);
        }
    }
}
