//! What every store keeps to.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sluicegate_filters::admit::{OnLostLease, Span, Window};
use sluicegate_quota::counter::Counter;
use sluicegate_quota::store::{MAX_AMOUNT, MAX_BATCH};
use sluicegate_quota::{Answer, Charge, Exchange, Look, QuotaStore, QuotaStoreError, Reply, State};
use tokio::task::JoinSet;
use uuid::Uuid;

/// How many cases.
#[derive(Clone, Copy)]
pub enum Effort {
    Little,
    Some,
    Much,
}

/// All of it.
pub async fn check(store: Arc<dyn QuotaStore>, effort: Effort) {
    what_is_out_of_bounds_is_refused(&*store).await;
    an_unknown_counter_is_empty(&*store).await;
    amounts_are_exact(&*store).await;
    counters_are_forgotten(&*store).await;
    same_as_the_reference(&*store, effort).await;
    concurrency(&[store]).await;
}

pub fn exchange(counter: &str, instance: &str, seq: u64) -> Exchange {
    Exchange {
        counter: counter.into(),
        instance: instance.into(),
        seq,
        span: Span::Always,
        limit: 100,
        charges: Vec::new(),
        left: 0,
        held: 0,
        need: 0,
        want: 0,
        ttl_ms: 60_000,
        on_lost_lease: OnLostLease::Charge,
        mark: 0,
    }
}

pub fn look(counter: &str) -> Look {
    Look { counter: counter.into(), span: Span::Always }
}

pub fn answer(reply: &Reply) -> Answer {
    match reply {
        Reply::Done(answer) => answer.clone(),
        Reply::OtherPeriod { .. } => panic!("{reply:?}"),
    }
}

pub async fn done(store: &dyn QuotaStore, it: &Exchange) -> Answer {
    answer(&store.exchange(std::slice::from_ref(it)).await.unwrap()[0])
}

fn anew(name: &str) -> String {
    format!("team:{}|{name}", Uuid::now_v7().simple())
}

async fn what_is_out_of_bounds_is_refused(store: &dyn QuotaStore) {
    let good = exchange(&anew("bounds"), "a", 1);
    let more = MAX_AMOUNT + 1;
    let charge = |bucket, amount| vec![Charge { bucket, amount }];
    let wrong = [
        Exchange { counter: "with{brace}".into(), ..good.clone() },
        Exchange { counter: "".into(), ..good.clone() },
        Exchange { counter: "x".repeat(601).into(), ..good.clone() },
        Exchange { instance: "".into(), ..good.clone() },
        Exchange { instance: "a b".into(), ..good.clone() },
        Exchange { instance: "a".repeat(65).into(), ..good.clone() },
        Exchange { seq: 0, ..good.clone() },
        Exchange { seq: more, ..good.clone() },
        Exchange { limit: more, ..good.clone() },
        Exchange { left: more, ..good.clone() },
        Exchange { held: more, ..good.clone() },
        Exchange { need: more, ..good.clone() },
        Exchange { want: more, ..good.clone() },
        Exchange { charges: charge(0, i64::MIN), ..good.clone() },
        Exchange { charges: charge(i64::MAX, 1), ..good.clone() },
        Exchange { charges: charge(0, 1).repeat(65), ..good.clone() },
        Exchange { span: Span::Rolling { ms: 0, bucket_ms: 1 }, ..good.clone() },
        Exchange { span: Span::Rolling { ms: 1, bucket_ms: 0 }, ..good.clone() },
        Exchange { span: Span::Rolling { ms: i64::MAX, bucket_ms: 1 }, ..good.clone() },
        Exchange { span: Span::Period { start: 5, end: 5 }, ..good.clone() },
        Exchange { span: Span::Period { start: 5, end: i64::MAX }, ..good.clone() },
    ];
    for it in wrong {
        let refused = store.exchange(&[good.clone(), it.clone()]).await;
        assert!(matches!(refused, Err(QuotaStoreError::Broken(_))), "{it:?}: {refused:?}");
    }
    let many = vec![good.clone(); MAX_BATCH + 1];
    assert!(matches!(store.exchange(&many).await, Err(QuotaStoreError::Broken(_))));
    let many = vec![look("c"); MAX_BATCH + 1];
    assert!(matches!(store.look(&many).await, Err(QuotaStoreError::Broken(_))));
    // Nothing of it was done.
    assert_eq!(done(store, &good).await.previous_seq, 0);
    assert_eq!(store.exchange(&[]).await.unwrap(), []);
    assert_eq!(store.look(&[]).await.unwrap(), []);
}

async fn an_unknown_counter_is_empty(store: &dyn QuotaStore) {
    let asked = [look(&anew("one")), look(&anew("other"))];
    let states = store.look(&asked).await.unwrap();
    assert_eq!(states.len(), 2);
    for state in states {
        assert!(state.now > 1_700_000_000_000, "milliseconds since the epoch: {state:?}");
        assert_eq!(state, State { now: state.now, ..State::default() });
    }
}

