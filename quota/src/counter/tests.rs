use std::collections::BTreeMap;

use proptest::prelude::*;
use sluicegate_filters::admit::{OnLostLease, Span};

use super::*;
use crate::store::Charge;

/// What may happen to one instance, or to time.
#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Spend { who: usize, units: u64 },
    Hold { who: usize, units: u64 },
    Settle { who: usize, units: u64 },
    Exchange { who: usize, give: u64, need: u64, more: u64, fate: Fate },
    Leave { who: usize, fate: Fate },
    Crash { who: usize },
    Return { who: usize },
    Limit(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered,
    AnswerLost,
    NeverArrived,
}

const TTL: u64 = 50;
const INSTANCES: usize = 3;

/// An instance that keeps to what the port asks of it.
#[derive(Default)]
struct Instance {
    name: String,
    free: u64,
    held: u64,
    /// Until when what is free may be spent.
    trusted_until: i64,
    seq: u64,
    /// Used and not yet said.
    charges: BTreeMap<i64, i64>,
    /// Sent, and not answered yet.
    pending: Option<Exchange>,
    crashed: bool,
}

struct World {
    counter: Counter,
    now: i64,
    kind: Kind,
    on_lost_lease: OnLostLease,
    limit: u64,
    highest_limit: u64,
    instances: Vec<Instance>,
    spent: Vec<(i64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Always,
    Rolling(i64, i64),
    Fixed(i64),
}

impl World {
    fn new(kind: Kind, on_lost_lease: OnLostLease, limit: u64) -> Self {
        let instance = |number| Instance { name: format!("i{number}"), ..Instance::default() };
        Self {
            counter: Counter::default(),
            now: 1_000_000,
            kind,
            on_lost_lease,
            limit,
            highest_limit: limit,
            instances: (0..INSTANCES).map(instance).collect(),
            spent: Vec::new(),
        }
    }

