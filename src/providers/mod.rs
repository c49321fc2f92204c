//! Who speaks what, and where.

pub mod catalogue;
pub mod resolve;
pub mod upstream;
