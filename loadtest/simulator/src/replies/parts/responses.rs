//! Responses with items of reasoning and calls.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use bytes::Bytes;

use super::{Part, Reply, Said, Steps, json_string};
use crate::{
    Fault,
    play::{Delta, Script},
    replies::responses::{ERROR, begun, ended, numbered, part as text_part},
};

pub(super) fn response(reply: &Reply<'_>, said: &Said) -> String {
    ended(reply, said.limited, &items(reply, said))
}

/// All items, as they are at the end.
fn items(reply: &Reply<'_>, said: &Said) -> String {
    let items: Vec<_> = said
        .parts
        .iter()
        .enumerate()
        .map(|(index, part)| item(reply, index, part, Some(status(said, index))))
        .collect();
    items.join(",")
}

fn status(said: &Said, index: usize) -> &'static str {
    if said.limited && index + 1 == said.parts.len() { "incomplete" } else { "completed" }
}

/// One item; without a status as it is when it begins.
fn item(reply: &Reply<'_>, index: usize, part: &Part, status: Option<&str>) -> String {
    let serial = reply.serial;
    let done = status.is_some();
    let status = status.unwrap_or("in_progress");
    let id = id(serial, index, part);
    match part {
        Part::Text(_) => {
            let quoted = json_string(&part.text());
            let content =
                if done { text_part(&quoted[1..quoted.len() - 1]) } else { String::new() };
            format!(
                r#"{{"id":"{id}","type":"message","status":"{status}","role":"assistant","content":[{content}]}}"#
            )
        }
        Part::Thought { pieces, seal } => {
            let summary =
                if done && !pieces.is_empty() { summary(&part.text()) } else { String::new() };
            let seal = match seal {
                Some(seal) => format!(r#","encrypted_content":{}"#, json_string(seal)),
                None => String::new(),
            };
            format!(r#"{{"id":"{id}","type":"reasoning","summary":[{summary}]{seal}}}"#)
        }
        Part::Call { name, .. } => {
            let arguments = if done { part.text() } else { String::new() };
            let (arguments, name) = (json_string(&arguments), json_string(name));
            format!(
                r#"{{"id":"{id}","type":"function_call","status":"{status}","arguments":{arguments},"call_id":"call_sim{serial:016x}{index:02x}","name":{name}}}"#
            )
        }
    }
}

fn id(serial: u64, index: usize, part: &Part) -> String {
    let kind = match part {
        Part::Text(_) => "msg",
        Part::Thought { .. } => "rs",
        Part::Call { .. } => "fc",
    };
    format!("{kind}_sim{serial:016x}{index:02x}")
}

fn summary(text: &str) -> String {
    format!(r#"{{"type":"summary_text","text":{}}}"#, json_string(text))
}

pub(super) fn stream(reply: &Reply<'_>, said: &Said) -> Script {
    let mut events = Events { reply, number: 0, steps: Steps::default() };
    let begun = begun(reply);
    let opening =
        vec![events.next("response.created", &begun), events.next("response.in_progress", &begun)];
    for (index, part) in said.parts.iter().enumerate() {
        events.item(index, part, status(said, index));
    }
    let last = if said.limited { "response.incomplete" } else { "response.completed" };
    let whole = format!(r#""response":{}"#, ended(reply, said.limited, &items(reply, said)));
    let closing = vec![events.next(last, &whole)];
    // The error takes the number of the event in whose place it stands.
    let at = match reply.behaviour.fault {
        Some(Fault::ErrorEvent { after_events }) => u64::from(after_events).min(events.number - 1),
        _ => events.number - 1,
    };
    let steps = events.steps.0;
    Script {
        opening,
        content: steps.len() as u64,
        delta: Delta::Steps(steps),
        closing,
        error: numbered(reply, "error", at, ERROR),
    }
}

struct Events<'r> {
    reply: &'r Reply<'r>,
    number: u64,
    steps: Steps,
}

impl Events<'_> {
    fn next(&mut self, name: &str, members: &str) -> Bytes {
        let event = numbered(self.reply, name, self.number, members);
        self.number += 1;
        event
    }

    fn beside(&mut self, name: &str, members: &str) {
        let event = self.next(name, members);
        self.steps.beside(event);
    }

    fn item(&mut self, index: usize, part: &Part, status: &str) {
        let reply = self.reply;
        let begun = item(reply, index, part, None);
        self.beside(
            "response.output_item.added",
            &format!(r#""output_index":{index},"item":{begun}"#),
        );
        let place =
            format!(r#""item_id":"{}","output_index":{index}"#, id(reply.serial, index, part));
        let whole = json_string(&part.text());
        match part {
            Part::Text(pieces) => {
                let place = format!(r#"{place},"content_index":0"#);
                let empty = text_part("");
                self.beside("response.content_part.added", &format!(r#"{place},"part":{empty}"#));
                for piece in pieces {
                    let members =
                        format!(r#"{place},"delta":{},"logprobs":[]"#, json_string(piece));
                    self.token("response.output_text.delta", &members);
                }
                let members = format!(r#"{place},"text":{whole},"logprobs":[]"#);
                self.beside("response.output_text.done", &members);
                let full = text_part(&whole[1..whole.len() - 1]);
                self.beside("response.content_part.done", &format!(r#"{place},"part":{full}"#));
            }
            Part::Thought { pieces, .. } if pieces.is_empty() => {}
            Part::Thought { pieces, .. } => {
                let place = format!(r#"{place},"summary_index":0"#);
                let name = |what: &str| format!("response.reasoning_summary_{what}");
                let members = format!(r#"{place},"part":{}"#, summary(""));
                self.beside(&name("part.added"), &members);
                for piece in pieces {
                    let members = format!(r#"{place},"delta":{}"#, json_string(piece));
                    self.beside(&name("text.delta"), &members);
                }
                self.beside(&name("text.done"), &format!(r#"{place},"text":{whole}"#));
                let members = format!(r#"{place},"part":{}"#, summary(&part.text()));
                self.beside(&name("part.done"), &members);
            }
            Part::Call { name, pieces } => {
                for piece in pieces {
                    let members = format!(r#"{place},"delta":{}"#, json_string(piece));
                    self.token("response.function_call_arguments.delta", &members);
                }
                let name = json_string(name);
                let members = format!(r#"{place},"name":{name},"arguments":{whole}"#);
                self.beside("response.function_call_arguments.done", &members);
            }
        }
        let done = item(reply, index, part, Some(status));
        self.beside(
            "response.output_item.done",
            &format!(r#""output_index":{index},"item":{done}"#),
        );
    }

    fn token(&mut self, name: &str, members: &str) {
        let event = self.next(name, members);
        self.steps.token(event);
    }
}
