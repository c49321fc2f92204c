//! Reads a client's request.

use super::blocks_in;
use crate::{
    ClientDialect, Dialect, Refusal, Why,
    extras::{Extras, read_body},
    json::{Kind, Path, Reader},
    model::{
        Display, Effort, Format, Function, Message, Origin, Request, Role, ServiceTier, Thinking,
        Tool, ToolChoice,
    },
    openai_chat::request_in::cache_control,
};

const OWN: Dialect = Dialect::Anthropic;

/// Reads a client's request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut request = Request::new(ClientDialect::Anthropic, "");
    let mut system = None;
    read_body(body, &mut request, |key, at, reader, request, extras| match key {
        // It comes first whereever the client wrote it.
        "system" => {
            system = at.optional(reader, |at, reader| instructions(at, reader, extras))?;
            Ok(())
        }
        _ => field(key, at, reader, request, extras),
    })?;
    if request.model.is_empty() {
        return Err(Refusal::new("model", Why::Missing));
    }
    if request.messages.is_empty() {
        return Err(Refusal::new("messages", Why::Missing));
    }
    if request.max_output_tokens.is_none() {
        return Err(Refusal::new("max_tokens", Why::Missing));
    }
    if let Some(system) = system.filter(|system| !system.parts.is_empty()) {
        request.messages.insert(0, system);
    }
    Ok(request)
}

fn field<'a>(
    key: &str,
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    let sampling = &mut request.sampling;
    match key {
        "model" => request.model = at.string(reader)?,
        "messages" => request.messages = blocks_in::messages(at, reader, extras)?,
        "max_tokens" => request.max_output_tokens = Some(at.count(reader)?),
        "stream" => request.stream = at.optional(reader, Path::boolean)?.unwrap_or(false),
        "stop_sequences" => {
            let read = |at: &Path<'_>, reader: &mut Reader<'a>| {
                at.array(reader, |at, _, reader| at.string(reader))
            };
            request.stop = at.optional(reader, read)?.unwrap_or_default();
        }
        "temperature" => sampling.temperature = at.optional(reader, Path::number)?,
        "top_p" => sampling.top_p = at.optional(reader, Path::number)?,
        "top_k" => sampling.top_k = at.optional(reader, Path::number)?,
        "tools" => {
            let tools = at.optional(reader, |at, reader| {
                at.array(reader, |at, index, reader| tool(at, index, reader, extras))
            })?;
            request.tools = tools.unwrap_or_default();
        }
        "tool_choice" => _ = at.optional(reader, |at, reader| tool_choice(at, reader, request))?,
        "thinking" => _ = at.optional(reader, |at, reader| thinking(at, reader, request))?,
        "output_config" => {
            at.optional(reader, |at, reader| output_config(at, reader, request, extras))?;
        }
        // What `output_config.format` was called at first.
        "output_format" => request.format = at.optional(reader, format)?.or(request.format.take()),
        "metadata" => {
            _ = at.optional(reader, |at, reader| metadata(at, reader, request, extras))?
        }
        "service_tier" => request.service_tier = at.optional(reader, service_tier)?,
        "cache_control" => request.cache = at.optional(reader, cache_control)?,
        "container" | "context_management" | "mcp_servers" | "inference_geo" | "speed"
        | "user_profile_id" => extras.known(at, reader, OWN)?,
        _ => extras.unknown(at, reader)?,
    }
    Ok(())
}

fn instructions<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Message<'a>, Refusal> {
    let origin = Origin::field("system");
    let parts = blocks_in::content(at, reader, origin, "", Role::System, extras)?;
    Ok(Message::new(Role::System, parts, origin))
}

fn tool<'a>(
    at: &Path<'_>,
    index: usize,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Tool<'a>, Refusal> {
    let origin = Origin::element("tools", index);
    if let Some(kind) = at.look_up(reader, "type")?.filter(|kind| kind != "custom") {
        let value = at.object(reader)?;
        return Ok(Tool::Native { dialect: OWN, kind, value, origin });
    }
    let mut function = Function::unread(origin);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.optional(reader, Path::string)?,
            "name" => function.name = at.string(reader)?,
            "description" => function.description = at.optional(reader, Path::string)?,
            "input_schema" => function.parameters = Some(at.object(reader)?),
            "strict" => function.strict = at.optional(reader, Path::boolean)?,
            "cache_control" => function.cache = at.optional(reader, cache_control)?,
            "defer_loading" | "allowed_callers" | "input_examples" | "eager_input_streaming" => {
                extras.known(&at, reader, OWN)?;
            }
            _ => extras.unknown(&at, reader)?,
        }
    }
    if function.name.is_empty() {
        return Err(at.key("name").refuse(Why::Missing));
    }
    if function.parameters.is_none() {
        return Err(at.key("input_schema").refuse(Why::Missing));
    }
    Ok(Tool::Function(function))
}

