//! Reads an upstream's answer that is one document.

use std::borrow::Cow;

use super::{items_in::joined, usage, words};
use crate::{
    Broken, Dialect, Expect, Finish, Reply,
    json::{Fault, Kind, Raw, Reader},
    model::{Annotation, Content, Maker, Origin, Part, Seal, Thought, ToolCall, part::Arguments},
    openai_chat, told,
};

/// What to say of an item of a tool that the provider runs.
pub(super) const FOREIGN: Broken =
    Broken::Untranslatable("it has an item that only its own dialect knows");

/// What to say of a call that lacks what its result has to refer to.
pub(super) const NAMELESS: Broken = Broken::Malformed("a call of a tool has no id or no name");

/// Reads an upstream's answer.
pub fn decode_reply<'a>(_expect: &Expect, body: &'a [u8]) -> Result<Reply<'a>, Broken> {
    let mut reader = Reader::of_bytes(body)?;
    let mut reply = Reply {
        id: None,
        model: None,
        created: None,
        parts: Vec::new(),
        finish: Finish::Stop,
        stop_sequence: None,
        usage: None,
        service_tier: None,
        logprobs: None,
    };
    let mut end = End::default();
    let mut has_output = false;
    told::object(&mut reader, |key, reader| {
        match key {
            "id" => reply.id = told::text(reader)?,
            "model" => reply.model = told::text(reader)?,
            "created_at" => reply.created = told::count(reader)?,
            "output" if reader.kind()? == Kind::Array => {
                has_output = true;
                told::array_if(reader, |reader| {
                    let item = item(reader)?;
                    reply.parts.extend(item.parts);
                    reply.logprobs = reply.logprobs.take().or(item.logprobs);
                    Ok::<_, Broken>(())
                })?;
            }
            "usage" => reply.usage = usage::read(reader)?,
            "service_tier" => {
                reply.service_tier =
                    told::text(reader)?.and_then(|word| openai_chat::words::tier(&word));
            }
            _ => return end.field(key, reader).map_err(Broken::from),
        }
        Ok(true)
    })?;
    reader.end()?;
    let calls = reply.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    reply.finish = end.finish("", calls)?;
    if !has_output {
        return Err(Broken::Malformed("it has no output"));
    }
    Ok(reply)
}

/// The fields that tell how an answer ended.
#[derive(Default)]
pub(super) struct End<'a> {
    status: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
}

