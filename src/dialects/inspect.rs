//! Reads what one event means: content, usage, error, end.
//!
//! Most events of a stream are a few tokens of text, and there are thousands of streams. So an
//! event is searched for the few words that matter, and only one that has them is parsed. The
//! words are sought as JSON strings, which text inside a string cannot imitate: its quotes have
//! backslashes. What the search finds too much, the parser puts right.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::LazyLock};

use memchr::memmem::Finder;
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sluicegate_filters::price::ServiceTier;

use super::json::{self, Cursor};
use super::{Endpoint, plain::Plain, scan::Found, tokens};
use crate::chat::{FinishReason, Usage};

/// The longest name of a model that is kept.
const MAX_MODEL: usize = 256;

/// What an event is, for who forwards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To be forwarded.
    Pass,
    /// Nothing but the usage, which the caller may not have asked for.
    UsageChunk,
    /// The last event of the dialect.
    Terminal,
    /// The provider's error.
    Error,
    /// Not of the dialect.
    Malformed,
}

/// What a stream told so far.
#[derive(Debug)]
pub(super) struct Facts {
    endpoint: Endpoint,
    pub(super) usage: Option<Usage>,
    anthropic: tokens::AnthropicCounts,
    pub(super) model: Option<String>,
    pub(super) content_seen: bool,
    /// Events that carry generated content, each of at least one token.
    pub(super) content_events: u64,
    /// Bytes of that content, as they are written.
    pub(super) content_bytes: u64,
    /// How fast the provider says that it has served.
    pub(super) tier: Option<ServiceTier>,
    /// Where in the present event the usage ends that the caller reads as the answer's: the place of its
    /// closing brace, as an address.
    usage_end: Option<usize>,
    pub(super) finish_reason: Option<FinishReason>,
    /// The text of the present event, where it carries nothing else: its place, as an address, and length.
    only_text: Option<(usize, usize)>,
    plain: Plain,
}

impl Facts {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            usage: None,
            anthropic: tokens::AnthropicCounts::default(),
            model: None,
            content_seen: false,
            content_events: 0,
            content_bytes: 0,
            tier: None,
            usage_end: None,
            finish_reason: None,
            only_text: None,
            plain: Plain::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn never_learn(&mut self) {
        self.plain = Plain::never();
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Takes the event that `buffer` begins with, fields and blank line, if it differs from one before by
    /// its text alone. Gives its length.
    #[inline]
    pub(super) fn take_alike(&mut self, buffer: &[u8]) -> Option<usize> {
        let (text, event) = self.plain.event(buffer)?;
        self.usage_end = None;
        self.content_events += 1;
        self.content_bytes += text as u64;
        Some(event)
    }

    /// Remembers `event`, all bytes of the one taken last, if it carries text and nothing else.
    #[inline]
    pub(super) fn remember(&mut self, event: &[u8]) {
        if let Some((address, length)) = self.only_text
            && let Some(start) = address.checked_sub(event.as_ptr() as usize)
        {
            self.plain.learn(event, start..start + length);
        }
    }

    fn note_only(&mut self, text: Texts<'_>) {
        self.only_text = text.only.map(|text| (text.as_ptr() as usize, text.len()));
    }

    /// Takes one event: the values of its `event` and `data` fields.
    pub(super) fn take(&mut self, name: &[u8], data: &[u8]) -> Verdict {
        self.usage_end = None;
        self.only_text = None;
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            return if self.is_chat() { Verdict::Terminal } else { Verdict::Pass };
        }
        if !(data.starts_with(b"{") && data.ends_with(b"}")) {
            return Verdict::Malformed;
        }
        if name == b"error" {
            return Verdict::Error;
        }
        if self.is_chat() {
            return self.take_chunk(data);
        }
        // Where the whole of each event has to be JSON, likeness to another says too little.
        let mut parsed = false;
        let kind = match leading_type(data) {
            Some(kind) => Cow::Borrowed(kind),
            None if !name.is_empty() => Cow::Borrowed(name),
            None => {
                parsed = true;
                match read(data, &["type"]) {
                    Parsed::Yes([kind]) => {
                        let kind = kind.and_then(text).unwrap_or_default().into_owned();
                        Cow::Owned(kind.into_bytes())
                    }
                    Parsed::OtherShape => Cow::Borrowed(name),
                    Parsed::NotJson => return Verdict::Malformed,
                }
            }
        };
        if self.endpoint == Endpoint::Responses {
            self.take_responses_event(&kind, data)
        } else {
            let verdict = self.take_messages_event(&kind, data);
            if parsed {
                self.only_text = None;
            }
            verdict
        }
    }

