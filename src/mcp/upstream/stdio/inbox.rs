//! What waits for one caller.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::super::{Event, Failure, MAX_WAITING};

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
    failure: Option<Failure>,
}

impl Inbox {
    /// Adds an event of `bytes`. Returns whether there was room for it; otherwise nothing is left but the
    /// failure.
    pub fn push(&self, event: Event, bytes: usize) -> bool {
        let mut waiting = self.waiting();
        let bytes = bytes + OVERHEAD;
        let fits = waiting.bytes + bytes <= MAX_WAITING;
        if fits {
            waiting.bytes += bytes;
            waiting.events.push_back((event, bytes));
        } else {
            *waiting = Waiting { failure: Some(Failure::TooLong), ..Waiting::default() };
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
                    waiting.bytes -= bytes;
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
    use bytes::Bytes;

    use super::*;

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
}
