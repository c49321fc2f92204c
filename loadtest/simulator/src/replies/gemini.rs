//! Gemini's `generateContent`, and its stream.
//!
//! Shapes: <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>

use super::{Reply, json_string};
use crate::play::{Delta, Script};

pub(super) fn response(reply: &Reply<'_>) -> String {
    object(reply, &format!(r#"{{"text":"{}"}}"#, reply.text()), true)
}

/// A whole answer of these parts.
pub(super) fn object(reply: &Reply<'_>, parts: &str, ended: bool) -> String {
    let finish = match (ended, reply.limited) {
        (false, _) => "",
        (true, true) => r#""finishReason":"MAX_TOKENS","#,
        (true, false) => r#""finishReason":"STOP","#,
    };
    let tokens = &reply.tokens;
    let mut usage = prompt(reply);
    if ended {
        if tokens.content > 0 {
            usage.push_str(&format!(r#","candidatesTokenCount":{}"#, tokens.content));
        }
        if tokens.reasoning > 0 {
            usage.push_str(&format!(r#","thoughtsTokenCount":{}"#, tokens.reasoning));
        }
        let total = tokens.prompt + tokens.completion();
        usage.push_str(&format!(r#","totalTokenCount":{total}"#));
    }
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}},{finish}"index":0}}],"usageMetadata":{{{usage}}}{}"#,
        tail(reply)
    )
}

/// Chunks whose counts grow, and a last one that says why it ended.
pub(super) fn stream(reply: &Reply<'_>) -> Script {
    let eol = reply.behaviour.line_ending.as_str();
    let (text, prompt) = (reply.token_text(), prompt(reply));
    let before = format!(
        r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}},"index":0}}],"usageMetadata":{{{prompt},"candidatesTokenCount":"#
    );
    let after = format!("}}{}{eol}{eol}", tail(reply));
    Script {
        opening: Vec::new(),
        content: reply.tokens.content,
        delta: Delta::Numbered { before, first: 1, after },
        closing: vec![reply.event(None, &object(reply, r#"{"text":""}"#, true))],
        error: error(reply),
    }
}

pub(super) fn error(reply: &Reply<'_>) -> bytes::Bytes {
    reply.event(
        None,
        r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#,
    )
}

/// `args` is JSON.
pub(super) fn call(reply: &Reply<'_>, index: usize, name: &str, args: &str) -> String {
    let (id, name) = (format!("fc_sim{:016x}{index:02x}", reply.serial), json_string(name));
    format!(r#"{{"functionCall":{{"id":"{id}","name":{name},"args":{args}}}}}"#)
}

fn prompt(reply: &Reply<'_>) -> String {
    let (prompt, cached) = (reply.tokens.prompt, reply.tokens.cached);
    let cached = match cached {
        0 => String::new(),
        tokens => format!(r#","cachedContentTokenCount":{tokens}"#),
    };
    format!(r#""promptTokenCount":{prompt}{cached}"#)
}

fn tail(reply: &Reply<'_>) -> String {
    format!(r#","modelVersion":{},"responseId":"sim{:016x}"}}"#, reply.model, reply.serial)
}
