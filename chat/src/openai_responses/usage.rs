//! Token counts. They are read as those of chat completions, whose reader knows both names.

pub use crate::openai_chat::usage::read;
use crate::{Usage, json::Writer};

/// Writes a usage object; `members` are added to it.
pub fn write(usage: &Usage, members: &str, out: &mut Writer<'_>) {
    out.open().count_field("input_tokens", usage.total_input());
    out.key("input_tokens_details").open().count_field("cached_tokens", usage.cache_read);
    if usage.cache_write() > 0 {
        out.count_field("cache_write_tokens", usage.cache_write());
    }
    out.close().count_field("output_tokens", usage.output);
    out.key("output_tokens_details").open();
    out.count_field("reasoning_tokens", usage.reasoning).close();
    out.count_field("total_tokens", usage.total()).members(members).close();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Reader;

    proptest! {
        #[test]
        fn counts_lead_back(parts: [u32; 4], reasoning: u32) {
            let [input, cache_read, cache_write_5m, output] = parts.map(u64::from);
            let reasoning = u64::from(reasoning).min(output);
            let usage =
                Usage { input, cache_read, cache_write_5m, output, reasoning, ..Usage::default() };
            let mut out = Vec::new();
            write(&usage, "\"cost\":1", &mut Writer::new(&mut out));
            let text = std::str::from_utf8(&out).unwrap();
            prop_assert_eq!(read(&mut Reader::new(text)).unwrap(), Some(usage));
        }
    }
}
