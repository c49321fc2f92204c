//! Chat Completions.
//!
//! <https://platform.openai.com/docs/api-reference/chat/create>

use super::{
    asked::{Asked, Reasoning},
    fields::{At, Fields},
    json::Json,
    media,
    openai::{self, DETAILS, EFFORTS, Open, VERBOSITIES},
};
use crate::{
    Behaviour,
    errors::{Dialect, Refusal},
};

const KNOWN: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Identifiers of calls are no longer than this.
const LONGEST_ID: usize = 40;

pub(super) fn check<'a>(body: &Json<'a>, behaviour: &Behaviour) -> Result<Asked<'a>, Refusal> {
    let root = At::root(Dialect::OpenAi);
    let fields = root.only(body, &KNOWN)?;
    openai::common(&fields)?;
    limits(&fields)?;
    fields.number("frequency_penalty", -2.0, 2.0)?;
    fields.number("presence_penalty", -2.0, 2.0)?;
    fields.one_of("verbosity", &VERBOSITIES)?;
    stop(&fields)?;
    fields.number("seed", i64::MIN as f64, i64::MAX as f64)?;
    if let Some(bias) = fields.get("logit_bias") {
        root.key("logit_bias").object(bias)?;
    }
    let logprobs = fields.flag("logprobs")?;
    if fields.get("top_logprobs").is_some() && logprobs != Some(true) {
        let at = root.key("top_logprobs");
        return Err(at.refuse("'top_logprobs' is only allowed when 'logprobs' is enabled."));
    }
    if let Some(options) = fields.get("stream_options") {
        let options =
            root.key("stream_options").only(options, &["include_usage", "include_obfuscation"])?;
        options.flag("include_usage")?;
        options.flag("include_obfuscation")?;
    }
    let mut asked = Asked::default();
    openai::tools(&fields, true, &mut asked)?;
    if let Some(effort) = fields.one_of("reasoning_effort", &EFFORTS)?
        && effort != "none"
    {
        asked.reasoning = Some(Reasoning { shown: behaviour.reasoning_content, sealed: false });
    }
    let at = root.key("messages");
    let messages = at.list(fields.need("messages")?)?;
    if let Some(format) = fields.get("response_format") {
        let said = || messages.iter().any(says_json);
        asked.form = openai::form(root.key("response_format"), format, true, said)?;
    }
    conversation(&at, messages, behaviour, &mut asked)?;
    Ok(asked)
}

fn limits(fields: &Fields<'_, '_, '_>) -> Result<(), Refusal> {
    let at = fields.at.key("max_tokens");
    if fields.get("max_tokens").is_none() {
        return Ok(());
    }
    if openai::reasons_always(fields.text("model")?.unwrap_or_default()) {
        return Err(openai::unsupported(&at, "Use 'max_completion_tokens' instead."));
    }
    if fields.get("max_completion_tokens").is_some() {
        let message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not \
                       supported.";
        return Err(at.refuse(message).code("invalid_parameter_combination"));
    }
    Ok(())
}

fn stop(fields: &Fields<'_, '_, '_>) -> Result<(), Refusal> {
    let at = fields.at.key("stop");
    match fields.get("stop") {
        None | Some(Json::Text(_)) => Ok(()),
        Some(Json::List(stops)) if (1..=4).contains(&stops.len()) => stops
            .iter()
            .enumerate()
            .try_for_each(|(index, stop)| at.index(index).text(stop).map(|_| ())),
        Some(Json::List(_)) => Err(at.invalid("expected an array of one to four strings")),
        Some(other) => Err(at.wrong_type("a string or an array of strings", other)),
    }
}

/// The word has to stand somewhere, or a model may write blanks for ever.
fn says_json(message: &Json<'_>) -> bool {
    let says = |text: &str| text.to_ascii_lowercase().contains("json");
    match message.get("content") {
        Some(Json::Text(text)) => says(text),
        Some(Json::List(parts)) => parts.iter().filter_map(|part| part.text_of("text")).any(says),
        _ => false,
    }
}

