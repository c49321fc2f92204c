//! What five limits cost a request that is far from all of them.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate_filters::admit::{Period, Quota, Scope, ScopeKind, Unit, Window, Zone};
use sluicegate_quota::{Amounts, Engine, MemoryQuotas, Options};

fn holds(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let options = Options {
        instance: "bench".into(),
        lease_ttl: Duration::from_secs(30),
        tick: Duration::from_millis(200),
    };
    let engine = Engine::start(Arc::new(MemoryQuotas::new()), options, runtime.handle());
    let minute = Window::Rolling { ms: 60_000 };
    let month = Window::Calendar { period: Period::Month, zone: Zone::utc() };
    let limit = 1 << 50;
    let quotas = [
        (ScopeKind::Key, Unit::Requests, minute.clone()),
        (ScopeKind::Key, Unit::Tokens, minute),
        (ScopeKind::Key, Unit::NanoUsd, month.clone()),
        (ScopeKind::Team, Unit::NanoUsd, month),
        (ScopeKind::Key, Unit::Parallel, Window::Lifetime),
    ];
    let slices: Vec<_> = quotas
        .into_iter()
        .map(|(kind, unit, window)| Quota::new(Scope::new(kind, "it"), unit, window, limit))
        .map(|quota| engine.slice(&quota))
        .collect();
    let bound = Amounts { requests: 1, tokens: 5_000, nano_usd: 3_000_000, parallel: 1 };
    let used = Amounts { requests: 1, tokens: 700, nano_usd: 400_000, parallel: 0 };
    c.bench_function("quota/hold and settle, five limits", |b| {
        b.to_async(&runtime)
            .iter(|| async { engine.hold(&slices, &bound).await.map(|holds| holds.settle(&used)) });
    });
}

criterion_group!(benches, holds);
criterion_main!(benches);
