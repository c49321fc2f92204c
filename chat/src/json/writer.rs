//! Appends JSON to a buffer.

/// Appends JSON to a buffer. Commas come by themselves: each of [`key`](Self::key) and [`element`](Self::element) sets one
/// unless it is the first behind an opening bracket.
///
/// It does not check that brackets match; the callers' tests do.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Appends to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The buffer, for what is no JSON.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// `{`
    #[inline]
    pub fn open(&mut self) -> &mut Self {
        self.out.push(b'{');
        self
    }

    /// `}`
    #[inline]
    pub fn close(&mut self) -> &mut Self {
        self.out.push(b'}');
        self
    }

    /// `[`
    #[inline]
    pub fn open_array(&mut self) -> &mut Self {
        self.out.push(b'[');
        self
    }

    /// `]`
    #[inline]
    pub fn close_array(&mut self) -> &mut Self {
        self.out.push(b']');
        self
    }

    /// A key that needs no escaping; its value has to come next.
    #[inline]
    pub fn key(&mut self, key: &'static str) -> &mut Self {
        self.comma(b'{');
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self
    }

    /// A key that may need escaping.
    pub fn any_key(&mut self, key: &str) -> &mut Self {
        self.comma(b'{');
        self.string(key);
        self.out.push(b':');
        self
    }

    /// An element has to come next.
    #[inline]
    pub fn element(&mut self) -> &mut Self {
        self.comma(b'[');
        self
    }

    /// No string ends in a bracket, as the quote comes behind: so the last byte tells whether something precedes.
    #[inline]
    fn comma(&mut self, bracket: u8) {
        if self.out.last() != Some(&bracket) {
            self.out.push(b',');
        }
    }

    /// A string.
    #[inline]
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.fragment(text);
        self.out.push(b'"');
        self
    }

    /// A piece of a string, without quotes.
    pub fn fragment(&mut self, text: &str) -> &mut Self {
        let bytes = text.as_bytes();
        let mut start = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let escape = ESCAPES[usize::from(byte)];
            if escape == 0 {
                continue;
            }
            self.out.extend_from_slice(&bytes[start..at]);
            if escape == b'u' {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                self.out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            } else {
                self.out.extend_from_slice(&[b'\\', escape]);
            }
            start = at + 1;
        }
        self.out.extend_from_slice(&bytes[start..]);
        self
    }

    /// A value that is JSON already.
    #[inline]
    pub fn raw(&mut self, value: &str) -> &mut Self {
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    /// A value that is JSON already, on one line as event streams need it. Line ends stand only between tokens, where a
    /// space is as good.
    pub fn raw_line(&mut self, value: &str) -> &mut Self {
        let line =
            value.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
        self.out.extend(line);
        self
    }

    /// Members that are JSON already, without braces; may be empty.
    pub fn members(&mut self, members: &str) -> &mut Self {
        if !members.is_empty() {
            self.comma(b'{');
            self.raw(members);
        }
        self
    }

    /// A whole number.
    #[inline]
    pub fn count(&mut self, count: u64) -> &mut Self {
        self.out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        self
    }

    /// `true` or `false`
    #[inline]
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.raw(if value { "true" } else { "false" })
    }

    /// `null`
    #[inline]
    pub fn null(&mut self) -> &mut Self {
        self.raw("null")
    }

    /// A string field.
    #[inline]
    pub fn field(&mut self, key: &'static str, text: &str) -> &mut Self {
        self.key(key).string(text)
    }

    /// A string field, if there is one.
    pub fn field_if(&mut self, key: &'static str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.field(key, text);
        }
        self
    }

    /// A string field, `null` if there is none.
    pub fn field_or_null(&mut self, key: &'static str, text: Option<&str>) -> &mut Self {
        self.key(key);
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// A field with a whole number.
    pub fn count_field(&mut self, key: &'static str, count: u64) -> &mut Self {
        self.key(key).count(count)
    }

    /// A field whose value is JSON already, if there is one.
    pub fn raw_if(&mut self, key: &'static str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.key(key).raw(value);
        }
        self
    }
}

/// The letter behind the backslash; 0 for bytes that need none.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0A] = b'n';
    table[0x0C] = b'f';
    table[0x0D] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commas_come_by_themselves() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.open().key("a").open_array();
        writer.element().count(1).element().open().close().element().string("[{");
        writer.close_array().field("b", "{").key("c").null().field_if("d", None).any_key("\"");
        writer.boolean(true).close();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, r#"{"a":[1,{},"[{"],"b":"{","c":null,"\"":true}"#);
    }

    proptest! {
        #[test]
        fn strings_lead_back(text in any::<String>()) {
            let mut out = Vec::new();
            Writer::new(&mut out).string(&text);
            prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
            let written = std::str::from_utf8(&out).unwrap();
            prop_assert_eq!(super::super::Reader::new(written).string().unwrap(), text);
        }
    }
}
