//! Anthropic's messages.
//!
//! <https://docs.claude.com/en/api/messages>

use super::{
    asked::{Asked, Choice, Form, Reasoning, Tool},
    fields::{At, Fields},
    json::Json,
    media,
    schema::{self, Rules},
};
use crate::{
    errors::{Dialect, Refusal},
    seals,
};

const KNOWN: [&str; 24] = [
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "diagnostics",
];
const LEAST_BUDGET: u64 = 1024;
const LONGEST_NAME: usize = 128;
const MOST_CACHE_HINTS: usize = 4;

pub(super) fn check<'a>(body: &Json<'a>, counts_only: bool) -> Result<Asked<'a>, Refusal> {
    let root = At::root(Dialect::Anthropic);
    let fields = root.only(body, &KNOWN)?;
    fields.number("temperature", 0.0, 1.0)?;
    fields.number("top_p", 0.0, 1.0)?;
    fields.count("top_k")?;
    fields.one_of("service_tier", &["auto", "standard_only"])?;
    if let Some(metadata) = fields.get("metadata") {
        let metadata = root.key("metadata").only(metadata, &["user_id"])?;
        if metadata.text("user_id")?.is_some_and(|user| user.len() > 256) {
            let at = root.key("metadata");
            return Err(at.key("user_id").invalid("String should have at most 256 characters"));
        }
    }
    stop_sequences(&fields)?;
    system(&fields)?;
    let mut asked = Asked::default();
    tools(&fields, &mut asked)?;
    if let Some(config) = fields.get("output_config") {
        output_config(&root.key("output_config"), config, &mut asked)?;
    }
    thinking(&fields, counts_only, &mut asked)?;
    let at = root.key("messages");
    let messages = at.list(fields.need("messages")?)?;
    let budgeted = fields.get("thinking").and_then(|it| it.text_of("type")) == Some("enabled");
    conversation(&at, messages, budgeted, &mut asked)?;
    let hints = cache_hints(&fields);
    if hints > MOST_CACHE_HINTS {
        return Err(root.refuse(format!(
            "A maximum of {MOST_CACHE_HINTS} blocks with cache_control may be provided. Found \
             {hints}."
        )));
    }
    Ok(asked)
}

fn stop_sequences(fields: &Fields<'_, '_, '_>) -> Result<(), Refusal> {
    let Some(stops) = fields.get("stop_sequences") else { return Ok(()) };
    let at = fields.at.key("stop_sequences");
    for (index, stop) in at.list(stops)?.iter().enumerate() {
        if at.index(index).text(stop)?.trim().is_empty() {
            return Err(at.invalid("each stop sequence must contain non-whitespace"));
        }
    }
    Ok(())
}

fn system(fields: &Fields<'_, '_, '_>) -> Result<(), Refusal> {
    let at = fields.at.key("system");
    match fields.get("system") {
        None | Some(Json::Text(_)) => Ok(()),
        Some(Json::List(blocks)) => {
            blocks.iter().enumerate().try_for_each(|(index, block)| text(&at.index(index), block))
        }
        Some(other) => Err(at.wrong_type("a valid string or list", other)),
    }
}

/// A block of text.
fn text(at: &At<'_>, block: &Json<'_>) -> Result<(), Refusal> {
    let fields = at.only(block, &["type", "text", "cache_control", "citations"])?;
    fields.need_one_of("type", &["text"])?;
    cache_control(&fields)?;
    match fields.need_text("text")? {
        "" => Err(at.refuse("messages: text content blocks must be non-empty")),
        _ => Ok(()),
    }
}

/// Where texts stand, one of them has to say something.
fn speaks(at: &At<'_>, content: &Json<'_>) -> Result<(), Refusal> {
    let own = content.as_str();
    let texts = content.elements().iter().filter_map(|block| block.text_of("text"));
    let mut texts = own.into_iter().chain(texts).filter(|text| !text.is_empty()).peekable();
    if texts.peek().is_some() && texts.all(|text| text.trim().is_empty()) {
        return Err(at.refuse("messages: text content blocks must contain non-whitespace text"));
    }
    Ok(())
}

