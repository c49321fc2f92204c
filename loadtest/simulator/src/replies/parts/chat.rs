//! Chat Completions with reasoning and calls.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference/chat/object> and
//! <https://platform.openai.com/docs/api-reference/chat-streaming/streaming>.

use super::{Part, Reply, Said, Steps, json_string};
use crate::{
    play::{Delta, Script},
    replies::openai::{self, chunk, usage_chunk},
    request::Choice,
};

pub(super) fn completion(reply: &Reply<'_>, said: &Said) -> String {
    let finish = finish(reply, said);
    let choices: Vec<String> = (0..reply.call.choices)
        .map(|index| {
            let message = message(reply, said, index);
            format!(
                r#"{{"index":{index},"message":{message},"logprobs":null,"finish_reason":"{finish}"}}"#
            )
        })
        .collect();
    openai::chat_object(reply, &choices.join(","))
}

fn message(reply: &Reply<'_>, said: &Said, choice: u32) -> String {
    let (mut content, mut reasoning, mut calls) = ("null".to_owned(), String::new(), Vec::new());
    for part in &said.parts {
        match part {
            Part::Text(_) => content = json_string(&part.text()),
            Part::Thought { .. } => {
                reasoning = format!(r#""reasoning_content":{},"#, json_string(&part.text()));
            }
            Part::Call { name, .. } => {
                let id = id(reply, choice, calls.len());
                let (name, arguments) = (json_string(name), json_string(&part.text()));
                calls.push(format!(
                    r#"{{"id":"{id}","type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#
                ));
            }
        }
    }
    let calls = if calls.is_empty() {
        String::new()
    } else {
        format!(r#","tool_calls":[{}]"#, calls.join(","))
    };
    format!(
        r#"{{"role":"assistant","content":{content},{reasoning}"refusal":null,"annotations":[]{calls}}}"#
    )
}

pub(super) fn stream(reply: &Reply<'_>, said: &Said) -> Script {
    let choices = 0..reply.call.choices;
    let event = |index: u32, delta: &str, finish: &str| {
        let choice = format!(
            r#"{{"index":{index},"delta":{{{delta}}},"logprobs":null,"finish_reason":{finish}}}"#
        );
        chunk(reply, &choice)
    };
    let role = if said.has_calls() { "null" } else { r#""""# };
    let role = format!(r#""role":"assistant","content":{role},"refusal":null"#);
    let mut steps = Steps::default();
    let mut call = 0;
    for part in &said.parts {
        if let Part::Call { name, .. } = part {
            for index in choices.clone() {
                let (id, name) = (id(reply, index, call), json_string(name));
                let delta = format!(
                    r#""tool_calls":[{{"index":{call},"id":"{id}","type":"function","function":{{"name":{name},"arguments":""}}}}]"#
                );
                steps.beside(event(index, &delta, "null"));
            }
        }
        for piece in part.pieces() {
            let piece = json_string(piece);
            for index in choices.clone() {
                match part {
                    Part::Text(_) => {
                        steps.token(event(index, &format!(r#""content":{piece}"#), "null"));
                    }
                    Part::Thought { .. } => {
                        let delta = format!(r#""reasoning_content":{piece}"#);
                        steps.beside(event(index, &delta, "null"));
                    }
                    Part::Call { .. } => {
                        let delta = format!(
                            r#""tool_calls":[{{"index":{call},"function":{{"arguments":{piece}}}}}]"#
                        );
                        steps.token(event(index, &delta, "null"));
                    }
                }
            }
        }
        call += usize::from(matches!(part, Part::Call { .. }));
    }
    let finish = format!("\"{}\"", finish(reply, said));
    let mut closing: Vec<_> = choices.clone().map(|index| event(index, "", &finish)).collect();
    closing.extend(usage_chunk(reply));
    closing.push(reply.event(None, "[DONE]"));
    Script {
        opening: choices.map(|index| event(index, &role, "null")).collect(),
        content: steps.0.len() as u64,
        delta: Delta::Steps(steps.0),
        closing,
        error: reply.event(None, openai::ERROR),
    }
}

fn id(reply: &Reply<'_>, choice: u32, call: usize) -> String {
    format!("call_sim{:016x}{choice:02x}{call:02x}", reply.serial)
}

/// Where the client names the function, the answer just stops.
fn finish(reply: &Reply<'_>, said: &Said) -> &'static str {
    match reply.asked.choice {
        _ if said.limited => "length",
        Choice::Named(_) => "stop",
        _ if said.has_calls() => "tool_calls",
        _ => "stop",
    }
}
