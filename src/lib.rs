//! Sluicegate: an AI gateway on Pingora. The modules, in the order of a request's way:
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line: what a person types |
//! | [`server`] | runs the process: listeners, signals, reloads, the way out |
//! | [`app`] | the only place that wires: a configuration becomes a snapshot that requests share |
//! | [`overload`] | how much is taken on at once |
//! | [`edge`] | a connection before Pingora sees it: caps, deadlines, TLS |
//! | [`tls`] | certificates, keys and authorities that change under whoever uses them |
//! | [`proxy`] | the page: a request's life, phase by phase |
//! | [`quotas`] | how much a request may use, and what it used |
//! | [`routing`] | from a model's name to a target |
//! | [`providers`] | providers made ready to be called; the catalogue; their addresses |
//! | [`dialects`] | wire formats: peek, rewrite, event streams, usage, errors. Pure |
//! | [`chat`] | what all dialects have in common. Pure |
//! | [`mcp`] | tools of MCP servers behind one endpoint |
//! | [`config`] | from YAML to checked values |
//! | [`migrate`] | from LiteLLM's configuration to ours. Pure |
//! | [`policies`] | from a directory of Cedar files to policies, and tests of them |
//! | [`admin`] | the administrator's and Prometheus's listeners |
//! | [`telemetry`] | metrics and the access log |
//! | [`audit`] | who did what, in a log that shows when it is changed |
//! | [`clock`] | the time |
//! | `http_client` | clients for what is asked now and then: key sets, access tokens, the admin API |
//!
//! What is allowed is decided in the crate `sluicegate-filters`, which knows no socket.

pub mod admin;
pub mod app;
pub mod audit;
pub mod chat;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialects;
pub mod edge;
mod http_client;
pub mod identity;
pub mod mcp;
pub mod migrate;
pub mod overload;
pub mod policies;
pub mod providers;
pub mod proxy;
pub mod quotas;
pub mod routing;
pub mod server;
pub mod stores;
pub mod telemetry;
pub mod tls;