fn cache_control(fields: &Fields<'_, '_, '_>) -> Result<(), Refusal> {
    let Some(hint) = fields.get("cache_control") else { return Ok(()) };
    let at = fields.at.key("cache_control");
    let hint = at.only(hint, &["type", "ttl"])?;
    hint.need_one_of("type", &["ephemeral"])?;
    hint.one_of("ttl", &["5m", "1h"]).map(|_| ())
}

fn cache_hints(fields: &Fields<'_, '_, '_>) -> usize {
    fn count(value: &Json<'_>) -> usize {
        let own = usize::from(value.get("cache_control").is_some());
        own + value.get("content").map_or(0, |inner| inner.elements().iter().map(count).sum())
    }
    let places = ["system", "tools", "messages"];
    let blocks = places.iter().filter_map(|key| fields.get(key)).flat_map(Json::elements);
    blocks.map(count).sum()
}

fn tools<'a>(fields: &Fields<'_, 'a, '_>, asked: &mut Asked<'a>) -> Result<(), Refusal> {
    const KNOWN: [&str; 10] = [
        "type",
        "name",
        "description",
        "input_schema",
        "cache_control",
        "strict",
        "defer_loading",
        "allowed_callers",
        "input_examples",
        "eager_input_streaming",
    ];
    let at = fields.at.key("tools");
    let tools = fields.get("tools").map(|tools| at.list(tools)).transpose()?.unwrap_or_default();
    let mut names: Vec<&str> = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let at = at.index(index);
        let name = match at.object(tool)?.text_of("type").unwrap_or("custom") {
            "custom" => {
                let at = at.key("custom");
                let fields = at.only(tool, &KNOWN)?;
                let name = at.key("name").name(fields.need("name")?, LONGEST_NAME)?;
                fields.text("description")?;
                cache_control(&fields)?;
                let at = at.key("input_schema");
                let schema = at.any(fields.need("input_schema")?)?;
                schema.need_one_of("type", &["object"])?;
                if fields.flag("strict")? == Some(true) {
                    schema::check(schema.value, Rules::Anthropic)
                        .map_err(|fault| at.invalid(fault))?;
                }
                asked
                    .tools
                    .push(Tool { name: name.to_owned(), schema: Some(schema.value.clone()) });
                name
            }
            // A tool that the provider runs is never called here.
            _ => Fields { at, value: tool }.need_text("name")?,
        };
        if names.contains(&name) {
            return Err(at.refuse("tools: Tool names must be unique."));
        }
        names.push(name);
    }
    let Some(choice) = fields.get("tool_choice") else { return Ok(()) };
    let at = fields.at.key("tool_choice");
    if names.is_empty() {
        return Err(at.invalid("may only be specified while providing tools"));
    }
    let kind = at.any(choice)?.need_one_of("type", &["auto", "any", "tool", "none"])?;
    let known: &[&str] = match kind {
        "tool" => &["type", "name", "disable_parallel_tool_use"],
        "none" => &["type"],
        _ => &["type", "disable_parallel_tool_use"],
    };
    let choice = at.only(choice, known)?;
    asked.parallel = !choice.flag("disable_parallel_tool_use")?.unwrap_or(false);
    asked.choice = match kind {
        "auto" => Choice::Auto,
        "none" => Choice::None,
        "any" => Choice::Any,
        _ => {
            let name = choice.need_text("name")?;
            if !names.contains(&name) {
                return Err(at.refuse(format!("Tool '{name}' not found in provided tools")));
            }
            Choice::Named(name.to_owned())
        }
    };
    Ok(())
}

fn output_config<'a>(at: &At<'_>, config: &Json<'a>, asked: &mut Asked<'a>) -> Result<(), Refusal> {
    let config = at.only(config, &["effort", "format", "task_budget"])?;
    config.one_of("effort", &["low", "medium", "high", "xhigh", "max"])?;
    let Some(format) = config.get("format") else { return Ok(()) };
    let at = at.key("format");
    let format = at.only(format, &["type", "schema"])?;
    format.need_one_of("type", &["json_schema"])?;
    let at = at.key("schema");
    let schema = format.need("schema")?;
    at.object(schema)?;
    schema::check(schema, Rules::Anthropic).map_err(|fault| at.invalid(fault))?;
    asked.form = Some(Form::Schema(schema.clone()));
    Ok(())
}

