//! Event streams: bytes to the events of a dialect, for any chunking.

use crate::split::{Event, Splitter, Step};
use crate::stream::{Broken, Decode, Sink};

/// The longest event that is kept, in bytes: one event of OpenAI's responses holds the whole answer and the
/// request's instructions.
pub const MAX_EVENT: usize = 4 * 1024 * 1024;

/// Makes something of the events of one stream.
pub trait Handle: Send + Sync {
    /// Takes one event: its name, empty when it has none, and its data. It is not called again after an error,
    /// nor once [`is_over`](Self::is_over).
    fn handle(&mut self, name: &str, data: &str, sink: Sink<'_>) -> Result<(), Broken>;

    /// Whether the last event of the dialect was seen. What follows is passed over.
    fn is_over(&self) -> bool;

    /// The stream ended before the last event of the dialect was seen. A dialect that has no last event tells here whether
    /// this is its proper end.
    fn ended(&mut self, _sink: Sink<'_>) -> Result<(), Broken> {
        Err(Broken::Truncated)
    }
}

/// Reads an event stream of the dialect that `H` knows.
#[derive(Debug)]
pub struct Events<H> {
    handler: H,
    splitter: Splitter,
    /// The bytes of the event that is still arriving.
    held: Vec<u8>,
}

impl<H: Handle> Events<H> {
    /// At the start of a stream.
    pub fn new(handler: H) -> Self {
        Self { handler, splitter: Splitter::new(MAX_EVENT), held: Vec::new() }
    }

    /// Handles the whole events in `buffer`; gives the bytes that they take.
    fn events(&mut self, buffer: &[u8], sink: Sink<'_>) -> Result<usize, Broken> {
        let mut used = 0;
        while !self.handler.is_over() {
            let rest = &buffer[used..];
            match self.splitter.next(rest) {
                Step::Incomplete => return Ok(used),
                Step::Blank { end } => used += end,
                Step::LineFeed => used += 1,
                Step::Event(event) => {
                    self.event(&event, rest, sink)?;
                    used += event.end;
                }
                Step::UnknownField => return Err(Broken::Malformed("it is no event stream")),
                Step::TooLong => return Err(Broken::TooLong),
            }
        }
        Ok(buffer.len())
    }

    fn event(&mut self, event: &Event, buffer: &[u8], sink: Sink<'_>) -> Result<(), Broken> {
        // Events without data are dispatched by no reader.
        let Some(data) = event.data(buffer) else { return Ok(()) };
        let text = |bytes| {
            std::str::from_utf8(bytes).map_err(|_| Broken::Syntax(crate::json::Fault::NotUtf8))
        };
        self.handler.handle(text(event.name(buffer))?, text(&data)?, sink)
    }
}

impl<H: Handle> Decode for Events<H> {
    fn push(&mut self, chunk: &[u8], sink: Sink<'_>) -> Result<(), Broken> {
        if self.held.is_empty() {
            let used = self.events(chunk, sink)?;
            self.held.extend_from_slice(&chunk[used..]);
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(chunk);
        let used = self.events(&held, sink)?;
        held.drain(..used);
        self.held = held;
        Ok(())
    }

    /// An event may lack its blank line: what counts is whether its data is whole.
    fn finish(&mut self, sink: Sink<'_>) -> Result<(), Broken> {
        let held = std::mem::take(&mut self.held);
        if !self.handler.is_over()
            && let Some(event) = self.splitter.finish(&held)
        {
            // Data that is cut is no JSON.
            self.event(&event, &held, sink).map_err(|broken| match broken {
                Broken::Syntax(_) => Broken::Truncated,
                broken => broken,
            })?;
        }
        if self.handler.is_over() { Ok(()) } else { self.handler.ended(sink) }
    }
}
