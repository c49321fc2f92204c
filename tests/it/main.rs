//! The gateway as a process, real sockets, the simulated provider behind it. One binary for all.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails should say where")]

mod access;
mod admin;
mod audit;
mod basics;
mod bodies;
mod budgets;
mod cli;
mod cors;
mod cost;
mod dialects;
mod framing;
mod h2;
mod identity;
mod jwt;
mod leaving;
mod ledger;
mod limits;
mod metrics_named;
mod policies;
mod quota_stores;
mod quotas;
mod races;
mod reload;
mod retries;
mod routing;
mod secrecy;
mod smoke;
mod store_loss;
mod stores;
mod streams;
mod support;
mod traces;
mod upstream_h2;
mod vault;
