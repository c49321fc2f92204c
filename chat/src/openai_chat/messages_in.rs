//! Reads a client's messages.

use std::borrow::Cow;

use super::request_in::cache_control;
use crate::{
    Dialect, Refusal, Why,
    extras::Extras,
    json::{Kind, Path, Reader},
    media::{DATA_URL, read_url},
    model::{
        Content, Document, Image, Media, Message, Origin, Part, Role, Seal, Source, Thought,
        ToolCall, ToolResult, part::Arguments,
    },
};

const OWN: Dialect = Dialect::OpenAiChat;

/// Reads the list of messages. Neighbouring results of tools become one message.
pub fn read<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Vec<Message<'a>>, Refusal> {
    let read = at.array(reader, |at, index, reader| message(at, index, reader, extras))?;
    let mut messages: Vec<Message<'a>> = Vec::with_capacity(read.len());
    for message in read {
        match messages.last_mut() {
            Some(last) if message.is_results() && last.is_results() => {
                last.parts.extend(message.parts);
            }
            _ => messages.push(message),
        }
    }
    Ok(messages)
}

/// The fields of a message, whatever its role.
#[derive(Default)]
struct Fields<'a> {
    content: Vec<Part<'a>>,
    name: Option<Cow<'a, str>>,
    refusal: Option<Cow<'a, str>>,
    calls: Vec<Part<'a>>,
    call_id: Option<Cow<'a, str>>,
    reasoning: Option<Cow<'a, str>>,
    thoughts: Vec<Part<'a>>,
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
    let (role, is_tool) = match &*word {
        "system" => (Role::System, false),
        "developer" => (Role::Developer, false),
        "user" => (Role::User, false),
        "assistant" => (Role::Assistant, false),
        "tool" => (Role::User, true),
        "function" => return Err(at.key("role").invalid("`tool`: `function` is out of use")),
        _ => {
            let expected = "`system`, `developer`, `user`, `assistant` or `tool`";
            return Err(at.key("role").invalid(expected));
        }
    };
    let mut fields = Fields::default();
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "role" => _ = at.string(reader)?,
            "content" => fields.content = content(&at, reader, origin, role, extras)?,
            "name" => fields.name = at.optional(reader, Path::string)?,
            "tool_call_id" if is_tool => fields.call_id = Some(at.string(reader)?),
            _ if role == Role::Assistant => {
                assistant_field(&key, &at, reader, origin, &mut fields, extras)?;
            }
            _ => extras.unknown(&at, reader)?,
        }
    }
    if is_tool {
        let call_id = fields.call_id.ok_or_else(|| at.key("tool_call_id").refuse(Why::Missing))?;
        let result = ToolResult { call_id, parts: fields.content, is_error: false };
        let part = Part::new(Content::ToolResult(result), origin);
        return Ok(Message { name: fields.name, ..Message::new(role, vec![part], origin) });
    }
    let (name, parts) = (fields.name.take(), fields.into_parts(origin));
    Ok(Message { name, ..Message::new(role, parts, origin) })
}

impl<'a> Fields<'a> {
    /// An assistant's parts, in the order in which a model says them.
    fn into_parts(self, origin: Origin) -> Vec<Part<'a>> {
        let mut parts = self.thoughts;
        // With blocks, `reasoning_content` only repeats their text.
        if let (true, Some(text)) = (parts.is_empty(), self.reasoning) {
            let thought = Thought { text, ..Thought::default() };
            parts.push(Part::new(Content::Thought(thought), origin.inner("reasoning_content")));
        }
        parts.extend(self.content);
        if let Some(refusal) = self.refusal {
            parts.push(Part::new(Content::Refusal(refusal), origin.inner("refusal")));
        }
        parts.extend(self.calls);
        parts
    }
}

