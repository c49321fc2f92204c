//! Reads a client's turns.

use std::borrow::Cow;

use super::{PART_SEAL, request_in::is_string};
use crate::{
    Dialect, Refusal, Why,
    extras::Extras,
    json::{Path, Raw, Reader},
    model::{
        CacheHint, Content, Document, Image, Media, Message, Origin, Part, Role, Seal, Source,
        Thought, ToolCall, ToolResult, part::Arguments,
    },
    openai_chat::request_in::cache_control,
};

const OWN: Dialect = Dialect::Anthropic;

/// Reads the list of turns.
pub fn messages<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Vec<Message<'a>>, Refusal> {
    at.array(reader, |at, index, reader| message(at, index, reader, extras))
}

fn message<'a>(
    at: &Path<'_>,
    index: usize,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Message<'a>, Refusal> {
    let origin = Origin::element("messages", index);
    let word = at.look_up(reader, "role")?;
    let word = word.ok_or_else(|| at.key("role").refuse(Why::Missing))?;
    let role = match &*word {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(at.key("role").invalid("`user`, `assistant` or `system`")),
    };
    let mut parts = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "role" => _ = at.string(reader)?,
            "content" => parts = Some(content(&at, reader, origin, "content", role, extras)?),
            _ => extras.unknown(&at, reader)?,
        }
    }
    let parts = parts.ok_or_else(|| at.key("content").refuse(Why::Missing))?;
    Ok(Message::new(role, parts, origin))
}

/// Reads content: a string, or blocks.
pub(super) fn content<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    list: &'static str,
    role: Role,
    extras: &mut Extras<'a>,
) -> Result<Vec<Part<'a>>, Refusal> {
    if is_string(at, reader)? {
        return Ok(vec![Part::text(at.string(reader)?, origin.inner(list))]);
    }
    let blocks = at.array(reader, |at, index, reader| {
        let part = block(at, reader, origin.item(list, index), extras)?;
        let fits = match part.content {
            Content::Text { .. } => true,
            Content::Native { .. } => role != Role::System,
            Content::ToolCall(_) | Content::Thought(_) => role == Role::Assistant,
            _ => role == Role::User,
        };
        if fits { Ok(part) } else { Err(at.invalid("of a type that this role can have")) }
    })?;
    Ok(unseal(blocks))
}

/// Gives seals that travelled in a block of their own back to the part behind them.
fn unseal(blocks: Vec<Part<'_>>) -> Vec<Part<'_>> {
    let mut parts = Vec::with_capacity(blocks.len());
    let mut seal = None;
    for mut part in blocks {
        if let Content::Thought(Thought { redacted: true, seal: Some(carried), .. }) = &part.content
            && let Some(data) = carried.data.strip_prefix(PART_SEAL)
        {
            seal = Some(Cow::Owned(data.to_owned()));
            continue;
        }
        part.seal = seal.take();
        parts.push(part);
    }
    parts
}

/// The fields of a block, whatever its type.
#[derive(Default)]
struct Fields<'a> {
    text: Option<Cow<'a, str>>,
    source: Option<Source<'a>>,
    title: Option<Cow<'a, str>>,
    context: Option<Cow<'a, str>>,
    citations: Option<bool>,
    id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    input: Option<Raw<'a>>,
    content: Vec<Part<'a>>,
    is_error: bool,
    signature: Option<Cow<'a, str>>,
    cache: Option<CacheHint>,
}

const KNOWN: [&str; 7] =
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"];

fn block<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
) -> Result<Part<'a>, Refusal> {
    let kind = at.look_up(reader, "type")?;
    let kind = kind.ok_or_else(|| at.key("type").refuse(Why::Missing))?;
    if !KNOWN.contains(&&*kind) || has_own_source(&kind, at, reader)? {
        let value = at.object(reader)?;
        return Ok(Part::new(Content::Native { dialect: OWN, kind, value }, origin));
    }
    let mut fields = Fields::default();
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match (&*kind, &*key) {
            (_, "type") => _ = at.string(reader)?,
            (_, "cache_control") => fields.cache = at.optional(reader, cache_control)?,
            ("text", "text") | ("thinking", "thinking") => fields.text = Some(at.string(reader)?),
            ("text", "citations") => extras.known(&at, reader, OWN)?,
            ("image" | "document", "source") => fields.source = Some(source(&at, reader)?),
            ("document", "title") => fields.title = at.optional(reader, Path::string)?,
            ("document", "context") => fields.context = at.optional(reader, Path::string)?,
            ("document", "citations") => {
                fields.citations = at.optional(reader, citations)?.flatten();
            }
            ("tool_use", "id") | ("tool_result", "tool_use_id") => {
                fields.id = Some(at.string(reader)?);
            }
            ("tool_use", "name") => fields.name = Some(at.string(reader)?),
            ("tool_use", "input") => fields.input = Some(at.object(reader)?),
            ("tool_use", "caller") => extras.known(&at, reader, OWN)?,
            ("tool_result", "content") => {
                let read = |at: &Path<'_>, reader: &mut Reader<'a>| {
                    result_content(at, reader, origin, extras)
                };
                fields.content = at.optional(reader, read)?.unwrap_or_default();
            }
            ("tool_result", "is_error") => {
                fields.is_error = at.optional(reader, Path::boolean)?.unwrap_or(false);
            }
            ("thinking", "signature") | ("redacted_thinking", "data") => {
                fields.signature = at.optional(reader, Path::string)?;
            }
            _ => extras.unknown(&at, reader)?,
        }
    }
    let cache = fields.cache;
    let content = fields.into_content(&kind, at)?;
    Ok(Part { cache, ..Part::new(content, origin) })
}

