//! The names of the dialects.

/// What a client may speak.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientDialect {
    /// OpenAI's chat completions.
    OpenAiChat,
    /// OpenAI's responses.
    OpenAiResponses,
    /// Anthropic's messages.
    Anthropic,
}

impl ClientDialect {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic];
}

/// What an upstream may speak.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// OpenAI's chat completions, and the many that copy them.
    OpenAiChat,
    /// OpenAI's responses.
    OpenAiResponses,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
    /// Bedrock's Converse.
    Bedrock,
}

impl Dialect {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic, Self::Gemini, Self::Bedrock];

    /// The name used in configuration, metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
        }
    }

    /// The name used in sentences.
    pub fn title(self) -> &'static str {
        match self {
            Self::OpenAiChat => "OpenAI's chat completions",
            Self::OpenAiResponses => "OpenAI's responses",
            Self::Anthropic => "Anthropic's messages",
            Self::Gemini => "Gemini",
            Self::Bedrock => "Bedrock's Converse",
        }
    }
}

impl From<ClientDialect> for Dialect {
    fn from(dialect: ClientDialect) -> Self {
        match dialect {
            ClientDialect::OpenAiChat => Self::OpenAiChat,
            ClientDialect::OpenAiResponses => Self::OpenAiResponses,
            ClientDialect::Anthropic => Self::Anthropic,
        }
    }
}
