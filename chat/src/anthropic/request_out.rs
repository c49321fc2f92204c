//! Writes a request for an upstream.

use std::borrow::Cow;

use super::{
    reasoning_out::{self, Thinks},
    turns_out,
};
use crate::{
    ClientDialect, Dialect, Encoded, Expect, OnLoss, Refusal, Target,
    json::{Number, Writer},
    model::{CacheHint, CacheLife, Effort, Field, Format, Request, ServiceTier, Tool, ToolChoice},
    openai_chat::request_out::{PROVIDERS_TOOL, one_answer},
    refusal::Losses,
};

/// Writes a request for an upstream.
pub fn encode_request(
    request: &Request<'_>,
    target: &Target<'_>,
    on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    let mut losses = Losses::new(Dialect::Anthropic, on_loss);
    let mut body = Vec::with_capacity(1_024);
    let mut out = Writer::new(&mut body);
    let max_tokens = request.max_output_tokens.unwrap_or(target.default_max_output);
    out.open();
    match target.version_in_body {
        Some(version) => out.field("anthropic_version", version),
        None => out.field("model", target.model),
    };
    out.count_field("max_tokens", max_tokens);
    turns_out::write(request, target, &mut losses, &mut out)?;
    let thinks = reasoning_out::decide(request, target, max_tokens, &mut losses)?;
    thinks.write(&mut out);
    let form = form(request, target, &thinks, &mut losses)?;
    output_config(thinks.effort, &form, &mut out);
    tools(request, &form, &thinks, &mut losses, &mut out)?;
    sampling(request, &thinks, &mut losses, &mut out)?;
    others(request, &mut losses, &mut out)?;
    losses.extras(&request.extras, |extra| {
        out.any_key(&extra.path).raw(extra.value.as_str());
    })?;
    if request.stream {
        out.key("stream").boolean(true);
    }
    out.close();
    Ok(Encoded {
        body: body.into(),
        path: Cow::Borrowed("/v1/messages"),
        headers: Vec::new(),
        dropped: losses.into_dropped(),
        expect: match form {
            Form::Tool(_) => Expect::of_answer_tool(),
            Form::Free | Form::Schema(_) => Expect::default(),
        },
    })
}

/// How the form of the answer is asked for.
enum Form<'r> {
    /// Not at all.
    Free,
    /// By a schema.
    Schema(&'r str),
    /// By a tool that has to be called, whose arguments are the answer.
    Tool(&'r str),
}

fn form<'r>(
    request: &'r Request<'_>,
    target: &Target<'_>,
    thinks: &Thinks,
    losses: &mut Losses,
) -> Result<Form<'r>, Refusal> {
    if let Some(Format::JsonSchema { description: Some(_), .. }) = &request.format {
        losses.note(match request.dialect {
            ClientDialect::OpenAiResponses => "text.format.description",
            ClientDialect::OpenAiChat | ClientDialect::Anthropic => {
                "response_format.json_schema.description"
            }
        });
    }
    let schema = match &request.format {
        None => return Ok(Form::Free),
        Some(Format::JsonSchema { schema, .. }) if target.capabilities.structured_output => {
            return Ok(Form::Schema(schema.as_str()));
        }
        Some(Format::JsonSchema { schema, .. }) => schema.as_str(),
        // There is no form for any JSON: schemas have to name every field.
        Some(Format::JsonObject) => r#"{"type":"object","additionalProperties":true}"#,
    };
    // A tool that has to be called keeps the model from calling others, and from thinking.
    if !request.tools.is_empty() || thinks.is_on() {
        losses.parameter_because(
            request.name_of(Field::Format),
            "with tools or reasoning, send a schema to a model that takes one, or ask for JSON in words",
        )?;
        return Ok(Form::Free);
    }
    Ok(Form::Tool(schema))
}

fn output_config(effort: Option<Effort>, form: &Form<'_>, out: &mut Writer<'_>) {
    let schema = match form {
        Form::Schema(schema) => Some(schema),
        Form::Free | Form::Tool(_) => None,
    };
    if effort.is_none() && schema.is_none() {
        return;
    }
    out.key("output_config").open();
    out.field_if("effort", effort.map(Effort::word));
    if let Some(schema) = schema {
        out.key("format").open().field("type", "json_schema").key("schema").raw(schema).close();
    }
    out.close();
}

fn tools(
    request: &Request<'_>,
    form: &Form<'_>,
    thinks: &Thinks,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let Form::Tool(schema) = form {
        out.key("tools").open_array().element().open().field("name", Expect::ANSWER_TOOL);
        out.field("description", "Gives the answer.").key("input_schema").raw(schema);
        out.close().close_array().key("tool_choice").open().field("type", "tool");
        out.field("name", Expect::ANSWER_TOOL).close();
        return Ok(());
    }
    let allowed = |name: &str| match &request.tool_choice {
        // Tools that may not be called need not be offered.
        Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|allowed| allowed == name),
        _ => true,
    };
    let mut any = false;
    for tool in &request.tools {
        if let Tool::Function(function) = tool
            && !allowed(&function.name)
        {
            continue;
        }
        if !any {
            out.key("tools").open_array();
            any = true;
        }
        write_tool(tool, losses, out.element())?;
    }
    if any {
        out.close_array();
        tool_choice(request, thinks, losses, out)?;
    }
    Ok(())
}

