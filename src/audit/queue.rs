//! Between those who record and the thread that writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use tokio::sync::oneshot;

use super::{AuditError, Event};

/// Events that may wait. Beyond it they are counted and lost: a slow disk must not stop the traffic.
const EVENTS: usize = 8 * 1024;
/// Acts that may wait.
const ACTS: usize = 1024;
/// Events and acts that are written at once, at most.
const AT_ONCE: usize = 1024;

/// What both sides see.
pub(super) struct Shared {
    // Boxed, so that an empty queue is small.
    events: ArrayQueue<Box<Event>>,
    /// Apart, so that no flood of refusals keeps an administrator out.
    acts: ArrayQueue<Act>,
    writer: OnceLock<Thread>,
    /// The writer waits for something to come; whoever brings it wakes it. While events keep coming it
    /// looks by itself now and then: waking a thread for each costs more than the event.
    parked: AtomicBool,
    closing: AtomicBool,
    finished: Mutex<bool>,
    at_finish: Condvar,
    /// Events that were lost, and lines of events and acts that were written.
    pub dropped: AtomicU64,
    pub written: AtomicU64,
    /// The last attempt to write failed.
    pub failing: AtomicBool,
}

/// An act whose administrator waits until it is recorded.
pub(super) struct Act {
    pub event: Event,
    pub done: oneshot::Sender<Result<(), AuditError>>,
}

/// What is written at once.
pub(super) struct Batch {
    pub acts: Vec<Act>,
    pub events: Vec<Event>,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            events: ArrayQueue::new(EVENTS),
            acts: ArrayQueue::new(ACTS),
            writer: OnceLock::new(),
            parked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            finished: Mutex::new(false),
            at_finish: Condvar::new(),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    /// Names the thread that is to be woken.
    pub fn set_writer(&self, writer: Thread) {
        self.writer.set(writer).ok();
    }

    /// Hands an event over, or counts it as lost.
    pub fn push_event(&self, event: Box<Event>) {
        if self.is_closing() || self.events.push(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Hands an act over.
    ///
    /// # Errors
    /// Too many wait, or nobody will write it.
    pub fn push_act(&self, act: Act) -> Result<(), AuditError> {
        if self.is_closing() {
            return Err(AuditError::Closed);
        }
        self.acts.push(act).map_err(|_| AuditError::Busy)?;
        // The writer may have looked for the last time just before: then nobody takes it.
        if *self.finished.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(AuditError::Closed);
        }
        self.wake();
        Ok(())
    }

    /// What waits, in the order of its coming, acts first.
    pub fn take(&self) -> Batch {
        let acts: Vec<_> = std::iter::from_fn(|| self.acts.pop()).take(AT_ONCE).collect();
        let events = std::iter::from_fn(|| self.events.pop().map(|event| *event));
        Batch { events: events.take(AT_ONCE - acts.len()).collect(), acts }
    }

    /// Waits for something to come, at most `within`. For the writer's thread only.
    pub fn park(&self, within: Duration) {
        self.parked.store(true, Ordering::SeqCst);
        // What came before the flag was seen has woken nobody.
        if self.events.is_empty() && self.acts.is_empty() && !self.is_closing() {
            std::thread::park_timeout(within);
        }
        self.parked.store(false, Ordering::SeqCst);
    }

    /// Takes no more, and has the writer finish.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// The writer writes no more.
    pub fn finish(&self) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.at_finish.notify_all();
        let late = self.take();
        self.dropped.fetch_add(late.events.len() as u64, Ordering::Relaxed);
        for act in late.acts {
            act.done.send(Err(AuditError::Closed)).ok();
        }
    }

    /// Waits until the writer has finished, at most `within`.
    pub fn await_finish(&self, within: Duration) -> bool {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.at_finish.wait_timeout_while(finished, within, |finished| !*finished);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether the writer has nothing to do.
    #[cfg(test)]
    pub fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        self.parked.store(false, Ordering::SeqCst);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there was perhaps more.
    pub fn is_full(&self) -> bool {
        self.len() == AT_ONCE as u64
    }

    pub fn len(&self) -> u64 {
        (self.acts.len() + self.events.len()) as u64
    }
}
