//! Responses.
//!
//! <https://platform.openai.com/docs/api-reference/responses/create>

use super::{
    asked::{Asked, Reasoning},
    fields::{At, Fields},
    json::Json,
    media,
    openai::{self, DETAILS, EFFORTS, Open, VERBOSITIES},
};
use crate::{
    errors::{Dialect, Refusal},
    seals,
};

const KNOWN: [&str; 30] = [
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
];
const INCLUDE: [&str; 8] = [
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
];
const ENCRYPTED: &str = "reasoning.encrypted_content";
const LEAST_LIMIT: u64 = 16;
const LONGEST_ID: usize = 64;

pub(super) fn check<'a>(body: &Json<'a>) -> Result<Asked<'a>, Refusal> {
    let root = At::root(Dialect::OpenAi);
    let fields = root.only(body, &[&KNOWN[..], &["user"]].concat())?;
    openai::common(&fields)?;
    fields.texts(&["instructions", "previous_response_id"])?;
    fields.one_of("truncation", &["auto", "disabled"])?;
    if let Some(limit) = fields.count("max_output_tokens")?
        && limit < LEAST_LIMIT
    {
        let at = root.key("max_output_tokens");
        let why = format!(
            "integer below minimum value. Expected a value >= {LEAST_LIMIT}, but got {limit} \
             instead"
        );
        return Err(at.invalid(why).code("integer_below_min_value"));
    }
    if let Some(id) = fields.text("previous_response_id")? {
        // Nothing is kept here.
        let at = root.key("previous_response_id");
        let message = format!("Previous response with id '{id}' not found.");
        return Err(at.refuse(message).code("previous_response_not_found"));
    }
    let mut asked = Asked::default();
    openai::tools(&fields, false, &mut asked)?;
    if let Some(text) = fields.get("text") {
        let at = root.key("text");
        let text = at.only(text, &["format", "verbosity"])?;
        text.one_of("verbosity", &VERBOSITIES)?;
        if let Some(format) = text.get("format") {
            // The word may stand anywhere in the input.
            let said = || body.to_text().to_ascii_lowercase().matches("json").count() > 1;
            asked.form = openai::form(at.key("format"), format, false, said)?;
        }
    }
    let sealed = include(&fields)?;
    asked.reasoning = reasoning(&fields, sealed)?;
    let stored = fields.flag("store")?.unwrap_or(true);
    input(&root.key("input"), fields.need("input")?, stored, &mut asked)?;
    echo(&fields, stored, &mut asked);
    Ok(asked)
}

/// Whether reasoning is to come with its seal.
fn include(fields: &Fields<'_, '_, '_>) -> Result<bool, Refusal> {
    let Some(include) = fields.get("include") else { return Ok(false) };
    let at = fields.at.key("include");
    let mut sealed = false;
    for (index, word) in at.list(include)?.iter().enumerate() {
        sealed |= at.index(index).one_of(word, &INCLUDE)? == ENCRYPTED;
    }
    Ok(sealed)
}

fn reasoning(fields: &Fields<'_, '_, '_>, sealed: bool) -> Result<Option<Reasoning>, Refusal> {
    const SUMMARIES: [&str; 3] = ["auto", "concise", "detailed"];
    let Some(reasoning) = fields.get("reasoning") else { return Ok(None) };
    let at = fields.at.key("reasoning");
    let reasoning =
        at.only(reasoning, &["effort", "summary", "generate_summary", "context", "mode"])?;
    let effort = reasoning.one_of("effort", &EFFORTS)?;
    let summary = reasoning.one_of("summary", &SUMMARIES)?;
    let summary = summary.or(reasoning.one_of("generate_summary", &SUMMARIES)?);
    if effort == Some("none") || (effort.is_none() && summary.is_none()) {
        return Ok(None);
    }
    Ok(Some(Reasoning { shown: summary.is_some(), sealed }))
}

