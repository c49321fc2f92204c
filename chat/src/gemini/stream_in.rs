//! Reads an upstream's stream: `streamGenerateContent` with `alt=sse`.
//!
//! There is no last event. The proper end is the end of the body behind a chunk that told a finish reason.

use super::answer_in::Answer;
use crate::{Broken, json::Reader, model::Event, sse::Handle, stream::Sink};

/// Makes events of chunks.
#[derive(Debug, Default)]
pub struct Chunks {
    answer: Answer,
}

impl Handle for Chunks {
    fn handle(&mut self, _name: &str, data: &str, sink: Sink<'_>) -> Result<(), Broken> {
        self.answer.chunk(&mut Reader::new(data), &mut |event| sink(event))
    }

    fn is_over(&self) -> bool {
        self.answer.has_failed()
    }

    fn ended(&mut self, sink: Sink<'_>) -> Result<(), Broken> {
        if !self.answer.end(&mut |event| sink(event)) {
            return Err(Broken::Truncated);
        }
        sink(Event::End);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Broken, Dialect, Expect, Finish, StreamDecoder,
        model::{Block, Event},
    };

    /// The events of a stream, briefly.
    fn events(stream: &str) -> Result<Vec<String>, Broken> {
        let mut decoder = StreamDecoder::new(Dialect::Gemini, &Expect::default());
        let mut events = Vec::new();
        let mut note = |event: Event<'_>| {
            events.push(match event {
                Event::BlockStart(Block::ToolCall { id, .. }) => format!("call {id}"),
                Event::Finish { reason, .. } => format!("{reason:?}"),
                Event::End => "end".to_owned(),
                Event::Usage(usage) => format!("{} tokens", usage.total()),
                _ => return,
            });
        };
        decoder.push(stream.as_bytes(), &mut note)?;
        decoder.finish(&mut note)?;
        Ok(events)
    }

    const STOP: &str =
        r#"data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#;

    #[test]
    fn only_a_finish_reason_makes_an_end() {
        assert_eq!(events(STOP), Ok(vec![format!("{:?}", Finish::Stop), "end".to_owned()]));
        let open = r#"data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
        assert_eq!(events(open), Err(Broken::Truncated));
        assert_eq!(events(&STOP[..STOP.len() - 1]), Err(Broken::Truncated));
        assert_eq!(events(""), Err(Broken::Truncated));
    }

    #[test]
    fn chunks_may_follow_the_finish_reason() {
        let usage = r#"data: {"usageMetadata":{"promptTokenCount":3}}"#;
        let length = r#"data: {"candidates":[{"finishReason":"MAX_TOKENS"}]}"#;
        let found = events(&format!("{STOP}\n\n{usage}\n\n{STOP}\n\n{length}\n\n")).unwrap();
        assert_eq!(found, ["3 tokens", "Length", "end"]);
    }

    #[test]
    fn calls_without_an_identifier_get_one() {
        let stream = |id: &str| {
            format!(
                "data: {{{id}\"candidates\":[{{\"content\":{{\"parts\":[{{\"functionCall\":{{\"name\":\"f\"}}}},\
                 {{\"functionCall\":{{\"name\":\"f\"}}}},{{\"functionCall\":{{\"name\":\"f\",\"id\":\"own\"}}}}]}},\
                 \"finishReason\":\"STOP\"}}]}}\n\n"
            )
        };
        let found = events(&stream("\"responseId\":\"a/b-c_d\",")).unwrap();
        assert_eq!(
            found,
            ["call call_ab-c_d_0", "call call_ab-c_d_1", "call own", "ToolCalls", "end"]
        );
        let found = events(&stream("")).unwrap();
        assert_eq!(found, events(&stream("")).unwrap());
        assert_ne!(found[0], found[1]);
    }
}
