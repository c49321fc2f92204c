//! Several instances with slices of one counter, in any order of events, against what really happened.

use proptest::prelude::*;
use sluicegate_filters::admit::{OnLostLease, Raise, Scope, ScopeKind, Window};

use super::*;
use crate::counter::Counter;
use crate::store::Reply;

const TERMS: Terms = Terms { ttl_ms: 500 };
const INSTANCES: usize = 3;

/// What can happen.
#[derive(Clone, Debug)]
enum Event {
    Hold {
        instance: usize,
        amount: u64,
    },
    /// The request at an index of those under way ends, having used a part (of 16) of its hold.
    Settle {
        instance: usize,
        request: usize,
        used: u64,
    },
    Undo {
        instance: usize,
        request: usize,
    },
    /// It turns out that it will not use more than a part (of 16) of its hold.
    Narrow {
        instance: usize,
        request: usize,
        keep: u64,
    },
    /// An exchange is built, and reaches the store; its answer may get lost.
    Exchange {
        instance: usize,
        tick: bool,
        lost: bool,
    },
    /// The exchange under way is sent again.
    Again {
        instance: usize,
        lost: bool,
    },
    /// The process is killed; another takes its place, and settles what it knows of the first.
    Crash {
        instance: usize,
    },
    Wait {
        ms: i64,
    },
    Limit {
        limit: u64,
    },
    /// The limit is raised for a time.
    Raise {
        by: u64,
        ms: i64,
    },
}

struct Instance {
    name: Arc<str>,
    slice: Slice,
    /// Requests under way, as indices of `World::requests`.
    under_way: Vec<(Part, usize)>,
    skew: i64,
}

struct Request {
    at: i64,
    bucket: i64,
    amount: u64,
}

struct World {
    quota: Quota,
    /// The highest limit so far: what has been used under it stays used.
    highest: u64,
    now: i64,
    counter: Counter,
    instances: Vec<Instance>,
    requests: Vec<Request>,
    born: usize,
    /// The instances' clocks are the store's, so that it is known to the millisecond which limit is in
    /// force.
    exact: bool,
}

impl World {
    fn new(window: Window, unit: Unit, limit: u64, on_lost_lease: OnLostLease) -> Self {
        let mut quota = Quota::new(Scope::new(ScopeKind::Key, "k"), unit, window, limit);
        quota.on_lost_lease = on_lost_lease;
        let mut world = Self {
            quota,
            highest: limit,
            now: 1_000_000,
            counter: Counter::default(),
            instances: Vec::new(),
            requests: Vec::new(),
            born: 0,
            exact: false,
        };
        for _ in 0..INSTANCES {
            let instance = world.instance();
            world.instances.push(instance);
        }
        world
    }

    fn instance(&mut self) -> Instance {
        self.born += 1;
        Instance {
            name: format!("i{}", self.born).into(),
            slice: Slice::new(&self.quota),
            under_way: Vec::new(),
            skew: self.born as i64 % 3,
        }
    }

