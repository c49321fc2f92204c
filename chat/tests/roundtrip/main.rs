//! What is written in a dialect and read again is the same.
//!
//! For each dialect there is a normal form: what its wire can tell apart. Generators make the model in that form.

#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

mod anthropic;
mod make;
mod openai_chat;
