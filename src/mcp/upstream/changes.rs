//! How often the tools of a server may have become others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Call;

/// Counts it: what the server says of its list, and each handshake after the first, as it may be another
/// version then.
#[derive(Debug, Default)]
pub struct ListChanges {
    count: AtomicU64,
    met: AtomicBool,
}

impl ListChanges {
    /// How often so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Notes that the server said so.
    pub fn said(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a handshake. With one that was made to ask `for_list` the list is that of after it, and not old
    /// at once.
    pub fn greeted(&self, for_list: bool) {
        if self.met.swap(true, Ordering::Relaxed) && !for_list {
            self.said();
        }
    }
}

/// Whether a request begins a list of tools: the pages after the first go on with it.
pub fn begins_list(call: &Call) -> bool {
    call.method == "tools/list" && call.params.get("cursor").is_none()
}
