//! Splits an event stream into events, for any chunking.
//!
//! Source: "Server-sent events" of the HTML standard, section 9.2: lines end in LF, CR LF or CR; a
//! byte order mark may come first; a blank line ends an event. Where the standard has a reader
//! ignore fields that it does not know, this one reports them: no provider sends any, so such a
//! line means that the bytes are not an event stream.

use std::{borrow::Cow, ops::Range};

use memchr::memchr2;

/// Splits the bytes of one stream.
///
/// The caller keeps the bytes: see [`Splitter::next`].
#[derive(Debug)]
pub struct Splitter {
    limit: usize,
    /// Where the present line starts.
    line_start: usize,
    /// Up to where no line end is.
    scanned: usize,
    /// The last line ended in CR at the end of the buffer: an LF may follow that belongs to it.
    after_cr: bool,
    /// No byte was taken yet: a byte order mark may follow.
    at_start: bool,
    fields: Fields,
}

/// What the lines of an unfinished event held.
#[derive(Debug, Default)]
struct Fields {
    any: bool,
    name: Range<usize>,
    data: Range<usize>,
    data_lines: usize,
}

/// What comes next in a stream. Every `end` counts from the start of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The buffer holds no further step: call again when more bytes came.
    Incomplete,
    /// A comment, or a blank line without an event.
    Blank {
        /// Where it ends.
        end: usize,
    },
    /// One LF, which belongs to the line end of the step before.
    LineFeed,
    /// An event.
    Event(Event),
    /// A line that is none of an event stream. There is no next step.
    UnknownField,
    /// An event, or a line, is longer than the limit.
    TooLong,
}

/// One event. Ranges count from the start of the buffer that it was found in.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it ends, its blank line included.
    pub end: usize,
    /// The value of its last `event` field.
    name: Range<usize>,
    /// The value of its first `data` field.
    data: Range<usize>,
    data_lines: usize,
}

impl Event {
    /// The value of the `event` field, empty when there is none. `buffer` is the one given to
    /// [`Splitter::next`].
    pub fn name<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.name.clone()).unwrap_or_default()
    }

    /// The values of the `data` fields, joined by LF; `None` when there is none.
    pub fn data<'a>(&self, buffer: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match self.data_lines {
            0 => None,
            1 => Some(buffer.get(self.data.clone()).unwrap_or_default().into()),
            _ => {
                let event = buffer.get(..self.end).unwrap_or(buffer);
                let mut joined = Vec::with_capacity(event.len());
                for value in data_values(event) {
                    joined.extend_from_slice(value);
                    joined.push(b'\n');
                }
                joined.pop();
                Some(joined.into())
            }
        }
    }
}

