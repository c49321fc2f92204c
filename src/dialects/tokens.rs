//! Reads the providers' usage objects.
//!
//! Sources: "The chat completion object", "The response object" and "Embeddings" of OpenAI's API
//! reference; "Messages" and "Streaming messages" of Anthropic's.
//!
//! A count that is negative or no number is taken as not told, one beyond
//! [`Usage::MAX_COUNT`] is cut to it: a provider's slip must neither fail a request nor overflow
//! a budget.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use sluicegate_filters::price::ServiceTier;

use super::json::{self, Cursor};
use super::{Dialect, Endpoint};
use crate::chat::Usage;

/// The usage of an answer that is one document. `None` when `raw` tells no count.
pub(super) fn of_answer(endpoint: Endpoint, raw: &[u8]) -> Option<Usage> {
    match endpoint.dialect() {
        Dialect::OpenAi => openai(endpoint, raw),
        Dialect::Anthropic => {
            let mut counts = AnthropicCounts::default();
            counts.merge(raw);
            counts.usage()
        }
    }
}

/// Reads a provider's word for how fast it has served. `None`: the standard, or a word that we do not
/// know.
///
/// Sources: `service_tier` of OpenAI's chat completions and responses, and of Anthropic's usage.
pub(super) fn tier(raw: &[u8]) -> Option<ServiceTier> {
    match raw.trim_ascii() {
        b"\"priority\"" => Some(ServiceTier::Priority),
        b"\"flex\"" => Some(ServiceTier::Flex),
        b"\"batch\"" => Some(ServiceTier::Batch),
        _ => None,
    }
}

/// The same, of Anthropic's usage.
pub(super) fn tier_in_usage(raw: &[u8]) -> Option<ServiceTier> {
    #[derive(Deserialize)]
    struct Tiered<'a> {
        #[serde(borrow)]
        service_tier: Option<&'a RawValue>,
    }
    let told: Tiered<'_> = serde_json::from_slice(raw).ok()?;
    tier(told.service_tier?.get().as_bytes())
}

/// Reads OpenAI's usage, of chat completions, responses and embeddings alike.
///
/// Cached tokens are part of the prompt's. Where the total is more than prompt and completion
/// together, the difference is reasoning that the provider left out of the completion (xAI and
/// Gemini do); it is billed as output, so it counts as output.
pub(super) fn openai(endpoint: Endpoint, raw: &[u8]) -> Option<Usage> {
    // Nearly every provider writes plain numbers. Where one of its values is none, all are read once
    // more, each by itself.
    match json::whole(raw, plain_counts) {
        Some(counts) => openai_counts(endpoint, counts),
        None => openai_counts(endpoint, serde_json::from_slice(raw).ok()?),
    }
}

/// Passes the usage of an answer that is one document, and reads it. `Some(None)` when it tells no count,
/// `None` when there is no JSON.
pub(super) fn pass(endpoint: Endpoint, at: &mut Cursor<'_>) -> Option<Option<Usage>> {
    if endpoint.dialect() == Dialect::OpenAi {
        let mut ahead = at.clone();
        if let Some(counts) = plain_counts(&mut ahead) {
            *at = ahead;
            return Some(openai_counts(endpoint, counts));
        }
    }
    Some(of_answer(endpoint, at.value()?))
}

/// Passes a usage whose counts are plain numbers, and reads it.
fn plain_counts(at: &mut Cursor<'_>) -> Option<OpenAiCounts> {
    let mut counts = OpenAiCounts::default();
    at.object(|name, at| {
        let count = match name {
            b"prompt_tokens" => &mut counts.prompt_tokens,
            b"input_tokens" => &mut counts.input_tokens,
            b"completion_tokens" => &mut counts.completion_tokens,
            b"output_tokens" => &mut counts.output_tokens,
            b"total_tokens" => &mut counts.total_tokens,
            b"prompt_cache_hit_tokens" => &mut counts.prompt_cache_hit_tokens,
            b"cached_tokens" => &mut counts.cached_tokens,
            _ => {
                let details = match name {
                    b"prompt_tokens_details" => &mut counts.prompt_tokens_details,
                    b"input_tokens_details" => &mut counts.input_tokens_details,
                    b"completion_tokens_details" => &mut counts.completion_tokens_details,
                    b"output_tokens_details" => &mut counts.output_tokens_details,
                    _ => return at.value().map(drop),
                };
                return once(details, plain_details(at)?);
            }
        };
        once(count, plain_count(at.value()?)?)
    })?;
    Some(counts)
}

