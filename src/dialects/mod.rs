//! Wire formats of the model providers.
//!
//! Everything here is pure: bytes in, bytes and facts out. No socket, no clock, no task.
//!
//! | module | what it does |
//! |---|---|
//! | [`peek`] | reads the few fields of a request body that decisions need |
//! | [`json`] | goes through plain JSON once, strictly |
//! | [`rewrite`] | swaps the model's name in a body without touching other bytes |
//! | [`observe`] | watches an answer's stream: usage, end, faults |
//! | [`body_usage`] | finds the usage in an answer that is one JSON document |
//! | [`error`] | writes errors in the caller's dialect |
//! | [`models`] | writes lists of models in the caller's dialect |

pub mod body_usage;
pub mod error;
mod inspect;
pub mod json;
pub mod models;
pub mod observe;
mod oversized;
pub mod peek;
mod plain;
pub mod rewrite;
mod scan;
mod tokens;

/// A family of request and answer shapes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// OpenAI's API and the many that copy it.
    OpenAi,
    /// Anthropic's API.
    Anthropic,
}

impl Dialect {
    /// The name used in configuration, metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// An inference endpoint that callers may use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Endpoint {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// OpenAI's older text completions.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's token counting.
    CountTokens,
}

impl Endpoint {
    /// Every endpoint, for tables and for metrics that start at zero.
    pub const ALL: [Self; 6] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::Messages,
        Self::CountTokens,
    ];

    /// The endpoint of a request path. The match is exact: no other case, no trailing slash.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// The path on which callers reach this endpoint.
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
        }
    }

    /// What to append to a provider's base URL.
    ///
    /// By each vendor's custom, an OpenAI base URL ends in `/v1` and Anthropic's does not.
    pub fn upstream_suffix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
        }
    }

    /// The dialect that this endpoint speaks.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Embeddings => {
                Dialect::OpenAi
            }
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
        }
    }

    /// Whether an answer may be an event stream.
    pub fn can_stream(self) -> bool {
        !matches!(self, Self::Embeddings | Self::CountTokens)
    }

    /// Whether streamed usage has to be asked for, by `stream_options.include_usage`.
    pub fn asks_for_usage(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// The name used in metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_back_to_their_endpoint() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::from_path(endpoint.path()), Some(endpoint));
            assert!(endpoint.path().ends_with(endpoint.upstream_suffix()));
        }
    }

    #[test]
    fn near_paths_are_not_endpoints() {
        for path in [
            "",
            "/",
            "/v1/messages/",
            "/v1/Messages",
            "/chat/completions",
            "/v1/chat/completions?x=1",
        ] {
            assert_eq!(Endpoint::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn only_answers_with_text_stream() {
        let streaming: Vec<_> = Endpoint::ALL.into_iter().filter(|e| e.can_stream()).collect();
        assert_eq!(
            streaming,
            [
                Endpoint::ChatCompletions,
                Endpoint::Completions,
                Endpoint::Responses,
                Endpoint::Messages
            ]
        );
    }
}
