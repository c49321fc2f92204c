//! A stream gives the same outcome however it is cut, and only whole prefixes of it pass.
//!
//! Input: one byte that picks the endpoint and whether usage chunks are removed, one byte that
//! says how many sizes follow and whether usage is added to, the sizes of the pieces, and the stream.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sluicegate::{
    chat::{FinishReason, Usage},
    dialects::{
        Endpoint,
        body_usage::UsageScanner,
        observe::{Progress, StreamEnd, StreamObserver},
    },
};
use sluicegate_filters::price::ServiceTier;
use sluicegate_fuzz::pieces;

fuzz_target!(|input: &[u8]| {
    let Some((&[pick, count], rest)) = input.split_first_chunk() else {
        return;
    };
    let annotate = count & 0x80 != 0;
    let count = usize::from(count % 16).min(rest.len());
    let (sizes, stream) = rest.split_at(count);
    let endpoint = Endpoint::ALL[usize::from(pick >> 1) % Endpoint::ALL.len()];
    let remove = pick & 1 == 1;
    let setting = (endpoint, remove, annotate);

    let whole = observe(setting, std::iter::once(stream));
    let cut = observe(setting, pieces(stream, sizes));
    assert_eq!(whole, cut);
    let bytes = observe(setting, stream.chunks(1));
    assert_eq!(whole, bytes);
    if !remove && !annotate {
        assert!(stream.starts_with(&whole.forwarded));
    }

    let mut scanner = UsageScanner::new(endpoint);
    scanner.push(stream);
    let mut in_pieces = UsageScanner::new(endpoint);
    pieces(stream, sizes).for_each(|piece| in_pieces.push(piece));
    assert_eq!(scanner.finish(), in_pieces.finish());
    assert_eq!(scanner.tier(), in_pieces.tier());
    assert_eq!(scanner.is_complete(), in_pieces.is_complete());
});

#[derive(Debug, PartialEq)]
struct Outcome {
    forwarded: Vec<u8>,
    end: StreamEnd,
    state: Progress,
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
    counts: (u64, u64),
    model: Option<String>,
    events: u64,
    content: bool,
    finish_reason: Option<FinishReason>,
    mid_event: bool,
}

fn observe<'a>(
    (endpoint, remove, annotate): (Endpoint, bool, bool),
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Outcome {
    let mut observer = StreamObserver::new(endpoint, remove);
    if annotate {
        observer = observer.with_annotation(Box::new(|_, tier| format!("\"tier\":\"{tier:?}\"")));
    }
    let mut forwarded = Vec::new();
    for piece in pieces {
        if let Some(bytes) = observer.push(Bytes::copy_from_slice(piece)) {
            assert!(!bytes.is_empty());
            forwarded.extend_from_slice(&bytes);
        }
    }
    let finish = observer.finish();
    forwarded.extend(finish.rest.into_iter().flatten());
    Outcome {
        forwarded,
        end: finish.end,
        state: observer.state(),
        usage: observer.usage(),
        tier: observer.tier(),
        counts: observer.counts(),
        model: observer.model().map(str::to_owned),
        events: observer.events(),
        content: observer.first_content_seen(),
        finish_reason: observer.finish_reason(),
        mid_event: observer.mid_event(),
    }
}
