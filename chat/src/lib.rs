//! One model of a conversation, and the dialects that it is spoken in.
//!
//! A client that speaks one dialect is served by an upstream that speaks another: the client's request is read
//! into the model and written in the upstream's dialect, and the answer takes the way back. With a
//! codec for each dialect and none for pairs, N clients' and M upstreams' dialects cost N + M codecs.
//!
//! Everything here is pure: no socket, no clock, no task. Two promises hold for all of it. Nothing that a client
//! asks for is lost unseen: what the upstream's dialect can not say is refused by its name, or, for parameters and
//! where the operator wants it, left out and listed. And an answer's end is never made up: a stream
//! that breaks is reported as [`Broken`].
//!
//! ```text
//! client's bytes --decode_request--> Request --encode_request--> Encoded.body
//! client's bytes <--encode_reply---- Reply   <--decode_reply---- upstream's bytes
//!                <--StreamEncoder--- Event   <--StreamDecoder---
//!                <--encode_fault---- Fault   <--decode_fault----
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | the model |
//! | [`dialect`] | the names of the dialects |
//! | [`translate`] | what a translation needs to know: target, what to do with losses, envelope |
//! | [`refusal`] | why a request can not be translated |
//! | [`stream`] | answers in pieces |
//! | [`split`] | cuts an event stream into events |
//! | [`sse`] | event streams |
//! | [`digest`] | short names for longer texts |
//! | [`extras`] | fields of a request that the model has none for |
//! | [`media`] | bytes in addresses |
//! | [`told`] | what providers tell: counts, and errors |
//! | [`json`] | reading and writing JSON without a tree |
//! | [`openai_chat`] | OpenAI's chat completions, both sides |
//! | [`openai_responses`] | OpenAI's responses, both sides |
//! | [`anthropic`] | Anthropic's messages, both sides |
//! | [`gemini`] | Gemini's `generateContent`, upstream's side |
//! | [`bedrock`] | Bedrock's Converse, upstream's side |
//! | [`aws`] | Amazon's frames and signatures |
//! | [`google`] | Google's service accounts |

pub mod anthropic;
pub mod aws;
pub mod bedrock;
pub mod dialect;
pub mod digest;
pub mod extras;
pub mod gemini;
pub mod google;
pub mod json;
pub mod media;
pub mod model;
pub mod openai_chat;
pub mod openai_responses;
pub mod refusal;
pub mod split;
pub mod sse;
pub mod stream;
pub mod told;
pub mod translate;

pub use dialect::{ClientDialect, Dialect};
pub use model::{Event, Fault, FaultKind, Finish, Reply, Request, Usage};
pub use refusal::{Refusal, Why};
pub use stream::{Annotate, Broken, StreamDecoder, StreamEncoder, Translator};
pub use translate::{
    Capabilities, Dropped, Encoded, Envelope, Expect, OnLoss, Target, decode_fault, decode_reply,
    decode_request, encode_fault, encode_reply, encode_request,
};
