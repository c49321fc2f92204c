//! Calls, reasoning, pictures and forms: whole and in pieces.

use serde_json::{Value, json};
use sluicegate_simulator::Behaviour;

use crate::client::*;

const CHAT_PATH: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES_PATH: &str = "/v1/messages";

fn schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["city", "days"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}})
}

fn chat(more: Value) -> String {
    let mut body = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "function": {"name": "weather", "parameters": schema()}},
            {"type": "function", "function": {"name": "clock"}},
        ],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

fn anthropic(more: Value) -> String {
    let mut body = json!({
        "model": "m",
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "weather", "input_schema": schema()}],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

const ARGUMENTS: &str = r#"{"city":"text","days":1}"#;

#[tokio::test]
async fn chat_calls_whole_and_in_pieces() {
    let simulator = simulator().await;
    let body = post_sim(&simulator, CHAT_PATH, "tool_calls=3", &chat(json!({}))).await.json();
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let names: Vec<_> = calls.iter().map(|call| &call["function"]["name"]).collect();
    assert_eq!(names, ["weather", "clock", "weather"]);
    assert_eq!(calls[0]["function"]["arguments"], ARGUMENTS);
    assert_eq!(calls[1]["function"]["arguments"], "{}");

    let stream = chat(json!({"stream": true, "n": 2}));
    let data = post_sim(&simulator, CHAT_PATH, "tool_calls=2", &stream).await.data();
    for choice in 0..2 {
        let deltas = data
            .iter()
            .flat_map(|chunk| chunk["choices"].as_array().unwrap())
            .filter(|one| one["index"] == choice)
            .filter_map(|one| one["delta"]["tool_calls"].get(0));
        let mut arguments = [String::new(), String::new()];
        for call in deltas {
            let place = call["index"].as_u64().unwrap() as usize;
            arguments[place].push_str(call["function"]["arguments"].as_str().unwrap());
        }
        assert_eq!(arguments, [ARGUMENTS, "{}"]);
    }
}

#[tokio::test]
async fn the_choice_of_tools_is_kept() {
    let simulator = simulator().await;
    for (more, directives, calls, finish) in [
        (json!({}), "tool_calls=0", 0, "stop"),
        (json!({"tool_choice": "required"}), "tokens=1", 1, "tool_calls"),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "clock"}}}),
            "tokens=1",
            1,
            "stop",
        ),
        (json!({"tool_choice": "none"}), "tool_calls=2", 0, "stop"),
        (json!({"parallel_tool_calls": false}), "tool_calls=2", 1, "tool_calls"),
        // Half a call would be none.
        (json!({"max_completion_tokens": 2}), "tool_calls=2", 0, "length"),
    ] {
        let body = post_sim(&simulator, CHAT_PATH, directives, &chat(more.clone())).await.json();
        let choice = &body["choices"][0];
        let got = choice["message"]["tool_calls"].as_array().map_or(0, Vec::len);
        assert_eq!((got, choice["finish_reason"].as_str()), (calls, Some(finish)), "{more}");
    }
}

