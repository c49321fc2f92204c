//! The arguments of a call to a tool as a Cedar entity.
//!
//! Every tool has arguments of its own, and a policy may only speak of what the schema declares. So
//! they are tags, one for each place in the JSON object, each a set of texts: `repository` and
//! `filter.owner` for `{"repository": "a/b", "filter": {"owner": ["x", "y"]}}`. A number and a truth
//! value are the text that JSON has for them, `null` is an empty set, and a list, also one of objects,
//! adds up what its elements have at the same place.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use serde_json::Value;

/// Places, at most.
const MAX_PLACES: usize = 256;
/// Texts, at most.
const MAX_TEXTS: usize = 4096;
/// Values within values, at most.
const MAX_DEPTH: usize = 16;

/// Arguments that can't be told to policies. Then a policy that asks for them can't be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArgumentsError {
    #[error("the arguments are not a JSON object")]
    NoObject,
    #[error("the arguments are nested too deep, or too many")]
    TooMuch,
    /// `{"a.b": 1, "a": {"b": 2}}`: a policy would see both where the tool sees one.
    #[error("two of the arguments have the same name for policies")]
    Ambiguous,
}

/// The tags that stand for `arguments`. None at all is an empty object.
pub(super) fn tags(
    arguments: Option<&Value>,
) -> Result<Vec<(String, RestrictedExpression)>, ArgumentsError> {
    let places = arguments.map_or_else(|| Ok(BTreeMap::new()), places)?;
    let tags = places.into_iter().map(|(place, texts)| {
        let texts = texts.into_iter().map(RestrictedExpression::new_string);
        (place, RestrictedExpression::new_set(texts))
    });
    Ok(tags.collect())
}

/// What stands where.
fn places(arguments: &Value) -> Result<BTreeMap<String, Vec<String>>, ArgumentsError> {
    let Value::Object(members) = arguments else { return Err(ArgumentsError::NoObject) };
    let mut found = Found::default();
    for (name, value) in members {
        found.add(name.clone(), vec![value], MAX_DEPTH)?;
    }
    Ok(found.places)
}

#[derive(Default)]
struct Found {
    places: BTreeMap<String, Vec<String>>,
    texts: usize,
}

impl Found {
    /// Adds what stands at `place`: several values, where a list is on the way to it.
    fn add(
        &mut self,
        place: String,
        values: Vec<&Value>,
        depth: usize,
    ) -> Result<(), ArgumentsError> {
        let depth = depth.checked_sub(1).ok_or(ArgumentsError::TooMuch)?;
        let (mut texts, mut members) = (Vec::new(), BTreeMap::<&str, Vec<&Value>>::new());
        let mut left: Vec<(&Value, usize)> =
            values.into_iter().map(|value| (value, depth)).collect();
        while let Some((value, depth)) = left.pop() {
            match value {
                Value::Null => {}
                Value::String(text) => texts.push(text.clone()),
                Value::Bool(_) | Value::Number(_) => texts.push(value.to_string()),
                Value::Array(elements) => {
                    let depth = depth.checked_sub(1).ok_or(ArgumentsError::TooMuch)?;
                    left.extend(elements.iter().map(|element| (element, depth)));
                }
                Value::Object(object) => {
                    for (name, value) in object {
                        members.entry(name).or_default().push(value);
                    }
                }
            }
            if left.len() + texts.len() + members.len() > MAX_TEXTS {
                return Err(ArgumentsError::TooMuch);
            }
        }
        self.texts += texts.len();
        if self.places.len() >= MAX_PLACES || self.texts > MAX_TEXTS {
            return Err(ArgumentsError::TooMuch);
        }
        for (name, values) in members {
            self.add(format!("{place}.{name}"), values, depth)?;
        }
        match self.places.insert(place, texts) {
            None => Ok(()),
            Some(_) => Err(ArgumentsError::Ambiguous),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sorted(arguments: &Value) -> Result<BTreeMap<String, Vec<String>>, ArgumentsError> {
        let mut places = places(arguments)?;
        places.values_mut().for_each(|texts| texts.sort());
        Ok(places)
    }

    #[test]
    fn every_place_is_a_tag_with_all_that_stands_there() {
        let arguments = json!({
            "repository": "a/b",
            "limit": 10,
            "ratio": 0.5,
            "dry": true,
            "none": null,
            "labels": ["x", ["y", 3], null],
            "filter": {"owner": {"name": "z"}, "": 1},
            "edits": [{"path": "a"}, {"path": "b", "deep": [{"er": false}]}],
        });
        let expected = [
            ("repository", &["a/b"][..]),
            ("limit", &["10"]),
            ("ratio", &["0.5"]),
            ("dry", &["true"]),
            ("none", &[]),
            ("labels", &["3", "x", "y"]),
            ("filter", &[]),
            ("filter.owner", &[]),
            ("filter.owner.name", &["z"]),
            ("filter.", &["1"]),
            ("edits", &[]),
            ("edits.path", &["a", "b"]),
            ("edits.deep", &[]),
            ("edits.deep.er", &["false"]),
        ];
        let expected: BTreeMap<_, Vec<_>> = expected
            .into_iter()
            .map(|(place, texts)| {
                (place.to_owned(), texts.iter().map(|&it| it.to_owned()).collect())
            })
            .collect();
        assert_eq!(sorted(&arguments), Ok(expected));
    }

    #[test]
    fn what_two_places_could_mean_is_refused() {
        for arguments in [
            json!({"a.b": 1, "a": {"b": 2}}),
            json!({"a": {"b.c": 1, "b": {"c": 1}}}),
            json!({"": {"": 1}, ".": 2}),
        ] {
            assert_eq!(places(&arguments), Err(ArgumentsError::Ambiguous), "{arguments}");
        }
        assert!(places(&json!({"a.b": 1, "a": {"c": 2}})).is_ok());
        assert!(places(&json!({"": 1})).is_ok());
    }

    #[test]
    fn too_much_is_refused_and_nothing_is_fine() {
        let nested = |n: usize| (0..n).fold(json!(1), |inner, _| json!({"a": inner}));
        assert!(places(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(places(&nested(MAX_DEPTH + 1)), Err(ArgumentsError::TooMuch));
        let listed = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(places(&json!({"a": listed})), Err(ArgumentsError::TooMuch));
        let many: Value = (0..=MAX_PLACES).map(|n| (n.to_string(), json!(1))).collect();
        assert_eq!(places(&many), Err(ArgumentsError::TooMuch));
        let long = json!({"a": vec![1; MAX_TEXTS + 1]});
        assert_eq!(places(&long), Err(ArgumentsError::TooMuch));
        assert!(tags(None).is_ok_and(|tags| tags.is_empty()));
        for other in [json!([]), json!("a"), json!(null)] {
            assert_eq!(tags(Some(&other)).expect_err("no object"), ArgumentsError::NoObject);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a.]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[ab.]{0,2}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        /// Nothing that a tool would see is hidden from policies.
        #[test]
        fn every_text_is_found_or_the_arguments_are_refused(arguments in any_json()) {
            fn leaves(value: &Value) -> usize {
                match value {
                    Value::Null => 0,
                    Value::Array(elements) => elements.iter().map(leaves).sum(),
                    Value::Object(members) => members.values().map(leaves).sum(),
                    _ => 1,
                }
            }
            let arguments = json!({"root": arguments});
            if let Ok(places) = places(&arguments) {
                prop_assert_eq!(places.values().map(Vec::len).sum::<usize>(), leaves(&arguments));
            }
        }
    }
}
