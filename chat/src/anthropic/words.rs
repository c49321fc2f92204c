//! Stop reasons and service tiers, both ways.

use crate::{Finish, model::ServiceTier};

/// Reads a stop reason. A word that we do not know is taken for a plain end of the turn.
pub fn finish(word: &str) -> Finish {
    match word {
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextWindow,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Refusal,
        "pause_turn" => Finish::Pause,
        _ => Finish::Stop,
    }
}

/// The word for a stop reason. `refused`: the model refused in words.
pub fn finish_word(finish: Finish, refused: bool) -> &'static str {
    match finish {
        Finish::Stop if refused => "refusal",
        Finish::Stop => "end_turn",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ContextWindow => "model_context_window_exceeded",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter | Finish::Refusal => "refusal",
        Finish::Pause => "pause_turn",
    }
}

/// Reads the tier of an answer.
pub fn tier(word: &str) -> Option<ServiceTier> {
    Some(match word {
        "standard" => ServiceTier::Standard,
        "priority" => ServiceTier::Priority,
        "batch" => ServiceTier::Batch,
        _ => return None,
    })
}

/// The word for the tier of an answer.
pub fn tier_word(tier: ServiceTier) -> &'static str {
    match tier {
        ServiceTier::Priority => "priority",
        ServiceTier::Batch => "batch",
        ServiceTier::Auto | ServiceTier::Standard | ServiceTier::Flex | ServiceTier::Scale => {
            "standard"
        }
    }
}
