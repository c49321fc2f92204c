//! Converse's blocks.

use super::{Part, Reply, Said, Steps, json_string};
use crate::{
    play::{Delta, Script},
    replies::bedrock,
};

pub(super) fn response(reply: &Reply<'_>, said: &Said) -> String {
    let block = |(index, part): (usize, &Part)| match part {
        Part::Call { name, .. } => {
            let (call, input) = (bedrock::tool_use(reply, index, name), part.text());
            format!(r#"{{"toolUse":{{"input":{input},{call}}}}}"#)
        }
        Part::Text(_) | Part::Thought { .. } => {
            format!(r#"{{"text":{}}}"#, json_string(&part.text()))
        }
    };
    let blocks: Vec<String> = said.parts.iter().enumerate().map(block).collect();
    bedrock::object(reply, &blocks.join(","), stop(reply, said))
}

pub(super) fn stream(reply: &Reply<'_>, said: &Said) -> Script {
    let mut steps = Steps::default();
    for (index, part) in said.parts.iter().enumerate() {
        if let Part::Call { name, .. } = part {
            let call = bedrock::tool_use(reply, index, name);
            let start =
                format!(r#"{{"contentBlockIndex":{index},"start":{{"toolUse":{{{call}}}}}}}"#);
            steps.beside(bedrock::event("contentBlockStart", &start));
        }
        for piece in part.pieces() {
            let piece = json_string(piece);
            steps.token(bedrock::delta(
                index,
                &match part {
                    Part::Call { .. } => format!(r#"{{"toolUse":{{"input":{piece}}}}}"#),
                    Part::Text(_) | Part::Thought { .. } => format!(r#"{{"text":{piece}}}"#),
                },
            ));
        }
        steps.beside(bedrock::block_stop(index));
    }
    Script {
        opening: vec![bedrock::start()],
        content: steps.0.len() as u64,
        delta: Delta::Steps(steps.0),
        closing: bedrock::closing(reply, stop(reply, said)),
        error: bedrock::error(),
    }
}

fn stop(reply: &Reply<'_>, said: &Said) -> &'static str {
    if said.has_calls() && !said.limited { "tool_use" } else { bedrock::stop(reply) }
}
