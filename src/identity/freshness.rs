//! Whether what is known of a credential is still so.
//!
//! A verdict on a credential depends on a few stored records: the key, its user, team and
//! organization. Each has a [`Cell`] that says whether the record changed since; the verdict keeps
//! its cells, so asking costs a handful of atomic loads and no look-up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::stores::RecordKind;

/// What a verdict can depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// A stored record, there or not.
    Record(RecordKind, String),
    /// That no key has some hash: any key's change may end that.
    NoSuchKey,
    /// Which issuers of tokens are trusted, and how their claims are read.
    Issuers,
}

/// Says of one dependency whether it has changed.
#[derive(Clone, Debug)]
pub struct Cell(Arc<AtomicBool>);

impl Cell {
    /// Whether the dependency has changed since the cell was made.
    pub fn changed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The cells in use.
#[derive(Debug, Default)]
pub struct Freshness {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Changes seen so far.
    epoch: u64,
    cells: HashMap<Dependency, Weak<AtomicBool>>,
    /// Cells that nobody holds any more are swept out when there are so many.
    sweep_at: usize,
}

impl Freshness {
    /// Where the history of changes stands. Take it before reading what [`watch`](Self::watch) is to
    /// watch.
    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Cells for what was read after `epoch` was taken; `None` if anything has changed since, as then
    /// what was read may be from before the change.
    pub fn watch(&self, dependencies: Vec<Dependency>, epoch: u64) -> Option<Box<[Cell]>> {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            return None;
        }
        inner.sweep();
        Some(dependencies.into_iter().map(|dependency| inner.cell(dependency)).collect())
    }

    /// Marks what depends on `dependency`.
    pub fn changed(&self, dependency: &Dependency) {
        let mut inner = self.lock();
        inner.epoch += 1;
        if let Some(cell) = inner.cells.remove(dependency).and_then(|cell| cell.upgrade()) {
            cell.store(true, Ordering::Release);
        }
    }

    /// Marks everything.
    pub fn all_changed(&self) {
        let mut inner = self.lock();
        inner.epoch += 1;
        for cell in std::mem::take(&mut inner.cells).into_values().filter_map(|cell| cell.upgrade())
        {
            cell.store(true, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here can panic halfway, so what a poisoned lock guards is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn cell(&mut self, dependency: Dependency) -> Cell {
        let slot = self.cells.entry(dependency).or_default();
        if let Some(cell) = slot.upgrade() {
            return Cell(cell);
        }
        let cell = Arc::default();
        *slot = Arc::downgrade(&cell);
        Cell(cell)
    }

    fn sweep(&mut self) {
        const FEW: usize = 1024;
        if self.cells.len() >= self.sweep_at.max(FEW) {
            self.cells.retain(|_, cell| cell.strong_count() > 0);
            self.sweep_at = self.cells.len() * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(id: &str) -> Dependency {
        Dependency::Record(RecordKind::Team, id.to_owned())
    }

    fn watch(freshness: &Freshness, dependencies: &[Dependency]) -> Box<[Cell]> {
        let epoch = freshness.epoch();
        freshness.watch(dependencies.to_vec(), epoch).expect("nothing changed in between")
    }

    #[test]
    fn exactly_what_depends_on_the_changed_record_is_marked() {
        let freshness = Freshness::default();
        let red = watch(&freshness, &[team("red"), Dependency::NoSuchKey]);
        let also_red = watch(&freshness, &[team("red")]);
        let blue = watch(&freshness, &[team("blue")]);
        freshness.changed(&team("red"));
        assert!(red[0].changed() && also_red[0].changed());
        assert!(!red[1].changed() && !blue[0].changed());
        let user = Dependency::Record(RecordKind::User, "blue".to_owned());
        freshness.changed(&user);
        assert!(!blue[0].changed(), "a user is no team");
        assert!(!watch(&freshness, &[team("red")])[0].changed(), "what is read anew is fresh");
    }

    #[test]
    fn what_was_read_before_a_change_is_not_taken_for_fresh_after_it() {
        let freshness = Freshness::default();
        let epoch = freshness.epoch();
        freshness.changed(&team("red"));
        assert!(freshness.watch(vec![team("red")], epoch).is_none());
        assert!(freshness.watch(vec![team("red")], freshness.epoch()).is_some());
    }

    #[test]
    fn after_a_gap_everything_is_marked() {
        let freshness = Freshness::default();
        let cells = watch(&freshness, &[team("red"), Dependency::NoSuchKey, Dependency::Issuers]);
        freshness.all_changed();
        assert!(cells.iter().all(Cell::changed));
    }

    #[test]
    fn cells_that_nobody_holds_are_forgotten() {
        let freshness = Freshness::default();
        let kept = watch(&freshness, &[team("kept")]);
        for id in 0..10_000 {
            watch(&freshness, &[team(&id.to_string())]);
        }
        assert!(freshness.lock().cells.len() <= 2048);
        freshness.changed(&team("kept"));
        assert!(kept[0].changed(), "the sweep leaves what is held");
    }
}
