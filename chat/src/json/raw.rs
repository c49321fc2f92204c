//! Values and numbers that stay text.

use std::{borrow::Cow, fmt};

use super::Reader;

/// A value as it was written. It is valid JSON; objects in it may have keys twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw<'a>(Cow<'a, str>);

impl<'a> Raw<'a> {
    /// `{}`.
    pub const EMPTY_OBJECT: Raw<'static> = Raw(Cow::Borrowed("{}"));

    /// Takes text that is one JSON value, white space around it removed; gives other text back.
    pub fn parse(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        let mut reader = Reader::new(&text);
        let valid = reader.raw().and_then(|_| reader.end());
        if valid.is_err() {
            return Err(text);
        }
        Ok(Self(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii()),
            Cow::Owned(text) => match text.trim_ascii() {
                trimmed if trimmed.len() == text.len() => Cow::Owned(text),
                trimmed => Cow::Owned(trimmed.to_owned()),
            },
        }))
    }

    /// A slice that the reader has found to be a value.
    pub(super) fn of_slice(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its text.
    pub fn into_text(self) -> Cow<'a, str> {
        self.0
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }
}

/// Its length alone: what clients send is not for logs.
impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(test) { f.write_str(&self.0) } else { write!(f, "Raw({} bytes)", self.0.len()) }
    }
}

/// A number as it was written, so that it loses no digit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number<'a>(&'a str);

impl<'a> Number<'a> {
    /// A slice that the reader has found to be a number.
    pub(super) fn of_slice(text: &'a str) -> Self {
        Self(text)
    }

    /// Takes text that is a JSON number.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut reader = Reader::new(text);
        let number = reader.number().ok()?;
        (number.0.len() == text.len()).then_some(number)
    }

    /// Its text.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The whole number that it is, if it is one and not negative: `7`, but not `7.0`.
    pub fn as_u64(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// Its nearest floating-point number; infinite for one that is too large.
    pub fn as_f64(self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }
}