    /// Where in `buffer`, which the event taken last is in, more members of its usage fit: before the
    /// closing brace. `None` where it has no usage, or is not in there in one piece.
    pub(super) fn usage_end(&self, buffer: &[u8]) -> Option<usize> {
        let at = self.usage_end?.checked_sub(buffer.as_ptr() as usize)?;
        (buffer.get(at) == Some(&b'}')).then_some(at)
    }

    fn note_usage_end(&mut self, raw: Option<&[u8]>) {
        let raw = raw.filter(|raw| raw.starts_with(b"{"));
        self.usage_end = raw.map(|raw| raw.as_ptr() as usize + raw.len() - 1);
    }

    /// Notes an event with so many bytes of content.
    fn see_content(&mut self, bytes: u64) {
        self.content_seen = true;
        self.content_events += 1;
        self.content_bytes += bytes;
    }

    /// Takes an event that was too long to be held.
    pub(super) fn take_found(&mut self, name: &[u8], found: &Found) -> Verdict {
        if name == b"error" || (self.is_chat() && found.error) {
            return Verdict::Error;
        }
        self.take_tier(match self.endpoint {
            Endpoint::Responses => found.inner_tier.as_deref(),
            // It stands in the usage.
            Endpoint::Messages => None,
            _ => found.tier.as_deref(),
        });
        if self.is_chat() {
            self.see_content(found.bytes);
            let usage = found.usage.as_deref();
            self.take_usage(usage);
            return Verdict::Pass;
        }
        let kind: Option<String> =
            found.kind.as_deref().and_then(|raw| serde_json::from_slice(raw).ok());
        let kind = kind.as_deref().map_or(name, str::as_bytes);
        let usage = found.inner_usage.as_deref().or(found.usage.as_deref());
        match kind {
            b"error" => return Verdict::Error,
            b"message_start" | b"message_delta" => self.take_usage(usage),
            b"message_stop" => return Verdict::Terminal,
            b"response.completed" | b"response.incomplete" => {
                self.take_usage(usage);
                self.finish_reason = Some(if kind == b"response.completed" {
                    FinishReason::Stop
                } else {
                    FinishReason::Other
                });
                return Verdict::Terminal;
            }
            b"response.failed" => {
                self.take_usage(usage);
                return Verdict::Error;
            }
            _ if is_content(kind) => self.see_content(found.bytes),
            _ => {}
        }
        Verdict::Pass
    }

    fn is_chat(&self) -> bool {
        !matches!(self.endpoint, Endpoint::Responses | Endpoint::Messages)
    }

    /// A chunk of chat completions, or of the older completions.
    fn take_chunk(&mut self, data: &[u8]) -> Verdict {
        let words = &*WORDS;
        // The first text is nearly always plain; only what comes before it, or instead, is parsed.
        let text = words.texts(&words.content, data);
        let has_text = text.bytes > 0;
        // Most vendors have one of these in an event, and who has two says the same twice.
        let text_or_other = || if has_text { text } else { words.first_text(&words.other, data) };
        self.content_seen = self.content_seen || has_text;
        let interesting = !self.content_seen
            || words.has_value(&words.usage, data, |value| value[0] == b'{')
            || words.has_value(&words.error, data, |value| value[0] != b'n')
            || words.has_value(&words.finish_reason, data, |value| value[0] == b'"');
        if !interesting {
            let text = text_or_other();
            self.content_events += u64::from(text.bytes > 0);
            self.content_bytes += text.bytes;
            self.note_only(text);
            return Verdict::Pass;
        }
        let chunk = match Chunk::read(data) {
            Parsed::Yes(chunk) => chunk,
            Parsed::OtherShape => return Verdict::Pass,
            Parsed::NotJson => return Verdict::Malformed,
        };
        if chunk.error.is_some() {
            return Verdict::Error;
        }
        self.take_model(chunk.model);
        self.finish_reason = chunk.finish_reason.or(self.finish_reason);
        if has_text || chunk.has_content {
            self.see_content(text_or_other().bytes);
        }
        self.take_tier(chunk.tier);
        self.note_usage_end(chunk.usage);
        let groq = chunk.groq.and_then(|groq| read(groq, &["usage"]).members());
        self.take_usage(chunk.usage.or(groq.and_then(|[usage]| usage)));
        let has_usage = chunk.usage.is_some_and(|raw| raw.starts_with(b"{"));
        if has_usage && chunk.choices == Some(0) { Verdict::UsageChunk } else { Verdict::Pass }
    }

