//! One request's line in the ledger, written when the request ends, however it ends.

use std::{sync::Arc, time::Instant};

use crate::{
    Behaviour,
    ledger::{Books, Counts, Flight},
};

/// A request in flight. Dropping it settles it: unless the answer was finished or broken off on
/// purpose, the client is gone, because that is the only other reason to drop an answer.
#[derive(Debug)]
pub(crate) struct Entry {
    books: Arc<Books>,
    model: Box<str>,
    flight: Flight,
    tokens: Tokens,
    generated: Generated,
    outcome: Outcome,
}

/// What the request costs if it is answered to the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tokens {
    /// All input tokens.
    pub(crate) prompt: u64,
    /// Part of `prompt`.
    pub(crate) cached: u64,
    /// Part of `prompt`.
    pub(crate) cache_write: u64,
    /// Tokens with text.
    pub(crate) content: u64,
    /// Tokens without text.
    pub(crate) reasoning: u64,
}

impl Tokens {
    /// All output tokens.
    pub(crate) fn completion(&self) -> u64 {
        self.content + self.reasoning
    }
}

#[derive(Debug)]
enum Generated {
    /// Content tokens are counted as they leave.
    Counted(u64),
    /// The whole answer is generated out of sight, at the behaviour's pace.
    Paced { since: Instant, behaviour: Behaviour },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Aborted,
    Completed,
    Failed,
    FailedEmpty,
}

impl Entry {
    pub(crate) fn open(books: Arc<Books>, model: &str, stream: bool, tokens: Tokens) -> Self {
        books.request_opened(stream);
        let flight = Flight { stream, stalled: false };
        let generated = Generated::Counted(0);
        Self { books, model: model.into(), flight, tokens, generated, outcome: Outcome::Aborted }
    }

    /// From now on the answer is generated at `behaviour`'s pace, unseen.
    pub(crate) fn generate_unseen(&mut self, behaviour: &Behaviour) {
        self.generated = Generated::Paced { since: Instant::now(), behaviour: *behaviour };
    }

    /// One more content token has left.
    pub(crate) fn generated_one(&mut self) {
        if let Generated::Counted(tokens) = &mut self.generated {
            *tokens += 1;
        }
    }

    pub(crate) fn generated_all(&mut self) {
        self.generated = Generated::Counted(self.tokens.content);
    }

    pub(crate) fn stalled(&mut self) {
        self.flight.stalled = true;
        self.books.stalled();
    }

    /// The answer was written to its end.
    pub(crate) fn completed(&mut self) {
        self.outcome = Outcome::Completed;
    }

    /// A fault broke the answer.
    pub(crate) fn failed(&mut self) {
        self.outcome = Outcome::Failed;
    }

    /// A fault took the answer's place, and nothing was generated.
    pub(crate) fn failed_empty(&mut self) {
        self.outcome = Outcome::FailedEmpty;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut counts = Counts { streams: u64::from(self.flight.stream), ..Counts::default() };
        match self.outcome {
            Outcome::Aborted => counts.aborted = 1,
            Outcome::Completed => counts.completed = 1,
            Outcome::Failed | Outcome::FailedEmpty => counts.failed = 1,
        }
        if self.outcome != Outcome::FailedEmpty {
            let content = match &self.generated {
                Generated::Counted(tokens) => *tokens,
                Generated::Paced { since, behaviour } => {
                    behaviour.generated_after(since.elapsed(), self.tokens.content)
                }
            };
            // Reasoning comes before the first token with text.
            let reasoned = content > 0 || self.tokens.content == 0;
            counts.prompt_tokens = self.tokens.prompt;
            counts.cached_tokens = self.tokens.cached;
            counts.reasoning_tokens = if reasoned { self.tokens.reasoning } else { 0 };
            counts.completion_tokens = content + counts.reasoning_tokens;
        }
        self.books.request_closed(&self.model, &counts, self.flight);
    }
}