impl Splitter {
    /// A splitter that gives up on an event whose blank line does not end within `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line_start: 0,
            scanned: 0,
            after_cr: false,
            at_start: true,
            fields: Fields::default(),
        }
    }

    /// Whether an event begins with the next byte, and none is looked at yet: who knows it may take it
    /// without [`next`](Self::next).
    #[inline]
    pub fn is_between_events(&self) -> bool {
        !self.fields.any && self.scanned == 0 && !self.after_cr && !self.at_start
    }

    /// The next step in `buffer`.
    ///
    /// `buffer` starts where the last step ended. After [`Step::Incomplete`] it has to hold the
    /// same bytes again, with more behind them. Bytes are looked at once.
    pub fn next(&mut self, buffer: &[u8]) -> Step {
        if self.after_cr {
            let Some(&byte) = buffer.get(self.scanned) else {
                return self.more(buffer);
            };
            self.after_cr = false;
            if byte == b'\n' {
                if self.scanned == 0 {
                    return Step::LineFeed;
                }
                self.scanned += 1;
                self.line_start += 1;
            }
        }
        loop {
            let rest = buffer.get(self.scanned..).unwrap_or_default();
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                self.scanned = buffer.len();
                return self.more(buffer);
            };
            let line_end = self.scanned + length;
            if line_end >= self.limit {
                return Step::TooLong;
            }
            let next = match (buffer[line_end], buffer.get(line_end + 1)) {
                (b'\r', Some(b'\n')) => line_end + 2,
                (b'\r', None) => {
                    self.after_cr = true;
                    line_end + 1
                }
                _ => line_end + 1,
            };
            let line = self.line_start..line_end;
            self.line_start = next;
            self.scanned = next;
            if let Some(step) = self.line(buffer, line, next) {
                return step;
            }
        }
    }

    /// The event that would end if the stream ended with a blank line here.
    pub fn finish(&mut self, buffer: &[u8]) -> Option<Event> {
        let end = buffer.len();
        if self.line_start < end {
            let line = self.line_start..end;
            self.line_start = end;
            if let Some(Step::UnknownField) = self.line(buffer, line, end) {
                return None;
            }
        }
        let fields = std::mem::take(&mut self.fields);
        fields.any.then(|| fields.into_event(end))
    }

    fn more(&self, buffer: &[u8]) -> Step {
        if buffer.len() >= self.limit { Step::TooLong } else { Step::Incomplete }
    }

    /// Takes one line; gives the step that it ends, if any.
    #[inline]
    fn line(&mut self, buffer: &[u8], line: Range<usize>, next: usize) -> Option<Step> {
        let mut start = line.start;
        if self.at_start {
            self.at_start = false;
            start += mark_length(&buffer[line.clone()]);
        }
        let text = &buffer[start..line.end];
        let Some(field) = Field::of_line(text) else {
            return Some(Step::UnknownField);
        };
        match field {
            Field::Blank | Field::Comment if !self.fields.any => {
                self.restart();
                return Some(Step::Blank { end: next });
            }
            Field::Blank => {
                let fields = std::mem::take(&mut self.fields);
                self.restart();
                return Some(Step::Event(fields.into_event(next)));
            }
            Field::Comment => {}
            Field::Data(value) => {
                self.fields.any = true;
                if self.fields.data_lines == 0 {
                    self.fields.data = start + value..line.end;
                }
                self.fields.data_lines += 1;
            }
            Field::Event(value) => {
                self.fields.any = true;
                self.fields.name = start + value..line.end;
            }
            Field::Other => self.fields.any = true,
        }
        None
    }

    fn restart(&mut self) {
        self.line_start = 0;
        self.scanned = 0;
    }

    /// After [`Step::TooLong`]: hands over to who goes on without a whole event.
    pub fn give_up<'a>(&mut self, buffer: &'a [u8]) -> GivenUp<'a> {
        let lines = &buffer[..self.line_start.min(buffer.len())];
        let fields = std::mem::take(&mut self.fields);
        let mark = if self.at_start { mark_length(buffer) } else { 0 };
        let given_up = GivenUp {
            lines,
            name: buffer.get(fields.name).unwrap_or_default(),
            any_field: fields.any,
            any_data: fields.data_lines > 0,
            line_start: self.line_start + mark,
            after_cr: self.after_cr,
        };
        self.at_start = false;
        self.after_cr = false;
        self.restart();
        given_up
    }

    /// Says that the bytes before the next buffer ended in a CR that ended a step.
    pub fn set_after_cr(&mut self, after_cr: bool) {
        self.after_cr = after_cr;
    }

    /// Whether an LF at the start of the next buffer belongs to the step before; asked once.
    pub fn take_after_cr(&mut self) -> bool {
        std::mem::take(&mut self.after_cr)
    }
}

impl Fields {
    fn into_event(self, end: usize) -> Event {
        Event { end, name: self.name, data: self.data, data_lines: self.data_lines }
    }
}

/// The state of an event that is too long.
pub struct GivenUp<'a> {
    /// Its whole lines so far.
    pub lines: &'a [u8],
    pub name: &'a [u8],
    pub any_field: bool,
    pub any_data: bool,
    /// Where the line starts that is not whole yet.
    pub line_start: usize,
    pub after_cr: bool,
}

/// What a line is, with the position of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Blank,
    Comment,
    Data(usize),
    Event(usize),
    /// `id` or `retry`, which say nothing about the answer.
    Other,
}

impl Field {
    #[inline]
    fn of_line(line: &[u8]) -> Option<Self> {
        let value = |name: usize| match line.get(name..) {
            Some([]) => Some(name),
            Some([b':', b' ', ..]) => Some(name + 2),
            Some([b':', ..]) => Some(name + 1),
            _ => None,
        };
        match line {
            [] => Some(Self::Blank),
            [b':', ..] => Some(Self::Comment),
            [b'd', b'a', b't', b'a', ..] => value(4).map(Self::Data),
            [b'e', b'v', b'e', b'n', b't', ..] => value(5).map(Self::Event),
            [b'i', b'd', ..] => value(2).map(|_| Self::Other),
            [b'r', b'e', b't', b'r', b'y', ..] => value(5).map(|_| Self::Other),
            _ => None,
        }
    }
}

/// The values of the `data` fields among whole lines.
pub fn data_values(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = lines.get(mark_length(lines)..).unwrap_or_default();
    // A CR LF gives an empty line more here, which is no data.
    lines.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| {
        match Field::of_line(line) {
            Some(Field::Data(value)) => line.get(value..),
            _ => None,
        }
    })
}

