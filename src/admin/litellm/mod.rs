//! LiteLLM's dialect of the admin API: its paths, fields and answers, over the same rules as our own. Fields
//! that it documents and that mean nothing here are ignored, as it ignores those that it does not know;
//! the header `x-sluicegate-ignored-fields` names them.

pub mod routes;
