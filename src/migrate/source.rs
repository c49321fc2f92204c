//! A LiteLLM file as a tree that remembers where everything stood.
//!
//! Read as PyYAML reads it for LiteLLM: merge keys (`<<`) and aliases work, tags mean nothing, and of
//! equal keys the last one counts. Bytes, depth and values are bounded, and an alias counts as the values
//! that it stands for. Nothing that holds the source's text can be shown by `Debug`: it has secrets in it.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, options};

use super::at::join;
use crate::config::Problem;

/// Largest file, in bytes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Most values of all files together, those behind aliases counted each time.
const MAX_NODES: usize = 50_000;

/// Where something stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of the files, in the order in which they were read.
    pub(super) file: usize,
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

/// A value.
#[derive(Clone)]
pub(super) struct Node {
    /// What it is known by; no two have the same, not even behind one alias.
    pub(super) id: usize,
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Quoted or not: what it must be decides what it is.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A key that another one of the same name outdoes.
#[derive(Debug)]
pub(super) struct Outdone {
    pub(super) path: String,
    pub(super) place: Place,
}

/// What is counted over all files.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Values so far; the next one's id.
    pub(super) nodes: usize,
    pub(super) outdone: Vec<Outdone>,
    /// The numbers of values that aliases lead to.
    pub(super) shared: HashSet<usize>,
}

/// Reads `text`, which is file number `file` and called `name`.
///
/// # Errors
/// It is too large, too deep or not YAML.
pub(super) fn parse(
    name: &str,
    file: usize,
    text: &str,
    reading: &mut Reading,
) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        let message = format!("larger than {} MiB", MAX_BYTES >> 20);
        return Err(problem(name, None, "", message, None));
    }
    let events = Parser::new_from_str_with_options(text, options! { emit_comments: false });
    let mut builder = Builder { events, name, file, reading, anchors: HashMap::new() };
    builder.document()
}

/// What is wrong with the file called `name`.
pub(super) fn problem(
    name: &str,
    place: Option<Place>,
    path: &str,
    message: String,
    hint: Option<&str>,
) -> Problem {
    let (line, column) = place.map_or((0, 0), |place| (place.line, place.column));
    let (file, path, hint) = (name.to_owned(), path.to_owned(), hint.map(str::to_owned));
    Problem { file, line, column, path, message, hint }
}

struct Builder<'t, 'r> {
    events: Parser<'t, StrInput<'t>>,
    name: &'r str,
    file: usize,
    reading: &'r mut Reading,
    anchors: HashMap<usize, Node>,
}

