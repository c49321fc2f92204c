//! Reading a request's body as strictly as the real providers do.

mod asked;
mod chat;
mod converse;
mod fields;
mod gemini;
mod json;
mod media;
mod messages;
mod openai;
mod responses;
mod schema;
mod shape;

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

pub(crate) use self::{
    asked::{Asked, Choice, Echo, Form, Tool},
    json::Json,
};
use crate::{
    Behaviour,
    errors::{Dialect, Refusal},
};

/// The endpoints that answer for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Messages,
    CountTokens,
    /// Gemini's `generateContent`, whole or as a stream.
    Gemini,
    /// Bedrock's Converse, whole or as a stream.
    Converse,
}

impl Endpoint {
    pub(crate) fn from_path(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completions,
            "/v1/responses" => Self::Responses,
            "/v1/embeddings" => Self::Embeddings,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            _ => return None,
        })
    }

    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Gemini => Dialect::Google,
            Self::Converse => Dialect::Bedrock,
            _ => Dialect::OpenAi,
        }
    }

    /// Whether it generates text.
    pub(crate) fn generates(self) -> bool {
        !matches!(self, Self::Embeddings | Self::CountTokens)
    }
}

/// What a valid request asks for.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// With its directives, if any.
    pub(crate) model: Cow<'a, str>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) max_tokens: Option<u64>,
    /// Choices (chat and legacy completions).
    pub(crate) choices: u32,
    /// Inputs (embeddings).
    pub(crate) inputs: usize,
    pub(crate) base64: bool,
    pub(crate) dimensions: Option<u32>,
    /// `user` or `metadata.user_id`, which may hold directives.
    pub(crate) user: Option<Cow<'a, str>>,
}

const MAX_CHOICES: u32 = 128;
const MAX_DIMENSIONS: u32 = 8192;
const MAX_INPUTS: usize = 2048;

/// Parses and checks `body`; `model` is the one that the path names.
pub(crate) fn parse<'a>(
    endpoint: Endpoint,
    model: Option<&'a str>,
    body: &'a [u8],
) -> Result<Call<'a>, Refusal> {
    let mut fields: Fields<'a> = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Refusal::bad_request(format!("Invalid request: {error}.")).code("invalid_type")
        } else {
            let message = format!("We could not parse the JSON body of your request: {error}.");
            Refusal::bad_request(message)
        }
    })?;
    fields.model = model.map(Cow::Borrowed).or(fields.model);
    let (model, stream) = (fields.model(endpoint)?, fields.stream(endpoint)?);
    let mut call = Call {
        model,
        stream,
        include_usage: fields.include_usage(stream)?,
        max_tokens: None,
        choices: 1,
        inputs: 0,
        base64: false,
        dimensions: None,
        user: fields.user.or(fields.metadata.and_then(|metadata| metadata.user_id)),
    };
    match endpoint {
        Endpoint::Chat => {
            openai_messages(fields.messages.as_deref())?;
            call.choices = choices(fields.n)?;
            call.max_tokens = fields.max_completion_tokens.or(fields.max_tokens);
        }
        Endpoint::Completions => {
            text_or_list(fields.prompt, "prompt")?;
            call.choices = choices(fields.n)?;
            call.max_tokens = fields.max_tokens;
        }
        Endpoint::Responses => {
            text_or_list(fields.input, "input")?;
            call.max_tokens = fields.max_output_tokens;
        }
        Endpoint::Embeddings => {
            text_or_list(fields.input, "input")?;
            call.inputs = fields.input.map_or(Ok(0), embedding_inputs)?;
            call.base64 = base64(fields.encoding_format.as_deref())?;
            call.dimensions = dimensions(fields.dimensions)?;
        }
        Endpoint::Messages => {
            anthropic_messages(fields.messages.as_deref())?;
            call.max_tokens = Some(fields.max_tokens.ok_or_else(|| required("max_tokens"))?);
        }
        Endpoint::CountTokens => anthropic_messages(fields.messages.as_deref())?,
        // Their models stand in their paths.
        Endpoint::Gemini | Endpoint::Converse => {}
    }
    if call.max_tokens == Some(0) {
        return Err(Refusal::bad_request("max_tokens: must be at least 1")
            .param("max_tokens")
            .code("integer_below_min_value"));
    }
    Ok(call)
}

