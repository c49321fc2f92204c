//! What waits for one caller.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::super::{Event, Failure, MAX_WAITING};
use crate::overload::Held;

/// What an event takes beyond its text, about.
const OVERHEAD: usize = 128;

/// What waits for one caller. Whoever puts something in never waits.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    /// Counts them, if anything does.
    held: Option<Held>,
    failure: Option<Failure>,
}

impl Waiting {
    /// Holds so many bytes.
    fn grow_to(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes > MAX_WAITING {
            return Err(Failure::TooLong);
        }
        if let Some(held) = &mut self.held {
            held.grow_to(bytes as u64).map_err(|_| Failure::NoRoom)?;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Holds so many bytes fewer.
    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if let Some(held) = &mut self.held {
            held.set(self.bytes as u64);
        }
    }
}

impl Inbox {
    /// One whose events count in `held` while they wait.
    pub fn within(held: Option<Held>) -> Self {
        let waiting = Mutex::new(Waiting { held, ..Waiting::default() });
        Self { waiting, wake: Notify::new() }
    }

    /// Adds an event of `bytes`. Returns whether there was room for it; otherwise nothing is left but the
    /// failure.
    pub fn push(&self, event: Event, bytes: usize) -> bool {
        let mut waiting = self.waiting();
        let bytes = bytes + OVERHEAD;
        let all = waiting.bytes + bytes;
        let grown = waiting.grow_to(all);
        let fits = grown.is_ok();
        match grown {
            Ok(()) => waiting.events.push_back((event, bytes)),
            Err(failure) => *waiting = Waiting { failure: Some(failure), ..Waiting::default() },
        }
        drop(waiting);
        self.wake.notify_one();
        fits
    }

    /// Nothing comes any more: after what waits there is the failure.
    pub fn fail(&self, failure: Failure) {
        self.waiting().failure.get_or_insert(failure);
        self.wake.notify_one();
    }

    /// What comes next. Only one may ask at a time.
    ///
    /// # Errors
    /// Nothing comes any more.
    pub async fn next(&self) -> Result<Event, Failure> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some((event, bytes)) = waiting.events.pop_front() {
                    waiting.give_back(bytes);
                    return Ok(event);
                }
                if let Some(failure) = &waiting.failure {
                    return Err(failure.clone());
                }
            }
            self.wake.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::overload::BodyBytes;

    fn notification(text: &'static str) -> Event {
        Event::Notification(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn what_came_before_a_failure_is_read_before_it() {
        let inbox = Inbox::default();
        assert!(inbox.push(notification("a"), 1) && inbox.push(notification("b"), 1));
        inbox.fail(Failure::TimedOut);
        inbox.fail(Failure::TooLong);
        for expected in ["a", "b"] {
            match inbox.next().await.unwrap() {
                Event::Notification(text) => assert_eq!(text, expected),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(inbox.next().await.unwrap_err(), Failure::TimedOut, "the first");
    }

    #[tokio::test]
    async fn more_than_fits_is_a_failure_and_takes_no_room() {
        let inbox = Inbox::default();
        assert!(inbox.push(notification("a"), MAX_WAITING / 2 - OVERHEAD));
        assert!(inbox.push(notification("b"), MAX_WAITING / 2 - OVERHEAD));
        assert!(!inbox.push(notification("c"), 1));
        assert!(inbox.waiting().events.is_empty());
        assert_eq!(inbox.next().await.unwrap_err(), Failure::TooLong);

        let inbox = Inbox::default();
        for _ in 0..3 {
            assert!(inbox.push(notification("a"), MAX_WAITING / 2), "what was read makes room");
            inbox.next().await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_waits_is_counted_and_may_find_no_room() {
        let all = Arc::<BodyBytes>::default();
        all.limit_to(2 * OVERHEAD as u64 + 10);
        let inbox = Inbox::within(Some(all.hold_none()));
        assert!(inbox.push(notification("a"), 3) && inbox.push(notification("b"), 4));
        assert_eq!(all.held(), 2 * OVERHEAD as u64 + 7);
        inbox.next().await.unwrap();
        assert_eq!(all.held(), OVERHEAD as u64 + 4);
        assert!(!inbox.push(notification("c"), OVERHEAD));
        assert_eq!(all.held(), 0);
        assert_eq!(inbox.next().await.unwrap_err(), Failure::NoRoom);

        let inbox = Inbox::within(Some(all.hold_none()));
        assert!(inbox.push(notification("a"), 3));
        drop(inbox);
        assert_eq!(all.held(), 0, "nobody reads it any more");
    }
}