    fn take_responses_event(&mut self, kind: &[u8], data: &[u8]) -> Verdict {
        let verdict = match kind {
            b"error" => return Verdict::Error,
            b"response.created" => Verdict::Pass,
            b"response.completed" | b"response.incomplete" => Verdict::Terminal,
            b"response.failed" => Verdict::Error,
            _ => {
                if is_content(kind) {
                    self.see_content(WORDS.texts(&WORDS.delta, data).bytes);
                }
                return Verdict::Pass;
            }
        };
        let response = match read(data, &["response"]) {
            Parsed::Yes([response]) => response,
            Parsed::OtherShape => return verdict,
            Parsed::NotJson => return Verdict::Malformed,
        };
        const NAMES: [&str; 4] = ["model", "usage", "service_tier", "incomplete_details"];
        let members = response.and_then(|response| read(response, &NAMES).members());
        if let Some([model, usage, tier, details]) = members {
            self.take_model(model);
            self.take_tier(tier);
            self.note_usage_end(usage);
            self.take_usage(usage);
            if verdict == Verdict::Terminal {
                let word = details
                    .and_then(|details| read(details, &["reason"]).members())
                    .and_then(|[reason]| reason.and_then(text));
                self.finish_reason = Some(match word {
                    Some(word) => FinishReason::from_word(&word),
                    None if kind == b"response.completed" => FinishReason::Stop,
                    None => FinishReason::Other,
                });
            }
        }
        verdict
    }

    fn take_messages_event(&mut self, kind: &[u8], data: &[u8]) -> Verdict {
        match kind {
            b"error" => return Verdict::Error,
            b"message_stop" => return Verdict::Terminal,
            b"message_start" | b"message_delta" => {}
            _ => {
                if is_content(kind) {
                    let text = WORDS.first_text(&WORDS.block, data);
                    self.see_content(text.bytes);
                    self.note_only(text);
                }
                return Verdict::Pass;
            }
        }
        let [message, delta, usage] = match read(data, &["message", "delta", "usage"]) {
            Parsed::Yes(members) => members,
            Parsed::OtherShape => return Verdict::Pass,
            Parsed::NotJson => return Verdict::Malformed,
        };
        let message = message.and_then(|message| read(message, &["model", "usage"]).members());
        let [model, first] = message.unwrap_or_default();
        self.take_model(model);
        self.note_usage_end(usage);
        for usage in [first, usage].into_iter().flatten() {
            self.take_usage(Some(usage));
        }
        let reason = delta
            .and_then(|delta| read(delta, &["stop_reason"]).members())
            .and_then(|[reason]| reason.and_then(text));
        if let Some(reason) = reason {
            self.finish_reason = Some(FinishReason::from_word(&reason));
        }
        Verdict::Pass
    }

    fn take_usage(&mut self, raw: Option<&[u8]>) {
        let Some(raw) = raw else {
            return;
        };
        let usage = if self.endpoint == Endpoint::Messages {
            self.tier = tokens::tier_in_usage(raw).or(self.tier);
            self.anthropic.merge(raw);
            self.anthropic.usage()
        } else {
            tokens::openai(self.endpoint, raw)
        };
        self.usage = usage.or(self.usage);
    }

    fn take_tier(&mut self, raw: Option<&[u8]>) {
        self.tier = raw.and_then(tokens::tier).or(self.tier);
    }

    fn take_model(&mut self, raw: Option<&[u8]>) {
        if self.model.is_none()
            && let Some(model) = raw.and_then(text)
            && (1..=MAX_MODEL).contains(&model.len())
        {
            self.model = Some(model.into_owned());
        }
    }
}

/// Whether an event of this type carries generated content.
fn is_content(kind: &[u8]) -> bool {
    // `response.output_text.delta` and its kin; Anthropic's `content_block_delta`.
    kind.ends_with(b".delta") || kind == b"content_block_delta"
}

