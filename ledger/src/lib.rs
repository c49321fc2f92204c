//! One row for each attempt that reached a provider, exactly once.
//!
//! | module | what it is |
//! |---|---|
//! | [`row`] | what is written down of an attempt |
//! | [`store`] | the port to where rows are kept |
//! | [`journal`] | what survives the process: a file in memory, written on the request path |
//! | [`entry`] | an attempt, from its beginning to its row |
//! | [`writer`] | from the journal to the store, behind the requests' back |
//! | [`replay`] | the journals of processes that are gone |

pub mod entry;
pub mod journal;
pub mod replay;
pub mod row;
pub mod store;
pub mod writer;

pub use entry::{Entry, Ledger, Options};
pub use journal::Full;
pub use row::Row;
pub use store::{
    Again, Dimension, Group, LedgerError, LedgerStore, MAX_ROWS, RowsQuery, Total, UsageQuery,
};
