//! Reads token counts.
//!
//! `inputTokens` leaves out what was read from the cache and written to it.

use crate::{
    Usage,
    json::{Fault, Reader},
    told,
};

/// Reads a usage object. `None` when it tells no count.
pub fn read(reader: &mut Reader<'_>) -> Result<Option<Usage>, Fault> {
    let (mut input, mut output) = (None, None);
    let (mut cache_read, mut cache_write, mut cache_write_1h) = (None, None, 0_u64);
    told::object_if(reader, |key, reader| {
        match key {
            "inputTokens" => input = told::count(reader)?,
            "outputTokens" => output = told::count(reader)?,
            // The second name is that of the API's first version.
            "cacheReadInputTokens" | "cacheReadInputTokenCount" => {
                cache_read = cache_read.or(told::count(reader)?);
            }
            "cacheWriteInputTokens" | "cacheWriteInputTokenCount" => {
                cache_write = cache_write.or(told::count(reader)?);
            }
            "cacheDetails" => told::array_if(reader, |reader| {
                let (mut is_long, mut tokens) = (false, None);
                told::object_if(reader, |key, reader| {
                    match key {
                        "ttl" => is_long = told::text(reader)?.as_deref() == Some("1h"),
                        "inputTokens" => tokens = told::count(reader)?,
                        _ => return Ok(false),
                    }
                    Ok::<_, Fault>(true)
                })?;
                if is_long {
                    cache_write_1h = cache_write_1h.saturating_add(tokens.unwrap_or(0));
                }
                Ok::<_, Fault>(())
            })?,
            _ => return Ok(false),
        }
        Ok::<_, Fault>(true)
    })?;
    if input.is_none() && output.is_none() {
        return Ok(None);
    }
    let cache_write_1h = cache_write_1h.min(Usage::MAX_COUNT);
    // Writes whose life is not told have the default life.
    let cache_write_5m = cache_write.unwrap_or(0).saturating_sub(cache_write_1h);
    Ok(Some(Usage {
        input: input.unwrap_or(0),
        cache_read: cache_read.unwrap_or(0),
        cache_write_5m,
        cache_write_1h,
        output: output.unwrap_or(0),
        ..Usage::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_counted_twice_or_lost() {
        let text = r#"{"inputTokens":10,"outputTokens":5,"totalTokens":85,"cacheReadInputTokens":20,
            "cacheWriteInputTokens":50,"cacheDetails":[{"ttl":"1h","inputTokens":30},{"ttl":"5m","inputTokens":20}]}"#;
        let usage = read(&mut Reader::new(text)).unwrap().unwrap();
        let expected = Usage {
            input: 10,
            cache_read: 20,
            cache_write_5m: 20,
            cache_write_1h: 30,
            output: 5,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
        assert_eq!(usage.total(), 85);
        assert_eq!(read(&mut Reader::new(r#"{"totalTokens":"x"}"#)).unwrap(), None);
    }

    #[test]
    fn hostile_counts_stay_in_bounds() {
        let most = u64::MAX;
        let detail = format!(r#"{{"ttl":"1h","inputTokens":{most}}}"#);
        let text = format!(
            r#"{{"inputTokens":{most},"outputTokens":{most},"cacheReadInputTokens":{most},
            "cacheWriteInputTokens":{most},"cacheDetails":[{detail},{detail}]}}"#
        );
        let usage = read(&mut Reader::new(&text)).unwrap().unwrap();
        let most = Usage::MAX_COUNT;
        assert_eq!((usage.input, usage.output, usage.cache_read), (most, most, most));
        assert_eq!((usage.cache_write_5m, usage.cache_write_1h), (0, most));
    }
}
