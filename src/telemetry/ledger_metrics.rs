//! Figures on the ledger: its rows, and the journal that they wait in.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sluicegate_ledger::Ledger;

use super::access_metrics::follow;

/// What becomes of the rows of what was used.
pub struct LedgerMetrics {
    /// In the order of [`RESULTS`].
    rows: Vec<IntCounter>,
    failures: IntCounter,
    recovered: IntCounter,
    journal_bytes: IntGauge,
    journal_limit: IntGauge,
    under_way: IntGauge,
    foreign: IntGauge,
    store_up: IntGauge,
}

const RESULTS: [&str; 5] = ["stored", "repeated", "too_old", "refused", "lost"];

impl LedgerMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let rows = Opts::new("ledger_rows_total", "Rows of the ledger, by what became of them.");
        let rows = IntCounterVec::new(rows, &["result"])?;
        registry.register(Box::new(rows.clone()))?;
        let counter = |name: &str, help: &str| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let gauge = |name: &str, help: &str| {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        Ok(Self {
            rows: RESULTS.iter().map(|result| rows.with_label_values(&[result])).collect(),
            failures: counter(
                "ledger_write_failures_total",
                "Writes of rows that the store did not take.",
            )?,
            recovered: counter(
                "ledger_recovered_rows_total",
                "Rows that processes had left that are gone.",
            )?,
            journal_bytes: gauge("ledger_journal_bytes", "Bytes of the journal's files.")?,
            journal_limit: gauge(
                "ledger_journal_limit_bytes",
                "Bytes that the journal may have; 0 without a ledger.",
            )?,
            under_way: gauge("ledger_attempts_under_way", "Attempts that have begun only.")?,
            foreign: gauge(
                "ledger_foreign_journals",
                "Journals in the directory that are of another store, and stay as they are.",
            )?,
            store_up: gauge("ledger_store_up", "1 where the store last took rows.")?,
        })
    }

    /// Takes over what `ledger` counts by itself.
    pub fn observe(&self, ledger: &Ledger) {
        let Some(counts) = ledger.counts() else { return };
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counted =
            [&counts.written, &counts.repeated, &counts.too_old, &counts.refused, &counts.lost];
        for (metric, count) in self.rows.iter().zip(counted) {
            follow(metric, get(count));
        }
        follow(&self.failures, get(&counts.failures));
        follow(&self.recovered, get(&counts.recovered));
        self.journal_bytes.set(i64::try_from(ledger.journal_bytes()).unwrap_or(i64::MAX));
        self.journal_limit.set(i64::try_from(ledger.journal_limit()).unwrap_or(i64::MAX));
        self.under_way.set(i64::try_from(ledger.under_way()).unwrap_or(i64::MAX));
        self.foreign.set(i64::try_from(get(&counts.foreign)).unwrap_or(i64::MAX));
        self.store_up.set(i64::from(!ledger.store_is_away()));
    }
}
