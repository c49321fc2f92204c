//! What became of each value of the source.
//!
//! Every value has a number, and whoever decides about one says so here. What nobody has decided about
//! at the end is reported as well, so that nothing gets lost silently. Nothing here ever holds a value
//! of the source, for any of them may be a secret.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::at::{At, clean};
use super::known::{self, Known};
use super::source::{Kind, Node, Place};
use super::variables::Variable;

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is nothing that does the same: it is left out.
    NoEqual,
    /// It is carried over, and means something a little different.
    Changed,
    /// It has no effect here, and nothing is missed without it.
    NotNeeded,
    /// It is carried over.
    Carried,
}

/// What became of one value, and of all within it that are not reported themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The file that it stood in.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Where in the source, as in `model_list[0].litellm_params.model`.
    pub path: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was done, and why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What the operator has to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Where it went in the configuration; `*` stands for every name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What became of everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order of the source.
    pub entries: Vec<Entry>,
    /// Environment variables that the configuration reads.
    pub variables: Vec<Variable>,
}

impl Report {
    /// How many values had this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.entries.iter().filter(|entry| entry.outcome == outcome).count()
    }

    /// The same for all outcomes, for programs.
    pub fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "no_equal": self.count(Outcome::NoEqual),
            "changed": self.count(Outcome::Changed),
            "not_needed": self.count(Outcome::NotNeeded),
            "carried": self.count(Outcome::Carried),
        })
    }
}

/// For a person: what needs a look first, what does not in short.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |outcome| self.entries.iter().filter(move |entry| entry.outcome == outcome);
        for (outcome, title) in
            [(Outcome::NoEqual, "No equal, left out"), (Outcome::Changed, "Changed")]
        {
            if self.count(outcome) == 0 {
                continue;
            }
            writeln!(f, "{title} ({}):", self.count(outcome))?;
            for entry in of(outcome) {
                let Entry { file, line, column, path, message, .. } = entry;
                write!(f, "  {}:{line}:{column}: {path}: {message}", clean(file))?;
                match &entry.action {
                    Some(action) => writeln!(f, "; {action}")?,
                    None => writeln!(f)?,
                }
            }
            writeln!(f)?;
        }
        if self.count(Outcome::NotNeeded) > 0 {
            writeln!(f, "Not needed ({}):", self.count(Outcome::NotNeeded))?;
            let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
            for entry in of(Outcome::NotNeeded) {
                match reasons.iter_mut().find(|(reason, _)| *reason == entry.message) {
                    Some((_, paths)) => paths.push(&entry.path),
                    None => reasons.push((&entry.message, vec![&entry.path])),
                }
            }
            for (reason, paths) in reasons {
                writeln!(f, "  {reason}: {}", paths.join(", "))?;
            }
            writeln!(f)?;
        }
        if !self.variables.is_empty() {
            writeln!(f, "Environment variables to set before the start:")?;
            let width = self.variables.iter().map(|it| it.name.len()).max().unwrap_or(0).min(40);
            for variable in &self.variables {
                writeln!(f, "  {:width$}  {}", variable.name, variable.meaning)?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "{} carried over, {} changed, {} without an equal, {} not needed.",
            self.count(Outcome::Carried),
            self.count(Outcome::Changed),
            self.count(Outcome::NoEqual),
            self.count(Outcome::NotNeeded)
        )
    }
}

/// Collects what became of each value.
#[derive(Debug)]
pub(super) struct Accounts {
    files: Vec<String>,
    entries: Vec<(Place, Entry)>,
    /// By number, whether it has been decided about.
    decided: Vec<bool>,
    /// The numbers of values that aliases lead to.
    shared: HashSet<usize>,
}

impl Accounts {
    /// Nothing decided yet about `nodes` values of `files`.
    pub(super) fn new(files: Vec<String>, nodes: usize, shared: HashSet<usize>) -> Self {
        Self { files, entries: Vec::new(), decided: vec![false; nodes], shared }
    }

    /// It is in the configuration at `to`.
    pub(super) fn carried(&mut self, at: &At<'_>, to: impl Into<String>) {
        self.add(at, Outcome::Carried, String::new(), None, Some(to.into()));
    }

