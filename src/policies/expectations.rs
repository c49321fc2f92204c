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
