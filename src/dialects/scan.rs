//! A JSON scanner that takes its document in any pieces and never holds it.
//!
//! It follows strings and brackets only. It finds a few members near the root and tells whether
//! the brackets closed; it does not validate.

use std::borrow::Cow;

use memchr::memchr2;

/// The longest value that is kept. Usage objects have a few hundred bytes.
pub(super) const MAX_CAPTURE: usize = 16 * 1024;

/// Finds `usage`, `type` and `error` at the root, and `usage` in a `response` or `message` there.
#[derive(Debug, Default)]
pub(super) struct JsonScan {
    found: Found,
    place: Place,
    depth: usize,
    /// Whether the next string is a member's name that we look at.
    expects_name: bool,
    /// Whether the object at depth 2 is a member whose own members we look at.
    inside: bool,
    name: Name,
    /// The member being kept, and the depth of the object that it is in.
    capture: Option<(Member, usize)>,
    captured: Vec<u8>,
    overflowed: bool,
}

/// What was found so far. Of members that occur twice, the last.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The raw value of `usage` at the root.
    pub(super) usage: Option<Vec<u8>>,
    /// The raw value of `usage` in `response` or `message`.
    pub(super) inner_usage: Option<Vec<u8>>,
    /// The raw value of `type` at the root, quotes included.
    pub(super) kind: Option<Vec<u8>>,
    /// The raw value of `service_tier` at the root, quotes included.
    pub(super) tier: Option<Vec<u8>>,
    /// The raw value of `service_tier` in `response` or `message`, quotes included.
    pub(super) inner_tier: Option<Vec<u8>>,
    /// Whether the root has an `error` other than null.
    pub(super) error: bool,
    /// How long the document is, up to here.
    pub(super) bytes: u64,
}

/// Where the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Between,
    Text,
    Escaped,
    After,
    /// Something other than one object.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Usage,
    Kind,
    Tier,
    Error,
    /// Looked into, not kept.
    Inside,
}

impl JsonScan {
    /// Takes the next piece of the document.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.found.bytes += bytes.len() as u64;
        // Where the part of this piece begins that belongs to the member being kept.
        let mut kept = 0;
        let mut at = 0;
        while at < bytes.len() {
            match self.place {
                Place::Between => at = self.between(bytes, at, &mut kept),
                Place::Text => at = self.text(bytes, at),
                Place::Escaped => {
                    self.name.push(&bytes[at..=at]);
                    self.place = Place::Text;
                    at += 1;
                }
                Place::Before | Place::After => {
                    self.place = match bytes[at] {
                        b'{' if self.place == Place::Before => {
                            self.depth = 1;
                            self.expects_name = true;
                            Place::Between
                        }
                        b' ' | b'\t' | b'\r' | b'\n' => self.place,
                        _ => Place::Broken,
                    };
                    at += 1;
                }
                Place::Broken => return,
            }
        }
        self.keep(&bytes[kept.min(bytes.len())..]);
    }

    /// Whether exactly one object was seen, closed, with nothing but white space around it.
    pub(super) fn is_complete(&self) -> bool {
        self.place == Place::After
    }

    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    /// Goes on from `at`, outside of strings; gives where to go on.
    fn between(&mut self, bytes: &[u8], at: usize, kept: &mut usize) -> usize {
        // Commas and colons matter only where members are looked at.
        let mask = if self.depth == 1 || self.inside && self.depth == 2 {
            BRACKET | SEPARATOR
        } else {
            BRACKET
        };
        let Some(skipped) = bytes[at..].iter().position(|&byte| CLASS[byte as usize] & mask != 0)
        else {
            return bytes.len();
        };
        let at = at + skipped;
        match bytes[at] {
            b'"' => {
                self.place = Place::Text;
                self.name.start(self.expects_name);
            }
            b'{' => {
                self.inside = match self.capture {
                    Some((Member::Inside, _)) if self.depth == 1 => true,
                    _ => self.inside && self.depth != 1,
                };
                self.depth += 1;
                self.expects_name = self.inside && self.depth == 2;
            }
            b'[' => {
                self.depth += 1;
                self.expects_name = false;
            }
            b'}' | b']' => {
                self.end_member(&bytes[*kept..at]);
                self.depth -= 1;
                self.expects_name = false;
                if self.depth == 1 {
                    self.inside = false;
                }
                if self.depth == 0 {
                    self.place = Place::After;
                }
            }
            b',' => {
                self.end_member(&bytes[*kept..at]);
                self.expects_name = true;
            }
            _ => {
                if self.expects_name {
                    self.begin_member();
                    *kept = at + 1;
                }
                self.expects_name = false;
            }
        }
        at + 1
    }

    /// Goes on from `at`, inside a string.
    fn text(&mut self, bytes: &[u8], at: usize) -> usize {
        let rest = &bytes[at..];
        let Some(length) = memchr2(b'"', b'\\', rest) else {
            self.name.push(rest);
            return bytes.len();
        };
        self.name.push(&rest[..length]);
        if rest[length] == b'"' {
            self.name.reading = false;
            self.place = Place::Between;
        } else {
            self.name.push(b"\\");
            self.place = Place::Escaped;
        }
        at + length + 1
    }

    fn begin_member(&mut self) {
        // A member that is being kept has no members that are looked at, save `Inside`.
        if matches!(self.capture, Some((member, _)) if member != Member::Inside) {
            return;
        }
        let member = match (self.depth, self.name.unescaped().as_deref()) {
            (_, Some("usage")) => Member::Usage,
            (_, Some("service_tier")) => Member::Tier,
            (1, Some("type")) => Member::Kind,
            (1, Some("error")) => Member::Error,
            (1, Some("response" | "message")) => Member::Inside,
            _ => return,
        };
        self.capture = Some((member, self.depth));
        self.captured.clear();
        self.overflowed = false;
    }

    /// A comma, or the bracket that closes the object, ends the member of its depth.
    fn end_member(&mut self, last: &[u8]) {
        let Some((member, depth)) = self.capture else {
            return;
        };
        if depth != self.depth {
            // The end of the object that is looked into: its own member is next to end.
            return;
        }
        self.keep(last);
        self.capture = None;
        let whole = (!self.overflowed).then(|| self.captured.trim_ascii().to_vec());
        match member {
            Member::Usage if depth == 1 => self.found.usage = whole,
            Member::Usage => self.found.inner_usage = whole,
            Member::Kind => self.found.kind = whole,
            Member::Tier if depth == 1 => self.found.tier = whole,
            Member::Tier => self.found.inner_tier = whole,
            Member::Error => self.found.error = whole.is_none_or(|value| value != b"null"),
            Member::Inside => {}
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.capture {
            None | Some((Member::Inside, _)) => {}
            Some(_) if self.captured.len() + bytes.len() > MAX_CAPTURE => self.overflowed = true,
            Some(_) if self.overflowed => {}
            Some(_) => self.captured.extend_from_slice(bytes),
        }
    }
}

