//! Reads an upstream's answer that is one document.

use std::borrow::Cow;

use super::{usage, words};
use crate::{
    Broken, Expect, Finish, Reply,
    json::{Fault, Kind, Raw, Reader},
    model::{Annotation, Content, Origin, Part, Seal, Thought, ToolCall, part::Arguments},
    told,
};

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
    let mut choices = 0;
    told::object(&mut reader, |key, reader| {
        match key {
            "id" => reply.id = told::text(reader)?,
            "model" => reply.model = told::text(reader)?,
            "created" => reply.created = told::count(reader)?,
            "usage" => reply.usage = usage::read(reader)?,
            "service_tier" => {
                reply.service_tier = told::text(reader)?.and_then(|word| words::tier(&word));
            }
            "choices" => told::array_if(reader, |reader| {
                choices += 1;
                choice(reader, &mut reply)
            })?,
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    reader.end()?;
    match choices {
        1 => Ok(reply),
        0 => Err(Broken::Malformed("it has no choices")),
        _ => Err(Broken::Untranslatable("it has several choices")),
    }
}

fn choice<'a>(reader: &mut Reader<'a>, reply: &mut Reply<'a>) -> Result<(), Broken> {
    let mut message = Message::default();
    let mut finish = None;
    told::object(reader, |key, reader| {
        match key {
            "message" => message.read(reader)?,
            "finish_reason" => {
                finish = told::text(reader)?.map(|word| words::finish(&word)).transpose()?;
            }
            "logprobs" => {
                reply.logprobs = logprobs(reader)?;
            }
            _ => return Ok(false),
        }
        Ok::<_, Broken>(true)
    })?;
    reply.parts = message.into_parts();
    let calls = reply.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    // Where the client named the function to call, OpenAI says `stop`; others forget the reason.
    reply.finish = match finish.unwrap_or(Finish::Stop) {
        Finish::Stop if calls => Finish::ToolCalls,
        finish => finish,
    };
    Ok(())
}

/// The list of the text's tokens.
pub(super) fn logprobs<'a>(reader: &mut Reader<'a>) -> Result<Option<Raw<'a>>, Fault> {
    let mut list = None;
    told::object_if(reader, |key, reader| {
        if key != "content" || reader.kind()? != Kind::Array {
            return Ok(false);
        }
        list = Some(reader.raw()?).filter(|raw| raw.as_str() != "[]");
        Ok::<_, Fault>(true)
    })?;
    Ok(list)
}

#[derive(Default)]
struct Message<'a> {
    text: Vec<Cow<'a, str>>,
    annotations: Vec<Annotation<'a>>,
    refusal: Option<Cow<'a, str>>,
    reasoning: Option<Cow<'a, str>>,
    thoughts: Vec<Thought<'a>>,
    calls: Vec<Part<'a>>,
}

impl<'a> Message<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        told::object(reader, |key, reader| {
            match key {
                "content" => self.content(reader)?,
                "refusal" => self.refusal = told::text(reader)?,
                // DeepSeek's and vLLM's name, and OpenRouter's.
                "reasoning_content" | "reasoning" => {
                    self.reasoning = self.reasoning.take().or(told::text(reader)?);
                }
                "thinking_blocks" => told::array_if(reader, |reader| {
                    self.thoughts.push(thinking_block(reader)?);
                    Ok::<_, Broken>(())
                })?,
                "tool_calls" => told::array_if(reader, |reader| {
                    self.calls.push(tool_call(reader)?);
                    Ok::<_, Broken>(())
                })?,
                "annotations" => told::array_if(reader, |reader| {
                    self.annotations.extend(annotation(reader)?);
                    Ok::<_, Broken>(())
                })?,
                _ => return Ok(false),
            }
            Ok::<_, Broken>(true)
        })
    }

    /// A string, or a list of texts as some providers have it.
    fn content(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        match reader.kind()? {
            Kind::String => self.text.push(reader.string()?),
            Kind::Null => reader.skip()?,
            Kind::Array => told::array_if(reader, |reader| {
                let mut text = None;
                told::object(reader, |key, reader| {
                    if key != "text" {
                        return Ok(false);
                    }
                    text = told::text(reader)?;
                    Ok::<_, Fault>(true)
                })?;
                self.text
                    .push(text.ok_or(Broken::Untranslatable("it has a part that is no text"))?);
                Ok::<_, Broken>(())
            })?,
            _ => return Err(Broken::Malformed("its content is no text")),
        }
        Ok(())
    }

    fn into_parts(self) -> Vec<Part<'a>> {
        let part = |content| Part::new(content, Origin::NONE);
        let mut parts: Vec<Part<'a>> =
            self.thoughts.into_iter().map(Content::Thought).map(part).collect();
        if let (true, Some(text)) =
            (parts.is_empty(), self.reasoning.filter(|text| !text.is_empty()))
        {
            parts.push(part(Content::Thought(Thought { text, ..Thought::default() })));
        }
        let mut annotations = self.annotations;
        for text in self.text.into_iter().filter(|text| !text.is_empty()) {
            let annotations = std::mem::take(&mut annotations);
            parts.push(part(Content::Text { text, annotations }));
        }
        if let Some(refusal) = self.refusal.filter(|text| !text.is_empty()) {
            parts.push(part(Content::Refusal(refusal)));
        }
        parts.extend(self.calls);
        parts
    }
}

