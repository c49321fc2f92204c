//! Anthropic's Messages API.
//!
//! Shapes: <https://docs.claude.com/en/api/messages> and
//! <https://docs.claude.com/en/docs/build-with-claude/streaming>.

use bytes::Bytes;

use super::Reply;
use crate::play::{Delta, Script};

pub(super) fn message(reply: &Reply<'_>) -> String {
    let text = format!(r#"{{"type":"text","text":"{}"}}"#, reply.text());
    message_object(reply, &text, stop(reply))
}

/// A whole message of these blocks.
pub(super) fn message_object(reply: &Reply<'_>, content: &str, stop: &str) -> String {
    let Reply { serial, model, tokens, .. } = reply;
    let (input, output, thinking) = (input(reply), tokens.completion(), thinking(reply));
    format!(
        r#"{{"id":"msg_sim{serial:016x}","type":"message","role":"assistant","model":{model},"content":[{content}],"stop_reason":"{stop}","stop_sequence":null,"usage":{{{input},"output_tokens":{output}{thinking},"service_tier":"standard"}}}}"#
    )
}

pub(super) fn count(reply: &Reply<'_>) -> String {
    format!(r#"{{"input_tokens":{}}}"#, reply.tokens.prompt)
}

pub(super) fn stream(reply: &Reply<'_>) -> Script {
    let text = reply.token_text();
    let named = |name: &str, members: &str| named(reply, name, members);
    Script {
        opening: vec![
            message_start(reply),
            named("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
            named("ping", ""),
        ],
        content: reply.tokens.content,
        delta: Delta::Cycle(vec![named(
            "content_block_delta",
            &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#),
        )]),
        closing: [vec![named("content_block_stop", r#","index":0"#)], closing(reply, stop(reply))]
            .concat(),
        error: error(reply),
    }
}

/// An event; each member comes with its comma before it.
pub(super) fn named(reply: &Reply<'_>, name: &str, members: &str) -> Bytes {
    reply.event(Some(name), &format!(r#"{{"type":"{name}"{members}}}"#))
}

pub(super) fn message_start(reply: &Reply<'_>) -> Bytes {
    let Reply { serial, model, .. } = reply;
    let input = input(reply);
    named(
        reply,
        "message_start",
        &format!(
            r#","message":{{"id":"msg_sim{serial:016x}","type":"message","role":"assistant","model":{model},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{{{input},"output_tokens":1,"service_tier":"standard"}}}}"#
        ),
    )
}

/// What follows the last block.
pub(super) fn closing(reply: &Reply<'_>, stop: &str) -> Vec<Bytes> {
    let (output, thinking) = (reply.tokens.completion(), thinking(reply));
    let members = format!(
        r#","delta":{{"stop_reason":"{stop}","stop_sequence":null}},"usage":{{{},"output_tokens":{output}{thinking}}}"#,
        cumulative(reply)
    );
    vec![named(reply, "message_delta", &members), named(reply, "message_stop", "")]
}

pub(super) fn error(reply: &Reply<'_>) -> Bytes {
    named(reply, "error", r#","error":{"type":"overloaded_error","message":"Overloaded"}"#)
}

/// Told only where something was thought.
fn thinking(reply: &Reply<'_>) -> String {
    match reply.tokens.reasoning {
        0 => String::new(),
        tokens => format!(r#","output_tokens_details":{{"thinking_tokens":{tokens}}}"#),
    }
}

fn stop(reply: &Reply<'_>) -> &'static str {
    if reply.limited { "max_tokens" } else { "end_turn" }
}

/// The input side of `usage`; `input_tokens` does not count what the cache read or wrote.
fn input(reply: &Reply<'_>) -> String {
    let write = reply.tokens.cache_write;
    format!(
        r#"{},"cache_creation":{{"ephemeral_5m_input_tokens":{write},"ephemeral_1h_input_tokens":0}}"#,
        cumulative(reply)
    )
}

/// The members that `message_delta` repeats.
fn cumulative(reply: &Reply<'_>) -> String {
    let (read, write) = (reply.tokens.cached, reply.tokens.cache_write);
    let fresh = reply.tokens.prompt - read - write;
    format!(
        r#""input_tokens":{fresh},"cache_creation_input_tokens":{write},"cache_read_input_tokens":{read}"#
    )
}
