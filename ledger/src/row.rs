//! What is written down of an attempt.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sluicegate_filters::Usage;
use uuid::Uuid;

/// An attempt that reached a provider. Times are milliseconds since the epoch, money is nano-USD.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row<'a> {
    /// `x-request-id`.
    pub request_id: Uuid,
    /// From 1 on. With the request's id, what a row is known by.
    pub attempt: u16,
    /// When the request began.
    pub begun_at: i64,
    /// When the attempt ended.
    pub ended_at: i64,
    /// The instance that served it.
    pub instance: Cow<'a, str>,
    /// How the caller was identified.
    pub caller: Cow<'a, str>,
    pub key: Option<Uuid>,
    pub user: Option<Cow<'a, str>>,
    pub team: Option<Cow<'a, str>>,
    pub organization: Option<Cow<'a, str>>,
    /// Whom the caller names as the one behind the request.
    pub end_user: Option<Cow<'a, str>>,
    pub tags: Vec<Cow<'a, str>>,
    /// Which API.
    pub endpoint: Cow<'a, str>,
    /// The model asked for.
    pub model: Cow<'a, str>,
    pub provider: Cow<'a, str>,
    /// The model's name there.
    pub provider_model: Cow<'a, str>,
    pub stream: bool,
    /// The provider's status, where it came to one.
    pub status: Option<u16>,
    /// How it ended, in a word.
    pub outcome: Cow<'a, str>,
    /// Tokens by kind.
    pub usage: Usage,
    /// Whether they are an estimate, for want of the provider's word.
    pub estimated: bool,
    /// What they cost. `None`: there is no price.
    pub cost: Option<u64>,
    /// Where the price is from.
    pub price_version: Option<Cow<'a, str>>,
    /// What was held.
    pub held_tokens: u64,
    pub held_cost: u64,
    /// From the attempt's beginning to its end.
    pub latency_ms: u64,
    /// From the request's beginning to the first content, of streams.
    pub first_token_ms: Option<u64>,
}

/// The longest text that is kept of a name, in bytes. Callers choose some of them.
const LONGEST: usize = 512;

/// A name as it is kept: cut if it is too long, and without NUL, which not every database holds.
pub fn name(text: &str) -> Cow<'_, str> {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_within_bounds() {
        assert_eq!(name("ann"), "ann");
        assert_eq!(name("a\0b"), "a\u{FFFD}b");
        assert_eq!(name(&"ä".repeat(300)).len(), 512);
        assert_eq!(name(&format!("x{}", "ä".repeat(300))).len(), 511);
    }
}
