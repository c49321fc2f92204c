//! What the policies said of one caller, kept with the caller.
//!
//! Reading takes no lock and allocates nothing. The table is of a fixed size: where two questions fall
//! on the same slots, the later one replaces the earlier.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;

use super::entities::NoPrincipal;
use super::judge::{Answer, Judge, Principal};

/// Slots of a table, at least and at most. A slot is one word until it is used.
const SLOTS: (usize, usize) = (16, 1024);

/// What the policies said of one caller, as far as it can be said again. It belongs to the
/// [`Caller`](crate::Caller), so it lives and dies with them.
#[derive(Default)]
pub(crate) struct Decisions {
    table: ArcSwapOption<Table>,
}

/// The decisions of one generation of policies on one caller.
pub(super) struct Table {
    judge: Weak<Judge>,
    generation: u64,
    pub(super) principal: Result<Principal, NoPrincipal>,
    slots: Box<[ArcSwapOption<Slot>]>,
}

struct Slot {
    question: usize,
    answer: Answer,
}

impl Decisions {
    /// Looks into the table of `judge` on this caller, made if it is not there yet.
    pub(super) fn look<T>(
        &self,
        judge: &Arc<Judge>,
        principal: impl FnOnce() -> Result<Principal, NoPrincipal>,
        into: impl FnOnce(&Table) -> T,
    ) -> T {
        let kept = self.table.load();
        if let Some(table) = kept.as_ref().filter(|table| table.is_of(judge)) {
            return into(table);
        }
        let made = Arc::new(Table::new(judge, principal()));
        // While a reload is under way requests of two generations come in turns. The newer one stays.
        if kept.as_ref().is_none_or(|table| table.generation <= judge.generation()) {
            self.table.store(Some(made.clone()));
        }
        into(&made)
    }
}

impl Table {
    fn new(judge: &Arc<Judge>, principal: Result<Principal, NoPrincipal>) -> Self {
        let size = (2 * judge.resources()).next_power_of_two().clamp(SLOTS.0, SLOTS.1);
        Self {
            judge: Arc::downgrade(judge),
            generation: judge.generation(),
            principal,
            slots: (0..size).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// As long as the table is there, no other judge can be at the same address.
    fn is_of(&self, judge: &Arc<Judge>) -> bool {
        std::ptr::eq(self.judge.as_ptr(), Arc::as_ptr(judge))
    }

    /// What was answered to this question, if it is still known.
    pub(super) fn get<T>(&self, question: usize, then: impl FnOnce(&Answer) -> T) -> Option<T> {
        let [one, other] = self.slots_for(question);
        for slot in [one, other] {
            if let Some(slot) = &*slot.load()
                && slot.question == question
            {
                return Some(then(&slot.answer));
            }
        }
        None
    }

    /// Keeps an answer.
    pub(super) fn put(&self, question: usize, answer: Answer) {
        let [one, other] = self.slots_for(question);
        let slot = if one.load().is_some() && other.load().is_none() { other } else { one };
        slot.store(Some(Arc::new(Slot { question, answer })));
    }

    /// The two slots in which a question can be. Their number is a power of two.
    fn slots_for(&self, question: usize) -> [&ArcSwapOption<Slot>; 2] {
        let one = question & (self.slots.len() - 1);
        [&self.slots[one], &self.slots[one ^ 1]]
    }
}
