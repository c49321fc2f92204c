//! Writes a request for an upstream.

use super::{contents_out, thinking_out};
use crate::{
    Dialect, Encoded, Expect, OnLoss, Refusal, Target,
    aws::sigv4::encode_segment,
    json::{Number, Writer},
    model::{Field, Format, Function, Request, ServiceTier, Tool, ToolChoice},
    openai_chat::request_out::{PROVIDERS_TOOL, one_answer},
    refusal::Losses,
};

/// Writes a request for an upstream.
pub fn encode_request(
    request: &Request<'_>,
    target: &Target<'_>,
    on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    let mut losses = Losses::new(Dialect::Gemini, on_loss);
    let mut body = Vec::with_capacity(1_024);
    let mut out = Writer::new(&mut body);
    out.open();
    contents_out::write(request, target, &mut losses, &mut out)?;
    tools(request, &mut losses, &mut out)?;
    generation_config(request, target, &mut losses, &mut out)?;
    others(request, &mut losses, &mut out)?;
    losses.extras(&request.extras, |extra| {
        out.any_key(&extra.path).raw(extra.value.as_str());
    })?;
    out.close();
    Ok(Encoded {
        body: body.into(),
        path: path(target.model, request.stream).into(),
        headers: Vec::new(),
        dropped: losses.into_dropped(),
        expect: Expect::default(),
    })
}

/// The path behind `/v1beta` of the Gemini API, or behind `/publishers/google` of Vertex AI. Models that were tuned have a
/// collection of their own.
fn path(model: &str, stream: bool) -> String {
    let (collection, name) = match model.split_once('/') {
        Some((collection @ ("models" | "tunedModels"), name)) => (collection, name),
        _ => ("models", model),
    };
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    format!("/{collection}/{}:{method}", encode_segment(name))
}

fn generation_config(
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let mut config = Vec::new();
    let mut inner = Writer::new(&mut config);
    inner.open();
    sampling(request, losses, &mut inner)?;
    if let Some(limit) = request.max_output_tokens {
        inner.count_field("maxOutputTokens", limit);
    }
    if !request.stop.is_empty() {
        inner.key("stopSequences").open_array();
        for stop in &request.stop {
            inner.element().string(stop);
        }
        inner.close_array();
    }
    if request.logprobs == Some(true) {
        inner.key("responseLogprobs").boolean(true);
        if let Some(count) = request.top_logprobs {
            inner.count_field("logprobs", count);
        }
    }
    if let Some(format) = &request.format {
        inner.field("responseMimeType", "application/json");
        if let Format::JsonSchema { schema, .. } = format {
            inner.key("responseJsonSchema").raw(schema.as_str());
        }
    }
    thinking_out::write(request, target, &mut inner);
    inner.close();
    if config.len() > 2 {
        out.key("generationConfig").buffer().extend_from_slice(&config);
    }
    Ok(())
}

fn sampling(
    request: &Request<'_>,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let sampling = &request.sampling;
    for (name, number) in [
        ("temperature", sampling.temperature),
        ("topP", sampling.top_p),
        ("topK", sampling.top_k),
        ("presencePenalty", sampling.presence_penalty),
        ("frequencyPenalty", sampling.frequency_penalty),
    ] {
        out.raw_if(name, number.map(Number::as_str));
    }
    if let Some(seed) = sampling.seed {
        if seed.as_str().parse::<i32>().is_ok() {
            out.key("seed").raw(seed.as_str());
        } else {
            losses.parameter_because("seed", "it has 32 bits here; send a smaller one")?;
        }
    }
    if sampling.logit_bias.as_ref().is_some_and(|bias| bias.as_str() != "{}") {
        losses.parameter("logit_bias")?;
    }
    if request.verbosity.is_some() {
        losses.parameter(request.name_of(Field::Verbosity))?;
    }
    one_answer(request, losses)
}

fn tools(request: &Request<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let allowed = |function: &Function<'_>| match &request.tool_choice {
        // Tools that may not be called need not be offered.
        Some(ToolChoice::Allowed { names, .. }) => names.contains(&function.name),
        _ => true,
    };
    let mut functions = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        match tool {
            Tool::Function(function) if allowed(function) => functions.push(function),
            Tool::Function(_) => {}
            Tool::Native { origin, .. } => return Err(losses.content(origin, PROVIDERS_TOOL)),
        }
    }
    if functions.is_empty() {
        return Ok(());
    }
    out.key("tools").open_array().element().open().key("functionDeclarations").open_array();
    for function in &functions {
        if function.cache.is_some() {
            losses.note(format_args!("{}.cache_control", function.origin));
        }
        out.element().open().field("name", &function.name);
        out.field_if("description", function.description.as_deref());
        let schema = function.parameters.as_ref().map(|schema| schema.as_str());
        out.raw_if("parametersJsonSchema", schema).close();
    }
    out.close_array().close().close_array();
    let strict = functions.iter().any(|function| function.strict == Some(true));
    calling(request.tool_choice.as_ref(), strict, out);
    if request.parallel_tool_calls == Some(false) {
        losses.parameter(request.name_of(Field::ParallelToolCalls))?;
    }
    Ok(())
}

/// Writes which tools are to be called. Arguments fit their schema where a call is asked for; where it is not, `VALIDATED` sees
/// to that.
fn calling(choice: Option<&ToolChoice<'_>>, strict: bool, out: &mut Writer<'_>) {
    let mode =
        match choice {
            None if !strict => return,
            None | Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => {
                if strict { "VALIDATED" } else { "AUTO" }
            }
            Some(ToolChoice::None) => "NONE",
            Some(
                ToolChoice::Required
                | ToolChoice::Function(_)
                | ToolChoice::Allowed { required: true, .. },
            ) => "ANY",
        };
    out.key("toolConfig").open().key("functionCallingConfig").open().field("mode", mode);
    if let Some(ToolChoice::Function(name)) = choice {
        out.key("allowedFunctionNames").open_array().element().string(name).close_array();
    }
    out.close().close();
}

fn others(request: &Request<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    match request.service_tier {
        // The standard is what it is anyway, and Vertex AI does not know the field.
        None | Some(ServiceTier::Auto | ServiceTier::Standard) => {}
        Some(ServiceTier::Flex) => _ = out.field("serviceTier", "flex"),
        Some(ServiceTier::Priority) => _ = out.field("serviceTier", "priority"),
        Some(ServiceTier::Scale | ServiceTier::Batch) => losses.parameter("service_tier")?,
    }
    harmless(request, losses);
    if request.cache.is_some() {
        losses.note("cache_control");
    }
    Ok(())
}

/// Notes what changes nothing about the answer.
pub(crate) fn harmless(request: &Request<'_>, losses: &mut Losses) {
    for (name, given) in [
        ("metadata", request.metadata.as_ref().is_some_and(|labels| labels.as_str() != "{}")),
        ("store", request.store == Some(true)),
        ("prompt_cache_key", request.prompt_cache_key.is_some()),
        (request.name_of(Field::EndUser), request.end_user.is_some()),
    ] {
        if given {
            losses.note(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn models_stay_within_their_segment() {
        assert_eq!(path("gemini-3-pro", false), "/models/gemini-3-pro:generateContent");
        let tuned = path("tunedModels/my-1", true);
        assert_eq!(tuned, "/tunedModels/my-1:streamGenerateContent?alt=sse");
        assert_eq!(path("../x?y#z", false), "/models/..%2Fx%3Fy%23z:generateContent");
    }
}
