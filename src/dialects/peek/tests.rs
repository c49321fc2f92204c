//! Tests of the peek: what is read, what is refused, and that a full parser agrees.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn chat(body: &str) -> Result<Peek, PeekError> {
    peek(Endpoint::ChatCompletions, body.as_bytes())
}

#[test]
fn reads_what_decisions_need() {
    let body = r#" {"messages":[{"model":"no","n":7}],"model":"gpt-4o","stream":true,
        "max_completion_tokens":99,"max_tokens":7,"n":3,"stream_options":{"include_usage":true}} "#;
    let peek = chat(body).unwrap();
    assert_eq!(peek.model, "gpt-4o");
    assert!(peek.stream && peek.include_usage);
    assert_eq!(peek.max_output_tokens, Some(99));
    assert_eq!(peek.n, 3);
    assert_eq!(&body[peek.model_span], "\"gpt-4o\"");
    assert_eq!(peek.usage_switch, None, "the caller asked already");
}

#[test]
fn absent_and_null_fields_have_defaults() {
    for body in [
        r#"{"model":"m"}"#,
        r#"{"model":"m","stream":null,"max_tokens":null,"n":null,"stream_options":null}"#,
    ] {
        let peek = chat(body).unwrap();
        assert!(!peek.stream && !peek.include_usage);
        assert_eq!((peek.max_output_tokens, peek.n), (None, 1));
    }
}

