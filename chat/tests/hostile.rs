//! Whatever comes, nothing panics, and nothing grows without bounds.

#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

#[path = "golden/frames.rs"]
mod frames;

use std::{borrow::Cow, fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};
use sluicegate_chat::{
    Broken, ClientDialect, Dialect, Envelope, Expect, OnLoss, StreamDecoder, StreamEncoder, Target,
    Translator, Why, decode_fault, decode_reply, decode_request, encode_fault, encode_reply,
    encode_request,
    model::{Block, Delta, Event},
    sse::MAX_EVENT,
};

/// Every fixture's bytes: most are no request or stream as a whole, but hold the words of one.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut seeds = Vec::new();
    for pair in fs::read_dir(root).unwrap() {
        for kind in ["requests", "replies", "errors", "streams"] {
            let Ok(files) = fs::read_dir(pair.as_ref().unwrap().path().join(kind)) else {
                continue;
            };
            for file in files {
                let text = fs::read_to_string(file.unwrap().path()).unwrap();
                seeds.push(inner(&text).as_bytes().to_vec());
            }
        }
    }
    seeds.sort();
    seeds
}

/// The part of a fixture that is read.
fn inner(text: &str) -> &str {
    if let Some((_, stream)) = text.split_once("=== upstream\n") {
        return stream.split_once("\n=== client\n").map_or(stream, |(stream, _)| stream);
    }
    let after = text.split_once("\"input\": ").map_or(text, |(_, after)| after);
    let end = [",\n  \"path\"", ",\n  \"output\"", ",\n  \"refusal\"", ",\n  \"broken\""]
        .iter()
        .filter_map(|mark| after.find(mark))
        .min();
    &after[..end.unwrap_or(after.len())]
}

#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, usize),
    Cut(Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let words = vec![
        "null",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\\",
        "\\ud800",
        "-1",
        "1e999",
        "{}",
        "[]",
        "\n\n",
        "\r",
        "true",
        "\"type\":",
        "\u{0}",
        "99999999999999999999",
    ];
    let change = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), proptest::sample::select(words))
            .prop_map(|(at, word)| Change::Insert(at, word)),
        (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Change::Remove(at, length)),
        any::<Index>().prop_map(Change::Cut),
    ];
    vec(change, 0..5)
}

fn changed(seed: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in changes {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        match change {
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Insert(at, word) => {
                let at = at.index(length);
                bytes.splice(at..at, word.bytes());
            }
            Change::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..(at + count).min(length));
            }
            Change::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

fn read_everything(bytes: &[u8]) {
    let target = Target::new("m");
    for client in ClientDialect::ALL {
        let Ok(request) = decode_request(client, bytes) else { continue };
        for upstream in Dialect::ALL {
            for on_loss in [OnLoss::Refuse, OnLoss::DropParameters] {
                if let Ok(encoded) = encode_request(upstream, &request, &target, on_loss) {
                    assert!(is_json(&encoded.body), "{:?}", encoded.body);
                }
            }
        }
    }
    for upstream in Dialect::ALL {
        let mut out = Vec::new();
        let fault = decode_fault(upstream, 400, bytes);
        assert!(!fault.message.is_empty());
        for client in ClientDialect::ALL {
            out.clear();
            encode_fault(client, &fault, "id", &mut out);
            assert!(is_json(&out));
        }
        let Ok(reply) = decode_reply(upstream, &Expect::default(), bytes) else { continue };
        for client in ClientDialect::ALL {
            out.clear();
            encode_reply(client, &Envelope::default(), &reply, &mut out);
            assert!(is_json(&out), "{}", String::from_utf8_lossy(&out));
        }
    }
}

/// Frames are made of mutilated lines: mutilated frames would all be found out by their checksums.
fn sent(upstream: Dialect, bytes: &[u8]) -> Cow<'_, [u8]> {
    match upstream {
        Dialect::Bedrock => frames::of_lines(&String::from_utf8_lossy(bytes)).into(),
        _ => bytes.into(),
    }
}

