//! Anthropic's messages with thinking and calls.
//!
//! Shapes: <https://docs.claude.com/en/docs/build-with-claude/streaming> and
//! <https://docs.claude.com/en/docs/build-with-claude/extended-thinking>.

use super::{Part, Reply, Said, Steps, json_string};
use crate::{
    play::{Delta, Script},
    replies::anthropic::{closing, error, message_object, message_start, named},
};

pub(super) fn message(reply: &Reply<'_>, said: &Said) -> String {
    let blocks: Vec<String> = said
        .parts
        .iter()
        .enumerate()
        .map(|(index, part)| match part {
            Part::Text(_) => format!(r#"{{"type":"text","text":{}}}"#, json_string(&part.text())),
            Part::Thought { seal, .. } => format!(
                r#"{{"type":"thinking","thinking":{},"signature":{}}}"#,
                json_string(&part.text()),
                json_string(seal.as_deref().unwrap_or(""))
            ),
            Part::Call { name, .. } => format!(
                r#"{{"type":"tool_use","id":"{}","name":{},"input":{}}}"#,
                id(reply, index),
                json_string(name),
                part.text()
            ),
        })
        .collect();
    message_object(reply, &blocks.join(","), stop(said))
}

pub(super) fn stream(reply: &Reply<'_>, said: &Said) -> Script {
    let mut steps = Steps::default();
    for (index, part) in said.parts.iter().enumerate() {
        let block = match part {
            Part::Text(_) => r#"{"type":"text","text":""}"#.to_owned(),
            Part::Thought { .. } => {
                r#"{"type":"thinking","thinking":"","signature":""}"#.to_owned()
            }
            Part::Call { name, .. } => format!(
                r#"{{"type":"tool_use","id":"{}","name":{},"input":{{}}}}"#,
                id(reply, index),
                json_string(name)
            ),
        };
        let members = format!(r#","index":{index},"content_block":{block}"#);
        steps.beside(named(reply, "content_block_start", &members));
        if index == 0 {
            steps.beside(named(reply, "ping", ""));
        }
        let delta = |delta: &str| {
            named(reply, "content_block_delta", &format!(r#","index":{index},"delta":{{{delta}}}"#))
        };
        if matches!(part, Part::Call { .. }) {
            steps.beside(delta(r#""type":"input_json_delta","partial_json":"""#));
        }
        for piece in part.pieces() {
            let piece = json_string(piece);
            match part {
                Part::Text(_) => {
                    steps.token(delta(&format!(r#""type":"text_delta","text":{piece}"#)));
                }
                Part::Thought { .. } => {
                    steps.beside(delta(&format!(r#""type":"thinking_delta","thinking":{piece}"#)));
                }
                Part::Call { .. } => steps
                    .token(delta(&format!(r#""type":"input_json_delta","partial_json":{piece}"#))),
            }
        }
        if let Part::Thought { seal: Some(seal), .. } = part {
            let seal = json_string(seal);
            steps.beside(delta(&format!(r#""type":"signature_delta","signature":{seal}"#)));
        }
        steps.beside(named(reply, "content_block_stop", &format!(r#","index":{index}"#)));
    }
    Script {
        opening: vec![message_start(reply)],
        content: steps.0.len() as u64,
        delta: Delta::Steps(steps.0),
        closing: closing(reply, stop(said)),
        error: error(reply),
    }
}

fn id(reply: &Reply<'_>, index: usize) -> String {
    format!("toolu_sim{:016x}{index:02x}", reply.serial)
}

fn stop(said: &Said) -> &'static str {
    if said.limited {
        "max_tokens"
    } else if said.has_calls() {
        "tool_use"
    } else {
        "end_turn"
    }
}
