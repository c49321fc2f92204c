//! An answer that is one document.

use std::borrow::Cow;

use super::{Part, ServiceTier, Usage};
use crate::json::Raw;

/// What an upstream answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply<'a> {
    /// The provider's name for the answer. It is kept over dialects. `None`: it told none.
    pub id: Option<Cow<'a, str>>,
    /// The model that the provider says it is.
    pub model: Option<Cow<'a, str>>,
    /// When it was made, in seconds since 1970, where the provider tells.
    pub created: Option<u64>,
    /// What the model said, in order.
    pub parts: Vec<Part<'a>>,
    /// Why it ended.
    pub finish: Finish,
    /// The stop sequence that ended it, where the provider tells.
    pub stop_sequence: Option<Cow<'a, str>>,
    /// What it consumed, where the provider tells.
    pub usage: Option<Usage>,
    /// How fast it was served, where the provider tells.
    pub service_tier: Option<ServiceTier>,
    /// Log probabilities of the text: the list of tokens that OpenAI's dialects share.
    pub logprobs: Option<Raw<'a>>,
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// The model ended its turn.
    Stop,
    /// It wrote a stop sequence. OpenAI's dialects do not tell this from [`Stop`](Self::Stop).
    StopSequence,
    /// The token limit was reached.
    Length,
    /// The context window was full.
    ContextWindow,
    /// The model asks for tools to be run.
    ToolCalls,
    /// The provider withheld content.
    ContentFilter,
    /// The model, or a classifier beside it, refused.
    Refusal,
    /// Anthropic's `pause_turn`: the provider's tools take long, and the client may send the turn again.
    Pause,
}
