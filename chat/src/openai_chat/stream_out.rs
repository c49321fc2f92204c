//! Writes a stream for a client.

use super::{fault::write_error, reply_out::thinking_block, usage, words};
use crate::{
    Envelope, Usage,
    json::Writer,
    model::{Block, Delta, Event, ServiceTier, Thought},
    stream::Encode,
};

/// Writes chunks.
pub struct ChunkWriter {
    envelope: Envelope,
    /// What every chunk begins with, up to the value of `delta`.
    head: Vec<u8>,
    /// The length of the part of `head` before `choices`.
    shared: usize,
    block: Kind,
    /// How many calls began.
    calls: u64,
    /// Whether the open call has arguments.
    has_arguments: bool,
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
    /// What is added to the usage.
    members: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Other,
    Call,
}

impl ChunkWriter {
    /// At the start of a stream.
    pub fn new(envelope: Envelope) -> Self {
        Self {
            envelope,
            head: Vec::new(),
            shared: 0,
            block: Kind::Other,
            calls: 0,
            has_arguments: false,
            usage: None,
            tier: None,
            members: String::new(),
        }
    }

    fn start(&mut self, id: Option<&str>, model: Option<&str>, created: Option<u64>) {
        self.head.extend_from_slice(b"data: ");
        let mut head = Writer::new(&mut self.head);
        head.open().field("id", self.envelope.id(id)).field("object", "chat.completion.chunk");
        head.count_field("created", created.unwrap_or(self.envelope.created));
        head.field("model", self.envelope.model(model));
        self.shared = self.head.len();
        self.head.extend_from_slice(br#","choices":[{"index":0,"delta":"#);
    }

    /// A chunk with a delta.
    fn chunk(&self, out: &mut Vec<u8>, delta: impl FnOnce(&mut Writer<'_>)) {
        self.any_chunk(out, delta, None, None);
    }

    fn any_chunk(
        &self,
        out: &mut Vec<u8>,
        delta: impl FnOnce(&mut Writer<'_>),
        logprobs: Option<&str>,
        finish: Option<&str>,
    ) {
        out.extend_from_slice(&self.head);
        let mut writer = Writer::new(out);
        writer.open();
        delta(&mut writer);
        writer.close().raw(",\"logprobs\":");
        match logprobs {
            Some(list) => {
                writer.open().key("content").raw_line(list).key("refusal").null().close();
            }
            None => _ = writer.null(),
        }
        writer.raw(",\"finish_reason\":");
        match finish {
            Some(word) => writer.string(word),
            None => writer.null(),
        };
        // Clients that ask for usage find the field in every chunk.
        writer.raw(if self.envelope.include_usage { "}],\"usage\":null}" } else { "}]}" });
        out.extend_from_slice(b"\n\n");
    }

    fn block(&mut self, block: &Block<'_>, out: &mut Vec<u8>) {
        match block {
            Block::Text => self.block = Kind::Text,
            Block::Refusal => self.block = Kind::Refusal,
            Block::Thought { .. } => self.block = Kind::Other,
            Block::Redacted(seal) => {
                self.block = Kind::Other;
                let thought =
                    Thought { seal: Some(seal.clone()), redacted: true, ..Thought::default() };
                self.chunk(out, |delta| blocks(&thought, delta));
            }
            Block::ToolCall { id, name, seal } => {
                self.block = Kind::Call;
                self.has_arguments = false;
                self.calls += 1;
                self.chunk(out, |delta| {
                    delta.key("tool_calls").open_array().element().open();
                    delta.count_field("index", self.calls - 1);
                    delta.field("id", id).field("type", "function").key("function").open();
                    delta.field("name", name).field("arguments", "").close();
                    if let Some(seal) = seal {
                        delta.key("extra_content").open().key("google").open();
                        delta.field("thought_signature", seal).close().close();
                    }
                    delta.close().close_array();
                });
            }
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) => {
                let key = if self.block == Kind::Refusal { "refusal" } else { "content" };
                self.chunk(out, |delta| _ = delta.field(key, text));
            }
            // The text twice, as LiteLLM's clients find it: to show, and to put together with the seal.
            Delta::Thought(text) => {
                let thought = Thought { text: (&**text).into(), ..Thought::default() };
                self.chunk(out, |delta| {
                    delta.field("reasoning_content", text);
                    blocks(&thought, delta);
                });
            }
            Delta::Seal(seal) => {
                let thought = Thought { seal: Some(seal.clone()), ..Thought::default() };
                self.chunk(out, |delta| blocks(&thought, delta));
            }
            Delta::Arguments(text) => {
                self.has_arguments = true;
                self.arguments(text, out);
            }
            Delta::Logprobs(list) => {
                self.any_chunk(out, |_| {}, Some(list.as_str()), None);
            }
            // The pieces of a stream have no place for sources.
            Delta::Annotation(_) => {}
        }
    }

    fn arguments(&self, text: &str, out: &mut Vec<u8>) {
        self.chunk(out, |delta| {
            delta.key("tool_calls").open_array().element().open();
            delta.count_field("index", self.calls.saturating_sub(1));
            delta.key("function").open().field("arguments", text).close().close().close_array();
        });
    }

    fn end(&self, out: &mut Vec<u8>) {
        if let (true, Some(usage)) = (self.envelope.include_usage, &self.usage) {
            out.extend_from_slice(&self.head[..self.shared]);
            let mut writer = Writer::new(out);
            writer.key("choices").open_array().close_array().key("usage");
            usage::write(usage, &self.members, &mut writer);
            if let Some(tier) = self.tier {
                writer.field("service_tier", words::tier_word(tier));
            }
            writer.close();
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

fn blocks(thought: &Thought<'_>, delta: &mut Writer<'_>) {
    delta.key("thinking_blocks").open_array();
    thinking_block(thought, delta.element());
    delta.close_array();
}

impl Encode for ChunkWriter {
    fn annotate(&mut self, members: &str) {
        members.clone_into(&mut self.members);
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => {
                self.start(id.as_deref(), model.as_deref(), *created);
                self.chunk(out, |delta| {
                    delta.field("role", "assistant").field("content", "");
                });
            }
            Event::BlockStart(block) => self.block(block, out),
            Event::Delta(delta) => self.delta(delta, out),
            Event::BlockEnd => {
                // Text that is no JSON would fail a client's parser.
                if self.block == Kind::Call && !self.has_arguments {
                    self.arguments("{}", out);
                }
                self.block = Kind::Other;
            }
            Event::Tier(tier) => self.tier = Some(*tier),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish { reason, .. } => {
                self.any_chunk(out, |_| {}, None, Some(words::finish_word(*reason)));
            }
            // A comment, which every reader passes over.
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::End => self.end(out),
            Event::Fault(fault) => {
                out.extend_from_slice(b"data: ");
                let mut writer = Writer::new(out);
                writer.open().key("error");
                write_error(fault, &mut writer);
                writer.close();
                out.extend_from_slice(b"\n\n");
            }
        }
    }
}
