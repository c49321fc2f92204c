//! The configuration as it is written: in the order in which it is built, and quoted where YAML would
//! read something else.

use std::fmt::Write as _;

/// A value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Yaml {
    /// Text, quoted where it has to be.
    Text(String),
    /// What is written as it is: a number, a boolean, a duration, or `${NAME}`.
    Plain(String),
    List(Vec<Yaml>),
    Map(Map),
}

/// A mapping in the order of its keys' coming.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map(Vec<(String, Yaml)>);

/// The longest mapping or list that is written on one line.
const MAX_LINE: usize = 90;

impl Map {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `key`, which is not there yet.
    pub(super) fn put(&mut self, key: &str, value: Yaml) {
        self.0.push((key.to_owned(), value));
    }

    pub(super) fn text(&mut self, key: &str, text: impl Into<String>) {
        self.put(key, Yaml::Text(text.into()));
    }

    pub(super) fn plain(&mut self, key: &str, value: impl ToString) {
        self.put(key, Yaml::Plain(value.to_string()));
    }

    /// Adds a mapping or a list that is not empty.
    pub(super) fn some(&mut self, key: &str, value: Yaml) {
        let empty = match &value {
            Yaml::Map(map) => map.is_empty(),
            Yaml::List(items) => items.is_empty(),
            Yaml::Text(_) | Yaml::Plain(_) => false,
        };
        if !empty {
            self.put(key, value);
        }
    }

    /// Adds all of `other`, whose keys are not there yet.
    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many values there are, keys included.
    pub(super) fn values(&self) -> usize {
        self.0.iter().map(|(_, value)| 1 + value.values()).sum()
    }

    /// The text of a document.
    pub(super) fn document(&self) -> String {
        let mut text = String::new();
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            entry(&mut text, key, value, 0);
        }
        text
    }
}

impl Yaml {
    fn values(&self) -> usize {
        1 + match self {
            Self::Text(_) | Self::Plain(_) => 0,
            Self::List(items) => items.iter().map(Self::values).sum(),
            Self::Map(map) => map.values(),
        }
    }
}

fn entry(out: &mut String, key: &str, value: &Yaml, indent: usize) {
    let _ = write!(out, "{:indent$}{}:", "", self::key(key, false));
    below(out, value, indent);
}

/// A value behind its key, which stands at `indent`.
fn below(out: &mut String, value: &Yaml, indent: usize) {
    if let Some(line) = one_line(value, indent == 0) {
        let _ = writeln!(out, " {line}");
        return;
    }
    out.push('\n');
    match value {
        Yaml::Map(Map(entries)) => {
            entries.iter().for_each(|(key, value)| entry(out, key, value, indent + 2));
        }
        Yaml::List(items) => items.iter().for_each(|item| list_item(out, item, indent + 2)),
        Yaml::Text(_) | Yaml::Plain(_) => {}
    }
}

fn list_item(out: &mut String, item: &Yaml, indent: usize) {
    let _ = write!(out, "{:indent$}-", "");
    match item {
        Yaml::Map(Map(entries)) if one_line(item, false).is_none() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index == 0 {
                    let _ = write!(out, " {}:", self::key(key, false));
                } else {
                    let _ =
                        write!(out, "{:width$}{}:", "", self::key(key, false), width = indent + 2);
                }
                below(out, value, indent + 2);
            }
        }
        _ => below(out, item, indent),
    }
}

/// The value on one line, where it fits there. `top`: a section of the file, which is easier to add to
/// with a line for each of its keys.
fn one_line(value: &Yaml, top: bool) -> Option<String> {
    match value {
        Yaml::Text(text) => Some(scalar(text, false)),
        Yaml::Plain(text) => Some(text.clone()),
        Yaml::Map(map) if map.is_empty() => Some("{}".to_owned()),
        Yaml::List(items) if items.is_empty() => Some("[]".to_owned()),
        Yaml::Map(_) | Yaml::List(_) if top => None,
        Yaml::Map(_) | Yaml::List(_) => flow(value).filter(|line| line.len() <= MAX_LINE),
    }
}

/// In braces or brackets, where nothing in it is `${..}`: that can't stand there.
fn flow(value: &Yaml) -> Option<String> {
    match value {
        Yaml::Text(text) => Some(scalar(text, true)),
        Yaml::Plain(text) => (!text.contains('$')).then(|| text.clone()),
        Yaml::List(items) => {
            let items: Option<Vec<_>> = items.iter().map(flow).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Yaml::Map(Map(entries)) => {
            let entry = |(key, value): &(String, Yaml)| {
                flow(value).map(|value| format!("{}: {value}", self::key(key, true)))
            };
            let entries: Option<Vec<_>> = entries.iter().map(entry).collect();
            Some(format!("{{ {} }}", entries?.join(", ")))
        }
    }
}

/// A key. It is text, whatever it looks like.
fn key(text: &str, in_flow: bool) -> String {
    if text == "on" { text.to_owned() } else { scalar(text, in_flow) }
}

/// Text that YAML reads as this text.
fn scalar(text: &str, in_flow: bool) -> String {
    if is_simple(text, in_flow) { text.to_owned() } else { quoted(text) }
}

/// Whether YAML 1.1 and 1.2 read `text` without quotes as this text.
fn is_simple(text: &str, in_flow: bool) -> bool {
    const WORDS: [&str; 12] =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];
    let first = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    let colon: &[u8] = if in_flow { b"" } else { b":" };
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte) || colon.contains(&byte);
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    first && !word && text.bytes().all(plain) && !text.ends_with(':')
}

/// In double quotes (YAML 1.2.2, 7.3.1).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(char),
            char if char.is_alphanumeric() => out.push(char),
            char => {
                let code = u32::from(char);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(build: impl FnOnce(&mut Map)) -> String {
        let mut map = Map::default();
        build(&mut map);
        map.document()
    }

    #[test]
    fn small_things_stand_on_a_line_and_large_ones_do_not() {
        let text = written(|root| {
            let mut models = Map::default();
            let mut model = Map::default();
            let mut target = Map::default();
            target.text("provider", "openai");
            target.text("model", "gpt-4o");
            model.put("targets", Yaml::List(vec![Yaml::Map(target)]));
            models.put("gpt-4.1", Yaml::Map(model));
            root.put("models", Yaml::Map(models));
            let mut providers = Map::default();
            let mut provider = Map::default();
            provider.plain("base_url", "${BASE}");
            provider.text("api_key", "env:KEY");
            providers.put("123", Yaml::Map(provider));
            root.put("providers", Yaml::Map(providers));
        });
        let expected = "models:\n  gpt-4.1: { targets: [{ provider: openai, model: gpt-4o }] }\n\n\
                        providers:\n  \"123\":\n    base_url: ${BASE}\n    api_key: env:KEY\n";
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn any_text_reads_back(key in "\\PC{1,20}|.{1,10}", value in ".{0,40}", in_list: bool) {
            let text = written(|root| {
                let value = Yaml::Text(value.clone());
                let mut inner = Map::default();
                inner.put(&key, if in_list { Yaml::List(vec![value]) } else { value });
                root.put("top", Yaml::Map(inner));
            });
            let read: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| {
                TestCaseError::fail(format!("{error}: {text:?}"))
            })?;
            let read = &read["top"][&key];
            let read = if in_list { &read[0] } else { read };
            prop_assert_eq!(read.as_str(), Some(value.as_str()), "{}", text);
        }
    }
}
