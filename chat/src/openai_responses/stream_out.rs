//! Writes a stream for a client.
//!
//! The last event repeats the whole answer, so that all of it is kept until then: at most [`MAX_KEPT`] bytes. An answer
//! that is longer ends as one that failed.

use super::{
    fault,
    object::{self, Names, State},
    output::{Kind, Output, PartKind, list, quoted},
    words::{self, Status},
};
use crate::{
    Envelope, Fault, FaultKind, Finish, Usage,
    json::{Raw, Writer},
    model::{Annotation, Block, Delta, Event, ServiceTier},
    sse::MAX_EVENT,
    stream::Encode,
};

/// The longest answer that is written, in bytes of JSON. Readers give up on longer events; answers of the longest limits are
/// a quarter of it.
pub const MAX_KEPT: usize = MAX_EVENT;

/// Writes the steps of a response.
pub struct StepWriter {
    envelope: Envelope,
    /// What names the answer, once it began.
    names: Option<(String, u64, String)>,
    /// The number of the next event.
    number: u64,
    output: Output,
    usage: Option<Usage>,
    /// What to add to the usage.
    usage_members: String,
    tier: Option<ServiceTier>,
    finish: Option<Finish>,
    /// The answer was too long: nothing more is written.
    silent: bool,
}

impl StepWriter {
    /// At the start of a stream.
    pub fn new(envelope: Envelope) -> Self {
        Self {
            envelope,
            names: None,
            number: 0,
            output: Output::new(""),
            usage: None,
            usage_members: String::new(),
            tier: None,
            finish: None,
            silent: false,
        }
    }

