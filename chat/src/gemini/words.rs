//! Reads finish reasons and service tiers.

use crate::{Broken, Finish, model::ServiceTier};

/// Reads a finish reason. `None`: it tells none.
///
/// Reasons come in three kinds: the model ended, content was withheld, or the answer failed. A word that we do not know is
/// taken for a failure, as nearly all that were added over time are.
pub fn finish(word: &str) -> Result<Option<Finish>, Broken> {
    Ok(Some(match word {
        "" | "FINISH_REASON_UNSPECIFIED" => return Ok(None),
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Finish::ContentFilter,
        "MALFORMED_FUNCTION_CALL" => {
            return Err(Broken::Malformed("the model's call of a tool is not valid"));
        }
        "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => {
            return Err(Broken::Malformed("the model calls tools that it may not"));
        }
        _ => return Err(Broken::Malformed("the provider says that it broke off")),
    }))
}

/// Whether a prompt was refused for this reason.
pub fn is_blocked(word: &str) -> bool {
    !matches!(word, "" | "BLOCK_REASON_UNSPECIFIED" | "BLOCKED_REASON_UNSPECIFIED")
}

/// Reads the tier of an answer, in the Gemini API's words or in Vertex AI's.
pub fn tier(word: &str) -> Option<ServiceTier> {
    Some(match word {
        "standard" | "STANDARD" | "ON_DEMAND" => ServiceTier::Standard,
        "flex" | "FLEX" | "ON_DEMAND_FLEX" => ServiceTier::Flex,
        "priority" | "PRIORITY" | "ON_DEMAND_PRIORITY" => ServiceTier::Priority,
        _ => return None,
    })
}