/// The name of the member that is being read, escapes still in it.
#[derive(Debug)]
struct Name {
    bytes: [u8; Name::MAX],
    length: usize,
    reading: bool,
}

impl Default for Name {
    fn default() -> Self {
        Self { bytes: [0; Self::MAX], length: 0, reading: false }
    }
}

impl Name {
    /// Enough for the longest name looked for, with every letter escaped.
    const MAX: usize = 64;

    fn start(&mut self, reading: bool) {
        self.reading = reading;
        if reading {
            self.length = 0;
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if !self.reading {
            return;
        }
        // Past the end, the length alone grows: such a name is none that we look for.
        if let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.length = self.length.saturating_add(bytes.len()).min(Self::MAX + 1);
    }

    fn unescaped(&self) -> Option<Cow<'_, str>> {
        let raw = std::str::from_utf8(self.bytes.get(..self.length)?).ok()?;
        if !raw.contains('\\') {
            return Some(raw.into());
        }
        let unescaped: String = serde_json::from_str(&format!("\"{raw}\"")).ok()?;
        Some(unescaped.into())
    }
}

const BRACKET: u8 = 1;
const SEPARATOR: u8 = 2;

/// What a byte outside of strings means.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    class[b'"' as usize] = BRACKET;
    class[b'{' as usize] = BRACKET;
    class[b'}' as usize] = BRACKET;
    class[b'[' as usize] = BRACKET;
    class[b']' as usize] = BRACKET;
    class[b',' as usize] = SEPARATOR;
    class[b':' as usize] = SEPARATOR;
    class
};

/// Whether a JSON document nests arrays and objects deeper than `max`. Takes no stack.
pub(super) fn deeper_than(document: &[u8], max: usize) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(skipped) =
        document[at..].iter().position(|&byte| CLASS[byte as usize] & BRACKET != 0)
    {
        at += skipped;
        match document[at] {
            b'"' => at = past_string(document, at + 1),
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return true;
                }
                at += 1;
            }
            _ => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
        }
    }
    false
}

/// The position behind the string whose text starts at `at`.
fn past_string(document: &[u8], mut at: usize) -> usize {
    while let Some(length) = memchr2(b'"', b'\\', &document[at..]) {
        at += length + 1;
        if document[at - 1] == b'"' {
            return at;
        }
        at = (at + 1).min(document.len());
    }
    document.len()
}
