//! The admin API on a real listener, with a store in memory. Its clock, its audit log and the bearers of tokens
//! are the test's.

mod acts;
mod cli;
mod conditions;
mod documents;
mod harness;
mod inputs;
mod lists;
mod litellm;
mod matrix;
mod owners;
mod quotas;
mod rights;
mod strangers;
mod tokens;
mod usage;