    fn span(&self) -> Span {
        match self.kind {
            Kind::Always => Span::Always,
            Kind::Rolling(ms, bucket_ms) => Span::Rolling { ms, bucket_ms },
            Kind::Fixed(ms) => {
                let start = self.now - self.now.rem_euclid(ms);
                Span::Period { start, end: start + ms }
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(ms) => {
                self.now += ms;
                for it in &mut self.instances {
                    if it.trusted_until <= self.now {
                        it.free = 0;
                    }
                }
            }
            Step::Limit(limit) => {
                self.limit = limit;
                self.highest_limit = self.highest_limit.max(limit);
            }
            Step::Spend { who, units } => {
                let it = &mut self.instances[who];
                let units = units.min(it.free);
                it.free -= units;
                self.use_up(who, units);
            }
            Step::Hold { who, units } => {
                // Only where it is the end of a request that counts.
                if self.kind == Kind::Always {
                    let it = &mut self.instances[who];
                    let units = units.min(it.free);
                    it.free -= units;
                    it.held += units;
                }
            }
            Step::Settle { who, units } => {
                let it = &mut self.instances[who];
                let units = if it.crashed { 0 } else { units.min(it.held) };
                it.held -= units;
                self.use_up(who, units);
            }
            Step::Exchange { who, give, need, more, fate } => {
                if !self.instances[who].crashed {
                    self.prepare(who, give, need, need + more, TTL);
                    self.send(who, fate);
                }
            }
            Step::Leave { who, fate } => {
                if !self.instances[who].crashed && self.instances[who].held == 0 {
                    self.prepare(who, u64::MAX, 0, 0, 0);
                    self.send(who, fate);
                }
            }
            Step::Crash { who } => {
                self.instances[who].free = 0;
                self.instances[who].crashed = true;
            }
            Step::Return { who } => self.restore(who),
        }
    }

    fn use_up(&mut self, who: usize, units: u64) {
        if units > 0 {
            let bucket = self.span().bucket(self.now);
            *self.instances[who].charges.entry(bucket).or_default() += units.cast_signed();
            self.spent.push((self.now, units));
        }
    }

    /// Makes the next exchange, if none waits for an answer.
    fn prepare(&mut self, who: usize, give: u64, need: u64, want: u64, ttl_ms: u64) {
        let span = self.span();
        let it = &mut self.instances[who];
        if let Some(pending) = &mut it.pending {
            pending.span = span;
            return;
        }
        it.free -= give.min(it.free);
        it.seq += 1;
        let charges = std::mem::take(&mut it.charges);
        it.pending = Some(Exchange {
            counter: "c".into(),
            instance: it.name.as_str().into(),
            seq: it.seq,
            span,
            limit: self.limit,
            charges: charges
                .into_iter()
                .map(|(bucket, amount)| Charge { bucket, amount })
                .collect(),
            left: it.free + it.held,
            held: it.held,
            need,
            want,
            ttl_ms,
            on_lost_lease: self.on_lost_lease,
            mark: it.seq,
        });
    }

    fn send(&mut self, who: usize, fate: Fate) {
        let (now, it) = (self.now, &mut self.instances[who]);
        if fate == Fate::NeverArrived {
            return;
        }
        let pending = it.pending.clone().unwrap();
        let before = (self.counter.used() + self.counter.leased()).max(pending.limit);
        let Reply::Done(answer) = self.counter.exchange(&pending, now) else { panic!("no answer") };
        assert_eq!(answer.used, self.counter.used());
        assert_eq!(answer.leased, self.counter.leased());
        if answer.granted > 0 && answer.previous_seq < pending.seq {
            let total = answer.used + answer.leased;
            assert!(total <= pending.limit.min(before), "granted beyond the limit: {answer:?}");
        }
        if fate == Fate::Answered {
            if it.trusted_until <= now {
                it.free = 0;
            }
            it.free += answer.granted;
            it.trusted_until = now.saturating_add_unsigned(pending.ttl_ms);
            it.pending = None;
        }
    }

    /// An instance is back, or somebody who reads its journal.
    fn restore(&mut self, who: usize) {
        if !std::mem::take(&mut self.instances[who].crashed) {
            return;
        }
        // Nobody knows what came of its requests: all that was held counts.
        let held = std::mem::take(&mut self.instances[who].held);
        self.use_up(who, held);
        if self.instances[who].pending.is_some() {
            self.prepare(who, 0, 0, 0, TTL);
            self.send(who, Fate::Answered);
            self.instances[who].free = 0;
        }
    }

    /// Units spent that no interval, period or lifetime may have more of than the limit.
    fn spent_now(&self) -> u64 {
        let since = match self.kind {
            Kind::Always => i64::MIN,
            Kind::Rolling(ms, _) => self.now - ms + 1,
            Kind::Fixed(ms) => self.now - self.now.rem_euclid(ms),
        };
        self.spent.iter().filter(|(at, _)| *at >= since).map(|(_, units)| units).sum()
    }

    /// All come back, and say what they have used.
    fn settle(&mut self) {
        for who in 0..INSTANCES {
            self.restore(who);
            let held = std::mem::take(&mut self.instances[who].held);
            self.use_up(who, held);
            for _ in 0..2 {
                self.prepare(who, u64::MAX, 0, 0, TTL);
                self.send(who, Fate::Answered);
            }
            self.prepare(who, u64::MAX, 0, 0, 0);
            self.send(who, Fate::Answered);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let fate = || {
        prop_oneof![
            4 => Just(Fate::Answered),
            2 => Just(Fate::AnswerLost),
            1 => Just(Fate::NeverArrived),
        ]
    };
    let who = || 0..INSTANCES;
    prop_oneof![
        3 => (0_i64..40).prop_map(Step::Pass),
        1 => (0_i64..400).prop_map(Step::Pass),
        4 => (who(), 1_u64..20).prop_map(|(who, units)| Step::Spend { who, units }),
        2 => (who(), 1_u64..20).prop_map(|(who, units)| Step::Hold { who, units }),
        2 => (who(), 1_u64..20).prop_map(|(who, units)| Step::Settle { who, units }),
        6 => (who(), 0_u64..9, 0_u64..20, 0_u64..40, fate()).prop_map(
            |(who, give, need, more, fate)| Step::Exchange { who, give, need, more, fate }
        ),
        1 => (who(), fate()).prop_map(|(who, fate)| Step::Leave { who, fate }),
        1 => who().prop_map(|who| Step::Crash { who }),
        1 => who().prop_map(|who| Step::Return { who }),
        1 => (0_u64..80).prop_map(Step::Limit),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Always),
        Just(Kind::Rolling(60, 1)),
        Just(Kind::Rolling(200, 7)),
        Just(Kind::Rolling(10, 10)),
        Just(Kind::Fixed(100)),
        Just(Kind::Fixed(30)),
    ]
}

proptest! {
    #[test]
    fn never_more_is_spent_than_the_limit(
        kind in kind(),
        limit in 0_u64..60,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(kind, OnLostLease::Charge, limit);
        for step in &steps {
            world.step(step);
            prop_assert!(world.spent_now() <= world.highest_limit, "{step:?}: {:?}", world.counter);
        }
    }

    #[test]
    fn what_was_spent_is_counted_exactly_once_all_have_spoken(
        kind in kind(),
        release in any::<bool>(),
        limit in 0_u64..60,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let on_lost = if release { OnLostLease::Release } else { OnLostLease::Charge };
        let mut world = World::new(kind, on_lost, limit);
        for step in &steps {
            world.step(step);
        }
        world.settle();
        let span = world.span();
        let counts = |(at, _): &&(i64, u64)| match span {
            Span::Period { start, .. } => *at >= start,
            span => span.counts(span.bucket(*at), world.now),
        };
        let spent: u64 = world.spent.iter().filter(counts).map(|(_, units)| units).sum();
        let state = world.counter.look(span, world.now);
        prop_assert_eq!(state.used, spent);
        prop_assert_eq!(state.in_doubt, 0);
        prop_assert_eq!(world.counter.leased(), 0);
    }

    #[test]
    fn once_nothing_counts_nothing_changes_what_is_answered(
        kind in kind(),
        release in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let on_lost = if release { OnLostLease::Release } else { OnLostLease::Charge };
        let mut world = World::new(kind, on_lost, 50);
        let mut ends = Some(i64::MIN);
        for step in &steps {
            world.step(step);
            // As a store that forgets a counter at its end.
            ends = match step {
                Step::Exchange { .. } | Step::Leave { .. } | Step::Return { .. } => {
                    world.counter.ends_at(world.span())
                }
                _ => ends,
            };
            if ends.is_some_and(|end| end <= world.now) {
                let state = world.counter.look(world.span(), world.now);
                prop_assert_eq!((state.used, state.in_doubt), (0, 0));
                prop_assert!(state.leases.iter().all(|lease| lease.leased == 0));
            }
        }
    }

    #[test]
    fn any_exchange_is_survived(
        amounts in prop::collection::vec(prop_oneof![any::<u64>(), 0..=MAX_AMOUNT], 8),
        charges in prop::collection::vec((any::<i64>(), any::<i64>()), 0..9),
        now in any::<i64>(),
    ) {
        let mut counter = Counter::default();
        for span in [
            Span::Always,
            Span::Rolling { ms: i64::MAX, bucket_ms: i64::MAX },
            Span::Period { start: i64::MIN, end: i64::MAX },
        ] {
            let it = Exchange {
                span,
                limit: amounts[0],
                left: amounts[1],
                held: amounts[2],
                need: amounts[3].min(MAX_AMOUNT),
                want: amounts[4],
                ttl_ms: amounts[5],
                seq: amounts[6],
                charges: charges.iter().map(|&(bucket, amount)| Charge { bucket, amount }).collect(),
                ..exchange("a", 1)
            };
            counter.exchange(&it, now);
            counter.exchange(&Exchange { instance: "b".into(), ..it }, now);
            counter.look(span, now);
            counter.ends_at(span);
        }
    }
}

fn exchange(instance: &str, seq: u64) -> Exchange {
    Exchange {
        counter: "c".into(),
        instance: instance.into(),
        seq,
        span: Span::Always,
        limit: 100,
        charges: Vec::new(),
        left: 0,
        held: 0,
        need: 0,
        want: 0,
        ttl_ms: 1_000,
        on_lost_lease: OnLostLease::Charge,
        mark: 0,
    }
}

fn done(counter: &mut Counter, it: &Exchange, now: i64) -> Answer {
    match counter.exchange(it, now) {
        Reply::Done(answer) => answer,
        Reply::OtherPeriod { .. } => panic!("not done"),
    }
}

#[test]
fn a_lease_that_was_released_is_not_granted_again_when_its_exchange_is_repeated() {
    let mut counter = Counter::default();
    let release = |it| Exchange { on_lost_lease: OnLostLease::Release, ..it };
    let first = release(Exchange { need: 80, want: 80, ..exchange("a", 1) });
    assert_eq!(done(&mut counter, &first, 0).granted, 80);
    // The answer got lost, and then the lease.
    let other = release(Exchange { need: 90, want: 90, ..exchange("b", 1) });
    assert_eq!(done(&mut counter, &other, 1_000).granted, 90);
    let again = done(&mut counter, &first, 1_001);
    assert_eq!((again.granted, again.previous_seq, again.leased), (0, 1, 90));
}

#[test]
fn a_repeated_exchange_keeps_the_lease_and_its_grant() {
    let mut counter = Counter::default();
    let it = Exchange { need: 80, want: 80, ..exchange("a", 1) };
    done(&mut counter, &it, 0);
    assert_eq!(done(&mut counter, &it, 900).granted, 80);
    // It began anew.
    assert_eq!(done(&mut counter, &exchange("b", 1), 1_800).leased, 80);
}

/// The store is away for longer than a lease lasts, and has done an exchange whose answer got lost.
#[test]
fn nothing_is_charged_twice_after_a_long_absence() {
    for (on_lost_lease, ttl_ms) in
        [(OnLostLease::Charge, 10), (OnLostLease::Release, 10), (OnLostLease::Charge, 0)]
    {
        let mut counter = Counter::default();
        let charges = vec![Charge { bucket: 0, amount: 30 }];
        let it = Exchange { charges, ttl_ms, on_lost_lease, mark: 7, ..exchange("a", 1) };
        done(&mut counter, &it, 0);
        let hour = 60 * 60 * 1000;
        assert_eq!(done(&mut counter, &exchange("b", 1), hour).used, 30);
        assert_eq!(counter.look(Span::Always, hour).leases[0].mark, 7);
        assert_eq!(done(&mut counter, &it, 2 * hour).used, 30);
    }
}

#[test]
fn a_lost_lease_counts_until_the_instance_returns_with_less() {
    let mut counter = Counter::default();
    let first = Exchange { need: 40, want: 40, ..exchange("a", 1) };
    done(&mut counter, &first, 0);
    let answer = done(&mut counter, &exchange("b", 1), 1_000);
    assert_eq!((answer.used, answer.leased, answer.in_doubt), (40, 0, 40));
    let back = Exchange {
        charges: vec![Charge { bucket: 0, amount: 15 }],
        left: 10,
        held: 10,
        ..exchange("a", 2)
    };
    let answer = done(&mut counter, &back, 5_000);
    assert_eq!((answer.used, answer.leased, answer.in_doubt), (15, 10, 0));
}

/// What belongs to a period depends on when it was lost, and not on who looks when.
#[test]
fn a_lease_lost_in_a_period_does_not_count_in_the_next() {
    let (today, tomorrow) =
        (Span::Period { start: 0, end: 10_000 }, Span::Period { start: 10_000, end: 20_000 });
    for (at, in_doubt) in [(5_000, 0), (9_500, 40)] {
        let mut counter = Counter::default();
        let first = Exchange { need: 40, want: 40, span: today, ..exchange("a", 1) };
        done(&mut counter, &first, at);
        let answer = done(&mut counter, &Exchange { span: tomorrow, ..exchange("b", 1) }, 12_000);
        assert_eq!((answer.used, answer.in_doubt), (in_doubt, in_doubt), "last heard of at {at}");
    }
}

#[test]
fn a_limit_below_what_is_used_grants_nothing_and_says_when_enough_is_forgotten() {
    let mut counter = Counter::default();
    let span = Span::Rolling { ms: 1_000, bucket_ms: 100 };
    let charges = (0..5).map(|n| Charge { bucket: n * 100, amount: 20 }).collect();
    done(&mut counter, &Exchange { span, charges, ..exchange("a", 1) }, 500);
    // 100 are used. For 10 more than 50, 60 must be forgotten: three buckets.
    let it = Exchange { span, limit: 50, need: 10, want: 10, ..exchange("a", 2) };
    let answer = done(&mut counter, &it, 500);
    assert_eq!((answer.granted, answer.fits_at), (0, Some(1_300)));
    let it = Exchange { seq: 3, ..it };
    assert_eq!(done(&mut counter, &it, 1_299).granted, 0);
    let it = Exchange { seq: 4, ..it };
    assert_eq!(done(&mut counter, &it, 1_300).granted, 10);
}

#[test]
fn who_needs_what_others_lease_makes_them_hungry_and_who_needs_what_is_used_does_not() {
    let mut counter = Counter::default();
    done(&mut counter, &Exchange { need: 100, want: 100, ..exchange("a", 1) }, 0);
    let needy = Exchange { need: 10, want: 90, ..exchange("b", 1) };
    assert_eq!(done(&mut counter, &needy, 1).granted, 0);
    let it = Exchange { left: 100, want: 50, ..exchange("a", 2) };
    assert!(done(&mut counter, &it, 2).hungry);
    let it = Exchange { left: 0, want: 50, ..exchange("a", 3) };
    let answer = done(&mut counter, &it, 3);
    assert!(answer.hungry && answer.granted == 0, "what is given back is not taken at once");
    assert_eq!(done(&mut counter, &Exchange { seq: 2, ..needy.clone() }, 4).granted, 10 + 22);
    let charges = vec![Charge { bucket: 0, amount: 68 }];
    assert!(!done(&mut counter, &Exchange { charges, ..exchange("a", 4) }, 5).hungry);
    assert_eq!(done(&mut counter, &Exchange { seq: 3, left: 32, ..needy.clone() }, 6).granted, 0);
    assert!(!done(&mut counter, &exchange("a", 5), 7).hungry, "nobody has anything to give back");
}

#[test]
fn an_exchange_for_another_period_changes_nothing() {
    let mut counter = Counter::default();
    let span = Span::Period { start: 0, end: 100 };
    let it = Exchange { span, need: 10, want: 10, ..exchange("a", 1) };
    assert_eq!(counter.exchange(&it, 100), Reply::OtherPeriod { now: 100 });
    assert_eq!(counter, Counter::default());
}