impl<'a> Fields<'a> {
    fn into_content(self, kind: &str, at: &Path<'_>) -> Result<Content<'a>, Refusal> {
        let missing = |name: &str| at.key(name).refuse(Why::Missing);
        let seal = self.signature.filter(|seal| !seal.is_empty()).map(Seal::from_text);
        Ok(match kind {
            "text" => {
                let text = self.text.ok_or_else(|| missing("text"))?;
                Content::Text { text, annotations: Vec::new() }
            }
            "image" => {
                let source = self.source.ok_or_else(|| missing("source"))?;
                Content::Image(Image { source, detail: None })
            }
            "document" => Content::Document(Document {
                source: self.source.ok_or_else(|| missing("source"))?,
                name: self.title,
                context: self.context,
                citations: self.citations,
            }),
            "tool_use" => Content::ToolCall(ToolCall {
                id: self.id.ok_or_else(|| missing("id"))?,
                name: self.name.ok_or_else(|| missing("name"))?,
                arguments: Arguments::Object(self.input.ok_or_else(|| missing("input"))?),
            }),
            "tool_result" => Content::ToolResult(ToolResult {
                call_id: self.id.ok_or_else(|| missing("tool_use_id"))?,
                parts: self.content,
                is_error: self.is_error,
            }),
            "thinking" => {
                let text = self.text.ok_or_else(|| missing("thinking"))?;
                Content::Thought(Thought { text, seal, redacted: false, id: None })
            }
            _ => {
                let seal = Some(seal.ok_or_else(|| missing("data"))?);
                Content::Thought(Thought { seal, redacted: true, ..Thought::default() })
            }
        })
    }
}

/// Whether a document is made of blocks, which no other dialect knows.
fn has_own_source(kind: &str, at: &Path<'_>, reader: &Reader<'_>) -> Result<bool, Refusal> {
    if kind != "document" {
        return Ok(false);
    }
    let mut ahead = *reader;
    let mut keys = at.open(&mut ahead)?;
    while let Some(key) = keys.next(&mut ahead, at)? {
        let at = at.key(&key);
        if key == "source" {
            return Ok(at.look_up(&mut ahead, "type")?.as_deref() == Some("content"));
        }
        at.raw(&mut ahead)?;
    }
    Ok(false)
}

fn source<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Source<'a>, Refusal> {
    let (mut kind, mut media_type, mut data, mut other) = (None, None, None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "media_type" => media_type = at.optional(reader, Path::string)?,
            "data" => data = Some(at.string(reader)?),
            "url" | "file_id" => other = Some(at.string(reader)?),
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    match (kind.as_deref(), media_type, data, other) {
        (Some("base64"), Some(media_type), Some(data), None) => {
            Ok(Source::Inline(Media { media_type, data }))
        }
        (Some("text"), _, Some(data), None) => Ok(Source::Text(data)),
        (Some("url"), None, None, Some(url)) => Ok(Source::Url(url)),
        (Some("file"), None, None, Some(id)) => Ok(Source::FileId(id)),
        _ => {
            Err(at
                .invalid("a source of the type `base64`, `text`, `url` or `file` with its fields"))
        }
    }
}

fn citations(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<Option<bool>, Refusal> {
    let mut enabled = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "enabled" => enabled = at.optional(reader, Path::boolean)?,
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    Ok(enabled)
}

/// What a tool gave: text, pictures, documents.
fn result_content<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
) -> Result<Vec<Part<'a>>, Refusal> {
    if is_string(at, reader)? {
        return Ok(vec![Part::text(at.string(reader)?, origin)]);
    }
    at.array(reader, |at, _, reader| {
        // Asked beforehand, so that results do not nest: each level would be looked through once more.
        let kind = at.look_up(reader, "type")?.unwrap_or_default();
        let own = ["tool_use", "tool_result", "thinking", "redacted_thinking"];
        if own.contains(&&*kind) {
            return Err(at.invalid("text, an image or a document"));
        }
        block(at, reader, origin, extras)
    })
}