/// The value of `type`, when it is the first member and has no escapes: so both vendors send it.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(b"{")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"type\"")?.trim_ascii_start();
    let rest = rest.strip_prefix(b":")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    (rest[end] == b'"').then(|| &rest[..end])
}

static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    usage: Finder::new(b"\"usage\""),
    error: Finder::new(b"\"error\""),
    finish_reason: Finder::new(b"\"finish_reason\""),
    content: Finder::new(b"\"content\""),
    other: ["\"reasoning_content\"", "\"reasoning\"", "\"arguments\"", "\"text\"", "\"refusal\""]
        .map(Finder::new),
    delta: Finder::new(b"\"delta\""),
    block: ["\"text\"", "\"thinking\"", "\"partial_json\""].map(Finder::new),
});

struct Words {
    usage: Finder<'static>,
    error: Finder<'static>,
    finish_reason: Finder<'static>,
    content: Finder<'static>,
    /// Where generated content is that is no text for the reader, and the text of older completions.
    other: [Finder<'static>; 5],
    /// The content of an event of OpenAI's responses.
    delta: Finder<'static>,
    /// That of an event of Anthropic's messages, by its kind.
    block: [Finder<'static>; 3],
}

/// The text of members of a name.
#[derive(Clone, Copy, Default)]
struct Texts<'a> {
    /// Its bytes, as they are written.
    bytes: u64,
    /// It, where one member has it all.
    only: Option<&'a [u8]>,
}

/// The bytes of a string, as they are written behind its opening quote.
fn text_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += next;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

impl Words {
    /// The texts of all members of this name in `data`.
    #[inline]
    fn texts<'a>(&self, word: &Finder<'_>, data: &'a [u8]) -> Texts<'a> {
        let mut texts = Texts::default();
        self.has_value(word, data, |value| {
            let text = value.strip_prefix(b"\"").map_or(&[][..], |text| &text[..text_length(text)]);
            if !text.is_empty() {
                texts.only = (texts.bytes == 0).then_some(text);
                texts.bytes += text.len() as u64;
            }
            false
        });
        texts
    }

    /// The same, of the first of these names that has any.
    fn first_text<'a>(&self, words: &[Finder<'_>], data: &'a [u8]) -> Texts<'a> {
        let mut texts = words.iter().map(|word| self.texts(word, data));
        texts.find(|texts| texts.bytes > 0).unwrap_or_default()
    }

    /// Whether `data` holds a member of this name whose value, never empty, is `wanted`.
    #[inline]
    fn has_value<'a>(
        &self,
        word: &Finder<'_>,
        data: &'a [u8],
        mut wanted: impl FnMut(&'a [u8]) -> bool,
    ) -> bool {
        let mut rest = data;
        while let Some(at) = word.find(rest) {
            rest = &rest[at + word.needle().len()..];
            let value = rest
                .trim_ascii_start()
                .strip_prefix(b":")
                .map(|value| value.trim_ascii_start())
                .filter(|value| !value.is_empty());
            if value.is_some_and(&mut wanted) {
                return true;
            }
        }
        false
    }
}

/// What matters of a chunk of chat completions, or of the older completions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chunk<'a> {
    model: Option<&'a [u8]>,
    usage: Option<&'a [u8]>,
    tier: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
    /// Groq's own place, for usage too.
    groq: Option<&'a [u8]>,
    /// How many choices there are; `None` where they are no array.
    choices: Option<usize>,
    /// The last one that a choice tells.
    finish_reason: Option<FinishReason>,
    /// Whether a choice has more than a role.
    has_content: bool,
}

impl<'a> Chunk<'a> {
    fn read(data: &'a [u8]) -> Parsed<Self> {
        match Self::read_plain(data) {
            Some(chunk) => Parsed::Yes(chunk),
            None => Self::read_odd(data),
        }
    }

