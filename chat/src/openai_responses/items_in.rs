//! Reads a client's items.
//!
//! Items of the model's that follow each other are one assistant's turn, and results that follow each other one
//! user's turn: dialects with messages want calls of one turn together. Identifiers and statuses that the provider gave to items
//! are passed over; whatever refers to them by name only is kept for the provider's own dialect.

use std::borrow::Cow;

use super::{
    parts_in::{Holder, content},
    request_in::OWN,
    seals::{self, Carried},
};
use crate::{
    Refusal, Why,
    extras::Extras,
    json::{Kind, Path, Reader},
    model::{Content, Message, Origin, Part, Role, Thought, ToolCall, ToolResult, part::Arguments},
};

/// The field that holds the items.
const INPUT: &str = "input";

/// Reads a string, or a list of items.
pub fn read<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Vec<Message<'a>>, Refusal> {
    let mut turns = Turns::default();
    match at.kind(reader)? {
        Kind::String => {
            let origin = Origin::field(INPUT);
            turns.said(Role::User, vec![Part::text(at.string(reader)?, origin)], origin);
        }
        Kind::Array => {
            at.array(reader, |at, index, reader| item(at, index, reader, extras, &mut turns))?;
        }
        _ => return Err(at.invalid("a string, or an array of items")),
    }
    Ok(turns.messages)
}

/// Makes turns of items.
#[derive(Default)]
struct Turns<'a> {
    messages: Vec<Message<'a>>,
    /// The seal of the model's next part: see [`seals`].
    seal: Option<Cow<'a, str>>,
}

impl<'a> Turns<'a> {
    /// A message. The model's join the turn that is open.
    fn said(&mut self, role: Role, parts: Vec<Part<'a>>, origin: Origin) {
        if role == Role::Assistant {
            parts.into_iter().for_each(|part| self.by_model(part));
        } else {
            self.seal = None;
            self.messages.push(Message::new(role, parts, origin));
        }
    }

    fn by_model(&mut self, mut part: Part<'a>) {
        if !matches!(part.content, Content::Thought(_)) {
            part.seal = self.seal.take();
        }
        match self.messages.last_mut() {
            Some(last) if last.role == Role::Assistant => last.parts.push(part),
            _ => {
                let origin = part.origin;
                self.messages.push(Message::new(Role::Assistant, vec![part], origin));
            }
        }
    }

    fn result(&mut self, part: Part<'a>) {
        self.seal = None;
        match self.messages.last_mut() {
            Some(last) if last.is_results() => last.parts.push(part),
            _ => {
                let origin = part.origin;
                self.messages.push(Message::new(Role::User, vec![part], origin));
            }
        }
    }
}

fn item<'a>(
    at: &Path<'_>,
    index: usize,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
    turns: &mut Turns<'a>,
) -> Result<(), Refusal> {
    let origin = Origin::element(INPUT, index);
    let kind = match at.look_up(reader, "type")? {
        Some(kind) => kind,
        // The type of messages and references may be left out.
        None if at.look_up(reader, "role")?.is_some() => "message".into(),
        None if at.look_up(reader, "id")?.is_some() => "item_reference".into(),
        None => return Err(at.key("type").refuse(Why::Missing)),
    };
    match &*kind {
        "message" => message(at, reader, origin, extras, turns),
        "function_call" => {
            let call = function_call(at, reader, extras)?;
            turns.by_model(Part::new(Content::ToolCall(call), origin));
            Ok(())
        }
        "function_call_output" => {
            let result = function_call_output(at, reader, origin, extras)?;
            turns.result(Part::new(Content::ToolResult(result), origin));
            Ok(())
        }
        "reasoning" => {
            match reasoning(at, reader, extras)? {
                Reasoned::Thought(thought) => {
                    turns.by_model(Part::new(Content::Thought(thought), origin));
                }
                Reasoned::SealOfNext(seal) => turns.seal = Some(seal),
            }
            Ok(())
        }
        // A reference to what the provider keeps, or something of a tool that it runs.
        _ => {
            let by_client = kind.ends_with("_output") || kind == "mcp_approval_response";
            let value = at.object(reader)?;
            let part = Part::new(Content::Native { dialect: OWN, kind, value }, origin);
            let role = if by_client { Role::User } else { Role::Assistant };
            turns.said(role, vec![part], origin);
            Ok(())
        }
    }
}

