//! Who speaks what, and where.

pub mod catalogue;
pub mod health_check;
pub mod resolve;
pub mod upstream;
