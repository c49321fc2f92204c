//! The stores of counters: one contract, every store, on servers of the tests' own.

mod contract;
mod memory;
mod postgres;
mod sqlite;
mod support;