    fn now_of(&self, instance: usize) -> Now {
        let skew = if self.exact { 0 } else { self.instances[instance].skew };
        Now { local: self.now, store: self.now + skew }
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Hold { instance, amount } => {
                let now = self.now_of(instance);
                let it = &mut self.instances[instance];
                match it.slice.hold(amount, now, false) {
                    Ok((part, _)) => {
                        it.under_way.push((part, self.requests.len()));
                        self.requests.push(Request { at: self.now, bucket: part.bucket, amount });
                    }
                    Err(Short::Ask) => it.slice.wait_for(amount),
                    Err(_) => {}
                }
            }
            Event::Settle { instance, request, used } => {
                let now = self.now_of(instance);
                let it = &mut self.instances[instance];
                if it.under_way.is_empty() {
                    return;
                }
                let (part, index) = it.under_way.swap_remove(request % it.under_way.len());
                let used =
                    if self.quota.unit == Unit::Parallel { 0 } else { part.amount * used / 16 };
                it.slice.settle(&part, used, now);
                self.requests[index].amount = used;
            }
            Event::Undo { instance, request } => {
                let now = self.now_of(instance);
                let it = &mut self.instances[instance];
                if it.under_way.is_empty() {
                    return;
                }
                let (part, index) = it.under_way.swap_remove(request % it.under_way.len());
                it.slice.undo(&part, now);
                self.requests[index].amount = 0;
            }
            Event::Narrow { instance, request, keep } => {
                let now = self.now_of(instance);
                let it = &mut self.instances[instance];
                if it.under_way.is_empty() {
                    return;
                }
                let at = request % it.under_way.len();
                let (part, index) = &mut it.under_way[at];
                let (before, keep) = (part.amount, part.amount * keep / 16);
                let charged = it.slice.narrow(part, keep, now);
                assert_eq!(part.amount, keep);
                if let Some(charged) = charged {
                    assert_eq!(charged.amount, keep.cast_signed() - before.cast_signed());
                }
                self.requests[*index].amount = keep;
            }
            Event::Exchange { instance, tick, lost } => {
                let now = self.now_of(instance);
                let it = &self.instances[instance];
                if let Some(exchange) = it.slice.exchange(&it.name, TERMS, now, tick) {
                    self.sends(instance, exchange, lost);
                }
            }
            Event::Again { instance, lost } => {
                let now = self.now_of(instance);
                if let Some(exchange) = self.instances[instance].slice.again(now) {
                    self.sends(instance, exchange, lost);
                }
            }
            Event::Crash { instance } => {
                let next = self.instance();
                let gone = std::mem::replace(&mut self.instances[instance], next);
                // What was under way may have been used or not: it is not known any more, and the
                // worst is assumed under `Charge`. Under `Release` nothing is claimed of it.
                if self.quota.on_lost_lease == OnLostLease::Release
                    || self.quota.unit == Unit::Parallel
                {
                    for (_, index) in gone.under_way {
                        self.requests[index].amount = 0;
                    }
                }
            }
            Event::Wait { ms } => self.now += ms,
            Event::Raise { by, ms } => self.raise(by, ms),
            Event::Limit { limit } => {
                self.quota.limit = limit;
                self.highest = self.highest.max(self.quota.limit_at(self.now));
                for it in &self.instances {
                    it.slice.set_quota(&self.quota);
                }
            }
        }
    }

    fn raise(&mut self, by: u64, ms: i64) {
        self.quota.raise = Some(Raise { by, until_ms: self.now + ms });
        self.highest = self.highest.max(self.quota.limit_at(self.now));
        for it in &self.instances {
            it.slice.set_quota(&self.quota);
        }
    }

    fn sends(&mut self, instance: usize, mut exchange: Exchange, lost: bool) {
        for _ in 0..2 {
            match self.counter.exchange(&exchange, self.now) {
                Reply::Done(answer) => {
                    let new = answer.granted > 0 && answer.previous_seq < exchange.seq;
                    assert!(!new || answer.used + answer.leased <= exchange.limit);
                    let now = self.now_of(instance);
                    if !lost {
                        self.instances[instance].slice.answer(exchange.seq, answer, TERMS, now);
                    }
                    return;
                }
                Reply::OtherPeriod { now } => {
                    exchange = self.instances[instance].slice.in_period(now).unwrap();
                }
            }
        }
        panic!("the store's own time is in no period");
    }

    /// What really counts now, by the definition of the window.
    fn really_used(&self) -> u64 {
        let counts = |request: &&Request| match self.quota.window.span(self.now) {
            Span::Always => true,
            Span::Rolling { ms, .. } => request.at > self.now - ms,
            Span::Period { start, .. } => request.bucket >= start,
        };
        self.requests.iter().filter(counts).map(|request| request.amount).sum()
    }

    /// Units of living instances, as the instances see them.
    fn check(&self, crashed: bool) {
        let used = self.really_used();
        assert!(used <= self.highest, "{used} of {} used", self.highest);
        // Nothing leaks: what the store has leased, its holders know of.
        if !crashed {
            for it in &self.instances {
                let Some(lease) = self.counter.leases.get(&*it.name) else { continue };
                let state = it.slice.state.lock();
                let span = self.quota.window.span(self.now);
                let counts = |charge: &&Charge| span.counts(charge.bucket, self.now);
                let pending: i64 =
                    state.pending.iter().filter(counts).map(|charge| charge.amount).sum();
                if state.sent.is_none() && self.now < state.deadline {
                    // Refunds of what the store knows already are no part of the lease.
                    let mine = (state.free + state.held).cast_signed() + pending.max(0);
                    assert!(mine <= lease.leased.cast_signed(), "{mine} of {}", lease.leased);
                }
            }
        }
    }

    /// All requests end, all is told, and all is given back.
    fn ends(&mut self) {
        for instance in 0..INSTANCES {
            while let Some((part, index)) = self.instances[instance].under_way.pop() {
                let used = if self.quota.unit == Unit::Parallel { 0 } else { part.amount };
                self.instances[instance].slice.settle(&part, used, self.now_of(instance));
                self.requests[index].amount = used;
            }
        }
        for _ in 0..4 {
            for instance in 0..INSTANCES {
                self.happens(&Event::Again { instance, lost: false });
                self.instances[instance].slice.unanswered();
                self.instances[instance].slice.give_back();
                self.happens(&Event::Exchange { instance, tick: true, lost: false });
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let instance = 0..INSTANCES;
    prop_oneof![
        6 => (instance.clone(), 0_u64..40).prop_map(|(instance, amount)| Event::Hold { instance, amount }),
        4 => (instance.clone(), 0_usize..8, 0_u64..=16)
            .prop_map(|(instance, request, used)| Event::Settle { instance, request, used }),
        1 => (instance.clone(), 0_usize..8).prop_map(|(instance, request)| Event::Undo { instance, request }),
        3 => (instance.clone(), 0_usize..8, 0_u64..=16)
            .prop_map(|(instance, request, keep)| Event::Narrow { instance, request, keep }),
        8 => (instance.clone(), any::<bool>(), prop::bool::weighted(0.15))
            .prop_map(|(instance, tick, lost)| Event::Exchange { instance, tick, lost }),
        3 => (instance.clone(), prop::bool::weighted(0.3))
            .prop_map(|(instance, lost)| Event::Again { instance, lost }),
        3 => prop_oneof![0_i64..20, 0_i64..400, 0_i64..3_000].prop_map(|ms| Event::Wait { ms }),
        1 => (20_u64..120).prop_map(|limit| Event::Limit { limit }),
        1 => (1_u64..60, 1_i64..900).prop_map(|(by, ms)| Event::Raise { by, ms }),
    ]
}

fn windows() -> impl Strategy<Value = (Window, Unit)> {
    prop::sample::select(vec![
        (Window::Lifetime, Unit::NanoUsd),
        (Window::Lifetime, Unit::Parallel),
        (Window::Rolling { ms: 1_000 }, Unit::Tokens),
        (Window::Rolling { ms: 300 }, Unit::Requests),
        (Window::Fixed { ms: 1_500 }, Unit::NanoUsd),
    ])
}

fn events(crashes: bool) -> impl Strategy<Value = Vec<Event>> {
    let weight = u32::from(crashes);
    let crash = (0..INSTANCES).prop_map(|instance| Event::Crash { instance });
    let any = prop_oneof![40 => event(), weight => crash];
    prop::collection::vec(any, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_passes_the_limit(
        (window, unit) in windows(),
        events in events(false),
    ) {
        // As long as the processes live, their leases must not get lost under `Release`: that is what
        // the time to live is for. So it is `Charge` that is tried here.
        let mut world = World::new(window, unit, 100, OnLostLease::Charge);
        for event in &events {
            world.happens(event);
            world.check(false);
        }
        // In the end the counter knows exactly what was used, and nothing else is taken.
        world.ends();
        world.check(false);
        let state = world.counter.look(world.quota.window.span(world.now), world.now);
        let leased: u64 = state.leases.iter().map(|lease| lease.leased).sum();
        prop_assert_eq!(leased, 0);
        prop_assert_eq!(state.in_doubt, 0);
        let used = world.really_used();
        prop_assert!(state.used >= used, "{} < {used}", state.used);
        if world.quota.window == Window::Lifetime {
            prop_assert_eq!(state.used, used);
        }
        // A rolling window forgets all of it.
        world.now += 1_000_000;
        let state = world.counter.look(world.quota.window.span(world.now), world.now);
        if world.quota.window != Window::Lifetime {
            prop_assert_eq!(state.used, 0);
        }
    }

    /// Whatever was leased before under which limit: nothing more is admitted than the present one allows.
    #[test]
    fn a_lower_limit_is_in_force_at_once(
        (window, unit) in windows(),
        events in events(false),
    ) {
        let mut world = World::new(window, unit, 100, OnLostLease::Charge);
        world.exact = true;
        for event in &events {
            let before = world.requests.len();
            world.happens(event);
            let (used, limit) = (world.really_used(), world.quota.limit_at(world.now));
            // What uses nothing may pass a limit that is passed already.
            let more = world.requests[before..].iter().any(|request| request.amount > 0);
            prop_assert!(!more || used <= limit, "{used} of {limit}");
        }
    }

    #[test]
    fn no_crash_passes_the_limit((window, unit) in windows(), events in events(true)) {
        let mut world = World::new(window, unit, 100, OnLostLease::Charge);
        for event in &events {
            world.happens(event);
            world.check(true);
        }
    }
}

#[test]
fn a_refusal_says_when_it_fits_and_then_it_does() {
    let mut world =
        World::new(Window::Rolling { ms: 1_000 }, Unit::Requests, 2, OnLostLease::Charge);
    for _ in 0..2 {
        world.happens(&Event::Hold { instance: 0, amount: 1 });
        world.happens(&Event::Exchange { instance: 0, tick: false, lost: false });
        world.happens(&Event::Hold { instance: 0, amount: 1 });
        world.now += 100;
    }
    assert_eq!(world.really_used(), 2);
    world.happens(&Event::Exchange { instance: 0, tick: true, lost: false });
    world.happens(&Event::Hold { instance: 1, amount: 1 });
    world.happens(&Event::Exchange { instance: 1, tick: false, lost: false });
    let refused = world.instances[1].slice.hold(1, world.now_of(1), false);
    let Err(Short::Full { fits_at: Some(at) }) = refused else { panic!("{refused:?}") };
    assert!(at > world.now && at <= world.now + 1_000, "{at}");
    world.now = at;
    world.happens(&Event::Hold { instance: 1, amount: 1 });
    world.happens(&Event::Exchange { instance: 1, tick: false, lost: false });
    assert!(world.instances[1].slice.hold(1, world.now_of(1), false).is_ok());
}

#[test]
fn what_a_raise_gave_is_gone_when_it_ends() {
    let mut world = World::new(Window::Lifetime, Unit::Tokens, 10, OnLostLease::Charge);
    world.raise(90, 1_000);
    let terms = Terms { ttl_ms: 60_000 };
    let exchange = |world: &mut World| {
        let now = world.now_of(0);
        let it = &world.instances[0];
        let exchange = it.slice.exchange(&it.name, terms, now, false).expect("due");
        let Reply::Done(answer) = world.counter.exchange(&exchange, world.now) else { panic!() };
        it.slice.answer(exchange.seq, answer, terms, now);
        exchange.limit
    };
    let hold = |world: &World, amount| {
        world.instances[0].slice.hold(amount, world.now_of(0), false).map(|(part, _)| part)
    };
    world.instances[0].slice.wait_for(60);
    assert_eq!(exchange(&mut world), 100);
    let part = hold(&world, 4).unwrap();
    world.instances[0].slice.settle(&part, 4, world.now_of(0));
    // Most of the lease is free, and lasts for a minute; the raise does not.
    assert!(world.instances[0].slice.state.lock().free > 10);
    world.now += 1_000;
    assert_eq!(hold(&world, 11), Err(Short::Full { fits_at: None }), "more than the limit");
    assert_eq!(hold(&world, 7), Err(Short::Ask), "nothing of the raise is spent after it");
    assert_eq!(world.instances[0].slice.standing(world.now_of(0)).limit, 10);
    world.instances[0].slice.wait_for(7);
    assert_eq!(exchange(&mut world), 10);
    assert!(matches!(hold(&world, 7), Err(Short::Full { .. })), "4 are used");
    world.instances[0].slice.state.lock().dry = None;
    world.instances[0].slice.wait_for(6);
    exchange(&mut world);
    assert!(hold(&world, 6).is_ok());
}

#[test]
fn what_is_leased_is_asked_for_again_when_the_limit_is_another() {
    let mut world = World::new(Window::Lifetime, Unit::Tokens, 100, OnLostLease::Charge);
    let hold = |world: &World, instance: usize, amount| {
        world.instances[instance].slice.hold(amount, world.now_of(instance), false)
    };
    world.instances[0].slice.wait_for(50);
    world.happens(&Event::Exchange { instance: 0, tick: false, lost: false });
    assert!(hold(&world, 0, 10).is_ok());
    world.happens(&Event::Limit { limit: 30 });
    assert_eq!(hold(&world, 0, 1), Err(Short::Ask), "40 are free, 10 held, and 30 allowed");
    world.instances[0].slice.wait_for(20);
    world.happens(&Event::Exchange { instance: 0, tick: false, lost: false });
    assert!(hold(&world, 0, 20).is_ok());
    // What the first has leased under the lower limit is no longer its own once others have used more.
    world.happens(&Event::Limit { limit: 200 });
    world.instances[1].slice.wait_for(100);
    world.happens(&Event::Exchange { instance: 1, tick: false, lost: false });
    assert!(hold(&world, 1, 100).is_ok());
    world.happens(&Event::Limit { limit: 30 });
    for instance in [0, 1] {
        assert_eq!(hold(&world, instance, 1).map(|_| ()), Err(Short::Ask), "{instance}");
    }
}

#[test]
fn an_answer_under_a_limit_that_was_changed_meanwhile_leases_nothing() {
    let mut world = World::new(Window::Lifetime, Unit::Tokens, 10, OnLostLease::Charge);
    let it = &world.instances[0];
    it.slice.wait_for(10);
    let exchange = it.slice.exchange(&it.name, TERMS, world.now_of(0), false).unwrap();
    world.happens(&Event::Limit { limit: 20 });
    let Reply::Done(answer) = world.counter.exchange(&exchange, world.now) else { panic!() };
    assert_eq!(answer.granted, 10);
    world.instances[0].slice.answer(exchange.seq, answer, TERMS, world.now_of(0));
    let held = world.instances[0].slice.hold(10, world.now_of(0), false);
    assert_eq!(held.map(|_| ()), Err(Short::Ask));
}

#[test]
fn an_exchange_that_is_repeated_after_the_raise_asks_for_nothing_of_it() {
    let mut world = World::new(Window::Lifetime, Unit::Tokens, 10, OnLostLease::Charge);
    world.raise(90, 1_000);
    let it = &world.instances[0];
    it.slice.wait_for(60);
    let first = it.slice.exchange(&it.name, TERMS, world.now_of(0), false).unwrap();
    assert_eq!((first.limit, it.slice.again(world.now_of(0)).unwrap().limit), (100, 100));
    world.now += 1_000;
    let again = world.instances[0].slice.again(world.now_of(0)).unwrap();
    assert_eq!((again.seq, again.limit), (first.seq, 10));
}

#[test]
fn a_soft_limit_is_told_once_in_its_window() {
    let window = Window::Fixed { ms: 1_000_000 };
    let mut quota = Quota::new(Scope::new(ScopeKind::Key, "k"), Unit::NanoUsd, window, 100);
    quota.soft = Some(50);
    let slice = Slice::new(&quota);
    let span = |start| Span::Period { start, end: start + 1_000_000 };
    let answers = |used, now: i64| {
        let exchange = Exchange {
            counter: slice.counter().clone(),
            instance: "i".into(),
            seq: 1,
            span: span(now - now.rem_euclid(1_000_000)),
            limit: 100,
            charges: Vec::new(),
            left: 0,
            held: 0,
            need: 0,
            want: 0,
            ttl_ms: 1,
            on_lost_lease: OnLostLease::Charge,
            mark: 0,
        };
        let answer = Answer { used, now, ..Answer::default() };
        slice.state.lock().soft_limit_reached(&exchange, &answer).map(|crossing| crossing.used)
    };
    assert_eq!(answers(49, 5), None);
    assert_eq!(answers(50, 6), Some(50));
    assert_eq!(answers(70, 7), None, "it has been told");
    assert_eq!(answers(51, 1_000_000), Some(51), "another window");
    assert_eq!(answers(60, 1_000_001), None);
}
