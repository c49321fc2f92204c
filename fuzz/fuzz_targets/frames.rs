//! Frames are found however their stream is cut, and mean what the specification says.
//!
//! Input: one byte that says what follows: any bytes, or the headers and payloads of frames, each with its length
//! before it, whose lengths and checksums are right; one that says how many sizes follow, and the sizes of the
//! pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_chat::aws::frame::{Fault, Frames};
use sluicegate_fuzz::pieces;

const LIMIT: usize = 1 << 16;
const NAMES: [&str; 4] = [":event-type", ":message-type", "a", ""];

/// The named headers and the payload of each frame.
type Found = Vec<([Option<String>; 4], Vec<u8>)>;

fuzz_target!(|input: &[u8]| {
    let Some((&[pick, count], rest)) = input.split_first_chunk() else { return };
    let (sizes, rest) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let mut expected = None;
    let stream = if pick & 1 == 0 {
        rest.to_vec()
    } else {
        let (stream, found) = made(rest);
        expected = Some(found);
        stream
    };
    let whole = read(std::iter::once(&*stream));
    assert_eq!(whole, read(pieces(&stream, sizes)));
    assert_eq!(whole, read(stream.chunks(1)));
    if let Some(expected) = expected {
        assert_eq!((whole.0, whole.1.map_err(|fault| fault == Fault::Header)), expected);
    }
});

fn read<'p>(mut pieces: impl Iterator<Item = &'p [u8]>) -> (Found, Result<bool, Fault>) {
    let mut frames = Frames::new(LIMIT);
    let mut found = Vec::new();
    let pushed = pieces.try_for_each(|piece| {
        frames.push(piece, |frame| {
            let headers = NAMES.map(|name| frame.header(name).map(str::to_owned));
            found.push((headers, frame.payload.to_vec()));
            Ok(())
        })
    });
    (found, pushed.map(|()| frames.is_between_frames()))
}

/// Frames of any headers and payloads, and what is to be found in them; an error where headers are malformed.
fn made(mut input: &[u8]) -> (Vec<u8>, (Found, Result<bool, bool>)) {
    let (mut stream, mut found, mut result) = (Vec::new(), Vec::new(), Ok(true));
    while let Some((&[headers, payload], rest)) = input.split_first_chunk() {
        let (headers, rest) = rest.split_at(usize::from(headers).min(rest.len()));
        let (payload, rest) = rest.split_at(usize::from(payload).min(rest.len()));
        input = rest;
        let start = stream.len();
        let length = |length: usize| u32::try_from(length).expect("a short frame").to_be_bytes();
        stream.extend(length(16 + headers.len() + payload.len()));
        stream.extend(length(headers.len()));
        stream.extend(crc32fast::hash(&stream[start..]).to_be_bytes());
        stream.extend_from_slice(headers);
        stream.extend_from_slice(payload);
        stream.extend(crc32fast::hash(&stream[start..]).to_be_bytes());
        match texts(headers) {
            Some(texts) if result.is_ok() => {
                let value = |name: &str| {
                    let (_, text) = texts.iter().find(|(found, _)| found == name.as_bytes())?;
                    String::from_utf8(text.clone()?).ok()
                };
                found.push((NAMES.map(value), payload.to_vec()));
            }
            None if result.is_ok() => result = Err(true),
            _ => {}
        }
    }
    (stream, (found, result))
}

/// The headers, and the text of those that are one.
#[expect(clippy::type_complexity, reason = "for this one place")]
fn texts(mut headers: &[u8]) -> Option<Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let mut found = Vec::new();
    let mut take = |length: usize| {
        let taken;
        (taken, headers) = headers.split_at_checked(length)?;
        Some((taken.to_vec(), headers.is_empty()))
    };
    let mut more = take(0)?;
    while !more.1 {
        let name = take(1)?.0[0];
        let name = take(usize::from(name)).filter(|(name, _)| !name.is_empty())?.0;
        let kind = take(1)?.0[0];
        let length = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            6 | 7 => usize::from(u16::from_be_bytes(take(2)?.0.try_into().ok()?)),
            9 => 16,
            _ => return None,
        };
        more = take(length)?;
        found.push((name, (kind == 7).then(|| more.0.clone())));
    }
    Some(found)
}
