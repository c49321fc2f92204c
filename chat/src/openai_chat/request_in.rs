//! Reads a client's request.

use std::borrow::Cow;

use super::{messages_in, words};
use crate::{
    ClientDialect, Dialect, Refusal, Why,
    anthropic::request_in::thinking,
    extras::{Extras, read_body},
    json::{Kind, Path, Raw, Reader},
    model::{
        CacheHint, CacheLife, Effort, Extra, Format, Function, Origin, Request, Tool, ToolChoice,
    },
};

const OWN: Dialect = Dialect::OpenAiChat;

/// Reads a client's request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut request = Request::new(ClientDialect::OpenAiChat, "");
    let mut rest = Rest::default();
    read_body(body, &mut request, |key, at, reader, request, extras| {
        field(key, at, reader, request, extras, &mut rest)
    })?;
    if request.model.is_empty() {
        return Err(Refusal::new("model", Why::Missing));
    }
    if request.messages.is_empty() {
        return Err(Refusal::new("messages", Why::Missing));
    }
    request.max_output_tokens = match (rest.max_completion_tokens, rest.max_tokens) {
        (Some(new), Some(old)) if new != old => {
            let expected = "the same as `max_completion_tokens`, or absent";
            return Err(Refusal::invalid("max_tokens", expected));
        }
        (new, old) => new.or(old),
    };
    match (&request.end_user, rest.safety_identifier) {
        (Some(user), Some((name, _))) if *user == name => {}
        (Some(_), Some((_, value))) => request.extras.push(Extra {
            path: "safety_identifier".to_owned(),
            value,
            dialect: Some(OWN),
        }),
        (None, Some((name, _))) => request.end_user = Some(name),
        (_, None) => {}
    }
    Ok(request)
}

/// Fields that are of use only together.
#[derive(Default)]
struct Rest<'a> {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    /// The name, and how it was written.
    safety_identifier: Option<(Cow<'a, str>, Raw<'a>)>,
}

fn field<'a>(
    key: &str,
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
    rest: &mut Rest<'a>,
) -> Result<(), Refusal> {
    let sampling = &mut request.sampling;
    match key {
        "model" => request.model = at.string(reader)?,
        "messages" => request.messages = messages_in::read(at, reader, extras)?,
        "stream" => request.stream = at.optional(reader, Path::boolean)?.unwrap_or(false),
        "stream_options" => stream_options(at, reader, request, extras)?,
        "max_completion_tokens" => rest.max_completion_tokens = at.optional(reader, Path::count)?,
        "max_tokens" => rest.max_tokens = at.optional(reader, Path::count)?,
        "temperature" => sampling.temperature = at.optional(reader, Path::number)?,
        "top_p" => sampling.top_p = at.optional(reader, Path::number)?,
        "top_k" => sampling.top_k = at.optional(reader, Path::number)?,
        "seed" => sampling.seed = at.optional(reader, Path::number)?,
        "frequency_penalty" => sampling.frequency_penalty = at.optional(reader, Path::number)?,
        "presence_penalty" => sampling.presence_penalty = at.optional(reader, Path::number)?,
        "logit_bias" => sampling.logit_bias = at.optional(reader, Path::object)?,
        "n" => sampling.n = at.optional(reader, Path::count)?,
        "logprobs" => request.logprobs = at.optional(reader, Path::boolean)?,
        "top_logprobs" => request.top_logprobs = at.optional(reader, Path::count)?,
        "stop" => request.stop = stop(at, reader)?,
        "response_format" => {
            let format = at.optional(reader, |at, reader| response_format(at, reader, extras))?;
            request.format = format.flatten();
        }
        "tools" => {
            let tools = at.optional(reader, |at, reader| {
                at.array(reader, |at, index, reader| tool(at, index, reader, extras))
            })?;
            request.tools = tools.unwrap_or_default();
        }
        "tool_choice" => request.tool_choice = at.optional(reader, tool_choice)?,
        "parallel_tool_calls" => {
            request.parallel_tool_calls = at.optional(reader, Path::boolean)?
        }
        "reasoning_effort" => request.reasoning.effort = at.optional(reader, effort)?,
        "thinking" => _ = at.optional(reader, |at, reader| thinking(at, reader, request))?,
        "service_tier" => request.service_tier = at.optional(reader, words::service_tier)?,
        "verbosity" => request.verbosity = at.optional(reader, Path::string)?,
        "user" => request.end_user = at.optional(reader, Path::string)?,
        "safety_identifier" => {
            let mut ahead = *reader;
            let name = at.optional(reader, Path::string)?;
            rest.safety_identifier =
                name.map(|name| Ok((name, at.raw(&mut ahead)?))).transpose()?;
        }
        "metadata" => request.metadata = at.optional(reader, Path::object)?,
        "store" => request.store = at.optional(reader, Path::boolean)?,
        "prompt_cache_key" => request.prompt_cache_key = at.optional(reader, Path::string)?,
        "modalities" => modalities(at, reader, extras)?,
        "functions" | "function_call" => {
            if at.raw(reader)?.as_str() != "null" {
                return Err(at.invalid("absent: send `tools` and `tool_choice`"));
            }
        }
        "audio"
        | "prediction"
        | "web_search_options"
        | "prompt_cache_retention"
        | "prompt_cache_options"
        | "moderation" => extras.known(at, reader, OWN)?,
        _ => extras.unknown(at, reader)?,
    }
    Ok(())
}

