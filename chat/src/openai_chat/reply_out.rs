//! Writes an answer that is one document for a client.

use super::{messages_out::tool_call, usage, words};
use crate::{
    Envelope, Reply,
    json::Writer,
    model::{Annotation, Content, Thought},
};

/// Writes a reply for a client.
///
/// Texts of several parts become one, since this dialect has one string. Annotations that are no web pages
/// have no form here and are left out.
pub fn encode_reply(envelope: &Envelope, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let mut out = Writer::new(out);
    out.open().field("id", envelope.id(reply.id.as_deref())).field("object", "chat.completion");
    out.count_field("created", reply.created.unwrap_or(envelope.created));
    out.field("model", envelope.model(reply.model.as_deref()));
    out.key("choices").open_array().element().open().count_field("index", 0);
    message(reply, &mut out);
    out.key("logprobs");
    match &reply.logprobs {
        Some(list) => {
            out.open().key("content").raw(list.as_str()).key("refusal").null().close();
        }
        None => _ = out.null(),
    }
    out.field("finish_reason", words::finish_word(reply.finish)).close().close_array();
    if let Some(usage) = &reply.usage {
        out.key("usage");
        usage::write(usage, &envelope.usage_members, &mut out);
    }
    if let Some(tier) = reply.service_tier {
        out.field("service_tier", words::tier_word(tier));
    }
    out.close();
}

fn message(reply: &Reply<'_>, out: &mut Writer<'_>) {
    out.key("message").open().field("role", "assistant");
    let texts = reply.parts.iter().filter_map(|part| part.as_text());
    joined("content", texts, out);
    let refusals = reply.parts.iter().filter_map(|part| match &part.content {
        Content::Refusal(text) => Some(&**text),
        _ => None,
    });
    joined("refusal", refusals, out);
    annotations(reply, out);
    let thoughts = reply.parts.iter().filter_map(|part| match &part.content {
        Content::Thought(thought) => Some(thought),
        _ => None,
    });
    if thoughts.clone().next().is_some() {
        let readable = thoughts.clone().filter(|thought| !thought.redacted);
        joined("reasoning_content", readable.map(|thought| &*thought.text), out);
        out.key("thinking_blocks").open_array();
        thoughts.for_each(|thought| thinking_block(thought, out.element()));
        out.close_array();
    }
    let mut calls = reply.parts.iter().filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some((part, call)),
        _ => None,
    });
    if let Some(first) = calls.next() {
        out.key("tool_calls").open_array();
        for (part, call) in std::iter::once(first).chain(calls) {
            tool_call(call, part.seal.as_deref(), out.element());
        }
        out.close_array();
    }
    out.close();
}

/// A field with texts one behind the other; `null` for none.
fn joined<'t>(key: &'static str, mut texts: impl Iterator<Item = &'t str>, out: &mut Writer<'_>) {
    out.key(key);
    let Some(first) = texts.next() else {
        out.null();
        return;
    };
    out.buffer().push(b'"');
    out.fragment(first);
    texts.for_each(|text| _ = out.fragment(text));
    out.buffer().push(b'"');
}

/// Sources on the web. Positions count in the whole text.
fn annotations(reply: &Reply<'_>, out: &mut Writer<'_>) {
    let mut before = 0_u64;
    let mut any = false;
    for part in &reply.parts {
        let Content::Text { text, annotations } = &part.content else { continue };
        for annotation in annotations {
            let Annotation::Url { url, title, start, end } = annotation else { continue };
            if !any {
                out.key("annotations").open_array();
                any = true;
            }
            out.element().open().field("type", "url_citation").key("url_citation").open();
            out.field("url", url).field("title", title.as_deref().unwrap_or_default());
            out.count_field("start_index", before + start.unwrap_or(0));
            out.count_field("end_index", before + end.unwrap_or(0));
            out.close().close();
        }
        before += text.chars().count() as u64;
    }
    if any {
        out.close_array();
    }
}

/// A block of reasoning, as LiteLLM carries Anthropic's in this dialect.
pub(super) fn thinking_block(thought: &Thought<'_>, out: &mut Writer<'_>) {
    let seal = thought.seal.as_ref().map(|seal| seal.to_text()).unwrap_or_default();
    out.open();
    if thought.redacted {
        out.field("type", "redacted_thinking").field("data", &seal);
    } else {
        out.field("type", "thinking").field("thinking", &thought.text).field("signature", &seal);
    }
    out.field_if("id", thought.id.as_deref()).close();
}
