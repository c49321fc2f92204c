//! Limits that hold: over any number of requests at once, instances, and crashes.
//!
//! | module | what it is |
//! |---|---|
//! | [`store`] | the port to where counters are kept |
//! | [`counter`] | what an exchange with a counter does |
//! | [`memory`] | counters in this process |
//! | [`sqlite`] | counters in a SQLite database |
//! | [`postgres`] | counters in a PostgreSQL database |

mod check;
pub mod counter;
pub mod memory;
pub mod postgres;
pub mod sqlite;
pub mod store;

pub use store::{Answer, Charge, Exchange, Look, QuotaStore, QuotaStoreError, Reply, State};
