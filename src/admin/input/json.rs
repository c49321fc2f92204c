//! JSON bodies. Every fault names the field; a name given twice is refused at any depth, for which
//! of the two counts would be a guess.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_json::value::RawValue;

use super::super::error::ApiError;

/// Objects and arrays within each other, at most.
const MAX_DEPTH: usize = 32;

/// A newtype of this name gets the JSON text of its value instead of the value: for numbers that must
/// not pass through floating point.
pub const VERBATIM: &str = "$sluicegate::verbatim";

/// Reads a body, and refuses fields that `T` does not know.
///
/// # Errors
/// 400 `invalid_json`; 422 `invalid_field`, which names the field.
pub fn strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    read(body, &Context { ignored: None }).map(|(value, _)| value)
}

/// Reads a body. The names of fields that `T` does not know are given back.
///
/// # Errors
/// As [`strict`], but for unknown fields.
pub fn lenient<T: DeserializeOwned>(body: &[u8]) -> Result<(T, Vec<String>), ApiError> {
    read(body, &Context { ignored: Some(RefCell::default()) })
}

fn read<T: DeserializeOwned>(body: &[u8], context: &Context) -> Result<(T, Vec<String>), ApiError> {
    // An absent body is an empty object: many requests have only optional fields.
    let body = if body.trim_ascii().is_empty() { b"{}".as_slice() } else { body };
    let raw: &RawValue = serde_json::from_slice(body).map_err(|error| {
        let message = format!("The body is not JSON: {error}.");
        ApiError::new(http::StatusCode::BAD_REQUEST, "invalid_json", message)
    })?;
    let value = T::deserialize(Strict { raw, context, depth: 0 }).map_err(Fault::answer)?;
    let ignored = context.ignored.as_ref().map(RefCell::take).unwrap_or_default();
    Ok((value, ignored))
}

struct Context {
    /// Where unknown fields are noted; without it they are refused.
    ignored: Option<RefCell<Vec<String>>>,
}

/// A value with its surroundings.
#[derive(Clone, Copy)]
struct Strict<'de, 'c> {
    raw: &'de RawValue,
    context: &'c Context,
    depth: usize,
}

impl<'de, 'c> Strict<'de, 'c> {
    fn text(self) -> &'de str {
        self.raw.get().trim_ascii()
    }

    fn within(self, raw: &'de RawValue) -> Result<Self, Fault> {
        if self.depth == MAX_DEPTH {
            return Err(Fault::new(format!("is nested more than {MAX_DEPTH} deep")));
        }
        Ok(Self { raw, depth: self.depth + 1, ..self })
    }

    fn members(self) -> Result<Vec<(String, &'de RawValue)>, Fault> {
        let members: Members<'de> = serde_json::from_str(self.text()).map_err(Fault::from_json)?;
        let mut seen = std::collections::HashSet::new();
        for (name, _) in &members.0 {
            if !seen.insert(name.as_str()) {
                return Err(Fault::new("is given more than once").in_field(name));
            }
        }
        Ok(members.0)
    }

    fn object<V: Visitor<'de>>(
        self,
        members: Vec<(String, &'de RawValue)>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_map(Object { at: self, members: members.into_iter(), value: None })
    }

    /// The members that a struct with these `fields` knows.
    fn known(self, fields: &'static [&'static str]) -> Result<Vec<(String, &'de RawValue)>, Fault> {
        let mut members = self.members()?;
        let Some(ignored) = &self.context.ignored else {
            let stranger = members.iter().find(|(name, _)| !fields.contains(&name.as_str()));
            return match stranger {
                Some((name, _)) => Err(Fault::unknown(name, fields)),
                None => Ok(members),
            };
        };
        members.retain(|(name, _)| {
            let known = fields.contains(&name.as_str());
            if !known {
                ignored.borrow_mut().push(name.clone());
            }
            known
        });
        Ok(members)
    }
}

