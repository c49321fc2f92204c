//! `docs/metrics.md`, written from what is said of each metric beside its registration.

use std::collections::HashMap;

use super::described::{Label, Metric};
use super::{
    access_metrics, config_metrics, connection_metrics, ledger_metrics, mcp_metrics,
    overload_metrics, process_metrics, provider_metrics, quota_metrics, request_metrics,
    route_metrics, secret_metrics, tls_metrics, trace_metrics, usage_metrics,
};

const INTRO: &str = "\
# Metrics

This page is generated from `src/telemetry`, where each metric is described beside its registration. After a change there, write it anew with
`UPDATE=1 cargo test -p sluicegate --lib telemetry::page`.

Everything on `GET /metrics` of the listener `listeners.metrics` (127.0.0.1:9464 unless configured otherwise), in Prometheus' text format.
The alerts in [`prometheus/`](../prometheus/) and the dashboards in [`deploy/grafana/`](../deploy/grafana/) are made of these and of nothing else.

- Labels are bounded: stable words, paths of the API, names from the configuration. Never a key, a user, a team, a path as sent, or a model that is not configured.
- A label whose values are listed has no others. Values without a list are names from the configuration, or as described.
- Counters start at 0 with the process. Those whose labels are stable words are there from the start, as are those of configured models and providers
  where the table says **0**; the others appear with their first event.
- A histogram has `_bucket`, `_sum` and `_count`. Durations are in seconds, money in billionths of a US dollar.
- The help of each metric is its unit and its meaning, as they are here.

A test scrapes a gateway after traffic of every sort and holds this page to it: each metric's name, type, labels and values, in both directions.
";

const HEAD: &str = "\
| name | type | unit | labels | meaning | from |
|---|---|---|---|---|---|
";

/// A heading of the page, and what is below it.
struct Section {
    title: &'static str,
    intro: &'static str,
    metrics: &'static [&'static [Metric]],
}

const SECTIONS: &[Section] = &[
    Section { title: "Requests", intro: "", metrics: &[request_metrics::METRICS] },
    Section { title: "Connections", intro: "", metrics: &[connection_metrics::METRICS] },
    Section {
        title: "Overload",
        intro: "See [protection.md](protection.md).",
        metrics: &[overload_metrics::METRICS],
    },
    Section {
        title: "Providers",
        intro: "`provider` is the one that was tried last, `model` the name that callers use.",
        metrics: &[provider_metrics::METRICS, route_metrics::METRICS, provider_metrics::DURATIONS],
    },
    Section { title: "MCP servers", intro: "", metrics: &[mcp_metrics::METRICS] },
    Section { title: "Use and spend", intro: "", metrics: &[usage_metrics::METRICS] },
    Section {
        title: "Limits",
        intro: "[limits.md](limits.md) says what they are.",
        metrics: &[quota_metrics::METRICS],
    },
    Section {
        title: "Ledger",
        intro: "Without a `store`, all of these are 0, `sluicegate_ledger_store_up` too; \
                `sluicegate_ledger_journal_limit_bytes` tells. See [ledger.md](ledger.md).",
        metrics: &[ledger_metrics::METRICS],
    },
    Section { title: "Access", intro: "", metrics: &[access_metrics::METRICS] },
    Section {
        title: "Configuration and process",
        intro: "",
        metrics: &[
            config_metrics::METRICS,
            secret_metrics::METRICS,
            tls_metrics::METRICS,
            process_metrics::METRICS,
            trace_metrics::METRICS,
            process_metrics::KERNEL,
        ],
    },
];

/// The whole page.
pub fn markdown() -> String {
    let mut page = INTRO.to_owned();
    let mut told = HashMap::new();
    for section in SECTIONS {
        page.extend(["\n## ", section.title, "\n\n"]);
        if !section.intro.is_empty() {
            page.extend([section.intro, "\n\n"]);
        }
        page.push_str(HEAD);
        for metric in section.metrics.iter().copied().flatten() {
            row(&mut page, metric, &mut told);
        }
    }
    page
}