/// Checks everything in `body` that [`parse`] has not looked at, and finds what it asks for beyond a text.
pub(crate) fn check<'a>(
    endpoint: Endpoint,
    body: &'a [u8],
    behaviour: &Behaviour,
) -> Result<Asked<'a>, Refusal> {
    if !matches!(
        endpoint,
        Endpoint::Chat | Endpoint::Responses | Endpoint::Messages | Endpoint::CountTokens
    ) {
        return Ok(Asked::default());
    }
    let checked = serde_json::from_slice::<Json<'a>>(body)
        .map_err(|error| Refusal::bad_request(format!("Invalid request: {error}.")))
        .and_then(|body| match endpoint {
            Endpoint::Chat => chat::check(&body, behaviour),
            Endpoint::Responses => responses::check(&body),
            _ => messages::check(&body, endpoint == Endpoint::CountTokens),
        });
    match checked {
        Err(_) if !behaviour.strict => Ok(Asked::default()),
        checked => checked,
    }
}

/// A call whose model, and whether it is a stream, stand in its path.
pub(crate) fn parse_routed<'a>(
    endpoint: Endpoint,
    model: &'a str,
    stream: bool,
    body: &'a [u8],
) -> Result<(Call<'a>, Asked<'a>), Refusal> {
    let body: Json<'a> = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("Invalid JSON payload received. {error}")))?;
    let (max_tokens, asked) = match endpoint {
        Endpoint::Gemini => gemini::check(&body)?,
        Endpoint::Converse => converse::check(&body)?,
        _ => vertex_messages(body, stream)?,
    };
    let call = Call {
        model: Cow::Borrowed(model),
        stream,
        include_usage: true,
        max_tokens,
        choices: 1,
        inputs: 0,
        base64: false,
        dimensions: None,
        user: None,
    };
    Ok((call, asked))
}

/// Anthropic's body as Vertex AI takes it: the version within, the model without.
fn vertex_messages<'a>(
    mut body: Json<'a>,
    stream: bool,
) -> Result<(Option<u64>, Asked<'a>), Refusal> {
    const VERSION: &str = "vertex-2023-10-16";
    if body.text_of("anthropic_version") != Some(VERSION) {
        return Err(Refusal::bad_request(format!("anthropic_version: must be \"{VERSION}\"")));
    }
    if body.get("model").is_some() {
        return Err(Refusal::bad_request("model: Extra inputs are not permitted"));
    }
    if body.get("stream").and_then(Json::as_bool).unwrap_or(false) != stream {
        return Err(Refusal::bad_request("stream: does not fit the method"));
    }
    if let Json::Object(members) = &mut body {
        members.retain(|(key, _)| key != "anthropic_version");
    }
    let limit = body.get("max_tokens").ok_or_else(|| required("max_tokens"))?.as_u64();
    let limit = limit.filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Refusal::bad_request("max_tokens: must be at least 1"))?;
    Ok((Some(limit), messages::check(&body, false)?))
}

/// Every field that any endpoint looks at. A duplicate of one of them is an error.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u32>,
    #[serde(borrow, default)]
    encoding_format: Option<Cow<'a, str>>,
    dimensions: Option<u32>,
    #[serde(borrow, default)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    content: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    fn model(&self, endpoint: Endpoint) -> Result<Cow<'a, str>, Refusal> {
        match (&self.model, endpoint.dialect()) {
            (Some(model), _) if !model.trim().is_empty() => Ok(model.clone()),
            (_, Dialect::OpenAi | Dialect::Azure) => {
                Err(Refusal::bad_request("you must provide a model parameter").param("model"))
            }
            _ => Err(required("model")),
        }
    }

    fn stream(&self, endpoint: Endpoint) -> Result<bool, Refusal> {
        if self.stream.is_some() && !endpoint.generates() {
            return Err(Refusal::bad_request("Unknown parameter: 'stream'.")
                .param("stream")
                .code("unknown_parameter"));
        }
        Ok(self.stream.unwrap_or(false))
    }

    fn include_usage(&self, stream: bool) -> Result<bool, Refusal> {
        match &self.stream_options {
            Some(_) if !stream => Err(Refusal::bad_request(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            )
            .param("stream_options")),
            options => {
                Ok(options.as_ref().and_then(|options| options.include_usage).unwrap_or(false))
            }
        }
    }
}

fn openai_messages(messages: Option<&[Message<'_>]>) -> Result<(), Refusal> {
    const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];
    let messages = messages.ok_or_else(|| missing("messages"))?;
    if messages.is_empty() {
        return Err(Refusal::bad_request(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got \
             an empty array instead.",
        )
        .param("messages")
        .code("empty_array"));
    }
    match messages.iter().find(|message| !ROLES.contains(&message.role())) {
        Some(message) => Err(Refusal::bad_request(format!(
            "Invalid value: '{}'. Supported values are: 'system', 'assistant', 'user', \
             'function', 'tool', and 'developer'.",
            message.role()
        ))
        .param("messages")
        .code("invalid_value")),
        None => Ok(()),
    }
}

