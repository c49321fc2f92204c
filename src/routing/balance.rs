//! Which target is asked next. Pure: its randomness is given.

use super::health::{Health, Rules};
use crate::config::valid::Balance;

/// A target, as the choice sees it.
pub struct Candidate<'a> {
    /// Lower ones are asked first.
    pub priority: u32,
    /// Its share relative to others of the same priority, at least 1.
    pub weight: u64,
    /// How it has done.
    pub health: &'a Health,
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which of the candidates.
    pub index: usize,
    /// Whether all that could be asked are left out, so that the least bad is asked.
    pub desperate: bool,
}

/// Chooses of `all`. `tried` are those that have failed this request; they come again only when no
/// other is left. `random` is any number.
pub fn choose(
    all: &[Candidate<'_>],
    tried: &[usize],
    balance: Balance,
    rules: &Rules,
    random: u64,
    now: i64,
) -> Choice {
    let untried = |index: usize| !tried.contains(&index);
    let healthy = |index: usize| all[index].health.share(now, rules) > 0;
    // By priority, those that have not failed and are healthy; else those that have not failed; else, of
    // all, the healthy; else all.
    let any = |wanted: &dyn Fn(usize) -> bool| group(all, wanted);
    let (usable, desperate) = None
        .or_else(|| any(&|index| untried(index) && healthy(index)).map(|group| (group, false)))
        .or_else(|| any(&untried).map(|group| (group, true)))
        .or_else(|| any(&healthy).map(|group| (group, false)))
        .unwrap_or_else(|| ((0..all.len()).collect(), true));
    let share = |index: usize| {
        let share = if desperate { 1 } else { all[index].health.share(now, rules) };
        all[index].weight.saturating_mul(share)
    };
    let index = match balance {
        Balance::Weighted => by_weight(&usable, share, random),
        Balance::LeastBusy => {
            let busy = |index: usize| {
                f64::from(all[index].health.in_flight() + 1) / share(index).max(1) as f64
            };
            least(&usable, busy, random)
        }
        Balance::Latency => {
            // Of two, so that not all flock to the one that is best at the moment.
            let first = by_weight(&usable, share, random);
            let others: Vec<_> = usable.iter().copied().filter(|index| *index != first).collect();
            let second = if others.is_empty() {
                first
            } else {
                by_weight(&others, share, random.rotate_left(32))
            };
            let load = |index: usize| all[index].health.load(now);
            if load(second) < load(first) { second } else { first }
        }
    };
    Choice { index, desperate }
}

/// Those of the first priority that has any that are wanted.
fn group(all: &[Candidate<'_>], wanted: &dyn Fn(usize) -> bool) -> Option<Vec<usize>> {
    let first = (0..all.len()).filter(|index| wanted(*index)).map(|i| all[i].priority).min()?;
    Some((0..all.len()).filter(|index| wanted(*index) && all[*index].priority == first).collect())
}

fn by_weight(usable: &[usize], share: impl Fn(usize) -> u64, random: u64) -> usize {
    let total: u64 = usable.iter().map(|index| share(*index)).sum();
    let mut at = random % total.max(1);
    for &index in usable {
        match at.checked_sub(share(index)) {
            Some(rest) => at = rest,
            None => return index,
        }
    }
    usable.first().copied().unwrap_or(0)
}

/// The one with the least, and of several such one at random.
fn least(usable: &[usize], of: impl Fn(usize) -> f64, random: u64) -> usize {
    let start = usize::try_from(random % usable.len().max(1) as u64).unwrap_or(0);
    let turned = usable.iter().cycle().skip(start).take(usable.len());
    turned.copied().min_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::health::Outcome;
    use super::*;

    fn rules() -> Rules {
        Rules { failures: 1, cooldown: Duration::from_secs(10), slow_start: Duration::ZERO }
    }

    struct Targets(Vec<(u32, u64, Arc<Health>)>);

    impl Targets {
        fn new(each: &[(u32, u64)]) -> Self {
            Self(each.iter().map(|(priority, weight)| (*priority, *weight, Arc::default())).collect())
        }

        fn out(self, index: usize) -> Self {
            self.0[index].2.note(Outcome::Bad, 1, &rules());
            self
        }

        fn choose(&self, tried: &[usize], balance: Balance, random: u64) -> Choice {
            let all: Vec<_> = self
                .0
                .iter()
                .map(|(priority, weight, health)| Candidate {
                    priority: *priority,
                    weight: *weight,
                    health,
                })
                .collect();
            choose(&all, tried, balance, &rules(), random, 2)
        }
    }

    fn choice(index: usize, desperate: bool) -> Choice {
        Choice { index, desperate }
    }

    #[test]
    fn shares_are_weights() {
        let targets = Targets::new(&[(1, 1), (1, 3)]);
        let first = (0..4_000).filter(|n| targets.choose(&[], Balance::Weighted, *n).index == 0);
        assert_eq!(first.count(), 1_000);
    }

    #[test]
    fn the_next_priority_is_for_when_the_first_is_out_or_has_failed() {
        let targets = || Targets::new(&[(1, 1), (2, 1), (3, 1)]);
        for balance in [Balance::Weighted, Balance::LeastBusy, Balance::Latency] {
            for random in 0..50 {
                assert_eq!(targets().choose(&[], balance, random), choice(0, false));
                assert_eq!(targets().choose(&[0], balance, random), choice(1, false));
                assert_eq!(targets().out(0).choose(&[], balance, random), choice(1, false));
                assert_eq!(targets().out(1).choose(&[0], balance, random), choice(2, false));
                let all_out = targets().out(0).out(1).out(2);
                assert_eq!(all_out.choose(&[], balance, random), choice(0, true));
                assert_eq!(targets().choose(&[0, 1, 2], balance, random), choice(0, false));
            }
        }
    }

    #[test]
    fn the_less_busy_is_asked() {
        let targets = Targets::new(&[(1, 1), (1, 1), (1, 4)]);
        let _busy: Vec<_> = [0, 0, 1, 2, 2].map(|index: usize| targets.0[index].2.begin()).into();
        // Three of a weight of four are less than two of one.
        assert_eq!(targets.choose(&[], Balance::LeastBusy, 1).index, 2);
        assert_eq!(targets.choose(&[2], Balance::LeastBusy, 1).index, 1);
    }

    proptest! {
        #[test]
        fn there_is_always_a_choice_and_it_is_untried_where_one_is(
            each in prop::collection::vec((0_u32..3, 1_u64..9, any::<bool>()), 1..7),
            tried in prop::collection::vec(0_usize..7, 0..7),
            random in any::<u64>(),
            balance in prop::sample::select(vec![Balance::Weighted, Balance::LeastBusy, Balance::Latency]),
        ) {
            let plain: Vec<_> = each.iter().map(|(priority, weight, _)| (*priority, *weight)).collect();
            let mut targets = Targets::new(&plain);
            for (index, (_, _, out)) in each.iter().enumerate() {
                if *out {
                    targets = targets.out(index);
                }
            }
            let index = targets.choose(&tried, balance, random).index;
            prop_assert!(index < each.len());
            let untried = (0..each.len()).any(|index| !tried.contains(&index));
            prop_assert_eq!(tried.contains(&index), !untried);
        }
    }
}
