//! Frames of `application/vnd.amazon.eventstream`: bytes to messages, for any chunking.
//!
//! Source: "Amazon Event Stream specification", <https://smithy.io/2.0/aws/amazon-eventstream.html>. All numbers are
//! big-endian, both checksums are CRC-32 as in gzip.
//!
//! ```text
//! total length (4)  headers' length (4)  checksum of these 8 bytes (4)
//! headers  payload  checksum of all before (4)
//! ```

/// The lengths and their checksum.
const PRELUDE: usize = 12;

/// The checksum at the end.
const CHECKSUM: usize = 4;

/// Why bytes are no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The lengths do not have the checksum that they should.
    #[error("the lengths of a frame are corrupted")]
    Prelude,
    /// The frame does not have the checksum that it should.
    #[error("a frame is corrupted")]
    Message,
    /// The lengths contradict each other.
    #[error("the lengths of a frame contradict each other")]
    Lengths,
    /// A header is cut, or of a type that does not exist.
    #[error("a header of a frame is malformed")]
    Header,
    /// The frame is longer than the limit.
    #[error("a frame is too long")]
    TooLong,
}

/// Splits a stream into frames. Keeps no more than one incomplete frame.
#[derive(Debug)]
pub struct Frames {
    limit: usize,
    /// The bytes of the frame that is still arriving.
    held: Vec<u8>,
}

impl Frames {
    /// At the start of a stream, with the length of the longest frame that is taken.
    pub fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new() }
    }

    /// Takes the next bytes; gives the frames that are complete to `each`. After an error there is no next frame.
    pub fn push<E: From<Fault>>(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.held.is_empty() {
            let used = self.split_all(chunk, &mut each)?;
            self.held.extend_from_slice(&chunk[used..]);
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(chunk);
        let used = self.split_all(&held, &mut each)?;
        held.drain(..used);
        self.held = held;
        Ok(())
    }

    fn split_all<E: From<Fault>>(
        &self,
        buffer: &[u8],
        each: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        while let Some((frame, length)) = split(&buffer[used..], self.limit)? {
            each(frame)?;
            used += length;
        }
        Ok(used)
    }

    /// Whether the stream ends between frames here.
    pub fn is_between_frames(&self) -> bool {
        self.held.is_empty()
    }
}

/// One frame, whose checksums and headers have been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'f> {
    headers: &'f [u8],
    /// What it carries.
    pub payload: &'f [u8],
}

impl<'f> Frame<'f> {
    /// The value of the first header of this name, if it is a string.
    pub fn header(&self, name: &str) -> Option<&'f str> {
        let mut rest = self.headers;
        while !rest.is_empty() {
            let (found, value, behind) = header(rest)?;
            if found == name.as_bytes() {
                return match value {
                    Value::Text(text) => std::str::from_utf8(text).ok(),
                    Value::Other => None,
                };
            }
            rest = behind;
        }
        None
    }
}

/// The frame at the start of a buffer and its length. `None`: it is not complete.
fn split(buffer: &[u8], limit: usize) -> Result<Option<(Frame<'_>, usize)>, Fault> {
    let Some(prelude) = buffer.first_chunk::<PRELUDE>() else { return Ok(None) };
    let [t0, t1, t2, t3, h0, h1, h2, h3, c0, c1, c2, c3] = *prelude;
    if crc32fast::hash(&prelude[..8]) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err(Fault::Prelude);
    }
    let total = usize::try_from(u32::from_be_bytes([t0, t1, t2, t3])).unwrap_or(usize::MAX);
    let headers = usize::try_from(u32::from_be_bytes([h0, h1, h2, h3])).unwrap_or(usize::MAX);
    if total > limit {
        return Err(Fault::TooLong);
    }
    let body = total.checked_sub(PRELUDE + CHECKSUM).ok_or(Fault::Lengths)?;
    if headers > body {
        return Err(Fault::Lengths);
    }
    let Some(frame) = buffer.get(..total) else { return Ok(None) };
    let Some((content, checksum)) = frame.split_last_chunk::<CHECKSUM>() else {
        return Err(Fault::Lengths);
    };
    if crc32fast::hash(content) != u32::from_be_bytes(*checksum) {
        return Err(Fault::Message);
    }
    let (headers, payload) = content[PRELUDE..].split_at(headers);
    let mut rest = headers;
    while !rest.is_empty() {
        rest = header(rest).ok_or(Fault::Header)?.2;
    }
    Ok(Some((Frame { headers, payload }, total)))
}

