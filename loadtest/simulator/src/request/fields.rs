//! Looking at one value after another, and refusing it in its dialect's words and at its place.

use std::fmt;

use super::json::Json;
use crate::errors::{Dialect, Refusal};

/// Where a value stands: `messages[1].content[0]` for OpenAI, `messages.1.content.0` for Anthropic.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    dialect: Dialect,
    up: Option<&'p At<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> At<'p> {
    pub(super) fn root(dialect: Dialect) -> Self {
        Self { dialect, up: None, step: Step::Root }
    }

    pub(super) fn key<'q>(&'q self, key: &'q str) -> At<'q> {
        At { dialect: self.dialect, up: Some(self), step: Step::Key(key) }
    }

    pub(super) fn index(&self, index: usize) -> At<'_> {
        At { dialect: self.dialect, up: Some(self), step: Step::Index(index) }
    }

    /// A refusal in words of its own.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Refusal {
        Refusal::bad_request(message).param(self.to_string())
    }

    /// The value is not as it has to be.
    pub(super) fn invalid(&self, why: impl fmt::Display) -> Refusal {
        let message = match self.dialect {
            Dialect::OpenAi | Dialect::Azure => format!("Invalid '{self}': {why}."),
            Dialect::Anthropic => format!("{self}: {why}"),
            _ => format!("Invalid value at '{self}': {why}"),
        };
        self.refuse(message).code("invalid_value")
    }

    pub(super) fn unknown(&self) -> Refusal {
        match self.dialect {
            Dialect::OpenAi | Dialect::Azure => {
                self.refuse(format!("Unknown parameter: '{self}'.")).code("unknown_parameter")
            }
            Dialect::Anthropic => self.refuse(format!("{self}: Extra inputs are not permitted")),
            Dialect::Google => self.refuse(format!(
                "Invalid JSON payload received. Unknown name at '{self}': Cannot find field."
            )),
            Dialect::Bedrock => self.refuse(format!(
                "Malformed input request: extraneous key [{self}] is not permitted, please \
                 reformat your input and try again."
            )),
        }
    }

    pub(super) fn missing(&self) -> Refusal {
        match self.dialect {
            Dialect::OpenAi | Dialect::Azure => self
                .refuse(format!("Missing required parameter: '{self}'."))
                .code("missing_required_parameter"),
            Dialect::Anthropic => self.refuse(format!("{self}: Field required")),
            _ => self.refuse(format!("{self}: is missing")),
        }
    }

    pub(super) fn wrong_type(&self, expected: &str, got: &Json<'_>) -> Refusal {
        let got = got.kind();
        match self.dialect {
            Dialect::OpenAi | Dialect::Azure => self
                .refuse(format!(
                    "Invalid type for '{self}': expected {expected}, but got {got} instead."
                ))
                .code("invalid_type"),
            Dialect::Anthropic => self.refuse(format!("{self}: Input should be {expected}")),
            _ => self.refuse(format!("Invalid value at '{self}': expected {expected}, got {got}")),
        }
    }

    /// None of the words that may stand here.
    pub(super) fn not_one_of(&self, words: &[&str], got: &str) -> Refusal {
        let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
        let message = match self.dialect {
            Dialect::OpenAi | Dialect::Azure => {
                format!("Invalid value: '{got}'. Supported values are: {words}.")
            }
            _ => format!("{self}: Input should be one of {words}"),
        };
        self.refuse(message).code("invalid_value")
    }

    pub(super) fn object<'v, 'a>(&self, value: &'v Json<'a>) -> Result<&'v Json<'a>, Refusal> {
        match value {
            Json::Object(_) => Ok(value),
            _ => Err(self.wrong_type("an object", value)),
        }
    }

    pub(super) fn list<'v, 'a>(&self, value: &'v Json<'a>) -> Result<&'v [Json<'a>], Refusal> {
        match value {
            Json::List(elements) => Ok(elements),
            _ => Err(self.wrong_type("an array", value)),
        }
    }

    pub(super) fn text<'v>(&self, value: &'v Json<'_>) -> Result<&'v str, Refusal> {
        value.as_str().ok_or_else(|| self.wrong_type("a string", value))
    }

    pub(super) fn one_of<'v>(
        &self,
        value: &'v Json<'_>,
        words: &[&str],
    ) -> Result<&'v str, Refusal> {
        let word = self.text(value)?;
        if words.contains(&word) { Ok(word) } else { Err(self.not_one_of(words, word)) }
    }

    /// An object without other keys than `known`.
    pub(super) fn only<'v, 'a>(
        &self,
        value: &'v Json<'a>,
        known: &[&str],
    ) -> Result<Fields<'v, 'a, 'p>, Refusal> {
        let fields = Fields { at: *self, value: self.object(value)? };
        match value.members().iter().find(|(key, _)| !known.contains(&&**key)) {
            Some((key, _)) => Err(self.key(key).unknown()),
            None => Ok(fields),
        }
    }

    /// An object of any keys.
    pub(super) fn any<'v, 'a>(&self, value: &'v Json<'a>) -> Result<Fields<'v, 'a, 'p>, Refusal> {
        Ok(Fields { at: *self, value: self.object(value)? })
    }

    /// A name of letters, digits, `_` and `-`, as tools and schemas have it.
    pub(super) fn name<'v>(&self, value: &'v Json<'_>, longest: usize) -> Result<&'v str, Refusal> {
        let name = self.text(value)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !name.is_empty() && name.len() <= longest && name.chars().all(fits) {
            return Ok(name);
        }
        let why = match self.dialect {
            Dialect::OpenAi | Dialect::Azure if name.len() > longest => format!(
                "string too long. Expected a string with maximum length {longest}, but got a \
                 string with length {} instead",
                name.len()
            ),
            Dialect::OpenAi | Dialect::Azure => {
                "string does not match pattern. Expected a string that matches the pattern \
                 '^[a-zA-Z0-9_-]+$'"
                    .to_owned()
            }
            _ => {
                format!("String should match pattern '^[a-zA-Z0-9_-]{{1,{longest}}}$'")
            }
        };
        Err(self.invalid(why))
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(up) = self.up else { return Ok(()) };
        up.fmt(formatter)?;
        let first = matches!(up.step, Step::Root);
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) if first => formatter.write_str(key),
            Step::Key(key) => write!(formatter, ".{key}"),
            Step::Index(index) if self.dialect != Dialect::Anthropic => {
                write!(formatter, "[{index}]")
            }
            Step::Index(index) => write!(formatter, ".{index}"),
        }
    }
}