fn thinking_block<'a>(reader: &mut Reader<'a>) -> Result<Thought<'a>, Broken> {
    let mut thought = Thought::default();
    told::object(reader, |key, reader| {
        match key {
            "type" => {
                thought.redacted = told::text(reader)?.as_deref() == Some("redacted_thinking")
            }
            "thinking" => thought.text = told::text(reader)?.unwrap_or_default(),
            "signature" | "data" => {
                let seal = told::text(reader)?.filter(|seal| !seal.is_empty());
                thought.seal = seal.map(Seal::from_text);
            }
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    Ok(thought)
}

fn tool_call<'a>(reader: &mut Reader<'a>) -> Result<Part<'a>, Broken> {
    let (mut id, mut name, mut arguments, mut seal) = (None, None, None, None);
    told::object(reader, |key, reader| {
        match key {
            "id" => id = told::text(reader)?,
            "function" => {
                _ = told::object_if(reader, |key, reader| {
                    match key {
                        "name" => name = told::text(reader)?,
                        "arguments" => arguments = told::text(reader)?,
                        _ => return Ok(false),
                    }
                    Ok::<_, Fault>(true)
                })?
            }
            "extra_content" => seal = thought_signature(reader)?,
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    let (Some(id), Some(name)) = (id, name) else {
        return Err(Broken::Malformed("a call of a tool has no id or no name"));
    };
    let arguments = Arguments::from_text(arguments.unwrap_or_default());
    let call = ToolCall { id, name, arguments };
    Ok(Part { seal, ..Part::new(Content::ToolCall(call), Origin::NONE) })
}

/// Gemini's seal, as Google's own endpoint for this dialect has it.
pub(super) fn thought_signature<'a>(
    reader: &mut Reader<'a>,
) -> Result<Option<Cow<'a, str>>, Fault> {
    let mut seal = None;
    told::object_if(reader, |key, reader| {
        if key != "google" {
            return Ok(false);
        }
        told::object_if(reader, |key, reader| {
            if key != "thought_signature" {
                return Ok(false);
            }
            seal = told::text(reader)?;
            Ok::<_, Fault>(true)
        })?;
        Ok::<_, Fault>(true)
    })?;
    Ok(seal)
}

/// A source on the web; others have no form that another dialect knows.
fn annotation<'a>(reader: &mut Reader<'a>) -> Result<Option<Annotation<'a>>, Broken> {
    let mut found = None;
    told::object_if(reader, |key, reader| {
        if key != "url_citation" {
            return Ok(false);
        }
        let (mut address, mut title, mut start, mut end) = (None, None, None, None);
        told::object_if(reader, |key, reader| {
            match key {
                "url" => address = told::text(reader)?,
                "title" => title = told::text(reader)?,
                "start_index" => start = told::count(reader)?,
                "end_index" => end = told::count(reader)?,
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        found = address.map(|url| Annotation::Url { url, title, start, end });
        Ok::<_, Broken>(true)
    })?;
    Ok(found)
}
