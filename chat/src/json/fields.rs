//! An object's fields, each at most once, and the path to them.

use std::{borrow::Cow, fmt};

use super::{Fault, Kind, Number, Raw, Reader};
use crate::{Refusal, Why};

/// The way from the document's root to a value. It lives on the stack, and becomes text only in a refusal.
#[derive(Clone, Copy, Debug)]
pub struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    /// The document itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A field of this object.
    pub fn key(&'p self, key: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    /// An element of this array.
    pub fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// Whether this is the document itself.
    pub fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }

    /// A refusal of what is here.
    pub fn refuse(&self, why: Why) -> Refusal {
        Refusal::new(self, why)
    }

    /// A refusal because this is not what it has to be.
    pub fn invalid(&self, expected: &'static str) -> Refusal {
        self.refuse(Why::Invalid(expected))
    }

    /// A fault of the reader's as a refusal: a value of another kind is not what is expected here, everything else is no
    /// JSON.
    pub fn fault(&self, fault: Fault, expected: &'static str) -> Refusal {
        match fault {
            Fault::Kind(_) => self.invalid(expected),
            fault => Refusal::new("", Why::Syntax(fault)),
        }
    }

    fn syntax(fault: Fault) -> Refusal {
        Refusal::new("", Why::Syntax(fault))
    }

    /// The string that comes next.
    pub fn string<'a>(&self, reader: &mut Reader<'a>) -> Result<Cow<'a, str>, Refusal> {
        reader.string().map_err(|fault| self.fault(fault, "a string"))
    }

    /// The value that comes next, as it was written.
    pub fn raw<'a>(&self, reader: &mut Reader<'a>) -> Result<Raw<'a>, Refusal> {
        reader.raw().map_err(Self::syntax)
    }

    /// The object that comes next, as it was written.
    pub fn object<'a>(&self, reader: &mut Reader<'a>) -> Result<Raw<'a>, Refusal> {
        if reader.kind().map_err(Self::syntax)? != Kind::Object {
            return Err(self.invalid("an object"));
        }
        self.raw(reader)
    }

    /// The boolean that comes next.
    pub fn boolean(&self, reader: &mut Reader<'_>) -> Result<bool, Refusal> {
        reader.boolean().map_err(|fault| self.fault(fault, "true or false"))
    }

    /// The number that comes next.
    pub fn number<'a>(&self, reader: &mut Reader<'a>) -> Result<Number<'a>, Refusal> {
        reader.number().map_err(|fault| self.fault(fault, "a number"))
    }

    /// The whole number that comes next.
    pub fn count(&self, reader: &mut Reader<'_>) -> Result<u64, Refusal> {
        let expected = "a whole number, not negative";
        let number = reader.number().map_err(|fault| self.fault(fault, expected))?;
        number.as_u64().ok_or_else(|| self.invalid(expected))
    }

    /// The kind of the value that comes next.
    pub fn kind(&self, reader: &mut Reader<'_>) -> Result<Kind, Refusal> {
        reader.kind().map_err(Self::syntax)
    }

    /// `None` for `null`, otherwise what `read` makes of the value that comes next.
    pub fn optional<'a, T>(
        &self,
        reader: &mut Reader<'a>,
        read: impl FnOnce(&Self, &mut Reader<'a>) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        if reader.take_null().map_err(Self::syntax)? {
            return Ok(None);
        }
        read(self, reader).map(Some)
    }

    /// Reads an array, an element at a time.
    pub fn array<'a, T>(
        &self,
        reader: &mut Reader<'a>,
        mut read: impl FnMut(&Path<'_>, usize, &mut Reader<'a>) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        reader.open_array().map_err(|fault| self.fault(fault, "an array"))?;
        let mut elements = Vec::new();
        while reader.next_element(elements.is_empty()).map_err(Self::syntax)? {
            let index = elements.len();
            elements.push(read(&self.index(index), index, reader)?);
        }
        Ok(elements)
    }

    /// Steps into an object.
    pub fn open<'a>(&self, reader: &mut Reader<'a>) -> Result<Keys<'a>, Refusal> {
        reader.open_object().map_err(|fault| self.fault(fault, "an object"))?;
        Ok(Keys { seen: Vec::new() })
    }

    /// The string in a field of the object that comes next, which stays unread.
    pub fn look_up<'a>(
        &self,
        reader: &mut Reader<'a>,
        field: &str,
    ) -> Result<Option<Cow<'a, str>>, Refusal> {
        reader.look_up(field).map_err(|fault| self.fault(fault, "an object"))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) => {
                let root = self.parent.is_none_or(Path::is_root);
                let dot = if root { "" } else { "." };
                // A key that we do not know is the client's text: enough of it to be found again.
                let end = key.char_indices().nth(64).map_or(key.len(), |(at, _)| at);
                write!(f, "{dot}{}", key[..end].escape_debug())
            }
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The keys of one object. No key comes twice.
#[derive(Debug)]
pub struct Keys<'a> {
    seen: Vec<Cow<'a, str>>,
}

/// The most keys of an object whose keys are looked at. No dialect has nearly as many, and checking for
/// duplicates takes the square of it.
const MAX_KEYS: usize = 256;

impl<'a> Keys<'a> {
    /// The next key; its value comes next. `None`: the object ended.
    pub fn next(
        &mut self,
        reader: &mut Reader<'a>,
        at: &Path<'_>,
    ) -> Result<Option<Cow<'a, str>>, Refusal> {
        let Some(key) = reader.next_key(self.seen.is_empty()).map_err(Path::syntax)? else {
            return Ok(None);
        };
        if self.seen.contains(&key) {
            return Err(at.key(&key).refuse(Why::Duplicate));
        }
        if self.seen.len() == MAX_KEYS {
            return Err(at.invalid("an object of at most 256 fields"));
        }
        self.seen.push(key.clone());
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<usize, Refusal> {
        let mut reader = Reader::new(text);
        let path = Path::ROOT;
        let at = path.key("messages");
        let at = at.index(2);
        let mut keys = at.open(&mut reader)?;
        let mut count = 0;
        while let Some(key) = keys.next(&mut reader, &at)? {
            at.key(&key).count(&mut reader)?;
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn refusals_have_the_path() {
        assert_eq!(read(r#"{"a":1,"b":2}"#), Ok(2));
        let refusal = read(r#"{"a":1,"\u0061":2}"#).unwrap_err();
        assert_eq!((refusal.field.as_str(), refusal.why), ("messages[2].a", Why::Duplicate));
        let refusal = read(r#"{"a":-1}"#).unwrap_err();
        assert_eq!(refusal.field, "messages[2].a");
        let refusal = read("[]").unwrap_err();
        assert_eq!(
            (refusal.field.as_str(), refusal.why),
            ("messages[2]", Why::Invalid("an object"))
        );
        assert!(matches!(read("{\"a\":").unwrap_err().why, Why::Syntax(_)));
    }

    #[test]
    fn keys_are_bounded() {
        let text = |count: usize| {
            let fields: Vec<_> = (0..count).map(|i| format!("\"{i}\":1")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert_eq!(read(&text(256)), Ok(256));
        assert!(read(&text(257)).is_err());
    }
}
