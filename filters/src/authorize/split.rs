//! Takes a file of policies apart, before Cedar reads any of them.
//!
//! Each policy is then read alone, so that one mistake hides no other and every policy's place is
//! known. Cedar's parser and validator are recursive, so what could exhaust their stack is refused
//! here.

/// Bytes of one policy, at most.
pub(super) const MAX_POLICY_BYTES: usize = 64 * 1024;
/// Brackets within brackets, at most.
pub(super) const MAX_NESTING: usize = 32;
/// Operators of one policy, at most: a chain of them is a tree as deep.
pub(super) const MAX_OPERATORS: usize = 300;

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
        scan.see(text, at, char);
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

/// How deep brackets are nested in a text, angle brackets among them.
pub(super) fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
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
    fn see(&mut self, text: &str, at: usize, char: char) {
        self.start.get_or_insert(at);
        match char {
            '(' | '[' | '{' => {
                self.nesting += 1;
                self.deepest = self.deepest.max(self.nesting);
            }
            ')' | ']' | '}' => self.nesting = self.nesting.saturating_sub(1),
            '&' | '|' | '!' | '=' | '<' | '>' | '+' | '-' | '*' | '.' => self.operators += 1,
            'e' if text[at..].starts_with("else") => self.operators += 1,
            _ => {}
        }
    }

    fn piece<'a>(&self, text: &'a str, offset: usize, end: usize) -> Piece<'a> {
        let excess = if end - offset > MAX_POLICY_BYTES {
            Some("a policy is longer than 64 KiB")
        } else if self.deepest > MAX_NESTING {
            Some("a policy has brackets nested more than 32 deep")
        } else if self.operators > MAX_OPERATORS {
            Some("a policy has more than 300 operators")
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

#[cfg(test)]
mod tests {
    use cedar_policy::{Policy, PolicySet};
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn semicolons_in_strings_and_comments_end_nothing() {
        let text = "a \";\"; // b;\nc \"\\\";\" /;\n // only a comment;\n";
        assert_eq!(texts(text), ["a \";\";", " // b;\nc \"\\\";\" /;"]);
        let starts: Vec<_> = split(text).iter().map(|piece| &text[piece.start..][..1]).collect();
        assert_eq!(starts, ["a", "c"]);
    }

    #[test]
    fn what_has_no_end_is_still_there_to_be_complained_of() {
        assert_eq!(texts("a; b"), ["a;", " b"]);
        assert_eq!(texts("a; \"b; c;"), ["a;", " \"b; c;"]);
        assert_eq!(texts("a; // b"), ["a;"]);
        assert_eq!(texts(""), [""; 0]);
    }

    #[test]
    fn too_much_of_anything_is_not_even_tried() {
        let nested = |n: usize| format!("{}{};", "(".repeat(n), ")".repeat(n));
        let chained = |n: usize| format!("{};", "!".repeat(n));
        let long = |n: usize| format!("{};", "x".repeat(n - 1));
        for (enough, too_much) in [
            (nested(MAX_NESTING), nested(MAX_NESTING + 1)),
            (chained(MAX_OPERATORS), chained(MAX_OPERATORS + 1)),
            (long(MAX_POLICY_BYTES), long(MAX_POLICY_BYTES + 1)),
        ] {
            assert_eq!(split(&enough)[0].excess, None);
            assert!(split(&too_much)[0].excess.is_some());
            assert_eq!(split(&format!("{too_much}a;"))[1].excess, None, "each policy has its own");
        }
    }

    #[test]
    fn places_are_lines_and_characters() {
        let lines = Lines::new("ab\n\u{e9}\u{e9}x\n");
        assert_eq!([0, 1, 3].map(|at| lines.place(at)), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!(lines.place(7), (2, 3));
        assert_eq!(lines.place(9), (3, 1));
        assert_eq!(lines.place(1000), (3, 1));
    }

    proptest! {
        /// What reads well policy by policy reads the same as a whole.
        #[test]
        fn the_pieces_are_the_policies_that_cedar_finds(
            parts in proptest::collection::vec(prop_oneof![
                Just("permit(principal, action, resource);"),
                Just("@id(\"a;b\") forbid(principal, action, resource) when { \"//\" == \"\\\";\" };"),
                Just("permit(principal, action, resource) unless { context.x // y };\n };"),
                Just("// a comment; \"\n"),
                Just("// one that ends by a carriage return\r"),
                Just("//"),
                Just("\""),
                Just(";"),
                Just("\n"),
                Just(" \u{a0}\u{2003}"),
                Just("permit(principal, action"),
                Just(", resource);"),
            ], 0..12),
        ) {
            let text = parts.concat();
            let whole = text.parse::<PolicySet>();
            let pieces = split(&text).into_iter();
            let pieces: Option<Vec<_>> =
                pieces.map(|piece| Policy::parse(None, piece.text).ok()).collect();
            match (whole, pieces) {
                (Ok(whole), Some(pieces)) => {
                    // Cedar numbers them in their order.
                    prop_assert_eq!(whole.num_of_policies(), pieces.len());
                    for (n, piece) in pieces.iter().enumerate() {
                        let id = cedar_policy::PolicyId::new(format!("policy{n}"));
                        prop_assert_eq!(whole.policy(&id), Some(&piece.new_id(id.clone())));
                    }
                }
                (Err(_), None) => {}
                (whole, pieces) => prop_assert!(false, "{:?} {:?} {:?}", text, whole, pieces),
            }
        }
    }
}
