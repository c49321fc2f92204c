//! Which policies a scope lets somebody or something into, as sets of the policies' numbers.
//!
//! A policy whose scope leaves a question's principal, action or resource out is as if it were not
//! there: Cedar does not look at its conditions then. What each of the three is let into is found
//! once, so that for a question only the sets are put together.

use std::collections::HashSet;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use super::entities::Place;
use super::policies::Rule;

/// Whom and what a policy lets in.
pub(super) struct Scope {
    principal: PrincipalConstraint,
    action: ActionConstraint,
    resource: ResourceConstraint,
}

impl Scope {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            principal: policy.principal_constraint(),
            action: policy.action_constraint(),
            resource: policy.resource_constraint(),
        }
    }
}

/// A set of policies, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleSet(Box<[u64]>);

impl RuleSet {
    /// The policies that let `principal` in.
    pub(super) fn of_principal(rules: &[Rule], principal: &Place) -> Self {
        Self::of(rules, |rule| match &rule.scope.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) => principal.uid == *uid,
            PrincipalConstraint::In(uid) => principal.is_in(uid),
            PrincipalConstraint::Is(of) => *principal.uid.type_name() == *of,
            PrincipalConstraint::IsIn(of, uid) => {
                *principal.uid.type_name() == *of && principal.is_in(uid)
            }
        })
    }

    /// The policies that let `action` in, which is in the groups `above`.
    pub(super) fn of_action(
        rules: &[Rule],
        action: &EntityUid,
        above: &HashSet<EntityUid>,
    ) -> Self {
        Self::of(rules, |rule| match &rule.scope.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid == action,
            ActionConstraint::In(list) => {
                list.iter().any(|uid| uid == action || above.contains(uid))
            }
        })
    }

    /// The policies that let `resource` in.
    pub(super) fn of_resource(rules: &[Rule], resource: &Place) -> Self {
        Self::of(rules, |rule| match &rule.scope.resource {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) => resource.uid == *uid,
            ResourceConstraint::In(uid) => resource.is_in(uid),
            ResourceConstraint::Is(of) => *resource.uid.type_name() == *of,
            ResourceConstraint::IsIn(of, uid) => {
                *resource.uid.type_name() == *of && resource.is_in(uid)
            }
        })
    }

    fn of(rules: &[Rule], lets_in: impl Fn(&Rule) -> bool) -> Self {
        let word = |rules: &[Rule]| {
            let bits = rules.iter().enumerate().map(|(bit, rule)| u64::from(lets_in(rule)) << bit);
            bits.fold(0, |word, bit| word | bit)
        };
        Self(rules.chunks(64).map(word).collect())
    }

    /// The numbers that are in all three sets, in their order.
    pub(super) fn in_all(&self, other: &Self, third: &Self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().zip(&other.0).zip(&third.0).map(|((a, b), c)| a & b & c);
        words.enumerate().flat_map(|(index, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(64 * index + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_in_all_sets_is_found_in_order(
            numbers in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..200),
        ) {
            let set = |which: fn(&(bool, bool, bool)) -> bool| {
                let words = numbers.chunks(64).map(|chunk| {
                    chunk.iter().enumerate().fold(0, |word, (bit, n)| word | u64::from(which(n)) << bit)
                });
                RuleSet(words.collect())
            };
            let (a, b, c) = (set(|n| n.0), set(|n| n.1), set(|n| n.2));
            let numbered = numbers.iter().enumerate();
            let expected: Vec<_> =
                numbered.filter(|(_, n)| n.0 && n.1 && n.2).map(|(index, _)| index).collect();
            prop_assert_eq!(a.in_all(&b, &c).collect::<Vec<_>>(), expected);
        }
    }
}
