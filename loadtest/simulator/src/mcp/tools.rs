//! The tools: their list, and what they do.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    McpSettings,
    call::{Context, Out, Wire},
    lock,
    message::{INVALID_PARAMS, Refused, Request},
};

const MAX_BIG: u64 = 64 << 20;
const MAX_COUNT: u64 = 1_000_000;
const MAX_MILLISECONDS: u64 = 86_400_000;
const MAX_EXTRA: usize = 10_000;

/// What a call comes to: the result's members, without the braces around them.
type Result = std::result::Result<String, Refused>;

fn own(wire: Wire) -> Vec<Value> {
    let tool = |name: &str, what: &str, properties: Value, required: &[&str]| {
        json!({
            "name": name,
            "description": what,
            "inputSchema": { "type": "object", "properties": properties, "required": required },
        })
    };
    let integer = json!({ "type": "integer" });
    let text = json!({ "type": "string" });
    let mut tools = vec![
        tool("echo", "Says what it is told", json!({}), &[]),
        tool("add", "Adds two integers", json!({ "a": integer, "b": integer }), &["a", "b"]),
        tool("fail", "Fails", json!({ "message": text }), &[]),
        tool("slow", "Waits", json!({ "ms": integer }), &[]),
        tool("count", "Counts", json!({ "n": integer, "ms": integer }), &["n"]),
        tool("whoami", "Says who calls", json!({}), &[]),
        tool("big", "Says a lot", json!({ "bytes": integer }), &["bytes"]),
        tool("faulty", "Goes wrong as it is told", json!({ "fault": text }), &["fault"]),
        tool("grow", "Adds a tool", json!({ "name": text }), &["name"]),
        tool("stats", "Says what was done until now", json!({}), &[]),
    ];
    tools[1]["outputSchema"] =
        json!({ "type": "object", "properties": { "sum": integer }, "required": ["sum"] });
    tools[1]["annotations"] = json!({ "readOnlyHint": true });
    if wire == Wire::Stdio {
        tools.push(tool("exit", "Ends the process", json!({ "code": integer }), &[]));
    }
    tools
}

fn all(settings: &McpSettings, wire: Wire) -> Vec<Value> {
    let mut tools = own(wire);
    tools.extend(settings.extra_tools.iter().cloned());
    tools
}

/// What a tool takes.
pub(crate) fn input_schema(settings: &McpSettings, name: &str) -> Option<Value> {
    let mut tools = all(settings, Wire::Http).into_iter();
    tools.find(|tool| tool["name"] == name).map(|mut tool| tool["inputSchema"].take())
}