fn message<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
    turns: &mut Turns<'a>,
) -> Result<(), Refusal> {
    let word = at.look_up(reader, "role")?;
    let (role, holder) = match word.as_deref() {
        Some("system") => (Role::System, Holder::Instructions),
        Some("developer") => (Role::Developer, Holder::Instructions),
        Some("user") => (Role::User, Holder::User),
        Some("assistant") => (Role::Assistant, Holder::Assistant),
        Some(_) => {
            let expected = "`system`, `developer`, `user` or `assistant`";
            return Err(at.key("role").invalid(expected));
        }
        None => return Err(at.key("role").refuse(Why::Missing)),
    };
    let mut parts = None;
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" | "role" => _ = at.string(reader)?,
            "content" => {
                parts = Some(content(&at, reader, origin, "content", holder, extras)?);
            }
            "id" | "status" => _ = at.raw(reader)?,
            "phase" => extras.known(&at, reader, OWN)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    let parts = parts.ok_or_else(|| at.key("content").refuse(Why::Missing))?;
    turns.said(role, parts, origin);
    Ok(())
}

fn function_call<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<ToolCall<'a>, Refusal> {
    let (mut id, mut name, mut arguments) = (None, None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "call_id" => id = Some(at.string(reader)?),
            "name" => name = Some(at.string(reader)?),
            "arguments" => arguments = Some(at.string(reader)?),
            "id" | "status" => _ = at.raw(reader)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    let missing = |name| at.key(name).refuse(Why::Missing);
    Ok(ToolCall {
        id: id.ok_or_else(|| missing("call_id"))?,
        name: name.ok_or_else(|| missing("name"))?,
        arguments: Arguments::from_text(arguments.ok_or_else(|| missing("arguments"))?),
    })
}

fn function_call_output<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    origin: Origin,
    extras: &mut Extras<'a>,
) -> Result<ToolResult<'a>, Refusal> {
    let (mut call_id, mut parts) = (None, None);
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "call_id" => call_id = Some(at.string(reader)?),
            "output" => {
                parts = Some(content(&at, reader, origin, "output", Holder::Result, extras)?);
            }
            "id" | "status" => _ = at.raw(reader)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    let call_id = call_id.ok_or_else(|| at.key("call_id").refuse(Why::Missing))?;
    let parts = parts.ok_or_else(|| at.key("output").refuse(Why::Missing))?;
    Ok(ToolResult { call_id, parts, is_error: false })
}

/// What an item of reasoning is.
enum Reasoned<'a> {
    Thought(Thought<'a>),
    SealOfNext(Cow<'a, str>),
}

fn reasoning<'a>(
    at: &Path<'_>,
    reader: &mut Reader<'a>,
    extras: &mut Extras<'a>,
) -> Result<Reasoned<'a>, Refusal> {
    let mut thought = Thought::default();
    let mut seal_of_next = None;
    let (mut summary, mut whole) = (Cow::default(), Cow::default());
    let mut keys = at.open(reader)?;
    while let Some(key) = keys.next(reader, at)? {
        let at = at.key(&key);
        match &*key {
            "type" => _ = at.string(reader)?,
            "id" => thought.id = at.optional(reader, Path::string)?,
            "summary" => summary = at.optional(reader, texts)?.unwrap_or_default(),
            "content" => whole = at.optional(reader, texts)?.unwrap_or_default(),
            "encrypted_content" => {
                let text = at.optional(reader, Path::string)?.filter(|text| !text.is_empty());
                match text.map(seals::read) {
                    Some(Carried::Part(seal)) => seal_of_next = Some(seal),
                    Some(Carried::Thought { seal, redacted }) => {
                        thought.seal = Some(seal);
                        thought.redacted = redacted;
                    }
                    None => {}
                }
            }
            "status" => _ = at.raw(reader)?,
            _ => extras.unknown(&at, reader)?,
        }
    }
    if let Some(seal) = seal_of_next {
        return Ok(Reasoned::SealOfNext(seal));
    }
    thought.text = if summary.is_empty() { whole } else { summary };
    Ok(Reasoned::Thought(thought))
}

/// The texts of a list, with a blank line between them.
fn texts<'a>(at: &Path<'_>, reader: &mut Reader<'a>) -> Result<Cow<'a, str>, Refusal> {
    let texts = at.array(reader, |at, _, reader| {
        let mut text = None;
        let mut keys = at.open(reader)?;
        while let Some(key) = keys.next(reader, at)? {
            let at = at.key(&key);
            match &*key {
                "type" => match &*at.string(reader)? {
                    "summary_text" | "reasoning_text" => {}
                    _ => return Err(at.invalid("`summary_text` or `reasoning_text`")),
                },
                "text" => text = Some(at.string(reader)?),
                _ => return Err(at.refuse(Why::Unknown)),
            }
        }
        text.ok_or_else(|| at.key("text").refuse(Why::Missing))
    })?;
    Ok(joined(texts))
}

/// Texts that follow each other as paragraphs.
pub(super) fn joined(mut texts: Vec<Cow<'_, str>>) -> Cow<'_, str> {
    if texts.len() > 1 {
        return texts.join(PARAGRAPH).into();
    }
    texts.pop().unwrap_or_default()
}

/// What stands between texts of which this dialect has several, and the model one.
pub(super) const PARAGRAPH: &str = "\n\n";
