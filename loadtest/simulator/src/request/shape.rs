//! Shapes of JSON as tables, for APIs whose bodies are messages of known fields.

use super::{fields::At, json::Json};
use crate::errors::Refusal;

/// What a value has to be.
pub(super) enum Shape {
    Text,
    Bool,
    Int,
    Number,
    /// Any object.
    Map,
    Any,
    Words(&'static [&'static str]),
    List(&'static Shape),
    /// An object of these members, none of them needed.
    Object(&'static [(&'static str, Shape)]),
}

impl Shape {
    pub(super) fn check(&self, at: &At<'_>, value: &Json<'_>) -> Result<(), Refusal> {
        match self {
            Self::Any => Ok(()),
            Self::Text => at.text(value).map(|_| ()),
            Self::Words(words) => at.one_of(value, words).map(|_| ()),
            Self::Map => at.object(value).map(|_| ()),
            Self::Bool => {
                value.as_bool().map(|_| ()).ok_or_else(|| at.wrong_type("a boolean", value))
            }
            Self::Int => match value {
                Json::Number(number) if !number.is_f64() => Ok(()),
                _ => Err(at.wrong_type("an integer", value)),
            },
            Self::Number => {
                value.as_f64().map(|_| ()).ok_or_else(|| at.wrong_type("a number", value))
            }
            Self::List(shape) => {
                let mut elements = at.list(value)?.iter().enumerate();
                elements.try_for_each(|(index, element)| shape.check(&at.index(index), element))
            }
            Self::Object(known) => {
                for (key, member) in at.object(value)?.members() {
                    let shape = known.iter().find(|(name, _)| name == key);
                    let (_, shape) = shape.ok_or_else(|| at.key(key).unknown())?;
                    shape.check(&at.key(key), member)?;
                }
                Ok(())
            }
        }
    }
}
