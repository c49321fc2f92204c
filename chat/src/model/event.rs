//! An answer in pieces.
//!
//! The order is: one [`Event::Start`]; then blocks, one after the other, each with a start, deltas and an
//! end; then [`Event::Finish`]; [`Event::Usage`] at any time, each replacing the one before; and last
//! [`Event::End`] or [`Event::Fault`]. Decoders keep this order whatever the upstream does, or report the
//! stream as broken; encoders rely on it.

use std::borrow::Cow;

use super::{Annotation, Fault, Finish, Seal, ServiceTier, Usage};
use crate::json::Raw;

/// One step of an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<'a> {
    /// The answer begins. Always the first.
    Start {
        /// The provider's name for the answer.
        id: Option<Cow<'a, str>>,
        /// The model that the provider says it is.
        model: Option<Cow<'a, str>>,
        /// When, in seconds since 1970.
        created: Option<u64>,
    },
    /// A block begins. Blocks do not overlap, so deltas belong to the last one that began.
    BlockStart(Block<'a>),
    /// More of the open block.
    Delta(Delta<'a>),
    /// The open block is complete.
    BlockEnd,
    /// How fast the answer is served.
    Tier(ServiceTier),
    /// What was consumed up to now.
    Usage(Usage),
    /// Why the answer ends. Once, after the last block.
    Finish {
        /// Why.
        reason: Finish,
        /// The stop sequence that ended it.
        stop_sequence: Option<Cow<'a, str>>,
    },
    /// The provider is alive.
    Ping,
    /// The proper end. Nothing follows.
    End,
    /// The provider broke off with an error of its own. Nothing follows.
    Fault(Fault),
}

/// What begins.
#[derive(Clone, PartialEq, Debug)]
pub enum Block<'a> {
    /// Words.
    Text,
    /// Words with which the model refuses.
    Refusal,
    /// Reasoning.
    Thought {
        /// The provider's name for it: a reasoning item's `id` in OpenAI's responses.
        id: Option<Cow<'a, str>>,
    },
    /// Reasoning of which nothing is readable. It has no deltas.
    Redacted(Seal<'a>),
    /// A call of a tool. Its deltas are the arguments' text; none at all means the empty object.
    ToolCall {
        /// The identifier that the result refers to.
        id: Cow<'a, str>,
        /// The tool's name.
        name: Cow<'a, str>,
        /// What the provider sealed beside it: see [`Part::seal`](super::Part::seal).
        seal: Option<Cow<'a, str>>,
    },
}

/// More of a block.
#[derive(Clone, PartialEq, Debug)]
pub enum Delta<'a> {
    /// Of a text or a refusal.
    Text(Cow<'a, str>),
    /// Of a thought's text.
    Thought(Cow<'a, str>),
    /// A thought's seal. Once, after its text.
    Seal(Seal<'a>),
    /// A piece of the text of a call's arguments, cut anywhere.
    Arguments(Cow<'a, str>),
    /// What the text is based on.
    Annotation(Annotation<'a>),
    /// Log probabilities of tokens: a list in the form that OpenAI's dialects share.
    Logprobs(Raw<'a>),
}
