//! What is in a body beside text, as far as a search for a few words tells.
//!
//! The words are the `type`s of content parts. In a text they can't stand so: its quotes are escaped.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::AhoCorasick;

/// What each word means.
#[derive(Clone, Copy)]
enum Word {
    /// One picture.
    Picture,
    /// Half of a picture: `image_url` is a part's type and the name of its member.
    HalfPicture,
    /// Something of which the body's length says nothing.
    Unbounded,
}

/// The last three are escapes that nobody needs for letters: they hide a word.
const WORDS: [(&str, Word); 12] = [
    ("\"image_url\"", Word::HalfPicture),
    ("\"input_image\"", Word::Picture),
    ("\"image\"", Word::Picture),
    ("\"file\"", Word::Unbounded),
    ("\"input_file\"", Word::Unbounded),
    ("\"document\"", Word::Unbounded),
    ("\"container_upload\"", Word::Unbounded),
    ("\"video_url\"", Word::Unbounded),
    ("\"item_reference\"", Word::Unbounded),
    ("\\u005", Word::Unbounded),
    ("\\u006", Word::Unbounded),
    ("\\u007", Word::Unbounded),
];

static FINDER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(WORDS.map(|(word, _)| word)).ok());

/// What is in a body beside text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Pictures, of which the body's length says little.
    pub pictures: u64,
    /// Files and the like, of which it says nothing.
    pub unbounded: bool,
}

/// A body whose contents are looked for once, when somebody first asks.
pub struct Body<'a> {
    /// Valid JSON.
    pub bytes: &'a [u8],
    contents: OnceLock<Contents>,
}

impl<'a> Body<'a> {
    /// Nothing is looked for yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, contents: OnceLock::new() }
    }

    /// What is in it beside text.
    pub fn contents(&self) -> Contents {
        *self.contents.get_or_init(|| Contents::of(self.bytes))
    }
}

impl Contents {
    /// Of a body that is valid JSON.
    pub fn of(body: &[u8]) -> Self {
        let Some(finder) = &*FINDER else { return Self { pictures: 0, unbounded: true } };
        let (mut halves, mut unbounded) = (0_u64, false);
        for found in finder.find_iter(body) {
            match WORDS[found.pattern().as_usize()].1 {
                Word::Picture => halves += 2,
                Word::HalfPicture => halves += 1,
                Word::Unbounded => unbounded = true,
            }
        }
        Self { pictures: halves.div_ceil(2), unbounded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_counted_and_words_in_texts_are_not() {
        for (body, pictures, unbounded) in [
            (r#"{"content":"an \"image\" of a \"file\""}"#, 0, false),
            (r#"[{"type":"image_url","image_url":{"url":"u"}}]"#, 1, false),
            (
                r#"[{"type":"input_image","file_id":"f"},{"type":"input_image","file_id":"g"}]"#,
                2,
                false,
            ),
            (r#"[{"type":"image","source":{"type":"url","url":"u"}}]"#, 1, false),
            (r#"[{"type":"document","source":{}}]"#, 0, true),
            (r#"{"a":"caf\u00e9 \u003c b"}"#, 0, false),
            (r#"{"typ\u0065":"x"}"#, 0, true),
        ] {
            assert_eq!(Contents::of(body.as_bytes()), Contents { pictures, unbounded }, "{body}");
        }
    }
}
