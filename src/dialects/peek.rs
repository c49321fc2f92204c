//! Reads the few fields of a request body that decisions need.
//!
//! A decision made on one reading of a body while the provider acts on another is a way around
//! every policy. So this parser is stricter than the providers': a body that two parsers could
//! read differently in a field that we look at is refused. The rest is checked for syntax and
//! otherwise skipped.

use std::{borrow::Cow, cell::RefCell, fmt, ops::Range};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Endpoint, json, scan};

/// The longest model name, in bytes after JSON unescaping.
pub const MAX_MODEL_BYTES: usize = 256;

/// The deepest nesting of arrays and objects in a body.
pub const MAX_DEPTH: usize = json::MAX_DEPTH as usize;

/// What a request body says about itself.
///
/// It also remembers where in the body the model's name is and where usage is asked for, so it
/// belongs to that body: see [`rewrite`](super::rewrite).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peek {
    /// The model that the caller named: 1 to [`MAX_MODEL_BYTES`] bytes, no control characters.
    pub model: String,
    /// Whether the caller wants an event stream.
    pub stream: bool,
    /// The caller's bound on output tokens for one answer; the larger one if there are two.
    pub max_output_tokens: Option<u64>,
    /// How many answers are generated and billed, at least 1. `best_of` counts too.
    pub n: u32,
    /// How many prompts are answered `n` times each, at least 1: text completions take a list.
    pub prompts: u32,
    /// Whom the caller names as the one behind the request.
    pub end_user: Option<String>,
    /// What the caller calls the conversation that the request is part of.
    pub conversation: Option<String>,
    /// Whether a service is asked for that may cost more than the standard one.
    pub priority: bool,
    /// Whether the provider reads more than the body: a stored conversation or prompt, or what tools of
    /// its own find.
    pub reads_more: bool,
    /// Whether the caller's own tools are described, to which a provider may add instructions.
    pub tools: bool,
    /// Whether the caller asked for usage in the stream.
    pub include_usage: bool,
    /// The model's JSON string, quotes included.
    pub(super) model_span: Range<usize>,
    /// How to ask for usage. `None`: the caller did, or the answer is no stream that can.
    pub(super) usage_switch: Option<UsageSwitch>,
}

/// The one place in a body where asking for streamed usage is switched on and off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UsageSwitch {
    /// Where the present text is.
    pub(super) span: Range<usize>,
    /// The caller's text.
    pub(super) off: &'static str,
    /// The text that asks for usage.
    pub(super) on: &'static str,
    /// Whether `on` is the present text.
    pub(super) is_on: bool,
}

impl UsageSwitch {
    fn new(span: Range<usize>, off: &'static str, on: &'static str) -> Self {
        Self { span, off, on, is_on: false }
    }
}

/// Why a body is refused. Always the caller's fault: status 400.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeekError {
    /// The body is not UTF-8.
    #[error("The request body is not valid UTF-8: byte {0} does not belong there.")]
    NotUtf8(usize),
    /// The body starts with a byte order mark, which JSON forbids (RFC 8259, section 8.1).
    #[error("The request body starts with a byte order mark; send plain UTF-8.")]
    ByteOrderMark,
    /// The body is not one JSON document.
    #[error("The request body is not valid JSON: {0}.")]
    NotJson(String),
    /// The body is JSON, but no object.
    #[error("The request body must be a JSON object.")]
    NotObject,
    /// The body is nested too deeply.
    #[error("The request body is nested deeper than {MAX_DEPTH} levels.")]
    TooDeep,
    /// A field that is needed is not there.
    #[error("The field `{0}` is missing.")]
    Missing(&'static str),
    /// A field occurs twice. Parsers differ in which one they take.
    #[error("The field `{0}` occurs more than once.")]
    Duplicate(&'static str),
    /// A field is spelt so that some parsers take it for another one.
    #[error("A field's name could be mistaken for `{0}`; spell it exactly so, or leave it out.")]
    Ambiguous(&'static str),
    /// A field has a value that it cannot have.
    #[error("The field `{field}` must be {expected}.")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What it has to be, in words.
        expected: &'static str,
    },
    /// A field that would let the provider choose a model which we have not approved.
    #[error("The field `{0}` is not supported: name one model in `model`.")]
    Unsupported(&'static str),
}

impl PeekError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotUtf8(_)
            | Self::ByteOrderMark
            | Self::NotJson(_)
            | Self::NotObject
            | Self::TooDeep => "invalid_json",
            Self::Missing(_) => "missing_required_parameter",
            Self::Duplicate(_) => "duplicate_parameter",
            Self::Ambiguous(_) => "ambiguous_parameter",
            Self::Invalid { .. } => "invalid_parameter",
            Self::Unsupported(_) => "unsupported_parameter",
        }
    }

    /// The field at fault.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::NotUtf8(_)
            | Self::ByteOrderMark
            | Self::NotJson(_)
            | Self::NotObject
            | Self::TooDeep => None,
            Self::Missing(field)
            | Self::Duplicate(field)
            | Self::Ambiguous(field)
            | Self::Invalid { field, .. }
            | Self::Unsupported(field) => Some(field),
        }
    }
}

