//! Writes the turns for an upstream.

use std::borrow::Cow;

use super::{
    family::Family,
    media_out::{self, Names},
};
use crate::{
    Refusal, Target, digest,
    json::Writer,
    model::{
        CacheHint, CacheLife, Content, Message, Origin, Part, Request, Role, Thought, ToolCall,
        ToolResult, part::Arguments,
    },
    refusal::Losses,
};

/// Writes the fields `messages` and `system`.
pub fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    family: Family,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let is_instruction =
        |message: &&Message<'_>| matches!(message.role, Role::System | Role::Developer);
    let leading = request.messages.iter().take_while(is_instruction).count();
    let (instructions, mut rest) = request.messages.split_at(leading);
    let mut turns = Turns { target, family, names: Names::default(), any: false };
    out.key("messages").open_array();
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|message| message.role == first.role).count();
        let (messages, others) = rest.split_at(same);
        rest = others;
        turns.write(messages, losses, out)?;
    }
    out.close_array();
    if !turns.any {
        return Err(losses.content("messages", "send at least one turn with content"));
    }
    turns.instruct(instructions, losses, out)
}

/// Texts of nothing but white space are refused.
fn is_blank(part: &Part<'_>) -> bool {
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => text.trim().is_empty(),
        _ => false,
    }
}

fn names(message: &Message<'_>, losses: &mut Losses) -> Result<(), Refusal> {
    match message.name {
        Some(_) => losses.parameter(message.origin.inner("name")),
        None => Ok(()),
    }
}

/// Writes turns, one behind the other.
struct Turns<'r> {
    target: &'r Target<'r>,
    family: Family,
    names: Names,
    /// Whether anything was said.
    any: bool,
}

