//! Counts HTTP/2 frames that cost us work and carry nothing, and ends connections that are made of them.
//!
//! The `h2` crate bounds what one connection may have at once: streams, header lists, CONTINUATION frames,
//! streams that are reset before they are accepted, streams that it must reset itself. It bounds neither how
//! often a client resets streams that were accepted (CVE-2023-44487), nor PING, SETTINGS, PRIORITY and
//! WINDOW_UPDATE frames, each of which it works off or answers for as long as they come. Pingora has no knob
//! for either, so both are counted here, from the heads of the frames as they pass (RFC 9113 section 4.1).
//!
//! What an honest client sends of these follows from what it gets: it returns windows for the data it has
//! read, and gives up some of the streams that it has begun. So what we send earns it more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113 section 4.1.
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 section 7.
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Streams that a client may reset at once: as many as it may have open. One that is answered to its end
/// earns another.
const RESETS: Allowance =
    Allowance { left: 256, burst: 256, per_second: 16, most: 4_096, at: None };
/// Frames without content.
const FRAMES: Allowance =
    Allowance { left: 2_000, burst: 2_000, per_second: 100, most: 100_000, at: None };
/// What a SETTINGS frame counts for: its answer is the least of it, since it may touch every stream.
const SETTINGS_COST: u64 = 20;
/// What a PING frame counts for: it is answered at once, whatever else there is to do.
const PING_COST: u64 = 8;
/// What each frame of an answer earns: windows of the stream and of the connection, and a PING, since some
/// clients find out with one how far away we are while data comes. With room.
const EARNED: u64 = 12;

/// Why a connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abuse {
    /// The client resets more streams than it lets be answered.
    Resets,
    /// The client sends more frames without content than anybody needs.
    Frames,
    /// The HTTP/2 library had too much of something.
    Calm,
    /// What the client sent is no HTTP/2.
    Protocol,
}

impl Abuse {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Resets, Self::Frames, Self::Calm, Self::Protocol];

    /// The metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Frames => "frames",
            Self::Calm => "enhance_your_calm",
            Self::Protocol => "protocol_error",
        }
    }
}

/// Connections that were ended, by why.
#[derive(Debug, Default)]
pub struct Abuses([AtomicU64; Abuse::ALL.len()]);

impl Abuses {
    /// How many were ended for `why`.
    pub fn count(&self, why: Abuse) -> u64 {
        self.0[why as usize].load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, why: Abuse) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// How far a header list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// There is none.
    None,
    /// Another frame of it must come.
    Open,
    /// It ends with the present frame.
    Last,
}

/// Both directions of one connection.
#[derive(Debug)]
pub struct Frames {
    /// Bytes of the preface that have come. `None`: this is no HTTP/2.
    preface: Option<usize>,
    read: Walker,
    written: Walker,
    resets: Allowance,
    frames: Allowance,
    /// The header list that is under way.
    list: List,
    /// Since when a header list has been without its end.
    header_since: Option<Instant>,
    /// Nothing is looked at from there on.
    abuse: Option<Abuse>,
}

impl Default for Frames {
    /// A connection of which nothing is known yet.
    fn default() -> Self {
        Self {
            preface: Some(0),
            read: Walker::default(),
            written: Walker::default(),
            resets: RESETS,
            frames: FRAMES,
            list: List::None,
            header_since: None,
            abuse: None,
        }
    }
}

impl Frames {
    /// A connection that can't be HTTP/2.
    pub fn none() -> Self {
        Self { preface: None, ..Self::default() }
    }

    /// Whether what the client has sent is no HTTP/2.
    pub fn is_http1(&self) -> bool {
        self.preface.is_none()
    }

    /// Whether the client's preface is here.
    pub fn has_preface(&self) -> bool {
        self.preface == Some(PREFACE.len())
    }

