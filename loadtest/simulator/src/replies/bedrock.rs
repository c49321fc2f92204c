//! Bedrock's Converse, and the frames of its stream.
//!
//! Shapes: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>;
//! frames: <https://smithy.io/2.0/aws/amazon-eventstream.html>

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Reply, json_string};
use crate::play::{Delta, Script};

pub(super) fn response(reply: &Reply<'_>) -> String {
    object(reply, &format!(r#"{{"text":"{}"}}"#, reply.text()), stop(reply))
}

/// A whole answer of these blocks.
pub(super) fn object(reply: &Reply<'_>, content: &str, stop: &str) -> String {
    format!(
        r#"{{"metrics":{{"latencyMs":1}},"output":{{"message":{{"content":[{content}],"role":"assistant"}}}},"stopReason":"{stop}","usage":{}}}"#,
        usage(reply)
    )
}

pub(super) fn stream(reply: &Reply<'_>) -> Script {
    Script {
        opening: vec![start()],
        content: reply.tokens.content,
        delta: Delta::Cycle(vec![delta(0, &format!(r#"{{"text":"{}"}}"#, reply.token_text()))]),
        closing: [vec![block_stop(0)], closing(reply, stop(reply))].concat(),
        error: error(),
    }
}

pub(super) fn start() -> Bytes {
    event("messageStart", r#"{"role":"assistant"}"#)
}

pub(super) fn delta(block: usize, delta: &str) -> Bytes {
    event("contentBlockDelta", &format!(r#"{{"contentBlockIndex":{block},"delta":{delta}}}"#))
}

pub(super) fn block_stop(block: usize) -> Bytes {
    event("contentBlockStop", &format!(r#"{{"contentBlockIndex":{block}}}"#))
}

/// What follows the last block. The counts come after the end of the message.
pub(super) fn closing(reply: &Reply<'_>, stop: &str) -> Vec<Bytes> {
    let usage = usage(reply);
    vec![
        event("messageStop", &format!(r#"{{"stopReason":"{stop}"}}"#)),
        event("metadata", &format!(r#"{{"metrics":{{"latencyMs":1}},"usage":{usage}}}"#)),
    ]
}

pub(super) fn error() -> Bytes {
    let headers = [
        (":exception-type", "modelStreamErrorException"),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    frame(&headers, br#"{"message":"The model stopped.","originalStatusCode":500}"#)
}

/// The identifier and the quoted name of a call.
pub(super) fn tool_use(reply: &Reply<'_>, index: usize, name: &str) -> String {
    let name = json_string(name);
    format!(r#""name":{name},"toolUseId":"tooluse_sim{:016x}{index:02x}""#, reply.serial)
}

pub(super) fn stop(reply: &Reply<'_>) -> &'static str {
    if reply.limited { "max_tokens" } else { "end_turn" }
}

/// `inputTokens` does not count what the cache read or wrote; the total does.
fn usage(reply: &Reply<'_>) -> String {
    let (read, write) = (reply.tokens.cached, reply.tokens.cache_write);
    let (input, output) = (reply.tokens.prompt - read - write, reply.tokens.completion());
    let total = reply.tokens.prompt + output;
    format!(
        r#"{{"inputTokens":{input},"outputTokens":{output},"totalTokens":{total},"cacheReadInputTokens":{read},"cacheWriteInputTokens":{write}}}"#
    )
}

pub(super) fn event(name: &str, payload: &str) -> Bytes {
    let headers =
        [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    frame(&headers, payload.as_bytes())
}

/// An event whose payload is not JSON.
pub(crate) fn malformed() -> Bytes {
    event("contentBlockDelta", r#"{"delta": oops"#)
}

/// The lengths with their checksum, headers of text, the payload, and a checksum of it all.
fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    const TEXT: u8 = 7;
    const AROUND: usize = 16;
    let mut block = BytesMut::new();
    for (name, value) in headers {
        block.put_u8(name.len() as u8);
        block.put_slice(name.as_bytes());
        block.put_u8(TEXT);
        block.put_u16(value.len() as u16);
        block.put_slice(value.as_bytes());
    }
    let mut out = BytesMut::new();
    out.put_u32((AROUND + block.len() + payload.len()) as u32);
    out.put_u32(block.len() as u32);
    out.put_u32(crc32fast::hash(&out));
    out.put_slice(&block);
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out));
    out.freeze()
}
