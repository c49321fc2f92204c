//! Reading and writing JSON without a tree.
//!
//! One pass over the bytes, borrowing what needs no unescaping; numbers and values that are only
//! handed on stay text. What is accepted is exactly what `serde_json` accepts, nesting limit included; tests hold the
//! two against each other.
//!
//! | module | what it is |
//! |---|---|
//! | [`reader`] | a cursor over a document |
//! | [`fields`] | an object's fields, each at most once, and the path to them |
//! | [`raw`] | values and numbers that stay text |
//! | [`writer`] | appends JSON to a buffer |

pub mod fields;
pub mod raw;
pub mod reader;
pub mod writer;

pub use fields::{Keys, Path};
pub use raw::{Number, Raw};
pub use reader::{Fault, Kind, Reader};
pub use writer::Writer;
