//! What a translation needs to know, and its steps for everything that is one document.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    Broken, ClientDialect, Dialect, Refusal, anthropic, bedrock, gemini,
    model::{Fault, Reply, Request},
    openai_chat, openai_responses,
};

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The model's name at the upstream.
    pub model: &'t str,
    /// The most tokens to generate where the client sets no limit and the dialect has to have one.
    pub default_max_output: u64,
    /// What the upstream's model can.
    pub capabilities: Capabilities,
    /// Anthropic: the API's version, which stands in the body where the address names the model, as at Vertex AI.
    pub version_in_body: Option<&'static str>,
}

impl<'t> Target<'t> {
    /// A target with common capabilities.
    pub fn new(model: &'t str) -> Self {
        Self {
            model,
            default_max_output: 4_096,
            capabilities: Capabilities::default(),
            version_in_body: None,
        }
    }
}

/// What an upstream's model can. The defaults fit the present models of the dialect's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Anthropic and Bedrock: thinking without a budget, `adaptive`, with an effort.
    pub adaptive_thinking: bool,
    /// Anthropic and Bedrock: answers that fit a schema. Otherwise a tool stands in for it.
    pub structured_output: bool,
    /// OpenAI's chat completions: the limit is called `max_completion_tokens`. Otherwise `max_tokens`, as with
    /// most of the providers that copy it.
    pub max_completion_tokens: bool,
    /// OpenAI's chat completions: instructions may be of the role `developer`. Otherwise `system`.
    pub developer_role: bool,
    /// Anthropic: instructions may stand among the turns, under the role `system`.
    pub mid_conversation_system: bool,
    /// OpenAI's dialects: reasoning can be switched off by the effort `none`.
    pub effort_none: bool,
    /// OpenAI's chat completions: the provider takes `reasoning_content` of earlier turns back, as DeepSeek and others do.
    pub reasoning_content: bool,
    /// Gemini: thinking is told by a level, and calls of tools have to come back with their seals, as from Gemini 3 on.
    /// Otherwise thinking is told by a budget.
    pub thinking_levels: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            adaptive_thinking: true,
            structured_output: true,
            max_completion_tokens: true,
            developer_role: true,
            mid_conversation_system: false,
            effort_none: false,
            reasoning_content: false,
            thinking_levels: true,
        }
    }
}

/// What to do with a parameter that the upstream's dialect can not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnLoss {
    /// Refuse the request.
    #[default]
    Refuse,
    /// Leave the parameter out, and list it. Content is refused all the same.
    DropParameters,
}

/// A request in the upstream's dialect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// The body, to be sent as `application/json`.
    pub body: Bytes,
    /// What to append to the provider's base URL, as is the vendor's custom; it may depend on the model and on whether
    /// the answer is to come in pieces.
    pub path: Cow<'static, str>,
    /// Headers that the request needs beyond its credential.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// What was left out.
    pub dropped: Vec<Dropped>,
    /// What reading the answer depends on.
    pub expect: Expect,
}

/// Something that was left out of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Its place in the client's request.
    pub field: String,
}

/// What reading an answer depends on: how the request was written.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Expect {
    /// A call of this tool is the answer: it stands in for structured output.
    pub(crate) answer_tool: Option<&'static str>,
    /// Bedrock: the model is none of Anthropic's, so neither are its seals.
    pub(crate) foreign_seals: bool,
}

impl Expect {
    /// The name of the tool that stands in for structured output.
    pub(crate) const ANSWER_TOOL: &'static str = "json_answer";

    /// For a request in which a tool stands in for structured output.
    pub fn of_answer_tool() -> Self {
        Self { answer_tool: Some(Self::ANSWER_TOOL), ..Self::default() }
    }
}

/// What writing an answer depends on: what the client asked, and what a pure function can not know.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The answer's identifier where the provider tells none.
    pub id: String,
    /// The time in seconds since 1970 where the provider tells none.
    pub created: u64,
    /// The model to name. `None`: the one that the provider says it is, else [`asked_model`](Self::asked_model).
    pub model: Option<String>,
    /// The model that the client asked for.
    pub asked_model: String,
    /// Whether the client asked for usage in a chat completions stream.
    pub include_usage: bool,
    /// Members to add to the usage of an answer that is one document, such as its cost: JSON members without braces, on one
    /// line.
    pub usage_members: String,
    /// Members of the answer that repeat the request, as OpenAI's responses have them: JSON members without
    /// braces.
    pub echo: String,
}

