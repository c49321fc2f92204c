//! LiteLLM's routes.

use super::super::endpoint::Endpoint;

/// The table.
pub fn endpoints() -> Vec<Endpoint> {
    Vec::new()
}
