//! Whatever request of a client's is read, what is written of it for an upstream is JSON with each name once,
//! and says the same when it is read and written again.
//!
//! Input: one byte that picks the client's dialect and the model, one for what the model can, and the body.

#![no_main]

use std::collections::HashSet;

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use sluicegate_chat::{
    Capabilities, ClientDialect, Dialect, Envelope, OnLoss, Target, decode_request, encode_request,
};
use sluicegate_fuzz::{Members, is_json};

/// Bedrock writes differently for different families.
const MODELS: [&str; 5] =
    ["m", "anthropic.claude-4", "us.amazon.nova-pro-v1:0", "meta.llama4", "openai.gpt-oss"];

fuzz_target!(|input: &[u8]| {
    let Some((&[pick, can], body)) = input.split_first_chunk() else { return };
    let client = ClientDialect::ALL[usize::from(pick) % 3];
    let Ok(request) = decode_request(client, body) else { return };
    assert!(is_json(body), "no JSON was read as a request");
    let model = MODELS[usize::from(pick / 3) % MODELS.len()];
    let target = Target { capabilities: capabilities(can), ..Target::new(model) };
    let echo = Envelope::new(&request, "id", 1).echo;
    assert!(is_json(format!("{{{echo}}}").as_bytes()), "{echo}");

    for upstream in Dialect::ALL {
        for on_loss in [OnLoss::Refuse, OnLoss::DropParameters] {
            let Ok(encoded) = encode_request(upstream, &request, &target, on_loss) else {
                continue;
            };
            let text = str::from_utf8(&encoded.body).expect("what is written is UTF-8");
            let Members(members) = serde_json::from_str::<Members<'_, &RawValue>>(text)
                .unwrap_or_else(|error| panic!("{upstream:?}: {error}: {text}"));
            let names: HashSet<_> = members.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), members.len(), "a name twice: {text}");
            assert!(
                encoded.path.starts_with('/') && encoded.path.bytes().all(|b| b.is_ascii_graphic())
            );
            for (_, value) in &encoded.headers {
                HeaderValue::from_str(value).expect("a header's value");
            }
            again(upstream, &target, text);
        }
    }
});

/// Where clients speak the dialect too, what was written is read, and comes to a form that stays.
fn again(upstream: Dialect, target: &Target<'_>, text: &str) {
    let Some(client) = ClientDialect::ALL.into_iter().find(|it| Dialect::from(*it) == upstream)
    else {
        return;
    };
    let once_more = |text: &str| {
        let read = decode_request(client, text.as_bytes())
            .unwrap_or_else(|refusal| panic!("{upstream:?}: {refusal}: {text}"));
        let written = encode_request(upstream, &read, target, OnLoss::Refuse)
            .unwrap_or_else(|refusal| panic!("{upstream:?}: {refusal}: {text}"));
        String::from_utf8(written.body.to_vec()).expect("what is written is UTF-8")
    };
    // A lone text may stand in a block at first.
    let twice = once_more(text);
    assert_eq!(once_more(&twice), twice, "{upstream:?}");
}

fn capabilities(bits: u8) -> Capabilities {
    let bit = |n: u8| bits & 1 << n != 0;
    Capabilities {
        adaptive_thinking: bit(0),
        structured_output: bit(1),
        max_completion_tokens: bit(2),
        developer_role: bit(3),
        mid_conversation_system: bit(4),
        effort_none: bit(5),
        reasoning_content: bit(6),
        thinking_levels: bit(7),
    }
}
