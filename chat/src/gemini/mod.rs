//! Gemini's `generateContent`, upstream's side.
//!
//! Sources: "Generating content" of the Gemini API's reference, <https://ai.google.dev/api/generate-content>, with the pages
//! "Function calling", "Thinking" and "Thought signatures" beside it. Vertex AI speaks the same.
//!
//! | module | what it does |
//! |---|---|
//! | [`request_out`] | writes a request |
//! | [`contents_out`] | writes its turns |
//! | [`thinking_out`] | writes how much to think |
//! | [`address`] | which addresses the provider may be asked to fetch |
//! | [`answer_in`] | reads an answer's chunks |
//! | [`stream_in`] | reads a stream |
//! | [`reply_in`] | reads an answer that is one document |
//! | [`logprobs_in`] | reads log probabilities |
//! | [`usage`] | reads token counts |
//! | [`words`] | reads finish reasons and service tiers |
//! | [`fault`] | reads errors |

pub mod address;
pub mod answer_in;
pub mod contents_out;
pub mod fault;
pub mod logprobs_in;
pub mod reply_in;
pub mod request_out;
pub mod stream_in;
pub mod thinking_out;
pub mod usage;
pub mod words;

pub use fault::decode_fault;
pub use reply_in::decode_reply;
pub use request_out::encode_request;

use crate::{Expect, sse::Events, stream::Decode};

/// Reads an upstream's stream.
pub fn decoder(_expect: &Expect) -> Box<dyn Decode> {
    Box::new(Events::new(stream_in::Chunks::default()))
}