async fn amounts_are_exact(store: &dyn QuotaStore) {
    let name = anew("large");
    let charges = vec![Charge { bucket: 0, amount: (MAX_AMOUNT - 3).cast_signed() }];
    let it = Exchange { limit: MAX_AMOUNT, charges, mark: u64::MAX, ..exchange(&name, "a", 1) };
    assert_eq!(done(store, &it).await.used, MAX_AMOUNT - 3);
    let it = Exchange { limit: MAX_AMOUNT, need: 3, want: 3, ..exchange(&name, "b", MAX_AMOUNT) };
    let granted = done(store, &it).await;
    assert_eq!((granted.granted, granted.leased, granted.previous_seq), (3, 3, 0));
    let state = store.look(&[look(&name)]).await.unwrap().remove(0);
    assert_eq!((state.leases[0].mark, state.leases[1].seq), (u64::MAX, MAX_AMOUNT));
    let charges = vec![Charge { bucket: 0, amount: MAX_AMOUNT.cast_signed() }];
    let it = Exchange { limit: MAX_AMOUNT, charges, need: 1, ..exchange(&name, "a", 2) };
    let full = done(store, &it).await;
    assert_eq!((full.used, full.granted, full.fits_at), (MAX_AMOUNT, 0, None));
}

async fn counters_are_forgotten(store: &dyn QuotaStore) {
    let (brief, lasting) = (anew("brief"), anew("lasting"));
    let span = Span::Rolling { ms: 1, bucket_ms: 1 };
    let now = store.look(&[look(&brief)]).await.unwrap()[0].now;
    let charges = vec![Charge { bucket: now, amount: 5 }];
    let it = |name| Exchange { ttl_ms: 0, charges: charges.clone(), ..exchange(name, "a", 1) };
    let batch = [Exchange { span, ..it(&brief) }, it(&lasting)];
    store.exchange(&batch).await.unwrap();
    // What one of the clock's milliseconds has seen counts until the next but one.
    let ended = async || {
        let state = store.look(&[Look { counter: brief.as_str().into(), span }]).await.unwrap();
        state[0].used == 0 && state[0].leases.is_empty()
    };
    while !ended().await {}
    store.forget(i64::MAX).await.unwrap();
    assert_eq!(store.look(&[look(&brief)]).await.unwrap()[0].leases, []);
    assert_eq!(store.look(&[look(&lasting)]).await.unwrap()[0].used, 5);
    assert_eq!(done(store, &exchange(&lasting, "a", 2)).await.previous_seq, 1);
}

/// A counter, and how its window is made.
#[derive(Clone, Debug)]
struct Kept {
    name: String,
    window: Window,
}

/// One exchange, told relative to what the store knows.
#[derive(Clone, Debug)]
struct Plan {
    counter: usize,
    instance: usize,
    /// Added to the number of the instance's exchange before: 1 is a new one.
    seq: i64,
    limit: u64,
    /// Buckets before the present one, and amounts.
    charges: Vec<(i64, i64)>,
    left: u64,
    held: u64,
    need: u64,
    more: u64,
    ttl_ms: u64,
    release: bool,
    mark: u64,
}

fn plan(counters: usize) -> impl Strategy<Value = Plan> {
    let numbers = (
        0..counters,
        0..3_usize,
        prop_oneof![6 => Just(1_i64), 2 => Just(0), 1 => Just(-1), 1 => Just(3)],
        prop_oneof![Just(0_u64), Just(10), Just(50), Just(50), Just(50), Just(MAX_AMOUNT)],
        prop::collection::vec((0_i64..5, -9_i64..12), 0..4),
    );
    let lease = (
        0_u64..20,
        0_u64..20,
        0_u64..12,
        0_u64..30,
        prop_oneof![Just(0_u64), Just(1), Just(3), Just(10), Just(100_000), Just(u64::MAX)],
        any::<bool>(),
        any::<u64>(),
    );
    (numbers, lease).prop_map(
        |(
            (counter, instance, seq, limit, charges),
            (left, held, need, more, ttl_ms, release, mark),
        )| {
            Plan {
                counter,
                instance,
                seq,
                limit,
                charges,
                left,
                held,
                need,
                more,
                ttl_ms,
                release,
                mark,
            }
        },
    )
}

/// Runs the same exchanges on the store and on the reference, at the times that the store tells.
pub async fn same_as_the_reference(store: &dyn QuotaStore, effort: Effort) {
    let (cases, calls) = match effort {
        Effort::Little => (2, 40),
        Effort::Some => (6, 60),
        Effort::Much => (20, 120),
    };
    let mut runner = TestRunner::default();
    for _ in 0..cases {
        let windows = [
            Window::Lifetime,
            Window::Rolling { ms: 5 },
            Window::Rolling { ms: 120 },
            Window::Rolling { ms: 60_000 },
            Window::Fixed { ms: 7 },
            Window::Fixed { ms: 200 },
            Window::Fixed { ms: 86_400_000 },
        ];
        let counters: Vec<_> =
            windows.map(|window| Kept { name: anew("same"), window }).into_iter().collect();
        let batch = prop::collection::vec(plan(counters.len()), 1..6);
        let plans = prop::collection::vec(batch, calls).new_tree(&mut runner).unwrap().current();
        let now = store.look(&[look("c")]).await.unwrap()[0].now;
        let mut replay = Replay { now, ..Replay::default() };
        for plans in plans {
            replay.call(store, &counters, plans).await;
        }
    }
}