    /// Looks at what the client has sent.
    ///
    /// # Errors
    /// It has sent too much of something: the connection is to end.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Abuse> {
        let Some(seen) = self.preface else { return Ok(()) };
        if seen < PREFACE.len() {
            let n = bytes.len().min(PREFACE.len() - seen);
            self.preface = (bytes[..n] == PREFACE[seen..seen + n]).then_some(seen + n);
            if self.preface.is_none() {
                return Ok(());
            }
            bytes = &bytes[n..];
        }
        let Self { read, resets, frames, list, header_since, abuse, .. } = self;
        if let Some(why) = *abuse {
            return Err(why);
        }
        read.walk(bytes, |head| {
            let within = match head.kind {
                RST_STREAM => resets.spend(1) || note(abuse, Abuse::Resets),
                DATA if head.length > 0 || head.flags & END_STREAM != 0 => true,
                SETTINGS => frames.spend(SETTINGS_COST) || note(abuse, Abuse::Frames),
                PING => frames.spend(PING_COST) || note(abuse, Abuse::Frames),
                HEADERS => true,
                _ => frames.spend(1) || note(abuse, Abuse::Frames),
            };
            if *list == List::Last {
                // This head comes behind it.
                (*list, *header_since) = (List::None, None);
            }
            if matches!(head.kind, HEADERS | CONTINUATION) {
                let last = head.flags & END_HEADERS != 0;
                *list = if last { List::Last } else { List::Open };
            }
            within
        });
        let awaited = match list {
            List::None => false,
            List::Open => true,
            List::Last => read.left > 0,
        };
        *header_since = awaited.then(|| header_since.unwrap_or_else(Instant::now));
        abuse.map_or(Ok(()), Err)
    }

    /// Looks at what we have sent. Returns why, where it says that the connection ends.
    pub fn wrote(&mut self, bytes: &[u8]) -> Option<Abuse> {
        // Our SETTINGS go out before the client's preface is here.
        self.preface?;
        let Self { written, resets, frames, .. } = self;
        written.walk(bytes, |head| {
            if matches!(head.kind, DATA | HEADERS) {
                frames.earn(EARNED);
                resets.earn(u64::from(head.flags & END_STREAM));
            }
            true
        });
        match self.written.went_away.take()? {
            NO_ERROR => None,
            ENHANCE_YOUR_CALM => Some(Abuse::Calm),
            _ => Some(Abuse::Protocol),
        }
    }

    /// For how long a header list has been without its end.
    pub fn header_for(&self, now: Instant) -> Option<Duration> {
        self.header_since.map(|since| now.saturating_duration_since(since))
    }
}

fn note(abuse: &mut Option<Abuse>, why: Abuse) -> bool {
    *abuse = Some(why);
    false
}

/// A token bucket that also fills with what is earned. It asks for the time only when it is empty.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u64,
    /// Up to where time fills it.
    burst: u64,
    per_second: u64,
    /// Up to where earnings fill it.
    most: u64,
    at: Option<Instant>,
}

impl Allowance {
    fn spend(&mut self, cost: u64) -> bool {
        if self.left < cost {
            self.refill(Instant::now());
        }
        match self.left.checked_sub(cost) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }

    /// When it is empty for the first time, nothing is added: it began full.
    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(*self.at.get_or_insert(now)).as_millis();
        let gained =
            u64::try_from(since).unwrap_or(u64::MAX).saturating_mul(self.per_second) / 1000;
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(self.burst);
            self.at = Some(now);
        }
    }

    fn earn(&mut self, more: u64) {
        self.left = (self.left + more).min(self.most);
    }
}

struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

/// Finds the heads of frames in pieces of a stream.
#[derive(Debug, Default)]
struct Walker {
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the present frame's payload that are still to come.
    left: usize,
    /// Of a GOAWAY frame: bytes of its payload so far, and the last four of them.
    going_away: Option<(usize, u32)>,
    /// The code of a GOAWAY frame that has passed.
    went_away: Option<u32>,
}

