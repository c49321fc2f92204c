//! Which target is asked next. Pure: its randomness is given.

use std::sync::Arc;

use super::health::{Health, share_after};
use super::sticky;
use crate::config::valid::{Balance, HealthRules};
use crate::providers::health_check;

/// A target, as the choice sees it.
pub struct Candidate {
    /// Lower ones are asked first.
    pub priority: u32,
    /// Its share relative to others of the same priority, at least 1.
    pub weight: u64,
    /// How it has done.
    pub health: Arc<Health>,
    /// How its provider is, where that is asked.
    pub provider: Option<Arc<health_check::State>>,
    /// Where it is, for what is sticky.
    pub place: u64,
}

impl Candidate {
    /// How much of its weight it gets, in thousandths. 0: it is left out.
    pub fn share(&self, now: i64, rules: &HealthRules) -> u64 {
        let own = self.health.share(now, rules);
        match &self.provider {
            Some(provider) if !provider.is_healthy() => 0,
            Some(provider) => {
                provider.back_for(now).map_or(own, |since| own.min(share_after(since, rules)))
            }
            None => own,
        }
    }
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which of the candidates.
    pub index: usize,
    /// Whether all that could be asked are left out, so that the least bad is asked.
    pub desperate: bool,
}

/// How to choose, and at which time.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub balance: Balance,
    pub rules: &'a HealthRules,
    /// Any number.
    pub random: u64,
    /// In milliseconds.
    pub now: i64,
    /// Which of the candidates there are for the request, by their bits. At least one.
    pub allowed: u64,
    /// What stands for whom the choice is always the same, as long as the candidates are.
    pub sticky: Option<u64>,
}

/// Some of at most 64 candidates, by their bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Some64(u64);

impl Some64 {
    fn of(count: usize, wanted: impl Fn(usize) -> bool) -> Self {
        Self((0..count.min(64)).fold(0, |bits, index| bits | u64::from(wanted(index)) << index))
    }

    fn has(self, index: usize) -> bool {
        index < 64 && self.0 >> index & 1 == 1
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn len(self) -> u64 {
        u64::from(self.0.count_ones())
    }

    fn iter(mut self) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || {
            let index = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
            self.0 &= self.0 - 1;
            Some(index)
        })
    }
}

/// Chooses of `all`, of which there are 64 at most. `tried` are those that have failed this request; they
/// come again only when no other is left.
pub fn choose(all: &[Candidate], tried: &[usize], terms: Terms<'_>) -> Choice {
    let Terms { balance, rules, random, now, allowed, sticky } = terms;
    let allowed = Some64(allowed);
    let share_of = |index: usize| all[index].share(now, rules);
    let untried = Some64::of(all.len(), |i| allowed.has(i) && !tried.contains(&i));
    let healthy = Some64::of(all.len(), |i| allowed.has(i) && share_of(i) > 0);
    // By priority, those that have not failed and are healthy; else those that have not failed; else, of
    // all, the healthy; else all.
    let (usable, desperate) = if !Some64(untried.0 & healthy.0).is_empty() {
        (Some64(untried.0 & healthy.0), false)
    } else if !untried.is_empty() {
        (untried, true)
    } else if !healthy.is_empty() {
        (healthy, false)
    } else {
        (Some64::of(all.len(), |index| allowed.has(index)), true)
    };
    let first = usable.iter().map(|index| all[index].priority).min().unwrap_or(0);
    let usable = Some64::of(all.len(), |i| usable.has(i) && all[i].priority == first);
    let share = |index: usize| {
        let share = if desperate { 1 } else { share_of(index) };
        all[index].weight.saturating_mul(share)
    };
    if let Some(key) = sticky {
        let score = |index: usize| sticky::score(key, all[index].place, share(index));
        let first = usable.iter().max_by(|a, b| score(*a).total_cmp(&score(*b)));
        return Choice { index: first.unwrap_or(0), desperate };
    }
    let index = match balance {
        Balance::Weighted => by_weight(usable, share, random),
        Balance::LeastBusy => {
            let busy = |index: usize| {
                f64::from(all[index].health.in_flight() + 1) / share(index).max(1) as f64
            };
            least(usable, busy, random)
        }
        Balance::Latency => {
            // Of two, so that not all flock to the one that is best at the moment.
            let first = by_weight(usable, share, random);
            let others = Some64(usable.0 & !(1 << first));
            let second = if others.is_empty() {
                first
            } else {
                by_weight(others, share, random.rotate_left(32))
            };
            let load = |index: usize| all[index].health.load(now);
            if load(second) < load(first) { second } else { first }
        }
    };
    Choice { index, desperate }
}

