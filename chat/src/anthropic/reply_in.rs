//! Reads an upstream's answer that is one document.

use super::{usage::Counts, words};
use crate::{
    Broken, Expect, Finish, Reply,
    json::{Fault, Kind, Raw, Reader},
    model::{Annotation, Content, Origin, Part, Seal, Thought, ToolCall, part::Arguments},
    told,
};

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
    let mut counts = Counts::default();
    let (mut has_content, mut finish) = (false, None);
    told::object(&mut reader, |key, reader| {
        match key {
            "id" => reply.id = told::text(reader)?,
            "model" => reply.model = told::text(reader)?,
            "usage" => counts.merge(reader)?,
            "stop_reason" => finish = told::text(reader)?.map(|word| words::finish(&word)),
            "stop_sequence" => reply.stop_sequence = told::text(reader)?,
            "content" if reader.kind()? == Kind::Array => {
                has_content = true;
                told::array_if(reader, |reader| {
                    reply.parts.push(block(expect, reader)?);
                    Ok::<_, Broken>(())
                })?;
            }
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    reader.end()?;
    if !has_content {
        return Err(Broken::Malformed("it has no content"));
    }
    reply.finish = finish.ok_or(Broken::Malformed("it has no stop reason"))?;
    if expect.answer_tool.is_some() && reply.finish == Finish::ToolCalls {
        reply.finish = Finish::Stop;
    }
    reply.usage = counts.usage();
    reply.service_tier = counts.tier();
    Ok(reply)
}

fn block<'a>(expect: &Expect, reader: &mut Reader<'a>) -> Result<Part<'a>, Broken> {
    let kind = reader.look_up("type")?.unwrap_or_default();
    let (mut text, mut seal, mut id, mut name, mut input) = (None, None, None, None, None);
    let mut annotations = Vec::new();
    told::object(reader, |key, reader| {
        match key {
            "text" | "thinking" => text = told::text(reader)?,
            "signature" | "data" => seal = told::text(reader)?.filter(|seal| !seal.is_empty()),
            "id" => id = told::text(reader)?,
            "name" => name = told::text(reader)?,
            "input" => input = Some(reader.raw()?),
            "citations" => told::array_if(reader, |reader| {
                annotations.push(citation(reader)?);
                Ok::<_, Broken>(())
            })?,
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    let seal = seal.map(Seal::from_text);
    let content = match &*kind {
        "text" => Content::Text { text: text.unwrap_or_default(), annotations },
        "thinking" => {
            let text = text.unwrap_or_default();
            Content::Thought(Thought { text, seal, ..Thought::default() })
        }
        "redacted_thinking" => {
            Content::Thought(Thought { seal, redacted: true, ..Thought::default() })
        }
        "tool_use" => {
            let (Some(id), Some(name)) = (id, name) else {
                return Err(Broken::Malformed("a call of a tool has no id or no name"));
            };
            let input = input.filter(Raw::is_object).unwrap_or(Raw::EMPTY_OBJECT);
            if expect.answer_tool == Some(&name) {
                Content::Text { text: input.into_text(), annotations }
            } else {
                Content::ToolCall(ToolCall { id, name, arguments: Arguments::Object(input) })
            }
        }
        _ => return Err(Broken::Untranslatable("it has a block that only its own dialect knows")),
    };
    Ok(Part::new(content, Origin::NONE))
}

/// A source on the web; places in a document have no form that another dialect knows.
pub(super) fn citation<'a>(reader: &mut Reader<'a>) -> Result<Annotation<'a>, Fault> {
    let mut ahead = *reader;
    let value = ahead.raw()?;
    let (mut address, mut title) = (None, None);
    told::object_if(reader, |key, reader| {
        match key {
            "url" => address = told::text(reader)?,
            "title" => title = told::text(reader)?,
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    Ok(match address {
        Some(url) => Annotation::Url { url, title, start: None, end: None },
        None => Annotation::Native { dialect: crate::Dialect::Anthropic, value },
    })
}
