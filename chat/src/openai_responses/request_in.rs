//! Reads a client's request.

use std::borrow::Cow;

use super::{items_in, tools_in};
use crate::{
    ClientDialect, Dialect, Refusal, Why,
    extras::{Extras, read_body},
    json::{Path, Raw, Reader},
    model::{Display, Effort, Extra, Format, Message, Origin, Part, Request, Role},
    openai_chat::words,
};

pub(super) const OWN: Dialect = Dialect::OpenAiResponses;

/// Reads a client's request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut request = Request::new(ClientDialect::OpenAiResponses, "");
    let mut rest = Rest::default();
    read_body(body, &mut request, |key, at, reader, request, extras| {
        field(key, at, reader, request, extras, &mut rest)
    })?;
    if request.model.is_empty() {
        return Err(Refusal::new("model", Why::Missing));
    }
    if request.messages.is_empty() {
        return Err(Refusal::new("input", Why::Missing));
    }
    if let Some(text) = rest.instructions {
        let origin = Origin::field(INSTRUCTIONS);
        let parts = vec![Part::text(text, origin)];
        request.messages.insert(0, Message::new(Role::System, parts, origin));
    }
    match (&request.end_user, rest.safety_identifier) {
        (Some(user), Some((name, _))) if *user == name => {}
        (Some(_), Some((_, value))) => {
            let path = "safety_identifier".to_owned();
            request.extras.push(Extra { path, value, dialect: Some(OWN) });
        }
        (None, Some((name, _))) => request.end_user = Some(name),
        (_, None) => {}
    }
    Ok(request)
}

/// The field that holds instructions.
pub(super) const INSTRUCTIONS: &str = "instructions";

/// Fields whose place depends on others.
#[derive(Default)]
struct Rest<'a> {
    /// They stand before the first item, wherever the field stands.
    instructions: Option<Cow<'a, str>>,
    /// The successor of `user`, and how it was written: beside it, a second name that the model has no field for.
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
        "instructions" => rest.instructions = at.optional(reader, Path::string)?,
        "input" => request.messages = items_in::read(at, reader, extras)?,
        "stream" => request.stream = at.optional(reader, Path::boolean)?.unwrap_or(false),
        "max_output_tokens" => request.max_output_tokens = at.optional(reader, Path::count)?,
        "temperature" => sampling.temperature = at.optional(reader, Path::number)?,
        "top_p" => sampling.top_p = at.optional(reader, Path::number)?,
        "top_logprobs" => request.top_logprobs = at.optional(reader, Path::count)?,
        "include" => include(at, reader, request, extras)?,
        "reasoning" => reasoning(at, reader, request, extras)?,
        "text" => text(at, reader, request, extras)?,
        "tools" => {
            let tools = at.optional(reader, |at, reader| {
                at.array(reader, |at, index, reader| tools_in::tool(at, index, reader, extras))
            })?;
            request.tools = tools.unwrap_or_default();
        }
        "tool_choice" => request.tool_choice = tools_in::choice(at, reader, extras)?,
        "parallel_tool_calls" => {
            request.parallel_tool_calls = at.optional(reader, Path::boolean)?;
        }
        "metadata" => request.metadata = at.optional(reader, Path::object)?,
        "store" => request.store = at.optional(reader, Path::boolean)?,
        "service_tier" => request.service_tier = at.optional(reader, words::service_tier)?,
        "user" => request.end_user = at.optional(reader, Path::string)?,
        "prompt_cache_key" => request.prompt_cache_key = at.optional(reader, Path::string)?,
        "stream_options" => stream_options(at, reader, extras)?,
        "safety_identifier" => {
            let mut ahead = *reader;
            let name = at.optional(reader, Path::string)?;
            rest.safety_identifier =
                name.map(|name| Ok((name, at.raw(&mut ahead)?))).transpose()?;
        }
        "background" => unless_default("false", at, reader, extras)?,
        "truncation" => unless_default("\"disabled\"", at, reader, extras)?,
        "previous_response_id"
        | "conversation"
        | "prompt"
        | "max_tool_calls"
        | "context_management"
        | "moderation"
        | "prompt_cache_retention"
        | "prompt_cache_options" => extras.known(at, reader, OWN)?,
        _ => extras.unknown(at, reader)?,
    }
    Ok(())
}

