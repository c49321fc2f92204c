//! The stores: one contract, every database.

mod contract;
mod sqlite;