fn thinking(
    fields: &Fields<'_, '_, '_>,
    counts_only: bool,
    asked: &mut Asked<'_>,
) -> Result<(), Refusal> {
    let Some(thinking) = fields.get("thinking") else { return Ok(()) };
    let at = fields.at.key("thinking");
    let kind = at.any(thinking)?.need_one_of("type", &["enabled", "adaptive", "disabled"])?;
    let known: &[&str] = match kind {
        "enabled" => &["type", "budget_tokens", "display"],
        "adaptive" => &["type", "display"],
        _ => &["type"],
    };
    let thinking = at.only(thinking, known)?;
    if kind == "disabled" {
        return Ok(());
    }
    let display = thinking.one_of("display", &["summarized", "omitted"])?;
    if kind == "enabled" {
        let at = at.key("budget_tokens");
        thinking.need("budget_tokens")?;
        let budget = thinking.count("budget_tokens")?.unwrap_or(0);
        if budget < LEAST_BUDGET {
            return Err(at.invalid("Input should be greater than or equal to 1024"));
        }
        if !counts_only && fields.count("max_tokens")?.unwrap_or(0) <= budget {
            return Err(fields.at.key("max_tokens").refuse(
                "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our \
                 documentation at \
                 https://docs.claude.com/en/docs/build-with-claude/extended-thinking",
            ));
        }
    }
    let refuse = |key: &str, message: &str| Err(fields.at.key(key).refuse(message));
    if fields.number("temperature", 0.0, 1.0)?.is_some_and(|it| it != 1.0) {
        return refuse(
            "temperature",
            "`temperature` may only be set to 1 when thinking is enabled.",
        );
    }
    if fields.number("top_p", 0.0, 1.0)?.is_some_and(|it| it < 0.95) {
        return refuse(
            "top_p",
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
        );
    }
    if fields.get("top_k").is_some() {
        return refuse("top_k", "`top_k` must be unset when thinking is enabled.");
    }
    if matches!(asked.choice, Choice::Any | Choice::Named(_)) {
        return refuse(
            "tool_choice",
            "Thinking may not be enabled when tool_choice forces tool use.",
        );
    }
    asked.reasoning = Some(Reasoning { shown: display != Some("omitted"), sealed: true });
    Ok(())
}

fn conversation(
    at: &At<'_>,
    messages: &[Json<'_>],
    budgeted: bool,
    asked: &mut Asked<'_>,
) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    let last = messages.len() - 1;
    for (index, message) in messages.iter().enumerate() {
        let at = at.index(index);
        let fields = at.only(message, &["role", "content"])?;
        let of_model = fields.need_text("role")? == "assistant";
        let content = fields.need("content")?;
        let at = at.key("content");
        let blocks = match content {
            Json::Text(text) => {
                if text.is_empty() && !(of_model && index == last) {
                    let message = format!(
                        "messages.{index}: all messages must have non-empty content except for the \
                         optional final assistant message"
                    );
                    return Err(at.refuse(message));
                }
                &[][..]
            }
            Json::List(blocks) => {
                if blocks.is_empty() && !(of_model && index == last) {
                    let message = format!(
                        "messages.{index}: all messages must have non-empty content except for the \
                         optional final assistant message"
                    );
                    return Err(at.refuse(message));
                }
                blocks
            }
            other => return Err(at.wrong_type("a valid string or list", other)),
        };
        speaks(&at, content)?;
        if of_model {
            if !open.is_empty() {
                return Err(unanswered(&at, index - 1, &open));
            }
            asked.begin_turn();
            models_turn(&at, blocks, &mut open, &mut used)?;
            if index == last {
                prefill(&at, content, budgeted)?;
            } else if budgeted && !open.is_empty() {
                starts_with_thinking(&at, index, blocks, messages, last)?;
            }
        } else {
            users_turn(&at, index, blocks, &mut open, asked)?;
        }
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(at, last, &open)) }
}

