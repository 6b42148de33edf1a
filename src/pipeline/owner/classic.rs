//! The series of a metric that is a classic histogram.

use std::sync::Arc;

use super::series::SeriesCache;
use crate::model::{
    HoldsSymbols, Interner, LiveSymbols, Renumbering, Sample, SampleValue, Series, Symbol,
    TimestampMs,
};
use crate::window::aggregate::ClassicHistogram;

/// The label of a bucket's upper bound.
const BOUND_LABEL: &str = "le";

/// `<metric>_bucket` with the label `le` for each bound, `<metric>_sum` and `<metric>_count`.
#[derive(Debug)]
pub(in crate::pipeline) struct ClassicSeries {
    bounds: Vec<String>,
    bucket: SeriesCache,
    sum: SeriesCache,
    count: SeriesCache,
}

impl ClassicSeries {
    pub(in crate::pipeline) fn new(metric: &str, labels: &[Arc<str>], bounds: &[f64]) -> Self {
        let series = |suffix: &str, labels: Vec<Arc<str>>| {
            SeriesCache::new(format!("{metric}_{suffix}").into(), labels)
        };
        let mut bucket_labels = labels.to_vec();
        bucket_labels.push(BOUND_LABEL.into());
        Self {
            bounds: bounds.iter().map(|bound| format_bound(*bound)).collect(),
            bucket: series("bucket", bucket_labels),
            sum: series("sum", labels.to_vec()),
            count: series("count", labels.to_vec()),
        }
    }

    /// To be called before each window.
    pub(in crate::pipeline) fn next_window(&mut self) {
        self.bucket.next_window();
        self.sum.next_window();
        self.count.next_window();
    }

    /// Appends the samples of a group.
    pub(in crate::pipeline) fn push(
        &mut self,
        end: TimestampMs,
        key: &[Symbol],
        histogram: &ClassicHistogram,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        let counts = histogram.cumulative.iter().chain([&histogram.count]);
        let values = counts.map(|count| *count as f64);
        let values = values.chain([histogram.sum, histogram.count as f64]);
        let series = self.all(key, interner).into_iter().zip(values);
        samples.extend(series.map(|(series, value)| Sample {
            series,
            timestamp_ms: end,
            value: value.into(),
        }));
    }

    /// Appends what says that the series of a group have ended.
    pub(in crate::pipeline) fn end(
        &mut self,
        timestamp_ms: TimestampMs,
        key: &[Symbol],
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        let series = self.all(key, interner).into_iter();
        samples.extend(series.map(|series| Sample {
            series,
            timestamp_ms,
            value: SampleValue::staleness_marker(),
        }));
    }

    /// The series of a group: of its buckets in the order of their bounds, of the sum and of the count.
    fn all(&mut self, key: &[Symbol], interner: &mut Interner) -> Vec<Arc<Series>> {
        let bounds = self.bounds.iter().map(String::as_str).chain(["+Inf"]);
        let mut series = Vec::with_capacity(self.bounds.len() + 3);
        let mut bucket_key = key.to_vec();
        for bound in bounds {
            bucket_key.push(interner.intern(bound));
            series.push(self.bucket.get(&bucket_key, interner));
            bucket_key.pop();
        }
        series.push(self.sum.get(key, interner));
        series.push(self.count.get(key, interner));
        series
    }
}

impl HoldsSymbols for ClassicSeries {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.bucket.mark_live(live);
        self.sum.mark_live(live);
        self.count.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.bucket.renumber(numbers);
        self.sum.renumber(numbers);
        self.count.renumber(numbers);
    }
}

/// A bound as Prometheus' text format writes numbers: the shortest that reads back as the same, with
/// an exponent below 1e-4 and from 1e6 on.
fn format_bound(bound: f64) -> String {
    let scientific = format!("{bound:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent @ (..=-5 | 6..)) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_as_prometheus_writes_them() {
        for (bound, expected) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (-25.0, "-25"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.000_025, "2.5e-05"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(format_bound(bound), expected);
        }
    }
}
