//! Whatever an upstream answers in one document, what a client gets of it is JSON, and reads as an answer of
//! the client's dialect with the same words, the same calls of tools and the same usage.
//!
//! Input: one byte that picks the upstream's dialect and how the request was written, one for the status of an
//! error, and the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_chat::{
    ClientDialect, Dialect, Envelope, Expect, Reply, decode_fault, decode_reply, encode_fault,
    encode_reply, model::Content,
};
use sluicegate_fuzz::is_json;

fuzz_target!(|input: &[u8]| {
    let Some((&[pick, status], body)) = input.split_first_chunk() else { return };
    let upstream = Dialect::ALL[usize::from(pick) % 5];
    let expect = if pick & 0x80 == 0 { Expect::default() } else { Expect::of_answer_tool() };

    let fault = decode_fault(upstream, 400 + u16::from(status), body);
    assert!(!fault.message.is_empty());
    let mut out = Vec::new();
    for client in ClientDialect::ALL {
        out.clear();
        encode_fault(client, &fault, "id", &mut out);
        assert!(is_json(&out), "{}", String::from_utf8_lossy(&out));
        // The client's own library reads the same words out of it.
        let read = decode_fault(client.into(), fault.kind.status(), &out);
        assert_eq!((read.kind, &read.message), (fault.kind, &fault.message), "{client:?}");
    }

    let Ok(reply) = decode_reply(upstream, &expect, body) else { return };
    assert!(is_json(body), "no JSON was read as an answer");
    let envelope = Envelope {
        id: "id".to_owned(),
        created: 1,
        asked_model: "m".to_owned(),
        usage_members: "\"cost_usd\":\"0.1\"".to_owned(),
        ..Envelope::default()
    };
    for client in ClientDialect::ALL {
        out.clear();
        encode_reply(client, &envelope, &reply, &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(is_json(&out), "{client:?}: {text}");
        let read = decode_reply(client.into(), &Expect::default(), &out)
            .unwrap_or_else(|broken| panic!("{client:?}: {broken}: {text}"));
        let (told, heard) = (reply.usage.unwrap_or_default(), read.usage.unwrap_or_default());
        assert_eq!(told.output, heard.output, "{client:?}: {text}");
        assert_eq!(said(&reply), said(&read), "{client:?}: {text}");
    }
});

/// The words of an answer, and the names of the tools that it calls.
fn said(reply: &Reply<'_>) -> (String, Vec<String>) {
    let (mut words, mut calls) = (String::new(), Vec::new());
    for part in &reply.parts {
        match &part.content {
            Content::Text { text, .. } | Content::Refusal(text) => words.push_str(text),
            Content::ToolCall(call) => calls.push(call.name.to_string()),
            _ => {}
        }
    }
    (words, calls)
}
