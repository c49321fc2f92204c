//! Medians, ratios and tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use crate::idle::IdleFigures;
use crate::rounds::Measurement;
use crate::service::Proxy;
use crate::system::System;
use crate::workload::Workload;

/// What the ratios are held against.
const BASE: Proxy = Proxy::Pingora;

/// One line of the table: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    #[serde(rename = "proxy")]
    pub(crate) system: System,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_seconds_per_1000: Option<f64>,
    pub(crate) rss_bytes: Option<f64>,
    /// See [`Measurement::simulator_busy`].
    pub(crate) simulator_busy: f64,
    /// See [`Measurement::generator_busy`].
    pub(crate) generator_busy: f64,
    /// This system's figure over bare Pingora's of the same round, median over the rounds.
    pub(crate) ratio: Ratios,
    /// CPU over that of the first variant, likewise.
    pub(crate) cpu_over_first_variant: Option<f64>,
}

/// Figures over those of bare Pingora. `None` where there is nothing to divide.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratios {
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) cpu: Option<f64>,
}

/// What `--json` writes.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    /// Whether this program and the bare proxy were optimised; if not, the figures mean nothing.
    optimised: bool,
    /// Requests a second that were sent; none: as many as went through.
    rate: Option<f64>,
    rows: &'a [Row],
    measurements: &'a [Measurement],
}

impl<'a> Document<'a> {
    pub(crate) fn new(rate: Option<f64>, rows: &'a [Row], measurements: &'a [Measurement]) -> Self {
        Self { optimised: !cfg!(debug_assertions), rate, rows, measurements }
    }
}

/// A row for each workload and system.
pub(crate) fn rows(measurements: &[Measurement]) -> Vec<Row> {
    let keys: BTreeSet<_> = measurements.iter().map(|m| (m.workload, &m.system)).collect();
    keys.into_iter().map(|(workload, system)| row(measurements, workload, system)).collect()
}

fn row(measurements: &[Measurement], workload: Workload, system: &System) -> Row {
    let own: Vec<_> =
        measurements.iter().filter(|m| m.workload == workload && m.system == *system).collect();
    let figure = |of: fn(&Measurement) -> Option<f64>| median(own.iter().filter_map(|m| of(m)));
    let over = |is_base: fn(&System) -> bool, of: fn(&Measurement) -> Option<f64>| {
        median(own.iter().filter_map(|m| {
            let mut all = measurements.iter();
            let base = all.find(|base| {
                is_base(&base.system) && base.workload == workload && base.round == m.round
            })?;
            Some(of(m)? / of(base)?).filter(|ratio| ratio.is_finite())
        }))
    };
    let ratio = |of| over(|system| system.proxy == BASE, of);
    Row {
        workload,
        system: system.clone(),
        requests_per_second: figure(|m| Some(m.requests_per_second)).unwrap_or(f64::NAN),
        p50_us: figure(|m| Some(m.p50_us)).unwrap_or(f64::NAN),
        p99_us: figure(|m| Some(m.p99_us)).unwrap_or(f64::NAN),
        cpu_seconds_per_1000: figure(|m| m.cpu_seconds_per_1000),
        rss_bytes: figure(|m| m.rss_bytes.map(|bytes| bytes as f64)),
        simulator_busy: figure(|m| Some(m.simulator_busy)).unwrap_or(f64::NAN),
        generator_busy: figure(|m| Some(m.generator_busy)).unwrap_or(f64::NAN),
        ratio: Ratios {
            requests_per_second: ratio(|m| Some(m.requests_per_second)),
            p50: ratio(|m| Some(m.p50_us)),
            p99: ratio(|m| Some(m.p99_us)),
            cpu: ratio(|m| m.cpu_seconds_per_1000),
        },
        cpu_over_first_variant: over(System::is_first_variant, |m| m.cpu_seconds_per_1000),
    }
}

/// The middle value; of an even number, the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle - 1)?, upper))
}

/// From this share on, a thread counts as the limit of what was measured.
const SATURATED: f64 = 0.9;
/// Below this share of the rate that was sent, a system did not keep it.
const KEPT: f64 = 0.98;

/// The rows for people. `rate` is what was sent.
pub(crate) fn table(rows: &[Row], rate: Option<f64>) -> String {
    let heads = [
        "req/s", "p50 us", "p99 us", "cpu us", "RSS MiB", "sim %", "gen %", "req/s x", "p50 x",
        "p99 x", "cpu x",
    ];
    let first_variant = rows.iter().find(|row| row.system.is_first_variant());
    let width = rows.iter().map(|row| row.system.name().len() + 1).max().unwrap_or(0).max(11);
    let mut text = format!("{:<9}{:<width$}", "workload", "proxy");
    for head in heads.into_iter().chain(first_variant.map(|_| "cpu v")) {
        let _ = write!(text, "{head:>9}");
    }
    text.push('\n');
    let (mut saturated, mut late) = (false, false);
    for row in rows {
        let behind = rate.is_some_and(|rate| row.requests_per_second < KEPT * rate);
        late |= behind;
        let bound = row.simulator_busy >= SATURATED || row.generator_busy >= SATURATED;
        saturated |= bound;
        let _ = write!(text, "{:<9}{:<width$}", row.workload.name(), row.system.name());
        let cells = [
            cell(Some(row.requests_per_second), 0),
            cell(Some(row.p50_us), 0),
            cell(Some(row.p99_us), 0),
            // A second a thousand requests is a thousand microseconds a request.
            cell(row.cpu_seconds_per_1000.map(|seconds| seconds * 1000.0), 1),
            cell(row.rss_bytes.map(|bytes| bytes / 1024.0 / 1024.0), 1),
            cell(Some(row.simulator_busy * 100.0), 0),
            cell(Some(row.generator_busy * 100.0), 0),
            cell(row.ratio.requests_per_second, 2),
            cell(row.ratio.p50, 2),
            cell(row.ratio.p99, 2),
            cell(row.ratio.cpu, 2),
        ];
        let more = first_variant.map(|_| cell(row.cpu_over_first_variant, 2));
        for value in cells.into_iter().chain(more) {
            let _ = write!(text, "{value:>9}");
        }
        text.push_str(if bound { " *" } else { "" });
        text.push_str(if behind { " !\n" } else { "\n" });
    }
    text.push_str("\nx: over bare Pingora in the same round; medians over all rounds.\n");
    if let Some(row) = first_variant {
        let _ = writeln!(text, "v: over {} in the same round.", row.system.name());
    }
    if late {
        text.push_str("!: did not keep the rate: something was saturated.\n");
    }
    if saturated {
        text.push_str(
            "*: simulator or load generator was the limit: only the CPU figures are the proxy's.\n",
        );
    }
    text
}

