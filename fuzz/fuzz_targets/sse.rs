//! A stream gives the same outcome however it is cut, and only whole prefixes of it pass.
//!
//! Input: one byte that picks the endpoint and whether usage chunks are removed, one byte that
//! says how many sizes follow, the sizes of the pieces, and the stream.

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

fuzz_target!(|input: &[u8]| {
    let Some((&[pick, count], rest)) = input.split_first_chunk() else {
        return;
    };
    let count = usize::from(count % 16).min(rest.len());
    let (sizes, stream) = rest.split_at(count);
    let endpoint = Endpoint::ALL[usize::from(pick >> 1) % Endpoint::ALL.len()];
    let remove = pick & 1 == 1;

    let whole = observe(endpoint, remove, std::iter::once(stream));
    let pieces = observe(endpoint, remove, pieces(stream, sizes));
    assert_eq!(whole, pieces);
    let bytes = observe(endpoint, remove, stream.chunks(1));
    assert_eq!(whole, bytes);
    if !remove {
        assert!(stream.starts_with(&whole.forwarded));
    }

    let mut scanner = UsageScanner::new(endpoint);
    scanner.push(stream);
    let mut in_pieces = UsageScanner::new(endpoint);
    self::pieces(stream, sizes).for_each(|piece| in_pieces.push(piece));
    assert_eq!(scanner.finish(), in_pieces.finish());
    assert_eq!(scanner.is_complete(), in_pieces.is_complete());
});

#[derive(Debug, PartialEq)]
struct Outcome {
    forwarded: Vec<u8>,
    end: StreamEnd,
    state: Progress,
    usage: Option<Usage>,
    model: Option<String>,
    events: u64,
    content: bool,
    finish_reason: Option<FinishReason>,
    mid_event: bool,
}

fn observe<'a>(
    endpoint: Endpoint,
    remove: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Outcome {
    let mut observer = StreamObserver::new(endpoint, remove);
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
        model: observer.model().map(str::to_owned),
        events: observer.events(),
        content: observer.first_content_seen(),
        finish_reason: observer.finish_reason(),
        mid_event: observer.mid_event(),
    }
}

/// Cuts `stream` into pieces of `sizes`, over and over.
fn pieces<'a>(stream: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = sizes.next().map_or(rest.len(), |&size| usize::from(size) + 1);
        let (piece, more) = rest.split_at(size.min(rest.len()));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}