/// A page of the list.
pub(crate) fn list(settings: &McpSettings, wire: Wire, request: &Request) -> Result {
    let tools = all(settings, wire);
    let start = match request.params.get("cursor") {
        None => 0,
        Some(cursor) => cursor
            .as_str()
            .and_then(|cursor| cursor.strip_prefix("after-"))
            .and_then(|number| number.parse::<usize>().ok())
            .filter(|start| settings.page_size > 0 && *start < tools.len())
            .ok_or_else(|| Refused::bad(INVALID_PARAMS, "the cursor is none of this server's"))?,
    };
    let size = if settings.page_size == 0 { tools.len() } else { settings.page_size };
    let end = start.saturating_add(size).min(tools.len());
    let page = Value::Array(tools[start..end].to_vec());
    let next =
        if end < tools.len() { format!(r#","nextCursor":"after-{end}""#) } else { String::new() };
    Ok(format!(r#""tools":{page}{next}"#))
}

/// Calls a tool.
pub(crate) async fn call(context: &Context, request: &Request) -> Result {
    let invalid = |why: &str| Refused::bad(INVALID_PARAMS, why);
    let name = request.text_of("name").ok_or_else(|| invalid("name must be a text"))?;
    let arguments = match request.params.get("arguments") {
        None => &json!({}),
        Some(arguments) if arguments.is_object() => arguments,
        Some(_) => return Err(invalid("arguments must be an object")),
    };
    let settings = context.shared.settings();
    if !all(&settings, context.wire).iter().any(|tool| tool["name"] == name) {
        return Err(invalid(&format!("Unknown tool: {name}")));
    }
    context.shared.books.called(name, Value::Object(request.params.clone()));
    let number = |key: &str, most: u64| match &arguments[key] {
        Value::Null => Ok(None),
        value => match value.as_u64() {
            Some(number) if number <= most => Ok(Some(number)),
            _ => Err(failed(&format!("{key} must be an integer from 0 to {most}"))),
        },
    };
    let outcome = match name {
        "add" => add(arguments),
        "fail" => Err(failed(arguments["message"].as_str().unwrap_or("it failed"))),
        "slow" => match number("ms", MAX_MILLISECONDS) {
            Ok(time) => Ok(slow(context, time).await),
            Err(failed) => Err(failed),
        },
        "count" => match (number("n", MAX_COUNT), number("ms", MAX_MILLISECONDS)) {
            (Ok(n), Ok(time)) => Ok(count(context, request, n.unwrap_or(0), time).await),
            (Err(failed), _) | (_, Err(failed)) => Err(failed),
        },
        "whoami" => Ok(structured(&whoami(context, request))),
        "big" => number("bytes", MAX_BIG).map(|bytes| {
            let text = "0123456789abcdef".chars().cycle();
            said(&text.take(bytes.unwrap_or(0) as usize).collect::<String>())
        }),
        "grow" => grow(context, arguments),
        "stats" => Ok(structured(&json!(context.shared.books.stats()))),
        "exit" => {
            let code = arguments["code"].as_u64().and_then(|code| u8::try_from(code).ok());
            context.send(Out::Exit(code.unwrap_or(0))).await;
            Ok(said("going"))
        }
        _ => {
            let raw = request.arguments.as_ref().map_or("{}", |raw| raw.get());
            let text = Value::from(raw);
            Ok(format!(r#""content":[{{"type":"text","text":{text}}}],"structuredContent":{raw}"#))
        }
    };
    Ok(outcome.unwrap_or_else(|failed| failed))
}

fn add(arguments: &Value) -> std::result::Result<String, String> {
    let (Some(a), Some(b)) = (arguments["a"].as_i64(), arguments["b"].as_i64()) else {
        return Err(failed("a and b must be integers"));
    };
    let sum = a.checked_add(b).ok_or_else(|| failed("the sum is too large"))?;
    Ok(format!(
        r#""content":[{{"type":"text","text":"{sum}"}}],"structuredContent":{{"sum":{sum}}}"#
    ))
}

async fn slow(context: &Context, milliseconds: Option<u64>) -> String {
    let mut released = context.shared.released();
    let _waiting = context.shared.books.waiting();
    match milliseconds {
        Some(time) => tokio::time::sleep(Duration::from_millis(time)).await,
        // The sender is as old as the server: it does not end before.
        None => drop(released.changed().await),
    }
    said("done")
}

async fn count(context: &Context, request: &Request, n: u64, milliseconds: Option<u64>) -> String {
    for number in 1..=n {
        if let Some(time) = milliseconds {
            tokio::time::sleep(Duration::from_millis(time)).await;
        }
        if let Some(token) = request.progress_token() {
            let params = json!({
                "progressToken": token, "progress": number, "total": n,
                "message": format!("{number} of {n}"),
            });
            let progress =
                json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
            context.send(Out::Message(progress.to_string())).await;
        }
    }
    said(&format!("counted to {n}"))
}

fn whoami(context: &Context, request: &Request) -> Value {
    let mut headers = serde_json::Map::new();
    for (name, value) in &context.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(Value::from(value));
        }
    }
    let mut who = json!({
        "headers": headers,
        "meta": request.meta(),
        "protocol": context.version(),
    });
    if context.wire == Wire::Stdio {
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        who["environment"] = names.collect();
        let directory = std::env::current_dir().unwrap_or_default();
        who["directory"] = Value::from(directory.to_string_lossy());
    }
    who
}

fn grow(context: &Context, arguments: &Value) -> std::result::Result<String, String> {
    let name = arguments["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| failed("name must be a text"))?;
    {
        let mut settings = lock(&context.shared.settings);
        if settings.extra_tools.len() >= MAX_EXTRA {
            return Err(failed("there are enough tools"));
        }
        let tool = json!({ "name": name, "inputSchema": { "type": "object" } });
        settings.extra_tools.push(tool);
    }
    context.shared.list_changed();
    Ok(said("there it is"))
}

fn said(text: &str) -> String {
    format!(r#""content":[{{"type":"text","text":{}}}]"#, Value::from(text))
}

fn structured(value: &Value) -> String {
    format!(r#"{},"structuredContent":{value}"#, said(&value.to_string()))
}

/// A tool's own failure is a result.
fn failed(why: &str) -> String {
    format!(r#"{},"isError":true"#, said(why))
}