fn assistant_field<'a>(
    key: &str,
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    fields: &mut Fields<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    match key {
        "refusal" => fields.refusal = at.optional(reader, Path::string)?,
        "tool_calls" => {
            let calls = at.optional(reader, |at, reader| {
                at.array(reader, |at, index, reader| {
                    tool_call(at, reader, origin.item("tool_calls", index), extras)
                })
            })?;
            fields.calls = calls.unwrap_or_default();
        }
        // What DeepSeek, vLLM and gateways give for reasoning, and clients send back.
        "reasoning_content" => fields.reasoning = at.optional(reader, Path::string)?,
        "thinking_blocks" => {
            let thoughts = at.optional(reader, |at, reader| {
                at.array(reader, |at, index, reader| {
                    thinking_block(at, reader, origin.item("thinking_blocks", index))
                })
            })?;
            fields.thoughts = thoughts.unwrap_or_default();
        }
        "function_call" => {
            if at.raw(reader)?.as_str() != "null" {
                return Err(at.invalid("absent: send `tool_calls`"));
            }
        }
        "audio" | "annotations" => extras.known(at, reader, OWN)?,
        _ => extras.unknown(at, reader)?,
    }
    Ok(())
}

fn content<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    role: Role,
    extras: &mut Extras<'a>,
) -> Result<Vec<Part<'a>>, Refusal> {
    match at.kind(reader)? {
        Kind::String => Ok(vec![Part::text(at.string(reader)?, origin.inner("content"))]),
        Kind::Array => at.array(reader, |at, index, reader| {
            let part = part(at, reader, origin.item("content", index), extras)?;
            let fits = match part.content {
                Content::Text { .. } => true,
                Content::Refusal(_) => role == Role::Assistant,
                _ => role == Role::User,
            };
            if fits { Ok(part) } else { Err(at.invalid("of a type that this role can have")) }
        }),
        Kind::Null => {
            at.raw(reader)?;
            Ok(Vec::new())
        }
        _ => Err(at.invalid("a string, or an array of parts")),
    }
}

fn part<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
) -> Result<Part<'a>, Refusal> {
    let kind = at.look_up(reader, "type")?;
    let kind = kind.ok_or_else(|| at.key("type").refuse(Why::Missing))?;
    let mut content = None;
    let mut cache = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match (&*kind, &*key) {
            (_, "type") => _ = at.string(reader)?,
            // Anthropic's hint, which clients of gateways send with chat completions, too.
            (_, "cache_control") => cache = at.optional(reader, cache_control)?,
            ("text", "text") => {
                let text = at.string(reader)?;
                content = Some(Content::Text { text, annotations: Vec::new() });
            }
            ("refusal", "refusal") => content = Some(Content::Refusal(at.string(reader)?)),
            ("image_url", "image_url") => content = Some(image(&at, reader)?),
            ("input_audio", "input_audio") => content = Some(audio(&at, reader)?),
            ("file", "file") => content = Some(file(&at, reader)?),
            _ => extras.unknown(&at, reader)?,
        }
    }
    let expected = "`text`, `image_url`, `input_audio`, `file` or `refusal`";
    let known = ["text", "refusal", "image_url", "input_audio", "file"];
    match (content, known.iter().find(|known| **known == kind)) {
        (Some(content), _) => Ok(Part { cache, ..Part::new(content, origin) }),
        (None, Some(known)) => Err(at.key(known).refuse(Why::Missing)),
        (None, None) => Err(at.key("type").invalid(expected)),
    }
}

fn image<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Content<'a>, Refusal> {
    let (mut source, mut detail) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "url" => {
                let url = at.string(reader)?;
                source = Some(read_url(url).ok_or_else(|| at.invalid(DATA_URL))?);
            }
            "detail" => detail = at.optional(reader, Path::string)?,
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    let source = source.ok_or_else(|| at.key("url").refuse(Why::Missing))?;
    Ok(Content::Image(Image { source, detail }))
}

fn audio<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Content<'a>, Refusal> {
    let (mut data, mut media_type) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "data" => data = Some(at.string(reader)?),
            "format" => {
                media_type = Some(match &*at.string(reader)? {
                    "wav" => "audio/wav",
                    "mp3" => "audio/mpeg",
                    _ => return Err(at.invalid("`wav` or `mp3`")),
                });
            }
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    let data = data.ok_or_else(|| at.key("data").refuse(Why::Missing))?;
    let media_type = media_type.ok_or_else(|| at.key("format").refuse(Why::Missing))?;
    Ok(Content::Audio(Media { media_type: media_type.into(), data }))
}