fn stream_options<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    at.optional(reader, |at, reader| {
        let mut keys = at.open(reader)?;
        while let Some(key) = keys.next(reader, at)? {
            let at = at.key(&key);
            match &*key {
                "include_usage" => {
                    request.include_usage = at.optional(reader, Path::boolean)?.unwrap_or(false);
                }
                "include_obfuscation" => extras.known(&at, reader, OWN)?,
                _ => extras.unknown(&at, reader)?,
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn stop<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Vec<Cow<'a, str>>, Refusal> {
    match at.kind(reader)? {
        Kind::String => Ok(vec![at.string(reader)?]),
        Kind::Array => at.array(reader, |at, _, reader| at.string(reader)),
        _ if reader.take_null().map_err(|fault| at.fault(fault, "null"))? => Ok(Vec::new()),
        _ => Err(at.invalid("a string, or an array of strings")),
    }
}

fn response_format<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Option<Format<'a>>, Refusal> {
    let mut kind = None;
    let mut schema = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "json_schema" => schema = Some(json_schema(&at, reader, extras)?),
            _ => extras.unknown(&at, reader)?,
        }
    }
    match (kind.as_deref(), schema) {
        (Some("text"), None) => Ok(None),
        (Some("json_object"), None) => Ok(Some(Format::JsonObject)),
        (Some("json_schema"), Some(format)) => Ok(Some(format)),
        (Some("json_schema"), None) => Err(at.key("json_schema").refuse(Why::Missing)),
        _ => Err(at.key("type").invalid("`text`, `json_object` or `json_schema`")),
    }
}

fn json_schema<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Format<'a>, Refusal> {
    let (mut name, mut description, mut schema, mut strict) = (None, None, None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "name" => name = at.optional(reader, Path::string)?,
            "description" => description = at.optional(reader, Path::string)?,
            "schema" => schema = at.optional(reader, Path::object)?,
            "strict" => strict = at.optional(reader, Path::boolean)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    let schema = schema.ok_or_else(|| at.key("schema").refuse(Why::Missing))?;
    Ok(Format::JsonSchema { name, description, schema, strict })
}

