//! Reads an upstream's answer that is one document.

use std::borrow::Cow;

use super::{usage, words};
use crate::{
    Broken, Dialect, Expect, Finish, Reply,
    json::{Fault, Raw, Reader},
    model::{Annotation, Content, Maker, Origin, Part, Seal, Thought, ToolCall, part::Arguments},
    told,
};

/// What a block has that no other dialect knows.
pub(super) const OWN_BLOCK: Broken =
    Broken::Untranslatable("it has a block that only its own dialect knows");

/// Reads an upstream's answer.
pub fn decode_reply<'a>(expect: &Expect, body: &'a [u8]) -> Result<Reply<'a>, Broken> {
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
    let (mut has_content, mut reason) = (false, None);
    told::object(&mut reader, |key, reader| {
        match key {
            "output" => has_content = output(expect, reader, &mut reply.parts)?,
            "stopReason" => reason = told::text(reader)?,
            "usage" => reply.usage = usage::read(reader)?,
            "serviceTier" => {
                reply.service_tier =
                    inner_text(reader, "type")?.and_then(|word| words::tier(&word));
            }
            "additionalModelResponseFields" => {
                reply.stop_sequence = inner_text(reader, "stop_sequence")?;
            }
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    reader.end()?;
    if !has_content {
        return Err(Broken::Malformed("it has no content"));
    }
    reply.finish = words::finish(&reason.ok_or(Broken::Malformed("it has no stop reason"))?)?;
    if expect.answer_tool.is_some() && reply.finish == Finish::ToolCalls {
        reply.finish = Finish::Stop;
    }
    Ok(reply)
}

/// The string in a field of the object that comes next, if there is one.
pub(super) fn inner_text<'a>(
    reader: &mut Reader<'a>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, Fault> {
    let mut text = None;
    told::object_if(reader, |key, reader| {
        if key != name {
            return Ok(false);
        }
        text = told::text(reader)?;
        Ok::<_, Fault>(true)
    })?;
    Ok(text)
}

/// The maker of an answer's seals.
pub(super) fn maker(expect: &Expect) -> Maker {
    if expect.foreign_seals { Maker::Bedrock } else { Maker::Anthropic }
}

/// Whether there is a message with content.
fn output<'a>(
    expect: &Expect,
    reader: &mut Reader<'a>,
    parts: &mut Vec<Part<'a>>,
) -> Result<bool, Broken> {
    let mut has_content = false;
    told::object_if(reader, |key, reader| {
        if key != "message" {
            return Ok(false);
        }
        told::object_if(reader, |key, reader| {
            if key != "content" {
                return Ok(false);
            }
            has_content = true;
            told::array_if(reader, |reader| {
                parts.push(Part::new(block(expect, reader)?, Origin::NONE));
                Ok::<_, Broken>(())
            })?;
            Ok::<_, Broken>(true)
        })?;
        Ok::<_, Broken>(true)
    })?;
    Ok(has_content)
}

/// A block's one field tells its type.
fn block<'a>(expect: &Expect, reader: &mut Reader<'a>) -> Result<Content<'a>, Broken> {
    let mut content = None;
    told::object(reader, |key, reader| {
        content = Some(match key {
            "text" => {
                let text = told::text(reader)?.unwrap_or_default();
                Content::Text { text, annotations: Vec::new() }
            }
            "toolUse" => tool_use(expect, reader)?,
            "reasoningContent" => Content::Thought(reasoning(expect, reader)?),
            "citationsContent" => cited(reader)?,
            _ => return Err(OWN_BLOCK),
        });
        Ok::<_, Broken>(true)
    })?;
    content.ok_or(OWN_BLOCK)
}

fn tool_use<'a>(expect: &Expect, reader: &mut Reader<'a>) -> Result<Content<'a>, Broken> {
    let (mut id, mut name, mut input) = (None, None, None);
    told::object(reader, |key, reader| {
        match key {
            "toolUseId" => id = told::text(reader)?,
            "name" => name = told::text(reader)?,
            "input" => input = Some(reader.raw()?),
            // The provider runs it itself.
            "type" if told::text(reader)?.is_some() => return Err(OWN_BLOCK),
            "type" => {}
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (Some(id), Some(name)) = (id, name) else {
        return Err(Broken::Malformed("a call of a tool has no id or no name"));
    };
    let input = input.filter(Raw::is_object).unwrap_or(Raw::EMPTY_OBJECT);
    Ok(if expect.answer_tool == Some(&name) {
        Content::Text { text: input.into_text(), annotations: Vec::new() }
    } else {
        Content::ToolCall(ToolCall { id, name, arguments: Arguments::Object(input) })
    })
}

fn reasoning<'a>(expect: &Expect, reader: &mut Reader<'a>) -> Result<Thought<'a>, Broken> {
    let mut thought = Thought::default();
    let mut seal = None;
    told::object(reader, |key, reader| {
        match key {
            "reasoningText" => {
                told::object_if(reader, |key, reader| {
                    match key {
                        "text" => thought.text = told::text(reader)?.unwrap_or_default(),
                        "signature" => seal = told::text(reader)?,
                        _ => return Ok(false),
                    }
                    Ok::<_, Fault>(true)
                })?;
            }
            "redactedContent" => {
                thought.redacted = true;
                seal = told::text(reader)?;
            }
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    let seal = seal.filter(|seal| !seal.is_empty());
    thought.seal = seal.map(|data| Seal::new(maker(expect), data));
    Ok(thought)
}

/// Text with what it is based on.
fn cited<'a>(reader: &mut Reader<'a>) -> Result<Content<'a>, Broken> {
    let (mut text, mut annotations) = (Cow::Borrowed(""), Vec::new());
    told::object(reader, |key, reader| {
        match key {
            "content" => told::array_if(reader, |reader| {
                if let Some(more) = inner_text(reader, "text")? {
                    if text.is_empty() {
                        text = more;
                    } else {
                        text.to_mut().push_str(&more);
                    }
                }
                Ok::<_, Fault>(())
            })?,
            "citations" => told::array_if(reader, |reader| {
                annotations.push(citation(reader)?);
                Ok::<_, Fault>(())
            })?,
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    Ok(Content::Text { text, annotations })
}

/// A source on the web; places in a document have no form that another dialect knows.
pub(super) fn citation<'a>(reader: &mut Reader<'a>) -> Result<Annotation<'a>, Fault> {
    let mut ahead = *reader;
    let value = ahead.raw()?;
    let (mut address, mut title) = (None, None);
    told::object_if(reader, |key, reader| {
        match key {
            "title" => title = told::text(reader)?,
            "location" => {
                told::object_if(reader, |key, reader| {
                    if key != "web" {
                        return Ok(false);
                    }
                    address = inner_text(reader, "url")?;
                    Ok::<_, Fault>(true)
                })?;
            }
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    Ok(match address {
        Some(url) => Annotation::Url { url, title, start: None, end: None },
        None => Annotation::Native { dialect: Dialect::Bedrock, value },
    })
}
