//! What a policy asks besides its scope, put so that what several policies ask is looked at once.
//!
//! Cedar evaluates every policy for itself: a hundred that ask `resource.providers.contains("openai")`
//! look it up a hundred times for one question. Here conditions are taken apart at `&&`, `||` and `!`
//! into terms that have none of them outside. Cedar evaluates the terms, and a term that stands in
//! more than one place is evaluated once for a question. The rest is Cedar's own rule: from left to
//! right, and no further than the answer needs, so that a term fails a policy only where Cedar would
//! have come to it.

use std::collections::HashMap;

use cedar_policy_core::ast::{Expr, ExprKind, Literal, SlotEnv, UnaryOp, ValueKind};
use cedar_policy_core::evaluator::Evaluator;

/// Terms whose value is kept during a question, at most: a byte each is cleared for every question.
const MAX_KEPT: usize = 4096;

/// A condition, over terms by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Term(usize),
    Not(Box<Self>),
    /// `&&`, from left to right. One without parts holds.
    All(Vec<Self>),
    /// `||`, from left to right.
    Any(Vec<Self>),
}

/// The terms of all conditions of a set of policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    terms: Vec<Term>,
    /// How many of them are kept.
    kept: usize,
}

#[derive(Clone, Debug)]
struct Term {
    expr: Expr,
    /// Where its value is kept during a question, if it stands in more than one place.
    slot: Option<usize>,
}

/// Takes conditions apart.
#[derive(Default)]
pub(super) struct Builder {
    terms: Terms,
    numbers: HashMap<Expr, usize>,
}

impl Builder {
    pub(super) fn condition(&mut self, expr: &Expr) -> Condition {
        match expr.expr_kind() {
            ExprKind::And { left, right } => {
                let mut parts = Vec::new();
                for side in [left, right] {
                    match self.condition(side) {
                        Condition::All(more) => parts.extend(more),
                        part => parts.push(part),
                    }
                }
                Condition::All(parts)
            }
            ExprKind::Or { left, right } => {
                let mut parts = Vec::new();
                for side in [left, right] {
                    match self.condition(side) {
                        Condition::Any(more) => parts.extend(more),
                        part => parts.push(part),
                    }
                }
                Condition::Any(parts)
            }
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => {
                Condition::Not(Box::new(self.condition(arg)))
            }
            _ => Condition::Term(self.term(expr)),
        }
    }

    fn term(&mut self, expr: &Expr) -> usize {
        let Terms { terms, kept } = &mut self.terms;
        if let Some(number) = self.numbers.get(expr) {
            let slot = &mut terms[*number].slot;
            if slot.is_none() && *kept < MAX_KEPT {
                *slot = Some(*kept);
                *kept += 1;
            }
            return *number;
        }
        terms.push(Term { expr: expr.clone(), slot: None });
        self.numbers.insert(expr.clone(), terms.len() - 1);
        terms.len() - 1
    }

    pub(super) fn finish(self) -> Terms {
        self.terms
    }
}

/// The evaluation of conditions for one question.
pub(super) struct Evaluation<'e> {
    evaluator: Evaluator<'e>,
    terms: &'e Terms,
    slots: SlotEnv,
    /// What is known of the terms that are kept. A failure is not: it is as certain the next time.
    known: Vec<Option<bool>>,
}

impl<'e> Evaluation<'e> {
    pub(super) fn new(evaluator: Evaluator<'e>, terms: &'e Terms) -> Self {
        Self { evaluator, terms, slots: SlotEnv::new(), known: vec![None; terms.kept] }
    }

    /// Whether a condition holds.
    ///
    /// # Errors
    /// What Cedar says of a term that can't be evaluated.
    pub(super) fn holds(&mut self, condition: &Condition) -> Result<bool, String> {
        match condition {
            Condition::Term(number) => self.term(*number),
            Condition::Not(part) => Ok(!self.holds(part)?),
            Condition::All(parts) => {
                for part in parts {
                    if !self.holds(part)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Condition::Any(parts) => {
                for part in parts {
                    if self.holds(part)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn term(&mut self, number: usize) -> Result<bool, String> {
        let term = &self.terms.terms[number];
        if let Some(known) = term.slot.and_then(|slot| self.known[slot]) {
            return Ok(known);
        }
        let value = self.evaluator.interpret(&term.expr, &self.slots);
        let holds = match value.map_err(|error| error.to_string())?.value_kind() {
            ValueKind::Lit(Literal::Bool(holds)) => *holds,
            _ => return Err("the condition is neither true nor false".to_owned()),
        };
        if let Some(slot) = term.slot {
            self.known[slot] = Some(holds);
        }
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expr(text: &str) -> Expr {
        text.parse().expect("an expression")
    }

    #[test]
    fn a_term_that_stands_twice_is_one_and_is_kept() {
        let mut builder = Builder::default();
        let first = builder.condition(&expr("context.a && !(context.b || context.c)"));
        let (all, any) = (Condition::All, Condition::Any);
        let [a, b, c] = [0, 1, 2].map(Condition::Term);
        let not = |part| Condition::Not(Box::new(part));
        assert_eq!(first, all(vec![a.clone(), not(any(vec![b.clone(), c]))]));
        let second = builder.condition(&expr("(context.b && context.a) && context.d && context.b"));
        assert_eq!(second, all(vec![b.clone(), a, Condition::Term(3), b]));
        let terms = builder.finish();
        assert_eq!(terms.kept, 2);
        let kept: Vec<_> = terms.terms.iter().map(|term| term.slot.is_some()).collect();
        assert_eq!(kept, [true, true, false, false]);
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let mut builder = Builder::default();
        for _ in 0..2 {
            for n in 0..=MAX_KEPT {
                builder.condition(&expr(&format!("{n} == 1")));
            }
        }
        let terms = builder.finish();
        assert_eq!((terms.terms.len(), terms.kept), (MAX_KEPT + 1, MAX_KEPT));
    }
}
