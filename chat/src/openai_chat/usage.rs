//! Token counts, both ways.
//!
//! `prompt_tokens` includes what was read from the cache and written to it. Where the total is more than prompt and completion
//! together, the difference is reasoning that the provider left out of the completion (xAI and Gemini do); it is billed
//! as output, so it counts as output.

use crate::{
    Usage,
    json::{Fault, Reader, Writer},
    told,
};

#[derive(Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    written: u64,
    audio_input: u64,
    reasoning: u64,
    audio_output: u64,
}

/// Reads a usage object, of chat completions and of responses alike. `None` when it tells no count.
pub fn read(reader: &mut Reader<'_>) -> Result<Option<Usage>, Fault> {
    let mut counts = Counts::default();
    told::object_if(reader, |key, reader| {
        match key {
            "prompt_tokens" | "input_tokens" => counts.prompt = told::count(reader)?,
            "completion_tokens" | "output_tokens" => counts.completion = told::count(reader)?,
            "total_tokens" => counts.total = told::count(reader)?,
            // DeepSeek's name and Moonshot's place for cached tokens.
            "prompt_cache_hit_tokens" | "cached_tokens" => {
                counts.cached = counts.cached.or(told::count(reader)?);
            }
            "prompt_tokens_details" | "input_tokens_details" => {
                told::object_if(reader, |key, reader| {
                    match key {
                        "cached_tokens" => counts.cached = told::count(reader)?,
                        "cache_write_tokens" => counts.written = count(reader)?,
                        "audio_tokens" => counts.audio_input = count(reader)?,
                        _ => return Ok(false),
                    }
                    Ok::<_, Fault>(true)
                })?;
            }
            "completion_tokens_details" | "output_tokens_details" => {
                told::object_if(reader, |key, reader| {
                    match key {
                        "reasoning_tokens" => counts.reasoning = count(reader)?,
                        "audio_tokens" => counts.audio_output = count(reader)?,
                        _ => return Ok(false),
                    }
                    Ok::<_, Fault>(true)
                })?;
            }
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    Ok(counts.usage())
}

fn count(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    Ok(told::count(reader)?.unwrap_or(0))
}

impl Counts {
    fn usage(&self) -> Option<Usage> {
        if self.prompt.is_none() && self.completion.is_none() && self.total.is_none() {
            return None;
        }
        let prompt = self.prompt.unwrap_or(0);
        let cached = self.cached.unwrap_or(0).min(prompt);
        let written = self.written.min(prompt - cached);
        let beyond_prompt = self.total.unwrap_or(0).saturating_sub(prompt);
        let output = self.completion.unwrap_or(0).max(beyond_prompt);
        Some(Usage {
            input: prompt - cached - written,
            cache_read: cached,
            cache_write_5m: written,
            cache_write_1h: 0,
            output,
            reasoning: self.reasoning.min(output),
            audio_input: self.audio_input.min(prompt),
            audio_output: self.audio_output.min(output),
        })
    }
}

/// Writes a usage object; `members` are added to it.
pub fn write(usage: &Usage, members: &str, out: &mut Writer<'_>) {
    out.open()
        .count_field("prompt_tokens", usage.total_input())
        .count_field("completion_tokens", usage.output)
        .count_field("total_tokens", usage.total());
    out.key("prompt_tokens_details").open().count_field("cached_tokens", usage.cache_read);
    if usage.cache_write() > 0 {
        out.count_field("cache_write_tokens", usage.cache_write());
    }
    out.count_field("audio_tokens", usage.audio_input).close();
    out.key("completion_tokens_details")
        .open()
        .count_field("reasoning_tokens", usage.reasoning)
        .count_field("audio_tokens", usage.audio_output)
        .close();
    out.members(members).close();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Usage> {
        read(&mut Reader::new(text)).unwrap()
    }

    #[test]
    fn reasoning_left_out_of_the_completion_is_output() {
        let usage = parse(
            r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,
                "completion_tokens_details":{"reasoning_tokens":94}}"#,
        )
        .unwrap();
        assert_eq!((usage.input, usage.output, usage.reasoning), (32, 103, 94));
    }

    #[test]
    fn other_places_of_cached_tokens() {
        for text in [
            r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#,
            r#"{"prompt_tokens":10,"cached_tokens":4}"#,
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4}}"#,
        ] {
            let usage = parse(text).unwrap();
            assert_eq!((usage.input, usage.cache_read), (6, 4), "{text}");
        }
    }

    #[test]
    fn no_count_is_no_usage() {
        for text in ["{}", "null", "[]", "{\"prompt_tokens\":\"x\"}"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(
            parse(r#"{"prompt_tokens":5,"prompt_tokens_details":"none"}"#).unwrap().input,
            5
        );
    }

    proptest! {
        #[test]
        fn counts_lead_back(parts: [u32; 4], reasoning: u32, audio: [u32; 2]) {
            let [input, cache_read, cache_write_5m, output] = parts.map(u64::from);
            let usage = Usage {
                input,
                cache_read,
                cache_write_5m,
                output,
                reasoning: u64::from(reasoning).min(output),
                audio_input: u64::from(audio[0]).min(input + cache_read + cache_write_5m),
                audio_output: u64::from(audio[1]).min(output),
                ..Usage::default()
            };
            let mut out = Vec::new();
            write(&usage, "\"cost\":1", &mut Writer::new(&mut out));
            prop_assert_eq!(parse(std::str::from_utf8(&out).unwrap()), Some(usage));
        }

        #[test]
        fn sums_hold_for_all_counts(prompt: u64, cached: u64, completion: u64, total: u64) {
            let text = format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},
                    "prompt_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{total}}}}}"#
            );
            let usage = parse(&text).unwrap();
            prop_assert_eq!(usage.total_input(), prompt.min(Usage::MAX_COUNT));
            prop_assert!(usage.output >= completion.min(Usage::MAX_COUNT));
        }
    }
}
