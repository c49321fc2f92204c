//! Statements: fixed text, and values beside it.

use std::fmt::Write as _;

use serde::Serialize;
use uuid::Uuid;

use super::super::StoreError;
use super::super::records::KeyHash;

/// One SQL statement. Its text is put together from text in the program alone, which the type of
/// [`push`](Self::push) makes sure of; whatever comes from outside is a [`Bind`].
///
/// Both databases understand `$1`, `$2`, ... as the first, second, ... value.
pub(in crate::stores) struct Statement {
    pub text: String,
    pub binds: Vec<Bind>,
    /// Whether each value's name stands once in the text, and in their order.
    pub in_order: bool,
}

/// A value of a statement, with the type that the database is told, also where it is `NULL`.
pub(in crate::stores) enum Bind {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Option<Vec<u8>>),
    Flag(bool),
    Id(Option<Uuid>),
    Json(serde_json::Value),
}

impl Statement {
    pub fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), binds: Vec::new(), in_order: true }
    }

    /// Appends text.
    pub fn push(mut self, text: &'static str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Adds the value of the next `$n` in text that names it itself.
    pub fn bind(mut self, value: impl Into<Bind>) -> Self {
        self.binds.push(value.into());
        self.in_order = false;
        self
    }

    /// Adds a value, and appends its `$n`.
    pub fn value(mut self, value: impl Into<Bind>) -> Self {
        self.binds.push(value.into());
        // Writing to text can't fail.
        _ = write!(self.text, "${}", self.binds.len());
        self
    }

    /// Appends `($n, ...)` with these values. Nothing is in an empty list.
    pub fn list(mut self, values: impl IntoIterator<Item = impl Into<Bind>>) -> Self {
        let before = self.binds.len();
        for value in values {
            let separator = if self.binds.len() == before { "(" } else { ", " };
            self = self.push(separator).value(value);
        }
        if self.binds.len() == before { self.push("(NULL)") } else { self.push(")") }
    }

    /// Adds a value as JSON.
    ///
    /// # Errors
    /// `Broken` if it isn't representable, which the types of records rule out.
    pub fn json(self, value: &impl Serialize) -> Result<Self, StoreError> {
        let value = serde_json::to_value(value)
            .map_err(|error| StoreError::Broken(format!("no JSON: {error}")))?;
        Ok(self.bind(Bind::Json(value)))
    }
}

impl From<&str> for Bind {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Bind {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<Option<&str>> for Bind {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<&Option<String>> for Bind {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Bind {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Bind {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Bind {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Uuid> for Bind {
    fn from(id: Uuid) -> Self {
        Self::Id(Some(id))
    }
}

impl From<Option<Uuid>> for Bind {
    fn from(id: Option<Uuid>) -> Self {
        Self::Id(id)
    }
}

impl From<&KeyHash> for Bind {
    fn from(hash: &KeyHash) -> Self {
        Self::Bytes(Some(hash.0.to_vec()))
    }
}

impl From<Option<KeyHash>> for Bind {
    fn from(hash: Option<KeyHash>) -> Self {
        Self::Bytes(hash.map(|hash| hash.0.to_vec()))
    }
}
