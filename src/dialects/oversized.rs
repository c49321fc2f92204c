//! Follows an event that is too long to be held.
//!
//! Its bytes pass as they come. What matters in it is picked up on the way, so that the usage of
//! a long last event still counts. Every decision depends on a byte's position in the stream and
//! never on how the stream was cut.

use memchr::memchr2;
use sluicegate_chat::split::{GivenUp, data_values};

use super::scan::{Found, JsonScan};

/// The longest name that is kept of an `event` field seen before the event was given up on.
const MAX_NAME: usize = 64;

/// An event on its way through.
#[derive(Debug)]
pub(super) struct Oversized {
    line: Line,
    after_cr: bool,
    any_field: bool,
    any_data: bool,
    /// The `event` field, if it came within the part that was held.
    name: Vec<u8>,
    scan: JsonScan,
}

/// Where in a line the next byte is.
#[derive(Debug)]
enum Line {
    /// In the field's name.
    Name { bytes: [u8; 5], length: usize },
    /// In the value of a `data` field.
    Data,
    /// In a comment, or in the value of another field.
    Ignored,
}

impl Line {
    const START: Self = Self::Name { bytes: [0; 5], length: 0 };
}

/// How far [`Oversized::push`] came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The end of the bytes; the event goes on.
    End,
    /// The end of the event, or of a comment outside an event. Counts the bytes taken.
    Blank { used: usize },
    /// A byte that makes the line none of an event stream. Counts the bytes before it.
    UnknownField { used: usize },
}

impl Oversized {
    pub(super) fn new(given_up: &GivenUp<'_>) -> Self {
        let mut scan = JsonScan::default();
        for value in data_values(given_up.lines) {
            scan.push(value);
            scan.push(b"\n");
        }
        Self {
            line: Line::START,
            after_cr: given_up.after_cr,
            any_field: given_up.any_field,
            any_data: given_up.any_data,
            name: given_up.name[..given_up.name.len().min(MAX_NAME)].to_vec(),
            scan,
        }
    }

    /// Whether there was a `data` field.
    pub(super) fn has_data(&self) -> bool {
        self.any_data
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// What was found in the data; `None` when it is not one JSON object.
    pub(super) fn found(&self) -> Option<&Found> {
        self.scan.is_complete().then(|| self.scan.found())
    }

    /// Takes the next bytes, up to the end of the event.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Reached {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                at += 1;
                continue;
            }
            match &mut self.line {
                Line::Name { bytes, length } => match byte {
                    b'\n' | b'\r' if *length == 0 => return Reached::Blank { used: at + 1 },
                    b'\n' | b'\r' | b':' => {
                        let name = &bytes[..*length];
                        match name {
                            b"" => {}
                            b"data" => self.any_data = true,
                            b"event" | b"id" | b"retry" => {}
                            _ => return Reached::UnknownField { used: at },
                        }
                        self.any_field |= *length > 0;
                        self.line = match (byte, name) {
                            (b':', b"data") => Line::Data,
                            (b':', _) => Line::Ignored,
                            _ => Line::START,
                        };
                        self.after_cr = byte == b'\r';
                        at += 1;
                    }
                    _ => {
                        let Some(room) = bytes.get_mut(*length) else {
                            return Reached::UnknownField { used: at };
                        };
                        *room = byte;
                        *length += 1;
                        at += 1;
                    }
                },
                Line::Data | Line::Ignored => {
                    let is_data = matches!(self.line, Line::Data);
                    let rest = &bytes[at..];
                    let length = memchr2(b'\n', b'\r', rest);
                    if is_data {
                        // A space behind the colon is white space in JSON as well.
                        self.scan.push(&rest[..length.unwrap_or(rest.len())]);
                    }
                    let Some(length) = length else {
                        return Reached::End;
                    };
                    if is_data {
                        self.scan.push(b"\n");
                    }
                    self.line = Line::START;
                    at += length + 1;
                    if !self.any_field {
                        return Reached::Blank { used: at };
                    }
                    self.after_cr = rest[length] == b'\r';
                }
            }
        }
        Reached::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up(lines: &[u8]) -> GivenUp<'_> {
        GivenUp {
            lines,
            name: b"",
            any_field: !lines.is_empty(),
            any_data: !lines.is_empty(),
            line_start: lines.len(),
            after_cr: false,
        }
    }

    #[test]
    fn data_is_joined_over_lines_and_pieces() {
        for end in ["\n", "\r\n", "\r"] {
            let lines = format!("data: {{\"type\":{end}");
            let rest =
                format!("data:\"x\"{end}: note{end}id: 3{end}data: ,\"usage\":{{}}}}{end}{end}");
            let mut event = Oversized::new(&given_up(lines.as_bytes()));
            let mut reached = Reached::End;
            for byte in rest.bytes() {
                reached = event.push(&[byte]);
                if reached != Reached::End {
                    break;
                }
            }
            assert_eq!(reached, Reached::Blank { used: 1 }, "{end:?}");
            let found = event.found().map(|found| (found.kind.clone(), found.usage.clone()));
            assert_eq!(found, Some((Some(b"\"x\"".to_vec()), Some(b"{}".to_vec()))));
        }
    }

    #[test]
    fn a_long_comment_ends_with_its_line() {
        let mut event = Oversized::new(&given_up(b""));
        assert_eq!(event.push(b": long"), Reached::End);
        assert_eq!(event.push(b"er\ndata: 1"), Reached::Blank { used: 3 });
        assert!(!event.has_data());
    }

    #[test]
    fn unknown_fields_are_found_at_one_position() {
        for (bytes, used) in [("dat: 1", 3), ("database", 5), ("retry7", 5), ("x\n", 1)] {
            let whole = Oversized::new(&given_up(b"data: 1\n")).push(bytes.as_bytes());
            assert_eq!(whole, Reached::UnknownField { used }, "{bytes}");
        }
    }
}
