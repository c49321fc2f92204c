//! What is said of a metric, once: it is registered by this, and `docs/metrics.md` is written from it.

/// The type of a metric, as Prometheus knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often values fell into each bucket.
    Histogram,
}

impl Kind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label, and what values it may have.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
    /// What the page says of the values.
    pub words: Option<&'static str>,
}

/// The values of a label.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// They are not known beforehand: names of the configuration, for example.
    Open,
    /// These, and no others.
    Fixed(&'static [&'static str]),
    /// Those that a type has, and no others.
    Listed(fn() -> Vec<&'static str>),
}

impl Label {
    /// A label whose values are names of the configuration.
    pub const fn open(name: &'static str) -> Self {
        Self { name, values: Values::Open, words: None }
    }

    /// A label that has one of `values`.
    pub const fn one_of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values: Values::Fixed(values), words: None }
    }

    /// A label that has one of what `values` lists, which asks the type whose words these are.
    pub const fn listed(name: &'static str, values: fn() -> Vec<&'static str>) -> Self {
        Self { name, values: Values::Listed(values), words: None }
    }

    /// Says in Markdown what the values are, in place of a list.
    pub const fn described(mut self, words: &'static str) -> Self {
        self.words = Some(words);
        self
    }

    /// All values that there are; `None` where they are not known beforehand.
    pub fn all(&self) -> Option<Vec<&'static str>> {
        match self.values {
            Values::Open => None,
            Values::Fixed(values) => Some(values.to_vec()),
            Values::Listed(list) => Some(list()),
        }
    }
}

/// The values of a label that says whether.
pub const BOOL: &[&str] = &["true", "false"];
/// The model, by the name that callers use.
pub const MODEL: Label = Label::open("model");
/// A provider, by its name in the configuration.
pub const PROVIDER: Label = Label::open("provider");

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The whole name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it counts or measures.
    pub unit: &'static str,
    /// Its labels, in the order in which their values are given.
    pub labels: &'static [Label],
    /// What it tells, in Markdown. It is read after the unit: "requests: that wait for a place".
    pub meaning: &'static str,
    /// At what its series start, in Markdown, where that is to be said.
    pub start: Option<&'static str>,
    /// Where it comes from: files of the sources, or something else in words.
    pub from: &'static [&'static str],
}

/// Of a metric whose series are there before their first event.
const AT_ZERO: &str = "**0**";

impl Metric {
    /// A counter of that many `unit`.
    pub const fn counter(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, Kind::Counter, unit)
    }

    /// A gauge in `unit`.
    pub const fn gauge(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, Kind::Gauge, unit)
    }

    /// A histogram of values in `unit`.
    pub const fn histogram(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, Kind::Histogram, unit)
    }

    const fn new(name: &'static str, kind: Kind, unit: &'static str) -> Self {
        Self { name, kind, unit, labels: &[], meaning: "", start: None, from: &[] }
    }

    /// With labels.
    pub const fn labels(mut self, labels: &'static [Label]) -> Self {
        self.labels = labels;
        self
    }

    /// What it tells, in Markdown.
    pub const fn meaning(mut self, meaning: &'static str) -> Self {
        self.meaning = meaning;
        self
    }

    /// Where it comes from.
    pub const fn from(mut self, from: &'static [&'static str]) -> Self {
        self.from = from;
        self
    }

    /// Its series are there from the start, so that an alert on a rate does not miss their first event.
    /// Registration starts them where all values are known; others start as the configuration names them.
    pub const fn at_zero(self) -> Self {
        self.starts(AT_ZERO)
    }

    /// Says at what its series start where registration does not see to it.
    pub const fn starts(mut self, start: &'static str) -> Self {
        self.start = Some(start);
        self
    }

    /// The text beside the metric on `/metrics`: unit and meaning on one line, without the Markdown.
    pub fn help(&self) -> String {
        let unit = self.unit;
        let first = unit.chars().next().map(|first| first.to_uppercase().to_string());
        let rest = unit.chars().skip(1).collect::<String>();
        format!("{}{rest}: {}.", first.unwrap_or_default(), plain(self.meaning))
    }

    /// The values of all labels in all their combinations, of a metric that starts with all of them.
    pub fn series_at_start(&self) -> Vec<Vec<&'static str>> {
        if self.start != Some(AT_ZERO) || self.labels.is_empty() {
            return Vec::new();
        }
        let mut series = vec![Vec::new()];
        for label in self.labels {
            // Without a list there is nothing to combine with, and so no series.
            let values = label.all().unwrap_or_default();
            series = series
                .iter()
                .flat_map(|before| {
                    values.iter().map(move |value| [before.as_slice(), &[*value]].concat())
                })
                .collect();
        }
        series
    }
}

/// Markdown as plain text: of links what is read, and no marks of code or weight.
fn plain(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        let (shown, after) = link.split_once("](").unwrap_or((link, ""));
        text.push_str(before);
        text.push_str(shown);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.replace(['`', '*'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRIC: Metric = Metric::counter("sluicegate_things_total", "things")
        .labels(&[Label::one_of("kind", &["a", "b"]), Label::listed("was", || vec!["x", "y"])])
        .meaning("that [were](there.md#here) `once`, and [are](it.md) not");

    #[test]
    fn help_is_plain() {
        assert_eq!(METRIC.help(), "Things: that were once, and are not.");
    }

    #[test]
    fn all_series_start_where_all_values_are_known() {
        const LABELS: &[Label] = &[Label::one_of("kind", &["a"]), MODEL];
        let expected = [["a", "x"], ["a", "y"], ["b", "x"], ["b", "y"]];
        assert_eq!(METRIC.at_zero().series_at_start(), expected);
        assert!(METRIC.series_at_start().is_empty(), "it does not say that it starts at zero");
        let open = METRIC.at_zero().labels(LABELS);
        assert!(open.series_at_start().is_empty(), "no model is known");
    }
}
