//! What the real APIs refuse beyond the plainest faults, each beside a request that is taken.

use serde_json::{Value, json};

use crate::client::*;

const PNG: &str = "iVBORw0KGgo=";

/// Sends the request with each change, and wants it refused with these words; `null` takes a member
/// away. Without a change it has to be taken.
async fn refused(path: &str, good: Value, cases: &[(Value, &str)]) {
    let simulator = simulator().await;
    let answer = post(&simulator, path, &good.to_string()).await;
    assert_eq!(answer.status, 200, "{good}: {}", answer.body);
    for (change, words) in cases {
        let mut body = good.clone();
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let answer = post(&simulator, path, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{change}: {}", answer.body);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{change}: {message}");
        // The same is taken where strictness is off.
        let lenient = post_sim(&simulator, path, "strict=false", &body.to_string()).await;
        assert_eq!(lenient.status, 200, "{change}: {}", lenient.body);
    }
}

fn messages(turns: Value) -> Value {
    json!({"messages": turns})
}

fn user(content: Value) -> Value {
    messages(json!([{"role": "user", "content": content}]))
}

#[tokio::test]
async fn chat_completions() {
    let function = |name: &str, parameters: Value| json!({"tools": [{"type": "function", "function": {"name": name, "parameters": parameters}}]});
    let good = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}},
            ]},
            {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "b", "content": "1"},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "2"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "temperature": 0.5,
        "stop": ["x"],
        "metadata": {"a": "b"},
        "max_completion_tokens": 20,
    });
    let call = json!({"role": "assistant", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let open = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let strict = json!({"response_format": {"type": "json_schema", "json_schema":
        {"name": "n", "strict": true, "schema": open}}});
    let nameless = json!({"response_format": {"type": "json_schema", "json_schema":
        {"name": "a b", "schema": open}}});
    let cases = [
        (json!({"colour": 1}), "Unknown parameter: 'colour'"),
        (json!({"temperature": 2.1}), "Invalid 'temperature'"),
        (json!({"temperature": "1"}), "Invalid type for 'temperature'"),
        (json!({"max_tokens": 5}), "at the same time"),
        (
            json!({"model": "gpt-5", "temperature": null, "max_completion_tokens": null, "max_tokens": 5}),
            "'max_tokens' is not supported",
        ),
        (json!({"model": "o3"}), "'temperature' is not supported"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"metadata": {"a": 1}}), "metadata.a"),
        (json!({"reasoning_effort": "some"}), "'some'"),
        (json!({"top_logprobs": 2}), "'logprobs'"),
        (json!({"tools": null}), "only allowed when 'tools'"),
        (json!({"tools": []}), "empty array"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "g"}}}), "'g' not found"),
        (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), "pattern"),
        (function(&"n".repeat(65), open.clone()), "too long"),
        (function("f", json!({"type": "array"})), "type: \"array\""),
        (function("f", json!({"type": "object"})), "missing properties"),
        (strict, "'additionalProperties' is required"),
        (nameless, "pattern"),
        (json!({"response_format": {"type": "json_object"}}), "the word 'json'"),
        (user(json!(null)), "got null"),
        (user(json!([])), "empty array"),
        (user(json!([{"type": "text", "text": "hi", "cache_control": {}}])), "cache_control"),
        (
            user(json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}])),
            "base64",
        ),
        (user(json!([{"type": "image_url", "image_url": {"url": "cat.png"}}])), "valid URL"),
        (messages(json!([{"role": "assistant", "content": null}])), "got null"),
        (
            messages(json!([{"role": "assistant", "content": "x", "reasoning_content": "y"}])),
            "reasoning_content",
        ),
        (messages(json!([{"role": "assistant", "tool_calls": []}])), "empty array"),
        (
            messages(json!([{"role": "tool", "tool_call_id": "a", "content": "1"}])),
            "preceding message",
        ),
        (messages(json!([call])), "did not have response messages: a"),
        (
            messages(json!([call, {"role": "user", "content": "hi"}])),
            "did not have response messages: a",
        ),
        (
            messages(json!([call, {"role": "tool", "tool_call_id": "b", "content": "1"}])),
            "preceding message",
        ),
        (messages(json!([call, {"role": "tool", "content": "1"}])), "tool_call_id"),
    ];
    refused("/v1/chat/completions", good, &cases).await;
}

#[tokio::test]
async fn responses() {
    let input = |items: Value| json!({"input": items});
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "a", "output": "1"});
    let good = json!({
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": format!("data:image/png;base64,{PNG}")},
            ]},
            call,
            output,
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
            {"role": "user", "content": "and?"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}],
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "max_output_tokens": 16,
        "store": false,
    });
    let thought =
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"});
    let bare = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let cases = [
        (json!({"messages": []}), "Unknown parameter: 'messages'"),
        (json!({"max_output_tokens": 15}), ">= 16"),
        (json!({"previous_response_id": "resp_1"}), "not found"),
        (json!({"include": ["everything"]}), "'everything'"),
        (json!({"reasoning": {"effort": "some"}}), "'some'"),
        (json!({"reasoning": {"depth": 1}}), "reasoning.depth"),
        (json!({"text": {"format": {"type": "json_schema"}}}), "text.format.name"),
        (json!({"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools[0].function"),
        (
            input(json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}])),
            "'input_text'",
        ),
        (
            input(
                json!([{"role": "assistant", "content": [{"type": "input_text", "text": "hi"}]}]),
            ),
            "'output_text'",
        ),
        (
            input(json!([{"type": "message", "id": "x", "role": "user", "content": "hi"}])),
            "begins with 'msg'",
        ),
        (
            input(json!([{"role": "user", "content": [
                {"type": "input_file", "file_url": "https://example.com/a", "filename": "a"},
            ]}])),
            "Mutually exclusive",
        ),
        (input(json!([call])), "No tool output found for function call a"),
        (input(json!([output])), "No tool call found"),
        (input(json!([thought, {"role": "assistant", "content": "x"}])), "could not be verified"),
        (input(json!([bare, {"role": "assistant", "content": "x"}])), "not persisted"),
    ];
    refused("/v1/responses", good, &cases).await;

    let alone = json!({"model": "m", "input": [bare]}).to_string();
    let simulator = simulator().await;
    let answer = post(&simulator, "/v1/responses", &alone).await;
    assert!(answer.body.contains("without its required following item"), "{}", answer.body);
}