fn tool<'a>(
    at: &Path<'_>,
    index: usize,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Tool<'a>, Refusal> {
    let origin = Origin::element("tools", index);
    let kind = at.look_up(reader, "type")?;
    let kind = kind.ok_or_else(|| at.key("type").refuse(Why::Missing))?;
    if kind != "function" {
        let value = at.object(reader)?;
        return Ok(Tool::Native { dialect: OWN, kind, value, origin });
    }
    let mut function = None;
    let mut cache = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "function" => function = Some(function_definition(&at, reader, extras, origin)?),
            "cache_control" => cache = at.optional(reader, cache_control)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    let mut function = function.ok_or_else(|| at.key("function").refuse(Why::Missing))?;
    function.cache = function.cache.or(cache);
    Ok(Tool::Function(function))
}

fn function_definition<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
    origin: Origin,
) -> Result<Function<'a>, Refusal> {
    let mut function = Function::unread(origin);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "name" => function.name = at.string(reader)?,
            "description" => function.description = at.optional(reader, Path::string)?,
            "parameters" => function.parameters = at.optional(reader, Path::object)?,
            "strict" => function.strict = at.optional(reader, Path::boolean)?,
            "cache_control" => function.cache = at.optional(reader, cache_control)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    if function.name.is_empty() {
        return Err(at.key("name").refuse(Why::Missing));
    }
    Ok(function)
}

fn tool_choice<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<ToolChoice<'a>, Refusal> {
    const EXPECTED: &str = "`none`, `auto`, `required`, a function's name, or allowed tools";
    if at.kind(reader)? == Kind::String {
        return match &*at.string(reader)? {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            _ => Err(at.invalid(EXPECTED)),
        };
    }
    let mut choice = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "function" => choice = Some(ToolChoice::Function(function_name(&at, reader)?)),
            "allowed_tools" => choice = Some(allowed_tools(&at, reader)?),
            _ => return Err(at.invalid(EXPECTED)),
        }
    }
    choice.ok_or_else(|| at.invalid(EXPECTED))
}

fn function_name<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Cow<'a, str>, Refusal> {
    let mut name = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "name" => name = Some(at.string(reader)?),
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    name.ok_or_else(|| at.key("name").refuse(Why::Missing))
}

fn allowed_tools<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<ToolChoice<'a>, Refusal> {
    let mut names = Vec::new();
    let mut required = false;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "mode" => {
                required = match &*at.string(reader)? {
                    "auto" => false,
                    "required" => true,
                    _ => return Err(at.invalid("`auto` or `required`")),
                }
            }
            "tools" => {
                names = at.array(reader, |at, _, reader| match tool_choice(at, reader)? {
                    ToolChoice::Function(name) => Ok(name),
                    _ => Err(at.invalid("a function's name")),
                })?;
            }
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    Ok(ToolChoice::Allowed { names, required })
}

fn effort(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<Effort, Refusal> {
    let expected = "`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`";
    Effort::from_word(&at.string(reader)?).ok_or_else(|| at.invalid(expected))
}

/// Text alone is what every dialect gives anyway.
fn modalities<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    let mut ahead = *reader;
    let text_only = at.kind(&mut ahead)? == Kind::Array
        && at
            .array(&mut ahead, |at, _, reader| at.string(reader))?
            .iter()
            .all(|word| word == "text");
    if text_only {
        *reader = ahead;
        return Ok(());
    }
    extras.known(at, reader, OWN)
}

/// Anthropic's cache hint, in the form that it has in all dialects that have it.
pub(crate) fn cache_control(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<CacheHint, Refusal> {
    let mut hint = CacheHint { life: None };
    let mut kind = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "ttl" => {
                hint.life = at.optional(reader, |at, reader| match &*at.string(reader)? {
                    "5m" => Ok(CacheLife::FiveMinutes),
                    "1h" => Ok(CacheLife::OneHour),
                    _ => Err(at.invalid("`5m` or `1h`")),
                })?;
            }
            _ => return Err(at.refuse(Why::Unknown)),
        }
    }
    match kind.as_deref() {
        Some("ephemeral") => Ok(hint),
        _ => Err(at.key("type").invalid("`ephemeral`")),
    }
}