/// `Some(None)` of a `null`.
fn plain_details(at: &mut Cursor<'_>) -> Option<Option<Odd<Details>>> {
    if !at.is_at(b'{') {
        return (at.value()? == b"null").then_some(None);
    }
    let mut details = Details::default();
    at.object(|name, at| {
        let count = match name {
            b"cached_tokens" => &mut details.cached_tokens,
            b"reasoning_tokens" => &mut details.reasoning_tokens,
            b"audio_tokens" => &mut details.audio_tokens,
            _ => return at.value().map(drop),
        };
        once(count, plain_count(at.value()?)?)
    })?;
    Some(Some(Odd(details)))
}

/// `Some(None)` of a `null`.
fn plain_count(raw: &[u8]) -> Option<Option<OddCount>> {
    if raw == b"null" {
        return Some(None);
    }
    // So many digits always fit.
    if raw.len() > 19 || !raw.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = raw.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    Some(Some(OddCount(Some(count))))
}

/// Puts in what a member tells; `None` where one of its name has told something before.
fn once<T>(place: &mut Option<T>, told: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = told;
    Some(())
}

fn openai_counts(endpoint: Endpoint, counts: OpenAiCounts) -> Option<Usage> {
    let told = OddCount::told;
    let prompt = counts.prompt_tokens.or(counts.input_tokens).and_then(told);
    let completion = counts.completion_tokens.or(counts.output_tokens).and_then(told);
    let total = counts.total_tokens.and_then(told);
    if endpoint == Endpoint::Embeddings {
        return Some(Usage { input: prompt.or(total)?, ..Usage::default() });
    }
    if prompt.is_none() && completion.is_none() && total.is_none() {
        return None;
    }
    let prompt = prompt.unwrap_or(0);
    let details = |details: Option<Odd<Details>>| details.map(Details::from).unwrap_or_default();
    let prompt_details = details(counts.prompt_tokens_details.or(counts.input_tokens_details));
    let output_details = details(counts.completion_tokens_details.or(counts.output_tokens_details));
    let cached = prompt_details
        .cached_tokens
        .or(counts.prompt_cache_hit_tokens)
        .or(counts.cached_tokens)
        .and_then(told)
        .unwrap_or(0)
        .min(prompt);
    let output = completion.unwrap_or(0).max(total.unwrap_or(0).saturating_sub(prompt));
    let part = |count: Option<OddCount>, whole: u64| count.and_then(told).unwrap_or(0).min(whole);
    Some(Usage {
        input: prompt - cached,
        cache_read: cached,
        output,
        reasoning: part(output_details.reasoning_tokens, output),
        audio_input: part(prompt_details.audio_tokens, prompt),
        audio_output: part(output_details.audio_tokens, output),
        ..Usage::default()
    })
}

/// Anthropic's counts, which a stream tells in parts: each later one replaces what it repeats.
#[derive(Debug, Default)]
pub(super) struct AnthropicCounts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
}

impl AnthropicCounts {
    /// Takes one usage object.
    pub(super) fn merge(&mut self, raw: &[u8]) {
        match serde_json::from_slice::<AnthropicPart<Count, AnthropicWrites<Count>>>(raw) {
            Ok(part) => self.take(part),
            Err(_) => {
                type Lenient = AnthropicPart<OddCount, Odd<AnthropicWrites<OddCount>>>;
                if let Ok(part) = serde_json::from_slice::<Lenient>(raw) {
                    self.take(part);
                }
            }
        }
    }

    fn take<C: ToldCount, W: Into<AnthropicWrites<C>>>(&mut self, part: AnthropicPart<C, W>) {
        let writes: AnthropicWrites<C> = part.cache_creation.map(Into::into).unwrap_or_default();
        let replace = |present: &mut Option<u64>, count: Option<C>| {
            *present = count.and_then(C::told).or(*present);
        };
        replace(&mut self.input, part.input_tokens);
        replace(&mut self.cache_read, part.cache_read_input_tokens);
        replace(&mut self.cache_write, part.cache_creation_input_tokens);
        replace(&mut self.cache_write_5m, writes.ephemeral_5m_input_tokens);
        replace(&mut self.cache_write_1h, writes.ephemeral_1h_input_tokens);
        replace(&mut self.output, part.output_tokens);
    }

