//! Gemini's parts: a call comes whole, in a chunk of its own.

use super::{Part, Reply, Said, Steps, json_string};
use crate::{
    play::{Delta, Script},
    replies::gemini,
};

pub(super) fn response(reply: &Reply<'_>, said: &Said) -> String {
    gemini::object(reply, &parts(reply, said).join(","), true)
}

pub(super) fn stream(reply: &Reply<'_>, said: &Said) -> Script {
    let mut steps = Steps::default();
    for (part, text) in said.parts.iter().zip(parts(reply, said)) {
        // A call is as many tokens as it has pieces, all of which come with its only event.
        steps.token(reply.event(None, &gemini::object(reply, &text, false)));
        for _ in 1..part.pieces().len() {
            steps.token(bytes::Bytes::new());
        }
    }
    Script {
        opening: Vec::new(),
        content: steps.0.len() as u64,
        delta: Delta::Steps(steps.0),
        closing: vec![reply.event(None, &gemini::object(reply, r#"{"text":""}"#, true))],
        error: gemini::error(reply),
    }
}

fn parts(reply: &Reply<'_>, said: &Said) -> Vec<String> {
    let text = |(index, part): (usize, &Part)| match part {
        Part::Call { name, .. } => gemini::call(reply, index, name, &part.text()),
        Part::Text(_) | Part::Thought { .. } => {
            format!(r#"{{"text":{}}}"#, json_string(&part.text()))
        }
    };
    said.parts.iter().enumerate().map(text).collect()
}
