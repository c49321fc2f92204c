//! Asks a future again only when what it waits for has happened.
//!
//! A task is one waker to all that it waits for, so that whatever happens, everything is asked. Where one of them
//! is asked much more often than it has something to say, a waker of its own tells them apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// Remembers whether it rang, and wakes its task.
struct Bell {
    rang: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// A waker for futures that are polled by one task, and nowhere else.
#[derive(Default)]
pub struct Doorbell(Option<(Arc<Bell>, Waker)>);

impl Doorbell {
    /// The waker to poll with on behalf of `task`, where that may get further: at first, and when it rang
    /// since. Whoever polls must keep what was registered with this waker, even where the future is another one
    /// the next time.
    pub fn answer(&mut self, task: &Waker) -> Option<&Waker> {
        match &self.0 {
            Some((bell, _)) if bell.task.will_wake(task) => {
                // Nearly always it did not, and looking is cheaper than taking.
                if !bell.rang.load(Ordering::Acquire) {
                    return None;
                }
                // Before polling: what happens from here on rings again.
                bell.rang.swap(false, Ordering::AcqRel);
            }
            _ => {
                let bell = Arc::new(Bell { rang: AtomicBool::new(false), task: task.clone() });
                self.0 = Some((bell.clone(), bell.into()));
            }
        }
        self.0.as_ref().map(|(_, waker)| waker)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Task>, Waker) {
        let task = Arc::new(Task::default());
        (task.clone(), task.into())
    }

    #[test]
    fn it_is_answered_at_first_and_when_it_rang() {
        let (woken, task) = task();
        let mut bell = Doorbell::default();
        let waker = bell.answer(&task).unwrap().clone();
        assert!(bell.answer(&task).is_none());
        waker.wake_by_ref();
        waker.wake();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2, "the task is woken each time");
        assert!(bell.answer(&task).is_some());
        assert!(bell.answer(&task).is_none());
    }

    #[test]
    fn another_task_is_answered_with_another_waker() {
        let ((first, one), (second, another)) = (task(), task());
        let mut bell = Doorbell::default();
        let old = bell.answer(&one).unwrap().clone();
        let new = bell.answer(&another).unwrap().clone();
        assert!(!new.will_wake(&old));
        old.wake();
        assert!(bell.answer(&another).is_none(), "what the first waits for is not the second's");
        new.wake();
        assert!(bell.answer(&another).is_some());
        assert_eq!(first.0.load(Ordering::Relaxed), 1);
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }
}
