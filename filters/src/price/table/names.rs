//! Which model of the table a name means.

use std::collections::HashMap;

use serde::Deserialize;

/// What a name must be to mean a model. In lower case.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum Rule {
    /// Exactly this.
    Name(String),
    /// All that is told here.
    Parts(Parts),
}

/// Conditions on a name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Parts {
    /// This, and behind it a date.
    dated: Option<String>,
    /// It begins so.
    prefix: Option<String>,
    /// A digit follows the prefix.
    #[serde(default)]
    digit: bool,
    /// It ends so.
    suffix: Option<String>,
    /// This is in it.
    contains: Option<String>,
    /// This is not in it.
    without: Option<String>,
}

/// The names of one provider's models.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, usize>,
    /// Names that stand for a model only with a date behind them.
    dated: HashMap<String, usize>,
    /// In the table's order, which decides where several match.
    others: Vec<(Parts, usize)>,
}

impl Names {
    /// The rules of each model, in the table's order.
    pub(super) fn new<'r>(models: impl Iterator<Item = &'r [Rule]>) -> Self {
        let mut names = Self::default();
        for (index, rules) in models.enumerate() {
            for rule in rules {
                match rule {
                    Rule::Name(name) => {
                        names.exact.entry(name.clone()).or_insert(index);
                    }
                    Rule::Parts(Parts { dated: Some(base), .. }) => {
                        names.dated.entry(base.clone()).or_insert(index);
                    }
                    Rule::Parts(parts) => names.others.push((parts.clone(), index)),
                }
            }
        }
        names
    }

    /// The first model of the table that `name`, in lower case, means. A name that means none is
    /// tried again without a date or `-latest` at its end.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let base = undated(name);
        let exact = self.exact.get(name).copied();
        let dated = base.and_then(|base| self.dated.get(base)).copied();
        let listed = exact.into_iter().chain(dated).min();
        let other = self.others.iter().find(|(parts, _)| parts.matches(name));
        let found = listed.into_iter().chain(other.map(|(_, index)| *index)).min();
        let base = base.or_else(|| name.strip_suffix("-latest"));
        found.or_else(|| self.exact.get(base?).copied())
    }
}

impl Parts {
    fn matches(&self, name: &str) -> bool {
        let begins = self.prefix.as_ref().is_none_or(|prefix| {
            let rest = name.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| !self.digit || rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        begins
            && self.suffix.as_ref().is_none_or(|suffix| name.ends_with(suffix.as_str()))
            && self.contains.as_ref().is_none_or(|part| name.contains(part.as_str()))
            && self.without.as_ref().is_none_or(|part| !name.contains(part.as_str()))
            // A rule without a condition would match everything.
            && (self.prefix.is_some() || self.suffix.is_some() || self.contains.is_some())
    }
}

/// `name` without the date at its end: `-2024-08-06`, `-20240806` or `@20240806`.
fn undated(name: &str) -> Option<&str> {
    let strip = |shape: &str| {
        let at = name.len().checked_sub(shape.len())?;
        let (base, date) = (name.get(..at)?, name.get(at..)?);
        let fits = date.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            shape => byte == shape,
        });
        (fits && !base.is_empty()).then_some(base)
    };
    strip("-0000-00-00").or_else(|| strip("-00000000")).or_else(|| strip("@00000000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: &str) -> Names {
        let models: Vec<Vec<Rule>> = serde_json::from_str(rules).unwrap();
        Names::new(models.iter().map(Vec::as_slice))
    }

    #[test]
    fn rules() {
        let names = names(
            r#"[["a","a-2024-05-13"],["b"],[{"prefix":"c-"}],["c-1",{"suffix":"-z"}],
                [{"contains":"mid"}],[{"prefix":"d-","digit":true}],[{"dated":"e"}],
                [{"prefix":"f","without":"-tts"}]]"#,
        );
        for (name, expected) in [
            ("a", Some(0)),
            ("a-2024-05-13", Some(0)),
            ("b-2027-01-31", Some(1)),
            ("b-20270131", Some(1)),
            ("b@20270131", Some(1)),
            ("b-latest", Some(1)),
            ("b-mini", None),
            ("b-2027-1-31", None),
            // The first of the table wins, also over an exact name.
            ("c-1", Some(2)),
            ("x-z", Some(3)),
            ("amidst", Some(4)),
            ("d-5", Some(5)),
            ("d-five", None),
            ("e", None),
            ("e-20270131", Some(6)),
            ("e@20270131", Some(6)),
            ("e-2027-01-31", Some(6)),
            ("f-1", Some(7)),
            ("f-1-tts", None),
            ("", None),
            ("-20270131", None),
            ("\u{e9}-2027-01-3\u{e9}", None),
        ] {
            assert_eq!(names.find(name), expected, "{name}");
        }
    }

    #[test]
    fn a_rule_without_a_condition_matches_nothing() {
        assert_eq!(names(r#"[[{}]]"#).find("a"), None);
        assert!(serde_json::from_str::<Rule>(r#"{"regex":"a"}"#).is_err());
    }
}
