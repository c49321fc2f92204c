//! Engines that share a store, under many requests at once.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sluicegate_filters::admit::{OnOverrun, OnStoreLoss, Scope, ScopeKind, Window};

use super::*;
use crate::memory::MemoryQuotas;
use crate::slice::Reason;
use crate::store::{Exchange, Reply};

fn engine(store: &Arc<dyn QuotaStore>, name: &str) -> Arc<Engine> {
    let options = Options {
        instance: name.into(),
        lease_ttl: Duration::from_secs(30),
        tick: Duration::from_millis(20),
    };
    Engine::start(store.clone(), options, &Handle::current())
}

fn quota(id: &str, unit: Unit, limit: u64) -> Quota {
    let window = match unit {
        Unit::Requests | Unit::Tokens => Window::Rolling { ms: 600_000 },
        Unit::NanoUsd | Unit::Parallel => Window::Lifetime,
    };
    Quota::new(Scope::new(ScopeKind::Key, id), unit, window, limit)
}

fn one(tokens: u64) -> Amounts {
    Amounts { requests: 1, tokens, nano_usd: tokens * 10, parallel: 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_what_the_limit_allows_is_admitted_by_two_instances() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let engines = [engine(&store, "a"), engine(&store, "b")];
    let quotas = [quota("k", Unit::NanoUsd, 5_000), quota("k", Unit::Requests, 1_000_000)];
    let admitted = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for index in 0..200 {
        let (engine, admitted) = (engines[index % 2].clone(), admitted.clone());
        let slices: Vec<_> = quotas.iter().map(|quota| engine.slice(quota)).collect();
        tasks.push(tokio::spawn(async move {
            // Each holds 100 of 5,000 and uses all of it: exactly 50 may pass.
            loop {
                match engine.hold(&slices, &one(10)).await {
                    Ok(holds) => {
                        tokio::task::yield_now().await;
                        admitted.fetch_add(1, Ordering::SeqCst);
                        holds.settle(&one(10));
                    }
                    // What is not leased by the other instance is really used.
                    Err(refused) if admitted.load(Ordering::SeqCst) >= 50 => return refused,
                    Err(refused) => {
                        assert!(!refused.store_away);
                        tokio::task::yield_now().await;
                    }
                }
            }
        }));
    }
    for task in tasks {
        let refused = task.await.unwrap();
        assert_eq!(refused.quota.unit, Unit::NanoUsd);
    }
    assert_eq!(admitted.load(Ordering::SeqCst), 50);
    for engine in &engines {
        assert!(engine.close(Duration::from_secs(10)).await);
    }
    let state = engines[0].look(&quotas).await.unwrap();
    assert_eq!((state[0].used, state[1].used), (5_000, 50));
    assert!(state.iter().all(|state| state.leases.iter().all(|lease| lease.leased == 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_run_at_once_than_may() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let engines = [engine(&store, "a"), engine(&store, "b")];
    let (running, most, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let shared = Arc::new((running, most, done));
    let mut tasks = Vec::new();
    for index in 0..60 {
        let (engine, shared) = (engines[index % 2].clone(), shared.clone());
        let slices = [engine.slice(&quota("k", Unit::Parallel, 5))];
        tasks.push(tokio::spawn(async move {
            let (running, most, done) = &*shared;
            loop {
                if let Ok(holds) = engine.hold(&slices, &one(0)).await {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    holds.settle(&Amounts::default());
                    done.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(shared.2.load(Ordering::SeqCst), 60);
    assert!(shared.1.load(Ordering::SeqCst) <= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_given_back_early_is_free_at_once_and_charged_as_at_the_end() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let engine = engine(&store, "a");
    let units = [(Unit::Tokens, 200), (Unit::NanoUsd, 2_000), (Unit::Parallel, 1)];
    let quotas = units.map(|(unit, limit)| quota("k", unit, limit));
    let slices: Vec<_> = quotas.iter().map(|quota| engine.slice(quota)).collect();
    // All that it uses but its place.
    let used = Amounts { parallel: 0, ..one(30) };
    for extends in [false, true] {
        let mut holds = engine.hold(&slices, &one(90)).await.unwrap();
        let mut charged = holds.charged();
        while extends && holds.extend(&one(120)) != Extended::Yes {
            tokio::task::yield_now().await;
        }
        holds.narrow(&used);
        // Beside what it held, this would not fit.
        let another = engine.hold(&slices, &one(110)).await.unwrap();
        another.settle(&Amounts::default());
        holds.narrow(&used);
        charged.extend(holds.settle(&used));
        for (slice, used) in slices.iter().zip([30, 300, 0]) {
            let of_it = charged.iter().filter(|charged| charged.counter == *slice.counter());
            let sum: i64 = of_it.map(|charged| charged.amount).sum();
            assert_eq!(sum, used, "{}, {extends}: {charged:?}", slice.counter());
        }
    }
    assert!(engine.close(Duration::from_secs(10)).await);
    let state = engine.look(&quotas).await.unwrap();
    assert_eq!(state.iter().map(|state| state.used).collect::<Vec<_>>(), [60, 600, 0]);
}

/// Stands still but for what the test lets pass.
#[derive(Clone, Default)]
struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn local_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst).cast_signed()
    }
}

#[tokio::test]
async fn what_an_instance_that_is_gone_had_leased_is_in_doubt_until_its_journal_is_read() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let money = quota("k", Unit::NanoUsd, 1_000);
    // It leased 40, and is not heard of again.
    let gone: Arc<str> = "gone".into();
    let lease = Exchange {
        counter: money.id(),
        instance: gone.clone(),
        seq: 1,
        span: money.window.span(0),
        limit: 1_000,
        charges: Vec::new(),
        left: 0,
        held: 0,
        need: 40,
        want: 40,
        ttl_ms: 1,
        on_lost_lease: money.on_lost_lease,
        mark: 0,
    };
    store.exchange(&[lease]).await.unwrap();
    let clock = HandClock::default();
    let options = Options {
        instance: "here".into(),
        lease_ttl: Duration::from_secs(30),
        tick: Duration::from_millis(1),
    };
    let io = Handle::current();
    let engine = Engine::start_with_clock(store.clone(), options, Box::new(clock.clone()), &io);
    assert_eq!(engine.in_doubt(), [0; Unit::ALL.len()]);
    let slice = engine.slice(&money);
    let until = async |units| {
        while slice.in_doubt() != units {
            // The lease of the one that is gone ends by the store's clock.
            clock.0.fetch_add(1_000, Ordering::SeqCst);
            if let Ok(holds) = engine.hold(std::slice::from_ref(&slice), &one(1)).await {
                holds.settle(&Amounts::default());
            }
            tokio::task::yield_now().await;
        }
    };
    until(40).await;
    let mut expected = [0; Unit::ALL.len()];
    expected[Unit::NanoUsd as usize] = 40;
    assert_eq!(engine.in_doubt(), expected);

    let remains = recover::Remains {
        charged: vec![crate::slice::Charged { counter: money.id(), bucket: 0, amount: 25, seq: 2 }],
        under_way: Vec::new(),
    };
    recover::recover(&*store, &gone, &remains, money.on_lost_lease, 0).await.unwrap();
    // Nobody wants anything of the counter, and yet this is heard of.
    while engine.in_doubt() != [0; Unit::ALL.len()] {
        clock.0.fetch_add(1_000, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    let state = &engine.look(&[money]).await.unwrap()[0];
    assert_eq!((state.used, state.in_doubt), (25, 0));
}

/// Fails while it is told to, after or before it has done what it was asked.
struct Fails {
    store: MemoryQuotas,
    /// 0: works; 1: is not reached; 2: does it, and its answer gets lost.
    mode: AtomicU64,
}

#[async_trait]
impl QuotaStore for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    async fn exchange(&self, batch: &[Exchange]) -> Result<Vec<Reply>, QuotaStoreError> {
        match self.mode.load(Ordering::SeqCst) {
            0 => self.store.exchange(batch).await,
            mode => {
                if mode == 2 {
                    self.store.exchange(batch).await.ok();
                }
                Err(QuotaStoreError::Unavailable("for the test".into()))
            }
        }
    }

    async fn look(&self, counters: &[Look]) -> Result<Vec<State>, QuotaStoreError> {
        self.store.look(counters).await
    }

    async fn forget(&self, before: i64) -> Result<u64, QuotaStoreError> {
        self.store.forget(before).await
    }
}

async fn through_an_outage(mode: u64) {
    let fails = Arc::new(Fails { store: MemoryQuotas::new(), mode: AtomicU64::new(0) });
    let store: Arc<dyn QuotaStore> = fails.clone();
    let engine = engine(&store, "a");
    let mut lease = quota("lease", Unit::NanoUsd, 1_000_000);
    let mut closed = quota("closed", Unit::NanoUsd, 1_000_000);
    let mut open = quota("open", Unit::NanoUsd, 1_000_000);
    lease.on_store_loss = OnStoreLoss::Lease;
    closed.on_store_loss = OnStoreLoss::Closed;
    open.on_store_loss = OnStoreLoss::Open;
    let quotas = [lease, closed, open];
    let slices = quotas.each_ref().map(|quota| engine.slice(quota));
    let mut used = [0; 3];
    for (slice, used) in slices.iter().zip(&mut used) {
        for _ in 0..20 {
            let holds = engine.hold(std::slice::from_ref(slice), &one(10)).await.unwrap();
            holds.settle(&one(10));
            *used += 100;
        }
    }
    fails.mode.store(mode, Ordering::SeqCst);
    // The outage shows with the next call.
    while !engine.store_is_away() {
        if let Ok(holds) = engine.hold(&slices[2..], &one(10)).await {
            holds.settle(&one(10));
            used[2] += 100;
        }
        tokio::task::yield_now().await;
    }
    assert!(engine.hold(&slices[1..2], &one(10)).await.unwrap_err().store_away);
    for _ in 0..50 {
        engine.hold(&slices[2..], &one(10)).await.unwrap().settle(&one(10));
        used[2] += 100;
    }
    let refused = loop {
        match engine.hold(&slices[..1], &one(10)).await {
            Ok(holds) => drop(holds.settle(&one(10))),
            Err(refused) => break refused,
        }
        used[0] += 100;
        assert!(used[0] <= 1_000_000, "more than was leased is spent");
    };
    assert!(refused.store_away);
    fails.mode.store(0, Ordering::SeqCst);
    assert!(engine.close(Duration::from_secs(10)).await);
    assert!(!engine.store_is_away());
    let states = engine.look(&quotas).await.unwrap();
    assert_eq!([states[0].used, states[1].used, states[2].used], used);
    assert!(engine.hold(&slices, &one(10)).await.is_ok(), "it serves again");
}

#[tokio::test]
async fn an_outage_is_survived_as_configured_and_nothing_is_charged_twice() {
    through_an_outage(1).await;
}

#[tokio::test]
async fn answers_that_get_lost_are_no_double_charges() {
    through_an_outage(2).await;
}

#[tokio::test]
async fn what_a_killed_instance_did_not_tell_is_charged_once() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let quota = quota("k", Unit::NanoUsd, 10_000);
    let options = Options {
        instance: "dead".into(),
        lease_ttl: Duration::from_secs(30),
        // It never tells by itself.
        tick: Duration::from_secs(3_600),
    };
    let dead = Engine::start(store.clone(), options, &Handle::current());
    let slices = [dead.slice(&quota)];
    let mut remains = recover::Remains::default();
    for _ in 0..3 {
        let holds = dead.hold(&slices, &one(10)).await.unwrap();
        remains.charged.extend(holds.settle(&one(7)));
    }
    let under_way = dead.hold(&slices, &one(10)).await.unwrap();
    remains.under_way = under_way.to_be_charged();
    // It is killed: nobody settles, and nothing is told.
    std::mem::forget(under_way);
    let instance: Arc<str> = "dead".into();
    // What is recovered once is not recovered again.
    for _ in 0..3 {
        let now = dead.now().store;
        let policy = quota.on_lost_lease;
        recover::recover(&*store, &instance, &remains, policy, now).await.unwrap();
        let state = &dead.look(std::slice::from_ref(&quota)).await.unwrap()[0];
        assert_eq!(state.used, 3 * 70 + 100, "three that ended, and the one under way");
        assert!(state.leases.iter().all(|lease| lease.leased == 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_limits_do_is_counted_by_unit_and_scope() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let engine = engine(&store, "a");
    let mut budget = quota("k", Unit::NanoUsd, 100);
    budget.soft = Some(60);
    let slices = [engine.slice(&budget)];
    // One use of 70 where 50 were held: over the soft limit, and 20 over the hold.
    engine.hold(&slices, &one(5)).await.unwrap().settle(&one(7));
    let refused = engine.hold(&slices, &one(4)).await.unwrap_err();
    assert!(!refused.store_away);
    let never = engine.hold(&slices, &one(11)).await.unwrap_err();
    assert_eq!(never.amount, 110);
    let counts = engine.counts();
    assert_eq!(counts.refusals(Unit::NanoUsd, ScopeKind::Key), 2);
    assert_eq!(counts.refusals(Unit::NanoUsd, ScopeKind::Team), 0);
    assert_eq!(counts.overrun_units(Unit::NanoUsd), 20);
    let reasons: Vec<_> = slices[0].refusals().0.iter().map(|refusal| refusal.reason).collect();
    assert_eq!(reasons, [Reason::LimitReached, Reason::NeverFits]);
    let crossed = timeout(Duration::from_secs(10), async {
        loop {
            match engine.take_crossings() {
                none if none.is_empty() => tokio::task::yield_now().await,
                some => return some,
            }
        }
    });
    let crossed = crossed.await.unwrap();
    assert_eq!((crossed.len(), crossed[0].used, crossed[0].quota.soft), (1, 70, Some(60)));
    assert_eq!(counts.soft_exceeded.load(Ordering::Relaxed), 1);
}

/// Extends until the limit has decided.
async fn extended(holds: &mut Holds, all: &Amounts) -> Extended {
    loop {
        match holds.extend(all) {
            Extended::Asked => tokio::task::yield_now().await,
            decided => return decided,
        }
    }
}

fn tokens(tokens: u64) -> Amounts {
    Amounts { tokens, nano_usd: tokens * 10, ..Amounts::default() }
}

#[tokio::test]
async fn a_request_under_way_may_hold_more_up_to_the_limit_and_is_settled_exactly() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let engine = engine(&store, "a");
    for unit in [Unit::Tokens, Unit::NanoUsd] {
        let limit = if unit == Unit::Tokens { 100 } else { 1_000 };
        let mut quota = quota("extended", unit, limit);
        quota.on_overrun = OnOverrun::Cut;
        let slices = [engine.slice(&quota)];
        let mut holds = engine.hold(&slices, &tokens(10)).await.unwrap();
        assert_eq!(extended(&mut holds, &tokens(7)).await, Extended::Yes, "less is held already");
        for all in [11, 40, 90, 100] {
            assert_eq!(extended(&mut holds, &tokens(all)).await, Extended::Yes, "{all} {unit:?}");
        }
        let Extended::No(full) = extended(&mut holds, &tokens(101)).await else {
            panic!("the limit was passed");
        };
        assert_eq!((full.unit, full.on_overrun), (unit, OnOverrun::Cut));
        assert!(engine.hold(&slices, &tokens(1)).await.is_err(), "all of it is held");
        holds.settle(&tokens(57));
        assert!(engine.close(Duration::from_secs(10)).await);
        let state = &engine.look(std::slice::from_ref(&quota)).await.unwrap()[0];
        assert_eq!(state.used, limit / 100 * 57);
        assert_eq!(slices[0].overrun(), 0);
        // What was given back can be held again.
        let holds = engine.hold(&slices, &tokens(43)).await.unwrap();
        holds.settle(&Amounts::default());
    }
}

#[tokio::test]
async fn a_limit_that_is_full_keeps_no_other_from_being_extended() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let engine = engine(&store, "a");
    let (full, mut wide) = (quota("full", Unit::Tokens, 10), quota("wide", Unit::Tokens, 50));
    wide.on_overrun = OnOverrun::Cut;
    let slices = [engine.slice(&full), engine.slice(&wide)];
    let mut holds = engine.hold(&slices, &tokens(10)).await.unwrap();
    let refused = |extended| match extended {
        Extended::No(quota) => quota.scope.id.clone(),
        other => panic!("{other:?}"),
    };
    // The wide limit may still be waited for when the full one has decided.
    loop {
        assert_eq!(refused(extended(&mut holds, &tokens(50)).await), "full");
        if slices[1].standing(engine.now()).remaining == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    // Both are full: the one that cuts is told.
    loop {
        match refused(extended(&mut holds, &tokens(51)).await).as_str() {
            "wide" => break,
            "full" => tokio::task::yield_now().await,
            other => panic!("{other}"),
        }
    }
    holds.settle(&tokens(45));
    assert_eq!((slices[0].overrun(), slices[1].overrun()), (35, 0));
    assert!(engine.close(Duration::from_secs(10)).await);
    let states = engine.look(&[full, wide]).await.unwrap();
    assert_eq!((states[0].used, states[1].used), (45, 45));
}

#[tokio::test]
async fn a_dropped_hold_is_charged_with_what_was_added() {
    let store: Arc<dyn QuotaStore> = Arc::new(MemoryQuotas::new());
    let engine = engine(&store, "a");
    let quota = quota("dropped", Unit::NanoUsd, 1_000);
    let mut holds = engine.hold(&[engine.slice(&quota)], &tokens(10)).await.unwrap();
    assert_eq!(extended(&mut holds, &tokens(60)).await, Extended::Yes);
    let may_charge: i64 = holds.to_be_charged().iter().map(|charged| charged.amount).sum();
    assert_eq!(may_charge, 600);
    drop(holds);
    assert!(engine.close(Duration::from_secs(10)).await);
    assert_eq!(engine.look(std::slice::from_ref(&quota)).await.unwrap()[0].used, 600);
}

#[tokio::test]
async fn a_store_that_is_away_cuts_nobody_off() {
    let fails = Arc::new(Fails { store: MemoryQuotas::new(), mode: AtomicU64::new(0) });
    let store: Arc<dyn QuotaStore> = fails.clone();
    let engine = engine(&store, "a");
    let mut quota = quota("away", Unit::NanoUsd, 1_000);
    quota.on_overrun = OnOverrun::Cut;
    let slices = [engine.slice(&quota)];
    let mut holds = engine.hold(&slices, &tokens(10)).await.unwrap();
    fails.mode.store(1, Ordering::SeqCst);
    while !engine.store_is_away() {
        assert_eq!(holds.extend(&tokens(100)), Extended::Asked);
        tokio::task::yield_now().await;
    }
    assert_eq!(holds.extend(&tokens(100)), Extended::Asked);
    fails.mode.store(0, Ordering::SeqCst);
    assert_eq!(extended(&mut holds, &tokens(100)).await, Extended::Yes, "it is back");
    holds.settle(&tokens(100));
}
