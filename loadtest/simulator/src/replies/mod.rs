//! What the answers look like on the wire, for each endpoint.

mod anthropic;
mod azure;
pub(crate) mod bedrock;
mod embeddings;
mod gemini;
mod openai;
mod parts;
mod responses;

use bytes::Bytes;

use crate::{
    Behaviour, LineEnding,
    entry::Tokens,
    play::Script,
    request::{Asked, Call, Endpoint},
    route::Cloud,
};

pub(crate) use self::parts::{Said, reasoning_tokens};

/// Everything that an answer is made of.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) cloud: Cloud,
    pub(crate) call: &'a Call<'a>,
    pub(crate) asked: &'a Asked<'a>,
    /// What it says, if more than a text of some length.
    pub(crate) said: Option<Said>,
    pub(crate) behaviour: &'a Behaviour,
    /// JSON-quoted, without directives.
    pub(crate) model: String,
    /// Makes every answer's identifiers its own.
    pub(crate) serial: u64,
    /// Unix time in seconds.
    pub(crate) created: u64,
    pub(crate) tokens: Tokens,
    /// The request's output limit cut the text.
    pub(crate) limited: bool,
}

impl Reply<'_> {
    /// The body of an answer that is not a stream.
    pub(crate) fn whole(&self, endpoint: Endpoint) -> Bytes {
        let body = self.plain_whole(endpoint);
        match endpoint {
            Endpoint::Chat | Endpoint::Completions if self.cloud == Cloud::Azure => {
                Bytes::from(azure::whole(&body))
            }
            _ => Bytes::from(body),
        }
    }

    fn plain_whole(&self, endpoint: Endpoint) -> String {
        if let Some(said) = &self.said {
            return said.whole(self, endpoint);
        }
        match endpoint {
            Endpoint::Chat => openai::chat(self),
            Endpoint::Completions => openai::completion(self),
            Endpoint::Responses => responses::response(self),
            Endpoint::Embeddings => embeddings::embeddings(self),
            Endpoint::Messages => anthropic::message(self),
            Endpoint::CountTokens => anthropic::count(self),
            Endpoint::Gemini => gemini::response(self),
            Endpoint::Converse => bedrock::response(self),
        }
    }

    /// The events of a stream.
    pub(crate) fn script(&self, endpoint: Endpoint) -> Script {
        let script = self.plain_script(endpoint);
        match endpoint {
            Endpoint::Chat if self.cloud == Cloud::Azure => {
                azure::script(self, script, "chat.completion.chunk")
            }
            Endpoint::Completions if self.cloud == Cloud::Azure => {
                azure::script(self, script, "text_completion")
            }
            _ => script,
        }
    }

    fn plain_script(&self, endpoint: Endpoint) -> Script {
        if let Some(said) = &self.said {
            return said.script(self, endpoint);
        }
        match endpoint {
            Endpoint::Completions => openai::completion_stream(self),
            Endpoint::Responses => responses::stream(self),
            Endpoint::Messages => anthropic::stream(self),
            Endpoint::Gemini => gemini::stream(self),
            Endpoint::Converse => bedrock::stream(self),
            Endpoint::Chat | Endpoint::Embeddings | Endpoint::CountTokens => {
                openai::chat_stream(self)
            }
        }
    }

    /// The text of one token, as it stands inside a JSON string.
    fn token_text(&self) -> String {
        let quoted = json_string(&token_text(self.behaviour));
        quoted[1..quoted.len() - 1].to_owned()
    }

    /// The text of one choice, as it stands inside a JSON string.
    fn text(&self) -> String {
        self.token_text().repeat((self.tokens.content / u64::from(self.call.choices)) as usize)
    }

    fn event(&self, name: Option<&str>, data: &str) -> Bytes {
        event(self.behaviour.line_ending, name, data)
    }
}

/// The text of one token.
fn token_text(behaviour: &Behaviour) -> String {
    let bytes = behaviour.token_text_bytes as usize;
    if behaviour.unicode {
        return UNICODE.chars().cycle().take(bytes.div_ceil(2)).collect();
    }
    ASCII.chars().cycle().take(bytes).collect()
}

/// No character that JSON would escape.
const ASCII: &str = "token stream gateway window ledger ";

/// Two, three and four bytes long characters, and what JSON has to escape.
const UNICODE: &str = "é\"日\\\n𝄞ß\t😀";

/// `text` with quotes, escaped.
pub(crate) fn json_string(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

/// One server-sent event.
fn event(ending: LineEnding, name: Option<&str>, data: &str) -> Bytes {
    let eol = ending.as_str();
    Bytes::from(match name {
        Some(name) => format!("event: {name}{eol}data: {data}{eol}{eol}"),
        None => format!("data: {data}{eol}{eol}"),
    })
}