/// The order that every decoder keeps, so that encoders can rely on it.
#[derive(Default)]
struct Order {
    started: bool,
    block: Option<&'static str>,
    finished: bool,
    over: bool,
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
            Event::Fault(_) => self.over = true,
            Event::Tier(_) | Event::Usage(_) | Event::Ping => {}
        }
    }
}

fn order_is_kept(bytes: &[u8]) {
    for upstream in Dialect::ALL {
        let mut order = Order::default();
        let mut decoder = StreamDecoder::new(upstream, &Expect::default());
        let pushed = decoder.push(&sent(upstream, bytes), &mut |event| order.check(&event));
        let ended = pushed.and_then(|()| decoder.finish(&mut |event| order.check(&event)));
        assert!(ended.is_err() || order.over);
    }
}

/// All that is written is an event stream whose data is JSON, whatever was read.
fn stream_everything(bytes: &[u8]) {
    for upstream in Dialect::ALL {
        for client in ClientDialect::ALL {
            let mut translator = Translator::new(
                StreamDecoder::new(upstream, &Expect::default()),
                StreamEncoder::new(client, Envelope::default()),
            );
            let mut out = Vec::new();
            let bytes = sent(upstream, bytes);
            let pushed = bytes.chunks(50).try_for_each(|chunk| translator.push(chunk, &mut out));
            let ended = pushed.and_then(|()| translator.finish(&mut out));
            assert!(ended.is_err() || translator.ended() || translator.fault().is_some());
            let text = String::from_utf8(out).unwrap();
            assert!(text.is_empty() || text.ends_with("\n\n"));
            let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            for data in data.filter(|data| *data != "[DONE]") {
                assert!(is_json(data.as_bytes()), "{data}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn nothing_panics(seed in any::<Index>(), changes in changes()) {
        thread_local!(static SEEDS: Vec<Vec<u8>> = seeds());
        SEEDS.with(|seeds| {
            let bytes = changed(&seeds[seed.index(seeds.len())], &changes);
            read_everything(&bytes);
            stream_everything(&bytes);
            order_is_kept(&bytes);
        });
    }
}

#[test]
fn results_do_not_nest() {
    let mut block = String::from("\"x\"");
    for _ in 0..50 {
        block = format!(r#"[{{"content":{block},"tool_use_id":"a","type":"tool_result"}}]"#);
    }
    let body = format!(
        r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":{block}}}]}}"#
    );
    let refusal = decode_request(ClientDialect::Anthropic, body.as_bytes()).unwrap_err();
    assert_eq!(refusal.field, "messages[0].content[0].content[0]");
}

#[test]
fn nesting_is_bounded() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"metadata":{{"a":{deep}}}}}"#
    );
    let refusal = decode_request(ClientDialect::OpenAiChat, body.as_bytes()).unwrap_err();
    assert!(matches!(refusal.why, Why::Syntax(_)), "{refusal}");
}

#[test]
fn no_more_than_one_event_is_kept() {
    for upstream in
        [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini]
    {
        let mut decoder = StreamDecoder::new(upstream, &Expect::default());
        let chunk = vec![b'x'; 64 * 1024];
        decoder.push(b"data: ", &mut |_| {}).unwrap();
        let mut pushed = 0;
        let broken = loop {
            pushed += chunk.len();
            if let Err(broken) = decoder.push(&chunk, &mut |_| {}) {
                break broken;
            }
            assert!(pushed <= MAX_EVENT);
        };
        assert_eq!(broken, Broken::TooLong);
        // Once it has failed, it fails for ever.
        assert_eq!(decoder.push(b"\n\n", &mut |_| {}), Err(Broken::TooLong));
        assert_eq!(decoder.finish(&mut |_| {}), Err(Broken::TooLong));
    }
}
