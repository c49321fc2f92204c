//! What messages consist of.

use std::borrow::Cow;

use super::{CacheHint, Origin, Thought};
use crate::{Dialect, json::Raw};

/// One piece of a message.
#[derive(Clone, PartialEq, Debug)]
pub struct Part<'a> {
    /// What it is.
    pub content: Content<'a>,
    /// The prompt up to here is worth caching.
    pub cache: Option<CacheHint>,
    /// What the provider sealed beside this part and wants back with it: Gemini's `thoughtSignature` on
    /// a part that is no thought. Never set on a [`Content::Thought`].
    pub seal: Option<Cow<'a, str>>,
    /// Where it stood.
    pub origin: Origin,
}

impl<'a> Part<'a> {
    /// A part without cache hint or seal.
    pub fn new(content: Content<'a>, origin: Origin) -> Self {
        Self { content, cache: None, seal: None, origin }
    }

    /// A part of plain text.
    pub fn text(text: impl Into<Cow<'a, str>>, origin: Origin) -> Self {
        Self::new(Content::Text { text: text.into(), annotations: Vec::new() }, origin)
    }

    /// Its text, if it is nothing but text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// The kinds of parts.
#[derive(Clone, PartialEq, Debug)]
pub enum Content<'a> {
    /// Words.
    Text {
        /// The words.
        text: Cow<'a, str>,
        /// What they are based on.
        annotations: Vec<Annotation<'a>>,
    },
    /// Words with which the model refuses.
    Refusal(Cow<'a, str>),
    /// A picture.
    Image(Image<'a>),
    /// A file, mostly a PDF.
    Document(Document<'a>),
    /// A recording, always inline.
    Audio(Media<'a>),
    /// A call of a tool, by the model.
    ToolCall(ToolCall<'a>),
    /// What a tool gave.
    ToolResult(ToolResult<'a>),
    /// Reasoning.
    Thought(Thought<'a>),
    /// A part that one dialect alone has, such as the call of a tool that its provider hosts.
    Native {
        /// Whose it is.
        dialect: Dialect,
        /// Its `type`.
        kind: Cow<'a, str>,
        /// The whole part.
        value: Raw<'a>,
    },
}

/// Bytes within a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media<'a> {
    /// Its media type, such as `image/png` or `audio/wav`.
    pub media_type: Cow<'a, str>,
    /// Its bytes in standard base64 with padding, as they were written. Encoders check nothing of it.
    pub data: Cow<'a, str>,
}

/// Where a picture or a file is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source<'a> {
    /// To be fetched by the provider.
    Url(Cow<'a, str>),
    /// In the request.
    Inline(Media<'a>),
    /// Uploaded to the provider before. Identifiers are of one provider: only the dialect that it was
    /// written in can name it.
    FileId(Cow<'a, str>),
    /// A document of plain text.
    Text(Cow<'a, str>),
}

/// A picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image<'a> {
    /// Where it is.
    pub source: Source<'a>,
    /// How closely to look, in OpenAI's dialects: `low`, `high`, `auto`.
    pub detail: Option<Cow<'a, str>>,
}

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// Where it is.
    pub source: Source<'a>,
    /// Its name or title.
    pub name: Option<Cow<'a, str>>,
    /// What to know about it, in Anthropic's dialect and Bedrock's.
    pub context: Option<Cow<'a, str>>,
    /// Whether the answer is to cite it, in Anthropic's dialect and Bedrock's.
    pub citations: Option<bool>,
}

/// A call of a tool.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolCall<'a> {
    /// The identifier that the result refers to.
    pub id: Cow<'a, str>,
    /// The tool's name.
    pub name: Cow<'a, str>,
    /// The arguments: a JSON object in a request. In a reply it is what the model wrote, which an
    /// upstream may hand on as text that is no valid JSON: see [`Arguments`].
    pub arguments: Arguments<'a>,
}

/// Arguments of a call.
#[derive(Clone, PartialEq, Debug)]
pub enum Arguments<'a> {
    /// A JSON object, as text.
    Object(Raw<'a>),
    /// Text that is no JSON object. Dialects that need an object can not write it.
    Text(Cow<'a, str>),
}

impl<'a> Arguments<'a> {
    /// Takes text for an object if it is one. Empty text, which some models write for a tool without
    /// parameters, is the empty object.
    pub fn from_text(text: Cow<'a, str>) -> Self {
        if text.trim_ascii().is_empty() {
            return Self::Object(Raw::EMPTY_OBJECT);
        }
        match Raw::parse(text) {
            Ok(raw) if raw.is_object() => Self::Object(raw),
            Ok(raw) => Self::Text(raw.into_text()),
            Err(text) => Self::Text(text),
        }
    }

    /// The text that a model wrote, or would have written.
    pub fn as_text(&self) -> &str {
        match self {
            Self::Object(raw) => raw.as_str(),
            Self::Text(text) => text,
        }
    }
}

/// What a tool gave.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolResult<'a> {
    /// The identifier of the call.
    pub call_id: Cow<'a, str>,
    /// Text, pictures, documents. Empty: nothing.
    pub parts: Vec<Part<'a>>,
    /// Whether it is a failure. Only some dialects can say so.
    pub is_error: bool,
}

/// What a text is based on.
#[derive(Clone, PartialEq, Debug)]
pub enum Annotation<'a> {
    /// A web page.
    Url {
        /// Its address.
        url: Cow<'a, str>,
        /// Its title.
        title: Option<Cow<'a, str>>,
        /// The first character of the text that is based on it.
        start: Option<u64>,
        /// The character behind the last.
        end: Option<u64>,
    },
    /// Something that one dialect alone has.
    Native {
        /// Whose it is.
        dialect: Dialect,
        /// The whole annotation.
        value: Raw<'a>,
    },
}