impl<'a> End<'a> {
    /// Takes a field's value, if it is one of these.
    pub fn field(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<bool, Fault> {
        match key {
            "status" => self.status = told::text(reader)?,
            "incomplete_details" => {
                told::object_if(reader, |key, reader| {
                    if key != "reason" {
                        return Ok(false);
                    }
                    self.reason = told::text(reader)?;
                    Ok::<_, Fault>(true)
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Why it ended. `status`: what it is where the answer does not tell.
    pub fn finish(&self, status: &str, calls: bool) -> Result<Finish, Broken> {
        let status = self.status.as_deref().unwrap_or(status);
        words::finish(status, self.reason.as_deref(), calls)
    }
}

/// What an item of an answer holds.
#[derive(Default)]
pub(super) struct Item<'a> {
    pub parts: Vec<Part<'a>>,
    pub logprobs: Option<Raw<'a>>,
}

/// Reads an item.
pub(super) fn item<'a>(reader: &mut Reader<'a>) -> Result<Item<'a>, Broken> {
    let kind = reader.look_up("type")?.unwrap_or_default();
    let part = |content| Part::new(content, Origin::NONE);
    let mut item = Item::default();
    match &*kind {
        "message" => told::object(reader, |key, reader| {
            if key != "content" {
                return Ok(false);
            }
            told::array_if(reader, |reader| message_part(reader, &mut item))?;
            Ok::<_, Broken>(true)
        })?,
        "function_call" => item.parts.push(part(Content::ToolCall(call(reader)?))),
        "reasoning" => {
            let thought = reasoning(reader)?;
            if !thought.text.is_empty() || thought.seal.is_some() {
                item.parts.push(part(Content::Thought(thought)));
            }
        }
        _ => return Err(FOREIGN),
    }
    Ok(item)
}

fn message_part<'a>(reader: &mut Reader<'a>, item: &mut Item<'a>) -> Result<(), Broken> {
    let kind = reader.look_up("type")?.unwrap_or_default();
    let (mut said, mut annotations) = (None, Vec::new());
    told::object(reader, |key, reader| {
        match key {
            "text" | "refusal" => said = told::text(reader)?,
            "annotations" => told::array_if(reader, |reader| {
                annotations.push(annotation(reader)?);
                Ok::<_, Broken>(())
            })?,
            "logprobs" => item.logprobs = item.logprobs.take().or(logprobs(reader)?),
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    let text = said.unwrap_or_default();
    let content = match &*kind {
        "output_text" => Content::Text { text, annotations },
        "refusal" => Content::Refusal(text),
        _ => return Err(Broken::Untranslatable("it has a part that is no text")),
    };
    item.parts.push(Part::new(content, Origin::NONE));
    Ok(())
}

/// The list of a text's tokens; `None` for an empty one.
pub(super) fn logprobs<'a>(reader: &mut Reader<'a>) -> Result<Option<Raw<'a>>, Fault> {
    if reader.kind()? != Kind::Array {
        reader.skip()?;
        return Ok(None);
    }
    Ok(Some(reader.raw()?).filter(|list| list.as_str() != "[]"))
}

fn call<'a>(reader: &mut Reader<'a>) -> Result<ToolCall<'a>, Broken> {
    let (mut id, mut name, mut arguments) = (None, None, None);
    told::object(reader, |key, reader| {
        match key {
            "call_id" => id = told::text(reader)?,
            "name" => name = told::text(reader)?,
            "arguments" => arguments = told::text(reader)?,
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    let (Some(id), Some(name)) = (id, name) else { return Err(NAMELESS) };
    Ok(ToolCall { id, name, arguments: Arguments::from_text(arguments.unwrap_or_default()) })
}

/// Models whose reasoning is open have it in `content`, others a summary of it.
fn reasoning<'a>(reader: &mut Reader<'a>) -> Result<Thought<'a>, Fault> {
    let mut thought = Thought::default();
    let (mut summary, mut whole) = (Vec::new(), Vec::new());
    told::object(reader, |key, reader| {
        match key {
            "id" => thought.id = told::text(reader)?,
            "summary" => texts(reader, &mut summary)?,
            "content" => texts(reader, &mut whole)?,
            "encrypted_content" => {
                let data = told::text(reader)?.filter(|data| !data.is_empty());
                thought.seal = data.map(|data| Seal::new(Maker::OpenAi, data));
            }
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    thought.text = joined(if summary.is_empty() { whole } else { summary });
    Ok(thought)
}

fn texts<'a>(reader: &mut Reader<'a>, texts: &mut Vec<Cow<'a, str>>) -> Result<(), Fault> {
    told::array_if(reader, |reader| {
        told::object_if(reader, |key, reader| {
            if key != "text" {
                return Ok(false);
            }
            texts.extend(told::text(reader)?);
            Ok::<_, Fault>(true)
        })?;
        Ok::<_, Fault>(())
    })
}

/// A source on the web, or one that has no form that another dialect knows.
pub(super) fn annotation<'a>(reader: &mut Reader<'a>) -> Result<Annotation<'a>, Fault> {
    let mut ahead = *reader;
    let value = ahead.raw()?;
    let mut kind = None;
    let (mut address, mut title, mut start, mut end) = (None, None, None, None);
    told::object_if(reader, |key, reader| {
        match key {
            "type" => kind = told::text(reader)?,
            "url" => address = told::text(reader)?,
            "title" => title = told::text(reader)?,
            "start_index" => start = told::count(reader)?,
            "end_index" => end = told::count(reader)?,
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    Ok(match (kind.as_deref(), address) {
        (Some("url_citation"), Some(url)) => Annotation::Url { url, title, start, end },
        _ => Annotation::Native { dialect: Dialect::OpenAiResponses, value },
    })
}
