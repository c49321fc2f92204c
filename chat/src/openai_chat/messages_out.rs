//! Writes the messages for an upstream.

use std::borrow::Cow;

use crate::{
    Dialect, Refusal, Target,
    json::Writer,
    media::data_url,
    model::{
        Content, Document, Image, Message, Part, Request, Role, Source, Thought, ToolCall,
        ToolResult,
    },
    refusal::Losses,
};

/// Writes the field `messages`.
pub fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    // An open turn of the model's is gone on with in Anthropic's dialect, and taken for complete in this one.
    if let Some(last) = request.messages.last()
        && last.role == Role::Assistant
        && request.dialect == crate::ClientDialect::Anthropic
    {
        return Err(losses.content(last.origin, "end with a user's turn"));
    }
    out.key("messages").open_array();
    for message in &request.messages {
        match message.role {
            Role::System | Role::Developer => {
                let developer =
                    message.role == Role::Developer && target.capabilities.developer_role;
                let role = if developer { "developer" } else { "system" };
                said(role, message, message.parts.iter(), losses, out)?;
            }
            Role::User => user(message, losses, out)?,
            Role::Assistant => assistant(message, target, losses, out)?,
        }
    }
    out.close_array();
    Ok(())
}

/// A turn of the client's side. Results have messages of their own, which have to come first, and can be text only:
/// pictures and files of a result follow in the user's message.
fn user(message: &Message<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let mut rest: Vec<Cow<'_, Part<'_>>> = Vec::new();
    for part in &message.parts {
        match &part.content {
            Content::ToolResult(result) => tool_result(part, result, &mut rest, losses, out)?,
            _ => rest.push(Cow::Borrowed(part)),
        }
    }
    if rest.is_empty() && !message.parts.is_empty() {
        return Ok(());
    }
    said("user", message, rest.iter().map(|part| &**part), losses, out)
}

/// A message that consists of a role and what is said.
fn said<'p, 'a: 'p>(
    role: &'static str,
    message: &Message<'_>,
    parts: impl Iterator<Item = &'p Part<'a>> + Clone,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    out.element().open().field("role", role);
    out.field_if("name", message.name.as_deref());
    content(parts, losses, out)?;
    out.close();
    Ok(())
}

/// The field `content`: a string for one text, otherwise a list.
fn content<'p, 'a: 'p>(
    parts: impl Iterator<Item = &'p Part<'a>> + Clone,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    out.key("content");
    let mut ahead = parts.clone();
    match (ahead.next(), ahead.next()) {
        (None, _) => _ = out.string(""),
        (Some(part), None) if part.as_text().is_some() => {
            note_hints(part, losses);
            out.string(part.as_text().unwrap_or_default());
        }
        _ => {
            out.open_array();
            for part in parts {
                note_hints(part, losses);
                written_part(part, losses, out)?;
            }
            out.close_array();
        }
    }
    Ok(())
}

fn note_hints(part: &Part<'_>, losses: &mut Losses) {
    if part.seal.is_some() && !matches!(part.content, Content::ToolCall(_)) {
        losses.note(format_args!("{}.thought_signature", part.origin));
    }
    if part.cache.is_some() {
        losses.note(format_args!("{}.cache_control", part.origin));
    }
}

fn written_part(part: &Part<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let origin = part.origin;
    match &part.content {
        Content::Text { text, .. } => text_part(text, out),
        Content::Refusal(text) => {
            out.element().open().field("type", "refusal").field("refusal", text).close();
        }
        Content::Image(Image { source, detail }) => {
            let url = match source {
                Source::Url(url) => Cow::Borrowed(&**url),
                Source::Inline(media) => data_url(media).into(),
                Source::FileId(_) | Source::Text(_) => {
                    return Err(losses.content(origin, "send the picture by address or inline"));
                }
            };
            out.element().open().field("type", "image_url").key("image_url").open();
            out.field("url", &url).field_if("detail", detail.as_deref()).close().close();
        }
        Content::Document(document) => written_document(part, document, losses, out)?,
        Content::Audio(media) => {
            let format = match &*media.media_type {
                "audio/wav" | "audio/x-wav" => "wav",
                "audio/mpeg" | "audio/mp3" => "mp3",
                _ => return Err(losses.content(origin, "send it as WAV or MP3")),
            };
            out.element().open().field("type", "input_audio").key("input_audio").open();
            out.field("data", &media.data).field("format", format).close().close();
        }
        Content::ToolCall(_)
        | Content::ToolResult(_)
        | Content::Thought(_)
        | Content::Native { .. } => {
            return Err(losses.content(origin, "leave this part out"));
        }
    }
    Ok(())
}

