//! Anthropic's Messages API.
//!
//! Shapes: <https://docs.claude.com/en/api/messages> and
//! <https://docs.claude.com/en/docs/build-with-claude/streaming>.

use super::Reply;
use crate::play::{Delta, Script};

pub(super) fn message(reply: &Reply<'_>) -> String {
    let Reply { serial, model, tokens, .. } = reply;
    let (text, input, output) = (reply.text(), input(reply), tokens.completion());
    let stop = stop(reply);
    format!(
        r#"{{"id":"msg_sim{serial:016x}","type":"message","role":"assistant","model":{model},"content":[{{"type":"text","text":"{text}"}}],"stop_reason":"{stop}","stop_sequence":null,"usage":{{{input},"output_tokens":{output},"service_tier":"standard"}}}}"#
    )
}

pub(super) fn count(reply: &Reply<'_>) -> String {
    format!(r#"{{"input_tokens":{}}}"#, reply.tokens.prompt)
}

pub(super) fn stream(reply: &Reply<'_>) -> Script {
    let Reply { serial, model, tokens, .. } = reply;
    let (text, input, output) = (reply.token_text(), input(reply), tokens.completion());
    let stop = stop(reply);
    let named = |name: &str, members: &str| {
        reply.event(Some(name), &format!(r#"{{"type":"{name}"{members}}}"#))
    };
    Script {
        opening: vec![
            named(
                "message_start",
                &format!(
                    r#","message":{{"id":"msg_sim{serial:016x}","type":"message","role":"assistant","model":{model},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{{{input},"output_tokens":1,"service_tier":"standard"}}}}"#
                ),
            ),
            named("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
            named("ping", ""),
        ],
        content: tokens.content,
        delta: Delta::Cycle(vec![named(
            "content_block_delta",
            &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#),
        )]),
        closing: vec![
            named("content_block_stop", r#","index":0"#),
            named(
                "message_delta",
                &format!(
                    r#","delta":{{"stop_reason":"{stop}","stop_sequence":null}},"usage":{{{},"output_tokens":{output}}}"#,
                    cumulative(reply)
                ),
            ),
            named("message_stop", ""),
        ],
        error: named("error", r#","error":{"type":"overloaded_error","message":"Overloaded"}"#),
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
