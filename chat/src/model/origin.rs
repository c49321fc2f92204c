//! Where in the client's request something stood.

use std::fmt;

use crate::ClientDialect;

/// The place of a message or a part in the client's request, such as `messages[2].content[0]`.
///
/// It is small, so that every part can have one, and becomes text only in a refusal. Two origins are always equal:
/// where a thing stood is no part of what it is.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    list: &'static str,
    index: u32,
    inner: &'static str,
    item: u32,
}

const NO_INDEX: u32 = u32::MAX;

impl Origin {
    /// Of something that stood nowhere.
    pub const NONE: Self = Self::field("");

    /// A field of the request, such as `system`.
    pub const fn field(name: &'static str) -> Self {
        Self { list: name, index: NO_INDEX, inner: "", item: NO_INDEX }
    }

    /// An element of a list in the request, such as `messages[2]`.
    pub fn element(list: &'static str, index: usize) -> Self {
        Self { list, index: clamp(index), inner: "", item: NO_INDEX }
    }

    /// A field of this element, such as `messages[2].content`.
    #[must_use]
    pub const fn inner(self, name: &'static str) -> Self {
        Self { inner: name, item: NO_INDEX, ..self }
    }

    /// An element of a list in this element, such as `messages[2].content[0]`.
    #[must_use]
    pub fn item(self, name: &'static str, index: usize) -> Self {
        Self { inner: name, item: clamp(index), ..self }
    }
}

fn clamp(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NO_INDEX)
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.list)?;
        if self.index != NO_INDEX {
            write!(f, "[{}]", self.index)?;
        }
        if !self.inner.is_empty() {
            write!(f, ".{}", self.inner)?;
        }
        if self.item != NO_INDEX {
            write!(f, "[{}]", self.item)?;
        }
        Ok(())
    }
}

/// A parameter that dialects call differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// [`Request::max_output_tokens`](super::Request::max_output_tokens).
    MaxOutputTokens,
    /// [`Request::stop`](super::Request::stop).
    Stop,
    /// [`Request::format`](super::Request::format).
    Format,
    /// [`Reasoning::effort`](super::Reasoning::effort).
    Effort,
    /// [`Reasoning::thinking`](super::Reasoning::thinking).
    Thinking,
    /// [`Reasoning::display`](super::Reasoning::display).
    Display,
    /// [`Request::end_user`](super::Request::end_user).
    EndUser,
    /// [`Request::parallel_tool_calls`](super::Request::parallel_tool_calls).
    ParallelToolCalls,
    /// [`Request::verbosity`](super::Request::verbosity).
    Verbosity,
    /// [`Request::logprobs`](super::Request::logprobs).
    Logprobs,
}

impl Field {
    /// What clients of a dialect call it.
    pub fn name(self, dialect: ClientDialect) -> &'static str {
        use ClientDialect::{Anthropic, OpenAiChat, OpenAiResponses};
        match (self, dialect) {
            (Self::MaxOutputTokens, OpenAiChat) => "max_completion_tokens",
            (Self::MaxOutputTokens, OpenAiResponses) => "max_output_tokens",
            (Self::MaxOutputTokens, Anthropic) => "max_tokens",
            (Self::Stop, Anthropic) => "stop_sequences",
            (Self::Stop, _) => "stop",
            (Self::Format, OpenAiChat) => "response_format",
            (Self::Format, OpenAiResponses) => "text.format",
            (Self::Format, Anthropic) => "output_config.format",
            (Self::Effort, OpenAiChat) => "reasoning_effort",
            (Self::Effort, OpenAiResponses) => "reasoning.effort",
            (Self::Effort, Anthropic) => "output_config.effort",
            (Self::Thinking, _) => "thinking",
            (Self::Display, OpenAiResponses) => "reasoning.summary",
            (Self::Display, _) => "thinking.display",
            (Self::EndUser, Anthropic) => "metadata.user_id",
            (Self::EndUser, _) => "user",
            (Self::ParallelToolCalls, Anthropic) => "tool_choice.disable_parallel_tool_use",
            (Self::ParallelToolCalls, _) => "parallel_tool_calls",
            (Self::Verbosity, OpenAiResponses) => "text.verbosity",
            (Self::Verbosity, _) => "verbosity",
            (Self::Logprobs, OpenAiResponses) => "include",
            (Self::Logprobs, _) => "logprobs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_like_paths() {
        let message = Origin::element("messages", 2);
        assert_eq!(message.to_string(), "messages[2]");
        assert_eq!(message.item("content", 0).to_string(), "messages[2].content[0]");
        assert_eq!(message.inner("name").to_string(), "messages[2].name");
        assert_eq!(Origin::field("system").to_string(), "system");
        assert_eq!(Origin::field("system").item("", 1).to_string(), "system[1]");
    }
}
