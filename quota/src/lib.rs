//! Limits that hold: over any number of requests at once, instances, and crashes.
//!
//! | module | what it is |
//! |---|---|
//! | [`store`] | the port to where counters are kept |
//! | [`counter`] | what an exchange with a counter does |
//! | [`memory`] | counters in this process |

pub mod counter;
pub mod memory;
pub mod store;

pub use store::{Answer, Charge, Exchange, Look, QuotaStore, QuotaStoreError, Reply, State};
