//! The canonical conversation: what every dialect's wire format is reduced to.
//!
//! Pure data, no I/O. Today it holds what accounting needs, token usage and the reason an
//! answer ended.

pub mod finish;

pub use finish::FinishReason;
pub use sluicegate_filters::usage::{self, Usage};
