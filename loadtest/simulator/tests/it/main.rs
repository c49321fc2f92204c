//! The simulator on real sockets: every endpoint, every refusal, every fault.

#![expect(clippy::unwrap_used, reason = "tests")]

mod client;
mod clouds;
mod endpoints;
mod faults;
mod http2;
mod ledger;
mod mcp;
mod mcp_stdio;
mod refusals;
mod strict;
mod tools;