fn echo(fields: &Fields<'_, '_, '_>, stored: bool, asked: &mut Asked<'_>) {
    let echo = &mut asked.echo;
    echo.store = stored;
    echo.parallel_tool_calls = asked.parallel;
    for (key, member) in [
        ("instructions", &mut echo.instructions),
        ("tool_choice", &mut echo.tool_choice),
        ("tools", &mut echo.tools),
    ] {
        if let Some(value) = fields.get(key) {
            *member = value.to_text();
        }
    }
    let word = |value: Option<&Json<'_>>| value.map_or_else(|| "null".to_owned(), Json::to_text);
    if let Some(reasoning) = fields.get("reasoning") {
        let (effort, summary) = (word(reasoning.get("effort")), word(reasoning.get("summary")));
        echo.reasoning = format!(r#"{{"effort":{effort},"summary":{summary}}}"#);
    }
    if let Some(format) = fields.get("text").and_then(|text| text.get("format")) {
        echo.text = format!(r#"{{"format":{}}}"#, format.to_text());
    }
}

fn input(
    at: &At<'_>,
    input: &Json<'_>,
    stored: bool,
    asked: &mut Asked<'_>,
) -> Result<(), Refusal> {
    if input.as_str().is_some() {
        return Ok(());
    }
    let items = at.list(input)?;
    let mut open = Open::default();
    let mut thought = None;
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        let kind = item.text_of("type").unwrap_or("message");
        let role = item.text_of("role").unwrap_or("");
        let of_model = matches!(kind, "reasoning" | "function_call")
            || (kind == "message" && role == "assistant");
        if let Some(id) = thought.take()
            && !of_model
        {
            return Err(at.refuse(alone(id)));
        }
        if of_model {
            asked.begin_turn();
        }
        match kind {
            "message" => message(&at, item, role, &mut asked.seen)?,
            "reasoning" => thought = Some(reasoning_item(&at, item, stored)?),
            "function_call" => open.call(call(&at, item)?),
            "function_call_output" => {
                asked.after_results = true;
                let id = output(&at, item, &mut asked.seen)?;
                if !open.result(id) {
                    let message =
                        format!("No tool call found for function call output with call_id {id}.");
                    return Err(at.refuse(message));
                }
            }
            // Items of tools that the provider runs, of which there are none here.
            _ => {
                let message = format!("Item of type '{kind}' at '{at}' is not known here.");
                return Err(at.key("type").refuse(message).code("invalid_value"));
            }
        }
    }
    if let Some(id) = thought {
        return Err(at.refuse(alone(id)));
    }
    if !open.is_empty() {
        let message = format!("No tool output found for function call {}.", open.names());
        return Err(at.refuse(message));
    }
    Ok(())
}

fn alone(id: &str) -> String {
    format!("Item '{id}' of type 'reasoning' was provided without its required following item.")
}

/// Names of items tell their kind.
fn item_id(fields: &Fields<'_, '_, '_>, prefix: &str) -> Result<(), Refusal> {
    match fields.text("id")? {
        Some(id) if !id.starts_with(prefix) => {
            let at = fields.at.key("id");
            let why = format!("'{id}'. Expected an ID that begins with '{prefix}'");
            Err(at.invalid(why))
        }
        _ => Ok(()),
    }
}

fn status(fields: &Fields<'_, '_, '_>) -> Result<(), Refusal> {
    fields.one_of("status", &["in_progress", "completed", "incomplete"]).map(|_| ())
}

fn message(
    at: &At<'_>,
    item: &Json<'_>,
    role: &str,
    seen: &mut Vec<String>,
) -> Result<(), Refusal> {
    let fields = at.only(item, &["type", "role", "content", "id", "status", "phase"])?;
    fields.need_one_of("role", &["user", "assistant", "system", "developer"])?;
    item_id(&fields, "msg")?;
    status(&fields)?;
    let kinds: &[&str] = match role {
        "assistant" => &["output_text", "refusal"],
        _ => &["input_text", "input_image", "input_file"],
    };
    parts(&at.key("content"), fields.need("content")?, kinds, seen)
}

/// A text, or parts of certain kinds.
fn parts(
    at: &At<'_>,
    content: &Json<'_>,
    kinds: &[&str],
    seen: &mut Vec<String>,
) -> Result<(), Refusal> {
    if content.as_str().is_some() {
        return Ok(());
    }
    for (index, value) in at.list(content)?.iter().enumerate() {
        let at = at.index(index);
        let part = at.any(value)?;
        match part.need_one_of("type", kinds)? {
            "input_text" => _ = at.only(value, &["type", "text"])?.need_text("text")?,
            "output_text" => {
                let known = ["type", "text", "annotations", "logprobs"];
                at.only(value, &known)?.need_text("text")?;
            }
            "refusal" => _ = at.only(value, &["type", "refusal"])?.need_text("refusal")?,
            "input_image" => {
                let image = at.only(value, &["type", "image_url", "file_id", "detail"])?;
                image.one_of("detail", &DETAILS)?;
                seen.push(match (image.text("image_url")?, image.text("file_id")?) {
                    (Some(url), None) => media::picture_url(&at.key("image_url"), url)?,
                    (None, Some(id)) => format!("I see the image {id}."),
                    _ => return Err(at.key("image_url").missing()),
                });
            }
            _ => seen.push(file(&at, value)?),
        }
    }
    Ok(())
}

fn file(at: &At<'_>, value: &Json<'_>) -> Result<String, Refusal> {
    let known = ["type", "file_data", "file_id", "file_url", "filename", "detail"];
    let fields = at.only(value, &known)?;
    fields.text("filename")?;
    let given = (fields.text("file_data")?, fields.text("file_url")?, fields.text("file_id")?);
    match given {
        (Some(data), None, None) => {
            if fields.get("filename").is_none() {
                return Err(at.key("filename").missing());
            }
            media::file_url(&at.key("file_data"), data)
        }
        (None, Some(_), None) | (None, None, Some(_)) if fields.get("filename").is_some() => {
            let message = format!(
                "Mutually exclusive parameters: '{at}'. Ensure you are only providing one of: \
                 'file_id' or 'filename'."
            );
            Err(at.refuse(message).code("mutually_exclusive_parameters"))
        }
        (None, Some(url), None) => media::address(&at.key("file_url"), url, "a file"),
        (None, None, Some(id)) => Ok(format!("I see the file {id}.")),
        _ => Err(at.invalid("expected one of file_data, file_url and file_id")),
    }
}

/// Gives the item's name.
fn reasoning_item<'v>(at: &At<'_>, item: &'v Json<'_>, stored: bool) -> Result<&'v str, Refusal> {
    let known = ["type", "id", "summary", "content", "encrypted_content", "status"];
    let fields = at.only(item, &known)?;
    item_id(&fields, "rs")?;
    status(&fields)?;
    let id = fields.text("id")?.unwrap_or("");
    let summaries = at.key("summary");
    for (index, value) in summaries.list(fields.need("summary")?)?.iter().enumerate() {
        let at = summaries.index(index);
        let part = at.only(value, &["type", "text"])?;
        part.need_one_of("type", &["summary_text"])?;
        part.need_text("text")?;
    }
    match fields.text("encrypted_content")? {
        Some(text) if !seals::can_be_opened(text) => {
            let message = format!("The encrypted content for item {id} could not be verified.");
            Err(at.refuse(message).code("invalid_encrypted_content"))
        }
        None if !stored => {
            let message = format!(
                "Item with id '{id}' not found. Items are not persisted when `store` is set to \
                 false."
            );
            Err(at.refuse(message))
        }
        _ => Ok(id),
    }
}

