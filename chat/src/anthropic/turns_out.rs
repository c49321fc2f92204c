//! Writes the turns for an upstream.

use std::borrow::Cow;

use super::{PART_SEAL, request_out::cache_control};
use crate::{
    Dialect, Refusal, Target,
    json::Writer,
    model::{
        Content, Document, Image, Maker, Message, Part, Request, Role, Source, ToolCall,
        ToolResult, part::Arguments,
    },
    refusal::Losses,
};

/// Writes the fields `system` and `messages`.
pub fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let is_instruction =
        |message: &&Message<'_>| matches!(message.role, Role::System | Role::Developer);
    let leading = request.messages.iter().take_while(is_instruction).count();
    let (instructions, turns) = request.messages.split_at(leading);
    for message in instructions {
        names(message, losses)?;
    }
    let parts: Vec<_> = instructions.iter().flat_map(|message| &message.parts).collect();
    if !is_silent(&parts) {
        out.key("system");
        content(&parts, losses, out)?;
    }
    out.key("messages").open_array();
    let mut rest = turns;
    let mut any = false;
    while let Some(first) = rest.first() {
        let role = role(first, target, losses)?;
        let same = rest.iter().take_while(|message| message.role == first.role).count();
        let (turn, others) = rest.split_at(same);
        rest = others;
        // Instructions among the turns are none themselves.
        any |= write_turn(role, turn, losses, out)? && !is_instruction(&first);
    }
    out.close_array();
    if any {
        Ok(())
    } else {
        Err(losses.content("messages", "send at least one turn with content"))
    }
}

fn role(
    message: &Message<'_>,
    target: &Target<'_>,
    losses: &Losses,
) -> Result<&'static str, Refusal> {
    match message.role {
        Role::User => Ok("user"),
        Role::Assistant => Ok("assistant"),
        Role::System | Role::Developer if target.capabilities.mid_conversation_system => {
            Ok("system")
        }
        Role::System | Role::Developer => {
            Err(losses.content(message.origin, "put instructions before the first turn"))
        }
    }
}

fn names(message: &Message<'_>, losses: &mut Losses) -> Result<(), Refusal> {
    match message.name {
        Some(_) => losses.parameter(message.origin.inner("name")),
        None => Ok(()),
    }
}

