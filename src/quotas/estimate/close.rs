//! A nearer bound on what goes in, where the quick one does not fit.
//!
//! For a model of OpenAI's the text is cut into its tokens, up to `MAX_TOKENIZED` bytes of it; what is
//! longer counts byte for byte. For others, what their provider has counted of late for a byte is taken.
//! Pictures in the body count as pictures, and not by the length of their data.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use tiktoken_rs::CoreBPE;
use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};
use tokio::sync::Semaphore;

use super::contents::Contents;
use super::{Answerer, Calibration, Endpoint, Peek, frame, within_context};

/// The most text that is cut into tokens, in bytes: some milliseconds.
const MAX_TOKENIZED: usize = 64 * 1024;

/// The longest run without white space that is cut into tokens. A longer one is no language, and dear.
const MAX_WORD: usize = 256;

/// What a provider may write around an object, such as a message, beside what is in it.
const OBJECT_FRAME: u64 = 8;

/// Strings this long may be data. Shorter ones count as text.
pub(super) const SHORTEST_DATA: usize = 512;

/// How many bodies are looked at closely at once. The rest does with the quick bound.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| {
    Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
});

/// How a model's provider cuts text, where that is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut(Tokenizer);

impl Cut {
    /// Of the model of OpenAI's with that name.
    pub fn of_openai(model: &str) -> Option<Self> {
        get_tokenizer(model).map(Self)
    }

    fn encoder(self) -> &'static CoreBPE {
        match self.0 {
            Tokenizer::O200kHarmony | Tokenizer::O200kBase => tiktoken_rs::o200k_base_singleton(),
            Tokenizer::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
            Tokenizer::P50kBase | Tokenizer::P50kEdit => tiktoken_rs::p50k_base_singleton(),
            Tokenizer::R50kBase | Tokenizer::Gpt2 => tiktoken_rs::r50k_base_singleton(),
        }
    }
}

/// A bound on the tokens of the prompt, at most the quick one. `None`: there is none that is nearer.
pub async fn input(
    endpoint: Endpoint,
    peek: &Peek,
    body: &Bytes,
    contents: Contents,
    answerer: Answerer,
    cut: Option<Cut>,
    calibration: &Calibration,
) -> Option<u64> {
    if peek.reads_more || contents.unbounded {
        return None;
    }
    let pictures = contents.pictures.saturating_mul(answerer.picture);
    let text = match cut {
        Some(cut) => {
            let _place = PLACES.try_acquire().ok()?;
            let body = body.clone();
            // The tokenizer loads its table once, and works for milliseconds. If it gives up on a text, the
            // quick bound is left.
            tokio::task::spawn_blocking(move || tokens(&body, cut)).await.ok()??
        }
        None => calibration.bound(text_bytes(body)?)?,
    };
    let input = text.saturating_add(pictures).saturating_add(frame(endpoint, peek));
    Some(within_context(endpoint, peek, &answerer, contents, input))
}

/// Tokens of all texts in the body, and of what is written around them.
fn tokens(body: &[u8], cut: Cut) -> Option<u64> {
    let encoder = cut.encoder();
    let left = Cell::new(MAX_TOKENIZED);
    let count = |text: &str| words(text, encoder, &left);
    walk(body, &count)
}

/// Bytes of all texts in the body, and of what is written around them.
fn text_bytes(body: &[u8]) -> Option<u64> {
    walk(body, &|text: &str| text.len() as u64)
}

/// Gives `see` all texts in the body, names of members included. `None` where it is no JSON.
pub(super) fn each_text(body: &[u8], see: &mut dyn FnMut(&str)) -> Option<()> {
    let see = std::cell::RefCell::new(see);
    walk(body, &|text: &str| {
        (see.borrow_mut())(text);
        0
    })
    .map(drop)
}

/// Tokens of `text`, of which `left` bytes may be cut.
fn words(text: &str, encoder: &CoreBPE, left: &Cell<usize>) -> u64 {
    let mut tokens = 0;
    // Runs of words that are short enough are cut together: a token may hold a word and the space before.
    let mut rest = text;
    while !rest.is_empty() {
        let long = long_word(rest);
        let (short, word) = match &long {
            Some(range) => (&rest[..range.start], &rest[range.clone()]),
            None => (rest, ""),
        };
        let may = floor_boundary(short, left.get());
        left.set(left.get() - may);
        tokens += encoder.encode_ordinary(&short[..may]).len() as u64;
        tokens += (short.len() - may) as u64 + word.len() as u64;
        rest = &rest[short.len() + word.len()..];
    }
    tokens
}

/// The first run of more than `MAX_WORD` bytes without white space.
fn long_word(text: &str) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            if at - start > MAX_WORD {
                return Some(start..at);
            }
            start = at + c.len_utf8();
        }
    }
    (text.len() - start > MAX_WORD).then_some(start..text.len())
}

