//! What an upstream of Amazon's needs beside its dialect.
//!
//! | module | what it does |
//! |---|---|
//! | [`frame`] | reads and writes frames of `application/vnd.amazon.eventstream` |
//! | [`sigv4`] | signs requests |

pub mod frame;
pub mod sigv4;
