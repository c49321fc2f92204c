//! The Responses API.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference/responses> and
//! <https://platform.openai.com/docs/api-reference/responses-streaming>.

use bytes::Bytes;

use super::Reply;
use crate::{
    Fault,
    play::{Delta, Script},
    request::Echo,
};

pub(super) fn response(reply: &Reply<'_>) -> String {
    finished(reply, &reply.text())
}

/// Nine kinds of events, numbered from zero.
pub(super) fn stream(reply: &Reply<'_>) -> Script {
    let serial = reply.serial;
    let text = reply.text();
    let opening = opening(reply);
    let content = reply.tokens.content;
    let first = opening.len() as u64;
    let mut number = first + content;
    let mut next = |name: &str, members: &str| {
        let event = numbered(reply, name, number, members);
        number += 1;
        event
    };
    let place = format!(r#""item_id":"msg_sim{serial:016x}","output_index":0,"content_index":0"#);
    let status = if reply.limited { "incomplete" } else { "completed" };
    let closing = vec![
        next("response.output_text.done", &format!(r#"{place},"text":"{text}","logprobs":[]"#)),
        next("response.content_part.done", &format!(r#"{place},"part":{}"#, part(&text))),
        next(
            "response.output_item.done",
            &format!(r#""output_index":0,"item":{}"#, item(serial, status, &part(&text))),
        ),
        next(&format!("response.{status}"), &format!(r#""response":{}"#, finished(reply, &text))),
    ];
    let eol = reply.behaviour.line_ending.as_str();
    let name = "response.output_text.delta";
    let delta = Delta::Numbered {
        before: format!(r#"event: {name}{eol}data: {{"type":"{name}","sequence_number":"#),
        first,
        after: format!(r#",{place},"delta":"{}","logprobs":[]}}{eol}{eol}"#, reply.token_text()),
    };
    // The error takes the number of the event in whose place it stands.
    let last = first + content + closing.len() as u64 - 1;
    let at = match reply.behaviour.fault {
        Some(Fault::ErrorEvent { after_events }) => u64::from(after_events).min(last),
        _ => last,
    };
    let error = numbered(reply, "error", at, ERROR);
    Script { opening, content, delta, closing, error }
}

fn opening(reply: &Reply<'_>) -> Vec<Bytes> {
    let serial = reply.serial;
    let begun = begun(reply);
    vec![
        numbered(reply, "response.created", 0, &begun),
        numbered(reply, "response.in_progress", 1, &begun),
        numbered(
            reply,
            "response.output_item.added",
            2,
            &format!(r#""output_index":0,"item":{}"#, item(serial, "in_progress", "")),
        ),
        numbered(
            reply,
            "response.content_part.added",
            3,
            &format!(
                r#""item_id":"msg_sim{serial:016x}","output_index":0,"content_index":0,"part":{}"#,
                part("")
            ),
        ),
    ]
}

/// The member that the first events have.
pub(super) fn begun(reply: &Reply<'_>) -> String {
    format!(r#""response":{}"#, object(reply, "in_progress", "null", "", "null"))
}

pub(super) const ERROR: &str = r#""code":"server_error","message":"The server had an error while processing your request.","param":null"#;

pub(super) fn numbered(reply: &Reply<'_>, name: &str, number: u64, members: &str) -> Bytes {
    let data = format!(r#"{{"type":"{name}","sequence_number":{number},{members}}}"#);
    reply.event(Some(name), &data)
}

fn finished(reply: &Reply<'_>, text: &str) -> String {
    let status = if reply.limited { "incomplete" } else { "completed" };
    ended(reply, reply.limited, &item(reply.serial, status, &part(text)))
}

/// A whole response of these items.
pub(super) fn ended(reply: &Reply<'_>, limited: bool, output: &str) -> String {
    let (status, why) = if limited {
        ("incomplete", r#"{"reason":"max_output_tokens"}"#)
    } else {
        ("completed", "null")
    };
    let usage = if reply.behaviour.omit_usage { "null".to_owned() } else { usage(reply) };
    object(reply, status, why, output, &usage)
}

fn object(reply: &Reply<'_>, status: &str, why: &str, output: &str, usage: &str) -> String {
    let Reply { serial, created, model, .. } = reply;
    let Echo { instructions, parallel_tool_calls, reasoning, store, text, tool_choice, tools } =
        &reply.asked.echo;
    let limit = reply.call.max_tokens.map_or_else(|| "null".to_owned(), |limit| limit.to_string());
    format!(
        r#"{{"id":"resp_sim{serial:016x}","object":"response","created_at":{created},"status":"{status}","background":false,"error":null,"incomplete_details":{why},"instructions":{instructions},"max_output_tokens":{limit},"model":{model},"output":[{output}],"parallel_tool_calls":{parallel_tool_calls},"previous_response_id":null,"reasoning":{reasoning},"service_tier":"default","store":{store},"temperature":1.0,"text":{text},"tool_choice":{tool_choice},"tools":{tools},"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#
    )
}

fn item(serial: u64, status: &str, content: &str) -> String {
    format!(
        r#"{{"id":"msg_sim{serial:016x}","type":"message","status":"{status}","role":"assistant","content":[{content}]}}"#
    )
}

/// A part of text, which is quoted already.
pub(super) fn part(text: &str) -> String {
    format!(r#"{{"type":"output_text","text":"{text}","annotations":[],"logprobs":[]}}"#)
}

fn usage(reply: &Reply<'_>) -> String {
    let tokens = &reply.tokens;
    let (input, cached, reasoning) = (tokens.prompt, tokens.cached, tokens.reasoning);
    let output = tokens.completion();
    let total = input + output;
    format!(
        r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
    )
}
