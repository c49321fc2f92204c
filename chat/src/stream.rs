//! Answers in pieces: bytes in, events, bytes out.
//!
//! Decoders and encoders are state machines that keep no more of a stream than one incomplete event. What
//! comes out depends on the stream's bytes alone, not on how they are cut.

use crate::{
    ClientDialect, Dialect, Envelope, Expect, anthropic, bedrock, gemini, json,
    model::{Delta, Event, Fault, FaultKind, ServiceTier, Usage},
    openai_chat, openai_responses,
};

/// An upstream's answer that is not of its dialect, or that ended before its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// It is not JSON.
    #[error("the upstream's answer is not valid JSON ({0})")]
    Syntax(#[from] json::Fault),
    /// It is something else than its dialect says.
    #[error("the upstream's answer is not of its dialect: {0}")]
    Malformed(&'static str),
    /// It holds something that the client's dialect can not say.
    #[error("the upstream's answer can not be translated: {0}")]
    Untranslatable(&'static str),
    /// One event is longer than we keep.
    #[error("an event of the upstream's stream is longer than {} bytes", crate::sse::MAX_EVENT)]
    TooLong,
    /// The stream ended before its end.
    #[error("the upstream's stream ended early")]
    Truncated,
}

impl Broken {
    /// What to tell the client. It quotes nothing of the upstream's.
    pub fn fault(&self) -> Fault {
        let sentence = self.to_string();
        let (first, rest) = sentence.split_at(1);
        Fault::new(FaultKind::Server, format!("{}{rest}.", first.to_ascii_uppercase()))
    }
}

/// Who gets a decoder's events.
pub type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads one upstream's stream.
pub trait Decode: Send + Sync {
    /// Takes the next bytes; gives the events that are complete. After an error it is not called again.
    fn push(&mut self, chunk: &[u8], sink: Sink<'_>) -> Result<(), Broken>;

    /// The upstream's body ended. [`Broken::Truncated`] unless [`Event::End`] or [`Event::Fault`] was given.
    fn finish(&mut self, sink: Sink<'_>) -> Result<(), Broken>;
}

/// Writes one client's stream.
pub trait Encode: Send + Sync {
    /// Appends what `event` is in the client's dialect, which may be nothing.
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>);

    /// Members to add to the last usage that is written: JSON members without braces, on one line. Called right before
    /// [`Event::End`].
    fn annotate(&mut self, _members: &str) {}
}

/// Writes members that a client is to find in the usage, such as `"cost_usd":"0.1"`, for a usage that the provider has
/// told.
pub type Annotate = Box<dyn Fn(&Usage, Option<ServiceTier>) -> String + Send + Sync>;

/// Reads one upstream's stream, of any dialect.
pub struct StreamDecoder {
    codec: Box<dyn Decode>,
    broken: Option<Broken>,
}

impl StreamDecoder {
    /// For a stream of `dialect`, in answer to a request that was written with `expect`.
    pub fn new(dialect: Dialect, expect: &Expect) -> Self {
        let codec = match dialect {
            Dialect::OpenAiChat => openai_chat::decoder(expect),
            Dialect::OpenAiResponses => openai_responses::decoder(expect),
            Dialect::Anthropic => anthropic::decoder(expect),
            Dialect::Gemini => gemini::decoder(expect),
            Dialect::Bedrock => bedrock::decoder(expect),
        };
        Self { codec, broken: None }
    }

    /// Takes the next bytes from upstream. Once it has failed, it fails for ever.
    pub fn push(&mut self, chunk: &[u8], sink: Sink<'_>) -> Result<(), Broken> {
        self.guard(|codec| codec.push(chunk, sink))
    }

    /// The upstream's body ended.
    pub fn finish(&mut self, sink: Sink<'_>) -> Result<(), Broken> {
        self.guard(|codec| codec.finish(sink))
    }

    fn guard(
        &mut self,
        step: impl FnOnce(&mut dyn Decode) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        step(&mut *self.codec).inspect_err(|broken| self.broken = Some(broken.clone()))
    }
}

/// Writes one client's stream, of any dialect, to be sent as `text/event-stream`.
pub struct StreamEncoder {
    codec: Box<dyn Encode>,
    closed: bool,
}

impl StreamEncoder {
    /// For a client that speaks `dialect`.
    pub fn new(dialect: ClientDialect, envelope: Envelope) -> Self {
        let codec = match dialect {
            ClientDialect::OpenAiChat => openai_chat::encoder(envelope),
            ClientDialect::OpenAiResponses => openai_responses::encoder(envelope),
            ClientDialect::Anthropic => anthropic::encoder(envelope),
        };
        Self { codec, closed: false }
    }

    /// Appends what `event` is in the client's dialect. Nothing follows an end or a fault.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        self.closed = matches!(event, Event::End | Event::Fault(_));
        self.codec.event(event, out);
    }

    /// Whether an end or a fault was written.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

/// A decoder and an encoder back to back, and what the gateway wants to know of what passes.
pub struct Translator {
    decoder: StreamDecoder,
    encoder: StreamEncoder,
    annotate: Option<Annotate>,
    seen: Seen,
}

/// What passed.
#[derive(Default)]
struct Seen {
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
    finish: Option<crate::Finish>,
    model: Option<String>,
    fault: Option<Fault>,
    ended: bool,
    content_events: u64,
    content_bytes: u64,
}

impl Translator {
    /// From `decoder` to `encoder`.
    pub fn new(decoder: StreamDecoder, encoder: StreamEncoder) -> Self {
        Self { decoder, encoder, annotate: None, seen: Seen::default() }
    }

    /// Has members added to the last usage that the client sees.
    #[must_use]
    pub fn with_annotation(mut self, annotate: Annotate) -> Self {
        self.annotate = Some(annotate);
        self
    }

    /// Takes the next bytes from upstream; appends what to send to the client.
    ///
    /// On [`Broken`] the client's error event was appended: send it, and end the stream.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        self.step(out, |decoder, sink| decoder.push(chunk, sink))
    }

    /// The upstream's body ended; appends what is left to send.
    ///
    /// On [`Broken`] the client's error event was appended.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.step(out, |decoder, sink| decoder.finish(sink))
    }

    /// Ends the stream with an error of the gateway's own, such as a timeout.
    pub fn fail(&mut self, fault: Fault, out: &mut Vec<u8>) {
        self.encoder.event(&Event::Fault(fault), out);
    }

    fn step(
        &mut self,
        out: &mut Vec<u8>,
        step: impl FnOnce(&mut StreamDecoder, Sink<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let Self { decoder, encoder, annotate, seen } = self;
        let result = step(decoder, &mut |event| {
            seen.note(&event);
            if let (Event::End, Some(annotate), Some(usage)) = (&event, &annotate, &seen.usage) {
                encoder.codec.annotate(&annotate(usage, seen.tier));
            }
            encoder.event(&event, out);
        });
        if let Err(broken) = &result {
            encoder.event(&Event::Fault(broken.fault()), out);
        }
        result
    }

    /// The usage that the provider told so far.
    pub fn usage(&self) -> Option<Usage> {
        self.seen.usage
    }

    /// How fast the provider says that it serves.
    pub fn tier(&self) -> Option<ServiceTier> {
        self.seen.tier
    }

    /// Why the answer ended.
    pub fn finish_reason(&self) -> Option<crate::Finish> {
        self.seen.finish
    }

    /// The model that the provider says it is.
    pub fn model(&self) -> Option<&str> {
        self.seen.model.as_deref()
    }

    /// The provider's own error.
    pub fn fault(&self) -> Option<&Fault> {
        self.seen.fault.as_ref()
    }

    /// Whether the proper end was seen.
    pub fn ended(&self) -> bool {
        self.seen.ended
    }

    /// Events with content so far: at least as many tokens were generated.
    pub fn content_events(&self) -> u64 {
        self.seen.content_events
    }

    /// Bytes of that content.
    pub fn content_bytes(&self) -> u64 {
        self.seen.content_bytes
    }
}

impl Seen {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Delta(delta) => {
                self.content_events += 1;
                self.content_bytes += match delta {
                    Delta::Text(text) | Delta::Thought(text) | Delta::Arguments(text) => {
                        text.len() as u64
                    }
                    Delta::Seal(_) | Delta::Annotation(_) | Delta::Logprobs(_) => 0,
                };
            }
            Event::Start { model, .. } => self.model = model.as_deref().map(str::to_owned),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Tier(tier) => self.tier = Some(*tier),
            Event::Finish { reason, .. } => self.finish = Some(*reason),
            Event::Fault(fault) => self.fault = Some(fault.clone()),
            Event::End => self.ended = true,
            Event::BlockStart(_) | Event::BlockEnd | Event::Ping => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Finish;

    const ANTHROPIC: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n",
        "event: content_block_start\ndata: {\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"delta\":{\"text\":\"x\"}}\n\n",
        "event: content_block_stop\ndata: {}\n\n",
        "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\n",
        "event: message_stop\ndata: {}\n\n",
    );

    fn translator(client: ClientDialect) -> Translator {
        let envelope = Envelope { include_usage: true, ..Envelope::default() };
        Translator::new(
            StreamDecoder::new(Dialect::Anthropic, &Expect::default()),
            StreamEncoder::new(client, envelope),
        )
    }

    #[test]
    fn what_passes_is_known() {
        let mut translator = translator(ClientDialect::OpenAiChat);
        let mut out = Vec::new();
        translator.push(ANTHROPIC.as_bytes(), &mut out).unwrap();
        translator.finish(&mut out).unwrap();
        assert!(translator.ended());
        assert_eq!(translator.finish_reason(), Some(Finish::Stop));
        assert_eq!((translator.content_events(), translator.content_bytes()), (1, 1));
        assert_eq!(translator.usage().map(|usage| (usage.input, usage.output)), Some((3, 4)));
    }

    #[test]
    fn the_last_usage_is_annotated() {
        for client in ClientDialect::ALL {
            let mut translator = translator(client)
                .with_annotation(Box::new(|usage, _| format!("\"cost_of\":{}", usage.total())));
            let mut out = Vec::new();
            translator.push(ANTHROPIC.as_bytes(), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches(",\"cost_of\":7}").count(), 1, "{text}");
        }
    }

    #[test]
    fn nothing_follows_a_fault() {
        let mut translator = translator(ClientDialect::Anthropic);
        let mut out = Vec::new();
        translator.fail(Fault::new(FaultKind::Timeout, ""), &mut out);
        let length = out.len();
        assert!(String::from_utf8_lossy(&out).contains("timeout_error"));
        translator.push(ANTHROPIC.as_bytes(), &mut out).unwrap();
        assert_eq!(out.len(), length);
        assert!(translator.finish(&mut out).is_ok());
    }
}