/// Reads `body`, a whole request body for `endpoint`.
pub fn peek(endpoint: Endpoint, body: &[u8]) -> Result<Peek, PeekError> {
    if body.starts_with(b"\xEF\xBB\xBF") {
        return Err(PeekError::ByteOrderMark);
    }
    // The JSON parsers below do not look at the encoding of strings that they skip.
    let text =
        std::str::from_utf8(body).map_err(|error| PeekError::NotUtf8(error.valid_up_to()))?;
    let (fields, noted) = parse_object(text, &FIELDS, &NOTED)?;
    let found = Found(fields);
    let noted = noted.map(|value| value.filter(|raw| *raw != "null"));
    if found[Field::Models].is_some() {
        return Err(PeekError::Unsupported(FIELDS[Field::Models as usize]));
    }

    let model_raw = found[Field::Model].ok_or(PeekError::Missing("model"))?;
    let model = model_name(model_raw)?;
    let stream = boolean("stream", found[Field::Stream])?;
    if stream && !endpoint.can_stream() {
        return Err(PeekError::Invalid {
            field: "stream",
            expected: "absent or false, since this endpoint does not stream",
        });
    }
    let limits = [Field::MaxTokens, Field::MaxCompletionTokens, Field::MaxOutputTokens]
        .map(|field| count(FIELDS[field as usize], found[field]));
    let [a, b, c] = limits;
    let max_output_tokens = a?.max(b?).max(c?);
    let n = answers("n", found[Field::N])?.max(answers("best_of", found[Field::BestOf])?);
    let options = stream_options(body, found[Field::StreamOptions])?;

    Ok(Peek {
        model,
        stream,
        max_output_tokens,
        n,
        prompts: match endpoint {
            Endpoint::Completions => noted[Noted::Prompt as usize].map_or(Ok(1), prompts)?,
            _ => 1,
        },
        end_user: end_user(&noted)?,
        conversation: conversation(&noted),
        priority: dearer(&noted),
        reads_more: reads_more(endpoint, &noted),
        tools: noted[Noted::Tools as usize].is_some(),
        include_usage: options.include_usage,
        model_span: span(body, model_raw.as_bytes()),
        usage_switch: options.switch.filter(|_| stream && endpoint.asks_for_usage()),
    })
}

/// The fields that we look at, of all endpoints.
#[derive(Clone, Copy)]
enum Field {
    Model,
    Models,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    N,
    BestOf,
}

/// Names, in the order of [`Field`].
const FIELDS: [&str; 9] = [
    "model",
    // A list of further models in one router's API: a way to a model that was never approved.
    "models",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
];

/// Fields that tell what a request may cost and for whom it is. Nobody is let through for them, so that
/// look-alikes are of no concern.
#[derive(Clone, Copy)]
enum Noted {
    User,
    SafetyIdentifier,
    Metadata,
    ServiceTier,
    Speed,
    Prompt,
    Tools,
    PreviousResponseId,
    Conversation,
    McpServers,
    WebSearchOptions,
    Container,
    PromptCacheKey,
}

/// Names, in the order of [`Noted`].
const NOTED: [&str; 13] = [
    "user",
    "safety_identifier",
    "metadata",
    "service_tier",
    "speed",
    "prompt",
    "tools",
    "previous_response_id",
    "conversation",
    "mcp_servers",
    "web_search_options",
    "container",
    "prompt_cache_key",
];

/// The longest name of an end user, in bytes.
const MAX_END_USER_BYTES: usize = 512;

