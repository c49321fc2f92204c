//! What a translation costs: a request, and a stream of thirty events.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate_chat::{
    ClientDialect, Dialect, Envelope, Expect, OnLoss, StreamDecoder, StreamEncoder, Target,
    Translator, decode_request, encode_request,
};

const CHAT_REQUEST: &str = r#"{"model":"m","stream":true,"temperature":0.7,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Where do rivers begin?\nBe brief."}],"tools":[{"type":"function","function":{"name":"find","description":"Finds a river.","parameters":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}}]}"#;

const MESSAGES_REQUEST: &str = r#"{"model":"m","stream":true,"max_tokens":500,"temperature":0.7,"system":"You are a helpful assistant.","messages":[{"role":"user","content":"Where do rivers begin?\nBe brief."}],"tools":[{"name":"find","description":"Finds a river.","input_schema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}]}"#;

/// Thirty events, each in a chunk of its own as they come over the wire.
fn messages_stream() -> Vec<String> {
    let mut events = vec![
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m\",\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n".to_owned(),
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n".to_owned(),
    ];
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" token\"}}\n\n";
    events.extend(vec![delta.to_owned(); 25]);
    events.extend([
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n".to_owned(),
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":25}}\n\n".to_owned(),
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
    ]);
    events
}

fn chat_stream() -> Vec<String> {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}],\"usage\":null}}\n\n"
        )
    };
    let mut events = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
    events.extend(vec![chunk(r#"{"content":" token"}"#, "null"); 26]);
    events.extend([
        chunk("{}", "\"stop\""),
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":25,\"total_tokens\":50}}\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ]);
    events
}

fn requests(bench: &mut Criterion) {
    for (name, client, upstream, body) in [
        ("chat to messages", ClientDialect::OpenAiChat, Dialect::Anthropic, CHAT_REQUEST),
        ("messages to chat", ClientDialect::Anthropic, Dialect::OpenAiChat, MESSAGES_REQUEST),
    ] {
        let target = Target::new("target");
        bench.bench_function(&format!("translate/request {name}"), |bench| {
            bench.iter(|| {
                let request = decode_request(client, black_box(body.as_bytes()));
                request.map(|request| encode_request(upstream, &request, &target, OnLoss::Refuse))
            });
        });
    }
}

fn streams(bench: &mut Criterion) {
    for (name, client, upstream, events) in [
        ("messages to chat", ClientDialect::OpenAiChat, Dialect::Anthropic, messages_stream()),
        ("chat to messages", ClientDialect::Anthropic, Dialect::OpenAiChat, chat_stream()),
    ] {
        bench.bench_function(&format!("translate/stream of 30 {name}"), |bench| {
            bench.iter(|| {
                let mut translator = Translator::new(
                    StreamDecoder::new(upstream, &Expect::default()),
                    StreamEncoder::new(client, Envelope::default()),
                );
                let mut out = Vec::with_capacity(1_024);
                for event in &events {
                    out.clear();
                    let pushed = translator.push(black_box(event.as_bytes()), &mut out);
                    assert!(pushed.is_ok());
                }
                assert!(translator.finish(&mut out).is_ok());
                black_box(out)
            });
        });
    }
}

criterion_group!(benches, requests, streams);
criterion_main!(benches);
