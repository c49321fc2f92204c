//! Places for requests, and a bounded queue before them.
//!
//! A free place is taken by one atomic exchange. Who finds none waits in the order of coming, for a bounded
//! time, among a bounded number of others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Shed;
use crate::config::valid::Queue;

/// Places without a limit: as many as there can be.
const ALL: usize = Semaphore::MAX_PERMITS;

/// The places.
#[derive(Debug)]
pub struct Places {
    free: Semaphore,
    /// Places that are to vanish with their next return, since there are fewer now.
    debt: AtomicUsize,
    taken: AtomicUsize,
    queued: AtomicUsize,
    /// How many there are. Only a reload touches it.
    size: Mutex<usize>,
}

/// One request's place, given back when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Default for Places {
    /// Without a limit.
    fn default() -> Self {
        Self {
            free: Semaphore::new(ALL),
            debt: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            size: Mutex::new(ALL),
        }
    }
}

impl Places {
    /// Requests that have a place.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Requests that wait for one.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Makes it so many; `None`: as many as come. Nobody loses a place: where there are too many, the next
    /// ones that are given back vanish.
    pub fn resize(&self, to: Option<usize>) {
        let to = to.unwrap_or(ALL).min(ALL);
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *size, to);
        if let Some(fewer) = before.checked_sub(to) {
            let gone = self.free.forget_permits(fewer);
            self.debt.fetch_add(fewer - gone, Ordering::Relaxed);
        } else {
            let mut more = to - before;
            while more > 0 && self.pay() {
                more -= 1;
            }
            self.free.add_permits(more);
        }
    }

    /// Whether a request that came now would be turned away at once.
    pub fn is_full(&self, queue: &Queue) -> bool {
        self.free.available_permits() == 0 && self.queued() >= queue.size
    }

    /// A place, if one is free and nobody waits.
    pub fn try_take(self: &Arc<Self>) -> Option<Place> {
        let permit = self.free.try_acquire().ok()?;
        permit.forget();
        Some(self.place())
    }

    /// A place, as soon as it is one's turn. Whoever stops waiting leaves no trace.
    ///
    /// # Errors
    /// Too many wait, or it takes too long.
    pub async fn take(self: &Arc<Self>, queue: &Queue) -> Result<Place, Shed> {
        if let Some(place) = self.try_take() {
            return Ok(place);
        }
        let _waiting = Waiting::enter(&self.queued, queue.size).ok_or(Shed::QueueFull)?;
        let longest = queue.timeout.min(Duration::from_secs(3600));
        match tokio::time::timeout(longest, self.free.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(self.place())
            }
            // Closed, which it never is.
            Ok(Err(_)) | Err(_) => Err(Shed::QueueTimeout),
        }
    }

    fn place(self: &Arc<Self>) -> Place {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    /// Whether one of the places that are to vanish was still there.
    fn pay(&self) -> bool {
        let less = |debt: usize| debt.checked_sub(1);
        self.debt.load(Ordering::Relaxed) > 0
            && self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        if !self.0.pay() {
            self.0.free.add_permits(1);
        }
    }
}

/// Counts as waiting until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(queued: &'a AtomicUsize, most: usize) -> Option<Self> {
        let more = |n: usize| (n < most).then_some(n + 1);
        queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(queued))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(size: usize) -> Arc<Places> {
        let places = Arc::<Places>::default();
        places.resize(Some(size));
        places
    }

    fn queue(size: usize, timeout: u64) -> Queue {
        Queue { size, timeout: Duration::from_millis(timeout) }
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_next_place_in_turn() {
        let (places, queue) = (places(1), queue(2, 60_000));
        let first = places.take(&queue).await.unwrap();
        let (sender, mut turns) = tokio::sync::mpsc::channel(2);
        for turn in 0..2 {
            let (waits, sender) = (places.clone(), sender.clone());
            tokio::spawn(async move {
                let place = waits.take(&queue).await.unwrap();
                sender.send((turn, place)).await.ok();
            });
            while places.queued() <= turn {
                tokio::task::yield_now().await;
            }
        }
        assert!(places.is_full(&queue));
        assert_eq!(places.take(&queue).await.map(drop), Err(Shed::QueueFull));
        drop(first);
        let (turn, place) = turns.recv().await.unwrap();
        assert_eq!((turn, places.taken(), places.queued()), (0, 1, 1));
        assert!(places.try_take().is_none(), "nobody passes those who wait");
        drop(place);
        assert_eq!(turns.recv().await.unwrap().0, 1);
        assert_eq!((places.taken(), places.queued()), (0, 0));
    }

    #[tokio::test]
    async fn waiting_ends_and_leaves_no_trace() {
        let (places, short, long) = (places(1), queue(1, 1), queue(1, 60_000));
        let place = places.take(&short).await.unwrap();
        assert_eq!(places.take(&short).await.map(drop), Err(Shed::QueueTimeout));
        // A client that leaves: the wait is dropped half-way.
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take(&long).await.map(drop) }
        });
        while places.queued() == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(places.queued(), 0);
        drop(place);
        assert!(places.try_take().is_some());
    }

    #[tokio::test]
    async fn without_a_limit_nobody_waits() {
        let (places, none) = (Arc::<Places>::default(), queue(0, 1));
        let all: Vec<_> = (0..10_000).map(|_| places.try_take().unwrap()).collect();
        assert!(!places.is_full(&none));
        places.resize(Some(3));
        assert!(places.is_full(&none));
        drop(all);
        let three: Vec<_> = std::iter::from_fn(|| places.try_take()).take(10).collect();
        assert_eq!(three.len(), 3);
        places.resize(None);
        assert!(places.try_take().is_some());
    }

    proptest! {
        /// Whatever is taken, given back and resized: once all that were too many are back, there are
        /// exactly so many.
        #[test]
        fn places_are_neither_lost_nor_made(steps in prop::collection::vec((0u8..3, 1usize..20), 1..100)) {
            let places = places(5);
            let (mut held, mut size) = (Vec::new(), 5);
            for (step, n) in steps {
                match step {
                    0 => held.extend(places.try_take()),
                    1 => drop(held.pop()),
                    _ => {
                        size = n;
                        places.resize(Some(n));
                    }
                }
                prop_assert_eq!(places.taken(), held.len());
                if held.len() >= size {
                    prop_assert!(places.try_take().is_none());
                }
            }
            held.clear();
            let all: Vec<_> = std::iter::from_fn(|| places.try_take()).take(100).collect();
            prop_assert_eq!(all.len(), size);
            prop_assert_eq!(places.debt.load(Ordering::Relaxed), 0);
        }
    }
}