/// OpenAI's `safety_identifier`, or its older `user`; Anthropic's `metadata.user_id`.
fn end_user(noted: &[Option<&str>; NOTED.len()]) -> Result<Option<String>, PeekError> {
    let named = |field: Noted| noted[field as usize].filter(|raw| raw.starts_with('"'));
    let (field, raw) = match (named(Noted::User), named(Noted::SafetyIdentifier)) {
        (Some(raw), _) => ("user", raw),
        (None, Some(raw)) => ("safety_identifier", raw),
        (None, None) => {
            let Some(metadata) = noted[Noted::Metadata as usize] else { return Ok(None) };
            if !metadata.starts_with('{') {
                return Ok(None);
            }
            let (_, [id]) = parse_object(metadata, &[], &["user_id"])?;
            match id.filter(|raw| raw.starts_with('"')) {
                Some(raw) => ("metadata", raw),
                None => return Ok(None),
            }
        }
    };
    if raw.len() > MAX_END_USER_BYTES {
        return Err(PeekError::Invalid { field, expected: "a name of at most 512 bytes" });
    }
    let name: String = serde_json::from_str(raw)
        .map_err(|_| PeekError::Invalid { field, expected: "a string of valid Unicode" })?;
    Ok(Some(name).filter(|name| !name.is_empty()))
}

/// OpenAI's `prompt_cache_key`, or the id of its stored `conversation`. One that is too long to be a name is
/// none: nothing but the choice of a target depends on it.
fn conversation(noted: &[Option<&str>; NOTED.len()]) -> Option<String> {
    let text = |raw: &str| -> Option<String> {
        let short = raw.len() <= MAX_END_USER_BYTES;
        let text: String = short.then(|| serde_json::from_str(raw).ok()).flatten()?;
        Some(text).filter(|text| !text.is_empty())
    };
    if let Some(key) = noted[Noted::PromptCacheKey as usize].and_then(text) {
        return Some(key);
    }
    let stored = noted[Noted::Conversation as usize]?;
    if !stored.starts_with('{') {
        return text(stored);
    }
    let (_, [id]) = parse_object(stored, &[], &["id"]).ok()?;
    text(id?)
}

/// OpenAI's `service_tier`, where `auto` leaves the choice to a setting of the account; Anthropic's
/// `service_tier` and `speed`.
fn dearer(noted: &[Option<&str>; NOTED.len()]) -> bool {
    let standard = ["\"default\"", "\"flex\"", "\"standard_only\""];
    let tier = noted[Noted::ServiceTier as usize].is_some_and(|tier| !standard.contains(&tier));
    tier || noted[Noted::Speed as usize].is_some_and(|speed| speed != "\"standard\"")
}

/// The number of prompts: a text is one, a list of numbers too, and any other list has one in each place.
fn prompts(raw: &str) -> Result<u32, PeekError> {
    if !raw.starts_with('[') {
        return Ok(1);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(raw)
        .map_err(|_| PeekError::Invalid { field: "prompt", expected: "text, or a list" })?;
    let tokens =
        elements.iter().all(|element| element.get().starts_with(|c: char| c.is_ascii_digit()));
    let count = if tokens { 1 } else { elements.len() };
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

fn reads_more(endpoint: Endpoint, noted: &[Option<&str>; NOTED.len()]) -> bool {
    let given = |field: Noted| noted[field as usize].is_some();
    // In text completions `prompt` is the text itself.
    let stored_prompt = endpoint == Endpoint::Responses && given(Noted::Prompt);
    stored_prompt
        || given(Noted::PreviousResponseId)
        || given(Noted::Conversation)
        || given(Noted::McpServers)
        || given(Noted::WebSearchOptions)
        || given(Noted::Container)
        || noted[Noted::Tools as usize].is_some_and(hosts_tools)
}

/// Whether a tool in the list is not the caller's own, but works at the provider's and feeds what it
/// finds to the model.
fn hosts_tools(raw: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Cow<'a, str>>,
    }
    // What can't be read as a list of tools may be anything.
    let Ok(tools) = serde_json::from_str::<Vec<Tool<'_>>>(raw) else { return true };
    let own = |kind: &str| {
        // Anthropic's tools that run on the caller's side, by versions.
        let on_the_callers_side = ["bash_", "text_editor_", "computer_", "memory_"];
        ["function", "custom"].contains(&kind)
            || on_the_callers_side.iter().any(|prefix| kind.starts_with(prefix))
    };
    !tools.iter().all(|tool| tool.kind.as_deref().is_none_or(own))
}

/// The fields' raw values, by field.
struct Found<'a>([Option<&'a str>; FIELDS.len()]);

