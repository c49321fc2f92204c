//! Writes an answer that is one document for a client.

use super::{
    object::{self, Names, State},
    output::{Item, Kind, Output, PartKind},
    words::{self, Status},
};
use crate::{
    Envelope, Reply,
    json::Writer,
    model::{Content, Part, Thought},
};

/// Writes a reply for a client.
///
/// Texts and refusals that follow each other are one message, each a part of it. Log probabilities belong to the first text.
pub fn encode_reply(envelope: &Envelope, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let id = envelope.id(reply.id.as_deref());
    let (status, reason) = words::status(reply.finish);
    let mut output = Output::new(id);
    let mut logprobs = reply.logprobs.as_ref();
    for part in &reply.parts {
        if let Some(seal) = &part.seal {
            output.finish(Status::Completed);
            output.begin(Kind::Reasoning, None).seal_of_next(seal);
        }
        write_part(part, &mut output);
        if let (Content::Text { .. }, Some(item)) = (&part.content, output.item()) {
            logprobs.take().into_iter().for_each(|list| item.add_logprobs(list));
        }
        if let Some(item) = output.item()
            && item.part().is_some()
        {
            item.close_part();
        }
    }
    output.finish(status);
    let names = Names {
        id,
        created: reply.created.unwrap_or(envelope.created),
        model: envelope.model(reply.model.as_deref()),
    };
    let state = State {
        usage: reply.usage.as_ref(),
        usage_members: &envelope.usage_members,
        tier: reply.service_tier,
        ..State::new(status, reason)
    };
    object::write(names, &state, output.finished(), envelope, &mut Writer::new(out));
}

/// Writes a part, and leaves it open.
fn write_part(part: &Part<'_>, output: &mut Output) {
    match &part.content {
        Content::Text { text, annotations } => {
            if let Some(item) = said(PartKind::Text, text, output) {
                for annotation in annotations {
                    item.add_annotation(annotation);
                }
            }
        }
        Content::Refusal(text) => _ = said(PartKind::Refusal, text, output),
        Content::Thought(thought) => reasoning(thought, output),
        Content::ToolCall(call) => {
            output.finish(Status::Completed);
            let (call_id, name) = (call.id.clone().into_owned(), call.name.clone().into_owned());
            output.begin(Kind::Call { call_id, name }, None).add_text(call.arguments.as_text());
        }
        // No decoder gives them in a reply.
        Content::Image(_)
        | Content::Document(_)
        | Content::Audio(_)
        | Content::ToolResult(_)
        | Content::Native { .. } => {}
    }
}

/// Adds a part with a text to the message that is open, or to a new one.
fn said<'o>(kind: PartKind, text: &str, output: &'o mut Output) -> Option<&'o mut Item> {
    if !output.in_message() {
        output.finish(Status::Completed);
        output.begin(Kind::Message, None);
    }
    let item = output.item()?;
    item.open_part(kind);
    item.add_text(text);
    Some(item)
}

fn reasoning(thought: &Thought<'_>, output: &mut Output) {
    output.finish(Status::Completed);
    let item = output.begin(Kind::Reasoning, thought.id.as_deref());
    if !thought.text.is_empty() {
        item.open_part(PartKind::Summary);
        item.add_text(&thought.text);
    }
    if let Some(seal) = &thought.seal {
        item.seal(seal, thought.redacted);
    }
}
