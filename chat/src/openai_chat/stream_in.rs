//! Reads an upstream's stream.

use std::borrow::Cow;

use super::{fault::Told, reply_in, usage, words};
use crate::{
    Broken, Finish,
    json::{Fault, Kind, Reader},
    model::{Block, Delta, Event, Seal, ServiceTier},
    sse::Handle,
    stream::Sink,
    told,
};

/// Makes events of chunks.
#[derive(Debug, Default)]
pub struct Chunks {
    started: bool,
    open: Open,
    /// The index of the call that began last.
    last_call: Option<u64>,
    finish: Option<Finish>,
    tier: Option<ServiceTier>,
    /// A finish reason that is none, until the whole chunk is read: an error may stand beside it.
    failed: Option<Broken>,
    over: bool,
}

/// The block that is open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Refusal,
    Thought,
    Call {
        index: u64,
        id: String,
    },
}

impl Handle for Chunks {
    fn handle(&mut self, _name: &str, data: &str, sink: Sink<'_>) -> Result<(), Broken> {
        if data.trim_ascii() == "[DONE]" {
            if self.finish.is_none() {
                return Err(Broken::Malformed("it ends without a finish reason"));
            }
            self.over = true;
            sink(Event::End);
            return Ok(());
        }
        let mut reader = Reader::new(data);
        if !self.started {
            self.start(reader, sink)?;
            if !self.started {
                return Ok(());
            }
        }
        told::object(&mut reader, |key, reader| {
            match key {
                "choices" if !self.over => {
                    told::array_if(reader, |reader| self.choice(reader, sink))?;
                }
                "usage" => {
                    if let Some(usage) = usage::read(reader)? {
                        sink(Event::Usage(usage));
                    }
                }
                "service_tier" => {
                    let tier = told::text(reader)?.and_then(|word| words::tier(&word));
                    if tier.is_some() && tier != self.tier {
                        self.tier = tier;
                        tier.into_iter().for_each(|tier| sink(Event::Tier(tier)));
                    }
                }
                "error" => return self.error(reader, sink),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        reader.end()?;
        match self.failed.take() {
            Some(broken) if !self.over => Err(broken),
            _ => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

impl Chunks {
    /// The first chunk has what describes the whole answer, in any order. Azure sends one before that has neither a name
    /// nor choices.
    fn start(&mut self, mut ahead: Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let (mut id, mut model, mut created) = (None, None, None);
        let (mut failed, mut empty) = (false, false);
        told::object(&mut ahead, |key, reader| {
            match key {
                "id" => id = told::text(reader)?,
                "model" => model = told::text(reader)?,
                "created" => created = told::count(reader)?,
                "choices" => empty = reader.raw()?.as_str() == "[]",
                "error" => failed = self.error(reader, sink)?,
                _ => return Ok(false),
            }
            Ok::<_, Broken>(true)
        })?;
        ahead.end()?;
        if !failed && !empty {
            self.started = true;
            sink(Event::Start { id, model, created });
        }
        Ok(())
    }

    fn error(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<bool, Broken> {
        if self.over || reader.take_null()? {
            return Ok(self.over);
        }
        let mut told = Told::default();
        told.error(reader)?;
        self.over = true;
        sink(Event::Fault(told.fault(None)));
        Ok(true)
    }

    fn choice(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let mut finish = None;
        told::object(reader, |key, reader| {
            match key {
                "index" => {
                    if told::count(reader)?.is_some_and(|index| index > 0) {
                        return Err(Broken::Untranslatable("it has several choices"));
                    }
                }
                "delta" if reader.kind()? == Kind::Object => self.delta(reader, sink)?,
                "finish_reason" => finish = told::text(reader)?,
                "logprobs" => {
                    if let Some(list) = reply_in::logprobs(reader)? {
                        self.logprobs(list, sink);
                    }
                }
                _ => return Ok(false),
            }
            Ok::<_, Broken>(true)
        })?;
        match finish {
            Some(word) if self.finish.is_none() && !word.is_empty() => self.end(&word, sink),
            _ => Ok(()),
        }
    }

    fn logprobs(&mut self, list: crate::json::Raw<'_>, sink: Sink<'_>) {
        if self.open == Open::Text {
            sink(Event::Delta(Delta::Logprobs(list)));
        }
    }

    fn end(&mut self, word: &str, sink: Sink<'_>) -> Result<(), Broken> {
        // Where the client named the function to call, OpenAI says `stop`.
        let reason = match words::finish(word) {
            Ok(Finish::Stop) if self.last_call.is_some() => Finish::ToolCalls,
            Ok(finish) => finish,
            Err(broken) => {
                self.failed = Some(broken);
                return Ok(());
            }
        };
        self.turn_to(Open::Nothing, None, sink)?;
        self.finish = Some(reason);
        sink(Event::Finish { reason, stop_sequence: None });
        Ok(())
    }

    fn delta(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let mut repeated = false;
        told::object(reader, |key, reader| {
            match key {
                "content" => self.text(reader, Open::Text, Block::Text, sink)?,
                "refusal" => self.text(reader, Open::Refusal, Block::Refusal, sink)?,
                // DeepSeek's and vLLM's name, and OpenRouter's, which some providers send both.
                "reasoning_content" | "reasoning" => {
                    if std::mem::replace(&mut repeated, true) {
                        return Ok(false);
                    }
                    self.text(reader, Open::Thought, Block::Thought { id: None }, sink)?;
                }
                "thinking_blocks" => told::array_if(reader, |reader| self.seal(reader, sink))?,
                "tool_calls" => told::array_if(reader, |reader| self.call(reader, sink))?,
                _ => return Ok(false),
            }
            Ok::<_, Broken>(true)
        })
    }

    /// A piece of text, a refusal or reasoning. Providers send empty ones, and `null`, along with others.
    fn text(
        &mut self,
        reader: &mut Reader<'_>,
        kind: Open,
        block: Block<'_>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        let text = match reader.kind()? {
            Kind::String => reader.string()?,
            Kind::Null => return Ok(reader.skip()?),
            _ => return Err(Broken::Untranslatable("it has content that is no text")),
        };
        if text.is_empty() {
            return Ok(());
        }
        let thought = kind == Open::Thought;
        self.turn_to(kind, Some(block), sink)?;
        sink(Event::Delta(if thought { Delta::Thought(text) } else { Delta::Text(text) }));
        Ok(())
    }

    /// A gateway's piece of a block of reasoning: its text is repeated in `reasoning_content`, so that only the seal is
    /// of interest.
    fn seal(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let (mut seal, mut redacted) = (None, false);
        told::object_if(reader, |key, reader| {
            match key {
                "type" => redacted = told::text(reader)?.as_deref() == Some("redacted_thinking"),
                "signature" | "data" => seal = told::text(reader)?,
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        let Some(seal) = seal.filter(|seal| !seal.is_empty()).map(Seal::from_text) else {
            return Ok(());
        };
        if redacted {
            self.turn_to(Open::Nothing, None, sink)?;
            sink(Event::BlockStart(Block::Redacted(seal)));
            sink(Event::BlockEnd);
            return Ok(());
        }
        self.turn_to(Open::Thought, Some(Block::Thought { id: None }), sink)?;
        sink(Event::Delta(Delta::Seal(seal)));
        self.turn_to(Open::Nothing, None, sink)
    }

    fn call(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let mut index = 0;
        let (mut id, mut name, mut arguments, mut seal) = (None, None, None, None);
        told::object(reader, |key, reader| {
            match key {
                "index" => index = told::count(reader)?.unwrap_or(0),
                "id" => id = told::text(reader)?.filter(|id| !id.is_empty()),
                "function" => {
                    told::object_if(reader, |key, reader| {
                        match key {
                            "name" => name = told::text(reader)?.filter(|name| !name.is_empty()),
                            "arguments" => arguments = told::text(reader)?,
                            _ => return Ok(false),
                        }
                        Ok::<_, Fault>(true)
                    })?;
                }
                "extra_content" => seal = reply_in::thought_signature(reader)?,
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        if !self.goes_on(index, id.as_deref()) {
            self.begin_call(index, id, name, seal, sink)?;
        }
        if let Some(arguments) = arguments.filter(|arguments| !arguments.is_empty()) {
            sink(Event::Delta(Delta::Arguments(arguments)));
        }
        Ok(())
    }

    /// Whether a piece belongs to the open call. Some providers give all calls the same index, so that the id decides.
    fn goes_on(&self, piece: u64, piece_id: Option<&str>) -> bool {
        match &self.open {
            Open::Call { index, id } => *index == piece && piece_id.is_none_or(|other| other == id),
            _ => false,
        }
    }

    fn begin_call<'a>(
        &mut self,
        index: u64,
        id: Option<Cow<'a, str>>,
        name: Option<Cow<'a, str>>,
        seal: Option<Cow<'a, str>>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        let (Some(id), Some(name)) = (id, name) else {
            let earlier = self.last_call.is_some_and(|last| index <= last);
            return Err(Broken::Malformed(if earlier {
                "pieces of several calls of tools are mixed"
            } else {
                "a call of a tool has no id or no name"
            }));
        };
        self.last_call = Some(index);
        let open = Open::Call { index, id: id.clone().into_owned() };
        self.turn_to(open, Some(Block::ToolCall { id, name, seal }), sink)
    }

    /// Closes the open block and opens another, unless it is the same.
    fn turn_to(
        &mut self,
        open: Open,
        block: Option<Block<'_>>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        if self.open == open {
            return Ok(());
        }
        if self.finish.is_some() {
            return Err(Broken::Malformed("it goes on behind its finish reason"));
        }
        if self.open != Open::Nothing {
            sink(Event::BlockEnd);
        }
        self.open = open;
        if let Some(block) = block {
            sink(Event::BlockStart(block));
        }
        Ok(())
    }
}