impl<'a> std::ops::Index<Field> for Found<'a> {
    type Output = Option<&'a str>;

    fn index(&self, field: Field) -> &Self::Output {
        &self.0[field as usize]
    }
}

fn model_name(raw: &str) -> Result<String, PeekError> {
    let invalid = |expected| PeekError::Invalid { field: "model", expected };
    // An escape takes at most six bytes a byte: a longer token need not be unescaped.
    if raw.len() > 2 + 6 * MAX_MODEL_BYTES {
        return Err(invalid("at most 256 bytes long"));
    }
    let model = match json::plain_text(raw) {
        Some(plain) => plain.to_owned(),
        None => serde_json::from_str(raw).map_err(|_| invalid("a string of valid Unicode"))?,
    };
    if model.is_empty() {
        return Err(invalid("a name, not empty"));
    }
    if model.len() > MAX_MODEL_BYTES {
        return Err(invalid("at most 256 bytes long"));
    }
    if model.chars().any(char::is_control) {
        return Err(invalid("free of control characters"));
    }
    Ok(model)
}

fn boolean(field: &'static str, raw: Option<&str>) -> Result<bool, PeekError> {
    match raw {
        None | Some("null" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(PeekError::Invalid { field, expected: "true or false" }),
    }
}

/// `None < Some(0)`, so the larger of two limits is their `max`.
fn count(field: &'static str, raw: Option<&str>) -> Result<Option<u64>, PeekError> {
    match raw {
        None | Some("null") => Ok(None),
        Some(raw) => serde_json::from_str(raw)
            .map(Some)
            .map_err(|_| PeekError::Invalid { field, expected: "a whole number, not negative" }),
    }
}

fn answers(field: &'static str, raw: Option<&str>) -> Result<u32, PeekError> {
    let count = count(field, raw)?.unwrap_or(1);
    u32::try_from(count)
        .ok()
        .filter(|&count| count >= 1)
        .ok_or(PeekError::Invalid { field, expected: "a whole number of at least 1" })
}

struct StreamOptions {
    include_usage: bool,
    switch: Option<UsageSwitch>,
}

fn stream_options(body: &[u8], raw: Option<&str>) -> Result<StreamOptions, PeekError> {
    const ASK: &str = "\"include_usage\":true";
    const ASK_BEFORE_MORE: &str = "\"include_usage\":true,";
    let off = |switch| StreamOptions { include_usage: false, switch: Some(switch) };
    let Some(raw) = raw else {
        // Right behind the opening brace. The object holds at least `model`, so a comma fits.
        let at = body.iter().position(|&byte| byte == b'{').map_or(0, |brace| brace + 1);
        let on = "\"stream_options\":{\"include_usage\":true},";
        return Ok(off(UsageSwitch::new(at..at, "", on)));
    };
    let whole = span(body, raw.as_bytes());
    if raw == "null" {
        let on = "{\"include_usage\":true}";
        return Ok(off(UsageSwitch::new(whole, "null", on)));
    }
    if !raw.starts_with('{') {
        return Err(PeekError::Invalid { field: "stream_options", expected: "an object" });
    }
    let ([include_usage], []) = parse_object(raw, &["include_usage"], &[])?;
    let Some(value) = include_usage else {
        let at = whole.start + 1;
        let empty = raw[1..].trim_start().starts_with('}');
        let on = if empty { ASK } else { ASK_BEFORE_MORE };
        return Ok(off(UsageSwitch::new(at..at, "", on)));
    };
    if boolean("include_usage", Some(value))? {
        return Ok(StreamOptions { include_usage: true, switch: None });
    }
    let present = if value == "null" { "null" } else { "false" };
    Ok(off(UsageSwitch::new(span(body, value.as_bytes()), present, "true")))
}

/// Where `part` is in `whole`; it was parsed out of it without a copy.
fn span(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// Raw values, by field.
type Values<'de, const N: usize> = [Option<&'de str>; N];

/// Parses one JSON object, and gives the raw values of the fields named in `wanted`, which nothing may
/// be mistaken for, and in `noted`.
fn parse_object<'de, const N: usize, const M: usize>(
    text: &'de str,
    wanted: &'static [&'static str; N],
    noted: &'static [&'static str; M],
) -> Result<(Values<'de, N>, Values<'de, M>), PeekError> {
    if let Some(values) = plain_object(text, wanted, noted) {
        return Ok(values);
    }
    // The parser below does not bound the depth of values that it skips; the provider's may recurse.
    if scan::deeper_than(text.as_bytes(), MAX_DEPTH) {
        return Err(PeekError::TooDeep);
    }
    // Serde's errors are text only; a typed one goes out by the side.
    let refusal = RefCell::new(None);
    let seed = Object { wanted, noted, refusal: &refusal };
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = seed.deserialize(&mut parser).and_then(|values| parser.end().map(|()| values));
    parsed.map_err(|error| match refusal.take() {
        Some(refusal) => refusal,
        None if error.is_data() => PeekError::NotObject,
        None => PeekError::NotJson(error.to_string()),
    })
}

