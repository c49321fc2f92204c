//! Changes: JSON merge patches (RFC 7396), and fields of which absence differs from `null`.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Merges `patch` into `target`: `null` removes, objects are merged, all else replaces.
pub fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(&name)),
            Value::Object(patch) => {
                // The depth of both is bounded by the reader of bodies.
                let mut below = match target.remove(&name) {
                    Some(Value::Object(below)) => below,
                    _ => Map::new(),
                };
                merge(&mut below, patch);
                target.insert(name, Value::Object(below));
            }
            other => drop(target.insert(name, other)),
        }
    }
}

/// A field that may be absent, `null` or there. Wants `#[serde(default)]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Leave it as it is.
    #[default]
    Absent,
    /// Take it away.
    Null,
    /// Replace it.
    Value(T),
}

impl<T> Field<T> {
    /// What it is, given what it was.
    pub fn over(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Absent => before,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// Applies it to a field whose absence is its default.
    pub fn set(self, field: &mut T)
    where
        T: Default,
    {
        match self {
            Self::Absent => {}
            Self::Null => *field = T::default(),
            Self::Value(value) => *field = value,
        }
    }

    /// Converts the value.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Null => Field::Null,
            Self::Value(value) => Field::Value(convert(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(deserializer)? {
            Some(value) => Self::Value(value),
            None => Self::Null,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn merged(target: Value, patch: Value) -> Value {
        let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else {
            panic!("objects");
        };
        merge(&mut target, patch);
        Value::Object(target)
    }

    /// The cases of RFC 7396 appendix A that are about objects.
    #[test]
    fn merging_is_that_of_the_rfc() {
        let table = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (target, patch, expected) in table {
            assert_eq!(merged(target.clone(), patch.clone()), expected, "{target} {patch}");
        }
    }

    #[test]
    fn absent_null_and_value_are_three_things() {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            rpm: Field<u64>,
        }
        let read = |text| serde_json::from_str::<Body>(text).unwrap().rpm;
        assert_eq!(read("{}"), Field::Absent);
        assert_eq!(read(r#"{"rpm":null}"#), Field::Null);
        assert_eq!(read(r#"{"rpm":3}"#), Field::Value(3));
        assert_eq!(Field::Absent.over(Some(1)), Some(1));
        assert_eq!(Field::Null.over(Some(1)), None);
        assert_eq!(Field::Value(2).over(Some(1)), Some(2));
    }

    proptest! {
        #[test]
        fn merging_twice_is_merging_once(
            target in proptest::collection::btree_map("[a-c]", 0..5i32, 0..4),
            patch in proptest::collection::btree_map("[a-c]", proptest::option::of(0..5i32), 0..4),
        ) {
            let once = merged(json!(target), json!(patch));
            prop_assert_eq!(merged(once.clone(), json!(patch)), once);
        }
    }
}
