//! OpenAI's responses, both sides.
//!
//! Sources: "Create a model response", "The response object" and "Streaming events" of OpenAI's API reference,
//! <https://platform.openai.com/docs/api-reference/responses>. What other providers make of it is named where it is read.
//!
//! The dialect knows items where others know messages: an answer is a list of messages, calls and reasoning. The model
//! has one assistant's turn for all of them.
//!
//! | module | what it does |
//! |---|---|
//! | [`request_in`] | reads a client's request |
//! | [`items_in`] | reads its items |
//! | [`parts_in`] | reads the parts of its messages |
//! | [`tools_in`] | reads its tools, and the choice among them |
//! | [`request_out`] | writes a request for an upstream |
//! | [`items_out`] | writes its items |
//! | [`tools_out`] | writes its tools and the form of the answer |
//! | [`reply_in`] | reads an upstream's answer |
//! | [`reply_out`] | writes an answer for a client |
//! | [`object`] | writes what stands around the answer's items |
//! | [`output`] | writes the answer's items |
//! | [`mod@echo`] | writes what an answer repeats of the request |
//! | [`stream_in`] | reads an upstream's stream |
//! | [`stream_out`] | writes a stream for a client |
//! | [`seals`] | what `encrypted_content` carries |
//! | [`usage`] | token counts |
//! | [`words`] | statuses and reasons, both ways |
//! | [`fault`] | errors within streams and answers |

pub mod echo;
pub mod fault;
pub mod items_in;
pub mod items_out;
pub mod object;
pub mod output;
pub mod parts_in;
pub mod reply_in;
pub mod reply_out;
pub mod request_in;
pub mod request_out;
pub mod seals;
pub mod stream_in;
pub mod stream_out;
pub mod tools_in;
pub mod tools_out;
pub mod usage;
pub mod words;

pub use echo::echo;
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
    Box::new(Events::new(stream_in::Steps::default()))
}

/// Writes a stream for a client.
pub fn encoder(envelope: Envelope) -> Box<dyn Encode> {
    Box::new(stream_out::StepWriter::new(envelope))
}
