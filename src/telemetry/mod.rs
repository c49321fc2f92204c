//! What the process says of itself.

pub mod access_log;
pub mod access_metrics;
pub mod config_metrics;
pub mod connection_metrics;
mod described;
pub mod ledger_metrics;
pub mod mcp_metrics;
pub mod metrics;
pub mod overload_metrics;
pub mod page;
pub mod process_metrics;
pub mod provider_metrics;
pub mod quota_metrics;
mod register;
pub mod request_metrics;
pub mod route_metrics;
pub mod secret_metrics;
pub mod series;
pub mod tls_metrics;
pub mod trace;
pub mod trace_metrics;
pub mod usage_metrics;
