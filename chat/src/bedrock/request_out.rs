//! Writes a request for an upstream.

use super::{
    extra_out::{self, Reasons},
    family::Family,
    tools_out, turns_out,
};
use crate::{
    Dialect, Encoded, Expect, OnLoss, Refusal, Target,
    aws::sigv4::encode_segment,
    gemini::request_out::harmless,
    json::{Number, Writer},
    model::{Effort, Field, Format, Maker, Request, ServiceTier},
    openai_chat::request_out::one_answer,
    refusal::Losses,
};

/// Writes a request for an upstream.
pub fn encode_request(
    request: &Request<'_>,
    target: &Target<'_>,
    on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    let mut losses = Losses::new(Dialect::Bedrock, on_loss);
    let family = Family::of(target.model);
    let mut body = Vec::with_capacity(1_024);
    let mut out = Writer::new(&mut body);
    out.open();
    turns_out::write(request, target, family, &mut losses, &mut out)?;
    let reasons = Reasons::decide(request, target, family, &mut losses)?;
    inference_config(request, &reasons, &mut losses, &mut out)?;
    let form = Form::of(request, target, &reasons, &mut losses)?;
    tools_out::write(request, family, &form, reasons.is_claudes(), &mut losses, &mut out)?;
    extra_out::write(request, family, &reasons, &mut losses, &mut out)?;
    // Claude tells which of them ended the answer, but only where it is asked.
    if family == Family::Anthropic && !request.stop.is_empty() {
        out.key("additionalModelResponseFieldPaths").raw(r#"["/stop_sequence"]"#);
    }
    output_config(reasons.common_effort(), &form, &mut out);
    others(request, &mut losses, &mut out)?;
    losses.extras(&request.extras, |extra| {
        out.any_key(&extra.path).raw(extra.value.as_str());
    })?;
    out.close();
    let answer_tool = matches!(form, Form::Tool(_)).then_some(Expect::ANSWER_TOOL);
    Ok(Encoded {
        body: body.into(),
        path: path(target.model, request.stream).into(),
        headers: Vec::new(),
        dropped: losses.into_dropped(),
        expect: Expect { answer_tool, foreign_seals: family.maker() != Maker::Anthropic },
    })
}

fn path(model: &str, stream: bool) -> String {
    let operation = if stream { "converse-stream" } else { "converse" };
    format!("/model/{}/{operation}", encode_segment(model))
}

/// How the form of the answer is asked for.
pub enum Form<'r> {
    /// Not at all.
    Free,
    /// By a format.
    Schema(&'r Format<'r>),
    /// By a tool that has to be called, whose arguments are the answer.
    Tool(&'r str),
}

impl<'r> Form<'r> {
    fn of(
        request: &'r Request<'_>,
        target: &Target<'_>,
        reasons: &Reasons,
        losses: &mut Losses,
    ) -> Result<Self, Refusal> {
        let schema = match &request.format {
            None => return Ok(Self::Free),
            Some(format @ Format::JsonSchema { .. }) if target.capabilities.structured_output => {
                return Ok(Self::Schema(format));
            }
            Some(Format::JsonSchema { schema, .. }) => schema.as_str(),
            // There is no form for any JSON.
            Some(Format::JsonObject) => r#"{"type":"object","additionalProperties":true}"#,
        };
        // A tool that has to be called keeps the model from calling others, and from thinking.
        if !request.tools.is_empty() || reasons.is_on() {
            losses.parameter_because(
                request.name_of(Field::Format),
                "with tools or reasoning, send a schema to a model that takes one, or ask for JSON in words",
            )?;
            return Ok(Self::Free);
        }
        Ok(Self::Tool(schema))
    }
}

fn inference_config(
    request: &Request<'_>,
    reasons: &Reasons,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let mut config = Vec::new();
    let mut inner = Writer::new(&mut config);
    inner.open();
    if let Some(limit) = request.max_output_tokens {
        inner.count_field("maxTokens", limit);
    }
    let sampling = &request.sampling;
    if let Some(temperature) = sampling.temperature {
        let value = temperature.as_f64();
        if value > 1.0 {
            losses.parameter_because("temperature", "it ends at 1 here; send a lower one")?;
        } else if reasons.is_claudes() && value != 1.0 {
            losses
                .parameter_because("temperature", "with reasoning it is always 1; leave it out")?;
        } else {
            inner.key("temperature").raw(temperature.as_str());
        }
    }
    if let Some(top_p) = sampling.top_p {
        if reasons.is_claudes() && top_p.as_f64() < 0.95 {
            losses.parameter_because("top_p", "with reasoning it begins at 0.95; leave it out")?;
        } else {
            inner.key("topP").raw(top_p.as_str());
        }
    }
    if !request.stop.is_empty() {
        inner.key("stopSequences").open_array();
        for stop in &request.stop {
            inner.element().string(stop);
        }
        inner.close_array();
    }
    inner.close();
    if config.len() > 2 {
        out.key("inferenceConfig").buffer().extend_from_slice(&config);
    }
    unsaid(request, losses)
}

/// What there is no field for.
fn unsaid(request: &Request<'_>, losses: &mut Losses) -> Result<(), Refusal> {
    let sampling = &request.sampling;
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

fn output_config(effort: Option<Effort>, form: &Form<'_>, out: &mut Writer<'_>) {
    let format = match form {
        Form::Schema(Format::JsonSchema { name, description, schema, .. }) => {
            Some((name, description, schema))
        }
        _ => None,
    };
    if effort.is_none() && format.is_none() {
        return;
    }
    out.key("outputConfig").open();
    if let Some((name, description, schema)) = format {
        out.key("textFormat").open().field("type", "json_schema").key("structure").open();
        // The schema is text here.
        out.key("jsonSchema").open().field("schema", schema.as_str());
        out.field_if("name", name.as_deref());
        out.field_if("description", description.as_deref()).close().close().close();
    }
    out.field_if("effort", effort.map(Effort::word)).close();
}

fn others(request: &Request<'_>, losses: &mut Losses, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let tier = match request.service_tier {
        None | Some(ServiceTier::Auto) => None,
        Some(ServiceTier::Standard) => Some("default"),
        Some(ServiceTier::Flex) => Some("flex"),
        Some(ServiceTier::Priority) => Some("priority"),
        Some(ServiceTier::Scale | ServiceTier::Batch) => {
            losses.parameter("service_tier")?;
            None
        }
    };
    if let Some(tier) = tier {
        out.key("serviceTier").open().field("type", tier).close();
    }
    harmless(request, losses);
    if request.cache.is_some() {
        losses.note("cache_control");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn models_stay_within_their_segment() {
        let model = "anthropic.claude-sonnet-4-20250514-v1:0";
        let expected = "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/converse";
        assert_eq!(path(model, false), expected);
        let arn =
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0";
        let path = path(arn, true);
        assert_eq!(path.matches('/').count(), 3, "{path}");
        assert!(path.ends_with("%2Fus.amazon.nova-pro-v1%3A0/converse-stream"), "{path}");
    }
}
