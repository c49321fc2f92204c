//! Reads an upstream's stream.
//!
//! Items come one after the other, each with its parts one after the other; what does not is reported as broken,
//! since the model's blocks do not overlap. Providers that copy the dialect leave out steps: a step that tells a whole text
//! or item stands in for those that would have told its pieces.

use std::borrow::Cow;

use super::{
    fault,
    items_in::PARAGRAPH,
    reply_in::{self, End, FOREIGN, NAMELESS},
    usage,
};
use crate::{
    Broken,
    json::{Fault, Raw, Reader},
    model::{Annotation, Block, Content, Delta, Event, Part, Seal},
    openai_chat,
    sse::Handle,
    stream::Sink,
    told,
};

/// Makes events of the steps of a response.
#[derive(Debug, Default)]
pub struct Steps {
    started: bool,
    /// The place of the item that is open, where it was told.
    index: Option<u64>,
    item: Item,
    /// Whether a block is open.
    block: bool,
    /// Whether the block has text.
    fed: bool,
    /// Whether the answer asks for tools to be run.
    calls: bool,
    over: bool,
}

/// The item that is open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Item {
    #[default]
    None,
    /// A message.
    Message {
        /// Whether its open part is a refusal.
        refusal: bool,
        /// Whether it had a part.
        any: bool,
    },
    /// Reasoning. Its block begins with its first text, since there may be none.
    Reasoning {
        id: Option<String>,
        /// What its text is, once there is some: a summary and the whole of it are told apart.
        source: Option<Source>,
        /// Another paragraph begins.
        paragraph: bool,
    },
    /// A call of a function.
    Call,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Summary,
    Whole,
}

/// The fields of a step, whatever its type. Objects are read when it is known what they are.
#[derive(Default)]
struct Step<'a> {
    index: Option<u64>,
    delta: Option<Cow<'a, str>>,
    whole: Option<Cow<'a, str>>,
    logprobs: Option<Raw<'a>>,
    annotation: Option<Annotation<'a>>,
    item: Option<Reader<'a>>,
    part: Option<Reader<'a>>,
    response: Option<Reader<'a>>,
}