fn file<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Content<'a>, Refusal> {
    let (mut source, mut name) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "file_data" => {
                source = match read_url(at.string(reader)?) {
                    Some(inline @ Source::Inline(_)) => Some(inline),
                    _ => return Err(at.invalid("a `data:` URL with a media type and base64")),
                }
            }
            "file_id" => source = source.or(Some(Source::FileId(at.string(reader)?))),
            "filename" => name = at.optional(reader, Path::string)?,
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    let source = source.ok_or_else(|| at.key("file_data").refuse(Why::Missing))?;
    Ok(Content::Document(Document { source, name, context: None, citations: None }))
}

fn tool_call<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
) -> Result<Part<'a>, Refusal> {
    // Many clients leave out the type of calls that they send back.
    let kind = at.look_up(reader, "type")?.unwrap_or(Cow::Borrowed("function"));
    if kind != "function" {
        let value = at.object(reader)?;
        return Ok(Part::new(Content::Native { dialect: OWN, kind, value }, origin));
    }
    let (mut id, mut function, mut seal) = (None, None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "id" => id = Some(at.string(reader)?),
            "function" => function = Some(called_function(&at, reader)?),
            // Left over from the pieces of a stream.
            "index" => _ = at.count(reader)?,
            "extra_content" => seal = thought_signature(&at, reader)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    let id = id.ok_or_else(|| at.key("id").refuse(Why::Missing))?;
    let (name, arguments) = function.ok_or_else(|| at.key("function").refuse(Why::Missing))?;
    let call = ToolCall { id, name, arguments: Arguments::from_text(arguments) };
    Ok(Part { seal, ..Part::new(Content::ToolCall(call), origin) })
}

fn called_function<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
) -> Result<(Cow<'a, str>, Cow<'a, str>), Refusal> {
    let (mut name, mut arguments) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "name" => name = Some(at.string(reader)?),
            "arguments" => arguments = at.optional(reader, Path::string)?,
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    let name = name.ok_or_else(|| at.key("name").refuse(Why::Missing))?;
    Ok((name, arguments.unwrap_or_default()))
}

/// Gemini's seal on a call, as Google's own endpoint for this dialect has it:
/// `{"google":{"thought_signature":"..."}}`.
fn thought_signature<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let mut seal = None;
    at.optional(reader, |at, reader| {
        let mut keys = at.open(reader)?;
        while let Some(key) = keys.next(reader, at)? {
            let at = at.key(&key);
            if key != "google" {
                return Err(at.refuse(Why::Unknown));
            }
            let mut keys = at.open(reader)?;
            while let Some(key) = keys.next(reader, &at)? {
                let at = at.key(&key);
                match &*key {
                    "thought_signature" => seal = at.optional(reader, Path::string)?,
                    _ => return Err(at.refuse(Why::Unknown)),
                }
            }
        }
        Ok(())
    })?;
    Ok(seal)
}

/// Anthropic's blocks of reasoning, as LiteLLM carries them in this dialect.
fn thinking_block<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
) -> Result<Part<'a>, Refusal> {
    let mut kind = None;
    let mut thought = Thought::default();
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "thinking" => thought.text = at.optional(reader, Path::string)?.unwrap_or_default(),
            "signature" | "data" => {
                let seal = at.optional(reader, Path::string)?.filter(|seal| !seal.is_empty());
                thought.seal = seal.map(Seal::from_text);
            }
            "id" => thought.id = at.optional(reader, Path::string)?,
            "cache_control" => _ = at.raw(reader)?,
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    match kind.as_deref() {
        Some("thinking") => {}
        Some("redacted_thinking") => thought.redacted = true,
        _ => return Err(at.key("type").invalid("`thinking` or `redacted_thinking`")),
    }
    Ok(Part::new(Content::Thought(thought), origin))
}