/// Gives the call's identifier.
fn call<'v>(at: &At<'_>, item: &'v Json<'_>) -> Result<&'v str, Refusal> {
    let known = ["type", "id", "call_id", "name", "arguments", "status", "namespace"];
    let fields = at.only(item, &known)?;
    item_id(&fields, "fc")?;
    status(&fields)?;
    at.key("name").name(fields.need("name")?, 64)?;
    fields.need_text("arguments")?;
    call_id(&fields)
}

/// Gives the call's identifier.
fn output<'v>(at: &At<'_>, item: &'v Json<'_>, seen: &mut Vec<String>) -> Result<&'v str, Refusal> {
    let fields = at.only(item, &["type", "id", "call_id", "output", "status"])?;
    status(&fields)?;
    let kinds = ["input_text", "input_image", "input_file"];
    parts(&at.key("output"), fields.need("output")?, &kinds, seen)?;
    call_id(&fields)
}

fn call_id<'v>(fields: &Fields<'v, '_, '_>) -> Result<&'v str, Refusal> {
    let id = fields.need_text("call_id")?;
    if id.is_empty() || id.len() > LONGEST_ID {
        let at = fields.at.key("call_id");
        return Err(at.invalid("expected a string of 1 to 64 characters"));
    }
    Ok(id)
}
