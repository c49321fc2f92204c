//! A file of questions with the answers that policies should give: tests of policies.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use sluicegate_filters::authorize::Policies;

use super::scenario::Scenario;
use crate::config::{Problem, Problems};

/// The time of scenarios that have none: a Monday, at noon.
const NOON: Timestamp = Timestamp::constant(1_767_614_400, 0);

/// A file of expectations.
#[derive(Clone, Debug)]
pub struct Expectations {
    file: String,
    cases: Vec<Spanned<Case>>,
}

/// What became of a file's expectations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How many there are.
    pub total: usize,
    /// Those that were not met, in the order of the file.
    pub failures: Vec<Failure>,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub file: String,
    /// Where the case begins, from 1.
    pub line: usize,
    pub name: String,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.name, self.message)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    cases: Vec<Spanned<Case>>,
}

/// One case: a [`Scenario`] with a name and what is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    ask: Scenario,
    expect: Expected,
    /// A policy that must be among those that make the decision.
    #[serde(default)]
    by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

/// Reads expectations from YAML.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(file: &str, text: &str) -> Result<Expectations, Problems> {
    let document: Document = serde_saphyr::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        let (line, column) = (line as usize, column as usize);
        let message = error.without_snippet().to_string();
        let path = String::new();
        Problems(vec![Problem { file: file.to_owned(), line, column, path, message, hint: None }])
    })?;
    Ok(Expectations { file: file.to_owned(), cases: document.cases })
}

impl Expectations {
    /// Puts every question to `policies`.
    pub fn run(&self, policies: &Policies) -> Outcome {
        let failures = self.cases.iter().filter_map(|case| {
            let line = case.referenced.line() as usize;
            let (file, name) = (self.file.clone(), case.value.name.clone());
            let message = case.value.failure(policies)?;
            Some(Failure { file, line, name, message })
        });
        Outcome { total: self.cases.len(), failures: failures.collect() }
    }
}

impl Case {
    /// Why the expectation is not met, if it is not.
    fn failure(&self, policies: &Policies) -> Option<String> {
        let explanation = match self.ask.explain(policies, NOON) {
            Ok(explanation) => explanation,
            Err(error) => return Some(error.to_string()),
        };
        let Some(decision) = explanation.decision else {
            return Some("there are no policies".to_owned());
        };
        let word = |allowed| if allowed { "allow" } else { "deny" };
        let by: Vec<_> = decision.policy_ids().collect();
        let made_by = match &*by {
            [] => "no policy".to_owned(),
            some => format!("`{}`", some.join("`, `")),
        };
        if decision.allowed != (self.expect == Expected::Allow) {
            let expected = word(self.expect == Expected::Allow);
            let mut message =
                format!("{}, by {made_by}; expected {expected}", word(decision.allowed));
            for error in &decision.errors {
                message += &format!("; `{}` failed: {}", error.policy.id, error.message);
            }
            return Some(message);
        }
        match self.by.as_deref() {
            Some(expected) if !by.contains(&expected) => {
                Some(format!("{}, by {made_by}; expected by `{expected}`", word(decision.allowed)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_filters::authorize::Source;

    use super::*;

    const POLICIES: &str = "@id(\"a\") permit(principal == User::\"alice\", action, resource);\n\
                            @id(\"b\") forbid(principal, action, resource == Model::\"o3\");\n\
                            @id(\"c\") forbid(principal == User::\"carol\", action, resource)\n\
                            when { 9223372036854775807 + context.hour > 0 };";

    fn failures(yaml: &str) -> Vec<String> {
        let source = Source { file: "a.cedar", text: POLICIES };
        let policies = Policies::parse(&[source], None).unwrap();
        let outcome = parse("tests.yaml", yaml).unwrap().run(&policies);
        assert_eq!(outcome.total, yaml.matches("name:").count());
        outcome.failures.iter().map(Failure::to_string).collect()
    }

    fn case(name: &str, principal: &str, model: &str, expected: &str) -> String {
        format!(
            "  - name: {name}\n    ask: {{ principal: 'User::\"{principal}\"', action: messages, \
             resource: {model} }}\n    expect: {expected}\n"
        )
    }

    #[test]
    fn expectations_that_are_met_are_not_mentioned() {
        let yaml = "cases:\n".to_owned()
            + &case("one", "alice", "gpt-4o", "allow\n    by: a")
            + &case("two", "alice", "o3", "deny\n    by: b")
            + &case("three", "bob", "gpt-4o", "deny")
            + &case("four", "carol", "gpt-4o", "deny");
        assert_eq!(failures(&yaml), [""; 0]);
    }

    #[test]
    fn one_that_is_not_met_is_told_with_its_line_and_what_happened_instead() {
        let yaml = "cases:\n".to_owned()
            + &case("one", "alice", "gpt-4o", "deny")
            + &case("two", "alice", "o3", "allow")
            + &case("three", "alice", "o3", "deny\n    by: a")
            + &case("four", "bob", "gpt-4o", "allow")
            + &case("five", "carol", "gpt-4o", "allow")
            + &case("six", "carol", "'Tool::\"x\"'", "deny");
        let told = failures(&yaml);
        let expected = [
            "tests.yaml:2: one: allow, by `a`; expected deny",
            "tests.yaml:5: two: deny, by `b`; expected allow",
            "tests.yaml:8: three: deny, by `b`; expected by `a`",
            "tests.yaml:12: four: deny, by no policy; expected allow",
            "tests.yaml:15: five: deny, by no policy; expected allow; `c` failed: ",
            "tests.yaml:18: six: `Tool::\"x\"` is no resource of `messages`",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_says_where() {
        for (yaml, line, says) in [
            ("cases:\n  - name: x\n    expct: allow\n", 3, "expct"),
            ("cases: [\n", 1, "unclosed"),
            ("tests: []", 1, "tests"),
            (
                "cases:\n  - { name: x, ask: { principal: a, action: b, resource: c, ip: x }, expect: allow }",
                2,
                "ip",
            ),
            (
                "cases:\n  - { name: x, ask: { principal: a, action: b, resource: c }, expect: maybe }",
                2,
                "maybe",
            ),
        ] {
            let Problems(problems) = parse("tests.yaml", yaml).unwrap_err();
            let told = problems[0].to_string();
            assert_eq!((problems[0].line, problems.len()), (line, 1), "{told}");
            assert!(told.contains(says) && told.lines().count() == 1, "{told}");
        }
    }
}