fn unanswered(at: &At<'_>, index: usize, open: &[&str]) -> Refusal {
    at.refuse(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately \
         after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next \
         message.",
        open.join(", ")
    ))
}

/// An answer that has been begun.
fn prefill(at: &At<'_>, content: &Json<'_>, budgeted: bool) -> Result<(), Refusal> {
    let last = match content {
        Json::List(blocks) => blocks.last().and_then(|block| block.text_of("text")),
        other => other.as_str(),
    };
    if last.is_some_and(|text| text.ends_with(char::is_whitespace)) {
        let message = "messages: final assistant content cannot end with trailing whitespace";
        return Err(at.refuse(message));
    }
    let first = content.elements().first().and_then(|block| block.text_of("type"));
    if budgeted && !matches!(first, Some("thinking" | "redacted_thinking")) {
        return Err(no_thinking(at, first.unwrap_or("text")));
    }
    Ok(())
}

/// A turn of tools that is still going on has to begin with what was thought.
fn starts_with_thinking(
    at: &At<'_>,
    index: usize,
    blocks: &[Json<'_>],
    messages: &[Json<'_>],
    last: usize,
) -> Result<(), Refusal> {
    let goes_on = index + 1 == last
        && messages[last]
            .get("content")
            .map(Json::elements)
            .unwrap_or_default()
            .iter()
            .any(|block| block.text_of("type") == Some("tool_result"));
    let first = blocks.first().and_then(|block| block.text_of("type"));
    if goes_on && !matches!(first, Some("thinking" | "redacted_thinking")) {
        return Err(no_thinking(at, first.unwrap_or("text")));
    }
    Ok(())
}

fn no_thinking(at: &At<'_>, found: &str) -> Refusal {
    at.refuse(format!(
        "{at}.0.type: Expected `thinking` or `redacted_thinking`, but found `{found}`. When \
         `thinking` is enabled, a final `assistant` message must start with a thinking block"
    ))
}

fn models_turn<'v>(
    at: &At<'_>,
    blocks: &'v [Json<'_>],
    open: &mut Vec<&'v str>,
    used: &mut Vec<&'v str>,
) -> Result<(), Refusal> {
    const KINDS: [&str; 4] = ["text", "thinking", "redacted_thinking", "tool_use"];
    // Blocks of tools that the provider runs go back as they came.
    let is_own = |kind: &str| kind.ends_with("_tool_result") || kind.ends_with("_tool_use");
    for (index, block) in blocks.iter().enumerate() {
        let at = at.index(index);
        let block_type = at.any(block)?.need_text("type")?;
        if is_own(block_type) {
            continue;
        }
        match at.any(block)?.need_one_of("type", &KINDS)? {
            "text" => text(&at, block)?,
            "thinking" => {
                let thinking = at.only(block, &["type", "thinking", "signature"])?;
                let (text, signature) =
                    (thinking.need_text("thinking")?, thinking.need_text("signature")?);
                let hidden = text.is_empty() && seals::can_be_opened(signature);
                if !hidden && !seals::is_signed(text, signature) {
                    let at = at.key("signature");
                    let message = format!("{at}: Invalid `signature` in `thinking` block");
                    return Err(at.refuse(message));
                }
            }
            "redacted_thinking" => {
                let data = at.only(block, &["type", "data"])?.need_text("data")?;
                if !seals::can_be_opened(data) {
                    return Err(at
                        .key("data")
                        .invalid("Invalid `data` in `redacted_thinking` block"));
                }
            }
            _ => {
                let known = ["type", "id", "name", "input", "cache_control", "caller"];
                let call = at.only(block, &known)?;
                cache_control(&call)?;
                let id = at.key("id").name(call.need("id")?, usize::MAX)?;
                at.key("name").name(call.need("name")?, 200)?;
                at.key("input").object(call.need("input")?)?;
                if used.contains(&id) {
                    return Err(at.refuse("messages: `tool_use` ids must be unique"));
                }
                used.push(id);
                open.push(id);
            }
        }
    }
    Ok(())
}

