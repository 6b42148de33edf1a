//! A registry of a pipeline's metrics, and the Prometheus text of several of them together.

use std::collections::{BTreeMap, HashMap};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
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
    inner: prometheus::Registry,
}

impl Registry {
    /// The registry of a pipeline.
    pub fn new(pipeline: &str) -> Self {
        let labels = HashMap::from([("pipeline".to_owned(), pipeline.to_owned())]);
        let inner = prometheus::Registry::new_custom(None, Some(labels)).unwrap_or_default();
        Self { inner }
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
            for mut family in registry.inner.gather() {
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

/// Names and labels are constants of this code, so a refused one is a mistake that any test of the
/// stage shows.
#[expect(clippy::panic, reason = "a constant metric name is wrong")]
fn unreachable_metric(error: &prometheus::Error) -> ! {
    panic!("invalid metric definition: {error}")
}