/// An object whose keys are known.
#[derive(Clone, Copy)]
pub(super) struct Fields<'v, 'a, 'p> {
    pub(super) at: At<'p>,
    pub(super) value: &'v Json<'a>,
}

impl<'v, 'a> Fields<'v, 'a, '_> {
    pub(super) fn get(&self, key: &str) -> Option<&'v Json<'a>> {
        self.value.get(key)
    }

    pub(super) fn need(&self, key: &str) -> Result<&'v Json<'a>, Refusal> {
        self.get(key).ok_or_else(|| self.at.key(key).missing())
    }

    pub(super) fn need_text(&self, key: &str) -> Result<&'v str, Refusal> {
        self.at.key(key).text(self.need(key)?)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'v str>, Refusal> {
        self.get(key).map(|value| self.at.key(key).text(value)).transpose()
    }

    pub(super) fn texts(&self, keys: &[&str]) -> Result<(), Refusal> {
        keys.iter().try_for_each(|key| self.text(key).map(|_| ()))
    }

    pub(super) fn one_of(&self, key: &str, words: &[&str]) -> Result<Option<&'v str>, Refusal> {
        self.get(key).map(|value| self.at.key(key).one_of(value, words)).transpose()
    }

    pub(super) fn need_one_of(&self, key: &str, words: &[&str]) -> Result<&'v str, Refusal> {
        self.at.key(key).one_of(self.need(key)?, words)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.at.key(key).wrong_type("a boolean", value))
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.at.key(key).wrong_type("an integer", value))
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&self, key: &str, least: f64, most: f64) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let at = self.at.key(key);
        let number = value.as_f64().ok_or_else(|| at.wrong_type("a number", value))?;
        if (least..=most).contains(&number) {
            return Ok(Some(number));
        }
        Err(at.invalid(format!("expected a value between {least} and {most}, but got {number}")))
    }

    /// Labels: few, short, and of text.
    pub(super) fn labels(&self, key: &str) -> Result<(), Refusal> {
        let Some(value) = self.get(key) else { return Ok(()) };
        let at = self.at.key(key);
        let members = at.object(value)?.members();
        if members.len() > 16 {
            return Err(at.invalid("too many properties. Expected an object with at most 16"));
        }
        for (name, value) in members {
            let at = at.key(name);
            if name.len() > 64 || at.text(value)?.len() > 512 {
                return Err(at.invalid("string too long"));
            }
        }
        Ok(())
    }
}