/// Writes messages of one role as one turn; `false` if nothing is in them.
fn write_turn(
    role: &'static str,
    messages: &[Message<'_>],
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<bool, Refusal> {
    for message in messages {
        names(message, losses)?;
    }
    let mut parts: Vec<&Part<'_>> = messages.iter().flat_map(|message| &message.parts).collect();
    // Reasoning of other providers' is of no use here, and refused.
    parts.retain(|part| {
        let Content::Thought(thought) = &part.content else { return true };
        let own = thought.is_sealed_by(Maker::Anthropic);
        if !own {
            losses.note(part.origin);
        }
        own
    });
    if is_silent(&parts) {
        return Ok(false);
    }
    // Results have to come first.
    parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
    out.element().open().field("role", role);
    out.key("content");
    content(&parts, losses, out)?;
    out.close();
    Ok(true)
}

fn is_silent(parts: &[&Part<'_>]) -> bool {
    parts.iter().all(|part| is_blank_text(part))
}

fn is_blank_text(part: &Part<'_>) -> bool {
    part.as_text().is_some_and(|text| text.trim().is_empty())
}

/// Empty texts are refused here, while clients of other dialects send them along with calls. So is white space where no other text
/// stands beside it; between texts it is kept.
fn has_to_go(part: &Part<'_>, parts: &[&Part<'_>]) -> bool {
    let speaks = |part: &&Part<'_>| part.as_text().is_some() && !is_blank_text(part);
    match part.as_text() {
        Some("") => true,
        Some(_) => is_blank_text(part) && !parts.iter().any(speaks),
        None => false,
    }
}

/// A string for one text, otherwise blocks.
fn content(parts: &[&Part<'_>], losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    if let [part] = parts
        && part.cache.is_none()
        && let Some(text) = part.as_text()
    {
        out.string(text);
        return Ok(());
    }
    out.open_array();
    for part in parts.iter().filter(|part| !has_to_go(part, parts)) {
        out.element().open();
        block(part, losses, out)?;
        cache_control(part.cache, out);
        out.close();
    }
    out.close_array();
    Ok(())
}

/// Writes a block's fields.
fn block(part: &Part<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let origin = part.origin;
    if part.seal.is_some() {
        losses.note(format_args!("{origin}.extra_content"));
    }
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => {
            out.field("type", "text").field("text", text);
        }
        Content::Image(Image { source, detail }) => {
            if detail.as_deref().is_some_and(|detail| detail != "auto") {
                losses.note(format_args!("{origin}.detail"));
            }
            out.field("type", "image");
            write_source(part, source, losses, out)?;
        }
        Content::Document(document) => write_document(part, document, losses, out)?,
        Content::Audio(_) => return Err(losses.content(origin, "send a transcript")),
        Content::ToolCall(call) => tool_use(part, call, out)?,
        Content::ToolResult(result) => tool_result(result, losses, out)?,
        Content::Thought(thought) => {
            let seal = thought.seal.as_ref().map(|seal| &*seal.data).unwrap_or_default();
            if thought.redacted {
                out.field("type", "redacted_thinking").field("data", seal);
            } else {
                out.field("type", "thinking").field("thinking", &thought.text);
                out.field("signature", seal);
            }
        }
        Content::Native { dialect: Dialect::Anthropic, value, .. } => native(value.as_str(), out),
        Content::Native { .. } => return Err(losses.content(origin, "leave this part out")),
    }
    Ok(())
}

/// The fields of a block that is written as it came. Its bracket is open already.
fn native(value: &str, out: &mut Writer<'_>) {
    let inner = value.trim_ascii().strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    out.raw(inner.unwrap_or_default());
}

fn write_source(
    part: &Part<'_>,
    source: &Source<'_>,
    losses: &Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    out.key("source").open();
    match source {
        Source::Url(url) => _ = out.field("type", "url").field("url", url),
        Source::Inline(media) => {
            out.field("type", "base64").field("media_type", &media.media_type);
            out.field("data", &media.data);
        }
        Source::Text(text) => {
            out.field("type", "text").field("media_type", "text/plain").field("data", text);
        }
        Source::FileId(_) => return Err(losses.content(part.origin, "send the file inline")),
    }
    out.close();
    Ok(())
}

fn write_document(
    part: &Part<'_>,
    document: &Document<'_>,
    losses: &Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let Source::Inline(media) = &document.source
        && media.media_type != "application/pdf"
    {
        return Err(losses.content(part.origin, "send a PDF, or the text itself"));
    }
    out.field("type", "document");
    write_source(part, &document.source, losses, out)?;
    out.field_if("title", document.name.as_deref());
    out.field_if("context", document.context.as_deref());
    if let Some(enabled) = document.citations {
        out.key("citations").open().key("enabled").boolean(enabled).close();
    }
    Ok(())
}

fn tool_use(part: &Part<'_>, call: &ToolCall<'_>, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let Arguments::Object(input) = &call.arguments else {
        let expected = "a JSON object, written as a string";
        return Err(Refusal::invalid(part.origin.arguments(), expected));
    };
    out.field("type", "tool_use").field("id", &identifier(&call.id)).field("name", &call.name);
    out.key("input").raw(input.as_str());
    Ok(())
}

fn tool_result(
    result: &ToolResult<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    out.field("type", "tool_result").field("tool_use_id", &identifier(&result.call_id));
    let parts: Vec<_> = result.parts.iter().collect();
    if !is_silent(&parts) {
        out.key("content");
        content(&parts, losses, out)?;
    }
    if result.is_error {
        out.key("is_error").boolean(true);
    }
    Ok(())
}

/// Identifiers are of letters, digits, `_` and `-` here. Other characters are replaced, the same way in a call and in its
/// result.
fn identifier(id: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(fits) {
        return Cow::Borrowed(id);
    }
    id.chars().map(|c| if fits(c) { c } else { '_' }).collect::<String>().into()
}

/// The data of the block that carries the seal of a part that is no thought.
pub(super) fn carried_seal(seal: &str) -> String {
    format!("{PART_SEAL}{seal}")
}