fn write_tool(tool: &Tool<'_>, losses: &Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    match tool {
        Tool::Function(function) => {
            out.open().field("name", &function.name);
            out.field_if("description", function.description.as_deref());
            let none = r#"{"type":"object","properties":{}}"#;
            let schema = function.parameters.as_ref().map_or(none, |schema| schema.as_str());
            out.key("input_schema").raw(schema);
            // Not strict is what it is anyway.
            if function.strict == Some(true) {
                out.key("strict").boolean(true);
            }
            cache_control(function.cache, out);
            out.close();
        }
        Tool::Native { dialect: Dialect::Anthropic, value, .. } => _ = out.raw(value.as_str()),
        Tool::Native { origin, .. } => return Err(losses.content(origin, PROVIDERS_TOOL)),
    }
    Ok(())
}

fn tool_choice(
    request: &Request<'_>,
    thinks: &Thinks,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let (kind, name) = match &request.tool_choice {
        None => (None, None),
        Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => {
            (Some("auto"), None)
        }
        Some(ToolChoice::None) => (Some("none"), None),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => {
            (Some("any"), None)
        }
        Some(ToolChoice::Function(name)) => (Some("tool"), Some(&**name)),
    };
    let mut choice = (kind, name);
    if matches!(kind, Some("any" | "tool")) && thinks.is_translated_on() {
        losses.parameter_because("tool_choice", "with reasoning the model chooses; send `auto`")?;
        choice = (None, None);
    }
    let serial = request.parallel_tool_calls == Some(false) && kind != Some("none");
    if choice.0.is_none() && !serial {
        return Ok(());
    }
    out.key("tool_choice").open().field("type", choice.0.unwrap_or("auto"));
    out.field_if("name", choice.1);
    if serial {
        out.key("disable_parallel_tool_use").boolean(true);
    }
    out.close();
    Ok(())
}

fn sampling(
    request: &Request<'_>,
    thinks: &Thinks,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let sampling = &request.sampling;
    let own = request.dialect == ClientDialect::Anthropic;
    if let Some(temperature) = sampling.temperature {
        let value = temperature.as_f64();
        if !own && value > 1.0 {
            losses.parameter_because("temperature", "it ends at 1 here; send a lower one")?;
        } else if thinks.is_translated_on() && value != 1.0 {
            losses
                .parameter_because("temperature", "with reasoning it is always 1; leave it out")?;
        } else {
            out.key("temperature").raw(temperature.as_str());
        }
    }
    if let Some(top_p) = sampling.top_p {
        if thinks.is_translated_on() && top_p.as_f64() < 0.95 {
            losses.parameter_because("top_p", "with reasoning it begins at 0.95; leave it out")?;
        } else {
            out.key("top_p").raw(top_p.as_str());
        }
    }
    if let Some(top_k) = sampling.top_k {
        if thinks.is_translated_on() {
            losses.parameter_because("top_k", "not with reasoning; leave it out")?;
        } else {
            out.key("top_k").raw(top_k.as_str());
        }
    }
    let is_zero = |number: Option<Number<'_>>| number.is_none_or(|number| number.as_f64() == 0.0);
    for (name, unchanged) in [
        ("seed", sampling.seed.is_none()),
        ("frequency_penalty", is_zero(sampling.frequency_penalty)),
        ("presence_penalty", is_zero(sampling.presence_penalty)),
        ("logit_bias", sampling.logit_bias.as_ref().is_none_or(|bias| bias.as_str() == "{}")),
        (request.name_of(Field::Logprobs), !request.logprobs.unwrap_or(false)),
        ("top_logprobs", request.top_logprobs.is_none()),
        (request.name_of(Field::Verbosity), request.verbosity.is_none()),
    ] {
        if !unchanged {
            losses.parameter(name)?;
        }
    }
    one_answer(request, losses)
}

fn others(request: &Request<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    if !request.stop.is_empty() {
        out.key("stop_sequences").open_array();
        for stop in &request.stop {
            out.element().string(stop);
        }
        out.close_array();
    }
    if let Some(user) = &request.end_user {
        out.key("metadata").open().field("user_id", user).close();
    }
    match request.service_tier {
        None => {}
        // Priority is what `auto` takes where the account has it.
        Some(ServiceTier::Auto | ServiceTier::Priority) => _ = out.field("service_tier", "auto"),
        Some(ServiceTier::Standard) => _ = out.field("service_tier", "standard_only"),
        Some(ServiceTier::Flex | ServiceTier::Scale | ServiceTier::Batch) => {
            losses.parameter("service_tier")?;
        }
    }
    cache_control(request.cache, out);
    for (name, given) in [
        ("metadata", request.metadata.as_ref().is_some_and(|labels| labels.as_str() != "{}")),
        ("store", request.store == Some(true)),
        ("prompt_cache_key", request.prompt_cache_key.is_some()),
    ] {
        if given {
            losses.note(name);
        }
    }
    Ok(())
}

/// Writes a cache hint, if there is one.
pub(super) fn cache_control(hint: Option<CacheHint>, out: &mut Writer<'_>) {
    let Some(hint) = hint else { return };
    out.key("cache_control").open().field("type", "ephemeral");
    out.field_if(
        "ttl",
        hint.life.map(|life| match life {
            CacheLife::FiveMinutes => "5m",
            CacheLife::OneHour => "1h",
        }),
    );
    out.close();
}
