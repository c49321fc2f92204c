//! What an attempt's beginning and end cost the request that they are of.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate_ledger::Row;
use sluicegate_ledger::journal::{Journal, record};
use sluicegate_quota::Charged;
use uuid::Uuid;

fn begin_and_end(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().join("bench");
    let journal = Journal::create(&directory, 1 << 28, Uuid::from_u128(1)).expect("a journal");
    let counter: Arc<str> = "team:blue|nano_usd|month-UTC".into();
    let charged: Vec<_> = (0..5)
        .map(|seq| Charged { counter: counter.clone(), bucket: 1 << 40, amount: 1 << 20, seq })
        .collect();
    let row = Row {
        request_id: Uuid::from_u128(7),
        attempt: 1,
        instance: "0198c7a2-0000-7000-8000-000000000000".into(),
        caller: "key".into(),
        key: Some(Uuid::from_u128(9)),
        user: Some("ann".into()),
        team: Some("blue".into()),
        endpoint: "chat_completions".into(),
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        provider_model: "gpt-4o-mini-2024-07-18".into(),
        outcome: "complete".into(),
        price_version: Some("genai-prices 0.2.3 2026-11-24".into()),
        ..Row::default()
    };
    let mut out = Vec::new();
    let mut since = 0_u32;
    criterion.bench_function("begin and end", |bencher| {
        bencher.iter(|| {
            record::begun(&mut out, &row, &charged, &charged);
            let slot = journal.begin(&out).expect("room");
            record::ended(&mut out, &row, &charged);
            journal.end(slot, &out);
            since += 1;
            // As the writer does, in the background.
            if since == 4_096 {
                since = 0;
                while let Some(read) = journal.read() {
                    journal.dealt_with(&read);
                }
                journal.free(|_, _| true);
            }
        });
    });
}

criterion_group!(benches, begin_and_end);
criterion_main!(benches);
