//! Samples that must not be sent: one of them would cost its whole request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Sample, SampleValue};
use crate::telemetry::LogLimit;

use super::histogram::contradiction;
use super::metrics::{DropReason, Metrics};

/// How much of an over-long value is logged, in characters.
const LOGGED_CHARACTERS: usize = 64;

/// Holds back the samples that no receiver takes, whatever its limits are.
#[derive(Debug)]
pub(super) struct Guard {
    /// For a destination that has no limits of its own.
    max_label_value_bytes: Option<usize>,
    metrics: Arc<Metrics>,
    log: Mutex<LogLimit>,
}

impl Guard {
    /// A guard that lets label values of up to `max_label_value_bytes` through, if that is given.
    pub(super) fn new(max_label_value_bytes: Option<usize>, metrics: Arc<Metrics>) -> Self {
        let log = Mutex::new(LogLimit::every(Duration::from_secs(10)));
        Self {
            max_label_value_bytes,
            metrics,
            log,
        }
    }

    /// Whether a sample may be sent. One that must not is counted and logged.
    pub(super) fn admits(&self, sample: &Sample) -> bool {
        match self.reason_against(sample) {
            None => true,
            Some(reason) => {
                self.refuse(sample, reason);
                false
            }
        }
    }

    /// The same without counting.
    pub(super) fn takes(&self, sample: &Sample) -> bool {
        self.reason_against(sample).is_none()
    }

    fn reason_against(&self, sample: &Sample) -> Option<DropReason> {
        match &sample.value {
            value if value.is_staleness_marker() => {}
            SampleValue::Number(value) if value.is_nan() => return Some(DropReason::NotANumber),
            SampleValue::Number(_) => {}
            SampleValue::Histogram(histogram) if histogram.sum.is_nan() => {
                return Some(DropReason::NotANumber);
            }
            SampleValue::Histogram(histogram) if contradiction(histogram).is_some() => {
                return Some(DropReason::InvalidHistogram);
            }
            SampleValue::Histogram(_) => {}
        }
        self.too_long(sample).map(|_| DropReason::LabelValueTooLong)
    }

    /// The first label whose value is over the limit.
    fn too_long<'a>(&self, sample: &'a Sample) -> Option<(&'a str, &'a str)> {
        let limit = self.max_label_value_bytes?;
        let mut labels = sample.series.labels().iter();
        let (name, value) = labels.find(|(_, value)| value.len() > limit)?;
        Some((name, value))
    }

    fn refuse(&self, sample: &Sample, reason: DropReason) {
        self.metrics.take(1);
        self.metrics.drop_samples(reason, 1);
        let Some(held_back) = self
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit()
        else {
            return;
        };
        let series = &sample.series;
        if reason == DropReason::NotANumber {
            tracing::warn!(%series, held_back, "a sample is dropped: its value is not a number");
            return;
        }
        if let Some(why) = sample.value.histogram().and_then(contradiction) {
            tracing::error!(%series, why, held_back, "a sample is dropped: its histogram is invalid");
            return;
        }
        let Some((label, value)) = self.too_long(sample) else {
            return;
        };
        let metric: &str = series.name();
        let bytes = value.len();
        let start: String = value.chars().take(LOGGED_CHARACTERS).collect();
        let limit = self.max_label_value_bytes;
        tracing::warn!(
            metric,
            label,
            start,
            bytes,
            limit,
            held_back,
            "a sample is dropped: a label value is too long"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NativeHistogram;
    use crate::telemetry::Registry;
    use crate::write::testing::{histogram, sample};

    #[test]
    fn lets_through_what_receivers_take() {
        let metrics = Arc::new(Metrics::new(&Registry::new("test")));
        let guard = Guard::new(Some(4), Arc::clone(&metrics));
        let good = [
            sample("up", &[("model", "long")], 1, 1.0),
            sample("up", &[], 2, f64::INFINITY),
            sample("up", &[], 3, f64::NEG_INFINITY),
            sample("up", &[], 4, histogram()),
            sample("up", &[], 6, SampleValue::staleness_marker()),
            sample("up", &[], 6, SampleValue::histogram_staleness_marker()),
            sample(
                "up",
                &[],
                5,
                NativeHistogram {
                    sum: f64::INFINITY,
                    ..histogram()
                },
            ),
        ];
        assert!(good.iter().all(|sample| guard.admits(sample)));
        assert_eq!(metrics.dropped(), 0);
    }

    #[test]
    fn counts_what_it_holds_back() {
        let registry = Registry::new("test");
        let metrics = Arc::new(Metrics::new(&registry));
        let guard = Guard::new(Some(4), Arc::clone(&metrics));
        let bad = [
            sample("up", &[("model", "longer")], 1, 1.0),
            sample("up", &[("model", "ååå")], 2, 1.0),
            sample("up", &[], 3, f64::NAN),
            sample(
                "up",
                &[],
                4,
                NativeHistogram {
                    sum: f64::NAN,
                    ..histogram()
                },
            ),
            sample(
                "up",
                &[],
                5,
                NativeHistogram {
                    count: 8,
                    ..histogram()
                },
            ),
        ];
        assert!(!bad.iter().any(|sample| guard.admits(sample)));
        let text = Registry::text([&registry]);
        let count = |reason: &str| {
            let line =
                format!(r#"weir_samples_dropped_total{{reason="{reason}",pipeline="test"}} "#);
            text.lines()
                .find_map(|found| found.strip_prefix(line.as_str()))
        };
        assert_eq!(count("label_value_too_long"), Some("2"));
        assert_eq!(count("not_a_number"), Some("2"));
        assert_eq!(count("invalid_histogram"), Some("1"));
        assert_eq!(count("rejected"), Some("0"));
    }
}
