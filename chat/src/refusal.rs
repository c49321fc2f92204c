//! Why a request can not be translated, and what to do with what would be lost.

use std::fmt;

use crate::{Dialect, Dropped, Fault, FaultKind, OnLoss, json};

/// A request that can not be translated. The client gets it as a 400 in its own dialect.
///
/// It names the field, but never quotes a value, so that it may be logged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{why}", Named(field))]
pub struct Refusal {
    /// The field at fault, such as `messages[2].content[0].image_url`; empty for the body as a whole.
    pub field: String,
    /// What is wrong with it, and what to do about it.
    pub why: Why,
}

/// What is wrong with a field.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// It is not JSON.
    #[error("is not valid JSON ({0})")]
    Syntax(json::Fault),
    /// It occurs twice in its object.
    #[error("occurs twice; send it once")]
    Duplicate,
    /// It has to be there.
    #[error("is missing")]
    Missing,
    /// It is something else than its dialect says.
    #[error("must be {0}")]
    Invalid(&'static str),
    /// The upstream's dialect has nothing like it.
    #[error("can not be translated to {}: {hint}", .dialect.title())]
    Unsupported {
        /// The upstream's dialect.
        dialect: Dialect,
        /// What to do.
        hint: &'static str,
    },
    /// We do not know it.
    #[error("is not known; remove it, or ask for a model whose provider speaks your dialect")]
    Unknown,
}

impl Refusal {
    /// What to tell the client, by [`encode_fault`](crate::encode_fault). The codes are OpenAI's.
    pub fn fault(&self) -> Fault {
        let code = match self.why {
            Why::Syntax(_) => "invalid_json",
            Why::Duplicate | Why::Invalid(_) => "invalid_value",
            Why::Missing => "missing_required_parameter",
            Why::Unsupported { .. } => "unsupported_parameter",
            Why::Unknown => "unknown_parameter",
        };
        Fault {
            code: Some(code.to_owned()),
            param: Some(self.field.clone()).filter(|field| !field.is_empty()),
            ..Fault::new(FaultKind::InvalidRequest, format!("{self}."))
        }
    }

    /// A refusal of a field.
    pub fn new(field: impl fmt::Display, why: Why) -> Self {
        Self { field: field.to_string(), why }
    }

    /// A field that is something else than its dialect says.
    pub fn invalid(field: impl fmt::Display, expected: &'static str) -> Self {
        Self::new(field, Why::Invalid(expected))
    }

    /// A field that the upstream's dialect has nothing like.
    pub fn unsupported(field: impl fmt::Display, dialect: Dialect, hint: &'static str) -> Self {
        Self::new(field, Why::Unsupported { dialect, hint })
    }
}

struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("The request "),
            field => write!(f, "`{field}` "),
        }
    }
}

/// Fields that change nothing about an answer, only what is stored, cached or padded around it: where the upstream's
/// dialect has nothing like them they are left out and listed, whatever the operator wants.
///
/// | field | of | what it is |
/// |---|---|---|
/// | `annotations` | an assistant's message, OpenAI | what a client repeats of an answer's sources |
/// | `include_obfuscation` | `stream_options`, OpenAI | padding against guessing from lengths |
/// | `prediction` | OpenAI | text that makes a likely answer faster |
/// | `prompt_cache_retention`, `prompt_cache_options` | OpenAI | how long a prompt is cached |
/// | `safety_identifier` | OpenAI | a second name of the end user, beside `user` |
/// | `citations` | a text block, Anthropic | what a client repeats of an answer's sources |
/// | `inference_geo`, `user_profile_id` | Anthropic | whom and where to attribute a request |
/// | `eager_input_streaming` | a tool, Anthropic | how finely arguments are cut |
/// | `caller` | a tool's call, Anthropic | what a client repeats of a call |
///
/// `metadata`, `store`, `prompt_cache_key`, `user` and cache hints are treated alike; the model has fields for them.
pub const HARMLESS: [&str; 11] = [
    "annotations",
    "include_obfuscation",
    "prediction",
    "prompt_cache_retention",
    "prompt_cache_options",
    "safety_identifier",
    "citations",
    "inference_geo",
    "user_profile_id",
    "eager_input_streaming",
    "caller",
];

