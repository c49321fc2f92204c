//! A message that is too long to be kept: which call it would have answered.

use std::mem::take;

/// Bytes of a member's name that are kept: more than any has that counts.
const NAME: usize = 8;
/// Bytes of an id that are kept. Ours have no more digits.
const ID: usize = 20;

/// Follows a JSON object as it passes, without keeping it. What is no JSON is not always noticed: a server that
/// says so can only fail a call that it could have answered as well.
#[derive(Debug, Default)]
pub struct Skim {
    begun: bool,
    /// Objects and lists that are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Of the object's own members: behind the colon.
    in_value: bool,
    name: Vec<u8>,
    value: Vec<u8>,
    id: Option<u64>,
    /// It answers no call, or nobody can tell which.
    hopeless: bool,
}

impl Skim {
    /// Takes the next piece.
    pub fn feed(&mut self, mut text: &[u8]) {
        while !text.is_empty() && !self.hopeless {
            text = if self.in_string { self.string(text) } else { self.token(text) };
        }
    }

    /// The id of the call that it answers, once it is over.
    pub fn answers(&self) -> Option<u64> {
        let whole = self.begun && self.depth == 0;
        self.id.filter(|_| whole && !self.hopeless)
    }

    /// Takes what there is of a string. Returns the rest.
    fn string<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        if take(&mut self.escaped) {
            return &text[1..];
        }
        let end = memchr::memchr2(b'"', b'\\', text);
        let (part, rest) = text.split_at(end.unwrap_or(text.len()));
        if self.in_name() {
            self.name.extend(part.iter().take(NAME - self.name.len()));
        }
        let Some((&end, rest)) = rest.split_first() else { return rest };
        if end == b'"' {
            self.in_string = false;
        } else {
            self.escaped = true;
            // It could be any.
            self.hopeless |= self.in_name();
        }
        rest
    }

    /// Takes a byte outside of strings. Returns the rest.
    fn token<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let Some((&byte, rest)) = text.split_first() else { return text };
        if self.depth == 0 && !byte.is_ascii_whitespace() {
            // No object, or more than one.
            self.hopeless = self.begun || byte != b'{';
            self.begun = true;
        }
        match byte {
            b'"' => {
                self.value(byte);
                self.in_string = true;
            }
            b'{' | b'[' => {
                self.value(byte);
                self.depth += 1;
            }
            b'}' | b']' => {
                self.member();
                self.depth = self.depth.saturating_sub(1);
            }
            b',' => self.member(),
            b':' if self.depth == 1 => self.in_value = true,
            _ => self.value(byte),
        }
        rest
    }

    fn in_name(&self) -> bool {
        self.depth == 1 && !self.in_value
    }

    /// Keeps what an id begins with, or is.
    fn value(&mut self, byte: u8) {
        let space = byte.is_ascii_whitespace() && self.value.is_empty();
        if self.depth == 1 && self.in_value && self.name == b"id" && !space {
            self.hopeless |= self.value.len() >= ID;
            self.value.push(byte);
        }
    }

    /// A member is over.
    fn member(&mut self) {
        if self.depth != 1 {
            return;
        }
        match self.name.as_slice() {
            // A string or `null` is none of ours, and of two nobody knows which counts.
            b"id" => {
                let value = std::str::from_utf8(&self.value).ok();
                let id = value.and_then(|value| value.trim_ascii_end().parse().ok());
                self.hopeless |= self.id.is_some() || id.is_none();
                self.id = id;
            }
            // It asks or tells something itself.
            b"method" => self.hopeless = true,
            _ => {}
        }
        self.in_value = false;
        self.name.clear();
        self.value.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Option<u64> {
        let mut whole = Skim::default();
        whole.feed(text.as_bytes());
        let mut pieces = Skim::default();
        for byte in text.as_bytes() {
            pieces.feed(&[*byte]);
        }
        assert_eq!(whole.answers(), pieces.answers(), "{text}");
        whole.answers()
    }

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        for text in [
            r#"{"jsonrpc":"2.0","id":17,"result":{"id":1,"a":[{"id":2},"}"]}}"#,
            r#" { "result" : {"text":"\"id\":3,\\"} , "id" : 17 } "#,
            r#"{"error":{"code":-1},"identity":1,"id":17}"#,
        ] {
            assert_eq!(answers(text), Some(17), "{text}");
        }
    }

    #[test]
    fn what_answers_no_call_or_does_not_say_which_has_none() {
        for text in [
            "",
            r#""id""#,
            r#"["id",1]"#,
            r#"{"id":"17","result":{}}"#,
            r#"{"id":null,"result":{}}"#,
            r#"{"id":{"id":17},"result":{}}"#,
            r#"{"id":1 7,"result":{}}"#,
            r#"{"id":,"result":{}}"#,
            r#"{"id":100000000000000000000,"result":{}}"#,
            r#"{"id":17,"id":17,"result":{}}"#,
            r#"{"id":17,"\u0069d":18,"result":{}}"#,
            r#"{"id":17,"method":"sampling/createMessage"}"#,
            r#"{"id":17,"result":{"#,
            r#"{"id":17}{"id":18}"#,
            r#"x{"id":17}"#,
        ] {
            assert_eq!(answers(text), None, "{text}");
        }
    }
}