fn floor_boundary(text: &str, most: usize) -> usize {
    let mut at = most.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The sum of `count` over all strings of a document, names of members included. `None` where it is no
/// JSON.
fn walk(body: &[u8], count: &dyn Fn(&str) -> u64) -> Option<u64> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    Walk { count, picture: false }.deserialize(&mut parser).ok()
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    count: &'a dyn Fn(&str) -> u64,
    /// Whether a picture may stand here.
    picture: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<u64, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = u64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<u64, E> {
        Ok(1)
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(1)
    }

    // Digits are cut into threes at the least; a token each is more than enough.

    fn visit_i64<E>(self, number: i64) -> Result<u64, E> {
        Ok(u64::from(number.unsigned_abs().checked_ilog10().unwrap_or(0)) + 2)
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(u64::from(number.checked_ilog10().unwrap_or(0)) + 1)
    }

    fn visit_f64<E>(self, _: f64) -> Result<u64, E> {
        Ok(24)
    }

    fn visit_str<E>(self, text: &str) -> Result<u64, E> {
        Ok(if self.picture && is_picture(text) { 0 } else { (self.count)(text) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let mut sum = 0_u64;
        let inner = Walk { picture: false, ..self };
        while let Some(more) = list.next_element_seed(inner)? {
            sum = sum.saturating_add(more).saturating_add(1);
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut sum = OBJECT_FRAME;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let picture = ["url", "image_url", "data"].contains(&&*name);
            let value = map.next_value_seed(Walk { picture, ..self })?;
            sum = sum.saturating_add((self.count)(&name)).saturating_add(value);
        }
        Ok(sum)
    }
}

/// Whether a string is the data of a picture, which is counted apart: a `data:` URL of one, or base64
/// that begins as PNG, JPEG, GIF and WebP files do.
fn is_picture(text: &str) -> bool {
    if text.len() < SHORTEST_DATA {
        return false;
    }
    let data = match text.strip_prefix("data:image/") {
        Some(rest) => match rest.split_once(";base64,") {
            Some((kind, data)) if kind.len() < 64 => data,
            _ => return false,
        },
        None if ["iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"]
            .iter()
            .any(|magic| text.starts_with(magic)) =>
        {
            text
        }
        None => return false,
    };
    data.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::quick;
    use super::*;
    use crate::dialects::peek::peek;

    const ANSWERER: Answerer = Answerer { context: None, ceiling: 10, picture: 1_000 };

    async fn close(body: &str, calibration: &Calibration, model: &str) -> Option<u64> {
        let peek = peek(Endpoint::ChatCompletions, body.as_bytes()).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let cut = Cut::of_openai(model);
        input(
            Endpoint::ChatCompletions,
            &peek,
            &body,
            Contents::of(&body),
            ANSWERER,
            cut,
            calibration,
        )
        .await
    }

    fn chat(text: &str) -> String {
        let text = serde_json::to_string(text).unwrap();
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":{text}}}]}}"#)
    }

    fn quickly(body: &str) -> u64 {
        let peek = peek(Endpoint::ChatCompletions, body.as_bytes()).unwrap();
        quick(
            Endpoint::ChatCompletions,
            &peek,
            body.as_bytes(),
            Contents::of(body.as_bytes()),
            &ANSWERER,
        )
        .input
    }

    #[tokio::test]
    async fn a_text_is_cut_as_openai_does() {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
        let body = chat(&text);
        // Ten tokens a sentence.
        let near = close(&body, &Calibration::default(), "gpt-4o").await.unwrap();
        assert!((1_000..1_200).contains(&near), "{near}");
        assert!(quickly(&body) > 4_500);
    }

    #[tokio::test]
    async fn what_is_no_language_counts_byte_for_byte() {
        let body = chat(&format!("a {} b", "x".repeat(100_000)));
        let near = close(&body, &Calibration::default(), "gpt-4o").await.unwrap();
        assert!((100_000..100_200).contains(&near), "{near}");
        let long = chat(&"word ".repeat(100_000));
        let near = close(&long, &Calibration::default(), "gpt-4o").await.unwrap();
        assert!(near > 500_000 - MAX_TOKENIZED as u64 && near < 470_000, "{near}");
    }

    #[tokio::test]
    async fn others_are_bounded_by_what_they_counted() {
        let calibration = Calibration::default();
        let body = chat(&"word ".repeat(1_000));
        assert_eq!(close(&body, &calibration, "claude").await, None);
        for _ in 0..40 {
            calibration.observe(5_000, 1_000);
        }
        let near = close(&body, &calibration, "claude").await.unwrap();
        assert!((1_200..1_400).contains(&near), "{near}");
    }

    #[tokio::test]
    async fn a_pictures_data_is_no_text() {
        let picture = format!("data:image/png;base64,{}", "iVBORw0KGgoAAAA".repeat(10_000));
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{picture}"}}}}]}}]}}"#
        );
        let near = close(&body, &Calibration::default(), "gpt-4o").await.unwrap();
        assert!((1_000..1_300).contains(&near), "{near}");
        let as_text = format!(r#"{{"model":"m","messages":[{{"content":"{picture}"}}]}}"#);
        assert!(close(&as_text, &Calibration::default(), "gpt-4o").await.unwrap() > 100_000);
        let hidden = r#"{"model":"m","previous_response_id":"x"}"#;
        assert_eq!(close(hidden, &Calibration::default(), "gpt-4o").await, None);
    }

    proptest! {
        #[test]
        fn no_text_has_fewer_tokens_than_it_is_cut_into(text in "\\PC{0,400}") {
            let encoder = Cut::of_openai("gpt-4o").unwrap().encoder();
            let left = Cell::new(MAX_TOKENIZED);
            let counted = words(&text, encoder, &left);
            prop_assert!(counted >= encoder.encode_ordinary(&text).len() as u64);
            prop_assert!(counted <= text.len() as u64);
        }
    }
}
