//! One line, and how it hangs on the one before.
//!
//! A line is a JSON object that ends in `"prev":"<hash>","hash":"<hash>"}` and a line feed. `hash` is
//! the SHA-256 of the line's bytes before `,"hash"`, so it covers `prev`, which is the hash of the line
//! before. The first line of a file has a `prev` of zeros. `seq` counts from 1 in each file.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, Write};
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of a line, its line feed included. Ours are much shorter; what is longer is not ours.
pub(super) const MAX_LINE: usize = 128 * 1024;

const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}";
/// Bytes that a line's own hash takes at its end.
const SEAL: usize = BEFORE_HASH.len() + 64 + AFTER_HASH.len();

/// A line's hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LineHash([u8; 32]);

/// Not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits in lower case, as in the member `hash` of a line")]
pub struct NotAHash;

/// The chain of one file, up to some line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The last line's number; 0 before the first.
    pub seq: u64,
    /// The last line's hash.
    pub last: LineHash,
}

/// What every line has. The rest is read by kind.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'a> {
    pub seq: u64,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    pub prev: LineHash,
    pub hash: LineHash,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("is longer than any line of this log")]
    TooLong,
    #[error("does not end in a hash: cut, changed, or not of this log")]
    Unsealed,
    #[error("was changed: its hash is not that of its content")]
    Changed,
    #[error("is sealed but not a record of this log")]
    Malformed,
    #[error("has number {found} where {due} is due: lines are missing, added or in another order")]
    OutOfOrder { due: u64, found: u64 },
    #[error("does not follow the line before it: its `prev` is another line's hash")]
    Unlinked,
}

impl Chain {
    /// Appends the line that says `body` to `out`. `body` must serialise to an object with members.
    ///
    /// # Errors
    /// `body` can't be serialised; `out` is as before.
    pub fn seal(
        &mut self,
        out: &mut Vec<u8>,
        at_ms: i64,
        body: &impl Serialize,
    ) -> Result<(), serde_json::Error> {
        let body = serde_json::to_vec(body)?;
        let members = body.get(1..body.len().saturating_sub(1)).unwrap_or_default();
        let (start, seq) = (out.len(), self.seq + 1);
        // Writing to memory does not fail.
        write!(out, "{{\"seq\":{seq},\"time\":\"{:.3}\",", timestamp(at_ms)).ok();
        out.extend_from_slice(members);
        write!(out, ",\"prev\":\"{}\"", self.last).ok();
        let hash = LineHash(Sha256::digest(&out[start..]).into());
        out.extend_from_slice(BEFORE_HASH);
        write!(out, "{hash}").ok();
        out.extend_from_slice(AFTER_HASH);
        out.push(b'\n');
        *self = Self { seq, last: hash };
        Ok(())
    }

    /// Whether `line` is the one that comes next.
    ///
    /// # Errors
    /// It is not.
    pub fn precedes(&self, line: &Head<'_>) -> Result<(), Flaw> {
        if line.seq != self.seq + 1 {
            return Err(Flaw::OutOfOrder { due: self.seq + 1, found: line.seq });
        }
        if line.prev != self.last {
            return Err(Flaw::Unlinked);
        }
        Ok(())
    }
}

impl<'a> Head<'a> {
    /// Reads a line without its line feed, if it is what was sealed.
    ///
    /// # Errors
    /// It is not.
    pub fn read(line: &'a [u8]) -> Result<Self, Flaw> {
        if line.len() > MAX_LINE {
            return Err(Flaw::TooLong);
        }
        let (content, hash) = unseal(line).ok_or(Flaw::Unsealed)?;
        if Sha256::digest(content)[..] != hash.0 {
            return Err(Flaw::Changed);
        }
        let head: Self = serde_json::from_slice(line).map_err(|_| Flaw::Malformed)?;
        // Lest a member further in should be taken for the seal.
        if head.hash == hash { Ok(head) } else { Err(Flaw::Malformed) }
    }

    /// The line as the end of a chain.
    pub fn chain(&self) -> Chain {
        Chain { seq: self.seq, last: self.hash }
    }

    /// When, in milliseconds since the epoch.
    pub fn at_ms(&self) -> Option<i64> {
        self.time.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
    }
}

/// Whether what a file ends in may be the beginning of a line whose writer died: it is no whole line
/// with something behind it.
pub(super) fn is_torn(rest: &[u8]) -> bool {
    let after = memchr::memmem::find_iter(rest, BEFORE_HASH).map(|at| at + SEAL);
    rest.len() <= MAX_LINE && after.into_iter().all(|end| end >= rest.len())
}

fn unseal(line: &[u8]) -> Option<(&[u8], LineHash)> {
    let (content, seal) = line.split_at_checked(line.len().checked_sub(SEAL)?)?;
    let hash = seal.strip_prefix(BEFORE_HASH)?.strip_suffix(AFTER_HASH)?;
    Some((content, std::str::from_utf8(hash).ok()?.parse().ok()?))
}

fn timestamp(at_ms: i64) -> Timestamp {
    let end = if at_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at_ms).unwrap_or(end)
}

/// Reads a file's lines without ever holding more than one, nor more than [`MAX_LINE`] of it.
pub(super) struct Lines<R>(pub R);

