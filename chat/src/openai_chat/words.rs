//! Finish reasons and service tiers, both ways.

use crate::{
    Broken, Finish, Refusal,
    json::{Path, Reader},
    model::ServiceTier,
};

/// Reads a finish reason. A word that we do not know is taken for a plain stop; the words with which some
/// providers say that they broke off are no end at all.
pub fn finish(word: &str) -> Result<Finish, Broken> {
    Ok(match word {
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        "error" | "insufficient_system_resource" => {
            return Err(Broken::Malformed("the provider says that it broke off"));
        }
        _ => Finish::Stop,
    })
}

/// The word for a finish reason.
pub fn finish_word(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Pause => "stop",
        Finish::Length | Finish::ContextWindow => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
    }
}

/// Reads a service tier.
pub fn tier(word: &str) -> Option<ServiceTier> {
    Some(match word {
        "auto" => ServiceTier::Auto,
        "default" => ServiceTier::Standard,
        "flex" => ServiceTier::Flex,
        "scale" => ServiceTier::Scale,
        // Two words for one tier.
        "priority" | "fast" => ServiceTier::Priority,
        _ => return None,
    })
}

/// Reads a service tier.
pub fn service_tier(at: &Path<'_>, reader: &mut Reader<'_>) -> Result<ServiceTier, Refusal> {
    let expected = "`auto`, `default`, `flex`, `scale`, `priority` or `fast`";
    tier(&at.string(reader)?).ok_or_else(|| at.invalid(expected))
}

/// The word for a service tier.
pub fn tier_word(tier: ServiceTier) -> &'static str {
    match tier {
        ServiceTier::Auto => "auto",
        ServiceTier::Standard | ServiceTier::Batch => "default",
        ServiceTier::Flex => "flex",
        ServiceTier::Scale => "scale",
        ServiceTier::Priority => "priority",
    }
}
