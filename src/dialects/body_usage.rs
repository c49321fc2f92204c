//! Finds the usage in an answer that is one JSON document.

use std::ops::Range;
use std::sync::OnceLock;

use sluicegate_filters::price::ServiceTier;

use super::{
    Endpoint, json,
    scan::{JsonScan, MAX_CAPTURE},
    tokens,
};
use crate::chat::Usage;

/// Reads an answer's body piece by piece, cut anywhere, without holding it.
///
/// It follows strings and brackets and keeps the value of `usage` at the root, up to 16 KiB. A body that
/// comes in one piece, as most do, is gone through once and nothing of it is kept.
#[derive(Debug)]
pub struct UsageScanner {
    endpoint: Endpoint,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Awaited,
    /// It came in one piece.
    Whole {
        told: Told,
        /// Something came behind it that is none of it.
        more: bool,
    },
    Pieces {
        scan: Box<JsonScan>,
        /// What was found, once somebody has asked: the cost is told with it, and the ledger charged.
        usage: OnceLock<Option<Usage>>,
    },
}

/// What a body tells.
#[derive(Debug)]
struct Told {
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
}

impl UsageScanner {
    /// A scanner for an answer of `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, body: Body::Awaited }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.body {
            Body::Awaited => {
                self.body = match self.whole(bytes) {
                    Some(told) => Body::Whole { told, more: false },
                    None => {
                        let mut scan = Box::<JsonScan>::default();
                        scan.push(bytes);
                        Body::Pieces { scan, usage: OnceLock::new() }
                    }
                };
            }
            Body::Whole { more, .. } => *more |= !bytes.trim_ascii().is_empty(),
            Body::Pieces { scan, usage } => {
                scan.push(bytes);
                usage.take();
            }
        }
    }

    /// What `bytes` tell, where they are all of a body.
    fn whole(&self, bytes: &[u8]) -> Option<Told> {
        // Most that are not all of a body are known without going through them.
        if bytes.trim_ascii_end().last() != Some(&b'}') {
            return None;
        }
        let mut told = Told { usage: None, tier: None };
        json::whole(bytes, |at| {
            at.object(|name, at| {
                let start = at.place();
                match name {
                    b"usage" if self.endpoint == Endpoint::Messages => {
                        let raw = at.value()?;
                        let kept = is_kept(bytes, start..at.place());
                        told.usage = tokens::of_answer(self.endpoint, raw).filter(|_| kept);
                        told.tier = tokens::tier_in_usage(raw).filter(|_| kept);
                    }
                    b"usage" => {
                        let usage = tokens::pass(self.endpoint, at)?;
                        told.usage = usage.filter(|_| is_kept(bytes, start..at.place()));
                    }
                    b"service_tier" if self.endpoint != Endpoint::Messages => {
                        let tier = tokens::tier(at.value()?);
                        told.tier = tier.filter(|_| is_kept(bytes, start..at.place()));
                    }
                    _ => drop(at.value()?),
                }
                Some(())
            })
        })?;
        Some(told)
    }

    /// The usage. `None` when there was none, or none that can be read.
    pub fn finish(&self) -> Option<Usage> {
        match &self.body {
            Body::Awaited => None,
            Body::Whole { told, .. } => told.usage,
            Body::Pieces { scan, usage } => *usage.get_or_init(|| {
                let raw = scan.found().usage.as_deref()?;
                tokens::of_answer(self.endpoint, raw)
            }),
        }
    }

    /// How fast the provider says that it has served.
    pub fn tier(&self) -> Option<ServiceTier> {
        match &self.body {
            Body::Awaited => None,
            Body::Whole { told, .. } => told.tier,
            Body::Pieces { scan, .. } => {
                let found = scan.found();
                match self.endpoint {
                    Endpoint::Messages => found.usage.as_deref().and_then(tokens::tier_in_usage),
                    _ => found.tier.as_deref().and_then(tokens::tier),
                }
            }
        }
    }

    /// Whether the body was one JSON object to its closing brace, rather than cut or no JSON.
    pub fn is_complete(&self) -> bool {
        match &self.body {
            Body::Awaited => false,
            Body::Whole { more, .. } => !more,
            Body::Pieces { scan, .. } => scan.is_complete(),
        }
    }
}