    /// Goes through the chunk once. `None` where it is not as plain as nearly all are.
    fn read_plain(data: &'a [u8]) -> Option<Self> {
        let mut chunk = Self::default();
        let mut choices = None;
        json::whole(data, |at| {
            at.object(|name, at| match name {
                b"model" => once(&mut chunk.model, at.value()?),
                b"usage" => once(&mut chunk.usage, at.value()?),
                b"error" => once(&mut chunk.error, at.value()?),
                b"service_tier" => once(&mut chunk.tier, at.value()?),
                b"x_groq" => once(&mut chunk.groq, at.value()?),
                b"choices" => {
                    once(&mut choices, &[])?;
                    if !at.is_at(b'[') {
                        return at.value().map(drop);
                    }
                    let mut count = 0;
                    at.array(|at| {
                        count += 1;
                        chunk.pass_choice(at)
                    })?;
                    chunk.choices = Some(count);
                    Some(())
                }
                _ => at.value().map(drop),
            })
        })?;
        let Self { model, usage, tier, error, groq, .. } = &mut chunk;
        for told in [model, usage, tier, error, groq] {
            *told = given(*told);
        }
        Some(chunk)
    }

    fn pass_choice(&mut self, at: &mut Cursor<'a>) -> Option<()> {
        if !at.is_at(b'{') {
            return at.value().map(drop);
        }
        let [mut delta, mut told, mut reason] = [None; 3];
        let mut filled = false;
        at.object(|name, at| match name {
            b"delta" => {
                once(&mut delta, &[])?;
                if !at.is_at(b'{') {
                    return at.value().map(drop);
                }
                at.object(|name, at| {
                    let value = at.value()?;
                    filled |= name != b"role" && is_filled(value);
                    Some(())
                })
            }
            b"text" => once(&mut told, at.value()?),
            b"finish_reason" => once(&mut reason, at.value()?),
            _ => at.value().map(drop),
        })?;
        self.has_content |= filled || told.is_some_and(is_filled);
        self.take_reason(reason);
        Some(())
    }

    /// Reads one with escapes in names, members twice, or of another shape altogether.
    fn read_odd(data: &'a [u8]) -> Parsed<Self> {
        const NAMES: [&str; 6] = ["model", "choices", "usage", "error", "service_tier", "x_groq"];
        let [model, choices, usage, error, tier, groq] = match read(data, &NAMES) {
            Parsed::Yes(members) => members,
            Parsed::OtherShape => return Parsed::OtherShape,
            Parsed::NotJson => return Parsed::NotJson,
        };
        let mut chunk = Self { model, usage, tier, error, groq, ..Self::default() };
        let mut count = 0;
        let all = choices.and_then(|choices| {
            json::elements(choices, |choice| {
                count += 1;
                chunk.take_odd_choice(choice);
                Some(())
            })
        });
        chunk.choices = all.map(|()| count);
        Parsed::Yes(chunk)
    }

    fn take_odd_choice(&mut self, choice: &[u8]) {
        // The content of chat is in `delta`, that of older completions in `text`.
        let members = read(choice, &["delta", "text", "finish_reason"]).members();
        let Some([delta, told, reason]) = members else { return };
        self.take_reason(reason);
        self.has_content |= delta.is_some_and(has_content) || told.is_some_and(is_filled);
    }

    fn take_reason(&mut self, reason: Option<&[u8]>) {
        if let Some(reason) = reason.and_then(text) {
            self.finish_reason = Some(FinishReason::from_word(&reason));
        }
    }
}

/// Puts `value` where there is none. `None` where there is: a name that occurs twice.
fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// A value that is there: `null` is as good as none.
fn given(value: Option<&[u8]>) -> Option<&[u8]> {
    value.filter(|raw| *raw != b"null")
}

/// Whether a delta has more than a role: `content`, `tool_calls`, vendors' names for reasoning.
fn has_content(delta: &[u8]) -> bool {
    let mut found = false;
    let plain = json::members(delta, |name, value| {
        found |= name != b"role" && is_filled(value);
        Some(())
    });
    if plain.is_some() {
        return found;
    }
    let members: Option<BTreeMap<Cow<'_, str>, &RawValue>> = serde_json::from_slice(delta).ok();
    let mut members = members.iter().flatten();
    members.any(|(name, value)| name != "role" && is_filled(value.get().as_bytes()))
}

fn is_filled(value: &[u8]) -> bool {
    !matches!(value, b"null" | b"\"\"" | b"[]" | b"{}")
}

/// The text of a JSON string.
fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    match std::str::from_utf8(raw).ok().and_then(json::plain_text) {
        Some(plain) => Some(Cow::Borrowed(plain)),
        None => serde_json::from_slice(raw).map(Cow::Owned).ok(),
    }
}

