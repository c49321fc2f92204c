//! Both directions of an HTTP/2 connection are judged alike however they are cut.
//!
//! Input: one byte that says how many sizes follow, the sizes of the pieces, one byte for how much of the rest is
//! what we have sent, and both directions.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::edge::frames::{Abuse, Frames};
use sluicegate_fuzz::pieces;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let Some((&[count, ours], rest)) = input.split_first_chunk() else { return };
    let (sizes, rest) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let (written, read) = rest.split_at(rest.len() * usize::from(ours) / 256);
    // The first bytes of a client's are hard to find.
    let read = if count & 0x80 == 0 { [PREFACE, read].concat() } else { read.to_vec() };
    let whole = judge(std::iter::once(written), std::iter::once(&*read));
    assert_eq!(whole, judge(pieces(written, sizes), pieces(&read, sizes)));
    assert_eq!(whole, judge(written.chunks(1), read.chunks(1)));
});

fn judge<'p>(
    written: impl Iterator<Item = &'p [u8]>,
    mut read: impl Iterator<Item = &'p [u8]>,
) -> (Result<(), Abuse>, bool) {
    let mut frames = Frames::default();
    // What we say ourselves is no foreign bytes.
    written.for_each(|piece| _ = frames.wrote(piece));
    let judged = read.try_for_each(|piece| frames.read(piece));
    (judged, frames.header_for(std::time::Instant::now()).is_some())
}
