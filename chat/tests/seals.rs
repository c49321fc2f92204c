//! What a provider seals comes back to it by way of every client's dialect, and to no other provider.

#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

use serde_json::{Value, json};
use sluicegate_chat::{
    ClientDialect, Dialect, Envelope, Expect, OnLoss, Target, decode_reply, decode_request,
    encode_reply, encode_request,
};

/// The request that goes on with an answer, as clients make it.
fn next_request(client: ClientDialect, answer: &Value) -> Value {
    let user = json!({"role": "user", "content": "?"});
    match client {
        ClientDialect::OpenAiChat => {
            let message = &answer["choices"][0]["message"];
            let result = json!({"role": "tool", "tool_call_id": "fc_1", "content": "r"});
            let tools = json!([{"type": "function", "function": {"name": "f"}}]);
            json!({"model": "m", "messages": [user, message, result], "tools": tools})
        }
        _ => {
            let message = json!({"role": "assistant", "content": answer["content"]});
            let result = json!({"type": "tool_result", "tool_use_id": "fc_1", "content": "r"});
            let result = json!({"role": "user", "content": [result]});
            let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
            json!({"model": "m", "max_tokens": 9, "messages": [user, message, result], "tools": tools})
        }
    }
}

/// What `second` gets as the model's turn, after `first` gave `reply`.
fn turn(
    first: Dialect,
    reply: &Value,
    client: ClientDialect,
    second: Dialect,
    model: &str,
) -> Value {
    let reply = reply.to_string();
    let reply = decode_reply(first, &Expect::default(), reply.as_bytes()).unwrap();
    let mut answer = Vec::new();
    encode_reply(client, &Envelope::default(), &reply, &mut answer);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let next = next_request(client, &answer).to_string();
    let request = decode_request(client, next.as_bytes()).unwrap();
    let encoded = encode_request(second, &request, &Target::new(model), OnLoss::Refuse).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let turns = if second == Dialect::Gemini { &body["contents"] } else { &body["messages"] };
    let turn = &turns[1];
    turn.get("parts").or(turn.get("content")).unwrap().clone()
}

const CLIENTS: [ClientDialect; 2] = [ClientDialect::OpenAiChat, ClientDialect::Anthropic];
const CLAUDE: &str = "anthropic.claude-sonnet-4-20250514-v1:0";

fn gemini_reply() -> Value {
    json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"text": "Hmm.", "thought": true, "thoughtSignature": "VGhvdWdodA=="},
        {"text": "I look."},
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "fc_1"}, "thoughtSignature": "Q2FsbA=="},
    ]}}]})
}

fn bedrock_reply() -> Value {
    json!({"stopReason": "tool_use", "output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "Hmm.", "signature": "QW50aHJvcGlj"}}},
        {"reasoningContent": {"redactedContent": "UmVk"}},
        {"text": "I look."},
        {"toolUse": {"toolUseId": "fc_1", "name": "f", "input": {"a": 1}}},
    ]}}})
}

#[test]
fn a_turn_comes_back_as_it_was() {
    for client in CLIENTS {
        let found = turn(Dialect::Gemini, &gemini_reply(), client, Dialect::Gemini, "m");
        assert_eq!(found, gemini_reply()["candidates"][0]["content"]["parts"], "{client:?}");
        let found = turn(Dialect::Bedrock, &bedrock_reply(), client, Dialect::Bedrock, CLAUDE);
        assert_eq!(found, bedrock_reply()["output"]["message"]["content"], "{client:?}");
    }
}

#[test]
fn the_seal_of_a_text_comes_back() {
    let reply = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"text": "Yes."},
        {"functionCall": {"name": "f", "id": "fc_1", "args": {}}, "thoughtSignature": "Q2FsbA=="},
        {"text": "", "thoughtSignature": "VGV4dA=="},
    ]}}]});
    for client in CLIENTS {
        let parts = turn(Dialect::Gemini, &reply, client, Dialect::Gemini, "m");
        let sealed = json!({"text": "", "thoughtSignature": "VGV4dA=="});
        assert!(parts.as_array().unwrap().contains(&sealed), "{parts}");
    }
}

#[test]
fn no_provider_gets_anothers_seal() {
    for client in CLIENTS {
        for (first, reply, second, model) in [
            (Dialect::Gemini, gemini_reply(), Dialect::Bedrock, CLAUDE),
            (Dialect::Gemini, gemini_reply(), Dialect::Anthropic, "m"),
            (Dialect::Bedrock, bedrock_reply(), Dialect::Gemini, "m"),
            (Dialect::Bedrock, bedrock_reply(), Dialect::Bedrock, "us.amazon.nova-2-lite-v1:0"),
        ] {
            let turn = turn(first, &reply, client, second, model).to_string();
            assert!(turn.contains("I look."), "{turn}");
            for seal in ["VGhvdWdodA", "Q2FsbA", "QW50aHJvcGlj", "UmVk"] {
                assert!(!turn.contains(seal), "{first:?} {client:?} {second:?} {turn}");
            }
        }
    }
}

/// Anthropic's seals are the same wherever its models run.
#[test]
fn claudes_seals_are_good_on_bedrock_and_off() {
    for client in CLIENTS {
        let turn = turn(Dialect::Bedrock, &bedrock_reply(), client, Dialect::Anthropic, "m");
        assert_eq!(turn[0]["signature"], "QW50aHJvcGlj");
        assert_eq!(turn[1]["data"], "UmVk");
    }
}
