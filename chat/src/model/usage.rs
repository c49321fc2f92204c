//! Tokens by what they cost.

/// Tokens that one request consumed.
///
/// `input`, `cache_read`, `cache_write_5m` and `cache_write_1h` are disjoint. `reasoning`, `audio_input`
/// and `audio_output` are parts of other fields and are never added to a total. Decoders keep each field
/// within [`Usage::MAX_COUNT`], so that sums cannot overflow.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
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

    /// All input tokens, however they are priced.
    pub fn total_input(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write())
    }

    /// Input tokens written to a cache, however long it lives.
    pub fn cache_write(&self) -> u64 {
        self.cache_write_5m.saturating_add(self.cache_write_1h)
    }

    /// All tokens, in and out.
    pub fn total(&self) -> u64 {
        self.total_input().saturating_add(self.output)
    }
}
