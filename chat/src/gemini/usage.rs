//! Reads token counts.
//!
//! `promptTokenCount` includes `cachedContentTokenCount`, and leaves out `toolUsePromptTokenCount`. `candidatesTokenCount` leaves
//! out `thoughtsTokenCount`. A count of zero is left out altogether. Every chunk of a stream tells the counts up to it.

use super::words;
use crate::{
    Usage,
    json::{Fault, Reader},
    model::ServiceTier,
    told,
};

/// The counts that were told so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    told: bool,
    prompt: u64,
    cached: u64,
    tool_use: u64,
    candidates: u64,
    thoughts: u64,
    audio_prompt: u64,
    audio_tool_use: u64,
    audio_candidates: u64,
    tier: Option<ServiceTier>,
}

impl Counts {
    /// Takes one usage object, whose counts replace those told before.
    pub fn merge(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        told::object_if(reader, |key, reader| {
            let count = match key {
                "promptTokenCount" => &mut self.prompt,
                "cachedContentTokenCount" => &mut self.cached,
                "toolUsePromptTokenCount" => &mut self.tool_use,
                "candidatesTokenCount" => &mut self.candidates,
                "thoughtsTokenCount" => &mut self.thoughts,
                "promptTokensDetails" => {
                    audio(reader, &mut self.audio_prompt)?;
                    return Ok(true);
                }
                "toolUsePromptTokensDetails" => {
                    audio(reader, &mut self.audio_tool_use)?;
                    return Ok(true);
                }
                "candidatesTokensDetails" => {
                    audio(reader, &mut self.audio_candidates)?;
                    return Ok(true);
                }
                "serviceTier" | "trafficType" => {
                    let tier = told::text(reader)?.and_then(|word| words::tier(&word));
                    self.tier = tier.or(self.tier);
                    return Ok(true);
                }
                _ => return Ok(false),
            };
            if let Some(told) = told::count(reader)? {
                *count = told;
                self.told = true;
            }
            Ok::<_, Fault>(true)
        })?;
        Ok(())
    }

    /// The usage so far. `None` when no count was told.
    pub fn usage(&self) -> Option<Usage> {
        let cache_read = self.cached.min(self.prompt);
        let fresh = self.prompt - cache_read + self.tool_use;
        let output = self.candidates + self.thoughts;
        let cut = |count: u64| count.min(Usage::MAX_COUNT);
        self.told.then(|| Usage {
            input: cut(fresh),
            cache_read,
            output: cut(output),
            reasoning: self.thoughts,
            audio_input: cut(self.audio_prompt + self.audio_tool_use)
                .min(self.prompt + self.tool_use),
            audio_output: self.audio_candidates.min(self.candidates),
            ..Usage::default()
        })
    }

    /// How fast the answer is served.
    pub fn tier(&self) -> Option<ServiceTier> {
        self.tier
    }
}

/// The tokens of audio among counts by modality.
fn audio(reader: &mut Reader<'_>, tokens: &mut u64) -> Result<(), Fault> {
    told::array_if(reader, |reader| {
        let (mut is_audio, mut count) = (false, None);
        told::object_if(reader, |key, reader| {
            match key {
                "modality" => is_audio = told::text(reader)?.as_deref() == Some("AUDIO"),
                "tokenCount" => count = told::count(reader)?,
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        if is_audio {
            *tokens = count.unwrap_or(0);
        }
        Ok::<_, Fault>(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(parts: &[&str]) -> Option<Usage> {
        let mut counts = Counts::default();
        for part in parts {
            counts.merge(&mut Reader::new(part)).unwrap();
        }
        counts.usage()
    }

    #[test]
    fn no_token_is_counted_twice_or_lost() {
        let part = r#"{"promptTokenCount":100,"cachedContentTokenCount":60,"toolUsePromptTokenCount":5,
            "candidatesTokenCount":20,"thoughtsTokenCount":7,"totalTokenCount":132,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":70},{"modality":"AUDIO","tokenCount":30}],
            "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":9}]}"#;
        let usage = merged(&[part]).unwrap();
        let expected = Usage {
            input: 45,
            cache_read: 60,
            output: 27,
            reasoning: 7,
            audio_input: 30,
            audio_output: 9,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
        assert_eq!(usage.total(), 132);
    }

    #[test]
    fn later_chunks_replace_what_they_repeat() {
        let usage = merged(&[
            r#"{"promptTokenCount":9,"candidatesTokenCount":2}"#,
            r#"{"promptTokenCount":9,"candidatesTokenCount":40,"thoughtsTokenCount":3}"#,
            r#"{"totalTokenCount":52}"#,
        ]);
        let expected = Usage { input: 9, output: 43, reasoning: 3, ..Usage::default() };
        assert_eq!(usage, Some(expected));
        for nothing in ["{}", "null", "[]", r#"{"promptTokenCount":"9"}"#] {
            assert_eq!(merged(&[nothing]), None, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn any_counts_stay_in_bounds(counts: [u64; 5]) {
            let [prompt, cached, tool_use, candidates, thoughts] = counts;
            let part = format!(
                r#"{{"promptTokenCount":{prompt},"cachedContentTokenCount":{cached},
                "toolUsePromptTokenCount":{tool_use},"candidatesTokenCount":{candidates},
                "thoughtsTokenCount":{thoughts}}}"#
            );
            let usage = merged(&[&part]).unwrap();
            for count in [usage.input, usage.cache_read, usage.output, usage.reasoning] {
                prop_assert!(count <= Usage::MAX_COUNT);
            }
            prop_assert!(usage.reasoning <= usage.output);
        }
    }
}
