//! How many files, connections among them, the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::valid::Limits;

/// For connections to providers that wait to be used, those of the other listeners, stores and files.
const OTHERS: u64 = 2048;

/// Raises the limit as far as the system lets us. The lower one that a process begins with is for programs
/// that count descriptors in a fixed set. Warns where `limits` allows more connections than there can be: with
/// none left, nobody is let in, the administrator included.
pub fn raise(limits: &Limits) {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(found) => found,
        Err(error) => return tracing::warn!(%error, "the limit of open files is not known"),
    };
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let most = if raised { hard } else { soft };
    // A connection of a caller, and one to a provider for what it asks.
    let needed = (limits.connections as u64).saturating_mul(2).saturating_add(OTHERS);
    if most < needed {
        tracing::warn!(
            open_files = most,
            needed,
            connections = limits.connections,
            "`limits.connections` needs more open files than the system allows; raise its limit (LimitNOFILE, \
             ulimit -n) or lower `limits.connections`"
        );
    }
}
