//! What we accept, a full parser reads as we do, before and after every rewrite.
//!
//! Input: one byte that picks the endpoint, and the body.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sluicegate::dialects::{
    Endpoint,
    peek::{Peek, peek},
    rewrite::{BodyBuffer, rewrite, rewrite_copy},
};
use sluicegate_fuzz::is_json;

fuzz_target!(|input: &[u8]| {
    let Some((&pick, body)) = input.split_first() else {
        return;
    };
    let endpoint = Endpoint::ALL[usize::from(pick) % Endpoint::ALL.len()];
    let Ok(seen) = peek(endpoint, body) else {
        return;
    };
    assert!(is_json(body), "no JSON was accepted");
    // A full parser may refuse what it would have to store: a lone surrogate, a huge number.
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    agree(&seen, &value);

    let mut buffer = BodyBuffer::with_capacity(0);
    buffer.extend_from_slice(body);
    let mut edited = seen.clone();
    for (target, inject) in [
        (Some("a \"target\"\n"), true),
        (Some("b"), false),
        (None, true),
        (Some("a target that is longer than the one before"), true),
    ] {
        let before = Bytes::copy_from_slice(buffer.as_slice());
        let (copy, copied) = rewrite_copy(&before, &edited, target, inject);
        rewrite(&mut buffer, &mut edited, target, inject);
        assert_eq!(buffer.as_slice(), copy.as_ref());
        assert_eq!(edited, copied);
        check(&value, buffer.as_slice(), target, inject, endpoint, &seen);
    }
});

fn agree(seen: &Peek, value: &Value) {
    assert_eq!(value["model"].as_str(), Some(seen.model.as_str()));
    assert_eq!(value["stream"].as_bool().unwrap_or(false), seen.stream);
    let include = value["stream_options"]["include_usage"].as_bool();
    assert_eq!(include.unwrap_or(false), seen.include_usage);
    let largest = |names: &[&str]| names.iter().filter_map(|name| value[*name].as_u64()).max();
    let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    assert_eq!(largest(&limits), seen.max_output_tokens);
    assert_eq!(largest(&["n", "best_of"]).unwrap_or(1), u64::from(seen.n));
    assert_eq!(!value["tools"].is_null(), seen.tools);
}

/// The rewritten body has the new model, asks for usage if it should, and is else the same.
fn check(
    original: &Value,
    body: &[u8],
    target: Option<&str>,
    inject: bool,
    endpoint: Endpoint,
    seen: &Peek,
) {
    let after: Value = serde_json::from_slice(body).expect("a rewritten body is JSON");
    if let Some(target) = target {
        assert_eq!(after["model"].as_str(), Some(target));
    }
    let asks = after["stream_options"]["include_usage"] == true;
    let injected = inject && seen.stream && endpoint.asks_for_usage();
    assert_eq!(asks, seen.include_usage || injected);
    let reread = peek(endpoint, body).is_ok();
    assert!(reread || target.is_some_and(|target| target.contains('\n')));

    let rest = |value: &Value| {
        let mut value = value.clone();
        if let Some(members) = value.as_object_mut() {
            members.remove("model");
            members.remove("stream_options");
        }
        value
    };
    assert_eq!(rest(&after), rest(original));
}
