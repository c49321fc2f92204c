//! JSON objects taken apart one level deep. What is within stays text, as it was written: a gateway has no
//! business with the numbers of a tool's answer.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::map::Entry;
use serde_json::value::RawValue;

/// The most members of one object. Each takes many times the memory of its text, if that is short.
const MOST: usize = 4_096;

/// The members of a JSON object in their order. No name stands twice: parsers differ in which of the two
/// they believe, so that what was judged might not be what is done.
#[derive(Clone, Debug, Default)]
pub struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// Reads an object.
    ///
    /// # Errors
    /// It is no object, not JSON, has a name twice, or has more than 4,096 members.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The value of a member that is a string.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The value of a member that is an object.
    pub fn object(&self, name: &str) -> Option<Self> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// Sets a member: in its place where there is one, else at the end.
    pub fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Sets a member to what `value` is as JSON.
    pub fn put(&mut self, name: &str, value: &impl Serialize) {
        // Nothing that is put here has a map with keys that are no strings, or fails by itself.
        if let Ok(value) = serde_json::value::to_raw_value(value) {
            self.set(name, value);
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    /// As JSON text.
    pub fn to_raw(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(self)
            .unwrap_or_else(|_| unreachable!("text that was read is written"))
    }
}

/// Values within one that is read as a whole. Each takes many times the memory of its text, if that is short.
const MOST_VALUES: usize = 16 * 1024;

/// A value as a whole. No object in it has a name twice.
///
/// # Errors
/// One has, or there are too many values.
pub fn value(text: &RawValue) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text.get());
    Unambiguous(&Cell::new(MOST_VALUES)).deserialize(&mut reader)
}

/// Reads a value in which no name stands twice, with so many values left.
#[derive(Clone, Copy)]
struct Unambiguous<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for Unambiguous<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        struct Any<'c>(Unambiguous<'c>);

        impl<'de> Visitor<'de> for Any<'_> {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element_seed(self.0)? {
                    elements.push(element);
                }
                Ok(Value::Array(elements))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut object = serde_json::Map::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value = map.next_value_seed(self.0)?;
                    match object.entry(name) {
                        Entry::Vacant(place) => drop(place.insert(value)),
                        Entry::Occupied(taken) => return Err(twice(taken.key())),
                    }
                }
                Ok(Value::Object(object))
            }
        }

        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| serde::de::Error::custom(TOO_MUCH))?);
        deserializer.deserialize_any(Any(self))
    }
}

fn twice<E: serde::de::Error>(name: &str) -> E {
    let shown: String = name.chars().take(64).collect();
    E::custom(format_args!("{TWICE}{}` stands twice", shown.escape_debug()))
}

const TWICE: &str = "the member `";
const TOO_MANY: &str = "an object has too many members";
const TOO_MUCH: &str = "there are too many values";

/// What is wrong with text that was not read, in words of ours: serde would show what stands there, which is
/// a caller's content.
pub fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if [TWICE, TOO_MANY, TOO_MUCH].iter().any(|ours| text.starts_with(ours)) {
        // Without serde's place in the text, which is one within a part of it.
        return text.split(" at line ").next().unwrap_or_default().to_owned();
    }
    if error.is_data() {
        return "it is no JSON object".to_owned();
    }
    format!("it is no JSON from line {}, column {} on", error.line(), error.column())
}

/// Two names in an object of `value`, at any depth, that only their letters' case tells apart. Some servers
/// take them for one.
pub fn alike(value: &Value) -> Option<&str> {
    match value {
        Value::Array(elements) => elements.iter().find_map(alike),
        Value::Object(object) => {
            let mut seen = std::collections::HashSet::new();
            let twice = object.keys().find(|name| !seen.insert(folded(name)));
            twice.map(String::as_str).or_else(|| object.values().find_map(alike))
        }
        _ => None,
    }
}

/// Makes one line of a JSON text. Within strings line ends are escaped, so what is replaced is space between
/// tokens.
pub fn one_line(text: &mut [u8]) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
    }
}