fn by_weight(usable: Some64, share: impl Fn(usize) -> u64, random: u64) -> usize {
    let total: u64 = usable.iter().map(&share).sum();
    let mut at = random % total.max(1);
    for index in usable.iter() {
        match at.checked_sub(share(index)) {
            Some(rest) => at = rest,
            None => return index,
        }
    }
    usable.iter().next().unwrap_or(0)
}

/// The one with the least, and of several such one at random.
fn least(usable: Some64, of: impl Fn(usize) -> f64, random: u64) -> usize {
    let start = usize::try_from(random % usable.len().max(1)).unwrap_or(0);
    let turned = usable.iter().skip(start).chain(usable.iter().take(start));
    turned.min_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::health::Outcome;
    use super::*;

    fn rules() -> HealthRules {
        HealthRules { failures: 1, cooldown: Duration::from_secs(10), slow_start: Duration::ZERO }
    }

    struct Targets(Vec<Candidate>);

    impl Targets {
        fn new(each: &[(u32, u64)]) -> Self {
            let candidate = |&(priority, weight): &(u32, u64)| Candidate {
                priority,
                weight,
                health: Arc::default(),
                provider: None,
                place: 0,
            };
            let mut all: Vec<_> = each.iter().map(candidate).collect();
            for (index, candidate) in all.iter_mut().enumerate() {
                candidate.place = sticky::place("p", &index.to_string());
            }
            Self(all)
        }

        fn out(self, index: usize) -> Self {
            self.0[index].health.note(Outcome::Bad, 1, &rules());
            self
        }

        fn choose(&self, tried: &[usize], balance: Balance, random: u64) -> Choice {
            self.choose_for(None, tried, balance, random)
        }

        fn choose_for(
            &self,
            sticky: Option<u64>,
            tried: &[usize],
            balance: Balance,
            random: u64,
        ) -> Choice {
            let rules = rules();
            let terms = Terms { balance, rules: &rules, random, now: 2, allowed: u64::MAX, sticky };
            choose(&self.0, tried, terms)
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
    fn who_is_sticky_stays_moves_from_the_sick_and_comes_back() {
        let targets = || Targets::new(&[(1, 1), (1, 2), (1, 1), (2, 9)]);
        let of = |targets: &Targets, key| {
            let one = |random| targets.choose_for(Some(key), &[], Balance::LeastBusy, random).index;
            let first = one(0);
            assert!((1..9).all(|random| one(random) == first), "not by chance");
            first
        };
        for key in (0..200_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let home = of(&targets(), key);
            assert!(home < 3, "of the first priority");
            let other = of(&targets().out(home), key);
            assert!(other != home && other < 3);
            // The next attempt goes where all go when it is out.
            let next = targets().choose_for(Some(key), &[home], Balance::Weighted, 5);
            assert_eq!(next, choice(other, false));
            for away in (0..3).filter(|away| *away != home) {
                assert_eq!(of(&targets().out(away), key), home);
            }
        }
    }

    #[test]
    fn the_less_busy_is_asked() {
        let targets = Targets::new(&[(1, 1), (1, 1), (1, 4)]);
        let _busy: Vec<_> =
            [0, 0, 1, 2, 2].map(|index: usize| targets.0[index].health.begin()).into();
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