impl<'a> Step<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut step = Self::default();
        told::object(reader, |key, reader| {
            match key {
                "output_index" => step.index = told::count(reader)?,
                "delta" => step.delta = told::text(reader)?,
                "text" | "refusal" | "arguments" => step.whole = told::text(reader)?,
                "logprobs" => step.logprobs = reply_in::logprobs(reader)?,
                "annotation" => step.annotation = Some(reply_in::annotation(reader)?),
                "item" | "part" | "response" => {
                    let place = match key {
                        "item" => &mut step.item,
                        "part" => &mut step.part,
                        _ => &mut step.response,
                    };
                    *place = Some(*reader);
                    return Ok(false);
                }
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        Ok(step)
    }
}

impl Handle for Steps {
    fn handle(&mut self, name: &str, data: &str, sink: Sink<'_>) -> Result<(), Broken> {
        let mut reader = Reader::new(data);
        let whole = reader;
        // Some providers leave out the event's name, and some the data's type.
        let kind = reader.look_up("type")?.unwrap_or(Cow::Borrowed(name));
        let step = Step::read(&mut reader)?;
        reader.end()?;
        match &*kind {
            "response.output_text.delta" => self.said(&step, false, sink),
            "response.refusal.delta" => self.said(&step, true, sink),
            "response.function_call_arguments.delta" => {
                self.arguments(&step, step.delta.clone(), sink)
            }
            "response.reasoning_summary_text.delta" => {
                self.thought(&step, step.delta.clone(), Source::Summary, sink)
            }
            "response.reasoning_text.delta" => {
                self.thought(&step, step.delta.clone(), Source::Whole, sink)
            }
            "response.output_text.done" => self.said_whole(&step, false, sink),
            "response.refusal.done" => self.said_whole(&step, true, sink),
            "response.function_call_arguments.done" if !self.fed => {
                self.arguments(&step, step.whole.clone(), sink)
            }
            "response.reasoning_summary_text.done" if !self.fed => {
                self.thought(&step, step.whole.clone(), Source::Summary, sink)
            }
            "response.reasoning_text.done" if !self.fed => {
                self.thought(&step, step.whole.clone(), Source::Whole, sink)
            }
            "response.reasoning_summary_part.added" => self.paragraph(&step),
            "response.output_text.annotation.added" | "response.output_text_annotation.added" => {
                self.annotation(step, sink)
            }
            "response.content_part.added" => self.part_added(&step, sink),
            "response.content_part.done" => self.part_done(&step, sink),
            "response.output_item.added" => self.item_added(&step, sink),
            "response.output_item.done" => self.item_done(&step, sink),
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(&step, sink)
            }
            "response.completed" => self.end(&step, "completed", sink),
            "response.incomplete" => self.end(&step, "incomplete", sink),
            "response.failed" | "response.cancelled" => self.fail(&step, sink),
            "error" => {
                self.over = true;
                sink(Event::Fault(fault::of_event(whole)?));
                Ok(())
            }
            // OpenAI adds steps at any time. Those of tools that it runs come with items that are refused.
            _ => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

impl Steps {
    /// Any step may be the first, of providers that leave out those that begin.
    fn start(&mut self, step: &Step<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let (mut id, mut model, mut created) = (None, None, None);
        if let Some(mut reader) = step.response {
            told::object_if(&mut reader, |key, reader| {
                match key {
                    "id" => id = told::text(reader)?,
                    "model" => model = told::text(reader)?,
                    "created_at" => created = told::count(reader)?,
                    _ => return Ok(false),
                }
                Ok::<_, Fault>(true)
            })?;
        }
        sink(Event::Start { id, model, created });
        Ok(())
    }

    /// Whether a step belongs to the open item, which it has to.
    fn here(&self, step: &Step<'_>) -> Result<(), Broken> {
        match (step.index, self.index) {
            (Some(told), Some(open)) if told != open => {
                Err(Broken::Malformed("pieces of several items are mixed"))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, block: Block<'_>, sink: Sink<'_>) {
        self.block = true;
        self.fed = false;
        sink(Event::BlockStart(block));
    }

    fn close_block(&mut self, sink: Sink<'_>) {
        if std::mem::take(&mut self.block) {
            sink(Event::BlockEnd);
        }
        self.fed = false;
    }

    /// A piece of a message's part.
    fn said(&mut self, step: &Step<'_>, refusal: bool, sink: Sink<'_>) -> Result<(), Broken> {
        self.turn_to_part(step, refusal, sink)?;
        if let Some(text) = step.delta.as_ref().filter(|text| !text.is_empty()) {
            self.fed = true;
            sink(Event::Delta(Delta::Text(Cow::Borrowed(text))));
        }
        if let (false, Some(list)) = (refusal, &step.logprobs) {
            sink(Event::Delta(Delta::Logprobs(list.clone())));
        }
        Ok(())
    }

    /// A part's whole text, which stands in for its pieces.
    fn said_whole(&mut self, step: &Step<'_>, refusal: bool, sink: Sink<'_>) -> Result<(), Broken> {
        self.here(step)?;
        let whole = step.whole.as_ref().filter(|text| !text.is_empty());
        let Some(text) = whole.filter(|_| !self.fed) else { return Ok(()) };
        self.turn_to_part(step, refusal, sink)?;
        self.fed = true;
        sink(Event::Delta(Delta::Text(Cow::Borrowed(text))));
        Ok(())
    }

    /// Opens a message's part, unless it is open.
    fn turn_to_part(
        &mut self,
        step: &Step<'_>,
        wanted: bool,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        self.start(step, sink)?;
        self.here(step)?;
        match &mut self.item {
            Item::Message { refusal, .. } if self.block && *refusal == wanted => return Ok(()),
            Item::Message { refusal, any } => {
                *refusal = wanted;
                *any = true;
            }
            Item::None => {
                self.index = step.index;
                self.item = Item::Message { refusal: wanted, any: true };
            }
            Item::Reasoning { .. } | Item::Call => {
                return Err(Broken::Malformed("a text does not fit its item"));
            }
        }
        self.close_block(sink);
        self.begin(if wanted { Block::Refusal } else { Block::Text }, sink);
        Ok(())
    }

    fn part_added(&mut self, step: &Step<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        self.here(step)?;
        let kind = match &step.part {
            Some(part) => part.look_up("type")?,
            None => None,
        };
        match kind.as_deref() {
            Some("output_text") => {
                self.close_block(sink);
                self.turn_to_part(step, false, sink)
            }
            Some("refusal") => {
                self.close_block(sink);
                self.turn_to_part(step, true, sink)
            }
            Some("reasoning_text") => self.paragraph(step),
            _ => Err(Broken::Untranslatable("it has a part that is no text")),
        }
    }

    fn part_done(&mut self, step: &Step<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        self.here(step)?;
        if matches!(self.item, Item::Message { .. }) {
            self.close_block(sink);
        }
        Ok(())
    }

    /// A paragraph of reasoning begins.
    fn paragraph(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        self.here(step)?;
        if let Item::Reasoning { paragraph, .. } = &mut self.item {
            *paragraph = self.block;
            self.fed = false;
        }
        Ok(())
    }

    fn thought(
        &mut self,
        step: &Step<'_>,
        text: Option<Cow<'_, str>>,
        told: Source,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        self.here(step)?;
        let Item::Reasoning { id, source, paragraph } = &mut self.item else {
            return Err(Broken::Malformed("a thought does not fit its item"));
        };
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(()) };
        // A provider that tells both tells the same twice.
        if *source.get_or_insert(told) != told {
            return Ok(());
        }
        let separated = std::mem::take(paragraph);
        if !self.block {
            let id = id.take().map(Cow::Owned);
            self.begin(Block::Thought { id }, sink);
        }
        if separated {
            sink(Event::Delta(Delta::Thought(PARAGRAPH.into())));
        }
        self.fed = true;
        sink(Event::Delta(Delta::Thought(text)));
        Ok(())
    }

    fn arguments(
        &mut self,
        step: &Step<'_>,
        text: Option<Cow<'_, str>>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        self.here(step)?;
        if self.item != Item::Call {
            return Err(Broken::Malformed("arguments do not fit their item"));
        }
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.fed = true;
            sink(Event::Delta(Delta::Arguments(text)));
        }
        Ok(())
    }

    fn annotation(&mut self, step: Step<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        self.turn_to_part(&step, false, sink)?;
        step.annotation.into_iter().for_each(|found| sink(Event::Delta(Delta::Annotation(found))));
        Ok(())
    }

    fn item_added(&mut self, step: &Step<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        self.start(step, sink)?;
        self.close_block(sink);
        let (mut kind, mut id, mut call_id, mut name) = (None, None, None, None);
        if let Some(mut reader) = step.item {
            told::object(&mut reader, |key, reader| {
                match key {
                    "type" => kind = told::text(reader)?,
                    "id" => id = told::text(reader)?,
                    "call_id" => call_id = told::text(reader)?,
                    "name" => name = told::text(reader)?,
                    _ => return Ok(false),
                }
                Ok::<_, Fault>(true)
            })?;
        }
        self.index = step.index;
        match kind.as_deref() {
            Some("message") => self.item = Item::Message { refusal: false, any: false },
            Some("reasoning") => {
                let id = id.map(Cow::into_owned);
                self.item = Item::Reasoning { id, source: None, paragraph: false };
            }
            Some("function_call") => {
                let (Some(id), Some(name)) = (call_id, name) else { return Err(NAMELESS) };
                self.item = Item::Call;
                self.calls = true;
                self.begin(Block::ToolCall { id, name, seal: None }, sink);
            }
            _ => return Err(FOREIGN),
        }
        Ok(())
    }

    /// The whole item. What of it was not told in pieces is told now.
    fn item_done(&mut self, step: &Step<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        self.start(step, sink)?;
        self.here(step)?;
        let Some(mut reader) = step.item else {
            return Err(Broken::Malformed("an item is missing"));
        };
        let parts = reply_in::item(&mut reader)?.parts;
        match std::mem::take(&mut self.item) {
            Item::Message { any: true, .. } => {}
            Item::None | Item::Message { .. } => {
                parts.into_iter().for_each(|part| self.whole_part(part, sink));
            }
            Item::Reasoning { id, .. } => {
                let thought = parts.into_iter().find_map(|part| match part.content {
                    Content::Thought(thought) => Some(thought),
                    _ => None,
                });
                if let Some(thought) = thought {
                    let text = if self.block { Cow::default() } else { thought.text };
                    self.whole_thought(id.map(Cow::Owned).or(thought.id), text, thought.seal, sink);
                }
            }
            Item::Call => {
                for part in parts {
                    if let Content::ToolCall(call) = part.content
                        && !self.fed
                    {
                        let text = call.arguments.as_text();
                        sink(Event::Delta(Delta::Arguments(text.into())));
                    }
                }
            }
        }
        self.close_block(sink);
        self.index = None;
        Ok(())
    }

    /// A part that was told at once.
    fn whole_part(&mut self, part: Part<'_>, sink: Sink<'_>) {
        match part.content {
            Content::Text { text, annotations } => {
                self.begin(Block::Text, sink);
                self.whole_text(text, sink);
                for annotation in annotations {
                    sink(Event::Delta(Delta::Annotation(annotation)));
                }
            }
            Content::Refusal(text) => {
                self.begin(Block::Refusal, sink);
                self.whole_text(text, sink);
            }
            Content::Thought(thought) => {
                self.whole_thought(thought.id, thought.text, thought.seal, sink);
            }
            Content::ToolCall(call) => {
                self.calls = true;
                self.begin(Block::ToolCall { id: call.id, name: call.name, seal: None }, sink);
                sink(Event::Delta(Delta::Arguments(call.arguments.as_text().into())));
            }
            // No item of an answer has them.
            _ => {}
        }
        self.close_block(sink);
    }

    fn whole_text(&mut self, text: Cow<'_, str>, sink: Sink<'_>) {
        if !text.is_empty() {
            sink(Event::Delta(Delta::Text(text)));
        }
    }

    /// What of a thought is left to tell. Its block is left open.
    fn whole_thought(
        &mut self,
        id: Option<Cow<'_, str>>,
        text: Cow<'_, str>,
        seal: Option<Seal<'_>>,
        sink: Sink<'_>,
    ) {
        if !self.block {
            self.begin(Block::Thought { id }, sink);
        }
        if !text.is_empty() {
            sink(Event::Delta(Delta::Thought(text)));
        }
        seal.into_iter().for_each(|seal| sink(Event::Delta(Delta::Seal(seal))));
    }

    fn end(&mut self, step: &Step<'_>, status: &str, sink: Sink<'_>) -> Result<(), Broken> {
        self.start(step, sink)?;
        self.close_block(sink);
        let mut end = End::default();
        let (mut used, mut tier) = (None, None);
        if let Some(mut reader) = step.response {
            told::object(&mut reader, |key, reader| {
                match key {
                    "usage" => used = usage::read(reader)?,
                    "service_tier" => tier = told::text(reader)?,
                    _ => return end.field(key, reader),
                }
                Ok(true)
            })?;
        }
        used.into_iter().for_each(|usage| sink(Event::Usage(usage)));
        let tier = tier.and_then(|word| openai_chat::words::tier(&word));
        tier.into_iter().for_each(|tier| sink(Event::Tier(tier)));
        let reason = end.finish(status, self.calls)?;
        sink(Event::Finish { reason, stop_sequence: None });
        self.over = true;
        sink(Event::End);
        Ok(())
    }

    fn fail(&mut self, step: &Step<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let (mut failed, mut used) = (None, None);
        if let Some(mut reader) = step.response {
            told::object(&mut reader, |key, reader| {
                match key {
                    "error" => failed = Some(fault::of_object(reader)?),
                    "usage" => used = usage::read(reader)?,
                    _ => return Ok(false),
                }
                Ok::<_, Fault>(true)
            })?;
        }
        if self.started {
            used.into_iter().for_each(|usage| sink(Event::Usage(usage)));
        }
        let nothing = || crate::Fault::new(crate::FaultKind::Server, "");
        self.over = true;
        sink(Event::Fault(failed.unwrap_or_else(nothing)));
        Ok(())
    }
}
