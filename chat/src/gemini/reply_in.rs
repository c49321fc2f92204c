//! Reads an upstream's answer that is one document: the same steps as a stream's, put together.

use std::borrow::Cow;

use super::answer_in::Answer;
use crate::{
    Broken, Expect, Finish, Reply,
    json::{Raw, Reader},
    model::{Block, Content, Delta, Event, Origin, Part, Thought, ToolCall, part::Arguments},
};

/// Reads an upstream's answer.
pub fn decode_reply<'a>(_expect: &Expect, body: &'a [u8]) -> Result<Reply<'a>, Broken> {
    let mut reader = Reader::of_bytes(body)?;
    let mut reply = Reply {
        id: None,
        model: None,
        created: None,
        parts: Vec::new(),
        finish: Finish::Stop,
        stop_sequence: None,
        usage: None,
        service_tier: None,
        logprobs: None,
    };
    let mut answer = Answer::default();
    answer.chunk(&mut reader, &mut |event| put(event, &mut reply))?;
    if answer.has_failed() {
        return Err(Broken::Malformed("it is an error"));
    }
    if !answer.end(&mut |event| put(event, &mut reply)) {
        return Err(Broken::Malformed("it has no finish reason"));
    }
    Ok(reply)
}

fn put<'a>(event: Event<'a>, reply: &mut Reply<'a>) {
    match event {
        Event::Start { id, model, created } => {
            (reply.id, reply.model, reply.created) = (id, model, created);
        }
        Event::BlockStart(block) => {
            if let Some(part) = part(block) {
                reply.parts.push(part);
            }
        }
        Event::Delta(delta) => add(delta, reply),
        Event::Usage(usage) => reply.usage = Some(usage),
        Event::Tier(tier) => reply.service_tier = Some(tier),
        Event::Finish { reason, stop_sequence } => {
            (reply.finish, reply.stop_sequence) = (reason, stop_sequence);
        }
        Event::BlockEnd | Event::Ping | Event::End | Event::Fault(_) => {}
    }
}

fn part(block: Block<'_>) -> Option<Part<'_>> {
    let mut sealed = None;
    let content = match block {
        Block::Text => Content::Text { text: "".into(), annotations: Vec::new() },
        Block::Thought { id } => Content::Thought(Thought { id, ..Thought::default() }),
        Block::ToolCall { id, name, seal } => {
            sealed = seal;
            let arguments = Arguments::Object(Raw::EMPTY_OBJECT);
            Content::ToolCall(ToolCall { id, name, arguments })
        }
        // This dialect has none.
        Block::Refusal | Block::Redacted(_) => return None,
    };
    Some(Part { seal: sealed, ..Part::new(content, Origin::NONE) })
}

fn add<'a>(delta: Delta<'a>, reply: &mut Reply<'a>) {
    let Some(part) = reply.parts.last_mut() else { return };
    match (delta, &mut part.content) {
        (Delta::Text(more), Content::Text { text, .. }) => append(text, more),
        (Delta::Thought(more), Content::Thought(thought)) => append(&mut thought.text, more),
        (Delta::Seal(seal), Content::Thought(thought)) => thought.seal = Some(seal),
        (Delta::Arguments(text), Content::ToolCall(call)) => {
            call.arguments = Arguments::from_text(text);
        }
        (Delta::Logprobs(list), _) => reply.logprobs = Some(list),
        _ => {}
    }
}

fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() {
        *text = more;
    } else {
        text.to_mut().push_str(&more);
    }
}