enum Value<'f> {
    Text(&'f [u8]),
    /// Of a type that no event stream of a dialect uses.
    Other,
}

/// The first header's name and value, and the bytes behind it.
fn header(bytes: &[u8]) -> Option<(&[u8], Value<'_>, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let (&kind, rest) = rest.split_first()?;
    let fixed = match kind {
        // True and false.
        0 | 1 => 0,
        // A byte, a short, an integer, a long, a timestamp, a UUID.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        // Bytes and strings, which tell their length.
        6 | 7 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let value = if kind == 7 { Value::Text(value) } else { Value::Other };
            return (!name.is_empty()).then_some((name, value, rest));
        }
        _ => return None,
    };
    let (_, rest) = rest.split_at_checked(fixed)?;
    (!name.is_empty()).then_some((name, Value::Other, rest))
}

/// Appends a frame with headers that are strings. Names longer than 255 bytes and values longer than 65,535 are cut, which a
/// reader finds out.
pub fn write(headers: &[(&str, &str)], payload: &[u8], out: &mut Vec<u8>) {
    let mut block = Vec::new();
    for (name, value) in headers {
        let name = &name.as_bytes()[..name.len().min(usize::from(u8::MAX))];
        let value = &value.as_bytes()[..value.len().min(usize::from(u16::MAX))];
        block.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        block.extend_from_slice(name);
        block.push(7);
        block.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        block.extend_from_slice(value);
    }
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let start = out.len();
    out.extend_from_slice(&length(PRELUDE + block.len() + payload.len() + CHECKSUM));
    out.extend_from_slice(&length(block.len()));
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&block);
    out.extend_from_slice(payload);
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    type Read = Vec<(Vec<Option<String>>, Vec<u8>)>;

    /// What comes out of pieces: the values of the headers `names`, and the payload of each frame.
    fn read<'p>(
        pieces: impl IntoIterator<Item = &'p [u8]>,
        names: &[&str],
    ) -> Result<(Read, bool), Fault> {
        let mut frames = Frames::new(LIMIT);
        let mut found = Vec::new();
        for piece in pieces {
            frames.push(piece, |frame| {
                let values = names.iter().map(|name| frame.header(name).map(str::to_owned));
                found.push((values.collect(), frame.payload.to_vec()));
                Ok::<_, Fault>(())
            })?;
        }
        Ok((found, frames.is_between_frames()))
    }

    fn of_hex(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    /// The headers that the frames of Amazon's tests have, one of each type.
    const ALL_HEADERS: &str = "000000960000007a8bb495fb0474727565000566616c73650104627974650232\
        0573686f7274034e2003696e74040007a120046c6f6e67050000000ba43b740005627974657306000a736f6d6520\
        627974657303737472070008736f6d65207374720474696d6508000000012a05f200047575696409b79bc914de21\
        4e13b8b2bc47e85b7f0b736f6d65207061796c6f616401a05860";

    /// Frames of the tests that come with Amazon's own reader, in the crate `aws-smithy-eventstream`.
    #[test]
    fn amazons_frames_are_read() {
        let all = of_hex(ALL_HEADERS);
        let (found, _) = read([&*all], &["str", "true", "uuid", "other"]).unwrap();
        let values = vec![Some("some str".to_owned()), None, None, None];
        assert_eq!(found, [(values, b"some payload".to_vec())]);
        let none =
            of_hex("0000002400000000516356ad616e6f746865722074657374207061796c6f61648df80e65");
        assert_eq!(read([&*none], &[]).unwrap().0, [(vec![], b"another test payload".to_vec())]);
        let empty = of_hex("0000001f0000000f172dc2ab0b736f6d652d6865616465720301f4933c5cad");
        assert_eq!(read([&*empty], &["some-header"]).unwrap().0, [(vec![None], vec![])]);
    }

    #[test]
    fn amazons_broken_frames_are_refused() {
        let whole = ALL_HEADERS;
        for (broken, fault) in [
            (whole.replace("8bb495fb", "deadbeef"), Fault::Prelude),
            (whole.replace("01a05860", "deadbeef"), Fault::Message),
        ] {
            assert_eq!(read([&*of_hex(&broken)], &[]), Err(fault));
        }
        for headers in [
            // Longer than its bytes, of an unknown type, without a name.
            "0373747207ffff78",
            "03737472600001",
            "0007000178",
            "0373747207",
            "05",
        ] {
            let headers = of_hex(headers);
            let mut frame = Vec::new();
            write(&[], &headers, &mut frame);
            // What was the payload is headers now.
            let count = u32::try_from(headers.len()).unwrap().to_be_bytes();
            frame[4..8].copy_from_slice(&count);
            let checksum = crc32fast::hash(&frame[..8]).to_be_bytes();
            frame[8..12].copy_from_slice(&checksum);
            let end = frame.len() - 4;
            let checksum = crc32fast::hash(&frame[..end]).to_be_bytes();
            frame[end..].copy_from_slice(&checksum);
            assert_eq!(read([&*frame], &[]), Err(Fault::Header), "{headers:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let prelude = |total: u32, headers: u32| {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            let checksum = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&checksum.to_be_bytes());
            bytes
        };
        let limit = u32::try_from(LIMIT).unwrap();
        assert_eq!(read([&*prelude(limit + 1, 0)], &[]), Err(Fault::TooLong));
        assert_eq!(read([&*prelude(u32::MAX, u32::MAX)], &[]), Err(Fault::TooLong));
        assert_eq!(read([&*prelude(limit, 0)], &[]), Ok((vec![], false)));
        assert_eq!(read([&*prelude(15, 0)], &[]), Err(Fault::Lengths));
        assert_eq!(read([&*prelude(20, 5)], &[]), Err(Fault::Lengths));
        assert_eq!(read([&*prelude(0, 0)], &[]), Err(Fault::Lengths));
    }

    /// Headers and a payload.
    type Written = (Vec<(String, String)>, Vec<u8>);

    fn frames() -> impl Strategy<Value = Vec<Written>> {
        let header = ("[a-z:-]{1,12}", ".{0,20}");
        let frame = (
            proptest::collection::vec(header, 0..4),
            proptest::collection::vec(any::<u8>(), 0..64),
        );
        proptest::collection::vec(frame, 1..5)
    }

    fn written(frames: &[Written]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (headers, payload) in frames {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            write(&headers, payload, &mut bytes);
        }
        bytes
    }

    proptest! {
        #[test]
        fn frames_lead_back_however_they_are_cut(
            frames in frames(),
            sizes in proptest::collection::vec(1_usize..40, 1..20),
        ) {
            let bytes = written(&frames);
            let mut rest = &*bytes;
            let mut sizes = sizes.iter().cycle();
            let pieces = std::iter::from_fn(|| {
                let (piece, more) = rest.split_at((*sizes.next()?).min(rest.len()));
                rest = more;
                (!piece.is_empty()).then_some(piece)
            });
            let names: Vec<&str> = frames
                .iter()
                .flat_map(|(headers, _)| headers.iter().map(|(name, _)| name.as_str()))
                .collect();
            let (found, between) = read(pieces, &names).unwrap();
            prop_assert!(between);
            let expected: Read = frames
                .iter()
                .map(|(headers, payload)| {
                    let values = names.iter().map(|name| {
                        let found = headers.iter().find(|(found, _)| found == name);
                        found.map(|(_, value)| value.clone())
                    });
                    (values.collect(), payload.clone())
                })
                .collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_flipped_bit_passes(frames in frames(), at: prop::sample::Index, bit in 0_u8..8) {
            let mut bytes = written(&frames);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            // A longer length, whose checksum is wrong, is found out before more is waited for.
            prop_assert!(read([&*bytes], &[]).is_err());
        }

        #[test]
        fn a_cut_stream_ends_within_a_frame(frames in frames(), at: prop::sample::Index) {
            let bytes = written(&frames);
            let at = at.index(bytes.len());
            let (found, between) = read([&bytes[..at]], &[]).unwrap();
            prop_assert!(found.len() < frames.len());
            let whole: usize = frames[..found.len()].iter().map(|f| written(std::slice::from_ref(f)).len()).sum();
            prop_assert_eq!(between, whole == at);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = read([&*bytes], &[]);
            let single = read(bytes.chunks(1), &[]);
            prop_assert_eq!(whole, single);
        }
    }
}
