//! Takes a file of policies apart, before Cedar reads any of them.
//!
//! Each policy is then read alone, so that one mistake hides no other and every policy's place is
//! known. Cedar's parser and what it builds are recursive, so what could exhaust the stack is
//! refused here.

/// Bytes of one policy, at most.
pub(super) const MAX_POLICY_BYTES: usize = 64 * 1024;
/// Brackets within brackets, at most.
pub(super) const MAX_NESTING: usize = 32;
/// Operators of one policy, at most: a chain of them is a tree as deep.
pub(super) const MAX_OPERATORS: usize = 1000;

/// The text of one policy, from the end of the one before it to its semicolon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    /// Where the text begins in the file, in bytes.
    pub(super) offset: usize,
    /// Where the policy begins in the file: the first byte that is neither white space nor comment.
    pub(super) start: usize,
    /// Why it is not even tried.
    pub(super) excess: Option<&'static str>,
}

/// The policies of a file, in their order.
///
/// The words are Cedar's: a comment runs from `//` to the end of its line, a string between quotes
/// with `\` escaping one character. Outside both, a semicolon ends a policy and is nothing else.
pub(super) fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut scan = Scan::default();
    let mut offset = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match char {
            '/' if chars.peek().is_some_and(|(_, next)| *next == '/') => {
                while chars.next_if(|(_, char)| !matches!(char, '\n' | '\r')).is_some() {}
                continue;
            }
            '"' => {
                while let Some((_, char)) = chars.next() {
                    match char {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            char if char.is_whitespace() => continue,
            _ => {}
        }
        scan.see(at, char);
        if char == ';' {
            pieces.push(scan.piece(text, offset, at + 1));
            (scan, offset) = (Scan::default(), at + 1);
        }
    }
    if scan.start.is_some() {
        pieces.push(scan.piece(text, offset, text.len()));
    }
    pieces
}

/// What has been seen of one policy.
#[derive(Default)]
struct Scan {
    start: Option<usize>,
    nesting: usize,
    deepest: usize,
    operators: usize,
}

impl Scan {
    fn see(&mut self, at: usize, char: char) {
        self.start.get_or_insert(at);
        match char {
            '(' | '[' | '{' => {
                self.nesting += 1;
                self.deepest = self.deepest.max(self.nesting);
            }
            ')' | ']' | '}' => self.nesting = self.nesting.saturating_sub(1),
            '&' | '|' | '!' | '=' | '<' | '>' | '+' | '-' | '*' | '.' => self.operators += 1,
            _ => {}
        }
    }

    fn piece<'a>(&self, text: &'a str, offset: usize, end: usize) -> Piece<'a> {
        let excess = if end - offset > MAX_POLICY_BYTES {
            Some("a policy is longer than 64 KiB")
        } else if self.deepest > MAX_NESTING {
            Some("a policy has brackets nested more than 32 deep")
        } else if self.operators > MAX_OPERATORS {
            Some("a policy has more than 1000 operators")
        } else {
            None
        };
        let start = self.start.unwrap_or(offset);
        Piece { text: &text[offset..end], offset, start, excess }
    }
}

/// Where each line of a text begins, to find lines and columns.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line and column, both from 1, the column in characters.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(start..offset).unwrap_or_default();
        // Bytes that go on with a character begin with the bits 10.
        let column = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        (line, column)
    }
}
