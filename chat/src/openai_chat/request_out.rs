//! Writes a request for an upstream.

use std::borrow::Cow;

use super::{messages_out, words};
use crate::{
    ClientDialect, Dialect, Encoded, Expect, OnLoss, Refusal, Target,
    json::{Keys, Path, Raw, Reader, Writer},
    model::{Display, Effort, Field, Format, Request, Thinking, Tool, ToolChoice},
    refusal::Losses,
};

/// Writes a request for an upstream.
pub fn encode_request(
    request: &Request<'_>,
    target: &Target<'_>,
    on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    let mut losses = Losses::new(Dialect::OpenAiChat, on_loss);
    let mut body = Vec::with_capacity(1_024);
    let mut out = Writer::new(&mut body);
    out.open().field("model", target.model);
    messages_out::write(request, target, &mut losses, &mut out)?;
    parameters(request, target, &mut losses, &mut out)?;
    tools(request, &mut losses, &mut out)?;
    if let Some(format) = &request.format {
        response_format(format, &mut out);
    }
    if request.cache.is_some() {
        losses.note("cache_control");
    }
    losses.extras(&request.extras, |extra| {
        out.any_key(&extra.path).raw(extra.value.as_str());
    })?;
    if request.stream {
        out.key("stream").boolean(true);
        // The gateway counts tokens, whether or not the client wants to see them.
        out.key("stream_options").open().key("include_usage").boolean(true).close();
    }
    out.close();
    Ok(Encoded {
        body: body.into(),
        path: Cow::Borrowed("/chat/completions"),
        headers: Vec::new(),
        dropped: losses.into_dropped(),
        expect: Expect::default(),
    })
}

fn parameters(
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let Some(limit) = request.max_output_tokens {
        let new = target.capabilities.max_completion_tokens;
        out.count_field(if new { "max_completion_tokens" } else { "max_tokens" }, limit);
    }
    let sampling = &request.sampling;
    for (name, number) in [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("seed", sampling.seed),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ] {
        out.raw_if(name, number.map(|number| number.as_str()));
    }
    out.raw_if("logit_bias", sampling.logit_bias.as_ref().map(|bias| bias.as_str()));
    if sampling.top_k.is_some() {
        losses.parameter("top_k")?;
    }
    one_answer(request, losses)?;
    if let Some(logprobs) = request.logprobs {
        out.key("logprobs").boolean(logprobs);
    }
    if let Some(count) = request.top_logprobs {
        out.count_field("top_logprobs", count);
    }
    if !request.stop.is_empty() {
        out.key("stop").open_array();
        for stop in &request.stop {
            out.element().string(stop);
        }
        out.close_array();
    }
    if let Some(effort) = effort(request, target, losses) {
        out.field("reasoning_effort", effort.word());
    }
    if let Some(tier) = request.service_tier {
        out.field("service_tier", words::tier_word(tier));
    }
    out.field_if("verbosity", request.verbosity.as_deref());
    out.field_if("user", request.end_user.as_deref());
    out.raw_if("metadata", request.metadata.as_ref().map(|metadata| metadata.as_str()));
    if let Some(store) = request.store {
        out.key("store").boolean(store);
    }
    out.field_if("prompt_cache_key", request.prompt_cache_key.as_deref());
    Ok(())
}

/// What every encoder does with `n`.
pub(crate) fn one_answer(request: &Request<'_>, losses: &mut Losses) -> Result<(), Refusal> {
    if request.sampling.n.is_some_and(|n| n > 1) {
        losses.parameter_because("n", "send one request for each answer")?;
    }
    Ok(())
}