fn anthropic_messages(messages: Option<&[Message<'_>]>) -> Result<(), Refusal> {
    let messages = messages.ok_or_else(|| required("messages"))?;
    if messages.is_empty() {
        return Err(Refusal::bad_request("messages: at least one message is required"));
    }
    for (index, message) in messages.iter().enumerate() {
        if !["user", "assistant"].contains(&message.role()) {
            return Err(Refusal::bad_request(format!(
                "messages.{index}.role: Input should be 'user' or 'assistant'"
            )));
        }
        if message.content.is_none() {
            return Err(Refusal::bad_request(format!("messages.{index}.content: Field required")));
        }
    }
    Ok(())
}

impl Message<'_> {
    fn role(&self) -> &str {
        self.role.as_deref().unwrap_or("")
    }
}

fn text_or_list(value: Option<&RawValue>, name: &'static str) -> Result<(), Refusal> {
    match value.map(|value| value.get().as_bytes()) {
        None => Err(missing(name)),
        Some([b'"' | b'[', ..]) => Ok(()),
        Some(_) => {
            let message = format!("Invalid type for '{name}': expected a string or an array.");
            Err(Refusal::bad_request(message).param(name).code("invalid_type"))
        }
    }
}

/// One text, one list of token numbers, or a list of either.
fn embedding_inputs(input: &RawValue) -> Result<usize, Refusal> {
    let invalid = || {
        Refusal::bad_request("'$.input' is invalid. Please check the API reference.").param("input")
    };
    if input.get().starts_with('"') {
        return Ok(1);
    }
    let items: Vec<&RawValue> = serde_json::from_str(input.get()).map_err(|_| invalid())?;
    match items.first().map(|item| item.get().as_bytes()) {
        Some([b'0'..=b'9', ..]) => Ok(1),
        Some([b'"' | b'[', ..]) if items.len() <= MAX_INPUTS => Ok(items.len()),
        _ => Err(invalid()),
    }
}

fn base64(format: Option<&str>) -> Result<bool, Refusal> {
    match format {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => Err(Refusal::bad_request("Invalid value for 'encoding_format'.")
            .param("encoding_format")
            .code("invalid_value")),
    }
}

fn choices(n: Option<u32>) -> Result<u32, Refusal> {
    match n.unwrap_or(1) {
        n @ 1..=MAX_CHOICES => Ok(n),
        _ => Err(Refusal::bad_request("Invalid 'n': expected a value between 1 and 128.")
            .param("n")
            .code("invalid_value")),
    }
}

fn dimensions(dimensions: Option<u32>) -> Result<Option<u32>, Refusal> {
    match dimensions {
        None | Some(1..=MAX_DIMENSIONS) => Ok(dimensions),
        Some(_) => Err(Refusal::bad_request("Invalid value for 'dimensions'.").param("dimensions")),
    }
}

/// OpenAI's words.
fn missing(name: &'static str) -> Refusal {
    Refusal::bad_request(format!("Missing required parameter: '{name}'."))
        .param(name)
        .code("missing_required_parameter")
}

/// Anthropic's words.
fn required(name: &'static str) -> Refusal {
    Refusal::bad_request(format!("{name}: Field required"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_read() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"n":2}"#;
        let call = parse(Endpoint::Chat, None, body).unwrap();
        assert_eq!((call.model.as_ref(), call.choices, call.stream), ("m", 2, false));
    }

    #[test]
    fn embedding_inputs_are_counted() {
        for (input, inputs) in
            [(r#""a""#, 1), (r#"["a","b"]"#, 2), ("[1,2,3]", 1), ("[[1],[2,3]]", 2)]
        {
            let body = format!(r#"{{"model":"m","input":{input}}}"#);
            assert_eq!(parse(Endpoint::Embeddings, None, body.as_bytes()).unwrap().inputs, inputs);
        }
        for input in ["[]", "[null]", "{}", "7"] {
            let body = format!(r#"{{"model":"m","input":{input}}}"#);
            assert!(parse(Endpoint::Embeddings, None, body.as_bytes()).is_err(), "{input}");
        }
    }

    #[test]
    fn the_wrong_type_and_a_duplicate_are_refused() {
        for body in [
            r#"{"model":7,"input":"a"}"#,
            r#"{"model":"a","model":"b","input":"a"}"#,
            r#"{"model":"a","mod\u0065l":"b","input":"a"}"#,
            r#"{"model":"a","input":"a"}x"#,
            r#"["model"]"#,
            "",
        ] {
            assert!(parse(Endpoint::Responses, None, body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(Endpoint::Messages, None, &body);
            let _ = parse(Endpoint::Embeddings, None, &body);
        }
    }
}
