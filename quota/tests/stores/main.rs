//! The stores of counters: one contract, every store, on servers of the tests' own.
#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

mod contract;
mod memory;
mod postgres;
mod redis;
mod sqlite;
mod support;