#[test]
fn limits_of_each_dialect() {
    for body in [r#"{"model":"m","max_tokens":0}"#, r#"{"max_output_tokens":0,"model":"m"}"#] {
        assert_eq!(chat(body).unwrap().max_output_tokens, Some(0));
    }
    let peek = peek(Endpoint::Completions, br#"{"model":"m","n":2,"best_of":5}"#).unwrap();
    assert_eq!(peek.n, 5);
}

#[test]
fn what_a_request_may_cost_and_for_whom_it_is() {
    let of = |endpoint, body: &str| peek(endpoint, body.as_bytes()).unwrap();
    let chat = |body: &str| of(Endpoint::ChatCompletions, body);
    assert_eq!(chat(r#"{"model":"m","user":"ann"}"#).end_user.as_deref(), Some("ann"));
    assert_eq!(
        chat(r#"{"model":"m","user":null,"safety_identifier":"\u0061nn"}"#).end_user.as_deref(),
        Some("ann")
    );
    assert_eq!(chat(r#"{"model":"m","user":7,"metadata":[]}"#).end_user, None);
    let messages = of(Endpoint::Messages, r#"{"model":"m","metadata":{"x":1,"user_id":"bob"}}"#);
    assert_eq!(messages.end_user.as_deref(), Some("bob"));
    let long = format!(r#"{{"model":"m","user":"{}"}}"#, "x".repeat(600));
    assert_eq!(
        super::peek(Endpoint::ChatCompletions, long.as_bytes()).unwrap_err().param(),
        Some("user")
    );

    for (prompt, prompts) in
        [("\"a\"", 1), ("[\"a\",\"b\"]", 2), ("[1,2,3]", 1), ("[[1,2],[3]]", 2), ("[]", 1)]
    {
        let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
        assert_eq!(of(Endpoint::Completions, &body).prompts, prompts, "{prompt}");
    }
    for (tier, priority) in
        [("\"priority\"", true), ("\"auto\"", true), ("\"flex\"", false), ("null", false)]
    {
        assert_eq!(
            chat(&format!(r#"{{"model":"m","service_tier":{tier}}}"#)).priority,
            priority,
            "{tier}"
        );
    }
    for (fields, reads_more) in [
        (r#""tools":[{"type":"function","function":{"name":"f"}}]"#, false),
        (r#""tools":[{"name":"f","input_schema":{}}]"#, false),
        (r#""tools":[{"type":"bash_20250124","name":"bash"}]"#, false),
        (r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#, true),
        (r#""tools":[{"type":"mcp","server_url":"https://x"}]"#, true),
        (r#""tools":7"#, true),
        (r#""previous_response_id":"resp_1""#, true),
        (r#""previous_response_id":null"#, false),
        (r#""conversation":"conv_1""#, true),
        (r#""prompt":{"id":"pmpt_1"}"#, true),
    ] {
        let peek = of(Endpoint::Responses, &format!(r#"{{"model":"m",{fields}}}"#));
        assert_eq!(peek.reads_more, reads_more, "{fields}");
    }
    let twice = br#"{"model":"m","previous_response_id":null,"previous_response_id":"r"}"#;
    assert_eq!(peek(Endpoint::Responses, twice).unwrap_err().code(), "duplicate_parameter");
}

#[test]
fn refusals_name_the_field() {
    let table: &[(&str, &str, Option<&str>)] = &[
        ("", "invalid_json", None),
        ("[]", "invalid_json", None),
        (r#"["m"]"#, "invalid_json", None),
        (r#""model""#, "invalid_json", None),
        ("null", "invalid_json", None),
        ("\u{FEFF}{\"model\":\"m\"}", "invalid_json", None),
        (r#"{"model":"m"} x"#, "invalid_json", None),
        (r#"{"model":"m"}{"model":"o"}"#, "invalid_json", None),
        (r#"{"model":"m",}"#, "invalid_json", None),
        (r#"{"model":"m"/**/}"#, "invalid_json", None),
        (r#"{'model':'m'}"#, "invalid_json", None),
        (r#"{"model":"m","x":NaN}"#, "invalid_json", None),
        (r#"{"model":"m","x":"\ud800\u0041", "\ud800":1}"#, "invalid_json", None),
        ("{\"model\":\"m\",\"x\":\"\n\"}", "invalid_json", None),
        (r"{}", "missing_required_parameter", Some("model")),
        (r#"{"model":1}"#, "invalid_parameter", Some("model")),
        (r#"{"model":null}"#, "invalid_parameter", Some("model")),
        (r#"{"model":["m"]}"#, "invalid_parameter", Some("model")),
        (r#"{"model":""}"#, "invalid_parameter", Some("model")),
        (r#"{"model":"a\nb"}"#, "invalid_parameter", Some("model")),
        (r#"{"model":"a\u0000"}"#, "invalid_parameter", Some("model")),
        (r#"{"model":"a\u0085"}"#, "invalid_parameter", Some("model")),
        (r#"{"model":"\ud800"}"#, "invalid_parameter", Some("model")),
        (r#"{"model":"m","model":"m"}"#, "duplicate_parameter", Some("model")),
        (r#"{"model":"m","mod\u0065l":"o"}"#, "duplicate_parameter", Some("model")),
        (r#"{"model":"m","Model":"o"}"#, "ambiguous_parameter", Some("model")),
        (r#"{"MODEL":"o"}"#, "ambiguous_parameter", Some("model")),
        (r#"{"model":"m","model\u0000":"o"}"#, "ambiguous_parameter", Some("model")),
        (r#"{"model":"m","model\u0000x":"o"}"#, "ambiguous_parameter", Some("model")),
        (r#"{"model":"m"," model":"o"}"#, "ambiguous_parameter", Some("model")),
        (r#"{"model":"m","ſtream":true}"#, "ambiguous_parameter", Some("stream")),
        (r#"{"model":"m","max_to\u212aens":1}"#, "ambiguous_parameter", Some("max_tokens")),
        (r#"{"model":"m","models":["o"]}"#, "unsupported_parameter", Some("models")),
        (r#"{"model":"m","stream":"true"}"#, "invalid_parameter", Some("stream")),
        (r#"{"model":"m","stream":1}"#, "invalid_parameter", Some("stream")),
        (r#"{"model":"m","stream":true,"stream":false}"#, "duplicate_parameter", Some("stream")),
        (r#"{"model":"m","max_tokens":-1}"#, "invalid_parameter", Some("max_tokens")),
        (r#"{"model":"m","max_tokens":1.0}"#, "invalid_parameter", Some("max_tokens")),
        (r#"{"model":"m","max_tokens":1e3}"#, "invalid_parameter", Some("max_tokens")),
        (r#"{"model":"m","max_tokens":"9"}"#, "invalid_parameter", Some("max_tokens")),
        (
            r#"{"model":"m","max_tokens":99999999999999999999}"#,
            "invalid_parameter",
            Some("max_tokens"),
        ),
        (r#"{"model":"m","n":0}"#, "invalid_parameter", Some("n")),
        (r#"{"model":"m","n":4294967296}"#, "invalid_parameter", Some("n")),
        (r#"{"model":"m","N":2}"#, "ambiguous_parameter", Some("n")),
        (r#"{"model":"m","stream_options":1}"#, "invalid_parameter", Some("stream_options")),
        (
            r#"{"model":"m","stream_options":{"include_usage":0}}"#,
            "invalid_parameter",
            Some("include_usage"),
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}"#,
            "duplicate_parameter",
            Some("include_usage"),
        ),
        (
            r#"{"model":"m","stream_options":{"Include_Usage":true}}"#,
            "ambiguous_parameter",
            Some("include_usage"),
        ),
    ];
    for (body, code, param) in table {
        let error = chat(body).expect_err(body);
        assert_eq!((error.code(), error.param()), (*code, *param), "{body}: {error}");
    }
}

#[test]
fn bounds_of_the_model_name() {
    let named = |name: &str| chat(&format!(r#"{{"model":"{name}"}}"#));
    assert_eq!(named(&"m".repeat(256)).unwrap().model.len(), 256);
    assert_eq!(named(&r"\u0061".repeat(256)).unwrap().model.len(), 256);
    for name in ["m".repeat(257), r"\u0061".repeat(257), "m".repeat(100_000)] {
        assert_eq!(named(&name).expect_err("too long").param(), Some("model"));
    }
}

#[test]
fn invalid_utf8_is_refused_wherever_it_is() {
    let body = b"{\"model\":\"m\",\"x\":\"\xFF\"}";
    assert_eq!(peek(Endpoint::ChatCompletions, body), Err(PeekError::NotUtf8(18)));
}

#[test]
fn depth_is_bounded_without_a_deep_stack() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        chat(&format!(r#"{{"x":{open}{close},"model":"m"}}"#))
    };
    assert!(nested(MAX_DEPTH).is_ok());
    assert_eq!(nested(MAX_DEPTH + 1), Err(PeekError::TooDeep));
    assert_eq!(nested(3_000_000), Err(PeekError::TooDeep));
    let objects = r#"{"x":"#.repeat(1_000_000);
    assert_eq!(chat(&objects), Err(PeekError::TooDeep));
    let brackets = format!(r#"{{"model":"m","x":"\"{}"}}"#, "[{".repeat(500));
    assert!(chat(&brackets).is_ok(), "brackets in a string are no depth");
}

#[test]
fn what_does_not_stream_refuses_stream() {
    for endpoint in [Endpoint::Embeddings, Endpoint::CountTokens] {
        let error = peek(endpoint, br#"{"model":"m","stream":true}"#).expect_err("no stream");
        assert_eq!(error.param(), Some("stream"));
        assert!(peek(endpoint, br#"{"model":"m","stream":false}"#).is_ok());
    }
}

/// Bodies near the interesting ones: fields of interest under odd names with odd values.
fn bodies() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("model".to_owned()),
        Just("mod\\u0065l".to_owned()),
        Just("stream".to_owned()),
        Just("max_tokens".to_owned()),
        Just("messages".to_owned()),
        "[a-zA-Z_\u{17f} ]{0,6}",
    ];
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("7".to_owned()),
        Just("null".to_owned()),
        Just("[{\"model\":\"inner\"}]".to_owned()),
        "\"[a-z{}\u{e9}]{0,5}\"",
    ];
    proptest::collection::vec((name, value), 0..5).prop_map(|members| {
        let members: Vec<_> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #[test]
    fn accepted_means_that_a_full_parser_agrees(body in bodies()) {
        if let Ok(peek) = chat(&body) {
            let value: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(value["model"].as_str(), Some(peek.model.as_str()));
            prop_assert_eq!(value["stream"].as_bool().unwrap_or(false), peek.stream);
            prop_assert_eq!(value["max_tokens"].as_u64(), peek.max_output_tokens);
        }
    }

    #[test]
    fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for endpoint in Endpoint::ALL {
            let _outcome = peek(endpoint, &body);
        }
    }
}
