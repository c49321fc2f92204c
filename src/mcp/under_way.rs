//! Calls under way on this instance, so that a caller can cancel one by another request.
//!
//! Clients of the era of sessions cancel so, and leave the connection of the call open. What comes to
//! another instance finds nothing here, and the call goes on to its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Calls, by whose they are and the id that their caller gave them.
#[derive(Debug, Default)]
pub struct UnderWay {
    calls: Mutex<HashMap<Key, Vec<(u64, CancellationToken)>>>,
    /// The number of the next one.
    next: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    caller: String,
    /// As it is written.
    id: String,
}

/// One of them. Over when it is dropped.
#[derive(Debug)]
pub struct Entry {
    all: Arc<UnderWay>,
    key: Key,
    number: u64,
    /// Cancelled when its caller wants it to end.
    pub cancelled: CancellationToken,
}

impl UnderWay {
    /// A call that `caller` has given this `id`.
    pub fn enter(self: &Arc<Self>, caller: String, id: &str) -> Entry {
        let (key, cancelled) = (Key { caller, id: id.to_owned() }, CancellationToken::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().entry(key.clone()).or_default().push((number, cancelled.clone()));
        Entry { all: self.clone(), key, number, cancelled }
    }

    /// Cancels the call that `caller` has given this `id`. Where there are several, none: one credential may
    /// be that of many clients, each of which counts from one.
    pub fn cancel(&self, caller: String, id: &str) -> bool {
        let key = Key { caller, id: id.to_owned() };
        match self.lock().get(&key).map(Vec::as_slice) {
            Some([(_, only)]) => {
                only.cancel();
                true
            }
            _ => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<(u64, CancellationToken)>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let Some(alike) = all.get_mut(&self.key) else { return };
        alike.retain(|(number, _)| *number != self.number);
        if alike.is_empty() {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_cancelled_by_its_caller_while_it_is_the_only_one_of_its_id() {
        let all = Arc::new(UnderWay::default());
        let caller = || "alice".to_owned();
        let first = all.enter(caller(), "1");
        assert!(!all.cancel("bob".to_owned(), "1") && !all.cancel(caller(), "\"1\""));
        let second = all.enter(caller(), "1");
        assert!(!all.cancel(caller(), "1"), "which one?");
        drop(second);
        assert!(!first.cancelled.is_cancelled());
        assert!(all.cancel(caller(), "1") && first.cancelled.is_cancelled());
        drop(first);
        assert!(!all.cancel(caller(), "1") && all.lock().is_empty());
    }
}