/// A name without its letters' case, in the way of the parsers that fold most.
pub fn folded(name: &str) -> String {
    // The long s and the sign for Kelvin are letters of their own, but not to all.
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl<'de> Visitor<'de> for Whole {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                let mut names = std::collections::HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if !names.insert(name.clone()) {
                        return Err(twice(&name));
                    }
                    if members.len() >= MOST {
                        return Err(serde::de::Error::custom(TOO_MANY));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_as_it_was() {
        let text = r#"{"b":1.0e0,"a":{"z":[1 , 2],"z":"twice, within"},"\u0063":"\ud83d\ude00"}"#;
        let members = Members::parse(text.as_bytes()).unwrap();
        let expected = r#"{"b":1.0e0,"a":{"z":[1 , 2],"z":"twice, within"},"c":"\ud83d\ude00"}"#;
        assert_eq!(members.to_raw().get(), expected);
        assert_eq!(members.text("c").as_deref(), Some("😀"));
        assert!(members.object("a").is_none(), "a name twice");
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_however_it_is_written() {
        let error = Members::parse(br#"{"name":1,"\u006eame":2}"#).unwrap_err().to_string();
        assert!(error.contains("`name` stands twice"), "{error}");
        for text in ["[]", "1", "", "{", r#"{"a":1}x"#, r#"{"a":}"#] {
            assert!(Members::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_read_as_it_is_unless_a_name_stands_twice_in_it() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let text = r#"{"a":[1,-2,3.5,"\n",null,true,{"b":{}}],"c":18446744073709551615}"#;
        assert_eq!(value(&raw(text)).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for text in [r#"{"a":1,"a":1}"#, r#"[{"a":{"b":1,"\u0062":2}}]"#] {
            assert!(value(&raw(text)).unwrap_err().to_string().contains("stands twice"), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        let why = |text: &str| why(&Members::parse(text.as_bytes()).unwrap_err());
        assert_eq!(why(r#""a secret prompt""#), "it is no JSON object");
        assert_eq!(why("{ nonsense"), "it is no JSON from line 1, column 3 on");
        assert_eq!(why(r#"{"a":1,"a":2}"#), "the member `a` stands twice");
        let long = "x".repeat(10_000);
        assert!(why(&format!(r#"{{"{long}":1,"{long}":2}}"#)).len() < 100);
    }

    #[test]
    fn names_that_some_servers_take_for_one_are_found() {
        for (text, found) in [
            (r#"{"path":1,"Path":2}"#, Some("Path")),
            (r#"[{"a":{"k":1,"K":2}}]"#, Some("K")),
            (r#"{"class":1,"cla\u017fs":2}"#, Some("cla\u{17f}s")),
            (r#"{"k":1,"\u212a":2}"#, Some("\u{212a}")),
            (r#"{"a":{"b":1},"b":[{"a":1}]}"#, None),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(alike(&value), found, "{text}");
        }
    }

    #[test]
    fn a_value_has_only_so_many_within() {
        let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        let read = |text: String| value(&RawValue::from_string(text).unwrap());
        assert!(read(list(MOST_VALUES - 1)).is_ok());
        assert!(read(list(MOST_VALUES)).unwrap_err().to_string().starts_with(TOO_MUCH));
    }

    #[test]
    fn line_ends_between_tokens_become_spaces() {
        let mut text = b"{\r\n\"a\":\"\\n\"\n}".to_vec();
        one_line(&mut text);
        assert_eq!(text, b"{  \"a\":\"\\n\" }");
    }

    #[test]
    fn there_are_not_too_many() {
        let text = |count: usize| {
            let members: Vec<_> = (0..count).map(|number| format!("\"{number}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Members::parse(text(MOST).as_bytes()).is_ok());
        assert!(Members::parse(text(MOST + 1).as_bytes()).is_err());
    }

    #[test]
    fn members_are_set_in_place_and_taken_out() {
        let mut members = Members::parse(br#"{"a":1,"b":2}"#).unwrap();
        members.put("a", &"x");
        members.put("c", &[1, 2]);
        assert!(members.remove("b").is_some() && members.remove("b").is_none());
        assert_eq!(members.to_raw().get(), r#"{"a":"x","c":[1,2]}"#);
    }
}