impl Turns<'_> {
    fn instruct(
        &self,
        messages: &[Message<'_>],
        losses: &mut Losses,
        out: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        let mut open = false;
        for message in messages {
            names(message, losses)?;
            for part in message.parts.iter().filter(|part| !is_blank(part)) {
                let Some(text) = part.as_text() else { continue };
                if !std::mem::replace(&mut open, true) {
                    out.key("system").open_array();
                }
                out.element().open().field("text", text).close();
                cache_point(part.cache, self.family, part.origin, losses, out);
            }
        }
        if open {
            out.close_array();
        }
        Ok(())
    }

    /// Writes messages of one role as one turn.
    fn write(
        &mut self,
        messages: &[Message<'_>],
        losses: &mut Losses,
        out: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        let role = match messages.first() {
            Some(Message { role: Role::User, .. }) => "user",
            Some(Message { role: Role::Assistant, .. }) => "assistant",
            Some(Message { .. }) if self.target.capabilities.mid_conversation_system => "system",
            Some(Message { origin, .. }) => {
                return Err(losses.content(origin, "put instructions before the first turn"));
            }
            None => return Ok(()),
        };
        for message in messages {
            names(message, losses)?;
        }
        let mut parts: Vec<&Part<'_>> =
            messages.iter().flat_map(|message| &message.parts).collect();
        parts.retain(|part| !is_blank(part) && self.is_of_use(part, losses));
        if parts.is_empty() {
            return Ok(());
        }
        self.any = true;
        // Results have to come first.
        parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
        out.element().open().field("role", role).key("content").open_array();
        for part in parts {
            out.element().open();
            self.block(part, losses, out)?;
            out.close();
            cache_point(part.cache, self.family, part.origin, losses, out);
        }
        out.close_array().close();
        Ok(())
    }

    /// Reasoning of other providers' is refused here, and without its seal it is of no use.
    fn is_of_use(&self, part: &Part<'_>, losses: &mut Losses) -> bool {
        let Content::Thought(thought) = &part.content else { return true };
        let own = thought.is_sealed_by(self.family.maker());
        if !own {
            losses.note(part.origin);
        }
        own
    }

    /// Writes a block's field.
    fn block(
        &mut self,
        part: &Part<'_>,
        losses: &mut Losses,
        out: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        let origin = part.origin;
        if part.seal.is_some() {
            losses.note(format_args!("{origin}.extra_content"));
        }
        match &part.content {
            Content::Text { text, .. } | Content::Refusal(text) => _ = out.field("text", text),
            Content::Image(image) => media_out::image(image, origin, losses, out)?,
            Content::Document(document) => {
                media_out::document(document, origin, &mut self.names, losses, out)?;
            }
            Content::Audio(media) => media_out::audio(media, origin, losses, out)?,
            Content::ToolCall(call) => tool_use(call, origin, out)?,
            Content::ToolResult(result) => self.tool_result(result, losses, out)?,
            Content::Thought(thought) => reasoning(thought, out),
            Content::Native { .. } => {
                return Err(losses.content(origin, "leave this part out"));
            }
        }
        Ok(())
    }

    fn tool_result(
        &mut self,
        result: &ToolResult<'_>,
        losses: &mut Losses,
        out: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        out.key("toolResult").open().field("toolUseId", &identifier(&result.call_id));
        out.key("content").open_array();
        for part in &result.parts {
            out.element().open();
            match &part.content {
                Content::Text { .. } | Content::Image(_) | Content::Document(_) => {
                    self.block(part, losses, out)?;
                }
                _ => return Err(losses.content(part.origin, "leave this part out")),
            }
            out.close();
            // There is no place for a cache point within a result.
            note_cache(part, losses);
        }
        if result.parts.is_empty() {
            out.element().open().field("text", "").close();
        }
        out.close_array();
        if result.is_error {
            out.field("status", "error");
        }
        out.close();
        Ok(())
    }
}

fn note_cache(part: &Part<'_>, losses: &mut Losses) {
    if part.cache.is_some() {
        losses.note(format_args!("{}.cache_control", part.origin));
    }
}

/// Writes a cache hint as an element of its own behind what it stood on, where the model takes it. Only Claude can be told for how
/// long.
pub(super) fn cache_point(
    hint: Option<CacheHint>,
    family: Family,
    origin: Origin,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) {
    let Some(hint) = hint else { return };
    let timed = family == Family::Anthropic;
    let untold = !timed && hint.life == Some(CacheLife::OneHour);
    if !family.caches() || untold {
        losses.note(format_args!("{origin}.cache_control"));
    }
    if !family.caches() {
        return;
    }
    out.element().open().key("cachePoint").open().field("type", "default");
    out.field_if(
        "ttl",
        hint.life.filter(|_| timed).map(|life| match life {
            CacheLife::FiveMinutes => "5m",
            CacheLife::OneHour => "1h",
        }),
    );
    out.close().close();
}

fn tool_use(call: &ToolCall<'_>, origin: Origin, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let Arguments::Object(input) = &call.arguments else {
        let field = format!("{origin}.function.arguments");
        return Err(Refusal::invalid(field, "a JSON object, written as a string"));
    };
    out.key("toolUse").open().field("toolUseId", &identifier(&call.id)).field("name", &call.name);
    out.key("input").raw(input.as_str()).close();
    Ok(())
}

fn reasoning(thought: &Thought<'_>, out: &mut Writer<'_>) {
    let seal = thought.seal.as_ref().map(|seal| &*seal.data).unwrap_or_default();
    out.key("reasoningContent").open();
    if thought.redacted {
        out.field("redactedContent", seal);
    } else {
        out.key("reasoningText").open().field("text", &thought.text).field("signature", seal);
        out.close();
    }
    out.close();
}

/// Identifiers are of at most 64 letters, digits and `_.:-` here. Others are rewritten, the same way in a call and in its
/// result.
fn identifier(id: &str) -> Cow<'_, str> {
    const MOST: usize = 64;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
    if !id.is_empty() && id.len() <= MOST && id.chars().all(fits) {
        return Cow::Borrowed(id);
    }
    let kept: String = id.chars().take(MOST - 17).map(|c| if fits(c) { c } else { '_' }).collect();
    format!("{kept}_{:016x}", digest::of([id])).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn identifiers_fit_and_stay_apart(one in ".{0,100}", other in ".{0,100}") {
            for id in [&one, &other] {
                let written = identifier(id);
                let fits = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
                prop_assert!(!written.is_empty() && written.len() <= 64);
                prop_assert!(written.chars().all(fits), "{}", written);
                prop_assert_eq!(&written, &identifier(id));
            }
            prop_assert_eq!(one == other, identifier(&one) == identifier(&other));
        }
    }
}