    fn step(&mut self, name: &'static str, out: &mut Vec<u8>, rest: impl FnOnce(&mut Writer<'_>)) {
        write_step(&mut self.number, name, out, rest);
    }

    fn start(
        &mut self,
        id: Option<&str>,
        model: Option<&str>,
        created: Option<u64>,
        out: &mut Vec<u8>,
    ) {
        let id = self.envelope.id(id).to_owned();
        self.output = Output::new(&id);
        let model = self.envelope.model(model).to_owned();
        self.names = Some((id, created.unwrap_or(self.envelope.created), model));
        for name in ["response.created", "response.in_progress"] {
            self.response(name, Status::InProgress, None, None, out);
        }
    }

    /// A step that holds the whole answer as it is now.
    fn response(
        &mut self,
        name: &'static str,
        status: Status,
        reason: Option<&str>,
        fault: Option<&Fault>,
        out: &mut Vec<u8>,
    ) {
        let Self { envelope, names, number, output, .. } = self;
        let names = match names {
            Some((id, created, model)) => Names { id, created: *created, model },
            None => {
                Names { id: &envelope.id, created: envelope.created, model: envelope.model(None) }
            }
        };
        let mut state = State::new(status, reason);
        if status != Status::InProgress {
            state.fault = fault;
            state.usage = self.usage.as_ref();
            state.usage_members = &self.usage_members;
            state.tier = self.tier;
        }
        write_step(number, name, out, |writer| {
            writer.key("response");
            object::write(names, &state, output.finished(), envelope, writer);
        });
    }

    fn block(&mut self, block: &Block<'_>, out: &mut Vec<u8>) {
        match block {
            Block::Text => self.content_part(PartKind::Text, out),
            Block::Refusal => self.content_part(PartKind::Refusal, out),
            Block::Thought { id } => self.begin(Kind::Reasoning, id.as_deref(), out),
            Block::Redacted(seal) => {
                self.begin(Kind::Reasoning, None, out);
                if let Some(item) = self.output.item() {
                    item.seal(seal, true);
                }
            }
            Block::ToolCall { id, name, seal } => {
                if let Some(seal) = seal {
                    self.begin(Kind::Reasoning, None, out);
                    if let Some(item) = self.output.item() {
                        item.seal_of_next(seal);
                    }
                }
                let call_id = id.clone().into_owned();
                let name = name.clone().into_owned();
                self.begin(Kind::Call { call_id, name }, None, out);
            }
        }
    }

    /// Begins an item; ends the one before.
    fn begin(&mut self, kind: Kind, id: Option<&str>, out: &mut Vec<u8>) {
        self.finish_item(Status::Completed, out);
        let item = self.output.begin(kind, id);
        write_step(&mut self.number, "response.output_item.added", out, |writer| {
            writer.count_field("output_index", item.index()).key("item");
            item.write(Status::InProgress, writer);
        });
    }

    /// An item is ended when the next begins or the answer ends, since its status depends on it.
    fn finish_item(&mut self, status: Status, out: &mut Vec<u8>) {
        let Some((index, item)) = self.output.finish(status) else { return };
        write_step(&mut self.number, "response.output_item.done", out, |writer| {
            writer.count_field("output_index", index).key("item");
            writer.buffer().extend_from_slice(item);
        });
    }

    fn content_part(&mut self, kind: PartKind, out: &mut Vec<u8>) {
        if !self.output.in_message() {
            self.begin(Kind::Message, None, out);
        }
        self.open_part(kind, "response.content_part.added", out);
    }

    fn open_part(&mut self, kind: PartKind, name: &'static str, out: &mut Vec<u8>) {
        let Some(item) = self.output.item() else { return };
        item.open_part(kind);
        write_step(&mut self.number, name, out, |writer| {
            place(item, writer);
            writer.key("part");
            item.write_part(writer);
        });
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) => {
                let refusal =
                    self.output.item().is_some_and(|item| item.part() == Some(PartKind::Refusal));
                if refusal {
                    self.text("response.refusal.delta", text, out);
                } else {
                    self.text("response.output_text.delta", text, out);
                }
            }
            Delta::Thought(text) => {
                if self.output.item().is_some_and(|item| item.part().is_none()) {
                    let name = "response.reasoning_summary_part.added";
                    self.open_part(PartKind::Summary, name, out);
                }
                self.text("response.reasoning_summary_text.delta", text, out);
            }
            Delta::Arguments(text) => {
                self.text("response.function_call_arguments.delta", text, out);
            }
            Delta::Seal(seal) => {
                if let Some(item) = self.output.item() {
                    item.seal(seal, false);
                }
            }
            Delta::Annotation(annotation) => self.annotation(annotation, out),
            Delta::Logprobs(list) => self.logprobs(list, out),
        }
    }

    /// Gives up on an answer that is too long to be repeated.
    fn bound(&mut self, out: &mut Vec<u8>) {
        if self.output.size() > MAX_KEPT {
            let fault = Fault::new(FaultKind::Server, "The answer is longer than is supported.");
            self.fail(&fault, out);
            self.silent = true;
        }
    }

    fn text(&mut self, name: &'static str, text: &str, out: &mut Vec<u8>) {
        let Some(item) = self.output.item() else { return };
        write_step(&mut self.number, name, out, |writer| {
            place(item, writer);
            writer.key("delta");
            quoted(item.add_text(text), writer);
            if item.part() == Some(PartKind::Text) {
                list("logprobs", &[], writer);
            }
        });
    }

    fn annotation(&mut self, annotation: &Annotation<'_>, out: &mut Vec<u8>) {
        let Some(item) = self.output.item() else { return };
        let mut added = Vec::new();
        let Some(index) = item.add_annotation(annotation).map(|(index, form)| {
            added.extend_from_slice(form);
            index
        }) else {
            return;
        };
        write_step(&mut self.number, "response.output_text.annotation.added", out, |writer| {
            place(item, writer);
            writer.count_field("annotation_index", index).key("annotation");
            writer.buffer().extend_from_slice(&added);
        });
    }

    /// They come behind the text that they belong to: a step of their own, without text.
    fn logprobs(&mut self, logprobs: &Raw<'_>, out: &mut Vec<u8>) {
        let Some(item) = self.output.item() else { return };
        item.add_logprobs(logprobs);
        write_step(&mut self.number, "response.output_text.delta", out, |writer| {
            place(item, writer);
            writer.field("delta", "").key("logprobs").raw_line(logprobs.as_str());
        });
    }

    fn block_end(&mut self, out: &mut Vec<u8>) {
        let Some(item) = self.output.item() else { return };
        let is_call = matches!(item.kind(), Kind::Call { .. });
        if is_call && item.text().is_empty() {
            // Text that is no JSON would fail a client's parser.
            self.text("response.function_call_arguments.delta", "{}", out);
        }
        let Self { output, number, .. } = self;
        let Some(item) = output.item() else { return };
        if let Kind::Call { name, .. } = item.kind() {
            write_step(number, "response.function_call_arguments.done", out, |writer| {
                place(item, writer);
                writer.field("name", name).key("arguments");
                quoted(item.text(), writer);
            });
            return;
        }
        let Some(part) = item.part() else { return };
        let (done, key, part_done) = match part {
            PartKind::Text => ("response.output_text.done", "text", "response.content_part.done"),
            PartKind::Refusal => ("response.refusal.done", "refusal", "response.content_part.done"),
            PartKind::Summary => (
                "response.reasoning_summary_text.done",
                "text",
                "response.reasoning_summary_part.done",
            ),
        };
        write_step(number, done, out, |writer| {
            place(item, writer);
            writer.key(key);
            quoted(item.text(), writer);
            if part == PartKind::Text {
                list("logprobs", item.logprobs(), writer);
            }
        });
        write_step(number, part_done, out, |writer| {
            place(item, writer);
            writer.key("part");
            item.write_part(writer);
        });
        item.close_part();
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let (status, reason) = words::status(self.finish.unwrap_or(Finish::Stop));
        self.finish_item(status, out);
        let name = match status {
            Status::Incomplete => "response.incomplete",
            _ => "response.completed",
        };
        self.response(name, status, reason, None, out);
    }

    /// Both events that tell it: some clients know the one, some the other.
    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        self.step("error", out, |writer| fault::write_event(fault, writer));
        if self.names.is_none() {
            return;
        }
        self.response("response.failed", Status::Failed, None, Some(fault), out);
    }
}

