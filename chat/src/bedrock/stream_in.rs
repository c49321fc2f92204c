//! Reads an upstream's stream: `ConverseStream`.
//!
//! Each frame carries an event, whose name stands in a header. Blocks of text and reasoning have no start of their own: the first
//! delta is one. The last event is `metadata`, behind the stop reason, with the usage.

use super::{
    fault,
    reply_in::{OWN_BLOCK, citation, inner_text, maker},
    usage, words,
};
use crate::{
    Broken, Expect, Fault, FaultKind, Finish,
    aws::frame::{self, Frame, Frames},
    json::{self, Reader},
    model::{Block, Delta, Event, Maker, Seal},
    sse::MAX_EVENT,
    stream::{Decode, Sink},
    told,
};

impl From<frame::Fault> for Broken {
    fn from(fault: frame::Fault) -> Self {
        match fault {
            frame::Fault::TooLong => Self::TooLong,
            frame::Fault::Prelude | frame::Fault::Message => {
                Self::Malformed("a frame's checksum is wrong")
            }
            frame::Fault::Lengths | frame::Fault::Header => {
                Self::Malformed("a frame is not well-formed")
            }
        }
    }
}

/// Makes events of the frames of a stream.
#[derive(Debug)]
pub struct Steps {
    frames: Frames,
    state: State,
}

#[derive(Debug)]
struct State {
    expect: Expect,
    maker: Maker,
    started: bool,
    open: Open,
    /// The index of the open block, or of the last one.
    index: u64,
    finished: bool,
    over: bool,
}

/// The block that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
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
        Self {
            frames: Frames::new(MAX_EVENT),
            state: State {
                expect: expect.clone(),
                maker: maker(expect),
                started: false,
                open: Open::Nothing,
                index: 0,
                finished: false,
                over: false,
            },
        }
    }
}

impl Decode for Steps {
    fn push(&mut self, chunk: &[u8], sink: Sink<'_>) -> Result<(), Broken> {
        let Self { frames, state } = self;
        // What follows the last event is passed over.
        if state.over {
            return Ok(());
        }
        let mut told = Ok(());
        let pushed = frames.push(chunk, |frame| {
            if !state.over {
                told = state.frame(frame, sink);
            }
            told.clone()
        });
        // Nor does it have to be frames, wherever the stream is cut.
        told.and(if state.over { Ok(()) } else { pushed })
    }

    fn finish(&mut self, _sink: Sink<'_>) -> Result<(), Broken> {
        if self.state.over { Ok(()) } else { Err(Broken::Truncated) }
    }
}

impl State {
    fn frame(&mut self, frame: Frame<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        match frame.header(":message-type") {
            Some("event") => {
                let name = frame.header(":event-type").unwrap_or_default();
                let mut reader = Reader::of_bytes(frame.payload)?;
                self.event(name, &mut reader, sink)?;
                reader.end()?;
                if self.over {
                    sink(Event::End);
                }
                Ok(())
            }
            Some("exception") => {
                let name = frame.header(":exception-type").unwrap_or_default();
                self.fail(fault::decode_exception(name, frame.payload), sink);
                Ok(())
            }
            // An error that the service's model does not name.
            Some("error") => {
                let message = frame.header(":error-message").unwrap_or_default();
                let code = frame.header(":error-code").map(told::message);
                let told = Fault::new(FaultKind::Server, told::message(message));
                self.fail(Fault { code, ..told }, sink);
                Ok(())
            }
            _ => Err(Broken::Malformed("a frame is of no known type")),
        }
    }

    fn fail(&mut self, fault: Fault, sink: Sink<'_>) {
        self.over = true;
        sink(Event::Fault(fault));
    }

    fn event(&mut self, name: &str, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        match name {
            "contentBlockDelta" => self.delta(reader, sink),
            "contentBlockStart" => self.block_start(reader, sink),
            "contentBlockStop" => {
                reader.skip()?;
                // A block without a delta did not begin.
                self.close(sink);
                Ok(())
            }
            "messageStart" => {
                reader.skip()?;
                if std::mem::replace(&mut self.started, true) {
                    return Err(Broken::Malformed("it starts twice"));
                }
                sink(Event::Start { id: None, model: None, created: None });
                Ok(())
            }
            "messageStop" => self.message_stop(reader, sink),
            "metadata" => self.metadata(reader, sink),
            // Amazon adds events at any time.
            _ => Ok(reader.skip()?),
        }
    }

    fn close(&mut self, sink: Sink<'_>) {
        if std::mem::replace(&mut self.open, Open::Nothing) != Open::Nothing {
            sink(Event::BlockEnd);
        }
    }

