//! Reads stop reasons and service tiers.

use crate::{Broken, Finish, model::ServiceTier};

/// Reads a stop reason. A word that we do not know is taken for a plain end of the turn.
pub fn finish(word: &str) -> Result<Finish, Broken> {
    Ok(match word {
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextWindow,
        "tool_use" => Finish::ToolCalls,
        "guardrail_intervened" | "content_filtered" => Finish::ContentFilter,
        "refusal" => Finish::Refusal,
        "malformed_tool_use" => {
            return Err(Broken::Malformed("the model's call of a tool is not valid"));
        }
        "malformed_model_output" => {
            return Err(Broken::Malformed("the model's output is not valid"));
        }
        _ => Finish::Stop,
    })
}

/// Reads the tier of an answer.
pub fn tier(word: &str) -> Option<ServiceTier> {
    Some(match word {
        "default" => ServiceTier::Standard,
        "flex" => ServiceTier::Flex,
        "priority" => ServiceTier::Priority,
        "reserved" => ServiceTier::Scale,
        _ => return None,
    })
}
