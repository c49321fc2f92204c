//! Reads an upstream's stream.

use super::{fault, reply_in, usage::Counts, words};
use crate::{
    Broken, Expect, Finish,
    json::{Fault, Raw, Reader},
    model::{Block, Delta, Event, Seal, ServiceTier},
    sse::Handle,
    stream::Sink,
    told,
};

/// Makes events of the steps of a message.
#[derive(Debug, Default)]
pub struct Steps {
    expect: Expect,
    started: bool,
    open: Open,
    counts: Counts,
    tier: Option<ServiceTier>,
    finished: bool,
    over: bool,
}

/// The block that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thought,
    /// It is complete with its start.
    Redacted,
    Call,
    /// The call of the tool that stands in for structured output.
    Answer,
}

impl Steps {
    /// At the start of a stream, in answer to a request that was written with `expect`.
    pub fn new(expect: &Expect) -> Self {
        Self { expect: expect.clone(), ..Self::default() }
    }
}

impl Handle for Steps {
    fn handle(&mut self, name: &str, data: &str, sink: Sink<'_>) -> Result<(), Broken> {
        let mut reader = Reader::new(data);
        let looked_up;
        let step = if name.is_empty() {
            looked_up = reader.look_up("type")?.unwrap_or_default();
            &*looked_up
        } else {
            name
        };
        match step {
            "content_block_delta" => self.delta(&mut reader, sink)?,
            "content_block_start" => self.block_start(&mut reader, sink)?,
            "content_block_stop" => {
                reader.skip()?;
                if std::mem::take(&mut self.open) == Open::Nothing {
                    return Err(Broken::Malformed("a block ends that did not begin"));
                }
                sink(Event::BlockEnd);
            }
            "message_start" => self.start(&mut reader, sink)?,
            "message_delta" => self.message_delta(&mut reader, sink)?,
            "message_stop" => {
                reader.skip()?;
                if !self.finished {
                    return Err(Broken::Malformed("it ends without a stop reason"));
                }
                self.over = true;
                sink(Event::End);
            }
            "ping" => {
                reader.skip()?;
                // What comes before the start has no place in other dialects.
                if self.started {
                    sink(Event::Ping);
                }
            }
            "error" => {
                let fault = fault::decode_event(&mut reader)?;
                self.over = true;
                sink(Event::Fault(fault));
            }
            // Anthropic adds steps at any time, and asks readers to pass over what they do not know.
            _ => reader.skip()?,
        }
        Ok(reader.end()?)
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

impl Steps {
    fn start(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        if std::mem::replace(&mut self.started, true) {
            return Err(Broken::Malformed("it starts twice"));
        }
        let (mut id, mut model) = (None, None);
        told::object(reader, |key, reader| {
            if key != "message" {
                return Ok(false);
            }
            told::object(reader, |key, reader| {
                match key {
                    "id" => id = told::text(reader)?,
                    "model" => model = told::text(reader)?,
                    "usage" => self.counts.merge(reader)?,
                    _ => return Ok(false),
                }
                Ok::<_, Fault>(true)
            })?;
            Ok::<_, Fault>(true)
        })?;
        sink(Event::Start { id, model, created: None });
        self.tell_usage(sink);
        Ok(())
    }

    fn tell_usage(&mut self, sink: Sink<'_>) {
        if let Some(usage) = self.counts.usage() {
            sink(Event::Usage(usage));
        }
        let tier = self.counts.tier();
        if tier != self.tier {
            self.tier = tier;
            tier.into_iter().for_each(|tier| sink(Event::Tier(tier)));
        }
    }

    fn block_start(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        if !self.started || self.finished || self.open != Open::Nothing {
            return Err(Broken::Malformed("a block begins where none can"));
        }
        let (mut kind, mut id, mut name, mut seal) = (None, None, None, None);
        let (mut text, mut input) = (None, None);
        told::object(reader, |key, reader| {
            if key != "content_block" {
                return Ok(false);
            }
            told::object(reader, |key, reader| {
                match key {
                    "type" => kind = told::text(reader)?,
                    "id" => id = told::text(reader)?,
                    "name" => name = told::text(reader)?,
                    "text" | "thinking" => {
                        text = told::text(reader)?.filter(|text| !text.is_empty())
                    }
                    "input" => input = Some(reader.raw()?).filter(|input| input.as_str() != "{}"),
                    "signature" | "data" => {
                        seal = told::text(reader)?.filter(|seal| !seal.is_empty())
                    }
                    _ => return Ok(false),
                }
                Ok::<_, Fault>(true)
            })?;
            Ok::<_, Fault>(true)
        })?;
        let seal = seal.map(Seal::from_text);
        match kind.as_deref() {
            Some("text") => {
                self.begin(Open::Text, Block::Text, sink);
                text.into_iter().for_each(|text| sink(Event::Delta(Delta::Text(text))));
            }
            Some("thinking") => {
                self.begin(Open::Thought, Block::Thought { id: None }, sink);
                text.into_iter().for_each(|text| sink(Event::Delta(Delta::Thought(text))));
                seal.into_iter().for_each(|seal| sink(Event::Delta(Delta::Seal(seal))));
            }
            Some("redacted_thinking") => {
                let seal =
                    seal.ok_or(Broken::Malformed("a block of redacted thinking is empty"))?;
                self.begin(Open::Redacted, Block::Redacted(seal), sink);
            }
            Some("tool_use") => {
                let (Some(id), Some(name)) = (id, name) else {
                    return Err(Broken::Malformed("a call of a tool has no id or no name"));
                };
                let answer = self.expect.answer_tool == Some(&name);
                if answer {
                    self.begin(Open::Answer, Block::Text, sink);
                } else {
                    self.begin(Open::Call, Block::ToolCall { id, name, seal: None }, sink);
                }
                input.map(Raw::into_text).into_iter().for_each(|text| {
                    sink(Event::Delta(if answer {
                        Delta::Text(text)
                    } else {
                        Delta::Arguments(text)
                    }));
                });
            }
            _ => {
                return Err(Broken::Untranslatable(
                    "it has a block that only its own dialect knows",
                ));
            }
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, block: Block<'_>, sink: Sink<'_>) {
        self.open = open;
        sink(Event::BlockStart(block));
    }

    /// A delta's one field tells its type.
    fn delta(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        const MISFIT: Broken = Broken::Malformed("a delta does not fit its block");
        let open = self.open;
        told::object(reader, |key, reader| {
            if key != "delta" {
                return Ok(false);
            }
            told::object(reader, |key, reader| {
                let delta = match (key, open) {
                    ("text", Open::Text) => Delta::Text(reader.string()?),
                    ("thinking", Open::Thought) => Delta::Thought(reader.string()?),
                    ("signature", Open::Thought) => Delta::Seal(Seal::from_text(reader.string()?)),
                    ("partial_json", Open::Call) => Delta::Arguments(reader.string()?),
                    ("partial_json", Open::Answer) => Delta::Text(reader.string()?),
                    ("citation", Open::Text) => Delta::Annotation(reply_in::citation(reader)?),
                    ("text" | "thinking" | "signature" | "partial_json" | "citation", _) => {
                        return Err(MISFIT);
                    }
                    _ => return Ok(false),
                };
                let empty = match &delta {
                    Delta::Text(text) | Delta::Thought(text) | Delta::Arguments(text) => {
                        text.is_empty()
                    }
                    Delta::Seal(seal) => seal.data.is_empty(),
                    Delta::Annotation(_) | Delta::Logprobs(_) => false,
                };
                if !empty {
                    sink(Event::Delta(delta));
                }
                Ok::<_, Broken>(true)
            })?;
            Ok::<_, Broken>(true)
        })
    }

    fn message_delta(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let (mut reason, mut stop_sequence) = (None, None);
        told::object(reader, |key, reader| {
            match key {
                "delta" => told::object(reader, |key, reader| {
                    match key {
                        "stop_reason" => reason = told::text(reader)?,
                        "stop_sequence" => stop_sequence = told::text(reader)?,
                        _ => return Ok(false),
                    }
                    Ok::<_, Fault>(true)
                })?,
                "usage" => self.counts.merge(reader)?,
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        if !self.started {
            return Err(Broken::Malformed("it goes on before it starts"));
        }
        self.tell_usage(sink);
        let Some(reason) = reason else { return Ok(()) };
        if self.finished || self.open != Open::Nothing {
            return Err(Broken::Malformed("a stop reason comes where none can"));
        }
        self.finished = true;
        let reason = match words::finish(&reason) {
            Finish::ToolCalls if self.expect.answer_tool.is_some() => Finish::Stop,
            reason => reason,
        };
        sink(Event::Finish { reason, stop_sequence });
        Ok(())
    }
}