/// A piece of a file between line feeds.
pub(super) enum Piece {
    /// A line without its line feed.
    Line(Vec<u8>),
    /// What comes behind the last line feed.
    Rest(Vec<u8>),
    /// A line that is too long, whose content was passed over.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn next(&mut self) -> std::io::Result<Option<Piece>> {
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let block = self.0.fill_buf()?;
            let end = memchr::memchr(b'\n', block);
            let used = end.map_or(block.len(), |end| end + 1);
            let nothing = block.is_empty();
            if line.len() + used > MAX_LINE {
                too_long = true;
                line.clear();
            } else {
                line.extend_from_slice(&block[..end.unwrap_or(used)]);
            }
            self.0.consume(used);
            if too_long && (nothing || end.is_some()) {
                return Ok(Some(Piece::TooLong));
            }
            if end.is_some() {
                return Ok(Some(Piece::Line(line)));
            }
            if nothing {
                return Ok((!line.is_empty()).then_some(Piece::Rest(line)));
            }
        }
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte)]);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for LineHash {
    type Err = NotAHash;

    /// Only as it is written: two texts never stand for one hash.
    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAHash),
        };
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() {
            return Err(NotAHash);
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for LineHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

impl From<LineHash> for String {
    fn from(hash: LineHash) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn lines(texts: &[&str]) -> Vec<Vec<u8>> {
        let mut chain = Chain::default();
        let seal = |text: &&str| {
            let mut out = Vec::new();
            chain.seal(&mut out, 1_764_000_000_123, &json!({"kind": "x", "text": text})).unwrap();
            assert_eq!(out.pop(), Some(b'\n'));
            out
        };
        texts.iter().map(seal).collect()
    }

    #[test]
    fn a_line_is_sealed_as_documented() {
        let lines = lines(&["a", "b"]);
        let line = std::str::from_utf8(&lines[0]).unwrap();
        let zeros = "0".repeat(64);
        let (content, seal) = line.rsplit_once(",\"hash\":\"").unwrap();
        let expected = format!(
            r#"{{"seq":1,"time":"2025-11-24T16:00:00.123Z","kind":"x","text":"a","prev":"{zeros}""#
        );
        assert_eq!(content, expected);
        let hash = LineHash(Sha256::digest(content).into());
        assert_eq!(seal, format!("{hash}\"}}"));
        let (first, second) = (Head::read(&lines[0]).unwrap(), Head::read(&lines[1]).unwrap());
        assert_eq!((second.seq, second.prev, first.at_ms()), (2, hash, Some(1_764_000_000_123)));
        assert_eq!(first.chain().precedes(&second), Ok(()));
        assert_eq!(second.chain().precedes(&first), Err(Flaw::OutOfOrder { due: 3, found: 1 }));
    }

    #[test]
    fn a_seal_within_is_not_the_seal() {
        // A resealed line whose JSON says another hash than its end does.
        let mut line = br#"{"seq":1,"time":"t","kind":"x","prev":""#.to_vec();
        line.extend_from_slice("0".repeat(64).as_bytes());
        line.extend_from_slice(b"\",\"more\":{\"a\":1");
        let hash = LineHash(Sha256::digest(&line).into());
        line.extend_from_slice(format!(",\"hash\":\"{hash}\"}}").as_bytes());
        assert_eq!(Head::read(&line).unwrap_err(), Flaw::Malformed);
    }

    #[test]
    fn only_a_beginning_is_torn() {
        let line = lines(&["a"]).remove(0);
        for end in 0..=line.len() {
            assert!(is_torn(&line[..end]), "{end}");
        }
        let mut longer = line;
        longer.push(b'x');
        assert!(!is_torn(&longer));
        assert!(!is_torn(&vec![b'x'; MAX_LINE + 1]));
    }

    proptest! {
        #[test]
        fn every_change_of_a_byte_shows(
            text in any::<String>(),
            at in any::<prop::sample::Index>(),
            change in 1u8..=255,
        ) {
            let mut line = lines(&[&text]).remove(0);
            prop_assert!(Head::read(&line).is_ok());
            let at = at.index(line.len());
            line[at] ^= change;
            prop_assert!(Head::read(&line).is_err());
        }

        #[test]
        fn lines_are_split_at_line_feeds_whatever_they_hold(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            capacity in 1usize..50,
        ) {
            let mut lines = Lines(std::io::BufReader::with_capacity(capacity, &bytes[..]));
            let mut joined = Vec::new();
            while let Some(piece) = lines.next().unwrap() {
                match piece {
                    Piece::Line(line) => joined.extend([line, vec![b'\n']].concat()),
                    Piece::Rest(rest) => joined.extend(rest),
                    Piece::TooLong => panic!("none is"),
                }
            }
            prop_assert_eq!(joined, bytes);
        }
    }

    #[test]
    fn a_long_line_is_passed_over() {
        let bytes = [&vec![b'x'; 3 * MAX_LINE][..], b"\nshort\n"].concat();
        let mut lines = Lines(std::io::BufReader::new(&bytes[..]));
        assert!(matches!(lines.next().unwrap(), Some(Piece::TooLong)));
        assert!(matches!(lines.next().unwrap(), Some(Piece::Line(line)) if line == b"short"));
        assert!(lines.next().unwrap().is_none());
    }
}