fn write_step(
    number: &mut u64,
    name: &'static str,
    out: &mut Vec<u8>,
    rest: impl FnOnce(&mut Writer<'_>),
) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut writer = Writer::new(out);
    writer.open().field("type", name).count_field("sequence_number", *number);
    *number += 1;
    rest(&mut writer);
    writer.close();
    out.extend_from_slice(b"\n\n");
}

/// The fields that tell where a step belongs.
fn place(item: &super::output::Item, writer: &mut Writer<'_>) {
    writer.field("item_id", item.id()).count_field("output_index", item.index());
    match item.kind() {
        Kind::Message => _ = writer.count_field("content_index", item.part_index()),
        Kind::Reasoning => _ = writer.count_field("summary_index", item.part_index()),
        Kind::Call { .. } => {}
    }
}

impl Encode for StepWriter {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.silent {
            return;
        }
        match event {
            Event::Start { id, model, created } => {
                self.start(id.as_deref(), model.as_deref(), *created, out);
            }
            Event::BlockStart(block) => {
                self.block(block, out);
                self.bound(out);
            }
            Event::Delta(delta) => {
                self.delta(delta, out);
                self.bound(out);
            }
            Event::BlockEnd => self.block_end(out),
            Event::Tier(tier) => self.tier = Some(*tier),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish { reason, .. } => {
                self.finish = Some(*reason);
                self.finish_item(words::status(*reason).0, out);
            }
            // A comment, which every reader passes over.
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::End => self.end(out),
            Event::Fault(fault) => self.fail(fault, out),
        }
    }

    fn annotate(&mut self, members: &str) {
        members.clone_into(&mut self.usage_members);
    }
}