/// The reference, beside a store.
#[derive(Default)]
struct Replay {
    now: i64,
    counters: HashMap<String, Counter>,
    seqs: HashMap<(String, usize), u64>,
    done: Vec<Exchange>,
}

impl Replay {
    async fn call(&mut self, store: &dyn QuotaStore, counters: &[Kept], plans: Vec<Plan>) {
        let mut batch: Vec<Exchange> = Vec::new();
        for plan in plans {
            let kept = &counters[plan.counter];
            if batch.iter().all(|it| *it.counter != *kept.name) {
                batch.push(self.make(kept, plan));
            }
        }
        let replies = store.exchange(&batch).await.unwrap();
        assert_eq!(replies.len(), batch.len());
        for (it, reply) in batch.iter().zip(replies) {
            self.now = match &reply {
                Reply::Done(answer) => answer.now,
                Reply::OtherPeriod { now } => *now,
            };
            let counter = self.counters.entry(it.counter.to_string()).or_default();
            let before = counter.clone();
            let expected = counter.exchange(it, self.now);
            assert_eq!(reply, expected, "{it:?}\nwith {before:?}\nafter {:?}", self.done.len());
            self.done.push(it.clone());
        }
        self.compare(store, &batch).await;
    }

    async fn compare(&self, store: &dyn QuotaStore, batch: &[Exchange]) {
        let asked: Vec<_> =
            batch.iter().map(|it| Look { counter: it.counter.clone(), span: it.span }).collect();
        let states = store.look(&asked).await.unwrap();
        for (look, state) in asked.iter().zip(states) {
            let counter = &self.counters[&*look.counter];
            assert_eq!(state, counter.look(look.span, state.now), "{look:?}: {counter:?}");
        }
    }

    fn make(&mut self, kept: &Kept, plan: Plan) -> Exchange {
        let span = kept.window.span(self.now);
        let seq = self.seqs.entry((kept.name.clone(), plan.instance)).or_default();
        let next = seq.saturating_add_signed(plan.seq).max(1);
        *seq = next.max(*seq);
        let width = match span {
            Span::Rolling { bucket_ms, .. } => bucket_ms,
            Span::Period { start, end } => end - start,
            Span::Always => 0,
        };
        let charges = plan
            .charges
            .iter()
            .map(|&(ago, amount)| Charge { bucket: span.bucket(self.now) - ago * width, amount });
        Exchange {
            counter: kept.name.as_str().into(),
            instance: format!("instance-{}", plan.instance).into(),
            seq: next,
            span,
            limit: plan.limit,
            charges: charges.collect(),
            left: plan.left,
            held: plan.held,
            need: plan.need,
            want: plan.need + plan.more,
            ttl_ms: plan.ttl_ms,
            on_lost_lease: if plan.release { OnLostLease::Release } else { OnLostLease::Charge },
            mark: plan.mark,
        }
    }
}

/// Many instances take from two counters at once, over any of the `stores`, and in either order.
pub async fn concurrency(stores: &[Arc<dyn QuotaStore>]) {
    const LIMIT: u64 = 500;
    let names = [anew("left"), anew("right")];
    let mut tasks = JoinSet::new();
    for task in 0..8_usize {
        let store = Arc::clone(&stores[task % stores.len()]);
        let mut names = names.clone();
        if task % 2 == 0 {
            names.reverse();
        }
        tasks.spawn(async move {
            let mut granted: HashMap<String, u64> = HashMap::new();
            for seq in 1..=25 {
                let batch = names.each_ref().map(|name| Exchange {
                    limit: LIMIT,
                    left: granted.get(name).copied().unwrap_or_default(),
                    need: 7,
                    want: 9,
                    ..exchange(name, &format!("task-{task}"), seq)
                });
                let replies = loop {
                    match store.exchange(&batch).await {
                        Ok(replies) => break replies,
                        Err(QuotaStoreError::Unavailable(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                };
                for (it, reply) in batch.iter().zip(replies) {
                    *granted.entry(it.counter.to_string()).or_default() += answer(&reply).granted;
                }
            }
            granted
        });
    }
    let mut sums: HashMap<String, u64> = HashMap::new();
    for granted in tasks.join_all().await {
        for (name, units) in granted {
            *sums.entry(name).or_default() += units;
        }
    }
    for name in &names {
        let sum = sums[name];
        assert!(sum <= LIMIT && sum > LIMIT - 7, "{sum} of {LIMIT} were granted");
        let state = stores[0].look(&[look(name)]).await.unwrap().remove(0);
        assert_eq!(state.leases.iter().map(|lease| lease.leased).sum::<u64>(), sum);
    }
}
