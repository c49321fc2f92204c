//! A request for one answer.

use std::borrow::Cow;

use super::{
    CacheHint, Field, Format, Origin, Part, Reasoning, ServiceTier, Tool, ToolChoice, part::Content,
};
use crate::{
    ClientDialect, Dialect,
    json::{Number, Raw},
};

/// What a client asks for.
///
/// Everything that the client said is here: in a field of its own where more than one dialect has the
/// idea, otherwise in [`extras`](Self::extras), so that no encoder can lose it unseen.
#[derive(Clone, PartialEq, Debug)]
pub struct Request<'a> {
    /// The dialect that the client wrote in. It decides how fields are called in refusals.
    pub dialect: ClientDialect,
    /// The model's name as the client wrote it. Encoders write the target's name instead.
    pub model: Cow<'a, str>,
    /// Whether the answer is to come in pieces.
    pub stream: bool,
    /// Whether the client asked for usage in a chat completions stream.
    pub include_usage: bool,
    /// Instructions and turns, in order. See [`Message`] for the form they have.
    pub messages: Vec<Message<'a>>,
    /// Tools that the model may call.
    pub tools: Vec<Tool<'a>>,
    /// Whether and which tools are to be called.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether several tools may be called in one turn.
    pub parallel_tool_calls: Option<bool>,
    /// The most tokens to generate, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// How tokens are drawn.
    pub sampling: Sampling<'a>,
    /// Texts that end the answer.
    pub stop: Vec<Cow<'a, str>>,
    /// Whether log probabilities are wanted.
    pub logprobs: Option<bool>,
    /// How many alternatives each token's log probabilities are to have.
    pub top_logprobs: Option<u64>,
    /// The form that the answer has to have. `None`: text.
    pub format: Option<Format<'a>>,
    /// How much to reason, and what of it to show.
    pub reasoning: Reasoning,
    /// How fast, and at what price.
    pub service_tier: Option<ServiceTier>,
    /// How wordy the answer is to be: `low`, `medium`, `high`.
    pub verbosity: Option<Cow<'a, str>>,
    /// The client's name for its end user.
    pub end_user: Option<Cow<'a, str>>,
    /// Labels for the client's own use, an object of strings.
    pub metadata: Option<Raw<'a>>,
    /// Whether the provider is to keep the answer.
    pub store: Option<bool>,
    /// The key by which OpenAI routes to the cache of similar prompts.
    pub prompt_cache_key: Option<Cow<'a, str>>,
    /// A cache hint for the request as a whole.
    pub cache: Option<CacheHint>,
    /// What has no field above, by its place in the client's request.
    pub extras: Vec<Extra<'a>>,
}

impl<'a> Request<'a> {
    /// A request without anything but a model's name.
    pub fn new(dialect: ClientDialect, model: impl Into<Cow<'a, str>>) -> Self {
        Self {
            dialect,
            model: model.into(),
            stream: false,
            include_usage: false,
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            max_output_tokens: None,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: None,
            top_logprobs: None,
            format: None,
            reasoning: Reasoning::default(),
            service_tier: None,
            verbosity: None,
            end_user: None,
            metadata: None,
            store: None,
            prompt_cache_key: None,
            cache: None,
            extras: Vec::new(),
        }
    }

    /// How the client calls a field.
    pub fn name_of(&self, field: Field) -> &'static str {
        field.name(self.dialect)
    }
}

/// One turn, or one instruction.
///
/// Canonical form: results of tools are [`Content::ToolResult`] parts of a [`Role::User`] message, calls
/// are [`Content::ToolCall`] parts of a [`Role::Assistant`] message. Encoders split and merge as their
/// dialect wants: neighbours of the same role may be merged, since every dialect takes them as one turn.
#[derive(Clone, PartialEq, Debug)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part<'a>>,
    /// A participant's name, in OpenAI's chat completions.
    pub name: Option<Cow<'a, str>>,
    /// Where it stood.
    pub origin: Origin,
}

impl<'a> Message<'a> {
    /// A message without a name.
    pub fn new(role: Role, parts: Vec<Part<'a>>, origin: Origin) -> Self {
        Self { role, parts, name: None, origin }
    }

    /// Whether it consists of tools' results and nothing else.
    pub fn is_results(&self) -> bool {
        !self.parts.is_empty()
            && self.parts.iter().all(|part| matches!(part.content, Content::ToolResult(_)))
    }
}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Instructions: OpenAI's `system`, Anthropic's and others' top-level field.
    System,
    /// Instructions under the newer name of OpenAI's reasoning models.
    Developer,
    /// The client's side, results of tools included.
    User,
    /// The model.
    Assistant,
}

/// How tokens are drawn. Numbers are kept as they were written.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Sampling<'a> {
    /// Flattens or sharpens the distribution.
    pub temperature: Option<Number<'a>>,
    /// Keeps the most probable tokens up to this mass.
    pub top_p: Option<Number<'a>>,
    /// Keeps this many of the most probable tokens.
    pub top_k: Option<Number<'a>>,
    /// Asks for the same answer to the same request.
    pub seed: Option<Number<'a>>,
    /// Discourages tokens by how often they occurred.
    pub frequency_penalty: Option<Number<'a>>,
    /// Discourages tokens that occurred.
    pub presence_penalty: Option<Number<'a>>,
    /// Biases by token, an object.
    pub logit_bias: Option<Raw<'a>>,
    /// How many answers. More than one is refused by all encoders: an answer in pieces of several
    /// answers has no counterpart outside of chat completions.
    pub n: Option<u64>,
}

/// Something in a request that the model has no field for.
#[derive(Clone, PartialEq, Debug)]
pub struct Extra<'a> {
    /// Its place in the client's request, such as `prediction` or `messages[2].audio`.
    pub path: String,
    /// Its value.
    pub value: Raw<'a>,
    /// The dialect that knows it; `None` for a field that we do not know at all.
    pub dialect: Option<Dialect>,
}
