//! Chat Completions and the legacy completions.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference/chat> and
//! <https://platform.openai.com/docs/api-reference/completions>.

use std::fmt::Write as _;

use bytes::Bytes;

use super::Reply;
use crate::play::{Delta, Script};

pub(super) fn chat(reply: &Reply<'_>) -> String {
    let (text, finish) = (reply.text(), finish(reply));
    let mut choices = String::with_capacity(text.len() + 160);
    for index in 0..reply.call.choices {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            choices,
            r#"{comma}{{"index":{index},"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{finish}"}}"#
        );
    }
    chat_object(reply, &choices)
}

/// A whole completion of these choices.
pub(super) fn chat_object(reply: &Reply<'_>, choices: &str) -> String {
    let Reply { serial, created, model, .. } = reply;
    let usage = usage_member(reply);
    format!(
        r#"{{"id":"chatcmpl-sim{serial:016x}","object":"chat.completion","created":{created},"model":{model},"choices":[{choices}]{usage},"service_tier":"default","system_fingerprint":"fp_sim"}}"#
    )
}

pub(super) fn completion(reply: &Reply<'_>) -> String {
    let (text, finish) = (reply.text(), finish(reply));
    let mut choices = String::with_capacity(text.len() + 80);
    for index in 0..reply.call.choices {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            choices,
            r#"{comma}{{"text":"{text}","index":{index},"logprobs":null,"finish_reason":"{finish}"}}"#
        );
    }
    let Reply { serial, created, model, .. } = reply;
    let usage = usage_member(reply);
    format!(
        r#"{{"id":"cmpl-sim{serial:016x}","object":"text_completion","created":{created},"model":{model},"choices":[{choices}]{usage}}}"#
    )
}

fn chat_head(reply: &Reply<'_>) -> String {
    let Reply { serial, created, model, .. } = reply;
    format!(
        r#"{{"id":"chatcmpl-sim{serial:016x}","object":"chat.completion.chunk","created":{created},"model":{model},"service_tier":"default","system_fingerprint":"fp_sim","choices":["#
    )
}

/// One event of a stream of chat completions, with one choice.
pub(super) fn chunk(reply: &Reply<'_>, choice: &str) -> Bytes {
    reply.event(None, &format!("{}{choice}{}", chat_head(reply), tail(reply)))
}

/// The event with usage, if it is asked for.
pub(super) fn usage_chunk(reply: &Reply<'_>) -> Option<Bytes> {
    let event =
        || reply.event(None, &format!(r#"{}],"usage":{}}}"#, chat_head(reply), usage(reply)));
    with_usage(reply).then(event)
}

fn with_usage(reply: &Reply<'_>) -> bool {
    reply.call.include_usage && !reply.behaviour.omit_usage
}

/// Asked for usage, the API puts a null into every event but the one that has it.
fn tail(reply: &Reply<'_>) -> &'static str {
    if with_usage(reply) { r#"],"usage":null}"# } else { "]}" }
}

/// Role events, content, finish events, usage if asked for, `[DONE]`.
pub(super) fn chat_stream(reply: &Reply<'_>) -> Script {
    let head = chat_head(reply);
    let choice = |index: u32, delta: &str, finish: &str| {
        format!(
            r#"{{"index":{index},"delta":{{{delta}}},"logprobs":null,"finish_reason":{finish}}}"#
        )
    };
    let text = reply.token_text();
    script(
        reply,
        &head,
        Some(&|index| choice(index, r#""role":"assistant","content":"","refusal":null"#, "null")),
        &|index| choice(index, &format!(r#""content":"{text}""#), "null"),
        &|index| choice(index, "", &format!("\"{}\"", finish(reply))),
    )
}

pub(super) fn completion_stream(reply: &Reply<'_>) -> Script {
    let Reply { serial, created, model, .. } = reply;
    let head = format!(
        r#"{{"id":"cmpl-sim{serial:016x}","object":"text_completion","created":{created},"model":{model},"choices":["#
    );
    let choice = |index: u32, text: &str, finish: &str| {
        format!(r#"{{"text":"{text}","index":{index},"logprobs":null,"finish_reason":{finish}}}"#)
    };
    let text = reply.token_text();
    script(reply, &head, None, &|index| choice(index, &text, "null"), &|index| {
        choice(index, "", &format!("\"{}\"", finish(reply)))
    })
}

/// One choice's JSON, by its index.
type Choice<'a> = &'a dyn Fn(u32) -> String;

fn script(
    reply: &Reply<'_>,
    head: &str,
    opening: Option<Choice<'_>>,
    content: Choice<'_>,
    closing: Choice<'_>,
) -> Script {
    let tail = tail(reply);
    let chunk = |choice: &str| reply.event(None, &format!("{head}{choice}{tail}"));
    let each = |choice: Choice<'_>| -> Vec<Bytes> {
        (0..reply.call.choices).map(|index| chunk(&choice(index))).collect()
    };
    let mut last = each(closing);
    if with_usage(reply) {
        last.push(reply.event(None, &format!(r#"{head}],"usage":{}}}"#, usage(reply))));
    }
    last.push(reply.event(None, "[DONE]"));
    Script {
        opening: opening.map(each).unwrap_or_default(),
        content: reply.tokens.content,
        delta: Delta::Cycle(each(content)),
        closing: last,
        error: reply.event(None, ERROR),
    }
}

pub(super) const ERROR: &str = r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#;

fn finish(reply: &Reply<'_>) -> &'static str {
    if reply.limited { "length" } else { "stop" }
}

/// With its comma, so that it can be left out.
fn usage_member(reply: &Reply<'_>) -> String {
    if reply.behaviour.omit_usage { String::new() } else { format!(r#","usage":{}"#, usage(reply)) }
}

fn usage(reply: &Reply<'_>) -> String {
    let tokens = &reply.tokens;
    let (prompt, cached, reasoning) = (tokens.prompt, tokens.cached, tokens.reasoning);
    let completion = tokens.completion();
    let total = prompt + completion;
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}