#[tokio::test]
async fn anthropics_messages() {
    let schema = json!({"type": "object", "properties": {}});
    let tool =
        |name: &str, schema: Value| json!({"tools": [{"name": name, "input_schema": schema}]});
    let good = json!({
        "model": "m",
        "max_tokens": 2000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            ]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": "1"},
                {"type": "tool_result", "tool_use_id": "a", "is_error": true},
                {"type": "text", "text": "and?"},
                {"type": "text", "text": " "},
            ]},
        ],
        "tools": [{"name": "f", "description": "F.", "input_schema": schema}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "temperature": 1,
        "metadata": {"user_id": "ann"},
    });
    let thinking = |budget: u64| json!({"type": "enabled", "budget_tokens": budget});
    let forced = json!({"thinking": thinking(1024), "tool_choice": {"type": "any"}});
    let call = json!({"role": "assistant", "content": [
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
    ]});
    let result = json!({"type": "tool_result", "tool_use_id": "a", "content": "1"});
    let hi = json!({"role": "user", "content": "hi"});
    let image = |media_type: &str, data: &str| json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}});
    let thought = json!({"type": "thinking", "thinking": "x", "signature": "y"});
    let hint = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    let open = json!({"type": "object", "properties": {}});
    let cases = [
        (json!({"user": "ann"}), "user: Extra inputs are not permitted"),
        (json!({"metadata": {"user": "ann"}}), "metadata.user: Extra inputs"),
        (json!({"temperature": 1.1}), "temperature"),
        (json!({"stop_sequences": [" "]}), "non-whitespace"),
        (json!({"system": [{"type": "text", "text": ""}]}), "non-empty"),
        (json!({"thinking": thinking(1000)}), "thinking.budget_tokens"),
        (json!({"thinking": thinking(2000)}), "must be greater than `thinking.budget_tokens`"),
        (json!({"thinking": thinking(1024), "temperature": 0.5}), "may only be set to 1"),
        (json!({"thinking": thinking(1024), "top_k": 5}), "`top_k`"),
        (json!({"thinking": thinking(1024), "top_p": 0.5}), "`top_p`"),
        (json!({"thinking": thinking(1024)}), "must start with a thinking block"),
        (forced, "forces tool use"),
        (json!({"tools": null}), "may only be specified while providing tools"),
        (json!({"tool_choice": {"type": "tool", "name": "g"}}), "'g' not found"),
        (tool("a b", schema.clone()), "should match pattern"),
        (tool(&"n".repeat(129), schema.clone()), "should match pattern"),
        (tool("f", json!({})), "input_schema.type: Field required"),
        (
            json!({"tools": [{"name": "f", "input_schema": schema}, {"name": "f", "input_schema": schema}]}),
            "unique",
        ),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": open}}}),
            "'additionalProperties'",
        ),
        (json!({"output_config": {"effort": "minimal"}}), "output_config.effort"),
        (user(json!("")), "non-empty content"),
        (user(json!([])), "non-empty content"),
        (user(json!([{"type": "text", "text": "  "}])), "non-whitespace"),
        (user(json!(" ")), "non-whitespace"),
        (user(json!([{"type": "text", "text": "x"}, {"type": "text", "text": ""}])), "non-empty"),
        (user(json!([{"type": "text", "text": "x", "colour": 1}])), "messages.0.content.0.colour"),
        (user(json!([image("image/gif", PNG)])), "not what it is"),
        (user(json!([image("image/bmp", PNG)])), "'image/png'"),
        (user(json!([image("image/png", "!")])), "base64"),
        (user(json!([result])), "unexpected `tool_use_id`"),
        (user(json!([hint, hint, hint, hint])), "maximum of 4"),
        (messages(json!([hi, {"role": "assistant", "content": "x "}])), "trailing whitespace"),
        (messages(json!([hi, call])), "without `tool_result` blocks"),
        (messages(json!([hi, call, hi])), "without `tool_result` blocks"),
        (
            messages(
                json!([hi, call, {"role": "user", "content": [{"type": "text", "text": "x"}, result]}]),
            ),
            "must come before",
        ),
        (
            messages(json!([hi, call, {"role": "user", "content": [result, result]}])),
            "unexpected `tool_use_id`",
        ),
        (
            messages(json!([hi, {"role": "assistant", "content": [thought]}, hi])),
            "Invalid `signature`",
        ),
    ];
    refused("/v1/messages", good, &cases).await;
}

#[tokio::test]
async fn a_key_twice_is_refused_wherever_it_stands() {
    let simulator = simulator().await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}"#;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let body = body.replace(r#""model":"m""#, r#""model":"m","max_tokens":9"#);
        let answer = post(&simulator, path, &body).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains("duplicate field"), "{}", answer.body);
    }
}
