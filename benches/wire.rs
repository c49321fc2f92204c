//! What the wire formats cost: per event of a stream, per request body, per answer body.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluicegate::dialects::{
    Endpoint,
    body_usage::UsageScanner,
    observe::StreamObserver,
    peek::peek,
    rewrite::{BodyBuffer, rewrite, rewrite_copy},
};

/// Content events in the measured streams.
const EVENTS: usize = 30;

criterion_group!(benches, streams, requests, answers);
criterion_main!(benches);

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observe");
    for (name, endpoint, head, event, tail) in [
        (
            "chat",
            Endpoint::ChatCompletions,
            chat_event(r#"{"role":"assistant","content":""}"#),
            chat_event(r#"{"content":" token"}"#),
            "data: [DONE]\n\n",
        ),
        (
            "messages",
            Endpoint::Messages,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9}}}\n\n".into(),
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" token\"}}\n\n".into(),
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        (
            "responses",
            Endpoint::Responses,
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{}}\n\n".into(),
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"item_id\":\"msg_67c9fdcf37fc8190ba82116e33fb28c5\",\"output_index\":0,\"content_index\":0,\"delta\":\" token\"}\n\n".into(),
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n",
        ),
    ] {
        let mut chunks = vec![Bytes::from(head)];
        chunks.extend(std::iter::repeat_n(Bytes::from(event.clone()), EVENTS));
        chunks.push(Bytes::from_static(tail.as_bytes()));
        group.throughput(Throughput::Elements(chunks.len() as u64));
        group.bench_function(format!("{name}/stream"), |bencher| {
            bencher.iter(|| drain(endpoint, &chunks));
        });

        // One content event alone, in a stream under way.
        let content = Bytes::from(event.clone());
        let mut observer = StreamObserver::new(endpoint, true);
        drain_into(&mut observer, &chunks[..2]);
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_function(format!("{name}/event"), |bencher| {
            bencher.iter(|| observer.push(black_box(content.clone())));
        });

        let joined = Bytes::from(chunks.concat());
        let halves: Vec<Bytes> = (0..joined.len())
            .step_by(100)
            .map(|at| joined.slice(at..(at + 100).min(joined.len())))
            .collect();
        group.throughput(Throughput::Elements(EVENTS as u64));
        group.bench_function(format!("{name}/cut every 100 bytes"), |bencher| {
            bencher.iter(|| drain(endpoint, &halves));
        });
    }
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for (name, prompt) in [("small", 60), ("100 KB", 100_000), ("1 MB", 1_000_000)] {
        let body = Bytes::from(format!(
            r#"{{"model":"gpt-4o-mini","stream":true,"max_tokens":100,"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "Some words of a prompt.\\n ".repeat(prompt / 26 + 1)
        ));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("peek/{name}"), |bencher| {
            bencher.iter(|| peek(Endpoint::ChatCompletions, black_box(&body)));
        });
        let Ok(seen) = peek(Endpoint::ChatCompletions, &body) else {
            continue;
        };
        group.bench_function(format!("rewrite/{name}"), |bencher| {
            bencher.iter_batched(
                || {
                    let mut buffer = BodyBuffer::with_capacity(body.len());
                    buffer.extend_from_slice(&body);
                    (buffer, seen.clone())
                },
                |(mut buffer, mut seen)| {
                    rewrite(&mut buffer, &mut seen, Some("provider/model-2025-01-01"), true);
                    (buffer, seen)
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("rewrite_copy/{name}"), |bencher| {
            bencher.iter(|| rewrite_copy(black_box(&body), &seen, Some("provider/model"), true));
        });
    }
    group.finish();
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    let chat = include_bytes!("../src/dialects/fixtures/chat_answer.json").to_vec();
    let numbers = vec!["-0.012345678"; 1_536].join(",");
    let embedding = format!(
        r#"{{"object":"list","data":[{{"index":0,"embedding":[{numbers}]}}],"usage":{{"prompt_tokens":8}}}}"#
    );
    for (name, endpoint, body) in [
        ("chat", Endpoint::ChatCompletions, chat),
        ("embedding", Endpoint::Embeddings, embedding.into_bytes()),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("usage/{name}"), |bencher| {
            bencher.iter(|| {
                let mut scanner = UsageScanner::new(endpoint);
                scanner.push(black_box(&body));
                scanner.finish()
            });
        });
    }
    group.finish();
}

/// An event of about 240 bytes, as OpenAI sends it when usage is asked for.
fn chat_event(delta: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-A1b2C3d4E5f6G7h8I9j0K1l2\",\"object\":\"chat.completion.chunk\",\
         \"created\":1741570283,\"model\":\"gpt-4o-mini-2024-07-18\",\"system_fingerprint\":\
         \"fp_44709d6fcb\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}],\
         \"usage\":null}}\n\n"
    )
}

fn drain(endpoint: Endpoint, chunks: &[Bytes]) -> usize {
    drain_into(&mut StreamObserver::new(endpoint, true), chunks)
}

fn drain_into(observer: &mut StreamObserver, chunks: &[Bytes]) -> usize {
    chunks.iter().filter_map(|chunk| observer.push(chunk.clone())).map(|bytes| bytes.len()).sum()
}
