//! Answers of several parts: thoughts, texts that say something, calls of tools.

mod chat;
mod converse;
mod fill;
mod gemini;
mod messages;
mod responses;

use super::{Reply, json_string, token_text};
use crate::{
    Behaviour,
    play::{Script, Step},
    request::{Asked, Choice, Endpoint, Form},
    seals,
};

/// What an answer says, where that is more than a text of some length.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    parts: Vec<Part>,
    /// The request's output limit cut it.
    pub(crate) limited: bool,
}

/// The pieces are what streams send one by one: a token each.
#[derive(Clone, Debug)]
enum Part {
    Thought { pieces: Vec<String>, seal: Option<String> },
    Text(Vec<String>),
    Call { name: String, pieces: Vec<String> },
}

/// Reasoning tokens where nobody says how many.
const THOUGHTS: u32 = 4;
/// More are not written out, however many are reported.
const MOST_THOUGHTS: u32 = 64;
/// More tokens of text are not kept one by one.
const MOST_TOKENS: u32 = 65_536;

/// How many tokens go into reasoning.
pub(crate) fn reasoning_tokens(
    endpoint: Endpoint,
    asked: &Asked<'_>,
    behaviour: &Behaviour,
) -> u32 {
    let told = behaviour.reasoning_tokens;
    let unasked = match endpoint {
        Endpoint::Messages | Endpoint::Converse => 0,
        Endpoint::Chat if behaviour.reasoning_content => told.max(THOUGHTS),
        Endpoint::Chat | Endpoint::Completions | Endpoint::Responses | Endpoint::Gemini => told,
        Endpoint::Embeddings | Endpoint::CountTokens => return 0,
    };
    match asked.reasoning {
        Some(_) if told == 0 => THOUGHTS,
        Some(_) => told,
        None => unasked,
    }
}

impl Said {
    /// `None`: a text of some length, and nothing else.
    pub(crate) fn new(
        endpoint: Endpoint,
        asked: &Asked<'_>,
        behaviour: &Behaviour,
        limit: u64,
        serial: u64,
    ) -> Option<Self> {
        if !endpoint.generates() {
            return None;
        }
        let thought = thought(endpoint, asked, behaviour, serial);
        let content = content(asked, behaviour);
        if thought.is_none() && content.is_none() {
            return None;
        }
        let content = content.unwrap_or_else(|| {
            let tokens = behaviour.tokens.min(MOST_TOKENS) as usize;
            vec![Part::Text(vec![token_text(behaviour); tokens])]
        });
        let mut said = Self { parts: thought.into_iter().collect(), limited: false };
        let mut left = limit;
        for mut part in content {
            let size = part.pieces().len() as u64;
            if size > left {
                said.limited = true;
                // Half a call would be none.
                let Part::Text(pieces) = &mut part else { break };
                pieces.truncate(left as usize);
            }
            left -= size.min(left);
            said.parts.push(part);
        }
        Some(said)
    }

    /// Tokens with text, without reasoning.
    pub(crate) fn content_tokens(&self) -> u64 {
        let content = self.parts.iter().filter(|part| !matches!(part, Part::Thought { .. }));
        content.map(|part| part.pieces().len() as u64).sum()
    }

    pub(crate) fn whole(&self, reply: &Reply<'_>, endpoint: Endpoint) -> String {
        match endpoint {
            Endpoint::Responses => responses::response(reply, self),
            Endpoint::Messages => messages::message(reply, self),
            Endpoint::Gemini => gemini::response(reply, self),
            Endpoint::Converse => converse::response(reply, self),
            _ => chat::completion(reply, self),
        }
    }

    pub(crate) fn script(&self, reply: &Reply<'_>, endpoint: Endpoint) -> Script {
        match endpoint {
            Endpoint::Responses => responses::stream(reply, self),
            Endpoint::Messages => messages::stream(reply, self),
            Endpoint::Gemini => gemini::stream(reply, self),
            Endpoint::Converse => converse::stream(reply, self),
            _ => chat::stream(reply, self),
        }
    }

