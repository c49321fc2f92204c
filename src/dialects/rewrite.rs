//! Edits a request body in place: the model's name, and whether usage is asked for.
//!
//! No other byte changes, so what the caller signed off is what the provider reads. A body may
//! be megabytes and the edits sit mostly near its start: the buffer has room at its front, and an
//! edit moves whichever side of it is shorter.

use std::ops::Range;

use bytes::Bytes;

use super::peek::Peek;

/// Bytes kept free at the front. A model's name and the usage option fit several times over.
const HEADROOM: usize = 512;

/// A request body while it is received and edited.
#[derive(Debug)]
pub struct BodyBuffer {
    vec: Vec<u8>,
    /// Where the body starts; what is before it is free.
    start: usize,
}

impl BodyBuffer {
    /// An empty buffer that holds `expected` bytes without growing.
    ///
    /// The memory is taken at once: bound what a caller may make you expect.
    pub fn with_capacity(expected: usize) -> Self {
        let mut vec = Vec::with_capacity(expected.saturating_add(HEADROOM));
        vec.resize(HEADROOM, 0);
        Self { vec, start: HEADROOM }
    }

    /// Appends the next piece of the body.
    pub fn extend_from_slice(&mut self, piece: &[u8]) {
        self.vec.extend_from_slice(piece);
    }

    /// Length of the body in bytes.
    pub fn len(&self) -> usize {
        self.vec.len() - self.start
    }

    /// Whether no byte came yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.vec[self.start..]
    }

    /// The finished body, without a copy.
    pub fn freeze(self) -> Bytes {
        Bytes::from(self.vec).slice(self.start..)
    }

    /// Puts `text` in the place of `span`.
    fn replace(&mut self, span: Range<usize>, text: &[u8]) {
        let before = span.start;
        let after = self.len() - span.end;
        let (old, new) = (span.len(), text.len());
        let front_fits = new <= old || new - old <= self.start;
        if before <= after && front_fits {
            let start = self.start + old - new;
            self.vec.copy_within(self.start..self.start + before, start);
            self.start = start;
        } else {
            let from = self.start + span.end;
            let to = self.start + before + new;
            let end = self.vec.len();
            if new > old {
                self.vec.resize(end + new - old, 0);
            }
            self.vec.copy_within(from..end, to);
            self.vec.truncate(to + after);
        }
        let at = self.start + before;
        self.vec[at..at + new].copy_from_slice(text);
    }
}

/// Names `target_model` in the body and asks for usage in the stream, or not.
///
/// `None` leaves the model that the body names. `inject_usage` asks for the usage chunk where the
/// caller did not and the endpoint needs it; `false` takes such a request back. `peek` must be of
/// this very body; it is kept up to date, so that both may be changed again.
pub fn rewrite(
    body: &mut BodyBuffer,
    peek: &mut Peek,
    target_model: Option<&str>,
    inject_usage: bool,
) {
    let edits = Edits::new(peek, target_model, inject_usage);
    // From the back, so that the spans of those before still hold.
    for (span, text) in edits.in_order().into_iter().rev() {
        if body.as_slice().get(span.clone()) != Some(text) {
            body.replace(span, text);
        }
    }
    edits.into_spans().apply(peek);
}

/// As [`rewrite`], on a copy: for a later attempt with another target.
///
/// `peek` must be of `body`; the returned one is of the returned body.
pub fn rewrite_copy(
    body: &Bytes,
    peek: &Peek,
    target_model: Option<&str>,
    inject_usage: bool,
) -> (Bytes, Peek) {
    let edits = Edits::new(peek, target_model, inject_usage);
    let ordered = edits.in_order();
    let added: usize = ordered.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut done = 0;
    for (span, text) in ordered {
        out.extend_from_slice(&body[done..span.start]);
        out.extend_from_slice(text);
        done = span.end;
    }
    out.extend_from_slice(&body[done..]);
    let mut peek = peek.clone();
    edits.into_spans().apply(&mut peek);
    (Bytes::from(out), peek)
}

/// A copy of `body` in which the `version` of Anthropic's API takes the model's place, as it has to where the
/// address names the model. `peek` must be of `body`.
pub fn copy_with_version(body: &Bytes, peek: &Peek, version: &str) -> Bytes {
    let member = member(body, &peek.model_span);
    let text = format!("\"anthropic_version\":{}", quoted(version));
    let mut out = Vec::with_capacity(body.len() + text.len());
    out.extend_from_slice(&body[..member.start]);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&body[member.end..]);
    out.into()
}

/// The member whose value is at `value`, a string of a top level object's. Its name has no quote in it, however
/// it is written: it is known.
fn member(body: &[u8], value: &Range<usize>) -> Range<usize> {
    let before = &body[..value.start];
    let back = |from: usize| before[..from].iter().rposition(|byte| *byte == b'"').unwrap_or(from);
    let end = back(value.start);
    back(end)..value.end
}

