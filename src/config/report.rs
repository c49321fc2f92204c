//! Collects problems, and the words that all of them share.

use std::path::Path;

use super::named::{Named, PemFiles};
use super::problem::Problem;

/// Problems kept of one load; a file with more is not a configuration with mistakes.
const MAX_PROBLEMS: usize = 200;
/// Characters of a value that a message shows.
const MAX_SHOWN: usize = 60;

/// Where something stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1; 0 where there is no line.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
    /// The environment variable that it came from, instead of the file.
    pub(super) variable: Option<&'static str>,
}

impl Place {
    /// The beginning of the file.
    pub(super) const START: Self = Self::new(1, 1);

    /// A place in the file.
    pub(super) const fn new(line: usize, column: usize) -> Self {
        Self { line, column, variable: None }
    }

    /// An environment variable.
    pub(super) const fn variable(name: &'static str) -> Self {
        Self { line: 0, column: 0, variable: Some(name) }
    }
}

/// A hint, or none.
pub(super) struct Hint(Option<String>);

impl From<&str> for Hint {
    fn from(hint: &str) -> Self {
        Self(Some(hint.to_owned()))
    }
}

impl From<String> for Hint {
    fn from(hint: String) -> Self {
        Self(Some(hint))
    }
}

impl<T: Into<String>> From<Option<T>> for Hint {
    fn from(hint: Option<T>) -> Self {
        Self(hint.map(Into::into))
    }
}

/// The problems of one load.
pub(super) struct Report {
    file: String,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Files whose content is looked at later.
    pub(super) certificates: Vec<PemFiles>,
}

impl Report {
    /// Nothing wrong yet with `file`.
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            errors: Vec::new(),
            warnings: Vec::new(),
            certificates: Vec::new(),
        }
    }

    /// Something that must be put right.
    pub(super) fn error(
        &mut self,
        place: Place,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<Hint>,
    ) {
        if self.errors.len() < MAX_PROBLEMS {
            self.errors.push(self.problem(place, path, message.into(), hint.into()));
        }
    }

    /// Something that should be put right.
    pub(super) fn warning(
        &mut self,
        place: Place,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<Hint>,
    ) {
        if self.warnings.len() < MAX_PROBLEMS {
            self.warnings.push(self.problem(place, path, message.into(), hint.into()));
        }
    }

    /// A file that `path` names at `place`.
    pub(super) fn named(&self, place: Place, path: &str, file: &Path) -> Named {
        let at = self.problem(place, path, String::new(), Hint(None));
        Named::new(file.to_owned(), at)
    }

    /// Errors and warnings, each in the order of the file.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            problems.dedup();
            problems
        };
        (sorted(self.errors), sorted(self.warnings))
    }

    fn problem(&self, place: Place, path: &str, message: String, hint: Hint) -> Problem {
        let file = match place.variable {
            Some(name) => format!("environment variable {name}"),
            None => self.file.clone(),
        };
        let (line, column, path) = (place.line, place.column, path.to_owned());
        Problem { file, line, column, path, message, hint: hint.0 }
    }
}

/// The path of `key` within `path`. A key with other than letters, digits, `_` and `-` is quoted, so
/// that its own dots can be told from the path's.
pub(super) fn join(path: &str, key: &str) -> String {
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let key = if !key.is_empty() && key.bytes().all(simple) {
        key.to_owned()
    } else {
        format!("\"{}\"", clean(key))
    };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// `text` in backquotes, fit for one line of a terminal.
pub(super) fn shorten(text: &str) -> String {
    format!("`{}`", clean(text))
}

/// A path, as [`shorten`] shows text.
pub(super) fn shorten_path(path: &Path) -> String {
    shorten(&path.to_string_lossy())
}

/// The name among `known` that `name` was probably meant to be.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Comparing takes time quadratic in the length, and nobody misspells that much.
    if name.len() > MAX_SHOWN {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    known
        .map(|known| {
            let plain = known.to_ascii_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&plain, &name), known)
        })
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min()
        .map(|(_, known)| known)
}

/// `` `a`, `b`, `c` ``.
pub(super) fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn clean(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN)
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
        .collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_quote_what_would_mislead() {
        assert_eq!(join("", "limits"), "limits");
        assert_eq!(join("models", "gpt-4o_x"), "models.gpt-4o_x");
        assert_eq!(join("models", "gpt-4.1"), "models.\"gpt-4.1\"");
        assert_eq!(join("a", "\u{1b}[31m"), "a.\"\u{fffd}[31m\"");
    }

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let known = || ["request_size", "header_timeout", "connections"].into_iter();
        assert_eq!(nearest("requestsize", known()), Some("request_size"));
        assert_eq!(nearest("request-size", known()), Some("request_size"));
        assert_eq!(nearest("Header_Timeout", known()), Some("header_timeout"));
        assert_eq!(nearest("colour", known()), None);
        assert_eq!(nearest(&"x".repeat(10_000), known()), None);
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_end_somewhere() {
        let mut report = Report::new("f");
        for line in (1..=300).rev() {
            report.error(Place::new(line, 1), "a", "wrong", None::<&str>);
        }
        report.error(Place::variable("X"), "b", "wrong", "do better");
        let (errors, _) = report.finish();
        assert_eq!(errors.len(), MAX_PROBLEMS);
        assert!(errors.is_sorted_by_key(|problem| problem.line));
    }
}