/// The effort that says what the client says of reasoning. A budget becomes the effort whose own budget is
/// nearest from above. What an answer shows of it is not up to this dialect.
fn effort(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Option<Effort> {
    let reasoning = request.reasoning;
    if matches!(reasoning.display, Some(Display::Auto | Display::Concise | Display::Detailed)) {
        losses.note(request.name_of(Field::Display));
    }
    told_effort(request, target, losses)
}

/// What OpenAI's dialects say of how much to reason.
pub(crate) fn told_effort(
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Option<Effort> {
    let reasoning = request.reasoning;
    match (reasoning.effort, reasoning.thinking) {
        (_, Some(Thinking::Off)) if target.capabilities.effort_none => Some(Effort::None),
        // Where it can not be switched off, a low effort or none at all is as near as one gets.
        (effort, Some(Thinking::Off)) => {
            losses.note(request.name_of(Field::Thinking));
            effort
        }
        (Some(effort), thinking) => {
            if matches!(thinking, Some(Thinking::Budget(_))) {
                losses.note("thinking.budget_tokens");
            }
            Some(effort)
        }
        (None, Some(Thinking::Budget(tokens))) => Some(Effort::of_budget(tokens)),
        // Models of this dialect reason as they think fit.
        (None, Some(Thinking::Adaptive) | None) => None,
    }
}

fn tools(request: &Request<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    if request.tools.is_empty() {
        return Ok(());
    }
    out.key("tools").open_array();
    for tool in &request.tools {
        match tool {
            Tool::Function(function) => {
                if function.cache.is_some() {
                    losses.note(format_args!("{}.cache_control", function.origin));
                }
                out.element().open().field("type", "function").key("function").open();
                out.field("name", &function.name);
                out.field_if("description", function.description.as_deref());
                let parameters =
                    function.parameters.as_ref().map(|raw| parameters_of(raw, request.dialect));
                out.raw_if("parameters", parameters.as_deref());
                if let Some(strict) = function.strict {
                    out.key("strict").boolean(strict);
                }
                out.close().close();
            }
            Tool::Native { dialect: Dialect::OpenAiChat, value, .. } => {
                out.element().raw(value.as_str());
            }
            Tool::Native { origin, .. } => {
                return Err(losses.content(origin, PROVIDERS_TOOL));
            }
        }
    }
    out.close_array();
    if let Some(choice) = &request.tool_choice {
        out.key("tool_choice");
        tool_choice(choice, out);
    }
    if let Some(parallel) = request.parallel_tool_calls {
        out.key("parallel_tool_calls").boolean(parallel);
    }
    Ok(())
}

/// The schema of a function's arguments as OpenAI takes it. Anthropic's clients may leave `properties` out where a function takes
/// no arguments; OpenAI refuses such a schema.
pub(crate) fn parameters_of<'r>(schema: &'r Raw<'_>, dialect: ClientDialect) -> Cow<'r, str> {
    let schema = schema.as_str();
    if dialect == ClientDialect::Anthropic
        && lacks_properties(schema).unwrap_or(false)
        && let Some(members) = schema.strip_prefix('{')
    {
        return format!(r#"{{"properties":{{}},{members}"#).into();
    }
    schema.into()
}

/// Whether this is the schema of an object that says nothing of its properties.
fn lacks_properties(schema: &str) -> Result<bool, Refusal> {
    let root = Path::ROOT;
    let mut reader = Reader::new(schema);
    let mut keys: Keys<'_> = root.open(&mut reader)?;
    let mut is_object = false;
    while let Some(key) = keys.next(&mut reader, &root)? {
        let value = root.raw(&mut reader)?;
        match &*key {
            "properties" => return Ok(false),
            "type" => is_object = value.as_str() == r#""object""#,
            _ => {}
        }
    }
    Ok(is_object)
}

/// What to say of a tool that is no function.
pub(crate) const PROVIDERS_TOOL: &str =
    "only its own provider knows this tool; ask for a model of that provider, or offer a function";

fn tool_choice(choice: &ToolChoice<'_>, out: &mut Writer<'_>) {
    let function = |name: &str, out: &mut Writer<'_>| {
        out.open().field("type", "function").key("function");
        out.open().field("name", name).close().close();
    };
    match choice {
        ToolChoice::Auto => _ = out.string("auto"),
        ToolChoice::None => _ = out.string("none"),
        ToolChoice::Required => _ = out.string("required"),
        ToolChoice::Function(name) => function(name, out),
        ToolChoice::Allowed { names, required } => {
            out.open().field("type", "allowed_tools").key("allowed_tools").open();
            out.field("mode", if *required { "required" } else { "auto" });
            out.key("tools").open_array();
            for name in names {
                function(name, out.element());
            }
            out.close_array().close().close();
        }
    }
}

fn response_format(format: &Format<'_>, out: &mut Writer<'_>) {
    out.key("response_format").open();
    match format {
        Format::JsonObject => _ = out.field("type", "json_object"),
        Format::JsonSchema { name, description, schema, strict } => {
            out.field("type", "json_schema").key("json_schema").open();
            // A name has to be there, and says nothing to the model.
            out.field("name", name.as_deref().unwrap_or("answer"));
            out.field_if("description", description.as_deref());
            out.key("schema").raw(schema.as_str());
            if let Some(strict) = strict {
                out.key("strict").boolean(*strict);
            }
            out.close();
        }
    }
    out.close();
}
