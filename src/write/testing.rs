//! What the tests of this module share.

use std::sync::Arc;

use crate::model::{Sample, Series, TimestampMs};

/// A sample of a series that is written out.
pub(super) fn sample(
    name: &str,
    labels: &[(&str, &str)],
    timestamp_ms: TimestampMs,
    value: f64,
) -> Sample {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    let series = Arc::new(Series::new(name.into(), labels));
    Sample {
        series,
        timestamp_ms,
        value,
    }
}