/// The memory of idle streams for people.
pub(crate) fn idle_table(figures: &[IdleFigures]) -> String {
    let mut text = format!(
        "{:<21}{:>9}{:>12}{:>12}{:>12}{:>12}\n",
        "proxy", "streams", "before MiB", "during MiB", "after MiB", "KiB/stream"
    );
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    for figure in figures {
        let _ = writeln!(
            text,
            "{:<21}{:>9}{:>12.1}{:>12.1}{:>12.1}{:>12.1}",
            figure.system.name(),
            figure.streams,
            mib(figure.rss_before),
            mib(figure.rss_during),
            mib(figure.rss_after),
            figure.bytes_per_stream / 1024.0,
        );
    }
    text
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Variant;

    fn measurement(round: u32, proxy: Proxy, rate: f64, cpu: Option<f64>) -> Measurement {
        Measurement {
            round,
            workload: Workload::Small,
            system: System::plain(proxy),
            requests: 1,
            requests_per_second: rate,
            p50_us: 1.0,
            p99_us: 2.0,
            cpu_seconds_per_1000: cpu,
            simulator_busy: 0.5,
            generator_busy: 0.5,
            rss_bytes: cpu.map(|_| 1024),
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine was ten times slower in the second round. The ratio of the medians would be
        // 0.5 or worse; within each round it is the same 0.5, 0.5, 0.8.
        let measurements = [
            measurement(0, Proxy::Pingora, 1000.0, Some(2.0)),
            measurement(0, Proxy::Sluicegate, 500.0, Some(4.0)),
            measurement(1, Proxy::Pingora, 100.0, Some(20.0)),
            measurement(1, Proxy::Sluicegate, 50.0, Some(50.0)),
            measurement(2, Proxy::Pingora, 1000.0, Some(2.0)),
            measurement(2, Proxy::Sluicegate, 800.0, Some(3.0)),
        ];
        let rows = rows(&measurements);
        let gateway = rows.iter().find(|row| row.system.proxy == Proxy::Sluicegate).unwrap();
        assert_eq!(gateway.requests_per_second, 500.0);
        assert_eq!(gateway.ratio.requests_per_second, Some(0.5));
        assert_eq!(gateway.ratio.cpu, Some(2.0));
        let base = rows.iter().find(|row| row.system.proxy == Proxy::Pingora).unwrap();
        assert_eq!(base.ratio.cpu, Some(1.0));
    }

    #[test]
    fn without_a_proxy_there_is_no_cpu_figure() {
        let rows = rows(&[
            measurement(0, Proxy::Direct, 1000.0, None),
            measurement(0, Proxy::Pingora, 500.0, Some(2.0)),
        ]);
        assert_eq!(rows[0].ratio.cpu, None);
        assert_eq!(rows[0].ratio.requests_per_second, Some(2.0));
        assert!(table(&rows, None).lines().nth(1).unwrap().contains(" - "));
    }

    #[test]
    fn rows_that_do_not_measure_the_proxy_are_marked() {
        let free = measurement(0, Proxy::Pingora, 1000.0, Some(2.0));
        assert!(!table(&rows(std::slice::from_ref(&free)), None).contains('*'));
        for (simulator_busy, generator_busy) in [(0.99, 0.5), (0.5, 0.99)] {
            let bound = Measurement { simulator_busy, generator_busy, ..free.clone() };
            assert!(table(&rows(&[bound]), None).lines().nth(1).unwrap().ends_with('*'));
        }
    }

    #[test]
    fn variants_are_held_against_the_first_and_against_bare_pingora() {
        let variant = |position, name: &str, cpu| {
            let variant: Variant = format!("{name}=file").parse().unwrap();
            let system = System::variant(position, variant);
            Measurement { system, ..measurement(0, Proxy::Sluicegate, 100.0, Some(cpu)) }
        };
        let rows = rows(&[
            measurement(0, Proxy::Pingora, 1000.0, Some(2.0)),
            variant(0, "master", 4.0),
            variant(1, "policies", 5.0),
        ]);
        assert_eq!((rows[2].ratio.cpu, rows[2].cpu_over_first_variant), (Some(2.5), Some(1.25)));
        assert_eq!(rows[0].cpu_over_first_variant, Some(0.5));
        let text = table(&rows, None);
        assert!(text.contains("cpu v") && text.contains("v: over master"), "{text}");
    }

    #[test]
    fn rows_that_did_not_keep_the_rate_are_marked() {
        let rows = rows(&[measurement(0, Proxy::Pingora, 970.0, Some(2.0))]);
        assert!(table(&rows, Some(1000.0)).lines().nth(1).unwrap().ends_with('!'));
        assert!(!table(&rows, Some(980.0)).contains('!'));
    }
}