    fn begin(
        &mut self,
        open: Open,
        index: u64,
        block: Block<'_>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        if !self.started || self.finished {
            return Err(Broken::Malformed("a block begins where none can"));
        }
        // Not all models say that a block ends before the next begins.
        self.close(sink);
        self.open = open;
        self.index = index;
        sink(Event::BlockStart(block));
        Ok(())
    }

    fn block_start(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let (mut index, mut is_call, mut id, mut name) = (0, false, None, None);
        told::object(reader, |key, reader| {
            match key {
                "contentBlockIndex" => index = told::count(reader)?.unwrap_or(0),
                "start" => {
                    told::object_if(reader, |key, reader| {
                        if key != "toolUse" {
                            return Err(OWN_BLOCK);
                        }
                        is_call = true;
                        told::object(reader, |key, reader| {
                            match key {
                                "toolUseId" => id = told::text(reader)?,
                                "name" => name = told::text(reader)?,
                                // The provider runs it itself.
                                "type" if told::text(reader)?.is_some() => return Err(OWN_BLOCK),
                                "type" => {}
                                _ => return Ok(false),
                            }
                            Ok(true)
                        })?;
                        Ok(true)
                    })?;
                }
                _ => return Ok(false),
            }
            Ok::<_, Broken>(true)
        })?;
        if !is_call {
            return Ok(());
        }
        let (Some(id), Some(name)) = (id, name) else {
            return Err(Broken::Malformed("a call of a tool has no id or no name"));
        };
        if self.expect.answer_tool == Some(&name) {
            self.begin(Open::Answer, index, Block::Text, sink)
        } else {
            self.begin(Open::Call, index, Block::ToolCall { id, name, seal: None }, sink)
        }
    }

    fn delta(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let (mut index, mut delta) = (0, None);
        told::object(reader, |key, reader| {
            match key {
                "contentBlockIndex" => index = told::count(reader)?.unwrap_or(0),
                "delta" => {
                    delta = Some(*reader);
                    return Ok(false);
                }
                _ => return Ok(false),
            }
            Ok::<_, Broken>(true)
        })?;
        let Some(mut delta) = delta else { return Ok(()) };
        told::object(&mut delta, |key, reader| {
            match key {
                "text" => {
                    let text = reader.string()?;
                    if !text.is_empty() {
                        self.turn_to(Open::Text, index, Block::Text, sink)?;
                        sink(Event::Delta(Delta::Text(text)));
                    }
                }
                "toolUse" => self.arguments(index, reader, sink)?,
                "reasoningContent" => self.reasoning(index, reader, sink)?,
                "citation" => {
                    self.turn_to(Open::Text, index, Block::Text, sink)?;
                    sink(Event::Delta(Delta::Annotation(citation(reader)?)));
                }
                _ => return Err(OWN_BLOCK),
            }
            Ok(true)
        })
    }

    /// Opens a block, unless it is open.
    fn turn_to(
        &mut self,
        open: Open,
        index: u64,
        block: Block<'_>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        if self.open == open && self.index == index {
            return Ok(());
        }
        self.begin(open, index, block, sink)
    }

    fn arguments(
        &mut self,
        index: u64,
        reader: &mut Reader<'_>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        if self.index != index || !matches!(self.open, Open::Call | Open::Answer) {
            return Err(Broken::Malformed("a delta does not fit its block"));
        }
        if let Some(text) = inner_text(reader, "input")?.filter(|text| !text.is_empty()) {
            sink(Event::Delta(if self.open == Open::Answer {
                Delta::Text(text)
            } else {
                Delta::Arguments(text)
            }));
        }
        Ok(())
    }

    fn reasoning(
        &mut self,
        index: u64,
        reader: &mut Reader<'_>,
        sink: Sink<'_>,
    ) -> Result<(), Broken> {
        told::object(reader, |key, reader| {
            let kind = match key {
                "text" | "signature" | "redactedContent" => key,
                _ => return Ok(false),
            };
            let Some(text) = told::text(reader)?.filter(|text| !text.is_empty()) else {
                return Ok(true);
            };
            if kind == "redactedContent" {
                if self.open == Open::Redacted && self.index == index {
                    return Err(Broken::Malformed("redacted reasoning comes in pieces"));
                }
                let seal = Seal::new(self.maker, text);
                self.begin(Open::Redacted, index, Block::Redacted(seal), sink)?;
                return Ok(true);
            }
            self.turn_to(Open::Thought, index, Block::Thought { id: None }, sink)?;
            sink(Event::Delta(if kind == "text" {
                Delta::Thought(text)
            } else {
                Delta::Seal(Seal::new(self.maker, text))
            }));
            Ok::<_, Broken>(true)
        })
    }

    fn message_stop(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        let (mut reason, mut stop_sequence) = (None, None);
        told::object(reader, |key, reader| {
            match key {
                "stopReason" => reason = told::text(reader)?,
                "additionalModelResponseFields" => {
                    stop_sequence = inner_text(reader, "stop_sequence")?;
                }
                _ => return Ok(false),
            }
            Ok::<_, json::Fault>(true)
        })?;
        if !self.started || self.finished {
            return Err(Broken::Malformed("a stop reason comes where none can"));
        }
        let reason = words::finish(&reason.ok_or(Broken::Malformed("it has no stop reason"))?)?;
        self.close(sink);
        self.finished = true;
        let reason = match reason {
            Finish::ToolCalls if self.expect.answer_tool.is_some() => Finish::Stop,
            reason => reason,
        };
        sink(Event::Finish { reason, stop_sequence });
        Ok(())
    }

    fn metadata(&mut self, reader: &mut Reader<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        if !self.finished {
            return Err(Broken::Malformed("it ends without a stop reason"));
        }
        told::object(reader, |key, reader| {
            match key {
                "usage" => {
                    if let Some(usage) = usage::read(reader)? {
                        sink(Event::Usage(usage));
                    }
                }
                "serviceTier" => {
                    let tier = inner_text(reader, "type")?.and_then(|word| words::tier(&word));
                    tier.into_iter().for_each(|tier| sink(Event::Tier(tier)));
                }
                _ => return Ok(false),
            }
            Ok::<_, json::Fault>(true)
        })?;
        self.over = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, StreamDecoder};

    fn frames(events: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, payload) in events {
            let headers = [(":message-type", "event"), (":event-type", name)];
            frame::write(&headers, payload.as_bytes(), &mut bytes);
        }
        bytes
    }

    fn seals(expect: &Expect) -> Vec<Seal<'static>> {
        let bytes = frames(&[
            ("messageStart", r#"{"role":"assistant"}"#),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}"#,
            ),
        ]);
        let mut found = Vec::new();
        let mut decoder = StreamDecoder::new(Dialect::Bedrock, expect);
        let read = decoder.push(&bytes, &mut |event| {
            if let Event::Delta(Delta::Seal(seal)) = event {
                found.push(Seal::new(seal.maker, seal.data.into_owned()));
            }
        });
        assert_eq!(read, Ok(()));
        found
    }

    #[test]
    fn seals_are_of_the_models_maker() {
        assert_eq!(seals(&Expect::default()), [Seal::new(Maker::Anthropic, "c2ln")]);
        let foreign = Expect { foreign_seals: true, ..Expect::default() };
        assert_eq!(seals(&foreign), [Seal::new(Maker::Bedrock, "c2ln")]);
    }

    #[test]
    fn a_corrupted_stream_is_refused() {
        let mut bytes = frames(&[("messageStart", r#"{"role":"assistant"}"#)]);
        let last = bytes.len() - 6;
        bytes[last] ^= 1;
        let mut decoder = StreamDecoder::new(Dialect::Bedrock, &Expect::default());
        let broken = Err(Broken::Malformed("a frame's checksum is wrong"));
        assert_eq!(decoder.push(&bytes, &mut |_| {}), broken);
        assert_eq!(decoder.finish(&mut |_| {}), broken);
    }

    #[test]
    fn what_follows_the_end_need_not_be_frames() {
        let mut bytes = frames(&[
            ("messageStart", r#"{"role":"assistant"}"#),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
            ("metadata", "{}"),
        ]);
        bytes.extend_from_slice(b"behind the end, no frame");
        for size in [1, 7, bytes.len()] {
            let mut decoder = StreamDecoder::new(Dialect::Bedrock, &Expect::default());
            let mut ends = 0;
            let mut sink = |event: Event<'_>| ends += u32::from(event == Event::End);
            for chunk in bytes.chunks(size) {
                assert_eq!(decoder.push(chunk, &mut sink), Ok(()), "{size}");
            }
            assert_eq!(decoder.finish(&mut sink), Ok(()));
            assert_eq!(ends, 1);
        }
        // A last event that is cut short is no end.
        let bytes = frames(&[
            ("messageStart", r#"{"role":"assistant"}"#),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
            ("metadata", "{}}"),
        ]);
        let mut decoder = StreamDecoder::new(Dialect::Bedrock, &Expect::default());
        assert!(matches!(decoder.push(&bytes, &mut |_| {}), Err(Broken::Syntax(_))));
    }

    #[test]
    fn frames_are_bounded() {
        let mut decoder = StreamDecoder::new(Dialect::Bedrock, &Expect::default());
        let mut bytes = Vec::new();
        frame::write(&[], &vec![b' '; MAX_EVENT], &mut bytes);
        assert_eq!(decoder.push(&bytes[..12], &mut |_| {}), Err(Broken::TooLong));
    }
}