impl Walker {
    /// Shows each head to `each`, until it says `false`.
    fn walk(&mut self, mut bytes: &[u8], mut each: impl FnMut(&Head) -> bool) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.look_for_code(&bytes[..n]);
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have < HEAD {
                return;
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            self.going_away = (kind == GOAWAY).then_some((0, 0));
            if !each(&Head { length: self.left, kind, flags }) {
                return;
            }
        }
    }

    /// The code is in the second four bytes of a GOAWAY frame (RFC 9113 section 6.8).
    fn look_for_code(&mut self, payload: &[u8]) {
        let Some((seen, code)) = &mut self.going_away else { return };
        for byte in payload.iter().take(8 - *seen) {
            *code = *code << 8 | u32::from(*byte);
            *seen += 1;
        }
        if *seen == 8 {
            self.went_away = Some(*code);
            self.going_away = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn begun() -> Frames {
        let mut frames = Frames::default();
        frames.read(PREFACE).expect("the preface");
        assert!(frames.has_preface());
        frames
    }

    /// How many of `frame` pass.
    fn pass(frames: &mut Frames, frame: &[u8], most: usize) -> usize {
        (0..most).take_while(|_| frames.read(frame).is_ok()).count()
    }

    #[test]
    fn http1_is_not_looked_at() {
        let mut frames = Frames::default();
        frames.read(b"PRI").unwrap();
        assert!(!frames.is_http1() && !frames.has_preface());
        frames.read(b"NT / HTTP/1.1\r\n").unwrap();
        assert!(frames.is_http1());
        assert_eq!(pass(&mut frames, &frame(6, 0, &[0; 8]), 10_000), 10_000);
        assert_eq!(frames.wrote(&frame(GOAWAY, 0, &[0, 0, 0, 0, 0, 0, 0, 11])), None);
    }

    #[test]
    fn floods_end() {
        for (kind, flags, payload) in
            [(6, 0, 8), (SETTINGS, 0, 0), (2, 0, 5), (8, 0, 4), (DATA, 0, 0), (99, 0, 9)]
        {
            let mut frames = begun();
            let passed = pass(&mut frames, &frame(kind, flags, &vec![0; payload]), 100_000);
            let most = match kind {
                SETTINGS => 200,
                PING => 500,
                _ => 4_000,
            };
            assert!(passed < most, "{passed} of kind {kind}");
        }
        let mut frames = begun();
        let reset = [frame(HEADERS, 5, b"x"), frame(RST_STREAM, 0, &[0; 4])].concat();
        assert!((256..500).contains(&pass(&mut frames, &reset, 100_000)));
        assert_eq!(frames.read(&reset), Err(Abuse::Resets));
    }

    #[test]
    fn what_carries_something_is_free_and_answers_earn() {
        let mut frames = begun();
        let request = [frame(HEADERS, 4, b"x"), frame(DATA, 0, b"y"), frame(DATA, 1, b"")].concat();
        assert_eq!(pass(&mut frames, &request, 100_000), 100_000);
        let windows =
            [frame(8, 0, &[0; 4]), frame(8, 0, &[0; 4]), frame(PING, 0, &[0; 8])].concat();
        let answer = frame(DATA, 0, b"event");
        let end = frame(DATA, END_STREAM, b"");
        let reset = frame(RST_STREAM, 0, &[0; 4]);
        for _ in 0..100_000 {
            assert_eq!(frames.wrote(&answer), None);
            assert_eq!(frames.wrote(&end), None);
            frames.read(&windows).expect("windows for what was read");
            frames.read(&reset).expect("as many as are answered");
        }
    }

    #[test]
    fn time_gives_back() {
        let mut allowance = RESETS;
        let start = Instant::now();
        allowance.left = 0;
        allowance.refill(start);
        assert_eq!(allowance.left, 0);
        allowance.refill(start + Duration::from_secs(2));
        assert_eq!(allowance.left, 2 * RESETS.per_second);
        allowance.refill(start + Duration::from_secs(3600));
        assert_eq!(allowance.left, RESETS.burst);
    }

    #[test]
    fn a_header_list_without_an_end_is_known() {
        let mut frames = begun();
        assert!(frames.header_for(Instant::now()).is_none());
        frames.read(&frame(HEADERS, 0, b"x")).unwrap();
        let since = frames.header_since;
        frames.read(&frame(CONTINUATION, 0, b"x")).unwrap();
        assert!(since.is_some() && frames.header_since == since, "pieces do not extend it");
        let last = frame(CONTINUATION, END_HEADERS, b"xyz");
        frames.read(&last[..10]).unwrap();
        assert!(frames.header_since == since, "nor does the last piece before it is whole");
        frames.read(&last[10..]).unwrap();
        assert!(frames.header_since.is_none());
        // Whole lists that are cut by reads are each a list of its own.
        let whole = frame(HEADERS, END_HEADERS, b"xyz");
        frames.read(&whole[..11]).unwrap();
        let first = frames.header_since.expect("the rest is awaited");
        frames.read(&[&whole[11..], &whole[..11]].concat()).unwrap();
        assert!(frames.header_since.is_some_and(|second| second > first));
    }

    proptest! {
        /// Frames are the same however the bytes are cut.
        #[test]
        fn pieces_do_not_matter(
            kinds in prop::collection::vec((0u8..12, 0u8..8, 0usize..40), 1..40),
            cuts in prop::collection::vec(1usize..50, 1..40),
        ) {
            let bytes: Vec<u8> =
                kinds.iter().flat_map(|(kind, flags, n)| frame(*kind, *flags, &vec![7; *n])).collect();
            let mut seen = Vec::new();
            let (mut walker, mut rest, mut cuts) = (Walker::default(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, next) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                walker.walk(piece, |head| {
                    seen.push((head.kind, head.flags, head.length));
                    true
                });
                rest = next;
            }
            prop_assert_eq!(&seen, &kinds);
            let long_goodbye = kinds.iter().any(|(kind, _, n)| *kind == GOAWAY && *n >= 8);
            prop_assert_eq!(walker.went_away, long_goodbye.then_some(0x0707_0707));
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut frames = begun();
            let _ = frames.read(&bytes);
            let _ = frames.wrote(&bytes);
            let _ = Frames::default().read(&bytes);
        }
    }
}