fn users_turn(
    at: &At<'_>,
    turn: usize,
    blocks: &[Json<'_>],
    open: &mut Vec<&str>,
    asked: &mut Asked<'_>,
) -> Result<(), Refusal> {
    const KINDS: [&str; 5] = ["text", "image", "document", "search_result", "tool_result"];
    let waits = !open.is_empty();
    let mut results_over = false;
    for (index, block) in blocks.iter().enumerate() {
        let at = at.index(index);
        let kind = at.any(block)?.need_one_of("type", &KINDS)?;
        if kind != "tool_result" {
            results_over = true;
            part(&at, kind, block, &mut asked.seen)?;
            continue;
        }
        let known = ["type", "tool_use_id", "content", "is_error", "cache_control"];
        let result = at.only(block, &known)?;
        cache_control(&result)?;
        result.flag("is_error")?;
        let id = result.need_text("tool_use_id")?;
        let before = open.len();
        open.retain(|open| *open != id);
        if open.len() == before {
            return Err(at.refuse(format!(
                "{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous \
                 message."
            )));
        }
        if results_over {
            let message =
                format!("messages.{turn}: `tool_result` blocks must come before all other content");
            return Err(at.refuse(message));
        }
        results(&at.key("content"), result.get("content"), &mut asked.seen)?;
        asked.after_results = true;
    }
    if waits && !open.is_empty() {
        return Err(unanswered(at, turn.saturating_sub(1), open));
    }
    Ok(())
}

/// What a tool gives.
fn results(at: &At<'_>, content: Option<&Json<'_>>, seen: &mut Vec<String>) -> Result<(), Refusal> {
    const KINDS: [&str; 4] = ["text", "image", "document", "search_result"];
    let Some(content) = content.filter(|content| content.as_str().is_none()) else {
        return Ok(());
    };
    for (index, block) in at.list(content)?.iter().enumerate() {
        let at = at.index(index);
        let kind = at.any(block)?.need_one_of("type", &KINDS)?;
        part(&at, kind, block, seen)?;
    }
    Ok(())
}

fn part(at: &At<'_>, kind: &str, block: &Json<'_>, seen: &mut Vec<String>) -> Result<(), Refusal> {
    match kind {
        "text" => text(at, block),
        "image" => {
            let image = at.only(block, &["type", "source", "cache_control"])?;
            cache_control(&image)?;
            let at = at.key("source");
            let source = at.any(image.need("source")?)?;
            seen.push(match source.need_one_of("type", &["base64", "url", "file"])? {
                "base64" => {
                    let source = at.only(source.value, &["type", "media_type", "data"])?;
                    let (kind, data) = (source.need_text("media_type")?, source.need_text("data")?);
                    media::picture(&at.key("base64"), kind, data)?
                }
                "url" => {
                    let url = at.only(source.value, &["type", "url"])?.need_text("url")?;
                    media::address(&at.key("url"), url, "an image")?
                }
                _ => format!("I see the image {}.", source.need_text("file_id")?),
            });
            Ok(())
        }
        "document" => {
            seen.push(document(at, block)?);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn document(at: &At<'_>, block: &Json<'_>) -> Result<String, Refusal> {
    let known = ["type", "source", "title", "context", "citations", "cache_control"];
    let fields = at.only(block, &known)?;
    cache_control(&fields)?;
    fields.texts(&["title", "context"])?;
    let at = at.key("source");
    let source = at.any(fields.need("source")?)?;
    let words = ["base64", "text", "content", "url", "file"];
    Ok(match source.need_one_of("type", &words)? {
        "base64" => {
            source.need_one_of("media_type", &["application/pdf"])?;
            media::file(&at.key("base64"), "application/pdf", source.need_text("data")?)?
        }
        "text" => {
            source.need_one_of("media_type", &["text/plain"])?;
            let bytes = source.need_text("data")?.len();
            format!("I see a file of text/plain, {bytes} bytes.")
        }
        "url" => media::address(&at.key("url"), source.need_text("url")?, "a file")?,
        "file" => format!("I see the file {}.", source.need_text("file_id")?),
        _ => "I see a file of text.".to_owned(),
    })
}
