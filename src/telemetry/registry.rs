//! A registry of a pipeline's metrics, and the Prometheus text of several of them together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
};

use super::computed::ComputedGauges;

/// A pipeline's metrics, all with the label `pipeline`.
///
/// Two stages that ask for the same name share nothing: the second gets a metric that is not
/// exported, which the tests of the metrics page would show.
#[derive(Debug, Clone)]
pub struct Registry {
    /// In the order in which they are exported.
    labels: Vec<LabelPair>,
    inner: prometheus::Registry,
    /// Those with one more label.
    narrower: Arc<Mutex<Vec<Self>>>,
}

impl Registry {
    /// The registry of a pipeline.
    pub fn new(pipeline: &str) -> Self {
        Self::of(vec![label("pipeline", pipeline)])
    }

    fn of(labels: Vec<LabelPair>) -> Self {
        Self {
            labels,
            inner: prometheus::Registry::new(),
            narrower: Arc::default(),
        }
    }

    /// A registry of parts of the pipeline that are alike, whose metrics have one more label. They are
    /// exported with those of this registry.
    #[must_use]
    pub fn with_label(&self, name: &str, value: &str) -> Self {
        let mut labels = self.labels.clone();
        labels.push(label(name, value));
        let narrower = Self::of(labels);
        let mut all = self.narrower.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(narrower.clone());
        narrower
    }

    fn gather(&self) -> Vec<MetricFamily> {
        let mut families = self.inner.gather();
        for metric in families.iter_mut().flat_map(|family| family.mut_metric()) {
            let mut labels = metric.take_label();
            labels.extend(self.labels.iter().cloned());
            metric.set_label(labels);
        }
        let narrower = self.narrower.lock().unwrap_or_else(PoisonError::into_inner);
        families.extend(narrower.iter().flat_map(Self::gather));
        families
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        match collector {
            Ok(collector) => {
                if let Err(error) = self.inner.register(Box::new(collector.clone())) {
                    tracing::error!(%error, "a metric is registered twice");
                }
                collector
            }
            Err(error) => unreachable_metric(&error),
        }
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    /// A counter by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge of whole numbers.
    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// A gauge of whole numbers by labels.
    pub fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    /// A gauge by labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge by one label whose values are computed when they are asked for.
    pub fn computed_gauges(&self, name: &str, help: &str, label: &str) -> ComputedGauges {
        self.register(ComputedGauges::new(name, help, label))
    }

    /// A gauge without labels whose value is computed when it is asked for.
    pub fn computed_gauge(
        &self,
        name: &str,
        help: &str,
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.register(ComputedGauges::without_label(name, help))
            .set("", value);
    }

    /// A histogram of seconds with upper bounds `buckets`.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }

    /// A histogram of seconds by labels, with upper bounds `buckets`.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, labels))
    }

    /// The metrics of all registries as Prometheus text (exposition format 0.0.4), each family once.
    pub fn text<'a>(registries: impl IntoIterator<Item = &'a Self>) -> String {
        let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for registry in registries {
            for mut family in registry.gather() {
                match families.get_mut(family.name()) {
                    Some(known) => known.mut_metric().extend(family.take_metric()),
                    None => drop(families.insert(family.name().to_owned(), family)),
                }
            }
        }
        let families: Vec<_> = families.into_values().collect();
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "the metrics cannot be encoded");
                String::new()
            })
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

/// Names and labels are constants of this code, so a refused one is a mistake that any test of the
/// stage shows.
#[expect(clippy::panic, reason = "a constant metric name is wrong")]
fn unreachable_metric(error: &prometheus::Error) -> ! {
    panic!("invalid metric definition: {error}")
}
