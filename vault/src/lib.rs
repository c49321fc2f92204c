//! Secrets from HashiCorp Vault or OpenBao: a client that logs in, reads, renews and keeps.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`] | where the server is, and how to log in |
//! | [`reference`](mod@reference) | which field of which secret is meant |
//! | [`error`] | what can go wrong, and what to do about it |
//! | `credential` | what is read from files at each login |
//! | `wire` | one bounded exchange with the server |
//! | `api` | the calls that are made, typed |
//! | `answer` | what the server's answers look like |
//! | `lease` | how long a token is good, and what to do about it when |
//! | `backoff` | how long to wait after failures |
//! | `held` | the values in memory |
//! | `keeper` | decides what is done next, and does it |
//! | [`status`] | figures for metrics |
//!
//! A [`Vault`] has a thread of its own, so that it works in a program with a runtime and in one
//! without, and so that nothing that it waits for keeps a request waiting. A value that was read
//! once is served from memory for as long as the process lives: a server that is sealed, a standby,
//! away, or that refuses what it granted before costs nothing but the freshness of the values.
//!
//! # Why not a client library
//!
//! `vaultrs` is alive and offers far more than is needed here. It was not chosen, since
//!
//! - it takes the address, the token and even the *skipping of certificate checks* from `VAULT_*`
//!   variables wherever it is not told otherwise, and the gateway's configuration is meant to be
//!   the only place that says such things;
//! - it reads answers of any length;
//! - its errors carry the server's texts, and tokens are plain `String`s;
//! - it brings a second HTTP client and about ten crates that nothing else here uses.
//!
//! Five calls of the HTTP API are made, over the client that also fetches the keys of token issuers.

mod answer;
mod api;
mod backoff;
mod credential;
pub mod error;
mod held;
mod keeper;
mod lease;
pub mod options;
pub mod reference;
pub mod status;
mod vault;
mod wire;

pub use error::VaultError;
pub use options::{Address, AddressError, Auth, KvVersion, Options, Retry};
pub use reference::{Reference, ReferenceError};
pub use status::{Operation, Outcome, Status};
pub use vault::Vault;
