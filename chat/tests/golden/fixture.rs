//! Finds fixtures, and compares or rewrites them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sluicegate_chat::{ClientDialect, Dialect};

/// A client's dialect and an upstream's.
pub struct Pair {
    pub client: ClientDialect,
    pub upstream: Dialect,
    directory: PathBuf,
}

impl Pair {
    pub fn all() -> Vec<Self> {
        let mut names: Vec<_> = fs::read_dir(root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains('-'))
            .collect();
        names.sort();
        names.iter().map(|name| Self::named(name)).collect()
    }

    pub fn named(name: &str) -> Self {
        let (client, upstream) = name.split_once('-').unwrap();
        let client = ClientDialect::ALL
            .into_iter()
            .find(|dialect| Dialect::from(*dialect).name() == client)
            .unwrap_or_else(|| panic!("{client} is no client's dialect"));
        let upstream = Dialect::ALL
            .into_iter()
            .find(|dialect| dialect.name() == upstream)
            .unwrap_or_else(|| panic!("{upstream} is no dialect"));
        Self { client, upstream, directory: root().join(name) }
    }

    /// The fixtures of one kind, by name.
    pub fn files(&self, kind: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.directory.join(kind)) else { return Vec::new() };
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Whether fixtures are to be rewritten.
pub fn update() -> bool {
    option_env!("UPDATE").is_some() || std::env::vars().any(|(name, _)| name == "UPDATE")
}

/// Collects what went wrong over many fixtures, so that one run shows all.
#[derive(Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Compares text; both sides are shown when they differ.
    pub fn compare(&mut self, file: &Path, what: &str, expected: &str, found: &str) {
        if expected != found {
            self.add(file, format!("{what}\n  expected: {expected}\n  found:    {found}"));
        }
    }

    pub fn add(&mut self, file: &Path, problem: String) {
        let file = file.strip_prefix(root()).unwrap_or(file);
        self.0.push(format!("{}: {problem}", file.display()));
    }

    pub fn check(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

/// JSON without the white space between its tokens. Nothing else is changed: digits and the order of keys count.
pub fn minify(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

/// JSON with white space for readers; short arrays and objects stay on one line.
pub fn pretty(json: &str) -> String {
    let mut out = String::new();
    write_pretty(&minify(json), 1, &mut out);
    out
}

fn write_pretty(json: &str, depth: usize, out: &mut String) {
    let items = items(json);
    if json.chars().count() + 2 * depth <= 96 || items.is_empty() {
        out.push_str(&spaced(json));
        return;
    }
    let object = json.starts_with('{');
    out.push(if object { '{' } else { '[' });
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(depth + 1));
        let value = if object {
            let key = end_of_string(item);
            out.push_str(&item[..key]);
            out.push_str(": ");
            &item[key + 1..]
        } else {
            item
        };
        write_pretty(value, depth + 1, out);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    out.push(if object { '}' } else { ']' });
}

/// The items of a minified array or object; none for other values.
fn items(json: &str) -> Vec<&str> {
    if !json.starts_with(['{', '[']) || json.len() <= 2 {
        return Vec::new();
    }
    let inner = &json[1..json.len() - 1];
    let (mut items, mut start, mut depth, mut at) = (Vec::new(), 0, 0, 0);
    while at < inner.len() {
        match inner.as_bytes()[at] {
            b'"' => at += end_of_string(&inner[at..]) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                items.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    items.push(&inner[start..]);
    items
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn spaced(json: &str) -> String {
    let mut out = String::new();
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let length = if c == '"' { end_of_string(rest) } else { c.len_utf8() };
        out.push_str(&rest[..length]);
        if matches!(c, ',' | ':') {
            out.push(' ');
        }
        rest = &rest[length..];
    }
    out
}

#[test]
fn pretty_says_the_same() {
    let json = r#"{"a":[1,2,{"b":"x, \"y\": z"}],"c":{"d":"....................................................................................."},"e":[]}"#;
    assert_eq!(minify(&pretty(json)), json);
}
