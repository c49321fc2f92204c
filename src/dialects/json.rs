//! Goes through JSON that is whole, strictly and once, without building anything.
//!
//! It takes the plain documents that SDKs and providers write, and nothing else: where it says `None`, the
//! document may still be JSON, with escapes in a name, a member twice, or nesting beyond all use. Whoever asks
//! then reads it with `serde_json`, which also has words for what is wrong. What it does take, `serde_json`
//! takes too, and reads alike; strings are not looked at for their encoding.

use memchr::memchr2;

/// The deepest nesting that is gone through: one bit of [`Open`] each.
pub(super) const MAX_DEPTH: u32 = 128;

/// The members of the object `text` that have one of these names, as they are written; a `null` is one.
/// `None`: no object of the plain kind, or a name of these occurs twice.
pub(super) fn fields<'a, const N: usize>(
    text: &'a [u8],
    names: &[&str; N],
) -> Option<[Option<&'a [u8]>; N]> {
    let mut found = [None; N];
    members(text, |name, value| {
        if let Some(at) = names.iter().position(|wanted| wanted.as_bytes() == name) {
            if found[at].is_some() {
                return None;
            }
            found[at] = Some(value);
        }
        Some(())
    })?;
    Some(found)
}

/// Gives each member of the object `text` to `take`, as `Cursor::object` does.
pub fn members<'a>(
    text: &'a [u8],
    mut take: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>,
) -> Option<()> {
    whole(text, |at| at.object(|name, at| take(name, at.value()?)))
}

/// Gives each element of the array `text` to `take`. Stops with `None` where `take` does.
pub fn elements<'a>(text: &'a [u8], mut take: impl FnMut(&'a [u8]) -> Option<()>) -> Option<()> {
    whole(text, |at| at.array(|at| take(at.value()?)))
}

/// Has `read` go through all of `text`, which is one value with nothing but white space around it.
pub(super) fn whole<'a, T>(
    text: &'a [u8],
    read: impl FnOnce(&mut Cursor<'a>) -> Option<T>,
) -> Option<T> {
    let mut cursor = Cursor { text, at: blank(text, 0), around: 0 };
    let value = read(&mut cursor)?;
    (blank(text, cursor.at) == text.len()).then_some(value)
}

/// A place before a value in a document.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// The containers around it.
    around: u32,
}

impl<'a> Cursor<'a> {
    /// Whether the value begins with `byte`.
    pub(super) fn is_at(&self, byte: u8) -> bool {
        self.text.get(self.at) == Some(&byte)
    }

    /// Where in the document it is.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Passes the value; gives it as it is written.
    pub(super) fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.at = value(self.text, start, self.around)?;
        self.text.get(start..self.at)
    }

    /// Passes an object. Gives each member's name, without its quotes and without escapes, to `take`, which
    /// passes its value. Stops with `None` where `take` does.
    pub(super) fn object(
        &mut self,
        mut take: impl FnMut(&'a [u8], &mut Self) -> Option<()>,
    ) -> Option<()> {
        if !self.enter(b'{', b'}')? {
            return Some(());
        }
        loop {
            let start = expect(self.text, self.at, b'"')?;
            let Passed { end, escapes } = string(self.text, start)?;
            let name = self.text.get(start..end - 1)?;
            if escapes {
                return None;
            }
            self.at = blank(self.text, expect(self.text, blank(self.text, end), b':')?);
            take(name, self)?;
            if !self.another(b'}')? {
                return Some(());
            }
        }
    }

    /// Passes an array. Has `take` pass each of its elements. Stops with `None` where `take` does.
    pub(super) fn array(&mut self, mut take: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if !self.enter(b'[', b']')? {
            return Some(());
        }
        loop {
            take(self)?;
            if !self.another(b']')? {
                return Some(());
            }
        }
    }

    /// Goes into a container. Returns whether there is something in it.
    fn enter(&mut self, opening: u8, closing: u8) -> Option<bool> {
        if self.around == MAX_DEPTH {
            return None;
        }
        self.at = blank(self.text, expect(self.text, self.at, opening)?);
        if self.text.get(self.at)? == &closing {
            self.at += 1;
            return Some(false);
        }
        self.around += 1;
        Some(true)
    }

    /// Goes on behind a value. Returns whether another one follows in the container.
    fn another(&mut self, closing: u8) -> Option<bool> {
        self.at = blank(self.text, self.at);
        let next = *self.text.get(self.at)?;
        if next == b',' {
            self.at = blank(self.text, self.at + 1);
            return Some(true);
        }
        if next != closing {
            return None;
        }
        self.at += 1;
        self.around -= 1;
        Some(false)
    }
}