enum Parsed<T> {
    Yes(T),
    /// JSON, but not what is read here. It is the caller's SDK that has to judge it.
    OtherShape,
    NotJson,
}

impl<T> Parsed<T> {
    fn members(self) -> Option<T> {
        match self {
            Self::Yes(members) => Some(members),
            Self::OtherShape | Self::NotJson => None,
        }
    }
}

/// The raw values of an object's members of these names; a `null` is as good as none.
fn read<'a, const N: usize>(
    object: &'a [u8],
    names: &'static [&'static str; N],
) -> Parsed<[Option<&'a [u8]>; N]> {
    if let Some(values) = json::fields(object, names) {
        return Parsed::Yes(values.map(given));
    }
    let mut parser = serde_json::Deserializer::from_slice(object);
    let values = parser.deserialize_map(Names(names));
    match values.and_then(|values| parser.end().map(|()| values)) {
        Ok(values) => Parsed::Yes(values.map(|value| given(value.map(|raw| raw.get().as_bytes())))),
        Err(error) if error.is_data() => Parsed::OtherShape,
        Err(_) => Parsed::NotJson,
    }
}

/// The same, of any object. A name that occurs twice makes it one of another shape.
struct Names<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Names<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(name) = map.next_key::<String>()? {
            match self.0.iter().position(|wanted| *wanted == name) {
                Some(at) if values[at].is_some() => {
                    return Err(serde::de::Error::duplicate_field(self.0[at]));
                }
                Some(at) => values[at] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chat(data: &str) -> (Verdict, Facts) {
        let mut facts = Facts::new(Endpoint::ChatCompletions);
        facts.content_seen = true;
        let verdict = facts.take(b"", data.as_bytes());
        (verdict, facts)
    }

    #[test]
    fn words_inside_content_are_content() {
        for data in [
            r#"{"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":9}"}}]}"#,
            r#"{"choices":[{"delta":{"content":"{\"error\":{}}"}}]}"#,
            r#"{"choices":[{"delta":{"content":"say \"usage"}}],"usage":null}"#,
            r#"{"choices":[{"delta":{"content":["usage",{"error":1}],"usage":{"prompt_tokens":9}}}]}"#,
        ] {
            let (verdict, facts) = chat(data);
            assert_eq!((verdict, facts.usage), (Verdict::Pass, None), "{data}");
        }
    }

    /// Members of a chunk, or of something like it, in any order and number.
    fn odd_chunk() -> impl Strategy<Value = String> {
        let delta = prop::sample::select(vec![
            "null",
            "{}",
            r#"{"role":"assistant"}"#,
            r#"{"role":"assistant","content":""}"#,
            r#"{"content":"x"}"#,
            r#"{"content":"x","content":""}"#,
            r#"{"reasoning":"x","content":null}"#,
            r#"{"tool_calls":[]}"#,
            "[1]",
            "7",
        ]);
        let reason = prop::sample::select(vec![
            "null",
            "\"stop\"",
            "\"length\"",
            "\"st\\u006fp\"",
            "\"\\x\"",
            "3",
        ]);
        let member = prop_oneof![
            delta.prop_map(|delta| format!("\"delta\":{delta}")),
            reason.prop_map(|reason| format!("\"finish_reason\":{reason}")),
            Just("\"text\":\"t\"".to_owned()),
            Just("\"text\":null".to_owned()),
            Just("\"index\":0".to_owned()),
        ];
        let members = prop::collection::vec(member, 0..4);
        let choice = prop_oneof![
            8 => members.prop_map(|members| format!("{{{}}}", members.join(","))),
            1 => Just("null".to_owned()),
            1 => Just("[]".to_owned()),
        ];
        let choices = prop::collection::vec(choice, 0..3);
        let choices = prop_oneof![
            8 => choices.prop_map(|choices| format!("[{}]", choices.join(" , "))),
            1 => Just("null".to_owned()),
            1 => Just("{}".to_owned()),
        ];
        let rest = prop::sample::select(vec![
            r#""model":"m""#,
            r#""model":null"#,
            r#""usage":{"prompt_tokens":1}"#,
            r#""usage":null"#,
            r#""error":null"#,
            r#""error":{}"#,
            r#""service_tier":"flex""#,
            r#""x_groq":{"usage":{"prompt_tokens":2}}"#,
            r#""x_groq":7"#,
            r#""mod\u0065l":"m""#,
        ]);
        let member = prop_oneof![
            1 => choices.prop_map(|choices| format!("\"choices\":{choices}")),
            2 => rest.prop_map(str::to_owned),
        ];
        prop::collection::vec(member, 0..6)
            .prop_map(|members| format!("{{{}}}", members.join(", ")))
    }

    proptest! {
        /// The short way finds what the long one does, or nothing.
        #[test]
        fn a_plain_chunk_is_read_like_an_odd_one(data in odd_chunk()) {
            if let Some(plain) = Chunk::read_plain(data.as_bytes()) {
                let odd = Chunk::read_odd(data.as_bytes()).members();
                prop_assert_eq!(Some(plain), odd);
            }
        }
    }

    #[test]
    fn plain_chunks_take_the_short_way() {
        for data in [
            r#"{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        ] {
            assert!(Chunk::read_plain(data.as_bytes()).is_some(), "{data}");
        }
    }

    #[test]
    fn errors_in_chat_streams() {
        for data in [
            r#"{"error":{"message":"x"}}"#,
            r#"{ "error" : "overloaded" }"#,
            r#"{"choices":[{"delta":{}}],"error":{"code":502}}"#,
        ] {
            assert_eq!(chat(data).0, Verdict::Error, "{data}");
        }
        for data in [r#"{"error":null,"choices":[]}"#, r#"{"choices":[{"error":{}}]}"#] {
            assert_eq!(chat(data).0, Verdict::Pass, "{data}");
        }
    }

    #[test]
    fn usage_wherever_providers_put_it() {
        for (data, verdict) in [
            (r#"{"choices":[],"usage":{"prompt_tokens":4}}"#, Verdict::UsageChunk),
            (r#"{"usage" : {"prompt_tokens":4}, "choices": [ ]}"#, Verdict::UsageChunk),
            (r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":4}}"#, Verdict::Pass),
            (r#"{"choices":[{}],"x_groq":{"id":"x","usage":{"prompt_tokens":4}}}"#, Verdict::Pass),
            (r#"{"usage":{"prompt_tokens":4}}"#, Verdict::Pass),
        ] {
            let (found, facts) = chat(data);
            assert_eq!(found, verdict, "{data}");
            assert_eq!(facts.usage.map(|usage| usage.input), Some(4), "{data}");
        }
    }

    #[test]
    fn a_role_alone_is_no_content() {
        for (data, content) in [
            (r#"{"choices":[{"delta":{"role":"assistant","content":"","refusal":null}}]}"#, false),
            (r#"{"choices":[{"delta":{"role":"assistant","tool_calls":[]}}]}"#, false),
            (r#"{"choices":[{"text":""}]}"#, false),
            (r#"{"choices":[]}"#, false),
            (r#"{"choices":[{"delta":{"content":"a"}}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, true),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, true),
            (r#"{"choices":[{"text":"a"}]}"#, true),
        ] {
            let mut facts = Facts::new(Endpoint::ChatCompletions);
            facts.take(b"", data.as_bytes());
            assert_eq!(facts.content_seen, content, "{data}");
        }
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for endpoint in [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Messages] {
            for data in ["", "x", "[]", "{", "{\"a\":1", "[done]", "<html></html>", "null"] {
                let verdict = Facts::new(endpoint).take(b"", data.as_bytes());
                assert_eq!(verdict, Verdict::Malformed, "{data}");
            }
            let verdict = Facts::new(endpoint).take(b"", b"{\"usage\":{]}");
            assert_eq!(verdict, Verdict::Malformed, "looked into");
        }
    }

    #[test]
    fn the_type_is_found_wherever_it_is() {
        for data in [
            r#"{"type":"message_stop"}"#,
            r#"{ "type" : "message_stop" }"#,
            r#"{"x":{"type":"ping"},"type":"message_stop"}"#,
            r#"{"type":"message\u005fstop"}"#,
        ] {
            let verdict = Facts::new(Endpoint::Messages).take(b"", data.as_bytes());
            assert_eq!(verdict, Verdict::Terminal, "{data}");
        }
        let verdict = Facts::new(Endpoint::Messages).take(b"message_stop", b"{}");
        assert_eq!(verdict, Verdict::Terminal);
    }
}
