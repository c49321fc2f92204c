//! What an upstream of Google's needs beside its dialect.
//!
//! | module | what it does |
//! |---|---|
//! | [`assertion`] | signs what a service account exchanges for an access token |

pub mod assertion;