fn tool_choice<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
) -> Result<(), Refusal> {
    let (mut kind, mut name) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "name" => name = at.optional(reader, Path::string)?,
            "disable_parallel_tool_use" => {
                let disabled = at.optional(reader, Path::boolean)?;
                request.parallel_tool_calls = disabled.map(|disabled| !disabled);
            }
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    request.tool_choice = Some(match (kind.as_deref(), name) {
        (Some("auto"), None) => ToolChoice::Auto,
        (Some("any"), None) => ToolChoice::Required,
        (Some("none"), None) => ToolChoice::None,
        (Some("tool"), Some(name)) => ToolChoice::Function(name),
        (Some("tool"), None) => return Err(at.key("name").refuse(Why::Missing)),
        _ => return Err(at.key("type").invalid("`auto`, `any`, `none`, or `tool` with a name")),
    });
    Ok(())
}

/// `thinking`, which clients of gateways send with chat completions, too.
pub(crate) fn thinking(
    at: &Path<'_>,
    reader: &mut Reader<'_>,
    request: &mut Request<'_>,
) -> Result<(), Refusal> {
    let (mut kind, mut budget) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "budget_tokens" => budget = at.optional(reader, Path::count)?,
            "display" => {
                let display = at.optional(reader, |at, reader| match &*at.string(reader)? {
                    "summarized" => Ok(Display::Auto),
                    "omitted" => Ok(Display::Omitted),
                    _ => Err(at.invalid("`summarized` or `omitted`")),
                })?;
                request.reasoning.display = display;
            }
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    request.reasoning.thinking = Some(match (kind.as_deref(), budget) {
        (Some("enabled"), Some(budget)) => Thinking::Budget(budget),
        (Some("enabled"), None) => return Err(at.key("budget_tokens").refuse(Why::Missing)),
        (Some("adaptive"), None) => Thinking::Adaptive,
        (Some("disabled"), None) => Thinking::Off,
        _ => return Err(at.key("type").invalid("`enabled`, `adaptive` or `disabled`")),
    });
    Ok(())
}

fn output_config<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "effort" => {
                request.reasoning.effort = at.optional(reader, |at, reader| {
                    let expected = "`low`, `medium`, `high`, `xhigh` or `max`";
                    Effort::from_word(&at.string(reader)?)
                        .filter(|effort| *effort >= Effort::Low)
                        .ok_or_else(|| at.invalid(expected))
                })?;
            }
            "format" => request.format = at.optional(reader, format)?.or(request.format.take()),
            "task_budget" => extras.known(&at, reader, OWN)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    Ok(())
}

fn format<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Format<'a>, Refusal> {
    let (mut kind, mut schema) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "schema" => schema = Some(at.object(reader)?),
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    if kind.as_deref() != Some("json_schema") {
        return Err(at.key("type").invalid("`json_schema`"));
    }
    let schema = schema.ok_or_else(|| at.key("schema").refuse(Why::Missing))?;
    Ok(Format::JsonSchema { name: None, description: None, schema, strict: Some(true) })
}

fn metadata<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "user_id" => request.end_user = at.optional(reader, Path::string)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    Ok(())
}

fn service_tier(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<ServiceTier, Refusal> {
    match &*at.string(reader)? {
        "auto" => Ok(ServiceTier::Auto),
        "standard_only" => Ok(ServiceTier::Standard),
        _ => Err(at.invalid("`auto` or `standard_only`")),
    }
}

/// For readers of content: strings stand for one text block.
pub(super) fn is_string(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<bool, Refusal> {
    match at.kind(reader)? {
        Kind::String => Ok(true),
        Kind::Array => Ok(false),
        _ => Err(at.invalid("a string, or an array of blocks")),
    }
}
