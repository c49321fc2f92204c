//! What accounting needs of an answer, whatever its dialect: token usage and the reason it ended. Pure data.
//!
//! The canonical conversation that requests and answers are translated by is in the crate
//! `sluicegate-chat`.

pub mod finish;

pub use finish::FinishReason;
pub use sluicegate_filters::usage::{self, Usage};
