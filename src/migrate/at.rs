//! A value of the source on its way to a type, and the paths that reports name.

use sluicegate_filters::price::decimal;

use super::source::{Kind, Node, Place};

/// Characters of a key that a path shows.
const MAX_SHOWN: usize = 80;

/// A value with its path.
#[derive(Clone)]
pub(super) struct At<'n> {
    /// As in `model_list[0].litellm_params.model`.
    pub(super) path: String,
    /// Where its key stands.
    pub(super) place: Place,
    pub(super) node: &'n Node,
}

impl<'n> At<'n> {
    /// The whole source.
    pub(super) fn root(node: &'n Node) -> Self {
        Self { path: String::new(), place: node.place, node }
    }

    /// The value of `key`; `None` where it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        self.entries().into_iter().find(|(name, at)| *name == key && !at.is_null()).map(|it| it.1)
    }

    /// The values of a mapping; none of anything else.
    pub(super) fn entries(&self) -> Vec<(&'n str, Self)> {
        let Kind::Map(entries) = &self.node.kind else { return Vec::new() };
        let at = |entry: &'n super::source::Entry| {
            let (path, place) = (join(&self.path, &entry.key), entry.place);
            (entry.key.as_str(), Self { path, place, node: &entry.node })
        };
        entries.iter().map(at).collect()
    }

    /// The values of a list; none of anything else.
    pub(super) fn items(&self) -> Vec<Self> {
        let Kind::List(items) = &self.node.kind else { return Vec::new() };
        let at = |(index, node): (usize, &'n Node)| Self {
            path: format!("{}[{index}]", self.path),
            place: node.place,
            node,
        };
        items.iter().enumerate().map(at).collect()
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.kind, Kind::Null)
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// The text, where it is a single value with any.
    pub(super) fn text(&self) -> Option<&'n str> {
        match &self.node.kind {
            Kind::Scalar(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    /// `true` or `false`, in any of YAML 1.1's words, which PyYAML reads.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    /// A whole number of at least 0.
    pub(super) fn count(&self) -> Option<u64> {
        decimal::parse(&plain_number(self.text()?), 0, u64::MAX).ok()
    }

    /// Seconds, as milliseconds.
    pub(super) fn seconds(&self) -> Option<u64> {
        decimal::parse(&plain_number(self.text()?), 3, u64::MAX).ok()
    }
}

/// A number of Python as one of JSON, where it is one: without a plus, underscores or a bare point.
pub(super) fn plain_number(text: &str) -> String {
    let text = text.trim().replace('_', "");
    let text = text.strip_prefix('+').unwrap_or(&text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let whole = if mantissa.starts_with('.') { "0" } else { "" };
    let fraction = if mantissa.ends_with('.') { "0" } else { "" };
    format!("{whole}{mantissa}{fraction}{exponent}")
}

/// The path of `key` within `path`. A key with other than letters, digits, `_`, `-` and `*` is quoted,
/// so that its own dots can be told from the path's.
pub(super) fn join(path: &str, key: &str) -> String {
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || b"_-*".contains(&byte);
    let key = if !key.is_empty() && key.len() <= MAX_SHOWN && key.bytes().all(simple) {
        key.to_owned()
    } else {
        format!("\"{}\"", clean(key))
    };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Text for one line of a terminal.
pub(super) fn clean(text: &str) -> String {
    let shown = text.chars().take(MAX_SHOWN).map(|char| match char {
        char if char.is_control() => '\u{fffd}',
        // They would turn a line's order around.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        char => char,
    });
    let mut shown: String = shown.collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_python_become_numbers_of_json() {
        for (text, expected) in [
            ("30", "30"),
            ("+.5", "0.5"),
            ("5.", "5.0"),
            ("1_000", "1000"),
            ("2.5e-06", "2.5e-06"),
            (".5E-7", "0.5E-7"),
            ("five", "five"),
        ] {
            assert_eq!(plain_number(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_quote_what_would_mislead() {
        assert_eq!(join("", "model_list"), "model_list");
        assert_eq!(join("models", "gpt-4.1"), "models.\"gpt-4.1\"");
        assert_eq!(join("a", "\u{1b}[31m"), "a.\"\u{fffd}[31m\"");
    }
}