    /// It is in the configuration at `to`, and means something else in part.
    pub(super) fn changed<'a>(
        &mut self,
        at: &At<'_>,
        to: impl Into<String>,
        message: impl Into<String>,
        action: impl Into<Option<&'a str>>,
    ) {
        self.add(at, Outcome::Changed, message.into(), action.into(), Some(to.into()));
    }

    /// It has an effect that is told elsewhere, and a difference that has to be known.
    pub(super) fn noted<'a>(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        action: impl Into<Option<&'a str>>,
    ) {
        self.add(at, Outcome::Changed, message.into(), action.into(), None);
    }

    /// It is left out.
    pub(super) fn no_equal<'a>(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        action: impl Into<Option<&'a str>>,
    ) {
        self.add(at, Outcome::NoEqual, message.into(), action.into(), None);
    }

    /// It is left out, and not missed.
    pub(super) fn not_needed(&mut self, at: &At<'_>, reason: &str) {
        self.add(at, Outcome::NotNeeded, reason.to_owned(), None, None);
    }

    pub(super) fn is_decided(&self, at: &At<'_>) -> bool {
        self.decided.get(at.node.id).copied().unwrap_or(true)
    }

    /// Something that the source does not say, and LiteLLM takes from elsewhere.
    pub(super) fn absent(&mut self, path: &str, message: &str, action: &str) {
        let place = Place { file: 0, line: 1, column: 1 };
        let message = message.to_owned();
        let entry = self.entry(place, path, Outcome::Changed, message, Some(action), None);
        self.entries.push((place, entry));
    }

    /// Something about the place of a value, not about itself.
    pub(super) fn place(&mut self, place: Place, path: &str, outcome: Outcome, message: &str) {
        let entry = self.entry(place, path, outcome, message.to_owned(), None, None);
        self.entries.push((place, entry));
    }

    /// Reports what nobody has decided about, and gives the report.
    pub(super) fn finish(mut self, root: &Node, variables: Vec<Variable>) -> Report {
        self.sweep(&At::root(root), "", None, None);
        self.entries.sort_by_key(|(place, _)| *place);
        // A credential that several models name is told of once.
        self.entries.dedup();
        let entries = self.entries.into_iter().map(|(_, entry)| entry).collect();
        Report { entries, variables }
    }

    /// `section` is the path without what differs from one configuration to another, `key` the last part
    /// of it, and `inherited` what is known of what it stands in.
    fn sweep(
        &mut self,
        at: &At<'_>,
        section: &str,
        key: Option<&str>,
        inherited: Option<&'static Known>,
    ) {
        if self.is_decided(at) {
            // What is within it goes with it, unless it was decided otherwise.
            return;
        }
        let found = key.and_then(|key| known::find(section, key)).or(inherited);
        let section = match key {
            Some(key) if section.is_empty() => key.to_owned(),
            Some(key) => format!("{section}.{key}"),
            None => section.to_owned(),
        };
        let (entries, items) = (at.entries(), at.items());
        // One line for something as a whole where nothing in it is told from the rest.
        let is_whole = entries.is_empty() && items.is_empty();
        if is_whole || !(known::is_section(&section) || self.any_decided(at.node)) {
            self.undecided(at, found);
            return;
        }
        entries.into_iter().for_each(|(name, at)| self.sweep(&at, &section, Some(name), found));
        items.into_iter().for_each(|item| self.sweep(&item, &section, None, found));
    }

    fn undecided(&mut self, at: &At<'_>, known: Option<&'static Known>) {
        let is_empty = match &at.node.kind {
            Kind::List(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
            Kind::Scalar(text) => text.is_empty(),
            Kind::Null => true,
        };
        if is_empty {
            self.not_needed(at, "without a value");
        } else if let Some(known) = known {
            self.add(at, known.outcome, known.message.to_owned(), known.action, None);
        } else if self.shared.contains(&at.node.id) {
            self.not_needed(at, "what refers to it has it");
        } else {
            let message = "nothing here corresponds to it";
            self.no_equal(at, message, "see whether anything depends on it");
        }
    }

    fn any_decided(&self, node: &Node) -> bool {
        self.decided.get(node.id).copied().unwrap_or(true)
            || match &node.kind {
                Kind::List(items) => items.iter().any(|item| self.any_decided(item)),
                Kind::Map(entries) => entries.iter().any(|entry| self.any_decided(&entry.node)),
                Kind::Null | Kind::Scalar(_) => false,
            }
    }

    fn add(
        &mut self,
        at: &At<'_>,
        outcome: Outcome,
        message: String,
        action: Option<&str>,
        to: Option<String>,
    ) {
        if let Some(decided) = self.decided.get_mut(at.node.id) {
            *decided = true;
        }
        let entry = self.entry(at.place, &at.path, outcome, message, action, to);
        self.entries.push((at.place, entry));
    }

    fn entry(
        &self,
        place: Place,
        path: &str,
        outcome: Outcome,
        message: String,
        action: Option<&str>,
        to: Option<String>,
    ) -> Entry {
        Entry {
            file: self.files.get(place.file).cloned().unwrap_or_default(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            outcome,
            message,
            action: action.map(str::to_owned),
            to,
        }
    }
}
