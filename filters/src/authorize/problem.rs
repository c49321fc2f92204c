//! What is wrong with a policy, and where.

use std::fmt;

use cedar_policy::ffi::DetailedError;
use serde::Serialize;

use super::split::Lines;

/// Problems that are told of one load, at most.
pub(super) const MAX_PROBLEMS: usize = 200;

/// Something wrong with a file of policies. Shown as `file:line:column: message; help`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl Problem {
    /// Whether it is at the same place and solved in the same way, as far as that is known.
    fn is_like(&self, other: &Self) -> bool {
        let place = |problem: &Self| (problem.line, problem.column);
        self.file == other.file
            && place(self) == place(other)
            && self.help.is_some()
            && self.help == other.help
    }
}

/// In the order of the files, on one line each, without repetitions.
pub(super) fn tidy(mut problems: Vec<Problem>) -> Vec<Problem> {
    let one_line = |text: &mut String| {
        if text.contains(char::is_control) {
            *text = text.replace(char::is_control, " ");
        }
    };
    for problem in &mut problems {
        one_line(&mut problem.message);
        problem.help.iter_mut().for_each(one_line);
    }
    problems.sort();
    problems.dedup();
    let mut told: Vec<(Problem, usize)> = Vec::new();
    for problem in problems {
        // A policy is checked once for each kind of request, and most often they all say the same.
        match told.last_mut() {
            Some((last, more)) if last.is_like(&problem) => *more += 1,
            _ => told.push((problem, 0)),
        }
    }
    let told = told.into_iter().take(MAX_PROBLEMS).map(|(mut problem, more)| {
        if more > 0 {
            problem.message += &format!(" (and the like for {more} more)");
        }
        problem
    });
    told.collect()
}

/// A mistake in the Cedar text that begins at `offset`, in one line.
pub(super) fn told(
    file: &str,
    lines: &Lines<'_>,
    offset: usize,
    start: usize,
    error: &DetailedError,
) -> Problem {
    let label = error.source_locations.first();
    let at = label.map_or(start, |label| offset + label.loc.start);
    let mut message = error.message.clone();
    if let Some(label) = label.and_then(|label| label.label.as_deref()) {
        message = format!("{message}: {label}");
    }
    problem(file, lines, at, &message, error.help.clone())
}

pub(super) fn problem(
    file: &str,
    lines: &Lines<'_>,
    at: usize,
    message: &str,
    help: Option<String>,
) -> Problem {
    let (line, column) = lines.place(at);
    Problem { file: file.to_owned(), line, column, message: message.to_owned(), help }
}
