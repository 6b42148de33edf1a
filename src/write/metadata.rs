//! What receivers are told of the metrics: type, help and unit.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::relabel::Relabelling;

/// Name, help and unit of a metric may have so many bytes together: Cortex and with it Amazon Managed
/// Service for Prometheus refuse more.
pub const MAX_METADATA_BYTES: usize = 1_024;

/// What kind of metric it is, in the words of OpenMetrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// It is not known.
    Unknown,
    /// A number that only grows, until it begins anew.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution that only grows, until it begins anew.
    Histogram,
    /// A distribution as it is at a time.
    GaugeHistogram,
}

impl MetricType {
    /// Its number in the messages of both protocols.
    pub fn number(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Counter => 1,
            Self::Gauge => 2,
            Self::Histogram => 3,
            Self::GaugeHistogram => 4,
        }
    }

    /// Its name in a pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
        }
    }

    /// Whether it counts from a start, which 2.0 tells with each sample.
    fn has_start(self) -> bool {
        matches!(self, Self::Counter | Self::Histogram)
    }
}

/// What receivers are told of one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricMetadata {
    name: Arc<str>,
    metric_type: MetricType,
    help: Box<str>,
    unit: Box<str>,
    window_ms: Option<i64>,
}

impl MetricMetadata {
    /// Of a metric whose windows all have `window_ms`, where they do. The help is cut where all together
    /// would be more than [`MAX_METADATA_BYTES`].
    pub fn new(
        name: Arc<str>,
        metric_type: MetricType,
        help: &str,
        unit: &str,
        window_ms: Option<i64>,
    ) -> Self {
        let mut room = MAX_METADATA_BYTES.saturating_sub(name.len() + unit.len());
        room = room.min(help.len());
        while !help.is_char_boundary(room) {
            room -= 1;
        }
        let help = help.get(..room).unwrap_or_default();
        Self {
            metric_type,
            help: help.into(),
            unit: unit.into(),
            window_ms: window_ms.filter(|_| metric_type.has_start()),
            name,
        }
    }

    /// The metric's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its type.
    pub fn metric_type(&self) -> MetricType {
        self.metric_type
    }

    /// What it says, for people; empty where nobody said.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// Its unit; empty where nobody said.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// How long before its timestamp a sample begins to count, ms, where it counts from a start.
    pub fn window_ms(&self) -> Option<i64> {
        self.window_ms
    }
}

/// What receivers are told of the metrics of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsMetadata {
    metrics: Vec<MetricMetadata>,
    /// Indices into `metrics` by the names of series.
    by_series: BTreeMap<Arc<str>, usize>,
}

impl MetricsMetadata {
    /// Adds a metric. Its series have its name, or with `suffixes` its name with each of them, such as
    /// `_bucket`.
    pub fn add(&mut self, metric: MetricMetadata, suffixes: &[&str]) {
        let index = self.metrics.len();
        if suffixes.is_empty() {
            self.by_series.insert(metric.name.clone(), index);
        }
        for suffix in suffixes {
            let series = format!("{}{suffix}", metric.name);
            self.by_series.insert(series.into(), index);
        }
        self.metrics.push(metric);
    }

    /// The same under the names that relabelling gives to metrics, as far as that depends on their names.
    pub(super) fn relabelled(&self, relabelling: &Relabelling) -> Self {
        let rename = |name: &Arc<str>| relabelling.rename(name);
        let mut all = self.clone();
        for metric in &mut all.metrics {
            metric.name = rename(&metric.name);
        }
        let by_series = self.by_series.iter();
        all.by_series = by_series
            .map(|(name, index)| (rename(name), *index))
            .collect();
        all
    }

    /// All metrics, as they were added.
    pub fn metrics(&self) -> &[MetricMetadata] {
        &self.metrics
    }

    /// What is known of the series of a name.
    pub fn of(&self, series: &str) -> Option<&MetricMetadata> {
        self.metrics.get(*self.by_series.get(series)?)
    }

    /// The same without texts.
    pub fn without_texts(&self) -> Self {
        let mut all = self.clone();
        for metric in &mut all.metrics {
            metric.help = "".into();
            metric.unit = "".into();
        }
        all
    }

    /// How many bytes the texts take together.
    pub fn text_bytes(&self) -> usize {
        let metrics = self.metrics.iter();
        metrics
            .map(|metric| metric.help.len() + metric.unit.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::relabel::RelabelConfig;

    #[test]
    fn help_is_cut_between_characters() {
        let long = "é".repeat(600);
        let metric = MetricMetadata::new("speed".into(), MetricType::Gauge, &long, "kmh", None);
        // 1,024 less 8 is even, so all characters fit as they are.
        assert_eq!(metric.help(), "é".repeat(508));
        let metric = MetricMetadata::new("speeds".into(), MetricType::Gauge, &long, "kmh", None);
        assert_eq!(metric.help(), "é".repeat(507));
        let metric = MetricMetadata::new("speed".into(), MetricType::Gauge, "Short", "", None);
        assert_eq!(metric.help(), "Short");
        let name = "x".repeat(2_000);
        let metric = MetricMetadata::new(name.into(), MetricType::Gauge, "Short", "", None);
        assert_eq!(metric.help(), "");
    }

    #[test]
    fn metrics_are_told_of_by_the_names_that_they_are_sent_under() {
        let mut all = MetricsMetadata::default();
        let of = |name: &str| MetricMetadata::new(name.into(), MetricType::Gauge, "H", "", None);
        all.add(of("speed"), &[]);
        all.add(of("trips"), &["_bucket", "_sum"]);
        let steps = r#"[{"source_labels": ["__name__"], "target_label": "__name__",
                         "replacement": "fleet_$1"},
                        {"source_labels": ["region"], "regex": "EU", "action": "keep"}]"#;
        let steps: Vec<RelabelConfig> = serde_json::from_str(steps).unwrap();
        let names = |steps: &[RelabelConfig]| {
            let relabelling = Relabelling::build(&BTreeMap::new(), steps).unwrap();
            let all = all.relabelled(&relabelling);
            let names = all.metrics().iter().map(|metric| metric.name().to_string());
            (
                names.collect::<Vec<_>>(),
                all.of("fleet_trips_sum").is_some(),
            )
        };
        let renamed = ["fleet_speed", "fleet_trips"].map(str::to_owned).to_vec();
        assert_eq!(names(&steps[..1]), (renamed.clone(), true));
        // By their labels some of them are sent.
        assert_eq!(names(&steps), (renamed, true));
    }

    #[test]
    fn series_are_known_by_their_own_names() {
        let mut all = MetricsMetadata::default();
        let of = |name: &str, metric_type| {
            MetricMetadata::new(name.into(), metric_type, name, "", Some(5_000))
        };
        all.add(of("a", MetricType::Gauge), &[]);
        all.add(of("b", MetricType::Histogram), &["_bucket", "_sum"]);
        let found = |series| {
            all.of(series)
                .map(|metric| (metric.help(), metric.window_ms()))
        };
        assert_eq!(found("a"), Some(("a", None)));
        assert_eq!(found("b_bucket"), Some(("b", Some(5_000))));
        assert_eq!(found("b_sum"), Some(("b", Some(5_000))));
        assert_eq!(found("b"), None);
        assert_eq!(all.text_bytes(), 2);
        assert_eq!(all.without_texts().text_bytes(), 0);
    }
}
