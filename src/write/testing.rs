//! What the tests of this module share.

use std::sync::Arc;

use crate::model::{NativeHistogram, Sample, SampleValue, Series, TimestampMs};

/// A sample of a series that is written out.
pub(super) fn sample(
    name: &str,
    labels: &[(&str, &str)],
    timestamp_ms: TimestampMs,
    value: impl Into<SampleValue>,
) -> Sample {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    let series = Arc::new(Series::new(name.into(), labels));
    Sample {
        series,
        timestamp_ms,
        value: value.into(),
    }
}

/// The histogram of −3, 0, 1, 1, 1.5, 4 and 100 with two buckets an octave.
pub(super) fn histogram() -> NativeHistogram {
    NativeHistogram {
        schema: 1,
        zero_threshold: 1e-128,
        zero_count: 1,
        count: 7,
        sum: 104.5,
        positive: vec![(0, 2), (2, 1), (4, 1), (14, 1)],
        negative: vec![(4, 1)],
    }
}
