//! Token counts, both ways.
//!
//! `input_tokens` leaves out what was read from the cache and written to it. A stream tells counts in parts, and each later one
//! replaces what it repeats.

use crate::{
    Usage,
    json::{Fault, Reader, Writer},
    model::ServiceTier,
    told,
};

use super::words;

/// The counts that were told so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    tier: Option<ServiceTier>,
}

impl Counts {
    /// Takes one usage object.
    pub fn merge(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        fn replace(present: &mut Option<u64>, reader: &mut Reader<'_>) -> Result<(), Fault> {
            *present = told::count(reader)?.or(*present);
            Ok(())
        }
        told::object_if(reader, |key, reader| {
            match key {
                "input_tokens" => replace(&mut self.input, reader)?,
                "cache_read_input_tokens" => replace(&mut self.cache_read, reader)?,
                "cache_creation_input_tokens" => replace(&mut self.cache_write, reader)?,
                "output_tokens" => replace(&mut self.output, reader)?,
                "cache_creation" => {
                    _ = told::object_if(reader, |key, reader| {
                        match key {
                            "ephemeral_5m_input_tokens" => {
                                replace(&mut self.cache_write_5m, reader)?
                            }
                            "ephemeral_1h_input_tokens" => {
                                replace(&mut self.cache_write_1h, reader)?
                            }
                            _ => return Ok(false),
                        }
                        Ok::<_, Fault>(true)
                    })?
                }
                "output_tokens_details" => {
                    _ = told::object_if(reader, |key, reader| {
                        if key != "thinking_tokens" {
                            return Ok(false);
                        }
                        replace(&mut self.thinking, reader)?;
                        Ok::<_, Fault>(true)
                    })?
                }
                "service_tier" => {
                    let tier = told::text(reader)?.and_then(|word| words::tier(&word));
                    self.tier = tier.or(self.tier);
                }
                _ => return Ok(false),
            }
            Ok::<_, Fault>(true)
        })?;
        Ok(())
    }

    /// The usage so far. `None` when no count was told.
    pub fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let told_5m = self.cache_write_5m.unwrap_or(0);
        let cache_write_1h = self.cache_write_1h.unwrap_or(0);
        // What the breakdown does not cover has the default life, five minutes.
        let untold = self.cache_write.unwrap_or(0).saturating_sub(told_5m + cache_write_1h);
        let output = self.output.unwrap_or(0);
        Some(Usage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write_5m: (told_5m + untold).min(Usage::MAX_COUNT),
            cache_write_1h,
            output,
            reasoning: self.thinking.unwrap_or(0).min(output),
            ..Usage::default()
        })
    }

    /// How fast the answer is served.
    pub fn tier(&self) -> Option<ServiceTier> {
        self.tier
    }
}

/// Writes a usage object; `members` are added to it.
pub fn write(usage: &Usage, tier: Option<ServiceTier>, members: &str, out: &mut Writer<'_>) {
    out.open()
        .count_field("input_tokens", usage.input)
        .count_field("cache_creation_input_tokens", usage.cache_write())
        .count_field("cache_read_input_tokens", usage.cache_read);
    if usage.cache_write_1h > 0 {
        out.key("cache_creation")
            .open()
            .count_field("ephemeral_5m_input_tokens", usage.cache_write_5m)
            .count_field("ephemeral_1h_input_tokens", usage.cache_write_1h)
            .close();
    }
    out.count_field("output_tokens", usage.output);
    if usage.reasoning > 0 {
        out.key("output_tokens_details").open();
        out.count_field("thinking_tokens", usage.reasoning).close();
    }
    if let Some(tier) = tier {
        out.field("service_tier", words::tier_word(tier));
    }
    out.members(members).close();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(parts: &[&str]) -> Counts {
        let mut counts = Counts::default();
        for part in parts {
            counts.merge(&mut Reader::new(part)).unwrap();
        }
        counts
    }

    #[test]
    fn later_parts_replace_what_they_repeat() {
        let first = r#"{"input_tokens":10,"cache_read_input_tokens":20,"cache_creation_input_tokens":35,
            "cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":10},
            "output_tokens":1,"service_tier":"priority"}"#;
        let later = r#"{"output_tokens":77,"input_tokens":null,
            "output_tokens_details":{"thinking_tokens":70}}"#;
        let counts = merged(&[first, later]);
        let expected = Usage {
            input: 10,
            cache_read: 20,
            cache_write_5m: 25,
            cache_write_1h: 10,
            output: 77,
            reasoning: 70,
            ..Usage::default()
        };
        assert_eq!(counts.usage(), Some(expected));
        assert_eq!(counts.tier(), Some(ServiceTier::Priority));
    }

    #[test]
    fn no_count_is_no_usage() {
        for part in ["{}", "null", "[]", "{\"input_tokens\":\"x\"}"] {
            assert_eq!(merged(&[part]).usage(), None, "{part}");
        }
    }

    proptest! {
        #[test]
        fn counts_lead_back(parts: [u32; 5], reasoning: u32) {
            let [input, cache_read, cache_write_5m, cache_write_1h, output] = parts.map(u64::from);
            let usage = Usage {
                input,
                cache_read,
                cache_write_5m,
                cache_write_1h,
                output,
                reasoning: u64::from(reasoning).min(output),
                ..Usage::default()
            };
            let mut out = Vec::new();
            write(&usage, None, "\"cost\":1", &mut Writer::new(&mut out));
            prop_assert_eq!(merged(&[std::str::from_utf8(&out).unwrap()]).usage(), Some(usage));
        }
    }
}
