//! OpenAI's chat completions, both sides.
//!
//! Sources: "Create chat completion", "The chat completion object" and "The chat completion chunk object" of OpenAI's API
//! reference, <https://platform.openai.com/docs/api-reference/chat>. Extensions that clients and providers use beyond it are named where they
//! are read: reasoning (`reasoning_content`, `thinking_blocks`), cache hints (`cache_control`), `top_k`, `thinking`.
//!
//! | module | what it does |
//! |---|---|
//! | [`request_in`] | reads a client's request |
//! | [`messages_in`] | reads its messages |
//! | [`request_out`] | writes a request for an upstream |
//! | [`messages_out`] | writes its messages |
//! | [`reply_in`] | reads an upstream's answer |
//! | [`reply_out`] | writes an answer for a client |
//! | [`stream_in`] | reads an upstream's stream |
//! | [`stream_out`] | writes a stream for a client |
//! | [`usage`] | token counts, both ways |
//! | [`words`] | finish reasons and service tiers, both ways |
//! | [`fault`] | errors, both ways |

pub mod fault;
pub mod messages_in;
pub mod messages_out;
pub mod reply_in;
pub mod reply_out;
pub mod request_in;
pub mod request_out;
pub mod stream_in;
pub mod stream_out;
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

/// Reads an upstream's stream.
pub fn decoder(_expect: &Expect) -> Box<dyn Decode> {
    Box::new(Events::new(stream_in::Chunks::default()))
}

/// Writes a stream for a client.
pub fn encoder(envelope: Envelope) -> Box<dyn Encode> {
    Box::new(stream_out::ChunkWriter::new(envelope))
}