    /// The usage so far. `None` when no count was told.
    pub(super) fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let told_5m = self.cache_write_5m.unwrap_or(0);
        let cache_write_1h = self.cache_write_1h.unwrap_or(0);
        // What the breakdown does not cover has the default lifetime, five minutes.
        let untold =
            self.cache_write.unwrap_or(0).saturating_sub(told_5m.saturating_add(cache_write_1h));
        Some(Usage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write_5m: told_5m.saturating_add(untold),
            cache_write_1h,
            output: self.output.unwrap_or(0),
            ..Usage::default()
        })
    }
}

#[derive(Default, Deserialize)]
struct OpenAiCounts {
    prompt_tokens: Option<OddCount>,
    input_tokens: Option<OddCount>,
    completion_tokens: Option<OddCount>,
    output_tokens: Option<OddCount>,
    total_tokens: Option<OddCount>,
    prompt_tokens_details: Option<Odd<Details>>,
    input_tokens_details: Option<Odd<Details>>,
    completion_tokens_details: Option<Odd<Details>>,
    output_tokens_details: Option<Odd<Details>>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: Option<OddCount>,
    /// Moonshot's place for cached tokens.
    cached_tokens: Option<OddCount>,
}

#[derive(Default, Deserialize)]
struct Details {
    cached_tokens: Option<OddCount>,
    reasoning_tokens: Option<OddCount>,
    audio_tokens: Option<OddCount>,
}

/// A part that may be of an odd shape, which must not hide the counts beside it.
struct Odd<T>(T);

impl<'de, T: Default + serde::de::DeserializeOwned> Deserialize<'de> for Odd<T> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(parser)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

impl From<Odd<Self>> for Details {
    fn from(odd: Odd<Self>) -> Self {
        odd.0
    }
}

#[derive(Deserialize)]
struct AnthropicPart<C, W> {
    input_tokens: Option<C>,
    cache_read_input_tokens: Option<C>,
    cache_creation_input_tokens: Option<C>,
    output_tokens: Option<C>,
    cache_creation: Option<W>,
}

#[derive(Deserialize)]
struct AnthropicWrites<C> {
    ephemeral_5m_input_tokens: Option<C>,
    ephemeral_1h_input_tokens: Option<C>,
}

impl<C> Default for AnthropicWrites<C> {
    fn default() -> Self {
        Self { ephemeral_5m_input_tokens: None, ephemeral_1h_input_tokens: None }
    }
}

impl<C> From<Odd<Self>> for AnthropicWrites<C> {
    fn from(odd: Odd<Self>) -> Self {
        odd.0
    }
}

/// A count, or what stands in its place.
trait ToldCount: Copy {
    /// The count, at most [`Usage::MAX_COUNT`]; `None` where it is none.
    fn told(self) -> Option<u64>;
}

/// A count as a plain number.
#[derive(Clone, Copy)]
struct Count(u64);

/// A count as a provider wrote it, even one that no number type holds.
#[derive(Clone, Copy)]
struct OddCount(Option<u64>);

impl ToldCount for Count {
    fn told(self) -> Option<u64> {
        Some(self.0.min(Usage::MAX_COUNT))
    }
}

impl ToldCount for OddCount {
    fn told(self) -> Option<u64> {
        self.0.map(|count| count.min(Usage::MAX_COUNT))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        parser.deserialize_u64(Number).map(Self)
    }
}

/// Takes a whole number that is not negative. Everything else is an error: see [`OddCount`].
struct Number;

impl Visitor<'_> for Number {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<u64, E> {
        Ok(count)
    }
}

