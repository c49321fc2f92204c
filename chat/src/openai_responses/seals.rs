//! What `encrypted_content` carries.
//!
//! The field has one text, and clients send it back as it is. It has to tell whose seal it holds, whether the
//! reasoning was redacted, and whether it belongs to no reasoning at all: Gemini signs calls of tools, for which this
//! dialect has no place, so that the seal travels as an item of reasoning before the call.

use std::borrow::Cow;

use crate::{
    anthropic::PART_SEAL,
    model::{Maker, Seal},
};

const REDACTED: &str = "sealed:redacted:";

/// What the field holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried<'a> {
    /// The seal of a thought.
    Thought {
        /// The seal.
        seal: Seal<'a>,
        /// Nothing else of the thought is readable.
        redacted: bool,
    },
    /// The seal of the part that follows: see [`Part::seal`](crate::model::Part::seal).
    Part(Cow<'a, str>),
}

/// Reads the field of a client's request.
pub fn read(text: Cow<'_, str>) -> Carried<'_> {
    if text.starts_with(PART_SEAL) {
        return Carried::Part(behind(PART_SEAL, text));
    }
    let redacted = text.starts_with(REDACTED);
    let text = if redacted { behind(REDACTED, text) } else { text };
    Carried::Thought { seal: Seal::from_text_beside(Maker::OpenAi, text), redacted }
}

fn behind<'a>(prefix: &str, text: Cow<'a, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[prefix.len()..]),
        Cow::Owned(text) => Cow::Owned(text[prefix.len()..].to_owned()),
    }
}

/// The field for a client, of a thought.
pub fn of_thought<'s>(seal: &'s Seal<'_>, redacted: bool) -> Cow<'s, str> {
    let text = seal.to_text_beside(Maker::OpenAi);
    if redacted { format!("{REDACTED}{text}").into() } else { text }
}

/// The field for a client, of the part that follows.
pub fn of_part(seal: &str) -> String {
    format!("{PART_SEAL}{seal}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_lead_back() {
        for maker in [Maker::Anthropic, Maker::OpenAi, Maker::Gemini, Maker::Bedrock] {
            for redacted in [false, true] {
                for data in ["gAAAAABo", "sealed:redacted:x", "sealed:part:x"] {
                    let seal = Seal::new(maker, data);
                    let text = of_thought(&seal, redacted).into_owned();
                    assert_eq!(read(text.into()), Carried::Thought { seal, redacted });
                }
            }
        }
        assert_eq!(read(of_part("sig").into()), Carried::Part("sig".into()));
    }

    #[test]
    fn openais_own_are_bare() {
        assert_eq!(of_thought(&Seal::new(Maker::OpenAi, "gAAAA"), false), "gAAAA");
    }
}
