//! Anthropic's messages, both sides.
//!
//! Sources: "Messages", "Streaming messages", "Errors", "Structured outputs" and "Thinking" of Anthropic's documentation,
//! <https://platform.claude.com/docs/en/api/messages>.
//!
//! | module | what it does |
//! |---|---|
//! | [`request_in`] | reads a client's request |
//! | [`blocks_in`] | reads its turns |
//! | [`request_out`] | writes a request for an upstream |
//! | [`turns_out`] | writes its turns |
//! | [`reasoning_out`] | writes how much to think |
//! | [`reply_in`] | reads an upstream's answer |
//! | [`reply_out`] | writes an answer for a client |
//! | [`stream_in`] | reads an upstream's stream |
//! | [`stream_out`] | writes a stream for a client |
//! | [`usage`] | token counts, both ways |
//! | [`words`] | stop reasons and service tiers, both ways |
//! | [`fault`] | errors, both ways |

pub mod blocks_in;
pub mod fault;
pub mod reasoning_out;
pub mod reply_in;
pub mod reply_out;
pub mod request_in;
pub mod request_out;
pub mod stream_in;
pub mod stream_out;
pub mod turns_out;
pub mod usage;
pub mod words;

pub use fault::{decode_fault, encode_fault};
pub use reply_in::decode_reply;
pub use reply_out::encode_reply;
pub use request_in::decode_request;
pub use request_out::encode_request;

use crate::{
    Envelope, Expect,
    sse::Events,
    stream::{Decode, Encode},
};

/// What stands before the seal of a part that is no thought: Gemini signs calls of tools, for which this dialect has no
/// place. It travels as a block of redacted thinking before the part, which clients send back.
pub(crate) const PART_SEAL: &str = "sealed:part:";

/// Reads an upstream's stream.
pub fn decoder(expect: &Expect) -> Box<dyn Decode> {
    Box::new(Events::new(stream_in::Steps::new(expect)))
}

/// Writes a stream for a client.
pub fn encoder(envelope: Envelope) -> Box<dyn Encode> {
    Box::new(stream_out::StepWriter::new(envelope))
}