fn text_part(text: &str, out: &mut Writer<'_>) {
    out.element().open().field("type", "text").field("text", text).close();
}

fn written_document(
    part: &Part<'_>,
    document: &Document<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let origin = part.origin;
    if document.citations == Some(true) {
        losses.parameter(format_args!("{origin}.citations"))?;
    }
    let name = document.name.as_deref();
    match &document.source {
        Source::Inline(media) => {
            context(document, out);
            out.element().open().field("type", "file").key("file").open();
            out.field("filename", name.unwrap_or("document.pdf"));
            out.field("file_data", &data_url(media)).close().close();
        }
        // The text is what counts; title and context stand above it.
        Source::Text(text) => {
            context(document, out);
            match name {
                Some(name) => text_part(&format!("{name}\n\n{text}"), out),
                None => text_part(text, out),
            }
        }
        Source::FileId(_) | Source::Url(_) => {
            return Err(losses.content(origin, "send the file inline"));
        }
    }
    Ok(())
}

fn context(document: &Document<'_>, out: &mut Writer<'_>) {
    if let Some(context) = &document.context {
        text_part(context, out);
    }
}

/// The message of one result. What is no text is added to `rest`.
fn tool_result<'p, 'a>(
    part: &'p Part<'a>,
    result: &'p ToolResult<'a>,
    rest: &mut Vec<Cow<'p, Part<'a>>>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    note_hints(part, losses);
    if result.is_error {
        losses.note(format_args!("{}.is_error", part.origin));
    }
    let is_text = |part: &&Part<'_>| part.as_text().is_some();
    let others = result.parts.iter().filter(|part| !is_text(part));
    let moved = others.clone().count() > 0;
    out.element().open().field("role", "tool").field("tool_call_id", &result.call_id);
    if moved {
        out.key("content").open_array();
        for part in result.parts.iter().filter(is_text) {
            note_hints(part, losses);
            text_part(part.as_text().unwrap_or_default(), out);
        }
        text_part("What is no text in this result follows in the user's message.", out);
        out.close_array();
        let heading = format!("Of the result of the call {}:", result.call_id);
        rest.push(Cow::Owned(Part::text(heading, part.origin)));
        rest.extend(others.map(Cow::Borrowed));
    } else {
        content(result.parts.iter(), losses, out)?;
    }
    out.close();
    Ok(())
}

fn assistant(
    message: &Message<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let mut said = Vec::new();
    let mut calls = Vec::new();
    let mut reasoning = String::new();
    for part in &message.parts {
        match &part.content {
            Content::Text { .. } | Content::Refusal(_) => said.push(part),
            Content::ToolCall(call) => calls.push((part, Ok(call))),
            Content::Native { dialect: Dialect::OpenAiChat, value, .. } => {
                calls.push((part, Err(value)));
            }
            Content::Thought(thought) => {
                thought_text(part, thought, target, &mut reasoning, losses)
            }
            _ => return Err(losses.content(part.origin, "leave this part out")),
        }
    }
    out.element().open().field("role", "assistant");
    out.field_if("name", message.name.as_deref());
    if said.is_empty() {
        out.key("content").null();
    } else {
        content(said.iter().copied(), losses, out)?;
    }
    if !reasoning.is_empty() {
        out.field("reasoning_content", &reasoning);
    }
    if !calls.is_empty() {
        out.key("tool_calls").open_array();
        for (part, call) in calls {
            note_hints(part, losses);
            match call {
                Ok(call) => tool_call(call, part.seal.as_deref(), out.element()),
                Err(raw) => _ = out.element().raw(raw.as_str()),
            }
        }
        out.close_array();
    }
    out.close();
    Ok(())
}

/// Reasoning goes back only to providers that want it. It is their own working state, so that leaving it out asks no other
/// question; it is listed all the same.
fn thought_text(
    part: &Part<'_>,
    thought: &Thought<'_>,
    target: &Target<'_>,
    reasoning: &mut String,
    losses: &mut Losses,
) {
    if target.capabilities.reasoning_content && !thought.redacted {
        reasoning.push_str(&thought.text);
    } else {
        losses.note(part.origin);
    }
}

/// A call, as it is in requests and replies alike.
pub(super) fn tool_call(call: &ToolCall<'_>, seal: Option<&str>, out: &mut Writer<'_>) {
    out.open().field("id", &call.id).field("type", "function").key("function").open();
    out.field("name", &call.name).field("arguments", call.arguments.as_text()).close();
    if let Some(seal) = seal {
        out.key("extra_content").open().key("google").open();
        out.field("thought_signature", seal).close().close();
    }
    out.close();
}
