//! Reads an answer's chunks. One that comes as one document is one chunk.

use std::borrow::Cow;

use super::{fault::Told, logprobs_in, usage::Counts, words};
use crate::{
    Broken, Finish, digest,
    json::{Fault, Kind, Raw, Reader},
    model::{Block, Delta, Event, Maker, Seal, ServiceTier},
    told,
};

/// Who gets the events of a chunk. They may borrow from it.
pub type Give<'s, 'a> = &'s mut dyn FnMut(Event<'a>);

/// What is known of an answer so far.
#[derive(Debug, Default)]
pub struct Answer {
    started: bool,
    open: Open,
    /// Of the provider's name for the answer, what names for its calls are made of.
    id: String,
    calls: u64,
    counts: Counts,
    tier: Option<ServiceTier>,
    finish: Option<Finish>,
    failed: bool,
}

/// The block that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thought,
}

/// Where the fields of a chunk are: what describes it may stand behind what it describes.
#[derive(Default)]
struct Places<'a> {
    id: Option<Cow<'a, str>>,
    model: Option<Cow<'a, str>>,
    error: Option<Reader<'a>>,
    candidates: Option<Reader<'a>>,
    usage: Option<Reader<'a>>,
    block_reason: Option<Cow<'a, str>>,
}

impl<'a> Places<'a> {
    fn find(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut places = Self::default();
        told::object(reader, |key, reader| {
            match key {
                "responseId" => places.id = told::text(reader)?,
                "modelVersion" => places.model = told::text(reader)?,
                "promptFeedback" => {
                    told::object_if(reader, |key, reader| {
                        if key != "blockReason" {
                            return Ok(false);
                        }
                        places.block_reason = told::text(reader)?;
                        Ok::<_, Fault>(true)
                    })?;
                }
                "error" | "candidates" | "usageMetadata" => {
                    let place = match key {
                        "error" => &mut places.error,
                        "candidates" => &mut places.candidates,
                        _ => &mut places.usage,
                    };
                    *place = Some(*reader);
                    return Ok(false);
                }
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        Ok(places)
    }
}

impl Answer {
    /// Reads a chunk, behind which nothing may follow.
    pub fn chunk<'a>(&mut self, reader: &mut Reader<'a>, give: Give<'_, 'a>) -> Result<(), Broken> {
        let places = Places::find(reader)?;
        reader.end()?;
        if let Some(mut error) = places.error {
            let mut told = Told::default();
            told.error(&mut error)?;
            self.failed = true;
            give(Event::Fault(told.event_fault()));
            return Ok(());
        }
        if !std::mem::replace(&mut self.started, true) {
            let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let id = places.id.as_deref().unwrap_or_default();
            self.id = id.chars().filter(fits).take(24).collect();
            give(Event::Start { id: places.id, model: places.model, created: None });
        }
        if let Some(mut usage) = places.usage {
            self.usage(&mut usage, give)?;
        }
        if let Some(mut candidates) = places.candidates {
            told::array_if(&mut candidates, |reader| self.candidate(reader, give))?;
        }
        let is_blocked = places.block_reason.is_some_and(|word| words::is_blocked(&word));
        if is_blocked && self.finish.is_none() {
            self.finish = Some(Finish::ContentFilter);
        }
        Ok(())
    }

    /// The last chunk was read. `false` if none told a finish reason.
    pub fn end(&mut self, give: Give<'_, '_>) -> bool {
        let Some(reason) = self.finish else { return false };
        self.close(give);
        let reason = match reason {
            Finish::Stop if self.calls > 0 => Finish::ToolCalls,
            reason => reason,
        };
        give(Event::Finish { reason, stop_sequence: None });
        true
    }

    /// Whether the provider told an error in place of an answer.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn usage<'a>(&mut self, reader: &mut Reader<'a>, give: Give<'_, 'a>) -> Result<(), Fault> {
        let before = self.counts.usage();
        self.counts.merge(reader)?;
        if let Some(usage) = self.counts.usage().filter(|usage| Some(*usage) != before) {
            give(Event::Usage(usage));
        }
        let tier = self.counts.tier();
        if tier != self.tier {
            self.tier = tier;
            tier.into_iter().for_each(|tier| give(Event::Tier(tier)));
        }
        Ok(())
    }

    fn candidate<'a>(&mut self, reader: &mut Reader<'a>, give: Give<'_, 'a>) -> Result<(), Broken> {
        let (mut content, mut logprobs, mut reason) = (None, None, None);
        told::object(reader, |key, reader| {
            match key {
                "index" => {
                    if told::count(reader)?.is_some_and(|index| index > 0) {
                        return Err(Broken::Untranslatable("it has several candidates"));
                    }
                }
                "content" => {
                    content = Some(*reader);
                    return Ok(false);
                }
                "logprobsResult" => {
                    logprobs = Some(*reader);
                    return Ok(false);
                }
                "finishReason" => reason = told::text(reader)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if let Some(mut content) = content {
            told::object_if(&mut content, |key, reader| {
                if key != "parts" {
                    return Ok(false);
                }
                told::array_if(reader, |reader| self.part(reader, give))?;
                Ok::<_, Broken>(true)
            })?;
        }
        if let Some(list) =
            logprobs.map(|mut place| logprobs_in::read(&mut place)).transpose()?.flatten()
            && self.open == Open::Text
        {
            give(Event::Delta(Delta::Logprobs(list)));
        }
        // Some models tell one with every chunk: the last one counts.
        let reason = reason.map(|word| words::finish(&word)).transpose()?.flatten();
        self.finish = reason.or(self.finish);
        Ok(())
    }

    fn part<'a>(&mut self, reader: &mut Reader<'a>, give: Give<'_, 'a>) -> Result<(), Broken> {
        let (mut text, mut seal, mut is_thought, mut call) = (None, None, false, None);
        told::object(reader, |key, reader| {
            match key {
                "text" => text = told::text(reader)?.filter(|text| !text.is_empty()),
                "thought" if reader.kind()? == Kind::Bool => is_thought = reader.boolean()?,
                "thoughtSignature" => seal = told::text(reader)?.filter(|seal| !seal.is_empty()),
                "functionCall" => call = Some(Call::read(reader)?),
                "inlineData"
                | "fileData"
                | "executableCode"
                | "codeExecutionResult"
                | "functionResponse"
                | "toolCall"
                | "toolResponse" => {
                    return Err(Broken::Untranslatable("it has content that is no text"));
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if text.is_none() && seal.is_none() && call.is_none() {
            return Ok(());
        }
        if let Some(call) = call {
            self.call(call, seal, give);
            return Ok(());
        }
        if let Some(text) = text {
            let (open, block) = if is_thought {
                (Open::Thought, Block::Thought { id: None })
            } else {
                (Open::Text, Block::Text)
            };
            if self.open != open {
                self.close(give);
                self.open = open;
                give(Event::BlockStart(block));
            }
            give(Event::Delta(if is_thought { Delta::Thought(text) } else { Delta::Text(text) }));
        }
        if let Some(seal) = seal {
            self.seal(seal, is_thought, give);
        }
        Ok(())
    }

    /// A seal on a thought ends it. One on a text, which may come behind it on a part of its own without any text, becomes a
    /// thought of which nothing may be shown: that is what clients of every dialect send back.
    fn seal<'a>(&mut self, seal: Cow<'a, str>, of_thought: bool, give: Give<'_, 'a>) {
        if !of_thought || self.open != Open::Thought {
            self.close(give);
            give(Event::BlockStart(Block::Thought { id: None }));
        }
        self.open = Open::Thought;
        give(Event::Delta(Delta::Seal(Seal::new(Maker::Gemini, seal))));
        self.close(give);
    }

    /// Calls come whole.
    fn call<'a>(&mut self, call: Call<'a>, seal: Option<Cow<'a, str>>, give: Give<'_, 'a>) {
        self.close(give);
        let id = call.id.clone().unwrap_or_else(|| self.name_for(&call).into());
        self.calls += 1;
        give(Event::BlockStart(Block::ToolCall { id, name: call.name, seal }));
        if let Some(arguments) = call.arguments {
            give(Event::Delta(Delta::Arguments(arguments.into_text())));
        }
        give(Event::BlockEnd);
    }

    /// An identifier for a call without one: the same whenever the answer is read again, and another in each answer. It has
    /// only characters that every dialect takes.
    fn name_for(&self, call: &Call<'_>) -> String {
        if self.id.is_empty() {
            let arguments = call.arguments.as_ref().map_or("", |arguments| arguments.as_str());
            return format!("call_{:016x}_{}", digest::of([&*call.name, arguments]), self.calls);
        }
        format!("call_{}_{}", self.id, self.calls)
    }

    fn close<'a>(&mut self, give: Give<'_, 'a>) {
        if std::mem::take(&mut self.open) != Open::Nothing {
            give(Event::BlockEnd);
        }
    }
}

/// A call of a tool.
struct Call<'a> {
    id: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
    arguments: Option<Raw<'a>>,
}

impl<'a> Call<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Broken> {
        let (mut id, mut name, mut arguments) = (None, None, None);
        told::object(reader, |key, reader| {
            match key {
                "id" => id = told::text(reader)?.filter(|id| !id.is_empty()),
                "name" => name = told::text(reader)?.filter(|name| !name.is_empty()),
                "args" => match reader.kind()? {
                    Kind::Object => arguments = Some(reader.raw()?),
                    Kind::Null => reader.skip()?,
                    _ => return Err(Broken::Malformed("arguments of a call are no object")),
                },
                // Vertex AI gives them where it is asked to, which we never do.
                "partialArgs" => {
                    return Err(Broken::Untranslatable("arguments of a call come in pieces"));
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let name = name.ok_or(Broken::Malformed("a call of a tool has no name"))?;
        Ok(Self { id, name, arguments: arguments.filter(|raw| raw.as_str() != "{}") })
    }
}
