//! Writes what only some models take: reasoning and `top_k`.
//!
//! Sources: "Anthropic Claude models", "Amazon Nova models" and "OpenAI models" of Amazon Bedrock's user guide,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>.

use super::family::Family;
use crate::{
    Refusal, Target,
    anthropic::reasoning_out::{self, Thinks},
    json::{Number, Writer},
    model::{Display, Effort, Field, Request, Thinking},
    refusal::Losses,
};

/// How a model is asked to reason.
pub enum Reasons {
    /// In Anthropic's words.
    Anthropic(Thinks),
    /// With an effort, which may be none.
    Effort(Effort),
    /// Not at all.
    Unasked,
}

impl Reasons {
    /// Decides how a model is asked to reason.
    pub fn decide(
        request: &Request<'_>,
        target: &Target<'_>,
        family: Family,
        losses: &mut Losses,
    ) -> Result<Self, Refusal> {
        if family == Family::Anthropic {
            let limit = request.max_output_tokens.unwrap_or(u64::MAX);
            return Ok(Self::Anthropic(reasoning_out::decide(request, target, limit, losses)?));
        }
        let reasoning = request.reasoning;
        if matches!(reasoning.display, Some(display) if display != Display::Omitted) {
            losses.note(request.name_of(Field::Display));
        }
        let (effort, field) = match (reasoning.thinking, reasoning.effort) {
            (Some(Thinking::Off), _) => (Effort::None, Field::Thinking),
            (_, Some(effort)) => (effort, Field::Effort),
            (Some(Thinking::Budget(tokens)), None) => (Effort::of_budget(tokens), Field::Thinking),
            // As much as the model thinks fit is what it does anyway.
            (Some(Thinking::Adaptive) | None, None) => return Ok(Self::Unasked),
        };
        let can = match family {
            Family::Anthropic | Family::Nova => true,
            Family::OpenAi => effort != Effort::None,
            // Without is what it is anyway.
            Family::Other if effort == Effort::None => return Ok(Self::Unasked),
            Family::Other => false,
        };
        if can {
            return Ok(Self::Effort(effort));
        }
        losses.parameter(request.name_of(field))?;
        Ok(Self::Unasked)
    }

    /// The effort that has a field for all models.
    pub fn common_effort(&self) -> Option<Effort> {
        match self {
            Self::Anthropic(thinks) => thinks.effort,
            Self::Effort(_) | Self::Unasked => None,
        }
    }

    /// Whether the model is asked to reason.
    pub fn is_on(&self) -> bool {
        match self {
            Self::Anthropic(thinks) => thinks.is_on(),
            Self::Effort(effort) => *effort != Effort::None,
            Self::Unasked => false,
        }
    }

    /// Whether Claude is asked to think by a client that knows nothing of what goes not with it.
    pub fn is_claudes(&self) -> bool {
        matches!(self, Self::Anthropic(thinks) if thinks.is_translated_on())
    }
}

/// Writes the field `additionalModelRequestFields`, if there are any.
pub fn write(
    request: &Request<'_>,
    family: Family,
    reasons: &Reasons,
    losses: &mut Losses,
    out: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let mut fields = Vec::new();
    let mut inner = Writer::new(&mut fields);
    inner.open();
    match reasons {
        Reasons::Anthropic(thinks) => thinks.write(&mut inner),
        Reasons::Effort(effort) if family == Family::Nova => nova(*effort, &mut inner),
        Reasons::Effort(effort) => _ = inner.field("reasoning_effort", three(*effort)),
        Reasons::Unasked => {}
    }
    if let Some(top_k) = request.sampling.top_k.map(Number::as_str) {
        match family {
            Family::Anthropic if reasons.is_claudes() => {
                losses.parameter_because("top_k", "not with reasoning; leave it out")?;
            }
            Family::Anthropic => _ = inner.key("top_k").raw(top_k),
            Family::Nova => _ = inner.key("inferenceConfig").open().key("topK").raw(top_k).close(),
            Family::OpenAi | Family::Other => losses.parameter("top_k")?,
        }
    }
    inner.close();
    if fields.len() > 2 {
        out.key("additionalModelRequestFields").buffer().extend_from_slice(&fields);
    }
    Ok(())
}

fn nova(effort: Effort, out: &mut Writer<'_>) {
    out.key("reasoningConfig").open();
    if effort == Effort::None {
        out.field("type", "disabled");
    } else {
        out.field("type", "enabled").field("maxReasoningEffort", three(effort));
    }
    out.close();
}

/// The nearest of three efforts.
fn three(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    }
}
