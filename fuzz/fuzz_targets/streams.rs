//! Whatever an upstream streams, a client gets whole events of its own dialect, in an order that its decoder
//! takes, and the same ones however the stream is cut.
//!
//! Input: one byte that picks the dialects, one for how the request was written and how many sizes follow, the
//! sizes of the pieces, and the stream. Bedrock's is written as lines, of which frames are made; one bit says
//! that its frames stand in the input themselves.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use sluicegate_chat::{
    Broken, ClientDialect, Dialect, Envelope, Expect, StreamDecoder, StreamEncoder, Translator,
    aws::frame,
    model::{Block, Delta, Event},
};
use sluicegate_fuzz::{is_json, pieces};

fuzz_target!(|input: &[u8]| {
    let Some((&[pick, how], rest)) = input.split_first_chunk() else { return };
    let count = usize::from(how % 16).min(rest.len());
    let (sizes, rest) = rest.split_at(count);
    let upstream = Dialect::ALL[usize::from(pick) % 5];
    let client = ClientDialect::ALL[usize::from(pick / 5) % 3];
    let expect = if how & 0x80 == 0 { Expect::default() } else { Expect::of_answer_tool() };
    let stream: Cow<'_, [u8]> = match upstream {
        Dialect::Bedrock if how & 0x40 == 0 => frames(&String::from_utf8_lossy(rest)).into(),
        _ => rest.into(),
    };

    let whole = events(upstream, &expect, std::iter::once(&*stream));
    assert_eq!(whole, events(upstream, &expect, pieces(&stream, sizes)));
    assert_eq!(whole, events(upstream, &expect, stream.chunks(1)));

    let envelope =
        Envelope { include_usage: how & 0x20 == 0, id: "id".to_owned(), ..Envelope::default() };
    let outcome = translate(upstream, client, &expect, &envelope, std::iter::once(&*stream));
    assert_eq!(outcome, translate(upstream, client, &expect, &envelope, pieces(&stream, sizes)));
    let (failed, out) = outcome;
    let text = str::from_utf8(&out).expect("what is written is UTF-8");
    assert!(text.is_empty() || text.ends_with("\n\n"));
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        assert!(data == "[DONE]" || is_json(data.as_bytes()), "{data}");
    }
    // A client's decoder is no laxer than those of the vendors' libraries.
    let mut order = Order::default();
    let mut decoder = StreamDecoder::new(client.into(), &Expect::default());
    let read = decoder.push(&out, &mut |event| order.check(&event));
    let read = read.and_then(|()| decoder.finish(&mut |event| order.check(&event)));
    assert!(read.is_ok(), "{client:?} of {upstream:?}: {read:?}: {text}");
    assert_eq!(order.failed, failed, "{client:?} of {upstream:?}: {text}");
});

/// The events and how they ended. Their order is checked.
fn events<'p>(
    upstream: Dialect,
    expect: &Expect,
    mut pieces: impl Iterator<Item = &'p [u8]>,
) -> (Vec<String>, Result<(), Broken>) {
    let mut order = Order::default();
    let mut found = Vec::new();
    let mut decoder = StreamDecoder::new(upstream, expect);
    let mut take = |event: Event<'_>| {
        order.check(&event);
        found.push(format!("{event:?}"));
    };
    let pushed = pieces.try_for_each(|piece| decoder.push(piece, &mut take));
    let ended = pushed.and_then(|()| decoder.finish(&mut take));
    assert!(ended.is_err() || order.over);
    (found, ended)
}

/// Whether it came to an error, and all that the client gets.
fn translate<'p>(
    upstream: Dialect,
    client: ClientDialect,
    expect: &Expect,
    envelope: &Envelope,
    mut pieces: impl Iterator<Item = &'p [u8]>,
) -> (bool, Vec<u8>) {
    let mut translator = Translator::new(
        StreamDecoder::new(upstream, expect),
        StreamEncoder::new(client, envelope.clone()),
    );
    let mut out = Vec::new();
    let pushed = pieces.try_for_each(|piece| translator.push(piece, &mut out));
    let ended = pushed.and_then(|()| translator.finish(&mut out));
    assert!(ended.is_err() || translator.ended() || translator.fault().is_some());
    // What is wrong behind the end is nobody's concern.
    let failed = translator.fault().is_some() || (ended.is_err() && !translator.ended());
    (failed, out)
}

/// `name {...}` is an event, `!name {...}` an exception, `?code message` an error without a name.
fn frames(lines: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let (name, payload) = line.split_once(' ').unwrap_or((line, "{}"));
        if let Some(code) = name.strip_prefix('?') {
            let headers =
                [(":message-type", "error"), (":error-code", code), (":error-message", payload)];
            frame::write(&headers, b"", &mut bytes);
            continue;
        }
        let headers = match name.strip_prefix('!') {
            Some(name) => [(":exception-type", name), (":message-type", "exception")],
            None => [(":event-type", name), (":message-type", "event")],
        };
        frame::write(&headers, payload.as_bytes(), &mut bytes);
    }
    bytes
}

/// The order that every decoder keeps, so that encoders can rely on it.
#[derive(Default)]
struct Order {
    started: bool,
    block: Option<&'static str>,
    finished: bool,
    over: bool,
    failed: bool,
}

impl Order {
    fn check(&mut self, event: &Event<'_>) {
        assert!(!self.over, "{event:?} behind the end");
        if !matches!(event, Event::Start { .. } | Event::Fault(_)) {
            assert!(self.started, "{event:?} before the start");
        }
        match event {
            Event::Start { .. } => assert!(!std::mem::replace(&mut self.started, true)),
            Event::BlockStart(block) => {
                assert!(!self.finished && self.block.is_none(), "{block:?} within a block");
                self.block = Some(match block {
                    Block::Text | Block::Refusal => "text",
                    Block::Thought { .. } => "thought",
                    Block::Redacted(_) => "redacted",
                    Block::ToolCall { .. } => "call",
                });
            }
            Event::Delta(delta) => {
                let block = match delta {
                    Delta::Text(_) | Delta::Annotation(_) | Delta::Logprobs(_) => "text",
                    Delta::Thought(_) | Delta::Seal(_) => "thought",
                    Delta::Arguments(_) => "call",
                };
                assert_eq!(self.block, Some(block), "{delta:?}");
            }
            Event::BlockEnd => assert!(self.block.take().is_some()),
            Event::Finish { .. } => {
                assert!(self.block.is_none() && !std::mem::replace(&mut self.finished, true));
            }
            Event::End => {
                assert!(self.finished);
                self.over = true;
            }
            Event::Fault(_) => (self.over, self.failed) = (true, true),
            Event::Tier(_) | Event::Usage(_) | Event::Ping => {}
        }
    }
}
