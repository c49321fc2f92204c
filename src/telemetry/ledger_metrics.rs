//! Figures on the ledger: its rows, and the journal that they wait in.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Error, IntCounter, IntGauge};
use sluicegate_ledger::Ledger;

use super::access_metrics::follow;
use super::described::{Label, Metric};
use super::register::Register;

const RESULTS: [&str; 5] = ["stored", "repeated", "too_old", "refused", "lost"];
const WRITER: &[&str] = &["ledger/src/writer.rs"];
const REPLAY: &[&str] = &["ledger/src/replay.rs"];
const JOURNAL: &[&str] = &["ledger/src/journal"];

const ROWS: Metric = Metric::counter("sluicegate_ledger_rows_total", "rows")
    .labels(&[Label::one_of("result", &RESULTS)])
    .meaning(
        "what became of rows. `too_old`: left out, as they may be among those that `ledger.retention` has deleted. \
         `refused`: attempts that could not begin, as the journal was full. \
         `lost` is always 0, but for a fault of the gateway",
    )
    .at_zero()
    .from(WRITER);
const FAILURES: Metric = Metric::counter("sluicegate_ledger_write_failures_total", "writes")
    .meaning("that the database did not take")
    .from(WRITER);
const RECOVERED: Metric = Metric::counter("sluicegate_ledger_recovered_rows_total", "rows")
    .meaning("left by processes that are gone, and stored by this one")
    .from(REPLAY);
const JOURNAL_BYTES: Metric = Metric::gauge("sluicegate_ledger_journal_bytes", "bytes")
    .meaning("of the journal's files, two of 4 MiB where nothing waits")
    .from(JOURNAL);
const JOURNAL_LIMIT: Metric = Metric::gauge("sluicegate_ledger_journal_limit_bytes", "bytes")
    .meaning("`ledger.journal_size`; 0 without a ledger")
    .from(&["ledger/src/entry.rs"]);
const UNDER_WAY: Metric = Metric::gauge("sluicegate_ledger_attempts_under_way", "attempts")
    .meaning("begun and not ended")
    .from(JOURNAL);
const FOREIGN: Metric = Metric::gauge("sluicegate_ledger_foreign_journals", "journals")
    .meaning(
        "in `ledger.directory`, of processes of another store that are gone; they stay as they are \
         ([ledger.md](ledger.md#one-directory-several-stores))",
    )
    .at_zero()
    .from(REPLAY);
const STORE_UP: Metric = Metric::gauge("sluicegate_ledger_store_up", "0 or 1")
    .meaning("the database last took rows")
    .from(WRITER);

/// As the page has them.
pub(super) const METRICS: &[Metric] =
    &[ROWS, FAILURES, RECOVERED, JOURNAL_BYTES, JOURNAL_LIMIT, UNDER_WAY, FOREIGN, STORE_UP];

/// What becomes of the rows of what was used.
pub struct LedgerMetrics {
    /// In the order of [`RESULTS`].
    rows: [IntCounter; RESULTS.len()],
    failures: IntCounter,
    recovered: IntCounter,
    journal_bytes: IntGauge,
    journal_limit: IntGauge,
    under_way: IntGauge,
    foreign: IntGauge,
    store_up: IntGauge,
}

impl LedgerMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        let rows = register.counters(&ROWS)?;
        Ok(Self {
            rows: RESULTS.map(|result| rows.with_label_values(&[result])),
            failures: register.counter(&FAILURES)?,
            recovered: register.counter(&RECOVERED)?,
            journal_bytes: register.gauge(&JOURNAL_BYTES)?,
            journal_limit: register.gauge(&JOURNAL_LIMIT)?,
            under_way: register.gauge(&UNDER_WAY)?,
            foreign: register.gauge(&FOREIGN)?,
            store_up: register.gauge(&STORE_UP)?,
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
