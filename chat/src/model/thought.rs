//! Reasoning, and what its provider wants back to go on with it.
//!
//! Providers seal their reasoning: Anthropic signs thinking, OpenAI and Anthropic encrypt it, Gemini
//! signs parts. A seal is of use to its maker alone, and each is refused by another. So a seal carries its
//! maker wherever it goes. Anthropic's travels bare, since Anthropic's clients know it in that form; others get a
//! prefix: see [`Seal::to_text`].

use std::borrow::Cow;

/// One stretch of reasoning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Thought<'a> {
    /// What may be shown, often a summary. Empty when nothing may be.
    pub text: Cow<'a, str>,
    /// What the provider wants back.
    pub seal: Option<Seal<'a>>,
    /// Nothing of it is readable: Anthropic's and Bedrock's redacted thinking, whose seal is all there is.
    pub redacted: bool,
    /// The provider's name for it: a reasoning item's `id` in OpenAI's responses.
    pub id: Option<Cow<'a, str>>,
}

impl Thought<'_> {
    /// Whether an upstream whose seals are `maker`'s can take it back.
    pub fn is_sealed_by(&self, maker: Maker) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.maker == maker)
    }
}

/// A provider's signature or ciphertext.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seal<'a> {
    /// Whose it is.
    pub maker: Maker,
    /// As the provider wrote it.
    pub data: Cow<'a, str>,
}

/// Who made a seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// Anthropic's models, wherever they run: signatures are the same on Bedrock and Vertex.
    Anthropic,
    /// OpenAI's responses: `encrypted_content`.
    OpenAi,
    /// Gemini: `thoughtSignature`.
    Gemini,
    /// Bedrock's models that are not Anthropic's.
    Bedrock,
}

impl Maker {
    const ALL: [Self; 4] = [Self::Anthropic, Self::OpenAi, Self::Gemini, Self::Bedrock];

    /// What stands before a seal that leaves its own dialect. No provider's seal holds a colon, as all
    /// are base64 or base64url.
    fn prefix(self) -> &'static str {
        match self {
            Self::Anthropic => "",
            Self::OpenAi => "sealed:openai:",
            Self::Gemini => "sealed:gemini:",
            Self::Bedrock => "sealed:bedrock:",
        }
    }
}

impl<'a> Seal<'a> {
    /// A seal of `maker`.
    pub fn new(maker: Maker, data: impl Into<Cow<'a, str>>) -> Self {
        Self { maker, data: data.into() }
    }

    /// The form in which clients of any dialect carry it: as Anthropic's `signature` or `data`.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self.maker.prefix() {
            "" => Cow::Borrowed(&self.data),
            prefix => format!("{prefix}{}", self.data).into(),
        }
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    pub fn from_text(text: Cow<'a, str>) -> Self {
        for maker in Maker::ALL {
            let prefix = maker.prefix();
            if !prefix.is_empty() && text.starts_with(prefix) {
                let data = match text {
                    Cow::Borrowed(text) => Cow::Borrowed(&text[prefix.len()..]),
                    Cow::Owned(text) => Cow::Owned(text[prefix.len()..].to_owned()),
                };
                return Self { maker, data };
            }
        }
        Self { maker: Maker::Anthropic, data: text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_keep_their_maker() {
        for maker in Maker::ALL {
            let seal = Seal::new(maker, "EqQBCgIYAhIM+/=");
            let text = seal.to_text().into_owned();
            assert_eq!(Seal::from_text(Cow::Borrowed(&text)), seal);
            assert_eq!(Seal::from_text(Cow::Owned(text)), seal);
        }
        assert_eq!(Seal::new(Maker::Anthropic, "x").to_text(), "x");
    }
}
