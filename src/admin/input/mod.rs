//! What callers send, read strictly: each fault names its field.
//!
//! | module | what it reads |
//! |---|---|
//! | [`json`] | bodies |
//! | [`hidden`] | secrets in them |
//! | [`query`] | query strings |
//! | [`patch`] | merge patches (RFC 7396), and fields of which absence differs from `null` |
//! | [`csv`] | comma-separated values, for spreadsheets |
//! | [`money`] | amounts |
//! | [`time`] | moments and spans |

pub mod csv;
pub mod hidden;
pub mod json;
pub mod money;
pub mod patch;
pub mod query;
pub mod time;
