//! A cursor over a JSON document.

use std::borrow::Cow;

use super::{Number, Raw};

/// The deepest nesting that is read, the same as `serde_json`'s.
const MAX_DEPTH: u8 = 128;

/// Reads a document from front to back.
///
/// Copy it to look ahead: it is a position in borrowed text.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

/// Why text is no JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The text is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// The text ends within a value.
    #[error("it ends too early")]
    Incomplete,
    /// Something stands where it can not.
    #[error("unexpected character at byte {0}")]
    Unexpected(usize),
    /// A string holds an escape that stands for no character.
    #[error("invalid escape at byte {0}")]
    Escape(usize),
    /// Arrays and objects are nested too deeply.
    #[error("nested deeper than 127 levels")]
    TooDeep,
    /// There is another kind of value than the reader asked for.
    #[error("unexpected kind of value at byte {0}")]
    Kind(usize),
}

/// Kinds of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> Reader<'a> {
    /// At the start of a document.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// At the start of a document that may be no text.
    pub fn of_bytes(bytes: &'a [u8]) -> Result<Self, Fault> {
        std::str::from_utf8(bytes).map(Self::new).map_err(|_| Fault::NotUtf8)
    }

    /// The kind of the value that comes next.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, Fault> {
        self.skip_space();
        match self.byte() {
            None => Err(Fault::Incomplete),
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// Steps into an object. Then call [`next_key`](Self::next_key) until it gives none.
    #[inline]
    pub fn open_object(&mut self) -> Result<(), Fault> {
        self.open(b'{')
    }

    /// Steps into an array. Then call [`next_element`](Self::next_element) until it gives `false`.
    #[inline]
    pub fn open_array(&mut self) -> Result<(), Fault> {
        self.open(b'[')
    }

    #[inline]
    fn open(&mut self, bracket: u8) -> Result<(), Fault> {
        self.kind()?;
        if self.byte() != Some(bracket) {
            return Err(Fault::Kind(self.at));
        }
        self.at += 1;
        self.depth += 1;
        if self.depth >= MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        Ok(())
    }

    /// The next key of the object that was stepped into; its value comes next. `None`: the object ended.
    #[inline]
    pub fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Fault> {
        if !self.next_item(b'}', first)? {
            return Ok(None);
        }
        let key = match self.byte() {
            Some(b'"') => self.string()?,
            Some(_) => return Err(self.unexpected()),
            None => return Err(Fault::Incomplete),
        };
        self.skip_space();
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// Whether the array that was stepped into goes on; then an element comes next.
    #[inline]
    pub fn next_element(&mut self, first: bool) -> Result<bool, Fault> {
        self.next_item(b']', first)
    }

    #[inline]
    fn next_item(&mut self, close: u8, first: bool) -> Result<bool, Fault> {
        self.skip_space();
        match self.byte() {
            None => return Err(Fault::Incomplete),
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            Some(b',') if !first => {
                self.at += 1;
                self.skip_space();
            }
            Some(_) if first => {}
            Some(_) => return Err(self.unexpected()),
        }
        Ok(true)
    }

    /// A string, unescaped.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.want(Kind::String)?;
        let start = self.at + 1;
        self.at = start;
        let plain = self.plain_run()?;
        if self.bytes()[self.at] == b'"' {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = String::with_capacity(plain.len() * 2 + 16);
        text.push_str(plain);
        loop {
            match self.bytes()[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                _ => text.push(self.escape()?),
            }
            text.push_str(self.plain_run()?);
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, Fault> {
        self.want(Kind::Bool)?;
        let value = self.byte() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Takes `null`, if it comes next.
    #[inline]
    pub fn take_null(&mut self) -> Result<bool, Fault> {
        if self.kind()? != Kind::Null {
            return Ok(false);
        }
        self.word("null")?;
        Ok(true)
    }

    /// A number, as it was written.
    pub fn number(&mut self) -> Result<Number<'a>, Fault> {
        self.want(Kind::Number)?;
        let start = self.at;
        self.skip_number()?;
        Ok(Number::of_slice(&self.text[start..self.at]))
    }

    /// A value of any kind, as it was written.
    pub fn raw(&mut self) -> Result<Raw<'a>, Fault> {
        self.skip_space();
        let start = self.at;
        self.skip()?;
        Ok(Raw::of_slice(&self.text[start..self.at]))
    }

    /// Passes over a value of any kind.
    pub fn skip(&mut self) -> Result<(), Fault> {
        let outside = self.depth;
        // One bit a level that is open here: whether it is an object.
        let mut objects = 0_u128;
        loop {
            match self.kind()? {
                Kind::String => self.skip_string()?,
                Kind::Number => self.skip_number()?,
                Kind::Null => self.word("null")?,
                Kind::Bool => {
                    let word = if self.byte() == Some(b't') { "true" } else { "false" };
                    self.word(word)?;
                }
                kind => {
                    let object = kind == Kind::Object;
                    self.open(if object { b'{' } else { b'[' })?;
                    objects = objects << 1 | u128::from(object);
                    if self.enter_item(object, true)? {
                        continue;
                    }
                    objects >>= 1;
                }
            }
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                if self.enter_item(objects & 1 == 1, false)? {
                    break;
                }
                objects >>= 1;
            }
        }
    }

    /// Steps before the next value of an array or object; `false` when it ended.
    #[inline]
    fn enter_item(&mut self, object: bool, first: bool) -> Result<bool, Fault> {
        if !object {
            return self.next_item(b']', first);
        }
        if !self.next_item(b'}', first)? {
            return Ok(false);
        }
        match self.byte() {
            Some(b'"') => self.skip_string()?,
            Some(_) => return Err(self.unexpected()),
            None => return Err(Fault::Incomplete),
        }
        self.skip_space();
        self.expect(b':')?;
        Ok(true)
    }

    /// The value of a string field of the object that comes next, which stays unread: for objects whose other
    /// fields depend on it.
    pub fn look_up(&self, field: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        let mut ahead = *self;
        ahead.open_object()?;
        let mut first = true;
        while let Some(key) = ahead.next_key(first)? {
            first = false;
            if key == field {
                return match ahead.kind()? {
                    Kind::String => ahead.string().map(Some),
                    _ => Ok(None),
                };
            }
            ahead.skip()?;
        }
        Ok(None)
    }

    /// Nothing may follow but white space.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.unexpected()) }
    }

    #[inline]
    fn want(&mut self, kind: Kind) -> Result<(), Fault> {
        if self.kind()? == kind { Ok(()) } else { Err(Fault::Kind(self.at)) }
    }

    /// The text up to the next quote or backslash, at which the cursor then is.
    #[inline]
    fn plain_run(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let bytes = self.bytes();
        let mut at = start;
        while let Some(&byte) = bytes.get(at) {
            if SPECIAL[usize::from(byte)] {
                if byte < 0x20 {
                    return Err(Fault::Unexpected(at));
                }
                self.at = at;
                return Ok(&self.text[start..at]);
            }
            at += 1;
        }
        Err(Fault::Incomplete)
    }

    fn skip_string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.plain_run()?;
            if self.bytes()[self.at] == b'"' {
                self.at += 1;
                return Ok(());
            }
            let at = self.at;
            match self.bytes().get(at + 1) {
                None => return Err(Fault::Incomplete),
                Some(b'u') => {
                    self.at += 2;
                    self.hex()?;
                }
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                Some(_) => return Err(Fault::Escape(at)),
            }
        }
    }

    /// The character that the escape at the cursor stands for.
    fn escape(&mut self) -> Result<char, Fault> {
        let at = self.at;
        let letter = *self.bytes().get(at + 1).ok_or(Fault::Incomplete)?;
        self.at += 2;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = match first {
                    0xD800..=0xDBFF => {
                        if !self.text[self.at..].starts_with("\\u") {
                            return Err(Fault::Escape(at));
                        }
                        self.at += 2;
                        let second = self.hex()?;
                        if !(0xDC00..=0xDFFF).contains(&second) {
                            return Err(Fault::Escape(at));
                        }
                        0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    code => code,
                };
                char::from_u32(code).ok_or(Fault::Escape(at))?
            }
            _ => return Err(Fault::Escape(at)),
        })
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes().get(self.at..self.at + 4).ok_or(Fault::Incomplete)?;
        let mut value = 0;
        for &digit in digits {
            let digit = char::from(digit).to_digit(16).ok_or(Fault::Escape(self.at))?;
            value = value << 4 | digit;
        }
        self.at += 4;
        Ok(value)
    }

    fn skip_number(&mut self) -> Result<(), Fault> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            Some(_) => return Err(self.unexpected()),
            None => return Err(Fault::Incomplete),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.want_digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.want_digits()?;
        }
        Ok(())
    }

    fn want_digits(&mut self) -> Result<(), Fault> {
        match self.byte() {
            Some(b'0'..=b'9') => {
                self.skip_digits();
                Ok(())
            }
            Some(_) => Err(self.unexpected()),
            None => Err(Fault::Incomplete),
        }
    }

    fn skip_digits(&mut self) {
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        let rest = &self.bytes()[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        if word.as_bytes().starts_with(rest) {
            Err(Fault::Incomplete)
        } else {
            Err(self.unexpected())
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        match self.byte() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.unexpected()),
            None => Err(Fault::Incomplete),
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    #[inline]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn unexpected(&self) -> Fault {
        Fault::Unexpected(self.at)
    }
}

