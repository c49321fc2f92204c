//! Limits that hold: over any number of requests at once, instances, and crashes.
//!
//! | module | what it is |
//! |---|---|
//! | [`store`] | the port to where counters are kept |
//! | [`counter`] | what an exchange with a counter does |
//! | [`memory`] | counters in this process |
//! | [`sqlite`] | counters in a SQLite database |
//! | [`postgres`] | counters in a PostgreSQL database |
//! | [`redis`](mod@redis) | counters in Redis |
//! | [`mod@slice`] | what an instance has leased of one counter |
//! | [`engine`] | holds for requests over many counters, and the exchanges behind them |

mod check;
pub mod counter;
pub mod engine;
pub mod memory;
pub mod postgres;
pub mod redis;
pub mod slice;
pub mod sqlite;
pub mod store;

pub use engine::{Amounts, Engine, Extended, Holds, Options, Refused};
pub use memory::MemoryQuotas;
pub use slice::{Charged, Crossing, Reason, Refusal, Slice, Standing};
pub use store::{Answer, Charge, Exchange, Look, QuotaStore, QuotaStoreError, Reply, State};
