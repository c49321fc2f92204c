//! Statuses and reasons, both ways. Service tiers are those of chat completions.

use crate::{Broken, Finish, model::Display};

/// How an answer, or an item of it, stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It is being written.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut.
    Incomplete,
    /// The provider broke off.
    Failed,
}

impl Status {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// The status of an answer that ended, and why it is incomplete.
///
/// A refusal by a classifier is what this dialect calls a content filter; one in the model's words is an answer
/// like another.
pub fn status(finish: Finish) -> (Status, Option<&'static str>) {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::ToolCalls | Finish::Pause => {
            (Status::Completed, None)
        }
        Finish::Length | Finish::ContextWindow => (Status::Incomplete, Some("max_output_tokens")),
        Finish::ContentFilter | Finish::Refusal => (Status::Incomplete, Some("content_filter")),
    }
}

/// Reads why an answer ended. `calls`: it asks for tools to be run. An incomplete answer was cut, whatever the reason is
/// that it gives.
pub fn finish(status: &str, reason: Option<&str>, calls: bool) -> Result<Finish, Broken> {
    Ok(match (status, reason) {
        ("completed", _) if calls => Finish::ToolCalls,
        ("completed", _) => Finish::Stop,
        ("incomplete", Some("content_filter")) => Finish::ContentFilter,
        ("incomplete", _) => Finish::Length,
        ("failed" | "cancelled", _) => {
            return Err(Broken::Malformed("the provider says that it broke off"));
        }
        _ => return Err(Broken::Malformed("it is no answer that has ended")),
    })
}

/// The word for what of the reasoning to show; `None` where it is nothing.
pub fn summary(display: Display) -> Option<&'static str> {
    match display {
        Display::Omitted => None,
        Display::Auto => Some("auto"),
        Display::Concise => Some("concise"),
        Display::Detailed => Some("detailed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_lead_back() {
        for (reason, calls) in [
            (Finish::Stop, false),
            (Finish::ToolCalls, true),
            (Finish::Length, false),
            (Finish::ContentFilter, false),
        ] {
            let (status, cut) = status(reason);
            assert_eq!(finish(status.word(), cut, calls), Ok(reason));
        }
        for status in ["failed", "cancelled", "queued", "in_progress", ""] {
            assert!(finish(status, None, false).is_err(), "{status}");
        }
    }
}
