//! Tools and the choice among them.

use std::borrow::Cow;

use super::{CacheHint, Origin};
use crate::{Dialect, json::Raw};

/// A tool that the model may call.
#[derive(Clone, PartialEq, Debug)]
pub enum Tool<'a> {
    /// A function on the client's side.
    Function(Function<'a>),
    /// A tool that the provider runs or defines. Only its own dialect can ask for it.
    Native {
        /// Whose it is.
        dialect: Dialect,
        /// Its `type`.
        kind: Cow<'a, str>,
        /// The whole definition.
        value: Raw<'a>,
        /// Where it stood.
        origin: Origin,
    },
}

/// A function on the client's side.
#[derive(Clone, PartialEq, Debug)]
pub struct Function<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// What it does.
    pub description: Option<Cow<'a, str>>,
    /// The JSON schema of its arguments, an object. `None`: it takes none.
    pub parameters: Option<Raw<'a>>,
    /// Whether arguments have to fit the schema exactly.
    pub strict: Option<bool>,
    /// The prompt up to here is worth caching.
    pub cache: Option<CacheHint>,
    /// Where it stood.
    pub origin: Origin,
}

impl<'a> Function<'a> {
    /// One of which nothing has been read yet.
    pub fn unread(origin: Origin) -> Self {
        Self {
            name: "".into(),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
            origin,
        }
    }
}

/// Whether and which tools are to be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToolChoice<'a> {
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Function(Cow<'a, str>),
    /// These, as the model likes or, if `required`, at least one of them.
    Allowed {
        /// Their names.
        names: Vec<Cow<'a, str>>,
        /// At least one has to be called.
        required: bool,
    },
}