/// A field that says something only where its value, as JSON, is not what it is anyway.
pub(super) fn unless_default<'a>(
    default: &str,
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    let mut ahead = *reader;
    if at.raw(&mut ahead)?.as_str() != default {
        return extras.known(at, reader, OWN);
    }
    *reader = ahead;
    Ok(())
}

/// What the answer is to hold beyond the usual.
fn include<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    at.optional(reader, |at, reader| {
        at.array(reader, |at, _, reader| {
            let mut ahead = *reader;
            match &*at.string(&mut ahead)? {
                "message.output_text.logprobs" => request.logprobs = Some(true),
                "reasoning.encrypted_content" => request.include_seals = true,
                // Of tools that the provider runs.
                _ => return extras.known(at, reader, OWN),
            }
            *reader = ahead;
            Ok(())
        })
    })?;
    Ok(())
}

fn reasoning<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    request: &mut Request<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    at.optional(reader, |at, reader| {
        let mut keys = at.open(reader)?;
        while let Some(key) = keys.next(reader, at)? {
            let at = at.key(&key);
            let reasoning = &mut request.reasoning;
            match &*key {
                "effort" => reasoning.effort = at.optional(reader, effort)?,
                "summary" => reasoning.display = at.optional(reader, summary)?,
                // The same under its former name.
                "generate_summary" => {
                    reasoning.display = reasoning.display.or(at.optional(reader, summary)?);
                }
                "context" | "mode" => extras.known(&at, reader, OWN)?,
                _ => extras.unknown(&at, reader)?,
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn effort(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<Effort, Refusal> {
    let expected = "`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`";
    Effort::from_word(&at.string(reader)?).ok_or_else(|| at.invalid(expected))
}

fn summary(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<Display, Refusal> {
    match &*at.string(reader)? {
        "auto" => Ok(Display::Auto),
        "concise" => Ok(Display::Concise),
        "detailed" => Ok(Display::Detailed),
        _ => Err(at.invalid("`auto`, `concise` or `detailed`")),
    }
}

fn text<'a>(
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
                "format" => {
                    let form = at.optional(reader, |at, reader| format(at, reader, extras))?;
                    request.format = form.flatten();
                }
                "verbosity" => request.verbosity = at.optional(reader, Path::string)?,
                _ => extras.unknown(&at, reader)?,
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn format<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Option<Format<'a>>, Refusal> {
    let (mut kind, mut name, mut description) = (None, None, None);
    let (mut schema, mut strict) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => kind = Some(at.string(reader)?),
            "name" => name = at.optional(reader, Path::string)?,
            "description" => description = at.optional(reader, Path::string)?,
            "schema" => schema = at.optional(reader, Path::object)?,
            "strict" => strict = at.optional(reader, Path::boolean)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    match (kind.as_deref(), schema) {
        (Some("text"), None) => Ok(None),
        (Some("json_object"), None) => Ok(Some(Format::JsonObject)),
        (Some("json_schema"), Some(schema)) => {
            Ok(Some(Format::JsonSchema { name, description, schema, strict }))
        }
        (Some("json_schema"), None) => Err(at.key("schema").refuse(Why::Missing)),
        _ => Err(at.key("type").invalid("`text`, `json_object` or `json_schema`")),
    }
}

/// What the answer's padding is, which a translated answer has not.
fn stream_options<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<(), Refusal> {
    at.optional(reader, |at, reader| {
        let mut keys = at.open(reader)?;
        while let Some(key) = keys.next(reader, at)? {
            let at = at.key(&key);
            match &*key {
                "include_obfuscation" => {
                    unless_default("false", &at, reader, extras)?;
                }
                _ => extras.unknown(&at, reader)?,
            }
        }
        Ok(())
    })?;
    Ok(())
}
