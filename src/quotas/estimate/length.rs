//! How much of a model's context a body fills, as far as its text tells.
//!
//! The bound that limits hold is a token for each byte: right for a bill, but by it a request that fits
//! well would be kept from its model. Here two figures count, neither of which takes a tokenizer: what is
//! likely, to choose by, and what is certain, to refuse by.

use super::contents::Body;
use super::{Endpoint, Peek, close};

/// Characters of a token, in text of any language, are not more than this on average.
const MOST_CHARACTERS: u64 = 8;

/// In English.
const LIKELY_CHARACTERS: u64 = 4;

/// In scripts other than Latin.
const LIKELY_OTHERS: u64 = 2;

/// Tokens of what goes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// There are at least so many.
    pub least: u64,
    /// There may be about so many, or more.
    pub likely: u64,
}

/// Characters by what they are likely to take.
#[derive(Clone, Copy, Debug, Default)]
struct Characters {
    ascii: u64,
    others: u64,
}

/// The length of a request. `None`: its body does not tell.
pub fn of(endpoint: Endpoint, peek: &Peek, body: &Body<'_>) -> Option<Length> {
    let one_context = match endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => true,
        Endpoint::Completions => peek.prompts == 1,
        // A list of texts is as many contexts.
        Endpoint::Embeddings | Endpoint::CountTokens => false,
    };
    if !one_context || body.contents().unbounded {
        return None;
    }
    let mut all = Characters::default();
    close::each_text(body.bytes, &mut |text| all.add(text))?;
    let (ascii, others) = (all.ascii, all.others);
    Some(Length {
        least: (ascii + others) / MOST_CHARACTERS,
        likely: ascii / LIKELY_CHARACTERS + others / LIKELY_OTHERS,
    })
}

impl Characters {
    fn add(&mut self, text: &str) {
        if is_data(text) {
            return;
        }
        let mut in_space = false;
        for c in text.chars() {
            // Any run of white space can be one token.
            let space = c.is_whitespace();
            let counted = u64::from(!(space && in_space));
            in_space = space;
            if c.is_ascii() { self.ascii += counted } else { self.others += counted }
        }
    }
}

/// Whether a string may be the data of a picture, of sound or of a file: base64, with or without what is
/// before it in a `data:` URL.
fn is_data(text: &str) -> bool {
    let data = text.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    let data = data.map_or(text, |(_, data)| data);
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_\r\n".contains(&byte);
    text.len() >= close::SHORTEST_DATA && data.bytes().all(base64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::peek::peek;

    fn length(endpoint: Endpoint, body: &str) -> Option<Length> {
        let peek = peek(endpoint, body.as_bytes()).unwrap();
        of(endpoint, &peek, &Body::new(body.as_bytes()))
    }

    fn of_text(text: &str) -> Length {
        let body =
            serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]});
        length(Endpoint::ChatCompletions, &body.to_string()).unwrap()
    }

    #[test]
    fn text_counts_by_its_characters() {
        let frame = of_text("");
        let english = of_text(&"four ".repeat(8_000));
        assert!((5_000..5_010).contains(&english.least), "{english:?}");
        assert!((10_000..10_020).contains(&english.likely), "{english:?}");
        let chinese = of_text(&"\u{4f60}\u{597d}".repeat(4_000));
        assert!((1_000..1_010).contains(&chinese.least), "{chinese:?}");
        assert!((4_000..4_020).contains(&chinese.likely), "{chinese:?}");
        assert!(of_text(&" ".repeat(10_000)).likely <= frame.likely + 1);
    }

    #[test]
    fn data_counts_for_nothing() {
        let frame = of_text("");
        assert_eq!(of_text(&"iVBORw0KGgo=".repeat(10_000)), frame);
        let url = format!("data:audio/wav;base64,{}", "UklGRg==".repeat(10_000));
        assert_eq!(of_text(&url), frame);
    }

    #[test]
    fn some_bodies_do_not_tell() {
        let list = r#"{"model":"m","prompt":["a","b"]}"#;
        assert_eq!(length(Endpoint::Completions, list), None);
        assert!(length(Endpoint::Completions, r#"{"model":"m","prompt":"a"}"#).is_some());
        assert_eq!(length(Endpoint::Embeddings, r#"{"model":"m","input":"x"}"#), None);
        let file = r#"{"model":"m","input":[{"content":[{"type":"input_file","file_id":"f"}]}]}"#;
        assert_eq!(length(Endpoint::Responses, file), None);
    }

    #[test]
    fn the_least_is_not_more_than_a_tokenizer_counts() {
        let encoder = tiktoken_rs::o200k_base_singleton();
        for text in [
            "The quick brown fox jumps over the lazy dog, and nobody minds at all.",
            "fn main() {\n        let values: Vec<u64> = (0..10).collect();\n}\n",
            "Donaudampfschifffahrtsgesellschaftskapit\u{e4}nsm\u{fc}tze",
            "\u{4eca}\u{65e5}\u{306f}\u{3044}\u{3044}\u{5929}\u{6c17}\u{3067}\u{3059}\u{306d}",
            "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}, \u{906}\u{92a} \u{915}\u{948}\u{938}\u{947} \u{939}\u{948}\u{902}",
        ] {
            let text = text.repeat(50);
            let mut characters = Characters::default();
            characters.add(&text);
            let least = (characters.ascii + characters.others) / MOST_CHARACTERS;
            let counted = encoder.encode_ordinary(&text).len() as u64;
            assert!(least <= counted, "{least} of {counted}: {text}");
        }
    }
}
