//! Token usage, normalised over providers.

use serde::{Deserialize, Serialize};

/// Tokens that one request consumed, split by what they cost.
///
/// `input`, `cache_read`, `cache_write_5m` and `cache_write_1h` are disjoint. `reasoning`,
/// `audio_input` and `audio_output` are parts of other fields and are never added to a total.
/// No field exceeds [`Usage::MAX_COUNT`], so sums of fields cannot overflow.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to the provider's cache.
    pub input: u64,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: u64,
    /// Input tokens written to a cache that lives five minutes, or for a time not told.
    pub cache_write_5m: u64,
    /// Input tokens written to a cache that lives one hour.
    pub cache_write_1h: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// The part of `output` that is reasoning.
    pub reasoning: u64,
    /// The part of the input, cached or not, that is audio.
    pub audio_input: u64,
    /// The part of `output` that is audio.
    pub audio_output: u64,
}

impl Usage {
    /// The largest count that is believed, about 10^12. A larger one is cut to it.
    pub const MAX_COUNT: u64 = 1 << 40;
    /// How many [`kinds`](Self::kinds) there are.
    pub const KINDS: usize = 8;

    /// Every count with its name, as metrics and logs have it.
    pub fn kinds(&self) -> [(&'static str, u64); Self::KINDS] {
        [
            ("input", self.input),
            ("cache_read", self.cache_read),
            ("cache_write_5m", self.cache_write_5m),
            ("cache_write_1h", self.cache_write_1h),
            ("output", self.output),
            ("reasoning", self.reasoning),
            ("audio_input", self.audio_input),
            ("audio_output", self.audio_output),
        ]
    }

    /// All input tokens, however they are priced.
    pub fn total_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
    }

    /// All tokens, in and out.
    pub fn total(&self) -> u64 {
        self.total_input().saturating_add(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_count_parts_once() {
        let usage = Usage {
            input: 1,
            cache_read: 10,
            cache_write_5m: 100,
            cache_write_1h: 1_000,
            output: 10_000,
            reasoning: 9_000,
            audio_input: 1,
            audio_output: 500,
        };
        assert_eq!(usage.total_input(), 1_111);
        assert_eq!(usage.total(), 11_111);
    }
}