    fn has_calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Call { .. }))
    }
}

impl Part {
    fn pieces(&self) -> &[String] {
        match self {
            Self::Thought { pieces, .. } | Self::Text(pieces) | Self::Call { pieces, .. } => pieces,
        }
    }

    /// The whole text, unquoted.
    fn text(&self) -> String {
        self.pieces().concat()
    }
}

fn thought(
    endpoint: Endpoint,
    asked: &Asked<'_>,
    behaviour: &Behaviour,
    serial: u64,
) -> Option<Part> {
    let tokens = reasoning_tokens(endpoint, asked, behaviour).min(MOST_THOUGHTS);
    let pieces = || vec!["thought ".to_owned(); tokens as usize];
    match (endpoint, asked.reasoning) {
        (Endpoint::Chat, _) if behaviour.reasoning_content => {
            Some(Part::Thought { pieces: pieces(), seal: None })
        }
        (Endpoint::Messages, Some(wanted)) => {
            let pieces = if wanted.shown { pieces() } else { Vec::new() };
            let seal = if wanted.shown {
                seals::signature(&pieces.concat())
            } else {
                seals::encrypted(serial)
            };
            Some(Part::Thought { pieces, seal: Some(seal) })
        }
        (Endpoint::Responses, Some(wanted)) => Some(Part::Thought {
            pieces: if wanted.shown { pieces() } else { Vec::new() },
            seal: wanted.sealed.then(|| seals::encrypted(serial)),
        }),
        _ => None,
    }
}

/// Calls, or a text in a certain form, or one about pictures.
fn content(asked: &Asked<'_>, behaviour: &Behaviour) -> Option<Vec<Part>> {
    let calls = calls(asked, behaviour);
    if !calls.is_empty() {
        return Some(calls);
    }
    let text = match &asked.form {
        Some(Form::Schema(schema)) => fill::value(schema),
        Some(Form::Object) => r#"{"answer":"text"}"#.to_owned(),
        None if !asked.seen.is_empty() => asked.seen.join(" "),
        None => return None,
    };
    Some(vec![Part::Text(cut(&text, behaviour))])
}

fn calls(asked: &Asked<'_>, behaviour: &Behaviour) -> Vec<Part> {
    let wanted = behaviour.tool_calls as usize;
    let count = match asked.choice {
        _ if asked.tools.is_empty() => 0,
        Choice::None => 0,
        Choice::Auto if asked.after_results => 0,
        Choice::Auto => wanted,
        Choice::Any | Choice::Named(_) => wanted.max(1),
    };
    let count = if asked.parallel { count } else { count.min(1) };
    let fits = |name: &str| match &asked.choice {
        Choice::Named(wanted) => wanted == name,
        _ => true,
    };
    let tools = asked.tools.iter().filter(|tool| fits(&tool.name));
    let call = |tool: &crate::request::Tool<'_>| {
        let arguments = tool.schema.as_ref().map_or_else(|| "{}".to_owned(), fill::value);
        Part::Call { name: tool.name.clone(), pieces: cut(&arguments, behaviour) }
    };
    tools.cycle().take(count).map(call).collect()
}

/// A text in pieces of a token's size.
fn cut(text: &str, behaviour: &Behaviour) -> Vec<String> {
    let size = behaviour.token_text_bytes.max(1) as usize;
    let mut pieces = vec![String::new()];
    let mut length = 0;
    for character in text.chars() {
        if length == size {
            pieces.push(String::new());
            length = 0;
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
        length += 1;
    }
    pieces
}

/// The events of a stream while they are put together.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    /// An event that is no token of its own.
    fn beside(&mut self, event: bytes::Bytes) {
        self.0.push(Step { event, token: false });
    }

    /// An event that is a token.
    fn token(&mut self, event: bytes::Bytes) {
        self.0.push(Step { event, token: true });
    }
}
