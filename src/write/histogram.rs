//! Whether a native histogram is one that receivers take.

use crate::model::NativeHistogram;

/// The resolutions that Prometheus knows.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// What contradicts itself in a histogram: a receiver would refuse its whole request over it.
///
/// The rules are those of Prometheus' `histogram.Validate`, and that a bucket is not there twice.
pub(super) fn contradiction(histogram: &NativeHistogram) -> Option<&'static str> {
    if !SCHEMAS.contains(&histogram.schema) {
        return Some("its schema is not one of -4 to 8");
    }
    if !(histogram.zero_threshold >= 0.0 && histogram.zero_threshold.is_finite()) {
        return Some("its zero threshold is negative or no number");
    }
    let mut count = Some(histogram.zero_count);
    for buckets in [&histogram.positive, &histogram.negative] {
        if !buckets.is_sorted_by(|(left, _), (right, _)| left < right) {
            return Some("its buckets are not in ascending order");
        }
        for (_, in_bucket) in buckets {
            count = count.and_then(|count| count.checked_add(*in_bucket));
        }
    }
    if count != Some(histogram.count) {
        return Some("its count is not the sum of its buckets");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::histogram;

    #[test]
    fn names_what_contradicts_itself() {
        let empty = NativeHistogram {
            zero_count: 0,
            count: 0,
            sum: 0.0,
            positive: vec![],
            negative: vec![],
            ..histogram()
        };
        for (bad, expected) in [
            (histogram(), None),
            (empty.clone(), None),
            (
                NativeHistogram {
                    schema: 9,
                    ..histogram()
                },
                Some("its schema is not one of -4 to 8"),
            ),
            (
                NativeHistogram {
                    zero_threshold: f64::NAN,
                    ..histogram()
                },
                Some("its zero threshold is negative or no number"),
            ),
            (
                NativeHistogram {
                    negative: vec![(4, 1), (4, 0)],
                    ..histogram()
                },
                Some("its buckets are not in ascending order"),
            ),
            (
                NativeHistogram {
                    zero_count: 2,
                    ..histogram()
                },
                Some("its count is not the sum of its buckets"),
            ),
            (
                NativeHistogram {
                    positive: vec![(1, u64::MAX), (2, 1)],
                    ..empty
                },
                Some("its count is not the sum of its buckets"),
            ),
        ] {
            assert_eq!(contradiction(&bad), expected, "{bad:?}");
        }
    }
}
