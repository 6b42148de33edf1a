//! What receivers are told of the metrics.

use super::super::document::PathSegment;
use super::super::file::MetricConfig;
use super::super::pipeline::{Metric, Shape};
use super::Validator;
use crate::window::aggregate::Output;
use crate::write::{MAX_METADATA_BYTES, MetricMetadata, MetricType, MetricsMetadata};

/// The series of a classic histogram, by what is behind its name.
pub(super) const BUCKETS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The label of the bounds of buckets.
pub(super) const BOUND: &str = "le";

/// The series of a completeness, by what is behind its name.
pub(super) const DEVICES: [&str; 4] = ["_expected", "_reporting", "_late", "_offline"];

/// What these say, in the same order.
const HELP_OF_DEVICES: [&str; 4] = [
    "Devices of the reference table",
    "Devices with an event in the window",
    "Devices whose events all came too late for the window",
    "Devices without an event",
];

impl Validator<'_> {
    /// What kind of metric it is; the unit is checked as well.
    pub(super) fn metric_type(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
        output: &Output,
    ) -> MetricType {
        if let ([_, PathSegment::Key(name)], Some(unit)) = (at, &config.unit) {
            let bytes = name.len() + unit.len();
            let path = [at[0], at[1], "unit".into()];
            if unit.is_empty() {
                self.problem(&path, "is empty; write one, such as seconds, or remove it");
            } else if bytes > MAX_METADATA_BYTES {
                let message = format!(
                    "has {bytes} bytes with the metric's name; receivers take {MAX_METADATA_BYTES}"
                );
                self.problem(&path, message);
            }
        }
        let (what, allowed): (_, &[MetricType]) = match output {
            Output::Number => (
                "numbers",
                &[MetricType::Gauge, MetricType::Counter, MetricType::Unknown],
            ),
            Output::Histogram => (
                "native histograms of one window each",
                &[MetricType::GaugeHistogram, MetricType::Unknown],
            ),
            Output::Buckets { .. } => (
                "the buckets of one window each",
                &[
                    MetricType::GaugeHistogram,
                    MetricType::Histogram,
                    MetricType::Unknown,
                ],
            ),
        };
        let default = allowed.first().copied().unwrap_or(MetricType::Unknown);
        let wanted = config.metric_type.unwrap_or(default);
        if !allowed.contains(&wanted) {
            let names: Vec<_> = allowed.iter().map(|allowed| allowed.name()).collect();
            let message = format!(
                "is '{}', but its samples are {what}; use {}",
                wanted.name(),
                names.join(", ")
            );
            self.problem(&[at[0], at[1], "type".into()], message);
        }
        wanted
    }
}

/// What stands behind the name of a metric in those of its series: of several kinds of series, or of none.
pub(super) fn suffixes(metric: &Metric) -> &'static [&'static str] {
    match (&metric.output, &metric.shape) {
        (Output::Buckets { .. }, _) => &BUCKETS,
        (_, Shape::Completeness(_)) => &DEVICES,
        _ => &[],
    }
}

/// The names of a metric's series, each with the names of its labels.
pub(in crate::config) fn series_of(metric: &Metric) -> Vec<(String, Vec<&str>)> {
    let labels: Vec<_> = metric.by.iter().map(|(name, _)| &**name).collect();
    let mut suffixes = suffixes(metric);
    if suffixes.is_empty() {
        suffixes = &[""];
    }
    let series = suffixes.iter().map(|suffix| {
        let mut labels = labels.clone();
        if *suffix == BUCKETS[0] {
            labels.push(BOUND);
        }
        (format!("{}{suffix}", metric.name), labels)
    });
    series.collect()
}

/// What receivers are told of these metrics.
pub(super) fn of(metrics: &[Metric]) -> MetricsMetadata {
    let mut all = MetricsMetadata::default();
    for metric in metrics {
        let window_ms = match metric.shape {
            Shape::Raw { .. } => None,
            _ => metric.windows.fixed_size_ms(),
        };
        if matches!(metric.shape, Shape::Completeness(_)) {
            for (suffix, help) in DEVICES.iter().zip(HELP_OF_DEVICES) {
                let name = format!("{}{suffix}", metric.name).into();
                let one = MetricMetadata::new(name, metric.metric_type, help, "", window_ms);
                all.add(one, &[]);
            }
            continue;
        }
        let one = MetricMetadata::new(
            metric.name.clone(),
            metric.metric_type,
            metric.help.as_deref().unwrap_or_default(),
            metric.unit.as_deref().unwrap_or_default(),
            window_ms,
        );
        all.add(one, suffixes(metric));
    }
    all
}