fn mark_length(start: &[u8]) -> usize {
    if start.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a browser would dispatch: name and data of each event.
    type Dispatched = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn split(stream: &[u8], sizes: &[usize]) -> (Dispatched, Vec<u8>, bool) {
        let mut splitter = Splitter::new(1 << 16);
        let mut events = Vec::new();
        let mut comments = Vec::new();
        let mut buffer = Vec::new();
        let mut rest = stream;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = sizes.next().copied().unwrap_or(usize::MAX);
            let (piece, more) = rest.split_at(size.min(rest.len()));
            rest = more;
            buffer.extend_from_slice(piece);
            loop {
                match splitter.next(&buffer) {
                    Step::Incomplete => break,
                    Step::Blank { end } => comments.extend(buffer.drain(..end)),
                    Step::LineFeed => drop(buffer.drain(..1)),
                    Step::Event(event) => {
                        let data = event.data(&buffer).map(Cow::into_owned);
                        events.push((event.name(&buffer).to_vec(), data));
                        buffer.drain(..event.end);
                    }
                    Step::UnknownField | Step::TooLong => return (events, comments, true),
                }
            }
        }
        (events, comments, false)
    }

    fn events(stream: &str) -> Vec<(String, String)> {
        let (events, _, broken) = split(stream.as_bytes(), &[usize::MAX]);
        assert!(!broken, "{stream:?}");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        events
            .into_iter()
            .map(|(name, data)| (text(name), data.map_or("-".to_owned(), text)))
            .collect()
    }

    #[test]
    fn lines_end_in_any_of_three_ways() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = "event: a\ndata: 1\ndata:2\ndata:  3\n\n:x\n\ndata\n\nid: 7\nretry: 5\n\n"
                .replace('\n', end);
            let expected = [("a", "1\n2\n 3"), ("", ""), ("", "-")]
                .map(|(name, data)| (name.to_owned(), data.to_owned()));
            assert_eq!(events(&stream), expected, "{end:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_allowed_first_only() {
        assert_eq!(events("\u{FEFF}data: 1\n\n").len(), 1);
        assert_eq!(events("\u{FEFF}\ndata: 1\n\n").len(), 1);
        assert_eq!(events("\u{FEFF}data: 1\ndata: 2\n\n")[0].1, "1\n2");
        assert!(split("data: 1\n\n\u{FEFF}data: 2\n\n".as_bytes(), &[3]).2);
    }

    #[test]
    fn unknown_fields_are_reported() {
        for line in
            ["dat: 1", "data : 1", "database: 1", "<html>", " data: 1", "{", "idx", "Data: 1"]
        {
            assert!(split(format!("{line}\n\n").as_bytes(), &[usize::MAX]).2, "{line}");
        }
    }

    #[test]
    fn the_limit_counts_up_to_the_blank_line() {
        for (size, fits) in [(20, true), (21, false)] {
            let stream = format!("data: {}\n\n", "x".repeat(size - 8));
            let step = Splitter::new(20).next(stream.as_bytes());
            assert_eq!(matches!(step, Step::Event(_)), fits, "{step:?}");
            assert_eq!(step == Step::TooLong, !fits, "{step:?}");
        }
    }

    #[test]
    fn the_end_of_the_stream_may_end_an_event() {
        for (stream, data) in [
            ("data: 1", Some("1")),
            ("data: 1\r\n", Some("1")),
            (": comment", None),
            ("nonsense", None),
            ("", None),
        ] {
            let mut splitter = Splitter::new(100);
            assert_eq!(splitter.next(stream.as_bytes()), Step::Incomplete);
            let event = splitter.finish(stream.as_bytes());
            let found = event.and_then(|event| event.data(stream.as_bytes()));
            assert_eq!(found.as_deref(), data.map(str::as_bytes), "{stream:?}");
        }
    }

    pub(crate) fn streams() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("data: {\"a\":1}".to_owned()),
            Just("data:x".to_owned()),
            Just("event: ping".to_owned()),
            Just(": comment".to_owned()),
            Just("id: 3".to_owned()),
            Just(String::new()),
            Just(String::new()),
            "[a-z:\u{feff} ]{0,6}",
        ];
        let end = proptest::sample::select(vec!["\n", "\r\n", "\r"]);
        (any::<bool>(), proptest::collection::vec((line, end), 0..12)).prop_map(|(mark, lines)| {
            let mark = if mark { "\u{FEFF}" } else { "" };
            let lines = lines.into_iter().map(|(line, end)| line + end);
            std::iter::once(mark.to_owned()).chain(lines).collect::<String>().into_bytes()
        })
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            stream in streams(),
            sizes in proptest::collection::vec(1_usize..9, 1..6),
        ) {
            let whole = split(&stream, &[usize::MAX]);
            let pieces = split(&stream, &sizes);
            prop_assert_eq!(whole.0, pieces.0);
            prop_assert_eq!(whole.2, pieces.2);
        }

        #[test]
        fn nothing_panics(stream in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _outcome = split(&stream, &[3, 1, 4]);
        }
    }
}
