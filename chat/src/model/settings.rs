//! Settings that more than one dialect has, each in its own words.

use std::borrow::Cow;

use crate::json::Raw;

/// How much to reason, and what of it to show.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Reasoning {
    /// Whether to reason, where the client says so: Anthropic's and Bedrock's `thinking`.
    pub thinking: Option<Thinking>,
    /// How hard to try.
    pub effort: Option<Effort>,
    /// What of it to show.
    pub display: Option<Display>,
}

/// Whether to reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thinking {
    /// Not at all.
    Off,
    /// As much as the model thinks fit.
    Adaptive,
    /// With at most this many tokens.
    Budget(u64),
}

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effort {
    /// Without reasoning.
    None,
    /// The least.
    Minimal,
    /// Little.
    Low,
    /// The default of most models.
    Medium,
    /// Much.
    High,
    /// More.
    XHigh,
    /// Without constraint.
    Max,
}

impl Effort {
    const WORDS: [(Self, &'static str); 7] = [
        (Self::None, "none"),
        (Self::Minimal, "minimal"),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::XHigh, "xhigh"),
        (Self::Max, "max"),
    ];

    /// Reads OpenAI's or Anthropic's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(_, known)| *known == word).map(|(effort, _)| effort)
    }

    /// OpenAI's and Anthropic's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// A budget of reasoning tokens for upstreams that want a number; `None` for no reasoning.
    ///
    /// No provider documents such numbers, so they are ours: powers of two from the least that
    /// Anthropic takes to about what its models use at most.
    pub fn budget(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Minimal => Some(1_024),
            Self::Low => Some(2_048),
            Self::Medium => Some(8_192),
            Self::High => Some(16_384),
            Self::XHigh => Some(32_768),
            Self::Max => Some(65_536),
        }
    }

    /// The effort whose budget is nearest from above: the inverse of [`budget`](Self::budget).
    pub fn of_budget(tokens: u64) -> Self {
        [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh]
            .into_iter()
            .find(|effort| effort.budget().is_some_and(|budget| tokens <= budget))
            .unwrap_or(Self::Max)
    }
}

/// What of the reasoning to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Display {
    /// Nothing.
    Omitted,
    /// What the provider thinks fit: Anthropic's `summarized`, OpenAI's `auto`.
    Auto,
    /// A short summary, in OpenAI's responses.
    Concise,
    /// A long summary, in OpenAI's responses.
    Detailed,
}

/// The form that the answer has to have.
#[derive(Clone, PartialEq, Debug)]
pub enum Format<'a> {
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// A name for the schema, in OpenAI's dialects.
        name: Option<Cow<'a, str>>,
        /// What it is for.
        description: Option<Cow<'a, str>>,
        /// The schema.
        schema: Raw<'a>,
        /// Whether the answer has to fit exactly. Anthropic's always has to.
        strict: Option<bool>,
    },
}

/// How fast a request is served, and at what price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceTier {
    /// As the account is set up.
    Auto,
    /// The standard: OpenAI's `default`, Anthropic's `standard_only` in a request and `standard` in a reply.
    Standard,
    /// Slower and cheaper.
    Flex,
    /// OpenAI's `scale`.
    Scale,
    /// Faster and dearer.
    Priority,
    /// Anthropic's `batch`, in replies.
    Batch,
}

/// The prompt up to here is worth caching.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheHint {
    /// For how long; `None`: the provider's default.
    pub life: Option<CacheLife>,
}

/// How long a cached prompt lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheLife {
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    OneHour,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_budgets_lead_back() {
        for (effort, word) in Effort::WORDS {
            assert_eq!(Effort::from_word(word), Some(effort));
            assert_eq!(effort.word(), word);
            if let Some(budget) = effort.budget() {
                assert_eq!(Effort::of_budget(budget), effort);
            }
        }
        assert_eq!(Effort::of_budget(u64::MAX), Effort::Max);
    }
}