/// The same, of an object as nearly everybody writes it: valid, each name once and none of them odd.
/// `None` for any other.
fn plain_object<'de, const N: usize, const M: usize>(
    text: &'de str,
    wanted: &[&str; N],
    noted: &[&str; M],
) -> Option<(Values<'de, N>, Values<'de, M>)> {
    let (mut values, mut others) = ([None; N], [None; M]);
    json::members(text.as_bytes(), |name, raw| {
        let named = |known: &&str| known.as_bytes() == name;
        let value = if let Some(at) = wanted.iter().position(named) {
            &mut values[at]
        } else if let Some(at) = noted.iter().position(named) {
            &mut others[at]
        } else {
            // Spelt so, it is nothing but itself to any parser.
            let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'_' | b'0'..=b'9');
            return name.iter().all(plain).then_some(());
        };
        let raw = text.get(span(text.as_bytes(), raw))?;
        value.replace(raw).is_none().then_some(())
    })?;
    Some((values, others))
}

/// Written by hand, since a derived struct also accepts an array, and matches names exactly.
struct Object<'a, const N: usize, const M: usize> {
    wanted: &'static [&'static str; N],
    noted: &'static [&'static str; M],
    refusal: &'a RefCell<Option<PeekError>>,
}

impl<'de, const N: usize, const M: usize> DeserializeSeed<'de> for Object<'_, N, M> {
    type Value = (Values<'de, N>, Values<'de, M>);

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de, const N: usize, const M: usize> Visitor<'de> for Object<'_, N, M> {
    type Value = (Values<'de, N>, Values<'de, M>);

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let refuse = |refusal: PeekError| {
            let error = serde::de::Error::custom(&refusal);
            *self.refusal.borrow_mut() = Some(refusal);
            error
        };
        let (mut values, mut noted) = ([None; N], [None; M]);
        let take = |value: &mut Option<&'de str>, name, map: &mut A| {
            if value.is_some() {
                return Err(refuse(PeekError::Duplicate(name)));
            }
            *value = Some(map.next_value::<&'de RawValue>()?.get());
            Ok(())
        };
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if let Some(at) = self.wanted.iter().position(|wanted| *wanted == name) {
                take(&mut values[at], self.wanted[at], &mut map)?;
            } else if let Some(at) = self.noted.iter().position(|noted| *noted == name) {
                take(&mut noted[at], self.noted[at], &mut map)?;
            } else if let Some(wanted) = self.wanted.iter().find(|wanted| mistakable(&name, wanted))
            {
                return Err(refuse(PeekError::Ambiguous(wanted)));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((values, noted))
    }
}

/// A field's name after unescaping; borrowed when nothing was escaped.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Name<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        parser.deserialize_str(Visit)
    }
}

/// Whether a lenient parser could take `name` for `wanted`, though they are not equal.
///
/// Go's `encoding/json` matches names without regard to case, and folds the Kelvin sign and the
/// long s too. Strings of C end at a NUL. White space and control characters get trimmed.
fn mistakable(name: &str, wanted: &str) -> bool {
    let name = name.split('\0').next().unwrap_or_default();
    let mut folded = name
        .trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{FEFF}')
        .chars()
        .map(|c| match c {
            '\u{212A}' => 'k',
            '\u{017F}' => 's',
            c => c.to_ascii_lowercase(),
        });
    wanted.chars().all(|c| folded.next() == Some(c)) && folded.next().is_none()
}

#[cfg(test)]
mod tests;
