//! Whose a model is: what a model takes beyond the common fields depends on it.

use crate::model::Maker;

/// Models by their maker, as far as it makes a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Claude.
    Anthropic,
    /// Amazon's Nova.
    Nova,
    /// OpenAI's models with open weights.
    OpenAi,
    /// Any other.
    Other,
}

impl Family {
    /// The family of a model, an inference profile or an ARN of either. Names of an account's own profiles tell nothing: they
    /// are taken for Claude, for which most are made.
    pub fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let has = |word: &str| model.contains(word);
        if has("anthropic") || has("claude") {
            Self::Anthropic
        } else if has("nova") {
            Self::Nova
        } else if has("openai") || has("gpt-oss") {
            Self::OpenAi
        } else if has("application-inference-profile/") {
            Self::Anthropic
        } else {
            Self::Other
        }
    }

    /// Whose its seals are.
    pub fn maker(self) -> Maker {
        if self == Self::Anthropic { Maker::Anthropic } else { Maker::Bedrock }
    }

    /// Whether it takes cache points.
    pub fn caches(self) -> bool {
        matches!(self, Self::Anthropic | Self::Nova)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_families() {
        for (model, family) in [
            ("anthropic.claude-sonnet-4-20250514-v1:0", Family::Anthropic),
            ("eu.anthropic.claude-sonnet-4-20250514-v1:0", Family::Anthropic),
            (
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc1",
                Family::Anthropic,
            ),
            ("us.amazon.nova-pro-v1:0", Family::Nova),
            ("openai.gpt-oss-120b-1:0", Family::OpenAi),
            ("us.meta.llama4-scout-17b-instruct-v1:0", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }
}
