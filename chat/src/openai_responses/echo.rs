//! Writes what an answer repeats of the request.
//!
//! Fields that the client left out get the value that they have without a word where it is the same for every
//! upstream, otherwise `null`. `store` is always `false`: whatever the upstream keeps, this answer can not be asked
//! for by its identifier.

use super::{request_in::INSTRUCTIONS, tools_out};
use crate::{
    json::{Number, Writer},
    model::{Request, Role, Tool},
};

/// Members of an answer that repeat the request, without braces, on one line.
pub fn echo(request: &Request<'_>) -> String {
    let mut buffer = Vec::with_capacity(256);
    let mut out = Writer::new(&mut buffer);
    out.open();
    members(request, &mut out);
    let text = String::from_utf8(buffer).unwrap_or_default();
    // What the client wrote over several lines goes into an event's one line.
    let mut line = Vec::with_capacity(text.len());
    Writer::new(&mut line).raw_line(text.strip_prefix('{').unwrap_or_default());
    String::from_utf8(line).unwrap_or_default()
}

fn members(request: &Request<'_>, out: &mut Writer<'_>) {
    out.key("background").boolean(false);
    out.field_or_null("instructions", instructions(request));
    count("max_output_tokens", request.max_output_tokens, out);
    out.key("max_tool_calls").null();
    out.key("metadata").raw(request.metadata.as_ref().map_or("{}", |labels| labels.as_str()));
    out.key("parallel_tool_calls").boolean(request.parallel_tool_calls.unwrap_or(true));
    out.key("previous_response_id").null();
    out.field_or_null("prompt_cache_key", request.prompt_cache_key.as_deref());
    out.key("reasoning").open();
    out.field_or_null("effort", request.reasoning.effort.map(|effort| effort.word()));
    out.field_or_null("summary", request.reasoning.display.and_then(super::words::summary));
    out.close();
    out.key("store").boolean(false);
    number("temperature", request.sampling.temperature, out);
    out.key("text").open();
    match &request.format {
        Some(format) => tools_out::format(format, out),
        None => _ = out.key("format").open().field("type", "text").close(),
    }
    out.field_if("verbosity", request.verbosity.as_deref()).close();
    out.key("tool_choice");
    match &request.tool_choice {
        Some(choice) => tools_out::tool_choice(choice, out),
        None => _ = out.string("auto"),
    }
    out.key("tools").open_array();
    for tool in &request.tools {
        match tool {
            Tool::Function(tool) => {
                tools_out::function(tool, tool.strict, request.dialect, out.element())
            }
            Tool::Native { value, .. } => _ = out.element().raw(value.as_str()),
        }
    }
    out.close_array();
    out.count_field("top_logprobs", request.top_logprobs.unwrap_or(0));
    number("top_p", request.sampling.top_p, out);
    out.field("truncation", "disabled");
    out.field_or_null("user", request.end_user.as_deref());
}

/// What the client wrote in the field of that name; instructions among the items are not repeated.
fn instructions<'r>(request: &'r Request<'_>) -> Option<&'r str> {
    let first = request.messages.first()?;
    let named = first.role == Role::System && first.origin.to_string() == INSTRUCTIONS;
    first.parts.first().filter(|_| named)?.as_text()
}

fn count(key: &'static str, count: Option<u64>, out: &mut Writer<'_>) {
    match count {
        Some(count) => out.count_field(key, count),
        None => out.key(key).null(),
    };
}

fn number(key: &'static str, number: Option<Number<'_>>, out: &mut Writer<'_>) {
    out.key(key).raw(number.map_or("null", |number| number.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai_responses::decode_request;

    fn echoed(body: &str) -> serde_json::Value {
        let request = decode_request(body.as_bytes()).unwrap();
        serde_json::from_str(&format!("{{{}}}", echo(&request))).unwrap()
    }

    #[test]
    fn what_was_said_is_repeated() {
        let echo = echoed(
            r#"{"model":"m","input":"x","instructions":"Be brief.","temperature":0.50,
                "max_output_tokens":9,"metadata":{"a":"b"},"parallel_tool_calls":false,
                "reasoning":{"effort":"low","summary":"auto"},"text":{"format":{"type":"json_object"}},
                "tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true}],
                "tool_choice":{"type":"function","name":"f"},"store":true,"user":"u"}"#,
        );
        assert_eq!(echo["instructions"], "Be brief.");
        assert_eq!(echo["temperature"], 0.5);
        assert_eq!(echo["max_output_tokens"], 9);
        assert_eq!(echo["metadata"]["a"], "b");
        assert_eq!(echo["parallel_tool_calls"], false);
        assert_eq!(echo["reasoning"]["effort"], "low");
        assert_eq!(echo["text"]["format"]["type"], "json_object");
        assert_eq!(echo["tools"][0]["name"], "f");
        assert_eq!(echo["tool_choice"]["name"], "f");
        assert_eq!(echo["user"], "u");
    }

    #[test]
    fn it_is_one_line() {
        let body = "{\n\"model\": \"m\", \"input\": \"x\", \"instructions\": \"a\\nb\", \"metadata\": {\r\n\"a\":\n\"b\"},
            \"text\": {\"format\": {\"type\": \"json_schema\", \"name\": \"n\", \"schema\": {\n}}}}";
        let request = decode_request(body.as_bytes()).unwrap();
        assert!(!echo(&request).contains(['\n', '\r']));
        assert_eq!(echoed(body)["instructions"], "a\nb");
    }

    #[test]
    fn nothing_is_said_to_be_kept() {
        for store in ["true", "false", "null"] {
            let echo = echoed(&format!(r#"{{"model":"m","input":"x","store":{store}}}"#));
            assert_eq!(echo["store"], false);
        }
    }

    #[test]
    fn instructions_among_the_items_stay_there() {
        let echo = echoed(
            r#"{"model":"m","input":[{"role":"system","content":"Be brief."},{"role":"user","content":"x"}]}"#,
        );
        assert_eq!(echo["instructions"], serde_json::Value::Null);
    }
}
