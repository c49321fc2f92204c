//! What providers speak.

use sluicegate_chat::Dialect as Speech;

use crate::dialects::Dialect;

/// What a provider speaks, with the addresses and credentials that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderDialect {
    /// OpenAI's API and the many that copy it.
    OpenAi,
    /// Anthropic's API.
    Anthropic,
    /// OpenAI's API as Azure has it: deployments in the address.
    AzureOpenAi,
    /// Gemini's own API, `generateContent`.
    Gemini,
    /// Vertex AI: Gemini's API for Google's models, Anthropic's for Claude.
    Vertex,
    /// Amazon Bedrock: Converse.
    Bedrock,
}

impl ProviderDialect {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::OpenAi,
        Self::Anthropic,
        Self::AzureOpenAi,
        Self::Gemini,
        Self::Vertex,
        Self::Bedrock,
    ];

    /// The name used in configuration, metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::AzureOpenAi => "azure_openai",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Bedrock => "bedrock",
        }
    }

    /// What `model` is spoken to in.
    pub fn speech(self, model: &str) -> Speech {
        match self {
            Self::OpenAi | Self::AzureOpenAi => Speech::OpenAiChat,
            Self::Anthropic => Speech::Anthropic,
            Self::Vertex if is_claude(model) => Speech::Anthropic,
            Self::Gemini | Self::Vertex => Speech::Gemini,
            Self::Bedrock => Speech::Bedrock,
        }
    }

    /// The callers' dialect that `model` understands as it is.
    pub fn native(self, model: &str) -> Option<Dialect> {
        match self.speech(model) {
            Speech::OpenAiChat | Speech::OpenAiResponses => Some(Dialect::OpenAi),
            Speech::Anthropic => Some(Dialect::Anthropic),
            Speech::Gemini | Speech::Bedrock => None,
        }
    }
}

impl From<Dialect> for ProviderDialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAi => Self::OpenAi,
            Dialect::Anthropic => Self::Anthropic,
        }
    }
}

/// Whether a model's name at Vertex AI is one of Anthropic's.
/// <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude>
fn is_claude(model: &str) -> bool {
    model.starts_with("claude")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vertex_speaks_by_its_model() {
        let vertex = ProviderDialect::Vertex;
        assert_eq!(vertex.speech("claude-sonnet-4-5@20250929"), Speech::Anthropic);
        assert_eq!(vertex.native("claude-sonnet-4-5@20250929"), Some(Dialect::Anthropic));
        assert_eq!(vertex.speech("gemini-2.5-pro"), Speech::Gemini);
        assert_eq!(vertex.native("gemini-2.5-pro"), None);
    }

    #[test]
    fn names_differ() {
        let names = ProviderDialect::ALL.map(ProviderDialect::name);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
