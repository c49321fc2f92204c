//! Writes the turns for an upstream.

use std::collections::HashMap;

use super::address;
use crate::{
    ClientDialect, Refusal, Target,
    json::Writer,
    model::{
        Content, Document, Image, Maker, Media, Message, Origin, Part, Request, Role, Source,
        ToolCall, ToolResult, part::Arguments,
    },
    refusal::Losses,
};

/// Stands for the seal of a call that has none, as when another provider's model made it: Google's own way to have such calls
/// taken. Source: "Thought signatures", <https://ai.google.dev/gemini-api/docs/thought-signatures>.
const NO_SEAL: &str = "skip_thought_signature_validator";

/// Writes the fields `systemInstruction` and `contents`.
pub fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let is_instruction =
        |message: &&Message<'_>| matches!(message.role, Role::System | Role::Developer);
    let leading = request.messages.iter().take_while(is_instruction).count();
    let (instructions, mut rest) = request.messages.split_at(leading);
    instruct(instructions, losses, out)?;
    if let Some(last) = rest.last()
        && last.role == Role::Assistant
        && request.dialect == ClientDialect::Anthropic
    {
        return Err(losses.content(last.origin, "end with a user's turn"));
    }
    let mut turns = Turns { target, names: HashMap::new(), any: false };
    out.key("contents").open_array();
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|message| message.role == first.role).count();
        let (messages, others) = rest.split_at(same);
        rest = others;
        turns.write(messages, losses, out)?;
    }
    out.close_array();
    if turns.any {
        Ok(())
    } else {
        Err(losses.content("messages", "send at least one turn with content"))
    }
}

fn instruct(
    messages: &[Message<'_>],
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let mut open = false;
    for message in messages {
        names(message, losses)?;
        for part in &message.parts {
            note_cache(part, losses);
            let Some(text) = part.as_text().filter(|text| !text.is_empty()) else { continue };
            if !std::mem::replace(&mut open, true) {
                out.key("systemInstruction").open().key("parts").open_array();
            }
            out.element().open().field("text", text).close();
        }
    }
    if open {
        out.close_array().close();
    }
    Ok(())
}

fn names(message: &Message<'_>, losses: &mut Losses) -> Result<(), Refusal> {
    match message.name {
        Some(_) => losses.parameter(message.origin.inner("name")),
        None => Ok(()),
    }
}

fn note_cache(part: &Part<'_>, losses: &mut Losses) {
    if part.cache.is_some() {
        losses.note(format_args!("{}.cache_control", part.origin));
    }
}

/// Writes turns, one behind the other.
struct Turns<'r> {
    target: &'r Target<'r>,
    /// The names of the tools that were called, by the identifiers of the calls: results have to name them, too.
    names: HashMap<&'r str, &'r str>,
    /// Whether anything was said.
    any: bool,
}

