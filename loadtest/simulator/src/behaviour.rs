//! How the simulator answers: pace, size, reported usage, wire form and fault.

use std::time::Duration;

/// One answer's shape. [`Default`] is a small, immediate, faultless answer.
///
/// The same fields can be set per request; the crate documentation has the table of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Wait before the first content token. On a stream the head and the opening events (role,
    /// `message_start`) are sent before it; a whole answer waits with its head too.
    pub first_token_delay: Duration,
    /// Wait before every further content token.
    pub token_delay: Duration,
    /// Content tokens, and so content events on a stream. A smaller output limit in the request
    /// wins, and then the finish reason says so.
    pub tokens: u32,
    /// Bytes of text a token.
    pub token_text_bytes: u32,
    /// Text of multi-byte characters, quotes and line breaks instead of plain ASCII.
    pub unicode: bool,
    /// Prompt tokens that are reported. `None`: the body's bytes divided by four.
    pub prompt_tokens: Option<u32>,
    /// Part of the prompt tokens that is reported as read from a cache.
    pub cached_tokens: u32,
    /// Part of the prompt tokens that is reported as written to a cache (Anthropic only).
    pub cache_write_tokens: u32,
    /// Reasoning tokens, reported on top of the content tokens. Zero: a few where the request wants
    /// reasoning. OpenAI's dialects report them even if it does not.
    pub reasoning_tokens: u32,
    /// Chat completions show their reasoning as `reasoning_content`, as some compatible providers
    /// do, and take it back.
    pub reasoning_content: bool,
    /// So many calls of the offered tools instead of a text, unless the last turn brings results
    /// or no tool may be called. A request that forces a call gets one in any case.
    pub tool_calls: u32,
    /// Refuse what the real API refuses. Otherwise a request needs no more than a model and
    /// messages, as with providers that only resemble it.
    pub strict: bool,
    /// Leave `usage` out of the answer, as some compatible providers do (OpenAI only).
    pub omit_usage: bool,
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
    /// How the body is cut into writes.
    pub chunking: Chunking,
    /// Line ends of a stream.
    pub line_ending: LineEnding,
    /// Put a `: keep-alive` comment before every event of a stream.
    pub comments: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            first_token_delay: Duration::ZERO,
            token_delay: Duration::ZERO,
            tokens: 8,
            token_text_bytes: 6,
            unicode: false,
            prompt_tokens: None,
            cached_tokens: 0,
            cache_write_tokens: 0,
            reasoning_tokens: 0,
            reasoning_content: false,
            tool_calls: 0,
            strict: true,
            omit_usage: false,
            fault: None,
            chunking: Chunking::AsEvents,
            line_ending: LineEnding::Lf,
            comments: false,
        }
    }
}

impl Behaviour {
    /// Time from the start of generation until content token `tokens` (1-based) is out.
    pub(crate) fn time_until(&self, tokens: u64) -> Duration {
        let gaps = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_token_delay.saturating_add(self.token_delay.saturating_mul(gaps))
    }

    /// How many of `tokens` content tokens are generated after `elapsed`.
    pub(crate) fn generated_after(&self, elapsed: Duration, tokens: u64) -> u64 {
        let Some(rest) = elapsed.checked_sub(self.first_token_delay) else {
            return 0;
        };
        if self.token_delay.is_zero() {
            return tokens;
        }
        let done = 1 + rest.as_nanos() / self.token_delay.as_nanos();
        u64::try_from(done).unwrap_or(u64::MAX).min(tokens)
    }
}

/// What goes wrong. `after_events` counts every whole server-sent event, the opening ones
/// included; it is held below the stream's final event, so that a large value means "everything
/// but the end". An answer that is not a stream is cut in its middle instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The dialect's error with this status instead of an answer.
    Status(u16),
    /// The same with a `retry-after` header.
    RetryAfter {
        /// HTTP status, usually 429 or 503.
        status: u16,
        /// Value of `retry-after`, in seconds.
        seconds: u32,
    },
    /// Nothing is sent for so long, then the whole answer as usual.
    DelayHead(Duration),
    /// Silence for ever on an open connection.
    Stall {
        /// Whole events before it.
        after_events: u32,
    },
    /// The body ends cleanly, without the stream's final event.
    Truncate {
        /// Whole events before it.
        after_events: u32,
    },
    /// The body ends cleanly in the middle of an event.
    TruncateMidEvent {
        /// Whole events before it.
        after_events: u32,
    },
    /// The connection is reset (TCP RST; `RST_STREAM` on HTTP/2).
    Reset {
        /// Whole events before it.
        after_events: u32,
    },
    /// All tokens are generated, whatever output limit the request has.
    IgnoreLimit,
    /// A `content-length` is announced, half of it is sent, and the connection is closed.
    CloseMidBody,
    /// One event whose data is not JSON, then the rest of the stream as if nothing had happened.
    /// An answer that is not a stream is cut short and complete by its length.
    MalformedSse {
        /// Whole events before it.
        after_events: u32,
    },
    /// A frame whose checksum is wrong, then a clean end (Bedrock). Elsewhere like `MalformedSse`.
    CorruptFrame {
        /// Whole events before it.
        after_events: u32,
    },
    /// The dialect's error event within a stream of status 200, then a clean end.
    /// An answer that is not a stream has status 500.
    ErrorEvent {
        /// Whole events before it.
        after_events: u32,
    },
    /// Status 200 with an HTML page.
    NotJson,
    /// The request is read, then the connection is closed without an answer.
    EmptyReply,
    /// The first so many requests for a model since the ledger's last reset get status 503, later
    /// ones are answered.
    RefuseFirst(u32),
}

/// How a body is cut into writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// One HTTP chunk (or DATA frame) an event.
    #[default]
    AsEvents,
    /// So many bytes a write, each flushed to the socket by itself. Zero counts as one.
    Bytes(u32),
    /// Everything that is due at the same moment in one chunk.
    Coalesce,
}

/// Line ends of a stream; the event-stream format allows both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// `\n`
    #[default]
    Lf,
    /// `\r\n`
    CrLf,
}

impl LineEnding {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_and_progress_agree() {
        let pace = Behaviour {
            first_token_delay: Duration::from_millis(50),
            token_delay: Duration::from_millis(10),
            ..Behaviour::default()
        };
        assert_eq!(pace.generated_after(Duration::from_millis(49), 5), 0);
        for token in 1..=5 {
            assert_eq!(pace.generated_after(pace.time_until(token), 5), token);
        }
        assert_eq!(pace.generated_after(Duration::from_secs(9), 5), 5);
    }

    #[test]
    fn without_a_pace_everything_is_generated_at_once() {
        assert_eq!(Behaviour::default().generated_after(Duration::ZERO, 8), 8);
        assert_eq!(Behaviour::default().time_until(8), Duration::ZERO);
    }
}
