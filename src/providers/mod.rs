//! Who speaks what, and where.

pub mod catalogue;
pub mod certificate_check;
pub mod resolve;
pub mod tls;
pub mod upstream;