impl Envelope {
    /// For the answer to `request`.
    pub fn new(request: &Request<'_>, id: impl Into<String>, created: u64) -> Self {
        let echo = match request.dialect {
            ClientDialect::OpenAiResponses => openai_responses::echo(request),
            ClientDialect::OpenAiChat | ClientDialect::Anthropic => String::new(),
        };
        Self {
            id: id.into(),
            created,
            model: None,
            asked_model: request.model.clone().into_owned(),
            include_usage: request.include_usage,
            usage_members: String::new(),
            echo,
        }
    }

    /// The answer's identifier: the one that the provider tells, else ours.
    pub fn id<'s>(&'s self, told: Option<&'s str>) -> &'s str {
        told.filter(|id| !id.is_empty()).unwrap_or(&self.id)
    }

    /// The model to name.
    pub fn model<'s>(&'s self, told: Option<&'s str>) -> &'s str {
        let told = told.filter(|model| !model.is_empty());
        self.model.as_deref().or(told).unwrap_or(&self.asked_model)
    }
}

/// Reads a client's request.
pub fn decode_request(dialect: ClientDialect, body: &[u8]) -> Result<Request<'_>, Refusal> {
    match dialect {
        ClientDialect::OpenAiChat => openai_chat::decode_request(body),
        ClientDialect::OpenAiResponses => openai_responses::decode_request(body),
        ClientDialect::Anthropic => anthropic::decode_request(body),
    }
}

/// Writes a request for an upstream.
pub fn encode_request(
    dialect: Dialect,
    request: &Request<'_>,
    target: &Target<'_>,
    on_loss: OnLoss,
) -> Result<Encoded, Refusal> {
    match dialect {
        Dialect::OpenAiChat => openai_chat::encode_request(request, target, on_loss),
        Dialect::OpenAiResponses => openai_responses::encode_request(request, target, on_loss),
        Dialect::Anthropic => anthropic::encode_request(request, target, on_loss),
        Dialect::Gemini => gemini::encode_request(request, target, on_loss),
        Dialect::Bedrock => bedrock::encode_request(request, target, on_loss),
    }
}

/// Reads an upstream's answer that is one document.
///
/// Fields that we do not know are passed over: providers add to their answers at any time.
pub fn decode_reply<'a>(
    dialect: Dialect,
    expect: &Expect,
    body: &'a [u8],
) -> Result<Reply<'a>, Broken> {
    match dialect {
        Dialect::OpenAiChat => openai_chat::decode_reply(expect, body),
        Dialect::OpenAiResponses => openai_responses::decode_reply(expect, body),
        Dialect::Anthropic => anthropic::decode_reply(expect, body),
        Dialect::Gemini => gemini::decode_reply(expect, body),
        Dialect::Bedrock => bedrock::decode_reply(expect, body),
    }
}

/// Writes an answer that is one document for a client, to be sent as `application/json`.
pub fn encode_reply(
    dialect: ClientDialect,
    envelope: &Envelope,
    reply: &Reply<'_>,
    out: &mut Vec<u8>,
) {
    match dialect {
        ClientDialect::OpenAiChat => openai_chat::encode_reply(envelope, reply, out),
        ClientDialect::OpenAiResponses => openai_responses::encode_reply(envelope, reply, out),
        ClientDialect::Anthropic => anthropic::encode_reply(envelope, reply, out),
    }
}

/// Reads an upstream's error answer. Whatever the body is, there is a fault: the status alone tells one.
pub fn decode_fault(dialect: Dialect, status: u16, body: &[u8]) -> Fault {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => openai_chat::decode_fault(status, body),
        Dialect::Anthropic => anthropic::decode_fault(status, body),
        Dialect::Gemini => gemini::decode_fault(status, body),
        Dialect::Bedrock => bedrock::decode_fault(status, body),
    }
}

/// Writes an error answer for a client, to be sent as `application/json` with [`FaultKind::status`] of its kind.
///
/// [`FaultKind::status`]: crate::FaultKind::status
pub fn encode_fault(dialect: ClientDialect, fault: &Fault, request_id: &str, out: &mut Vec<u8>) {
    match dialect {
        ClientDialect::OpenAiChat | ClientDialect::OpenAiResponses => {
            openai_chat::encode_fault(fault, out);
        }
        ClientDialect::Anthropic => anthropic::encode_fault(fault, request_id, out),
    }
}