/// Bytes that end a run of plain text: quote, backslash, control characters.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn accepts(text: &str) -> Result<(), Fault> {
        let mut reader = Reader::new(text);
        reader.skip()?;
        reader.end()
    }

    fn tree(reader: &mut Reader<'_>) -> Result<serde_json::Value, Fault> {
        use serde_json::Value;
        Ok(match reader.kind()? {
            Kind::Null => {
                reader.take_null()?;
                Value::Null
            }
            Kind::Bool => reader.boolean()?.into(),
            Kind::Number => serde_json::from_str(reader.number()?.as_str()).unwrap(),
            Kind::String => reader.string()?.into_owned().into(),
            Kind::Array => {
                let mut list = Vec::new();
                reader.open_array()?;
                while reader.next_element(list.is_empty())? {
                    list.push(tree(reader)?);
                }
                list.into()
            }
            Kind::Object => {
                let mut map = serde_json::Map::new();
                reader.open_object()?;
                let mut first = true;
                while let Some(key) = reader.next_key(first)? {
                    first = false;
                    let value = tree(reader)?;
                    map.insert(key.into_owned(), value);
                }
                map.into()
            }
        })
    }

    #[test]
    fn values_are_those_of_serde_json() {
        for text in [
            r#"{"a":[1,-2.5e+3,true,false,null,"x"],"b":{},"c":[], "\u0064":"\ud83d\ude00\n\/"}"#,
            " [ ] ",
            "\t{ \"a\" : 1 , \"b\" : [ 2 , 3 ] }\r\n",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(tree(&mut Reader::new(text)).unwrap(), expected, "{text}");
            assert_eq!(accepts(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul",
            "tru",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"abc",
            "{\"a\"}",
            "{\"a\" 1}",
            "[,1]",
            "]",
            "1 2",
            "--1",
            "NaN",
            "\u{feff}1",
        ] {
            assert!(accepts(text).is_err(), "{text:?}");
            assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "{text:?}");
        }
        for text in [r#""\ud800""#, r#""\ud800\u0041""#, r#""\udc00""#, r#""\ud800x""#] {
            assert!(Reader::new(text).string().is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_ends_where_serde_json_ends_it() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for depth in [127, 128] {
                let text = open.repeat(depth) + "1" + &close.repeat(depth);
                let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
                assert_eq!(accepts(&text).is_ok(), theirs, "{depth}");
                assert_eq!(tree(&mut Reader::new(&text)).is_ok(), theirs, "{depth}");
            }
        }
    }

    #[test]
    fn looking_up_reads_nothing() {
        let reader = Reader::new(r#"{"a":{"type":"inner"},"type":"outer","b":1}"#);
        assert_eq!(reader.look_up("type").unwrap().as_deref(), Some("outer"));
        assert_eq!(reader.look_up("b").unwrap(), None);
        assert_eq!(reader.look_up("c").unwrap(), None);
        assert_eq!(reader.at, 0);
    }

    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"a\":", "1", "-", "0", ".", "e",
            "true", "null", " ", "\\u00e9", "\\ud83d", "\\ude00", "é", "\n",
        ]);
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_text_is_judged_as_by_serde_json(text in prop_oneof![nearly_json(), ".{0,24}"]) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let mut reader = Reader::new(&text);
            let ours = tree(&mut reader).and_then(|value| reader.end().map(|()| value));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours, theirs);
            }
            let skipped = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(accepts(&text).is_ok(), skipped);
        }
    }
}