/// Whether [`JsonScan`] would have kept the value in this place too, so that what is found does not depend on how a
/// body is cut. It counts the white space around a value.
fn is_kept(bytes: &[u8], value: Range<usize>) -> bool {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let before = bytes[..value.start].iter().rev().take_while(blank).count();
    let behind = bytes[value.end..].iter().take_while(blank).count();
    before + value.len() + behind <= MAX_CAPTURE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn scan_whole(endpoint: Endpoint, body: &[u8]) -> UsageScanner {
        let mut scanner = UsageScanner::new(endpoint);
        scanner.push(body);
        scanner
    }

    #[test]
    fn usage_of_each_dialects_answer() {
        let table: [(Endpoint, &[u8], Usage); 5] = [
            (
                Endpoint::ChatCompletions,
                include_bytes!("fixtures/chat_answer.json"),
                Usage {
                    input: 75,
                    cache_read: 1_024,
                    output: 46,
                    reasoning: 32,
                    audio_input: 5,
                    audio_output: 2,
                    ..Usage::default()
                },
            ),
            (
                Endpoint::Responses,
                include_bytes!("fixtures/responses_answer.json"),
                Usage {
                    input: 30,
                    cache_read: 6,
                    output: 87,
                    reasoning: 64,
                    ..Usage::default()
                },
            ),
            (
                Endpoint::Messages,
                include_bytes!("fixtures/messages_answer.json"),
                Usage {
                    input: 21,
                    cache_read: 188_086,
                    cache_write_5m: 148,
                    cache_write_1h: 100,
                    output: 393,
                    ..Usage::default()
                },
            ),
            (
                Endpoint::Embeddings,
                br#"{"object":"list","data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
                Usage {
                    input: 8,
                    ..Usage::default()
                },
            ),
            (
                Endpoint::Embeddings,
                br#"{"usage":{"total_tokens":8}}"#,
                Usage {
                    input: 8,
                    ..Usage::default()
                },
            ),
        ];
        for (endpoint, body, usage) in table {
            let scanner = scan_whole(endpoint, body);
            assert_eq!(scanner.finish(), Some(usage), "{endpoint:?}");
            assert!(scanner.is_complete(), "{endpoint:?}");
        }
    }

    #[test]
    fn the_tier_that_was_served() {
        for (endpoint, body, tier) in [
            (
                Endpoint::ChatCompletions,
                r#"{"service_tier":"priority"}"#,
                Some(ServiceTier::Priority),
            ),
            (
                Endpoint::Responses,
                r#"{"a":{"service_tier":"flex"},"service_tier" : "flex"}"#,
                Some(ServiceTier::Flex),
            ),
            (Endpoint::Messages, r#"{"usage":{"service_tier":"batch"}}"#, Some(ServiceTier::Batch)),
            (
                Endpoint::Messages,
                r#"{"service_tier":"batch","usage":{"service_tier":"standard"}}"#,
                None,
            ),
            (Endpoint::ChatCompletions, r#"{"service_tier":"default"}"#, None),
            (Endpoint::ChatCompletions, r#"{"service_tier":null,"x":"service_tier"}"#, None),
            (Endpoint::ChatCompletions, r#"{"choices":[{"service_tier":"priority"}]}"#, None),
        ] {
            assert_eq!(scan_whole(endpoint, body.as_bytes()).tier(), tier, "{body}");
        }
    }

    /// What is found in a body that comes in one piece, and in two.
    fn found(endpoint: Endpoint, body: &[u8]) -> (Option<Usage>, Option<ServiceTier>) {
        let whole = scan_whole(endpoint, body);
        let mut cut = UsageScanner::new(endpoint);
        let (first, rest) = body.split_at(body.len() / 2);
        cut.push(first);
        cut.push(rest);
        assert_eq!((cut.finish(), cut.tier()), (whole.finish(), whole.tier()), "{endpoint:?}");
        (whole.finish(), whole.tier())
    }

    #[test]
    fn a_tier_below_the_root_is_none_however_the_body_is_cut() {
        for endpoint in Endpoint::ALL {
            for name in ["response", "message"] {
                let body = format!(r#"{{"{name}":{{"service_tier":"flex"}},"x":"{name}"}}"#);
                assert_eq!(found(endpoint, body.as_bytes()), (None, None));
            }
        }
    }

    #[test]
    fn what_is_too_long_to_be_kept_is_none_however_the_body_is_cut() {
        for endpoint in Endpoint::ALL {
            for (blanks, fits) in [(100, true), (MAX_CAPTURE, false)] {
                let blank = " ".repeat(blanks);
                for body in [
                    format!(
                        r#"{{"usage":{{"input_tokens":3,{blank}"service_tier":"flex"}},"x":1}}"#
                    ),
                    format!(r#"{{"usage":{blank}{{"input_tokens":3,"service_tier":"flex"}}}}"#),
                    format!(
                        r#"{{"usage":{{"input_tokens":3,"service_tier":"flex"}}{blank},"x":1}}"#
                    ),
                ] {
                    let (usage, _) = found(endpoint, body.as_bytes());
                    assert_eq!(usage.is_some(), fits, "{endpoint:?}, {blanks}");
                }
                let body = format!(r#"{{"service_tier":{blank}"flex","x":1}}"#);
                let (_, tier) = found(endpoint, body.as_bytes());
                assert_eq!(tier.is_some(), fits && endpoint != Endpoint::Messages);
            }
        }
    }

    #[test]
    fn only_the_roots_usage_counts() {
        let body = br#"{"choices":[{"usage":{"prompt_tokens":1}}],"text":"\"usage\":{\"prompt_tokens\":2}",
            "response":{"usage":{"prompt_tokens":3}},"a":{"usage":{"prompt_tokens":4}},"x":["usage",{"prompt_tokens":5}]}"#;
        let scanner = scan_whole(Endpoint::ChatCompletions, body);
        assert!(scanner.is_complete());
        assert_eq!(scanner.finish(), None);
    }

    #[test]
    fn a_name_in_escapes_is_the_same_name() {
        let body = br#"{"us\u0061ge":{"prompt_tokens":3}}"#;
        let usage = scan_whole(Endpoint::ChatCompletions, body).finish().unwrap();
        assert_eq!(usage.input, 3);
    }

    #[test]
    fn cut_and_foreign_bodies_are_not_complete() {
        let whole = include_bytes!("fixtures/chat_answer.json").trim_ascii_end();
        for end in 0..whole.len() {
            assert!(!scan_whole(Endpoint::ChatCompletions, &whole[..end]).is_complete());
        }
        for body in ["", "[]", "null", "{} x", "{}{}", "<html>{}</html>", "}"] {
            assert!(!scan_whole(Endpoint::ChatCompletions, body.as_bytes()).is_complete());
        }
    }

    #[test]
    fn a_usage_object_without_end_is_not_held() {
        let mut scanner = UsageScanner::new(Endpoint::ChatCompletions);
        scanner.push(br#"{"usage":{"prompt_tokens":1,"x":""#);
        for _ in 0..1_000 {
            scanner.push(&[b'x'; 1_024]);
        }
        scanner.push(br#""}}"#);
        assert!(scanner.is_complete());
        assert_eq!(scanner.finish(), None);
    }

    /// Any JSON value, with names that matter at every depth.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0_u64..2_000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            "[\"\\\\{}:,usage]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                members(inner),
            ]
        })
    }

    fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            Just("usage".to_owned()),
            Just("response".to_owned()),
            Just("prompt_tokens".to_owned()),
            Just("completion_tokens".to_owned()),
            "[a-z\"\\\\\u{e9}]{0,4}",
        ];
        proptest::collection::btree_map(name, value, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    fn documents() -> impl Strategy<Value = Value> {
        let counts = (0_u64..99, 0_u64..99)
            .prop_map(|(a, b)| json!({"prompt_tokens": a, "completion_tokens": b}));
        (members(value()), proptest::option::of(counts)).prop_map(|(mut document, counts)| {
            if let Some(counts) = counts {
                document["usage"] = counts;
            }
            document
        })
    }

    proptest! {
        #[test]
        fn any_chunking_agrees_with_a_full_parser(
            document in documents(),
            pretty in any::<bool>(),
            sizes in proptest::collection::vec(1_usize..20, 1..8),
        ) {
            let body = if pretty {
                serde_json::to_vec_pretty(&document).unwrap()
            } else {
                serde_json::to_vec(&document).unwrap()
            };
            let mut scanner = UsageScanner::new(Endpoint::ChatCompletions);
            let mut rest = body.as_slice();
            for size in sizes.iter().cycle() {
                let (piece, more) = rest.split_at((*size).min(rest.len()));
                scanner.push(piece);
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(scanner.is_complete());
            let reference = document.get("usage").and_then(|usage| {
                tokens::of_answer(Endpoint::ChatCompletions, &serde_json::to_vec(usage).unwrap())
            });
            prop_assert_eq!(scanner.finish(), reference);
        }

        #[test]
        fn nothing_panics(pieces in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:\\usage ".as_slice())], 0..30), 0..10)) {
            let mut scanner = UsageScanner::new(Endpoint::Responses);
            for piece in &pieces {
                scanner.push(piece);
            }
            let _usage = scanner.finish();
        }
    }
}