/// Writes one row. `told` has what was last said of the values of each label, by its name.
fn row(page: &mut String, metric: &Metric, told: &mut HashMap<&'static str, String>) {
    let labels: Vec<_> = metric.labels.iter().map(|label| labelled(label, told)).collect();
    let meaning: Vec<_> = [Some(metric.meaning), metric.start].into_iter().flatten().collect();
    let from: Vec<_> = metric.from.iter().map(|from| place(from)).collect();
    let cells = [
        code(metric.name),
        metric.kind.name().to_owned(),
        metric.unit.to_owned(),
        labels.join("; "),
        meaning.join(". "),
        from.join(", "),
    ];
    for cell in cells.iter().map(String::as_str) {
        let space = if cell.is_empty() { "" } else { " " };
        page.extend(["|", space, cell, " "]);
    }
    page.push_str("|\n");
}

/// A label and its values.
fn labelled(label: &Label, told: &mut HashMap<&'static str, String>) -> String {
    let name = code(label.name);
    let values = label.all().unwrap_or_default();
    let listed: Vec<_> = values.iter().copied().map(code).collect();
    let words = label.words.map_or_else(|| listed.join(", "), str::to_owned);
    let before = told.insert(label.name, words.clone());
    if words.is_empty() {
        return name;
    }
    // A list of two is as short as the reference to it.
    if label.words.is_none() && values.len() > 2 && before.as_ref() == Some(&words) {
        return format!("{name}: as above");
    }
    format!("{name}: {words}")
}

/// Where a metric comes from: a path, or something in words.
fn place(from: &str) -> String {
    if is_path(from) { code(from) } else { from.to_owned() }
}

fn is_path(from: &str) -> bool {
    from.contains('/')
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::path::Path;

    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::register::Register;

    fn described() -> impl Iterator<Item = &'static Metric> {
        SECTIONS.iter().flat_map(|section| section.metrics).copied().flatten()
    }

    #[test]
    fn the_page_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept == markdown(), "docs/metrics.md is not current: run this with UPDATE=1");
    }

    #[test]
    fn what_is_registered_is_described_and_what_is_described_is_registered() {
        let mut register = Register::default();
        let metrics = Metrics::registered(&mut register).unwrap();
        let registered: BTreeMap<_, Vec<_>> = register
            .descs()
            .iter()
            .map(|desc| {
                let labels = desc.variable_labels.iter().map(String::as_str).collect();
                (desc.fq_name.as_str(), labels)
            })
            .collect();
        let on_page: BTreeMap<_, Vec<_>> = described()
            .filter(|metric| cfg!(target_os = "linux") || metric.name.starts_with("sluicegate"))
            .map(|metric| (metric.name, metric.labels.iter().map(|label| label.name).collect()))
            .collect();
        assert_eq!(registered, on_page);
        assert_eq!(
            described().count(),
            described().map(|metric| metric.name).collect::<HashSet<_>>().len(),
            "each once"
        );

        // Registration holds ours to their types; those of the kernel are what they are.
        let shown = String::from_utf8(metrics.render()).unwrap();
        for line in shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let metric = described().find(|metric| metric.name == name).unwrap();
            assert_eq!(kind, metric.kind.name(), "{name}");
        }
    }

    #[test]
    fn rows_are_whole_and_name_files_that_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for metric in described() {
            let mut text = String::new();
            row(&mut text, metric, &mut HashMap::new());
            assert_eq!((text.matches('|').count(), text.lines().count()), (7, 1), "{text}");
            assert!(!metric.unit.is_empty() && !metric.meaning.is_empty(), "{text}");
            assert!(!metric.meaning.ends_with('.'), "the dot is set where it is shown: {text}");
            assert!(!metric.from.is_empty(), "{text}");
            for from in metric.from.iter().filter(|from| is_path(from)) {
                assert!(root.join(from).exists(), "{}: {from} is not there", metric.name);
            }
        }
    }
}