impl<'r> Turns<'r> {
    /// Writes messages of one role as one turn.
    fn write(
        &mut self,
        messages: &'r [Message<'r>],
        losses: &mut Losses,
        out: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        let role = match messages.first() {
            Some(Message { role: Role::User, .. }) => "user",
            Some(Message { role: Role::Assistant, .. }) => "model",
            Some(Message { role: Role::System | Role::Developer, origin, .. }) => {
                return Err(losses.content(origin, "put instructions before the first turn"));
            }
            None => return Ok(()),
        };
        for message in messages {
            names(message, losses)?;
        }
        let mut parts: Vec<&Part<'_>> =
            messages.iter().flat_map(|message| &message.parts).collect();
        parts.retain(|part| says_something(part, losses));
        if parts.is_empty() {
            return Ok(());
        }
        self.any = true;
        // Results have to come first.
        parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
        out.element().open().field("role", role).key("parts").open_array();
        // One seal is for all calls of a turn, on the first of them.
        let mut unsealed = self.target.capabilities.thinking_levels;
        for part in parts {
            note_cache(part, losses);
            out.element().open();
            self.part(part, losses, out)?;
            let seal = match &part.content {
                Content::Thought(thought) => thought.seal.as_ref().map(|seal| &*seal.data),
                Content::ToolCall(_) if std::mem::take(&mut unsealed) => {
                    Some(part.seal.as_deref().unwrap_or(NO_SEAL))
                }
                _ => part.seal.as_deref(),
            };
            out.field_if("thoughtSignature", seal).close();
        }
        out.close_array().close();
        Ok(())
    }

    /// Writes a part's fields.
    fn part(
        &mut self,
        part: &'r Part<'r>,
        losses: &mut Losses,
        out: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        match &part.content {
            Content::Text { text, .. } | Content::Refusal(text) => _ = out.field("text", text),
            Content::Image(image) => write_image(image, part.origin, losses, out)?,
            Content::Document(document) => write_document(document, part.origin, losses, out)?,
            Content::Audio(media) => inline(media, out),
            Content::ToolCall(call) => {
                self.names.insert(&call.id, &call.name);
                function_call(call, part.origin, out)?;
            }
            Content::ToolResult(result) => {
                self.function_response(result, part.origin, losses, out)?;
            }
            Content::Thought(thought) => {
                out.field("text", &thought.text);
                // Without text it is the seal of a text, which goes back on a part of its own.
                if !thought.text.is_empty() {
                    out.key("thought").boolean(true);
                }
            }
            Content::Native { .. } => {
                return Err(losses.content(part.origin, "leave this part out"));
            }
        }
        Ok(())
    }

    fn function_response(
        &self,
        result: &ToolResult<'_>,
        origin: Origin,
        losses: &mut Losses,
        out: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        let Some(name) = self.names.get(&*result.call_id) else {
            return Err(
                losses.content(origin, "send the call that this is the result of before it")
            );
        };
        out.key("functionResponse").open().field("id", &result.call_id).field("name", name);
        out.key("response").open().key(if result.is_error { "error" } else { "output" });
        let mut text = String::new();
        let mut media = Vec::new();
        for part in &result.parts {
            note_cache(part, losses);
            match &part.content {
                Content::Text { text: more, .. }
                | Content::Document(Document { source: Source::Text(more), .. }) => {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text.push_str(more);
                }
                _ => media.push(part),
            }
        }
        out.string(&text).close();
        if !media.is_empty() {
            out.key("parts").open_array();
            for part in media {
                out.element().open();
                match &part.content {
                    Content::Image(image) => write_image(image, part.origin, losses, out)?,
                    Content::Document(document) => {
                        write_document(document, part.origin, losses, out)?;
                    }
                    _ => return Err(losses.content(part.origin, "leave this part out")),
                }
                out.close();
            }
            out.close_array();
        }
        out.close();
        Ok(())
    }
}

/// Whether a part is worth sending. Empty texts are refused, and so are the seals of other providers; without their seals, and
/// of the provider's own, thoughts of earlier turns are of no use.
fn says_something(part: &Part<'_>, losses: &mut Losses) -> bool {
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => {
            !text.is_empty() || part.seal.is_some()
        }
        Content::Thought(thought) => {
            let own = thought.is_sealed_by(Maker::Gemini);
            if !own {
                losses.note(part.origin);
            }
            own
        }
        _ => true,
    }
}

fn function_call(call: &ToolCall<'_>, origin: Origin, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let Arguments::Object(arguments) = &call.arguments else {
        let field = format!("{origin}.function.arguments");
        return Err(Refusal::invalid(field, "a JSON object, written as a string"));
    };
    out.key("functionCall").open().field("id", &call.id).field("name", &call.name);
    out.key("args").raw(arguments.as_str()).close();
    Ok(())
}

fn inline(media: &Media<'_>, out: &mut Writer<'_>) {
    let media_type = match &*media.media_type {
        "audio/mpeg" => "audio/mp3",
        "image/jpg" => "image/jpeg",
        other => other,
    };
    out.key("inlineData").open().field("mimeType", media_type).field("data", &media.data).close();
}

fn write_image(
    image: &Image<'_>,
    origin: Origin,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
        losses.note(format_args!("{origin}.detail"));
    }
    write_source(&image.source, origin, losses, out)
}

fn write_document(
    document: &Document<'_>,
    origin: Origin,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if document.name.is_some() {
        losses.note(format_args!("{origin}.name"));
    }
    if document.context.is_some() {
        losses.parameter(format_args!("{origin}.context"))?;
    }
    if document.citations == Some(true) {
        losses.parameter(format_args!("{origin}.citations"))?;
    }
    write_source(&document.source, origin, losses, out)
}

fn write_source(
    source: &Source<'_>,
    origin: Origin,
    losses: &Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    match source {
        Source::Inline(media) => inline(media, out),
        Source::Text(text) => _ = out.field("text", text),
        Source::Url(url) if address::is_public(url) => {
            out.key("fileData").open();
            out.field_if("mimeType", address::media_type(url)).field("fileUri", url).close();
        }
        Source::Url(_) => return Err(losses.content(origin, address::PUBLIC)),
        Source::FileId(_) => return Err(losses.content(origin, "send the file inline")),
    }
    Ok(())
}