/// The text of a string, gone through before, that is written without escapes.
pub(super) fn plain_text(raw: &str) -> Option<&str> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// Which of the containers around a place are objects; the innermost is the lowest bit.
#[derive(Default)]
struct Open {
    objects: u128,
    depth: u32,
}

impl Open {
    fn push(&mut self, object: bool, around: u32) -> Option<()> {
        if self.depth + around == MAX_DEPTH {
            return None;
        }
        self.objects = self.objects << 1 | u128::from(object);
        self.depth += 1;
        Some(())
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// The place behind the value at `at`, which `around` containers are around.
fn value(text: &[u8], mut at: usize, around: u32) -> Option<usize> {
    let mut open = Open::default();
    loop {
        // Here a value begins.
        at = match text.get(at)? {
            b'"' => string(text, at + 1)?.end,
            b'{' => {
                open.push(true, around)?;
                at = blank(text, at + 1);
                if text.get(at)? != &b'}' {
                    at = name(text, at)?;
                    continue;
                }
                open.pop();
                at + 1
            }
            b'[' => {
                open.push(false, around)?;
                at = blank(text, at + 1);
                if text.get(at)? != &b']' {
                    continue;
                }
                open.pop();
                at + 1
            }
            b'-' | b'0'..=b'9' => number(text, at)?,
            b't' => literal(text, at, b"true")?,
            b'f' => literal(text, at, b"false")?,
            b'n' => literal(text, at, b"null")?,
            _ => return None,
        };
        // Here one has ended, and with it perhaps those around it.
        loop {
            if open.depth == 0 {
                return Some(at);
            }
            at = blank(text, at);
            match (text.get(at)?, open.in_object()) {
                (b',', true) => {
                    at = name(text, blank(text, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at = blank(text, at + 1);
                    break;
                }
                (b'}', true) | (b']', false) => {
                    open.pop();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

/// The place of the value whose name is at `at`.
fn name(text: &[u8], at: usize) -> Option<usize> {
    let end = string(text, expect(text, at, b'"')?)?.end;
    Some(blank(text, expect(text, blank(text, end), b':')?))
}

/// How much of a string is looked at by small pieces before whole vectors are worth their set-up.
const SHORT: usize = 64;

/// A string that was gone through.
struct Passed {
    /// The place behind it.
    end: usize,
    /// Whether there are escapes in it.
    escapes: bool,
}

/// Passes the string whose text begins at `at`.
fn string(text: &[u8], at: usize) -> Option<Passed> {
    let Some(piece) = text.get(at..).and_then(<[u8]>::first_chunk) else {
        return longer(text, at);
    };
    // Most end here.
    match first_stop(piece) {
        Some(stop) if piece[stop] == b'"' => Some(Passed { end: at + stop + 1, escapes: false }),
        Some(stop) => longer(text, at + stop),
        None => longer(text, at + PIECE),
    }
}

/// Passes the rest of a string, from `at` on.
fn longer(text: &[u8], mut at: usize) -> Option<Passed> {
    let long = at + SHORT;
    let mut escapes = false;
    loop {
        while at < long
            && let Some(piece) = text.get(at..).and_then(<[u8]>::first_chunk)
        {
            match first_stop(piece) {
                Some(stop) => {
                    at += stop;
                    break;
                }
                None => at += PIECE,
            }
        }
        if at >= long {
            let rest = text.get(at..)?;
            let length = memchr2(b'"', b'\\', rest)?;
            // Without an early end, so that it is done by vectors.
            let control = rest.get(..length)?.iter().fold(false, |any, byte| any | (*byte < 0x20));
            if control {
                return None;
            }
            at += length;
        }
        match text.get(at)? {
            b'"' => return Some(Passed { end: at + 1, escapes }),
            b'\\' => {
                at = escape(text, at + 1)?;
                escapes = true;
            }
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

/// As much as is looked at at once: most names are shorter.
const PIECE: usize = 16;

/// Where the first quote, backslash or control character is.
#[cfg(target_arch = "x86_64")]
fn first_stop(piece: &[u8; PIECE]) -> Option<usize> {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };

    #[inline]
    #[target_feature(enable = "sse2")]
    fn stops(piece: &[u8; PIECE]) -> i32 {
        let (low, high) = halves(piece);
        let piece = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
        let quote = _mm_cmpeq_epi8(piece, _mm_set1_epi8(0x22));
        let backslash = _mm_cmpeq_epi8(piece, _mm_set1_epi8(0x5c));
        let control = _mm_cmpeq_epi8(piece, _mm_min_epu8(piece, _mm_set1_epi8(0x1f)));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control))
    }

    const { assert!(cfg!(target_feature = "sse2"), "every x86_64 has it") };
    // SAFETY: the assertion above has found what `stops` needs in all that this is built for.
    #[expect(
        unsafe_code,
        reason = "what a processor has is known to the compiler only by an attribute"
    )]
    let stops = unsafe { stops(piece) };
    (stops != 0).then(|| stops.trailing_zeros() as usize)
}

/// Where the first quote, backslash or control character is.
#[cfg(not(target_arch = "x86_64"))]
fn first_stop(piece: &[u8; PIECE]) -> Option<usize> {
    stop_by_words(piece)
}

/// By words, as any processor can.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn stop_by_words(piece: &[u8; PIECE]) -> Option<usize> {
    /// The highest bit is set in the first byte, from the lowest, that is one. Bytes above it may have theirs
    /// set for nothing.
    fn stops(word: u64) -> u64 {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        (control | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c))) & (ONES * 0x80)
    }
    let (low, high) = halves(piece);
    match (stops(low), stops(high)) {
        (0, 0) => None,
        (0, high) => Some(PIECE / 2 + high.trailing_zeros() as usize / 8),
        (low, _) => Some(low.trailing_zeros() as usize / 8),
    }
}

fn halves(piece: &[u8; PIECE]) -> (u64, u64) {
    let both = u128::from_le_bytes(*piece);
    (both as u64, (both >> 64) as u64)
}

/// The place behind the escape whose backslash is before `at`.
fn escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => {
            let digits = text.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
        }
        _ => None,
    }
}

/// The place behind the number at `at`.
fn number(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + usize::from(text.get(at) == Some(&b'-'));
    at = match text.get(at)? {
        b'0' => at + 1,
        _ => digits(text, at)?,
    };
    if text.get(at) == Some(&b'.') {
        at = digits(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        at = digits(text, at)?;
    }
    Some(at)
}

/// The place behind the digits at `at`, of which there is at least one.
fn digits(text: &[u8], at: usize) -> Option<usize> {
    let count = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}

fn literal(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn expect(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    (text.get(at) == Some(&byte)).then_some(at + 1)
}

/// The next place from `at` that is no white space.
#[inline]
fn blank(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = text.get(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    type Members = BTreeMap<String, String>;

    fn is_stop(byte: u8) -> bool {
        matches!(byte, b'"' | b'\\' | 0..0x20)
    }

    /// How `members` reads it. `None` also for what it leaves to others.
    fn ours(text: &str) -> Option<Members> {
        let mut found = Members::new();
        members(text.as_bytes(), |name, value| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            found.insert(text(name), text(value)).is_none().then_some(())
        })?;
        Some(found)
    }

    fn theirs(text: &str) -> Option<Members> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        Some(members.into_iter().map(|(name, raw)| (name, raw.get().to_owned())).collect())
    }

    /// JSON, and what is nearly JSON.
    fn document() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[a-z]{0,12}",
            "[ -~]{0,90}",
            "\\PC{0,20}",
            r"(\\[nrtbfu/]|\\u00[0-9a-g]{2}|[a-z]{0,9}){0,6}",
            "[a-z\u{0}-\u{1f}]{0,4}",
        ]
        .prop_map(|text| format!("\"{text}\""));
        let leaf = prop_oneof![
            text,
            "-?[0-9]{1,4}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("null".to_owned()),
            Just("nul".to_owned()),
            Just("-".to_owned()),
        ];
        let value = leaf.prop_recursive(4, 30, 4, |inner| {
            let blank = "[ \t\r\n]{0,2}";
            prop_oneof![
                (
                    prop::collection::vec(inner.clone(), 0..4),
                    blank,
                    prop_oneof![9 => Just("]"), 1 => Just("}")]
                )
                    .prop_map(|(all, blank, end)| format!(
                        "[{blank}{}{blank}{end}",
                        all.join(&format!("{blank},"))
                    )),
                (
                    prop::collection::vec(("[a-c]{1,2}", inner), 0..4),
                    blank,
                    prop_oneof![9 => Just("}"), 1 => Just("]"), 1 => Just(",}")]
                )
                    .prop_map(|(all, blank, end)| {
                        let all: Vec<_> = all
                            .iter()
                            .map(|(name, value)| format!("\"{name}\"{blank}:{blank}{value}"))
                            .collect();
                        format!("{{{blank}{}{blank}{end}", all.join(&format!("{blank},{blank}")))
                    }),
            ]
        });
        (
            prop::collection::vec(("[a-d]{1,2}", value), 0..5),
            prop_oneof![9 => Just(""), 1 => Just(" "), 1 => Just("x")],
        )
            .prop_map(|(all, rest)| {
                let all: Vec<_> =
                    all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}{rest}", all.join(","))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_piece_is_looked_at_alike_by_vector_and_by_words(
            piece: [u8; PIECE],
            stop in proptest::sample::select(b"\"\\\0\x1f\x20\x7f\x80\xff".as_slice()),
            at in 0..PIECE,
        ) {
            let plain = piece.map(|byte| if is_stop(byte) { b'x' } else { byte });
            let mut one = plain;
            one[at] = stop;
            for piece in [piece, plain, one] {
                let expected = piece.iter().position(|byte| is_stop(*byte));
                prop_assert_eq!(first_stop(&piece), expected);
                prop_assert_eq!(stop_by_words(&piece), expected);
            }
        }

        #[test]
        fn what_it_takes_is_read_alike(text in document()) {
            let theirs = theirs(&text);
            match ours(&text) {
                Some(ours) => prop_assert_eq!(Some(ours), theirs),
                // A name twice is left to others; nothing else here is.
                None => if let Some(theirs) = theirs {
                    let mut names = 0;
                    members(text.as_bytes(), |_, _| { names += 1; Some(()) }).unwrap();
                    prop_assert!(names > theirs.len());
                }
            }
        }

        #[test]
        fn what_is_cut_or_changed_is_not_taken_for_more(text in document(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let at = cut.index(text.len());
            let mut changed = text.clone().into_bytes();
            changed[at] = byte;
            for bytes in [&text.as_bytes()[..at], &changed] {
                let Ok(text) = std::str::from_utf8(bytes) else { continue };
                if let Some(ours) = ours(text) {
                    prop_assert_eq!(Some(ours), theirs(text));
                }
            }
        }

        #[test]
        fn strings_of_any_length_end_at_their_quote(text in "[ -~]{0,300}") {
            let quoted = serde_json::to_string(&text).unwrap();
            let document = format!("{{\"a\":{quoted}}}");
            prop_assert_eq!(ours(&document), theirs(&document));
            let broken = document.replace('}', "\u{1}}");
            prop_assert!(ours(&broken).is_none() || theirs(&broken).is_some());
        }
    }

    #[test]
    fn elements_are_those_of_an_array() {
        let list = |text: &str| {
            let mut found = Vec::new();
            elements(text.as_bytes(), |value| {
                found.push(String::from_utf8(value.to_vec()).unwrap());
                Some(())
            })?;
            Some(found)
        };
        assert_eq!(list(" [ 1, [2] ,{\"a\":3}]").unwrap(), ["1", "[2]", "{\"a\":3}"]);
        assert_eq!(list("[]").unwrap(), [""; 0]);
        for text in ["", "[", "[1", "[1,]", "[,]", "[1 2]", "{}", "[]]", "[1]x"] {
            assert_eq!(list(text), None, "{text}");
        }
    }

    #[test]
    fn fields_are_found_once() {
        let found = fields(b"{\"b\":null, \"x\":1, \"a\":[1]}", &["a", "b", "c"]).unwrap();
        assert_eq!(found, [Some(&b"[1]"[..]), Some(&b"null"[..]), None]);
        for text in ["{\"a\":1,\"a\":2}", "{\"\\u0061\":1}", "[]", "null", "{\"a\":1}}"] {
            assert_eq!(fields(text.as_bytes(), &["a"]), None, "{text}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_left_to_others() {
        let nested = |depth: usize| {
            let inner = depth - 1;
            format!("{{\"a\":{}1{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        assert!(ours(&nested(128)).is_some());
        assert!(ours(&nested(129)).is_none());
        let objects = format!("{{\"a\":{}1{}}}", "{\"a\":".repeat(127), "}".repeat(127));
        assert!(ours(&objects).is_some());
    }
}
