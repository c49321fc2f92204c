//! Bedrock's Converse, upstream's side.
//!
//! Sources: "Converse" and "ConverseStream" of Amazon Bedrock's API reference,
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>, and "Supported foundation models" of its
//! user guide for what models take beyond that. Streams are frames: see [`frame`](crate::aws::frame). Requests are signed:
//! see [`sigv4`](crate::aws::sigv4).
//!
//! | module | what it does |
//! |---|---|
//! | [`family`] | tells whose a model is |
//! | [`request_out`] | writes a request |
//! | [`tools_out`] | writes its tools |
//! | [`turns_out`] | writes its turns |
//! | [`media_out`] | writes pictures, files and recordings |
//! | [`extra_out`] | writes what only some models take: reasoning, `top_k` |
//! | [`reply_in`] | reads an answer that is one document |
//! | [`stream_in`] | reads a stream |
//! | [`usage`] | reads token counts |
//! | [`words`] | reads stop reasons and service tiers |
//! | [`fault`] | reads errors |

pub mod extra_out;
pub mod family;
pub mod fault;
pub mod media_out;
pub mod reply_in;
pub mod request_out;
pub mod stream_in;
pub mod tools_out;
pub mod turns_out;
pub mod usage;
pub mod words;

pub use fault::{decode_fault, decode_named_fault};
pub use reply_in::decode_reply;
pub use request_out::encode_request;

use crate::{Expect, stream::Decode};

/// Reads an upstream's stream.
pub fn decoder(expect: &Expect) -> Box<dyn Decode> {
    Box::new(stream_in::Steps::new(expect))
}
