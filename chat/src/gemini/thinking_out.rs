//! Writes how much to think.
//!
//! Models from Gemini 3 on think by a level and can not be kept from it altogether, older ones by a budget. A level that says
//! the same is written for a budget, and the other way round. `HIGH` is the highest level that all models have.

use crate::{
    ClientDialect, Target,
    json::Writer,
    model::{Display, Effort, Request, Thinking},
};

/// Writes the field `thinkingConfig`, if the client says anything about it.
pub fn write(request: &Request<'_>, target: &Target<'_>, out: &mut Writer<'_>) {
    let reasoning = request.reasoning;
    let amount = if target.capabilities.thinking_levels {
        level(reasoning.thinking, reasoning.effort).map(Amount::Level)
    } else {
        budget(reasoning.thinking, reasoning.effort).map(Amount::Budget)
    };
    let thoughts = shows_thoughts(request);
    if amount.is_none() && !thoughts {
        return;
    }
    out.key("thinkingConfig").open();
    match amount {
        Some(Amount::Level(level)) => _ = out.field("thinkingLevel", level),
        Some(Amount::Budget(Some(tokens))) => _ = out.count_field("thinkingBudget", tokens),
        // As many as the model thinks fit.
        Some(Amount::Budget(None)) => _ = out.key("thinkingBudget").raw("-1"),
        None => {}
    }
    if thoughts {
        out.key("includeThoughts").boolean(true);
    }
    out.close();
}

enum Amount {
    Level(&'static str),
    Budget(Option<u64>),
}

fn level(thinking: Option<Thinking>, effort: Option<Effort>) -> Option<&'static str> {
    let effort = match (thinking, effort) {
        (Some(Thinking::Off), _) => Effort::None,
        (_, Some(effort)) => effort,
        (Some(Thinking::Budget(tokens)), None) => Effort::of_budget(tokens),
        // As much as the model thinks fit is what it does anyway.
        (Some(Thinking::Adaptive) | None, None) => return None,
    };
    Some(match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::XHigh | Effort::Max => "HIGH",
    })
}

/// `Some(None)`: as many tokens as the model thinks fit.
fn budget(thinking: Option<Thinking>, effort: Option<Effort>) -> Option<Option<u64>> {
    match (thinking, effort) {
        (Some(Thinking::Off), _) => Some(Some(0)),
        (Some(Thinking::Budget(tokens)), _) => Some(Some(tokens)),
        (_, Some(effort)) => Some(Some(effort.budget().unwrap_or(0))),
        (Some(Thinking::Adaptive), None) => Some(None),
        (None, None) => None,
    }
}

/// Whether thoughts are to be shown. Who asks for reasoning is shown it, as Anthropic's clients expect, unless the dialect asks
/// for that by a field of its own.
fn shows_thoughts(request: &Request<'_>) -> bool {
    let reasoning = request.reasoning;
    match reasoning.display {
        Some(Display::Omitted) => false,
        Some(Display::Auto | Display::Concise | Display::Detailed) => true,
        None if request.dialect == ClientDialect::OpenAiResponses => false,
        None => match (reasoning.thinking, reasoning.effort) {
            (Some(Thinking::Off), _) | (None, None | Some(Effort::None)) => false,
            (Some(Thinking::Adaptive | Thinking::Budget(_)), _) | (None, Some(_)) => true,
        },
    }
}
