//! Why a model stopped, in one vocabulary.

use serde::Serialize;

/// Why generation ended, reduced to what metrics and logs distinguish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn, or met a stop sequence.
    Stop,
    /// The token limit or the context window was reached.
    Length,
    /// The model asks for tools to be run.
    ToolCalls,
    /// The provider withheld or refused content.
    ContentFilter,
    /// A word that we do not know.
    Other,
}

impl FinishReason {
    /// Reads a provider's word.
    ///
    /// Sources: `finish_reason` of OpenAI's chat completions, `stop_reason` of Anthropic's
    /// messages, and `incomplete_details.reason` of OpenAI's responses.
    pub fn from_word(word: &str) -> Self {
        match word {
            "stop" | "end_turn" | "stop_sequence" | "completed" => Self::Stop,
            "length" | "max_tokens" | "max_output_tokens" | "model_context_window_exceeded" => {
                Self::Length
            }
            "tool_calls" | "function_call" | "tool_use" => Self::ToolCalls,
            "content_filter" | "refusal" => Self::ContentFilter,
            _ => Self::Other,
        }
    }

    /// The name used in metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other => "other",
        }
    }
}