impl<'t> Builder<'t, '_> {
    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    let place = self.place(&span);
                    let hint = "keep one document a file";
                    return Err(self.wrong(place, "", "a second YAML document", hint));
                }
                event => root = Some(self.node(event, span, "", 0)?),
            }
        }
        match root {
            Some(Node { kind: Kind::Map(_), .. }) => {}
            _ => {
                let start = Place { file: self.file, line: 1, column: 1 };
                let place = root.map_or(start, |root| root.place);
                let hint = "give the config.yaml of LiteLLM's proxy";
                return Err(self.wrong(place, "", "not a mapping of LiteLLM's settings", hint));
            }
        }
        root.ok_or_else(|| problem(self.name, None, "", "nothing in it".to_owned(), None))
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = error.marker();
                let (line, column) = (marker.line(), marker.col() + 1);
                let place = Place { file: self.file, line, column };
                let hint = "LiteLLM could not read it either: mend it first";
                Err(self.wrong(place, "", format!("not YAML: {}", error.info()), hint))
            }
            None => {
                Err(problem(self.name, None, "", "the YAML ends unexpectedly".to_owned(), None))
            }
        }
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Node, Problem> {
        let place = self.place(&span);
        let id = self.number(place, path)?;
        if depth > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} deep");
            return Err(problem(self.name, Some(place), path, message, None));
        }
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let kind = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Kind::Null
                } else {
                    Kind::Scalar(text.into_owned())
                };
                (kind, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(path, depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(path, depth)?, anchor),
            Event::Alias(anchor) => (self.alias(anchor, place, path)?, 0),
            _ => (Kind::Null, 0),
        };
        let node = Node { id, place, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, span) => {
                    let path = format!("{path}[{}]", items.len());
                    items.push(self.node(event, span, &path, depth + 1)?);
                }
            }
        }
    }

    fn map(&mut self, path: &str, depth: usize) -> Result<Kind, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let place = self.place(&span);
            let (key, merges) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => {
                    self.number(place, path)?;
                    let merges = style == ScalarStyle::Plain && text == "<<";
                    (text.into_owned(), merges)
                }
                _ => {
                    let hint = "write the key as plain text";
                    return Err(self.wrong(place, path, "a key that is not plain text", hint));
                }
            };
            let child = join(path, &key);
            let (event, span) = self.next()?;
            let node = self.node(event, span, &child, depth + 1)?;
            if merges {
                self.merge(node, &child, &mut merged)?;
                continue;
            }
            let entry = Entry { key, place, node };
            if let Some(index) = known.get(&entry.key) {
                let before = std::mem::replace(&mut entries[*index], entry);
                self.reading.outdone.push(Outdone { path: child, place: before.place });
            } else {
                known.insert(entry.key.clone(), entries.len());
                entries.push(entry);
            }
        }
        for entry in merged {
            if !known.contains_key(&entry.key) {
                known.insert(entry.key.clone(), entries.len());
                entries.push(entry);
            }
        }
        Ok(Kind::Map(entries))
    }

    /// What `<<` brings in; what stands first wins (the merge key's own specification for YAML 1.1).
    fn merge(&mut self, node: Node, path: &str, into: &mut Vec<Entry>) -> Result<(), Problem> {
        let place = node.place;
        let maps = match node.kind {
            Kind::List(items) => items,
            _ => vec![node],
        };
        for map in maps {
            let Kind::Map(entries) = map.kind else {
                let hint = "merge a mapping, or a list of mappings";
                return Err(self.wrong(place, path, "`<<` without a mapping", hint));
            };
            into.extend(entries);
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Place, path: &str) -> Result<Kind, Problem> {
        let Some(mut node) = self.anchors.get(&anchor).cloned() else {
            let message = "an alias within its own anchor".to_owned();
            return Err(problem(self.name, Some(place), path, message, None));
        };
        self.reading.shared.insert(node.id);
        self.renumber(&mut node, place, path)?;
        Ok(node.kind)
    }

    /// Gives a copy numbers of its own: each use of an anchor is carried over, or not, for itself.
    fn renumber(&mut self, node: &mut Node, place: Place, path: &str) -> Result<(), Problem> {
        node.id = self.number(place, path)?;
        match &mut node.kind {
            Kind::List(items) => {
                items.iter_mut().try_for_each(|item| self.renumber(item, place, path))
            }
            Kind::Map(entries) => {
                entries.iter_mut().try_for_each(|entry| self.renumber(&mut entry.node, place, path))
            }
            Kind::Null | Kind::Scalar(_) => Ok(()),
        }
    }

    fn number(&mut self, place: Place, path: &str) -> Result<usize, Problem> {
        let number = self.reading.nodes;
        self.reading.nodes += 1;
        if number < MAX_NODES {
            return Ok(number);
        }
        let message = format!("more than {MAX_NODES} values, those behind aliases included");
        Err(problem(self.name, Some(place), path, message, None))
    }

    fn place(&self, span: &Span) -> Place {
        Place { file: self.file, line: span.start.line(), column: span.start.col() + 1 }
    }

    fn wrong(&self, place: Place, path: &str, message: impl Into<String>, hint: &str) -> Problem {
        problem(self.name, Some(place), path, message.into(), Some(hint))
    }
}
