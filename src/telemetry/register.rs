//! Registration of metrics: each as it is described, under its name, with its help and its labels.

use prometheus::core::{Collector, Desc, MetricVec, MetricVecBuilder};
use prometheus::{
    Error, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::described::{Kind, Metric};

/// What is registered, and what for.
#[derive(Default)]
pub struct Register {
    registry: Registry,
    /// Of all that is registered: Prometheus' registry does not tell.
    descs: Vec<Desc>,
}

impl Register {
    /// What gathers all that was registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What was registered.
    #[cfg(test)]
    pub fn descs(&self) -> &[Desc] {
        &self.descs
    }

    /// A counter without labels.
    pub fn counter(&mut self, metric: &Metric) -> Result<IntCounter, Error> {
        self.add(metric, Kind::Counter, IntCounter::with_opts(opts(metric))?)
    }

    /// Counters, one for each combination of labels.
    pub fn counters(&mut self, metric: &Metric) -> Result<IntCounterVec, Error> {
        let made = IntCounterVec::new(opts(metric), &labels(metric))?;
        self.add_all(metric, Kind::Counter, made)
    }

    /// A gauge of whole numbers, without labels.
    pub fn gauge(&mut self, metric: &Metric) -> Result<IntGauge, Error> {
        self.add(metric, Kind::Gauge, IntGauge::with_opts(opts(metric))?)
    }

    /// Gauges of whole numbers, one for each combination of labels.
    pub fn gauges(&mut self, metric: &Metric) -> Result<IntGaugeVec, Error> {
        let made = IntGaugeVec::new(opts(metric), &labels(metric))?;
        self.add_all(metric, Kind::Gauge, made)
    }

    /// A gauge of numbers with fractions, without labels.
    pub fn float_gauge(&mut self, metric: &Metric) -> Result<Gauge, Error> {
        self.add(metric, Kind::Gauge, Gauge::with_opts(opts(metric))?)
    }

    /// Gauges of numbers with fractions, one for each combination of labels.
    pub fn float_gauges(&mut self, metric: &Metric) -> Result<GaugeVec, Error> {
        let made = GaugeVec::new(opts(metric), &labels(metric))?;
        self.add_all(metric, Kind::Gauge, made)
    }

    /// Histograms with these bounds of buckets, one for each combination of labels.
    pub fn histograms(&mut self, metric: &Metric, bounds: &[f64]) -> Result<HistogramVec, Error> {
        let opts = HistogramOpts { common_opts: opts(metric), buckets: bounds.to_vec() };
        let made = HistogramVec::new(opts, &labels(metric))?;
        self.add_all(metric, Kind::Histogram, made)
    }

    /// What others describe, with names of their own.
    pub fn foreign(&mut self, collector: impl Collector + 'static) -> Result<(), Error> {
        let descs: Vec<_> = collector.desc().into_iter().cloned().collect();
        self.registry.register(Box::new(collector))?;
        self.descs.extend(descs);
        Ok(())
    }

    /// With the series that are there from the start: an alert on a rate misses the first event of one that
    /// did not exist before it.
    fn add_all<B: MetricVecBuilder + 'static>(
        &mut self,
        metric: &Metric,
        kind: Kind,
        made: MetricVec<B>,
    ) -> Result<MetricVec<B>, Error> {
        for values in metric.series_at_start() {
            made.get_metric_with_label_values(&values)?;
        }
        self.add(metric, kind, made)
    }

    fn add<C: Collector + Clone + 'static>(
        &mut self,
        metric: &Metric,
        kind: Kind,
        made: C,
    ) -> Result<C, Error> {
        let labels = made.desc().iter().map(|desc| desc.variable_labels.len()).sum::<usize>();
        if metric.kind != kind || metric.labels.len() != labels {
            // What is registered would not be what is described.
            let (name, described) = (metric.name, metric.kind.name());
            let told = format!(
                "{name} is described as a {described} with {} labels, and registered as a {} with {labels}",
                metric.labels.len(),
                kind.name()
            );
            return Err(Error::Msg(told));
        }
        self.foreign(made.clone())?;
        Ok(made)
    }
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help())
}

fn labels(metric: &Metric) -> Vec<&'static str> {
    metric.labels.iter().map(|label| label.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::described::Label;

    const LISTED: Metric = Metric::counter("sluicegate_things_total", "things")
        .labels(&[Label::one_of("kind", &["a", "b"])])
        .meaning("that are")
        .at_zero();

    #[test]
    fn a_metric_is_registered_as_described_and_once() {
        let mut register = Register::default();
        register.counters(&LISTED).unwrap();
        let [family] = &register.registry().gather()[..] else { panic!("one family") };
        assert_eq!((family.name(), family.help()), (LISTED.name, "Things: that are."));
        assert_eq!(family.get_metric().len(), 2, "both values, at zero");
        assert!(register.counters(&LISTED).is_err(), "twice");
        assert_eq!(register.descs().len(), 1);
    }

    #[test]
    fn nothing_is_registered_as_what_it_is_not() {
        let mut register = Register::default();
        assert!(register.gauges(&LISTED).is_err(), "a counter");
        assert!(register.counter(&LISTED).is_err(), "with a label");
        assert!(register.descs().is_empty());
    }
}