fn is_harmless(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    HARMLESS.contains(&last)
}

/// What to say of a parameter that can be left out.
pub const LEAVE_OUT: &str = "leave it out, or have the gateway drop unsupported parameters";

/// Collects what an encoder leaves out.
#[derive(Debug)]
pub struct Losses {
    dialect: Dialect,
    on_loss: OnLoss,
    dropped: Vec<Dropped>,
}

impl Losses {
    /// None so far.
    pub fn new(dialect: Dialect, on_loss: OnLoss) -> Self {
        Self { dialect, on_loss, dropped: Vec::new() }
    }

    /// A parameter that the dialect can not say: refused, or left out and listed.
    pub fn parameter(&mut self, field: impl fmt::Display) -> Result<(), Refusal> {
        self.parameter_because(field, LEAVE_OUT)
    }

    /// As [`parameter`](Self::parameter), with more to say about it.
    pub fn parameter_because(
        &mut self,
        field: impl fmt::Display,
        hint: &'static str,
    ) -> Result<(), Refusal> {
        match self.on_loss {
            OnLoss::Refuse => Err(Refusal::unsupported(field, self.dialect, hint)),
            OnLoss::DropParameters => {
                self.note(field);
                Ok(())
            }
        }
    }

    /// Content that the dialect can not say: refused whatever the operator wants, since the answer would be to another
    /// question.
    pub fn content(&self, field: impl fmt::Display, hint: &'static str) -> Refusal {
        Refusal::unsupported(field, self.dialect, hint)
    }

    /// Something that is of no consequence to the answer: always left out, and listed.
    pub fn note(&mut self, field: impl fmt::Display) {
        self.dropped.push(Dropped { field: field.to_string() });
    }

    /// Settles what the model has no field for. What is [`HARMLESS`] is noted. Top-level fields that `dialect` itself knows are given to `write`.
    pub fn extras<'a>(
        &mut self,
        extras: &[crate::model::Extra<'a>],
        mut write: impl FnMut(&crate::model::Extra<'a>),
    ) -> Result<(), Refusal> {
        for extra in extras {
            let top_level = !extra.path.contains(['.', '[']);
            match extra.dialect {
                Some(dialect) if dialect == self.dialect && top_level => write(extra),
                Some(_) if is_harmless(&extra.path) => self.note(&extra.path),
                Some(_) => self.parameter(&extra.path)?,
                None if self.on_loss == OnLoss::DropParameters => self.note(&extra.path),
                None => return Err(Refusal::new(&extra.path, Why::Unknown)),
            }
        }
        Ok(())
    }

    /// What was left out.
    pub fn into_dropped(self) -> Vec<Dropped> {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_like_sentences() {
        let hint = "send one request for each answer";
        let refusal = Refusal::unsupported("n", Dialect::Anthropic, hint);
        assert_eq!(
            refusal.to_string(),
            "`n` can not be translated to Anthropic's messages: send one request for each answer"
        );
        let fault = refusal.fault();
        assert_eq!((fault.param.as_deref(), fault.kind.status()), (Some("n"), 400));
        let refusal = Refusal::invalid("", "an object");
        assert_eq!(refusal.fault().message, "The request must be an object.");
        assert_eq!(refusal.fault().param, None);
    }

    #[test]
    fn the_operator_decides_over_parameters_only() {
        let mut losses = Losses::new(Dialect::Gemini, OnLoss::Refuse);
        assert!(losses.parameter("seed").is_err());
        let mut losses = Losses::new(Dialect::Gemini, OnLoss::DropParameters);
        assert!(losses.parameter("seed").is_ok());
        losses.note("store");
        let dropped: Vec<_> = losses.into_dropped().into_iter().map(|lost| lost.field).collect();
        assert_eq!(dropped, ["seed", "store"]);
    }
}
