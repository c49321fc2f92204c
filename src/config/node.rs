//! YAML as a tree that remembers where everything stood.
//!
//! Built from the parser's events rather than through serde, because one pass must find every
//! problem, and because only the parser still knows whether a scalar was quoted. Depth, nodes and
//! bytes are bounded, and an alias counts as the nodes that it stands for.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, options};

use super::env::Env;
use super::interpolate::{self, FaultKind};
use super::report::{Place, Report, join, nearest, shorten};

/// Largest file, in bytes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;
/// Most nodes, those behind aliases counted each time.
const MAX_NODES: usize = 50_000;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`: the same as an absent key.
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something that has been reported already; what depends on it keeps quiet.
    Broken,
}

/// A scalar, not yet given a type: what it must be decides that.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// The text, variables replaced.
    pub(super) text: String,
    /// Not quoted, so it may be a number or a boolean.
    pub(super) plain: bool,
    /// What was written, where variables were replaced.
    pub(super) source: Option<String>,
    /// The variable that gave the whole text.
    pub(super) variable: Option<String>,
}

impl Scalar {
    /// For messages. What came from a variable is shown as the variable: it may be a secret.
    pub(super) fn shown(&self) -> String {
        shorten(self.source.as_deref().unwrap_or(&self.text))
    }
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// Parses `text`. `None` where it could not be read to its end; that has been reported.
pub(super) fn parse(text: &str, env: &Env, report: &mut Report) -> Option<Node> {
    let options = options! { emit_comments: false };
    let events = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { events, text, env, report, anchors: HashMap::new(), nodes: 0 };
    builder.document().ok()
}

/// Reading can't go on; the reason has been reported.
struct Stop;

struct Builder<'t, 'r> {
    events: Parser<'t, StrInput<'t>>,
    text: &'t str,
    env: &'r Env,
    report: &'r mut Report,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t> Builder<'t, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    let hint = "keep one document a file";
                    self.report.error(place(&span), "", "a second YAML document", hint);
                    return Err(Stop);
                }
                event => root = Some(self.node(event, span, "", 0)?),
            }
        }
        Ok(root.unwrap_or(Node { place: Place::START, kind: Kind::Null }))
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => {
                self.report.error(Place::START, "", "the YAML ends unexpectedly", None::<&str>);
                Err(Stop)
            }
        }
    }

    fn syntax(&mut self, error: &ScanError) -> Stop {
        let marker = error.marker();
        let place = Place::new(marker.line(), marker.col() + 1);
        let line = self.text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
        let hint = line.contains("${").then_some(
            "within `{ }` and `[ ]`, YAML takes the `{` of `${..}` for its own: write the value on \
             a line of its own as `key: ${VAR}`",
        );
        self.report.error(place, "", format!("not YAML: {}", error.info()), hint);
        Stop
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Node, Stop> {
        let place = place(&span);
        self.count(1, place, path)?;
        if depth > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} deep");
            self.report.error(place, path, message, None::<&str>);
            return Err(Stop);
        }
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place, path);
                (self.scalar(&text, style, &span, path), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place, path);
                (self.list(path, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place, path);
                (self.map(path, depth)?, anchor)
            }
            Event::Alias(id) => (self.alias(id, place, path)?, 0),
            _ => (Kind::Null, 0),
        };
        let node = Node { place, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Kind, Stop> {
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

    fn map(&mut self, path: &str, depth: usize) -> Result<Kind, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            let place = place(&span);
            let key = match event {
                Event::MappingEnd => return Ok(Kind::Map(entries)),
                Event::Scalar(text, style, _, tag) => {
                    self.count(1, place, path)?;
                    self.key(text.into_owned(), style, tag.is_some(), place, path)
                }
                event => {
                    self.node(event, span, path, depth + 1)?;
                    let hint = "write the key as plain text";
                    self.report.error(place, path, "a key that is not plain text", hint);
                    None
                }
            };
            let child = key.as_deref().map_or_else(|| path.to_owned(), |key| join(path, key));
            let (event, span) = self.next()?;
            let node = self.node(event, span, &child, depth + 1)?;
            let Some(key) = key else { continue };
            if let Some(first) = seen.get(&key) {
                let hint = format!("it stands in line {first} already: keep one of the two");
                self.report.error(place, &child, "duplicate key", hint);
                continue;
            }
            seen.insert(key.clone(), place.line);
            entries.push(Entry { key, place, node });
        }
    }

    /// The key's text; `None` where it can't be one.
    fn key(
        &mut self,
        text: String,
        style: ScalarStyle,
        tagged: bool,
        place: Place,
        path: &str,
    ) -> Option<String> {
        self.refuse_tag(tagged, place, path);
        if style == ScalarStyle::Plain && text == "<<" {
            let hint = "write the keys out, or use an alias for a whole value";
            self.report.error(place, path, "merge keys (`<<`) are not supported", hint);
            return None;
        }
        if style == ScalarStyle::Plain && interpolate::applies(&text) {
            let message = "`${..}` is replaced in values only";
            self.report.error(place, path, message, "write the key out");
            return None;
        }
        Some(text)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: &Span, path: &str) -> Kind {
        let plain = style == ScalarStyle::Plain;
        let place = place(span);
        if !interpolate::applies(text) {
            if plain && is_null(text) {
                return Kind::Null;
            }
            let text = text.to_owned();
            return Kind::Scalar(Scalar { text, plain, source: None, variable: None });
        }
        if !plain {
            let hint = "leave the quotes out if it should be";
            self.report.warning(place, path, "`${..}` is not replaced in quoted text", hint);
            let text = text.to_owned();
            return Kind::Scalar(Scalar { text, plain, source: None, variable: None });
        }
        match interpolate::interpolate(text, self.env) {
            Ok(replaced) if is_null(&replaced.text) => Kind::Null,
            Ok(replaced) => Kind::Scalar(Scalar {
                text: replaced.text,
                plain,
                source: Some(text.to_owned()),
                variable: replaced.whole,
            }),
            Err(faults) => {
                // The parser joins the lines of a folded scalar, so columns only hold on one line.
                let one_line = span.start.line() == span.end.line();
                for fault in faults {
                    let shift = if one_line { fault.offset } else { 0 };
                    let place = Place::new(place.line, place.column + shift);
                    let hint = self.fault_hint(&fault.kind);
                    self.report.error(place, path, fault.kind.to_string(), hint);
                }
                Kind::Broken
            }
        }
    }

    fn fault_hint(&self, fault: &FaultKind) -> Option<String> {
        match fault {
            FaultKind::NotSet(name) => Some(match nearest(name, self.env.names()) {
                Some(near) => format!("set it, or write ${{{name}:-default}}; {near} is set"),
                None => format!("set it, or write ${{{name}:-default}}"),
            }),
            FaultKind::Unclosed => Some("write `$${` for a literal `${`".to_owned()),
            FaultKind::Malformed => Some(
                "a name has letters, digits and `_`; write `$${` for a literal `${`".to_owned(),
            ),
            FaultKind::TooLong => None,
        }
    }

    fn alias(&mut self, id: usize, place: Place, path: &str) -> Result<Kind, Stop> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            self.report.error(place, path, "an alias within its own anchor", None::<&str>);
            return Err(Stop);
        };
        self.count(size(&node), place, path)?;
        Ok(node.kind)
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place, path: &str) {
        if tagged {
            self.report.error(place, path, "YAML tags are not supported", "leave the `!..` out");
        }
    }

    fn count(&mut self, nodes: usize, place: Place, path: &str) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("more than {MAX_NODES} values, those behind aliases included");
        self.report.error(place, path, message, None::<&str>);
        Err(Stop)
    }
}

fn place(span: &Span) -> Place {
    Place::new(span.start.line(), span.start.col() + 1)
}

/// The null of YAML's core schema (YAML 1.2.2, 10.3.2).
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::List(items) => items.iter().map(size).sum(),
        Kind::Map(entries) => entries.iter().map(|entry| 1 + size(&entry.node)).sum(),
        Kind::Null | Kind::Scalar(_) | Kind::Broken => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<Node>, Vec<String>) {
        let mut report = Report::new("f.yaml");
        let node = parse(text, &Env::from_iter([("X", "8080")]), &mut report);
        let problems = report.finish().0;
        (node, problems.iter().map(ToString::to_string).collect())
    }

    fn errors(text: &str) -> Vec<String> {
        parsed(text).1
    }

    #[test]
    fn places_are_lines_and_columns_from_one() {
        let (node, errors) = parsed("a:\n  - b: 1\n    c: ${X}\n");
        assert!(errors.is_empty(), "{errors:?}");
        let Kind::Map(root) = node.unwrap().kind else { panic!("not a map") };
        assert_eq!(root[0].place, Place::new(1, 1));
        let Kind::List(items) = &root[0].node.kind else { panic!("not a list") };
        let Kind::Map(item) = &items[0].kind else { panic!("not a map") };
        assert_eq!((item[1].place, item[1].node.place), (Place::new(3, 5), Place::new(3, 8)));
        let Kind::Scalar(scalar) = &item[1].node.kind else { panic!("not a scalar") };
        assert_eq!((scalar.text.as_str(), scalar.shown()), ("8080", "`${X}`".to_owned()));
        assert_eq!(scalar.variable.as_deref(), Some("X"));
    }

    #[test]
    fn duplicate_keys_are_reported_and_the_first_is_kept() {
        assert_eq!(
            errors("a:\n  b: 1\n  b: 2\n  b: 3\n"),
            [
                "f.yaml:3:3: a.b: duplicate key; it stands in line 2 already: keep one of the two",
                "f.yaml:4:3: a.b: duplicate key; it stands in line 2 already: keep one of the two",
            ]
        );
    }

    #[test]
    fn a_missing_variable_is_reported_where_it_stands() {
        assert_eq!(
            errors("a: x${Y}z${Z}\n"),
            [
                "f.yaml:1:5: a: environment variable Y is not set or empty; set it, or write ${Y:-default}; X is set",
                "f.yaml:1:10: a: environment variable Z is not set or empty; set it, or write ${Z:-default}; X is set",
            ]
        );
    }

    #[test]
    fn syntax_errors_have_a_place_and_a_hint() {
        let errors = errors("p: { a: ${X}, b: 1 }\n");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("f.yaml:1:10: not YAML: "), "{errors:?}");
        assert!(errors[0].contains("on a line of its own as `key: ${VAR}`"), "{errors:?}");
    }

    #[test]
    fn what_yaml_can_do_and_a_configuration_should_not() {
        for (text, expected) in [
            ("a: 1\n---\nb: 2\n", "f.yaml:3:1: a second YAML document; "),
            ("a: !!str 5\n", "f.yaml:1:10: a: YAML tags are not supported"),
            ("<<: { a: 1 }\n", "f.yaml:1:1: merge keys (`<<`) are not supported"),
            ("? [a]\n: 1\n", "f.yaml:1:3: a key that is not plain text"),
            ("${X}: 1\n", "f.yaml:1:1: `${..}` is replaced in values only"),
            ("a: &a [*a]\n", "f.yaml:1:8: a[0]: an alias within its own anchor"),
        ] {
            let errors = errors(text);
            assert!(errors.iter().any(|error| error.starts_with(expected)), "{text}: {errors:?}");
        }
    }

    #[test]
    fn aliases_stand_for_their_value() {
        let (node, errors) = parsed("a: &a { b: 1 }\nc: *a\n");
        assert!(errors.is_empty(), "{errors:?}");
        let Kind::Map(root) = node.unwrap().kind else { panic!("not a map") };
        assert!(matches!(&root[1].node.kind, Kind::Map(entries) if entries[0].key == "b"));
    }

    #[test]
    fn an_alias_bomb_stops_early() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let errors = errors(&bomb);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("more than 50000 values"), "{errors:?}");
    }

    #[test]
    fn deep_nesting_stops() {
        let errors = errors(&format!("a: {}{}", "[".repeat(200), "]".repeat(200)));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("nested more than 32 deep"), "{errors:?}");
    }
}
