//! The most that a request may use, before it is forwarded.
//!
//! | module | what it is |
//! |---|---|
//! | [`contents`] | what is in a body beside text |
//! | [`close`] | a nearer bound, where the first does not fit |
//! | [`length`] | how much of a context a body fills, for the choice of a target |
//! | [`calibration`] | how many tokens a model's provider has counted for a byte |
//!
//! A token of text is at least a byte of it. So the body's length bounds what goes in, for nothing, and
//! what is held beyond the real use is given back when the request ends. Only where a limit is so nearly
//! used up that this bound does not fit, it is worth to look closer.

pub mod calibration;
pub mod close;
pub mod contents;
pub mod length;

use self::contents::Contents;
use crate::dialects::peek::Peek;
use crate::dialects::{Dialect, Endpoint};

pub use self::calibration::Calibration;

/// What a model can look at where nobody says: as much as any well-known one.
pub const DEFAULT_CONTEXT: u64 = 1_048_576;

/// What text completions answer with where a request does not say.
/// <https://platform.openai.com/docs/api-reference/completions/create#completions-create-max_tokens>
const COMPLETIONS_DEFAULT: u64 = 16;

/// What a provider may write around a request.
const FRAME: u64 = 64;
/// What a provider may tell a model about its tools beside their description.
/// <https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview#pricing>
const TOOLS_FRAME: u64 = 1_024;

/// What is known of the one who answers.
#[derive(Clone, Copy, Debug)]
pub struct Answerer {
    /// The most tokens that it can look at, where somebody says.
    pub context: Option<u64>,
    /// The most tokens of one of its answers, where a request does not say.
    pub ceiling: u64,
    /// The most tokens that it takes a picture for.
    pub picture: u64,
}

/// A bound on the tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of all answers together.
    pub output: u64,
}

impl Bound {
    /// All tokens.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// A bound that costs little to find.
pub fn quick(
    endpoint: Endpoint,
    peek: &Peek,
    body: &[u8],
    contents: Contents,
    answerer: &Answerer,
) -> Bound {
    if endpoint == Endpoint::CountTokens {
        return Bound::default();
    }
    let text = (body.len() as u64).saturating_add(frame(endpoint, peek));
    let pictures = contents.pictures.saturating_mul(answerer.picture);
    let input = within_context(endpoint, peek, answerer, contents, text.saturating_add(pictures));
    Bound { input, output: output(endpoint, peek, answerer) }
}

/// What a provider adds to what the caller wrote.
fn frame(endpoint: Endpoint, peek: &Peek) -> u64 {
    FRAME + if peek.tools && endpoint.dialect() == Dialect::Anthropic { TOOLS_FRAME } else { 0 }
}

/// `input`, or what the model can look at where that is the better bound, or the only one.
fn within_context(
    endpoint: Endpoint,
    peek: &Peek,
    answerer: &Answerer,
    contents: Contents,
    input: u64,
) -> u64 {
    if peek.reads_more || contents.unbounded {
        return answerer.context.unwrap_or(DEFAULT_CONTEXT).max(input);
    }
    // A list of texts is as many contexts.
    let one_context = !matches!(endpoint, Endpoint::Embeddings | Endpoint::Completions);
    match answerer.context {
        Some(context) if one_context => input.min(context),
        _ => input,
    }
}

/// The most tokens of all answers together.
pub fn output(endpoint: Endpoint, peek: &Peek, answerer: &Answerer) -> u64 {
    let one = match endpoint {
        Endpoint::Embeddings | Endpoint::CountTokens => 0,
        Endpoint::Completions => peek.max_output_tokens.unwrap_or(COMPLETIONS_DEFAULT),
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => {
            peek.max_output_tokens.unwrap_or(answerer.ceiling)
        }
    };
    one.saturating_mul(u64::from(peek.n)).saturating_mul(u64::from(peek.prompts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::peek::peek;

    const ANSWERER: Answerer = Answerer { context: Some(10_000), ceiling: 4_000, picture: 1_000 };

    fn bound(endpoint: Endpoint, body: &str) -> Bound {
        let peek = peek(endpoint, body.as_bytes()).unwrap();
        quick(endpoint, &peek, body.as_bytes(), Contents::of(body.as_bytes()), &ANSWERER)
    }

    #[test]
    fn answers_are_bounded_by_what_is_asked_for_else_by_what_the_model_can() {
        for (endpoint, body, output) in [
            (Endpoint::ChatCompletions, r#"{"model":"m"}"#, 4_000),
            (Endpoint::ChatCompletions, r#"{"model":"m","max_tokens":7,"n":3}"#, 21),
            (Endpoint::ChatCompletions, r#"{"model":"m","max_completion_tokens":9000}"#, 9_000),
            (Endpoint::Completions, r#"{"model":"m","prompt":["a","b"],"best_of":2}"#, 64),
            (Endpoint::Embeddings, r#"{"model":"m","input":"x"}"#, 0),
            (Endpoint::CountTokens, r#"{"model":"m","max_tokens":5}"#, 0),
        ] {
            assert_eq!(bound(endpoint, body).output, output, "{body}");
        }
    }

    #[test]
    fn what_is_not_in_the_body_may_fill_the_context() {
        let text = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
        assert_eq!(bound(Endpoint::ChatCompletions, text).input, text.len() as u64 + FRAME);
        let picture = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}"#;
        assert_eq!(
            bound(Endpoint::ChatCompletions, picture).input,
            picture.len() as u64 + FRAME + 1_000
        );
        for body in [
            r#"{"model":"m","previous_response_id":"r"}"#,
            r#"{"model":"m","input":[{"content":[{"type":"input_file","file_id":"f"}]}]}"#,
            r#"{"model":"m","input":[{"content":[{"type":"input\u005ffile","file_id":"f"}]}]}"#,
            r#"{"model":"m","tools":[{"type":"web_search"}]}"#,
        ] {
            assert_eq!(bound(Endpoint::Responses, body).input, 10_000, "{body}");
        }
        let long =
            format!(r#"{{"model":"m","messages":[{{"content":"{}"}}]}}"#, "x ".repeat(9_000));
        assert_eq!(bound(Endpoint::ChatCompletions, &long).input, 10_000);
    }
}