fn conversation(
    at: &At<'_>,
    messages: &[Json<'_>],
    behaviour: &Behaviour,
    asked: &mut Asked<'_>,
) -> Result<(), Refusal> {
    let mut open = Open::default();
    for (index, message) in messages.iter().enumerate() {
        let at = at.index(index);
        let role = message.text_of("role").unwrap_or("");
        if role != "tool" && !open.is_empty() {
            return Err(unanswered(&at, &open));
        }
        match role {
            "user" => {
                let fields = at.only(message, &["role", "content", "name"])?;
                fields.text("name")?;
                content(&fields, &["text", "image_url", "input_audio", "file"], &mut asked.seen)?;
            }
            "assistant" => {
                asked.begin_turn();
                assistant(&at, message, behaviour, &mut open)?;
            }
            "tool" => {
                asked.after_results = true;
                let fields = at.only(message, &["role", "content", "tool_call_id"])?;
                let id = fields.need_text("tool_call_id")?;
                content(&fields, &["text"], &mut Vec::new())?;
                if !open.result(id) {
                    let message = "Invalid parameter: messages with role 'tool' must be a response \
                                   to a preceding message with 'tool_calls'.";
                    return Err(at.key("role").refuse(message));
                }
            }
            "function" => {
                at.only(message, &["role", "content", "name"])?.need_text("name")?;
            }
            // Instructions; other roles were refused before.
            _ => {
                let fields = at.only(message, &["role", "content", "name"])?;
                content(&fields, &["text"], &mut Vec::new())?;
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(at, &open)) }
}

fn unanswered(at: &At<'_>, open: &Open<'_>) -> Refusal {
    at.refuse(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to \
         each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        open.names()
    ))
}

fn assistant<'v>(
    at: &At<'_>,
    message: &'v Json<'_>,
    behaviour: &Behaviour,
    open: &mut Open<'v>,
) -> Result<(), Refusal> {
    const KNOWN: [&str; 9] = [
        "role",
        "content",
        "refusal",
        "name",
        "audio",
        "annotations",
        "function_call",
        "tool_calls",
        "reasoning_content",
    ];
    // A provider that shows its reasoning takes it back.
    let known = if behaviour.reasoning_content { &KNOWN[..] } else { &KNOWN[..8] };
    let fields = at.only(message, known)?;
    fields.texts(&["refusal", "name", "reasoning_content"])?;
    let said = ["content", "refusal", "audio", "function_call", "tool_calls"];
    if said.iter().all(|key| fields.get(key).is_none()) {
        let message =
            format!("Invalid value for '{}': expected a string, got null.", at.key("content"));
        return Err(at.key("content").refuse(message));
    }
    if fields.get("content").is_some() {
        content(&fields, &["text", "refusal"], &mut Vec::new())?;
    }
    let Some(calls) = fields.get("tool_calls") else { return Ok(()) };
    let at = at.key("tool_calls");
    let calls = at.list(calls)?;
    if calls.is_empty() {
        return Err(empty(&at));
    }
    for (index, call) in calls.iter().enumerate() {
        let at = at.index(index);
        let fields = at.only(call, &["id", "type", "function", "custom"])?;
        let id = fields.need_text("id")?;
        if id.len() > LONGEST_ID {
            let why = format!(
                "string too long. Expected a string with maximum length {LONGEST_ID}, but got a \
                 string with length {} instead",
                id.len()
            );
            return Err(at.key("id").invalid(why));
        }
        if fields.need_one_of("type", &["function", "custom"])? == "function" {
            let at = at.key("function");
            let function = at.only(fields.need("function")?, &["name", "arguments"])?;
            at.key("name").name(function.need("name")?, 64)?;
            function.need_text("arguments")?;
        }
        open.call(id);
    }
    Ok(())
}

fn empty(at: &At<'_>) -> Refusal {
    let message = format!(
        "Invalid '{at}': empty array. Expected an array with minimum length 1, but got an empty \
         array instead."
    );
    at.refuse(message).code("empty_array")
}

/// A text, or parts of certain kinds.
fn content(
    fields: &Fields<'_, '_, '_>,
    kinds: &[&str],
    seen: &mut Vec<String>,
) -> Result<(), Refusal> {
    let at = fields.at.key("content");
    let parts = match fields.get("content") {
        Some(Json::Text(_)) => return Ok(()),
        Some(Json::List(parts)) if parts.is_empty() => return Err(empty(&at)),
        Some(Json::List(parts)) => parts,
        Some(other) => return Err(at.wrong_type("a string or an array of objects", other)),
        None => {
            let message = format!("Invalid value for '{at}': expected a string, got null.");
            return Err(at.refuse(message));
        }
    };
    for (index, value) in parts.iter().enumerate() {
        let at = at.index(index);
        let part = at.any(value)?;
        match part.need_one_of("type", kinds)? {
            "text" => _ = at.only(value, &["type", "text"])?.need_text("text")?,
            "refusal" => _ = at.only(value, &["type", "refusal"])?.need_text("refusal")?,
            "image_url" => {
                let inner = at.only(value, &["type", "image_url"])?.need("image_url")?;
                let at = at.key("image_url");
                let image = at.only(inner, &["url", "detail"])?;
                image.one_of("detail", &DETAILS)?;
                seen.push(media::picture_url(&at.key("url"), image.need_text("url")?)?);
            }
            "input_audio" => {
                let inner = at.only(value, &["type", "input_audio"])?.need("input_audio")?;
                let at = at.key("input_audio");
                let audio = at.only(inner, &["data", "format"])?;
                let format = audio.need_one_of("format", &["wav", "mp3"])?;
                seen.push(media::audio(&at.key("data"), format, audio.need_text("data")?)?);
            }
            _ => {
                let inner = at.only(value, &["type", "file"])?.need("file")?;
                seen.push(file(&at.key("file"), inner)?);
            }
        }
    }
    Ok(())
}

fn file(at: &At<'_>, value: &Json<'_>) -> Result<String, Refusal> {
    let fields = at.only(value, &["file_data", "file_id", "filename"])?;
    fields.text("filename")?;
    match (fields.text("file_data")?, fields.text("file_id")?) {
        (Some(data), None) => {
            if fields.get("filename").is_none() {
                return Err(at.key("filename").missing());
            }
            media::file_url(&at.key("file_data"), data)
        }
        (None, Some(id)) => Ok(format!("I see the file {id}.")),
        _ => Err(at.invalid("expected either a file_id or file_data")),
    }
}
