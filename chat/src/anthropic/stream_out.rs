//! Writes a stream for a client.

use super::{fault::write_error, turns_out::carried_seal, usage, words};
use crate::{
    Envelope, Finish, Usage,
    json::Writer,
    model::{Block, Delta, Event, ServiceTier},
    stream::Encode,
};

/// Writes the steps of a message.
pub struct StepWriter {
    envelope: Envelope,
    /// The answer's identifier and model, until the start is written: it waits one event for the usage, which providers
    /// that know it early tell next.
    start: Option<(String, String)>,
    /// The index of the block that is open, or comes next.
    index: u64,
    /// Whether the model refused in words.
    refused: bool,
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
    finish: Option<(Finish, Option<String>)>,
    /// What is added to the last usage.
    members: String,
}

impl StepWriter {
    /// At the start of a stream.
    pub fn new(envelope: Envelope) -> Self {
        Self {
            envelope,
            start: None,
            index: 0,
            refused: false,
            usage: None,
            tier: None,
            finish: None,
            members: String::new(),
        }
    }

    fn write_start(&mut self, out: &mut Vec<u8>) {
        let Some((id, model)) = self.start.take() else { return };
        let mut writer = begin("message_start", out);
        writer.key("message").open().field("id", &id).field("type", "message");
        writer.field("role", "assistant").field("model", &model);
        writer.key("content").open_array().close_array();
        writer.key("stop_reason").null().key("stop_sequence").null().key("usage");
        usage::write(&self.usage.unwrap_or_default(), self.tier, "", &mut writer);
        writer.close();
        end(out);
    }

    fn block_start(&mut self, block: &Block<'_>, out: &mut Vec<u8>) {
        if let Block::ToolCall { seal: Some(seal), .. } = block {
            self.step("content_block_start", out, |writer| {
                writer.key("content_block").open().field("type", "redacted_thinking");
                writer.field("data", &carried_seal(seal)).close();
            });
            self.block_end(out);
        }
        self.refused |= matches!(block, Block::Refusal);
        self.step("content_block_start", out, |writer| {
            writer.key("content_block").open();
            match block {
                Block::Text | Block::Refusal => _ = writer.field("type", "text").field("text", ""),
                Block::Thought { .. } => {
                    writer.field("type", "thinking").field("thinking", "").field("signature", "");
                }
                Block::Redacted(seal) => {
                    writer.field("type", "redacted_thinking").field("data", &seal.to_text());
                }
                Block::ToolCall { id, name, .. } => {
                    writer.field("type", "tool_use").field("id", id).field("name", name);
                    writer.key("input").open().close();
                }
            }
            writer.close();
        });
    }

    fn block_end(&mut self, out: &mut Vec<u8>) {
        self.step("content_block_stop", out, |_| {});
        self.index += 1;
    }

    fn delta(&self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        let (kind, key, text) = match delta {
            Delta::Text(text) => ("text_delta", "text", text),
            Delta::Thought(text) => ("thinking_delta", "thinking", text),
            Delta::Arguments(text) => ("input_json_delta", "partial_json", text),
            Delta::Seal(seal) => {
                self.step("content_block_delta", out, |writer| {
                    writer.key("delta").open().field("type", "signature_delta");
                    writer.field("signature", &seal.to_text()).close();
                });
                return;
            }
            // Neither has a form here: see `reply_out`.
            Delta::Annotation(_) | Delta::Logprobs(_) => return,
        };
        self.step("content_block_delta", out, |writer| {
            writer.key("delta").open().field("type", kind).field(key, text).close();
        });
    }

    /// A step of the open block.
    fn step(&self, name: &'static str, out: &mut Vec<u8>, rest: impl FnOnce(&mut Writer<'_>)) {
        let mut writer = begin(name, out);
        writer.count_field("index", self.index);
        rest(&mut writer);
        end(out);
    }

    /// The reason and the usage come in one step, but need not come in one event.
    fn write_end(&mut self, out: &mut Vec<u8>) {
        let (reason, stop_sequence) = self.finish.take().unwrap_or((Finish::Stop, None));
        let mut writer = begin("message_delta", out);
        writer.key("delta").open();
        writer.field("stop_reason", words::finish_word(reason, self.refused));
        writer.field_or_null("stop_sequence", stop_sequence.as_deref()).close();
        writer.key("usage");
        usage::write(&self.usage.unwrap_or_default(), None, &self.members, &mut writer);
        end(out);
        begin("message_stop", out);
        end(out);
    }
}

fn begin<'o>(name: &'static str, out: &'o mut Vec<u8>) -> Writer<'o> {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut writer = Writer::new(out);
    writer.open().field("type", name);
    writer
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n\n");
}

impl Encode for StepWriter {
    fn annotate(&mut self, members: &str) {
        members.clone_into(&mut self.members);
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Tier(tier) => self.tier = Some(*tier),
            _ => {}
        }
        self.write_start(out);
        match event {
            Event::Start { id, model, .. } => {
                let id = self.envelope.id(id.as_deref()).to_owned();
                let model = self.envelope.model(model.as_deref()).to_owned();
                self.start = Some((id, model));
            }
            Event::BlockStart(block) => self.block_start(block, out),
            Event::Delta(delta) => self.delta(delta, out),
            Event::BlockEnd => self.block_end(out),
            Event::Finish { reason, stop_sequence } => {
                let stop_sequence = stop_sequence.as_deref().map(str::to_owned);
                self.finish = Some((*reason, stop_sequence));
            }
            Event::Ping => {
                begin("ping", out);
                end(out);
            }
            Event::End => self.write_end(out),
            Event::Fault(fault) => {
                let mut writer = begin("error", out);
                writer.key("error");
                write_error(fault, &mut writer);
                end(out);
            }
            Event::Usage(_) | Event::Tier(_) => {}
        }
    }
}
