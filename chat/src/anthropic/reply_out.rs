//! Writes an answer that is one document for a client.

use super::{turns_out::carried_seal, usage, words};
use crate::{
    Envelope, Reply,
    json::Writer,
    model::{Content, Part, Thought, ToolCall, part::Arguments},
};

/// Writes a reply for a client.
///
/// Sources on the web have the form of a result of Anthropic's own search here, which others' have not: they are
/// left out. Log probabilities have no place.
pub fn encode_reply(envelope: &Envelope, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let mut out = Writer::new(out);
    out.open().field("id", envelope.id(reply.id.as_deref())).field("type", "message");
    out.field("role", "assistant").field("model", envelope.model(reply.model.as_deref()));
    out.key("content").open_array();
    for part in &reply.parts {
        block(part, &mut out);
    }
    out.close_array();
    let refused = reply.parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    out.field("stop_reason", words::finish_word(reply.finish, refused));
    out.field_or_null("stop_sequence", reply.stop_sequence.as_deref());
    // The field has to be there.
    out.key("usage");
    usage::write(
        &reply.usage.unwrap_or_default(),
        reply.service_tier,
        &envelope.usage_members,
        &mut out,
    );
    out.close();
}

fn block(part: &Part<'_>, out: &mut Writer<'_>) {
    if let Some(seal) = &part.seal {
        out.element().open().field("type", "redacted_thinking");
        out.field("data", &carried_seal(seal)).close();
    }
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => {
            out.element().open().field("type", "text").field("text", text).close();
        }
        Content::Thought(thought) => thinking(thought, out.element()),
        Content::ToolCall(call) => tool_use(call, out.element()),
        // No decoder gives them in a reply.
        Content::Image(_)
        | Content::Document(_)
        | Content::Audio(_)
        | Content::ToolResult(_)
        | Content::Native { .. } => {}
    }
}

fn thinking(thought: &Thought<'_>, out: &mut Writer<'_>) {
    let seal = thought.seal.as_ref().map(|seal| seal.to_text()).unwrap_or_default();
    out.open();
    if thought.redacted {
        out.field("type", "redacted_thinking").field("data", &seal);
    } else {
        out.field("type", "thinking").field("thinking", &thought.text).field("signature", &seal);
    }
    out.close();
}

fn tool_use(call: &ToolCall<'_>, out: &mut Writer<'_>) {
    out.open().field("type", "tool_use").field("id", &call.id).field("name", &call.name);
    out.key("input");
    match &call.arguments {
        Arguments::Object(raw) => _ = out.raw(raw.as_str()),
        // An object has to be there: what the model wrote, under a name that says so.
        Arguments::Text(text) => _ = out.open().field("invalid_json", text).close(),
    }
    out.close();
}
