//! Embeddings, as numbers or as base64 of little-endian 32-bit floats.
//!
//! Shape: <https://platform.openai.com/docs/api-reference/embeddings>.

use std::fmt::Write as _;

use super::Reply;

/// When the request does not say.
const DEFAULT_DIMENSIONS: u32 = 256;

pub(super) fn embeddings(reply: &Reply<'_>) -> String {
    let dimensions = reply.call.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    let vector = if reply.call.base64 {
        let bytes: Vec<u8> = (0..dimensions).flat_map(|index| value(index).to_le_bytes()).collect();
        format!("\"{}\"", base64(&bytes))
    } else {
        let values: Vec<String> = (0..dimensions).map(|index| value(index).to_string()).collect();
        format!("[{}]", values.join(","))
    };
    let mut data = String::with_capacity((vector.len() + 60) * reply.call.inputs);
    for index in 0..reply.call.inputs {
        let comma = if index == 0 { "" } else { "," };
        let _ =
            write!(data, r#"{comma}{{"object":"embedding","index":{index},"embedding":{vector}}}"#);
    }
    let (model, prompt) = (&reply.model, reply.tokens.prompt);
    let usage = if reply.behaviour.omit_usage {
        String::new()
    } else {
        format!(r#","usage":{{"prompt_tokens":{prompt},"total_tokens":{prompt}}}"#)
    };
    format!(r#"{{"object":"list","data":[{data}],"model":{model}{usage}}}"#)
}

/// Sixteenths from -0.5 to 0.5: exact in binary and short in decimal.
fn value(index: u32) -> f32 {
    f32::from(u8::try_from(index % 17).unwrap_or(0)) / 16.0 - 0.5
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