impl<'de> Deserialize<'de> for OddCount {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(parser)?.get();
        // Nothing but digits overflows only when it is huge.
        Ok(Self(if raw.bytes().all(|byte| byte.is_ascii_digit()) {
            Some(raw.parse().unwrap_or(u64::MAX))
        } else {
            // Text fails to parse, since it has its quotes. The cast saturates.
            raw.parse::<f64>()
                .ok()
                .filter(|count| count.is_finite() && *count >= 0.0)
                .map(|count| count as u64)
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chat(raw: &str) -> Option<Usage> {
        openai(Endpoint::ChatCompletions, raw.as_bytes())
    }

    #[test]
    fn reasoning_left_out_of_the_completion_is_output() {
        let usage = chat(
            r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,
                "completion_tokens_details":{"reasoning_tokens":94}}"#,
        )
        .unwrap();
        assert_eq!((usage.input, usage.output, usage.reasoning), (32, 103, 94));
    }

    #[test]
    fn other_places_of_cached_tokens() {
        for raw in [
            r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#,
            r#"{"prompt_tokens":10,"cached_tokens":4}"#,
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4}}"#,
        ] {
            let usage = chat(raw).unwrap();
            assert_eq!((usage.input, usage.cache_read), (6, 4), "{raw}");
        }
    }

    #[test]
    fn odd_counts_are_ignored_or_cut() {
        let table = [
            ("-5", 0),
            ("\"7\"", 0),
            ("null", 0),
            ("[1]", 0),
            ("{}", 0),
            ("1e999", 0),
            ("12.9", 12),
            ("1e3", 1_000),
            ("1e30", Usage::MAX_COUNT),
            ("18446744073709551615", Usage::MAX_COUNT),
            ("99999999999999999999999999", Usage::MAX_COUNT),
        ];
        for (count, expected) in table {
            let raw = format!(r#"{{"prompt_tokens":{count},"completion_tokens":3}}"#);
            let usage = chat(&raw).unwrap();
            assert_eq!((usage.input, usage.output), (expected, 3), "{count}");
        }
    }

    #[test]
    fn parts_never_exceed_their_whole() {
        let usage = chat(
            r#"{"prompt_tokens":5,"completion_tokens":6,
                "prompt_tokens_details":{"cached_tokens":50,"audio_tokens":50},
                "completion_tokens_details":{"reasoning_tokens":60,"audio_tokens":60}}"#,
        )
        .unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.audio_input), (0, 5, 5));
        assert_eq!((usage.reasoning, usage.audio_output), (6, 6));
        assert_eq!(usage.total(), 11);
    }

    #[test]
    fn no_count_is_no_usage() {
        for raw in ["{}", "null", "[]", "{\"prompt_tokens\":\"x\"}", "{", ""] {
            assert_eq!(chat(raw), None, "{raw}");
            assert_eq!(of_answer(Endpoint::Messages, raw.as_bytes()), None, "{raw}");
        }
        let odd = r#"{"prompt_tokens":5,"prompt_tokens_details":"none"}"#;
        assert_eq!(chat(odd).unwrap().input, 5);
    }

    #[test]
    fn later_parts_replace_what_they_repeat() {
        let mut counts = AnthropicCounts::default();
        counts.merge(
            br#"{"input_tokens":10,"cache_read_input_tokens":20,"cache_creation_input_tokens":35,
                "cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":10},
                "output_tokens":1}"#,
        );
        counts.merge(br#"{"output_tokens":77,"input_tokens":null}"#);
        let expected = Usage {
            input: 10,
            cache_read: 20,
            cache_write_5m: 25,
            cache_write_1h: 10,
            output: 77,
            ..Usage::default()
        };
        assert_eq!(counts.usage(), Some(expected));
        counts.merge(br#"{"output_tokens":80,"input_tokens":12}"#);
        let usage = counts.usage().unwrap();
        assert_eq!((usage.input, usage.output), (12, 80));
    }

    proptest! {
        #[test]
        fn sums_hold_for_all_counts(prompt: u64, cached: u64, completion: u64, total: u64) {
            let raw = format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},
                    "prompt_tokens_details":{{"cached_tokens":{cached}}}}}"#
            );
            let usage = chat(&raw).unwrap();
            prop_assert_eq!(usage.total_input(), prompt.min(Usage::MAX_COUNT));
            prop_assert!(usage.output >= completion.min(Usage::MAX_COUNT));
            prop_assert!(usage.total() <= 2 * Usage::MAX_COUNT);
        }

        #[test]
        fn nothing_panics(raw in ".{0,60}") {
            for endpoint in Endpoint::ALL {
                let _usage = of_answer(endpoint, raw.as_bytes());
            }
        }
    }
}