impl<'de> Deserializer<'de> for Strict<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text().as_bytes().first() {
            Some(b'{') => self.object(self.members()?, visitor),
            Some(b'[') => {
                let items: Vec<&RawValue> =
                    serde_json::from_str(self.text()).map_err(Fault::from_json)?;
                visitor.visit_seq(Array { at: self, items: items.into_iter().enumerate() })
            }
            Some(b'"') => match string(self.text())? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Some(b't') => visitor.visit_bool(true),
            Some(b'f') => visitor.visit_bool(false),
            Some(b'n') => visitor.visit_unit(),
            _ => number(self.text(), visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.text() == "null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == VERBATIM {
            return visitor.visit_borrowed_str(self.text());
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if !self.text().starts_with('{') {
            return Err(Fault::new("must be an object"));
        }
        self.object(self.known(fields)?, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if !self.text().starts_with('"') {
            return Err(Fault::new("must be a string"));
        }
        let text = string(self.text())?;
        let name: StrDeserializer<'_, Fault> = (&*text).into_deserializer();
        visitor.visit_enum(name)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

fn string(text: &str) -> Result<Cow<'_, str>, Fault> {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(text).map(Cow::Owned).map_err(Fault::from_json),
    }
}

fn number<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    let number: serde_json::Number = serde_json::from_str(text).map_err(Fault::from_json)?;
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), ..) => visitor.visit_u64(number),
        (None, Some(number), _) => visitor.visit_i64(number),
        (None, None, Some(number)) => visitor.visit_f64(number),
        (None, None, None) => Err(Fault::new("is a number that is out of range")),
    }
}

struct Object<'de, 'c> {
    at: Strict<'de, 'c>,
    members: std::vec::IntoIter<(String, &'de RawValue)>,
    value: Option<(String, &'de RawValue)>,
}

impl<'de> MapAccess<'de> for Object<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((name, raw)) = self.members.next() else { return Ok(None) };
        let name = &self.value.insert((name, raw)).0;
        let text: StrDeserializer<'_, Fault> = name.as_str().into_deserializer();
        seed.deserialize(text).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((name, raw)) = self.value.take() else {
            return Err(Fault::new("has a value without a name"));
        };
        self.at
            .within(raw)
            .and_then(|value| seed.deserialize(value))
            .map_err(|fault| fault.in_field(&name))
    }
}

struct Array<'de, 'c> {
    at: Strict<'de, 'c>,
    items: std::iter::Enumerate<std::vec::IntoIter<&'de RawValue>>,
}

impl<'de> SeqAccess<'de> for Array<'de, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((index, raw)) = self.items.next() else { return Ok(None) };
        self.at
            .within(raw)
            .and_then(|value| seed.deserialize(value))
            .map(Some)
            .map_err(|fault| fault.in_field(&format!("[{index}]")))
    }
}

/// An object's members, in their order, repeated ones too.
struct Members<'de>(Vec<(String, &'de RawValue)>);

impl<'de> de::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// What is wrong, and where.
#[derive(Debug)]
struct Fault {
    /// The path from where it was found to the field.
    field: String,
    /// Goes on from the field's name: `must be ...`.
    reason: String,
    hint: Option<String>,
}

impl Fault {
    fn new(reason: impl Into<String>) -> Self {
        Self { field: String::new(), reason: reason.into(), hint: None }
    }

    fn in_field(mut self, name: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    fn unknown(name: &str, known: &[&str]) -> Self {
        let mut fault = Self::new("is not known").in_field(name);
        fault.hint = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        fault
    }

    fn from_json(error: serde_json::Error) -> Self {
        Self::new(format!("can't be read: {error}"))
    }

    fn answer(self) -> ApiError {
        let mut error = if self.field.is_empty() {
            let message = format!("The body {}.", self.reason);
            ApiError::new(http::StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", message)
        } else {
            ApiError::invalid(self.field, self.reason)
        };
        if let Some(hint) = self.hint {
            error = error.hint(hint);
        }
        error
    }
}

/// The known name that is most like `name`, if any is like it at all.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Comparing is quadratic in the length, and no name is long.
    if name.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3)
        .min()
        .map(|(_, known)| known)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.reason)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = match expected.to_string().as_str() {
            "u64" | "u32" => "a whole number, 0 or more".to_owned(),
            "a sequence" => "a list".to_owned(),
            "a map" => "an object".to_owned(),
            "a boolean" => "true or false".to_owned(),
            other => other.to_owned(),
        };
        let got = match unexpected {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) => "a number",
            Unexpected::Signed(_) => "a negative number",
            Unexpected::Float(_) => "a fraction",
            Unexpected::Str(_) => "a string",
            Unexpected::Unit | Unexpected::Option => "null",
            Unexpected::Seq => "a list",
            Unexpected::Map => "an object",
            _ => "something else",
        };
        Self::new(format!("must be {expected}, not {got}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected =
            if expected.starts_with('u') { "a whole number, 0 or more" } else { &expected };
        Self::new(format!("must be {expected}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("is required").in_field(field)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let all: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        let mut fault = Self::new(format!("must be one of {}", all.join(", ")));
        fault.hint = nearest(variant, expected).map(|near| format!("did you mean `{near}`?"));
        fault
    }
}

#[cfg(test)]
mod tests;