#[tokio::test]
async fn after_results_comes_a_text() {
    let simulator = simulator_that(Behaviour { tool_calls: 1, ..Behaviour::default() }).await;
    let mut turns = json!([{"role": "user", "content": "hi"}]);
    let first = post(&simulator, CHAT_PATH, &chat(json!({}))).await.json();
    let message = first["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    let result = json!({"role": "tool", "tool_call_id": id, "content": "1"});
    turns.as_array_mut().unwrap().extend([message, result]);
    let second = post(&simulator, CHAT_PATH, &chat(json!({"messages": turns}))).await.json();
    assert_eq!(second["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn messages_think_and_call() {
    let simulator = simulator().await;
    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let directives = "tool_calls=1,reasoning_tokens=6";
    let whole = anthropic(json!({"thinking": thinking}));
    let whole = post_sim(&simulator, MESSAGES_PATH, directives, &whole).await.json();
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(whole["content"][0]["thinking"], "thought ".repeat(6));
    assert_eq!(whole["content"][1]["input"].to_string(), ARGUMENTS);
    assert_eq!(whole["usage"]["output_tokens_details"]["thinking_tokens"], 6);

    let stream = anthropic(json!({"thinking": thinking, "stream": true}));
    let answer = post_sim(&simulator, MESSAGES_PATH, directives, &stream).await;
    let (mut thought, mut signature, mut input) = (String::new(), String::new(), String::new());
    for event in answer.data() {
        let delta = &event["delta"];
        for (key, text) in [
            ("thinking", &mut thought),
            ("signature", &mut signature),
            ("partial_json", &mut input),
        ] {
            text.push_str(delta[key].as_str().unwrap_or(""));
        }
    }
    assert_eq!((thought.as_str(), input.as_str()), ("thought ".repeat(6).as_str(), ARGUMENTS));
    assert_eq!(whole["content"][0]["signature"], signature);

    // All of it comes back, and a text is the answer.
    let id = &whole["content"][1]["id"];
    let result = json!([{"type": "tool_result", "tool_use_id": id, "content": "1"}]);
    let turns = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": whole["content"]},
        {"role": "user", "content": result},
    ]);
    let again = anthropic(json!({"thinking": thinking, "messages": turns}));
    let again = post_sim(&simulator, MESSAGES_PATH, directives, &again).await.json();
    assert_eq!(again["content"][1]["type"], "text");
}

#[tokio::test]
async fn responses_reason_and_call() {
    let simulator = simulator().await;
    let body = json!({
        "model": "m",
        "input": "hi",
        "tools": [{"type": "function", "name": "weather", "parameters": schema()}],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "stream": true,
    });
    let answer = post_sim(&simulator, RESPONSES, "tool_calls=1", &body.to_string()).await;
    let data = answer.data();
    for (number, event) in data.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let pieces: Vec<_> = data
        .iter()
        .filter(|event| event["type"] == "response.function_call_arguments.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert!(pieces.len() > 2);
    assert_eq!(pieces.concat(), ARGUMENTS);
    let response = &data.last().unwrap()["response"];
    assert_eq!(response["tools"], body["tools"]);
    assert_eq!(response["usage"]["output_tokens_details"]["reasoning_tokens"], 4);

    let mut input = response["output"].clone();
    assert_eq!(input[0]["type"], "reasoning");
    let result =
        json!({"type": "function_call_output", "call_id": input[1]["call_id"], "output": "1"});
    input.as_array_mut().unwrap().push(result);
    let again = json!({"model": "m", "input": input, "store": false}).to_string();
    let again = post_sim(&simulator, RESPONSES, "tool_calls=1", &again).await.json();
    assert_eq!(again["output"][0]["type"], "message", "{again}");
}

#[tokio::test]
async fn the_form_and_the_pictures_are_in_the_text() {
    let simulator = simulator().await;
    let form = json!({"tools": null, "response_format": {"type": "json_schema",
        "json_schema": {"name": "n", "strict": true, "schema": schema()}}});
    let body = post(&simulator, CHAT_PATH, &chat(form)).await.json();
    assert_eq!(body["choices"][0]["message"]["content"], ARGUMENTS);
    assert_eq!(body["usage"]["completion_tokens"], ARGUMENTS.len().div_ceil(6));

    let form = json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}});
    let body = post(&simulator, MESSAGES_PATH, &anthropic(form)).await.json();
    assert_eq!(body["content"][0]["text"], ARGUMENTS);

    let picture =
        json!([{"type": "image", "source": {"type": "url", "url": "https://example.com/a"}}]);
    let picture = json!({"messages": [{"role": "user", "content": picture}]});
    let body = post(&simulator, MESSAGES_PATH, &anthropic(picture)).await.json();
    assert_eq!(body["content"][0]["text"], "I see an image at https://example.com/a.");
}

#[tokio::test]
async fn the_ledger_has_the_tokens_of_calls_and_thoughts() {
    let simulator = simulator().await;
    let stream = anthropic(json!({"thinking": {"type": "adaptive"}, "stream": true}));
    let answer = post_sim(&simulator, MESSAGES_PATH, "tool_calls=1", &stream).await;
    let data = answer.data();
    let told = data.iter().find(|event| event["type"] == "message_delta").unwrap();
    let total = simulator.ledger().total;
    assert_eq!(total.reasoning_tokens, 4);
    assert_eq!(total.completion_tokens, 4 + ARGUMENTS.len().div_ceil(6) as u64);
    assert_eq!(told["usage"]["output_tokens"], total.completion_tokens);
}

#[tokio::test]
async fn reasoning_content_is_shown_and_taken_back() {
    let simulator = simulator().await;
    let directives = "reasoning_content=true,tokens=1";
    let body = post_sim(&simulator, CHAT_PATH, directives, CHAT).await.json();
    let message = &body["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "thought ".repeat(4));
    let again = json!({"model": "m", "messages": [message, {"role": "user", "content": "x"}]});
    let again = again.to_string();
    assert_eq!(post_sim(&simulator, CHAT_PATH, directives, &again).await.status, 200);
    assert_eq!(post(&simulator, CHAT_PATH, &again).await.status, 400);
}