/// The edits of one rewrite. Either may be absent.
struct Edits {
    model: Option<(Range<usize>, String)>,
    usage: Option<(Range<usize>, &'static str)>,
    asks: bool,
}

impl Edits {
    fn new(peek: &Peek, target_model: Option<&str>, asks: bool) -> Self {
        let usage = peek.usage_switch.as_ref().and_then(|switch| {
            let text = if asks { switch.on } else { switch.off };
            (switch.is_on != asks).then(|| (switch.span.clone(), text))
        });
        Self {
            model: target_model.map(|model| (peek.model_span.clone(), quoted(model))),
            usage,
            asks,
        }
    }

    /// The edits from front to back. Their spans never overlap.
    fn in_order(&self) -> Vec<(Range<usize>, &[u8])> {
        let model = self.model.iter().map(|(span, text)| (span, text.as_str()));
        let usage = self.usage.iter().map(|(span, text)| (span, *text));
        let mut ordered: Vec<_> =
            model.chain(usage).map(|(span, text)| (span.clone(), text.as_bytes())).collect();
        ordered.sort_by_key(|(span, _)| span.start);
        ordered
    }

    fn into_spans(self) -> Moved {
        let model = self.model.map(|(span, text)| (span, text.len()));
        let usage = self.usage.map(|(span, text)| (span, text.len()));
        Moved { model, usage, asks: self.asks }
    }
}

/// Edits that were made: the old span and the new length of each.
struct Moved {
    model: Option<(Range<usize>, usize)>,
    usage: Option<(Range<usize>, usize)>,
    asks: bool,
}

impl Moved {
    fn apply(self, peek: &mut Peek) {
        let model_start = peek.model_span.start;
        if let Some((old, length)) = &self.model {
            peek.model_span.end = old.start + length;
            if let Some(switch) = &mut peek.usage_switch
                && switch.span.start > model_start
            {
                shift(&mut switch.span, old, *length);
            }
        }
        if let (Some((old, length)), Some(switch)) = (&self.usage, &mut peek.usage_switch) {
            switch.span.end = switch.span.start + length;
            switch.is_on = self.asks;
            if old.start <= model_start {
                shift(&mut peek.model_span, old, *length);
            }
        }
    }
}

/// Moves `span`, which lies behind an edit that gave `old` a new length.
fn shift(span: &mut Range<usize>, old: &Range<usize>, length: usize) {
    *span = span.start - old.len() + length..span.end - old.len() + length;
}

/// A JSON string.
fn quoted(text: &str) -> String {
    // Text always serialises; an empty name is refused by every provider.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialects::{Endpoint, peek::peek};

    fn buffer(body: &str) -> (BodyBuffer, Peek) {
        let mut buffer = BodyBuffer::with_capacity(body.len());
        buffer.extend_from_slice(body.as_bytes());
        let peek = peek(Endpoint::ChatCompletions, buffer.as_slice()).unwrap();
        (buffer, peek)
    }

    fn rewritten(body: &str, model: Option<&str>, inject: bool) -> String {
        let (mut buffer, mut peek) = buffer(body);
        rewrite(&mut buffer, &mut peek, model, inject);
        String::from_utf8(buffer.freeze().to_vec()).unwrap()
    }

    #[test]
    fn a_version_takes_the_model_s_place() {
        for (body, expected) in [
            (r#"{"model":"m","a":1}"#, r#"{"anthropic_version":"v","a":1}"#),
            (r#"{ "a" : 1 , "model" : "m" }"#, r#"{ "a" : 1 , "anthropic_version":"v" }"#),
            (r#"{"mod\u0065l":"\"m\"","a":"model"}"#, r#"{"anthropic_version":"v","a":"model"}"#),
        ] {
            let (buffer, peek) = buffer(body);
            assert_eq!(copy_with_version(&buffer.freeze(), &peek, "v"), expected, "{body}");
        }
    }

    #[test]
    fn usage_is_asked_for_wherever_the_option_is() {
        let table = [
            (
                r#" {"model":"m","stream":true}"#,
                r#" {"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"stream":true,"stream_options":null,"model":"m"}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true},"model":"m"}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{ },"model":"m"}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true },"model":"m"}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{"x":1},"model":"m"}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true,"x":1},"model":"m"}"#,
            ),
            (
                r#"{"stream":true,"model":"m","stream_options":{"include_usage": false}}"#,
                r#"{"stream":true,"model":"m","stream_options":{"include_usage": true}}"#,
            ),
            (
                r#"{"stream":true,"model":"m","stream_options":{"include_usage":null}}"#,
                r#"{"stream":true,"model":"m","stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream":true,"model":"m","stream_options":{"include_usage":true}}"#,
                r#"{"stream":true,"model":"m","stream_options":{"include_usage":true}}"#,
            ),
            (r#"{"model":"m","stream":false}"#, r#"{"model":"m","stream":false}"#),
        ];
        for (body, expected) in table {
            assert_eq!(rewritten(body, None, true), expected);
            assert_eq!(rewritten(body, None, false), body);
        }
    }

    #[test]
    fn dialects_that_always_tell_usage_are_not_asked() {
        let body = br#"{"model":"m","stream":true}"#;
        for endpoint in [Endpoint::Messages, Endpoint::Responses] {
            let mut buffer = BodyBuffer::with_capacity(0);
            buffer.extend_from_slice(body);
            let mut peek = peek(endpoint, body).unwrap();
            rewrite(&mut buffer, &mut peek, None, true);
            assert_eq!(buffer.as_slice(), body);
        }
    }

    #[test]
    fn names_are_escaped() {
        let out = rewritten(r#"{"model":"m","x":1}"#, Some("a\"b\\c\né"), false);
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value, json!({"model": "a\"b\\c\né", "x": 1}));
    }

    #[test]
    fn an_edit_near_the_front_leaves_the_rest_in_its_place() {
        let body = format!(r#"{{"model":"m","x":"{}"}}"#, "y".repeat(10_000));
        let (mut buffer, mut peek) = buffer(&body);
        let tail = buffer.as_slice().last().map(std::ptr::from_ref);
        rewrite(&mut buffer, &mut peek, Some("a-much-longer-name"), false);
        assert_eq!(buffer.as_slice().last().map(std::ptr::from_ref), tail);
        let frozen = buffer.freeze();
        assert_eq!(frozen.last().map(std::ptr::from_ref), tail);
    }

    #[test]
    fn a_name_longer_than_the_headroom_fits() {
        let name = "n".repeat(3 * HEADROOM);
        let body = format!(r#"{{"model":"m","x":"{}"}}"#, "y".repeat(10_000));
        assert_eq!(
            rewritten(&body, Some(&name), false),
            body.replace("\"m\"", &format!("\"{name}\""))
        );
    }

    /// Bodies with the fields in any order, spaced in any way.
    fn bodies() -> impl Strategy<Value = String> {
        let options = proptest::sample::select(vec![
            None,
            Some(r#""stream_options":null"#),
            Some(r#""stream_options" : {}"#),
            Some(r#""stream_options":{"a":[1], "include_usage" : false }"#),
            Some(r#""stream_options":{"include_usage":null,"b":{}}"#),
            Some(r#""stream_options":{"b":"}"}"#),
            Some(r#""stream_options":{"include_usage":true}"#),
        ]);
        let filler = proptest::collection::vec("[a-z{}:, \u{e9}]{0,40}", 0..3);
        (options, filler, "[a-z\u{e9}]{1,12}", any::<bool>(), 0_u64..99, any::<bool>()).prop_map(
            |(options, filler, model, stream, order, spaced)| {
                let mut members =
                    vec![format!(r#""model":"{model}""#), format!(r#""stream":{stream}"#)];
                members.extend(options.map(str::to_owned));
                for (index, text) in filler.iter().enumerate() {
                    members.push(format!(r#""x{index}":["{text}",{{"model":1}}]"#));
                }
                members.sort_by_key(|member| {
                    let sum: u64 = member.bytes().map(u64::from).sum();
                    (sum * (order + 1)) % 101
                });
                let separator = if spaced { " ,\n " } else { "," };
                let space = if spaced { " \n" } else { "" };
                format!("{space}{{{space}{}{space}}}{space}", members.join(separator))
            },
        )
    }

    /// The edit as a full parser does it.
    fn reference(body: &str, model: Option<&str>, inject: bool) -> Value {
        let mut value: Value = serde_json::from_str(body).unwrap();
        if let Some(model) = model {
            value["model"] = model.into();
        }
        if inject && value["stream"] == true {
            if !value["stream_options"].is_object() {
                value["stream_options"] = json!({});
            }
            value["stream_options"]["include_usage"] = true.into();
        }
        value
    }

    type Attempt = (Option<String>, bool);

    fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
        let model = proptest::option::of(".{1,30}");
        proptest::collection::vec((model, any::<bool>()), 1..5)
    }

    proptest! {
        #[test]
        fn every_attempt_equals_a_full_parser(body in bodies(), attempts in attempts()) {
            let (mut buffer, mut seen) = buffer(&body);
            let original = Bytes::from(body.clone().into_bytes());
            let mut copy = (original.clone(), seen.clone());
            let mut model: Option<&str> = None;
            for (target, inject) in &attempts {
                model = target.as_deref().or(model);
                rewrite(&mut buffer, &mut seen, target.as_deref(), *inject);
                copy = rewrite_copy(&copy.0, &copy.1, target.as_deref(), *inject);
                prop_assert_eq!(buffer.as_slice(), copy.0.as_ref());
                prop_assert_eq!(&seen, &copy.1);
                let value: Value = serde_json::from_slice(buffer.as_slice()).unwrap();
                prop_assert_eq!(value, reference(&body, model, *inject));
            }
        }

        #[test]
        fn all_other_bytes_are_unchanged(body in bodies(), attempts in attempts()) {
            let (mut buffer, mut seen) = buffer(&body);
            let caller = seen.model.clone();
            for (target, inject) in &attempts {
                rewrite(&mut buffer, &mut seen, target.as_deref(), *inject);
            }
            // Taking every edit back has to give the very bytes that came.
            rewrite(&mut buffer, &mut seen, Some(&caller), false);
            prop_assert_eq!(buffer.as_slice(), body.as_bytes());
        }
    }
}
