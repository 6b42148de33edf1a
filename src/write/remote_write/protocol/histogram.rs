//! Native histograms as Remote-Write 1.0 and 2.0 carry them.
//!
//! Field numbers from Prometheus' `prompb/types.proto` and `prompb/io/prometheus/write/v2/types.proto`,
//! which agree but for the start, which is of 2.0; the meaning of spans and deltas from
//! <https://prometheus.io/docs/specs/native_histograms/>.

use prost::Message;

use crate::model::{NativeHistogram, TimestampMs};

/// The value of `Histogram.ResetHint` that says: a gauge histogram.
///
/// The histogram of a window stands alone: it does not go on from the one before, so it is no
/// counter. With any other hint Prometheus would look for counter resets between windows, and
/// `rate()` would give a number without a meaning; as gauges they can be averaged, summed over time
/// and asked for quantiles.
const GAUGE: i32 = 3;

/// A histogram at a time. Only the fields for whole counts.
#[derive(Clone, PartialEq, Message)]
pub(in crate::write::remote_write) struct Histogram {
    /// How many values there are in all.
    #[prost(uint64, optional, tag = "1")]
    pub(in crate::write::remote_write) count_int: Option<u64>,
    /// Their sum.
    #[prost(double, tag = "3")]
    pub(in crate::write::remote_write) sum: f64,
    /// The resolution.
    #[prost(sint32, tag = "4")]
    pub(in crate::write::remote_write) schema: i32,
    /// The greatest absolute value of the zero bucket.
    #[prost(double, tag = "5")]
    pub(in crate::write::remote_write) zero_threshold: f64,
    /// How many values are in the zero bucket.
    #[prost(uint64, optional, tag = "6")]
    pub(in crate::write::remote_write) zero_count_int: Option<u64>,
    /// Where there are buckets of negative values.
    #[prost(message, repeated, tag = "8")]
    pub(in crate::write::remote_write) negative_spans: Vec<BucketSpan>,
    /// Their counts, each as the difference from the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub(in crate::write::remote_write) negative_deltas: Vec<i64>,
    /// Where there are buckets of positive values.
    #[prost(message, repeated, tag = "11")]
    pub(in crate::write::remote_write) positive_spans: Vec<BucketSpan>,
    /// Their counts, each as the difference from the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub(in crate::write::remote_write) positive_deltas: Vec<i64>,
    /// 0 unknown, 1 reset, 2 no reset, 3 gauge.
    #[prost(int32, tag = "14")]
    pub(in crate::write::remote_write) reset_hint: i32,
    /// When, ms since the epoch.
    #[prost(int64, tag = "15")]
    pub(in crate::write::remote_write) timestamp: i64,
    /// Since when it counts, ms since the epoch; 0 where that is unknown. Only 2.0.
    #[prost(int64, tag = "17")]
    pub(in crate::write::remote_write) start_timestamp: i64,
}

/// Consecutive buckets.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(in crate::write::remote_write) struct BucketSpan {
    /// The first span: the index of its first bucket. Any other: how many buckets are left out
    /// before it.
    #[prost(sint32, tag = "1")]
    pub(in crate::write::remote_write) offset: i32,
    /// How many buckets.
    #[prost(uint32, tag = "2")]
    pub(in crate::write::remote_write) length: u32,
}

impl Histogram {
    /// A histogram as it goes out.
    pub(in crate::write::remote_write) fn new(
        histogram: &NativeHistogram,
        timestamp: TimestampMs,
    ) -> Self {
        let (positive_spans, positive_deltas) = spans_and_deltas(&histogram.positive);
        let (negative_spans, negative_deltas) = spans_and_deltas(&histogram.negative);
        Self {
            count_int: Some(histogram.count),
            sum: histogram.sum,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count_int: Some(histogram.zero_count),
            negative_spans,
            negative_deltas,
            positive_spans,
            positive_deltas,
            reset_hint: GAUGE,
            timestamp,
            start_timestamp: 0,
        }
    }
}

/// Buckets by ascending index in the form of the protocol. Empty buckets between others are left
/// out: a span costs two to four bytes, as much as a few empty buckets would.
fn spans_and_deltas(buckets: &[(i32, u64)]) -> (Vec<BucketSpan>, Vec<i64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut deltas = Vec::with_capacity(buckets.len());
    // The index behind the last bucket.
    let mut next = 0_i32;
    let mut last_count = 0_i64;
    for &(index, count) in buckets {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(BucketSpan {
                offset: index.saturating_sub(next),
                length: 1,
            }),
        }
        next = index.saturating_add(1);
        // A difference of counts beyond 63 bits wraps, and is added up again with the same wrap.
        let count = count.cast_signed();
        deltas.push(count.wrapping_sub(last_count));
        last_count = count;
    }
    (spans, deltas)
}

/// An upper bound for what a histogram without a start adds to its series, in bytes.
pub(in crate::write::remote_write) fn histogram_bytes(histogram: &NativeHistogram) -> usize {
    // Tag and a length; counts with their tags; three doubles' worth of sum, threshold and
    // schema; the tags and lengths of two packed lists; hint and timestamp.
    let frame = 1 + 5;
    let numbers = 2 * (1 + 10) + 2 * (1 + 8) + (1 + 5);
    let lists = 2 * (1 + 5);
    let ends = (1 + 1) + (1 + 10);
    let buckets = histogram.positive.len() + histogram.negative.len();
    // Each bucket in a span of its own: tag, length, two tagged numbers; and a delta.
    let bucket = (1 + 1 + (1 + 5) + (1 + 5)) + 10;
    frame + numbers + lists + ends + buckets * bucket
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::histogram;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    #[test]
    fn buckets_become_spans_and_differences() {
        for (buckets, spans, deltas) in [
            (vec![], vec![], vec![]),
            (vec![(-3, 5)], vec![span(-3, 1)], vec![5]),
            (
                vec![(-1, 5), (0, 2), (1, 2), (4, 9), (5, 1), (7, 1)],
                vec![span(-1, 3), span(2, 2), span(1, 1)],
                vec![5, -3, 0, 7, -8, 0],
            ),
            (vec![(0, 1), (1, 3)], vec![span(0, 2)], vec![1, 2]),
        ] {
            assert_eq!(spans_and_deltas(&buckets), (spans, deltas), "{buckets:?}");
        }
    }

    /// What a receiver makes of spans and differences.
    fn buckets_of(spans: &[BucketSpan], deltas: &[i64]) -> Vec<(i32, u64)> {
        let (mut buckets, mut index, mut count) = (Vec::new(), 0, 0_i64);
        let mut deltas = deltas.iter();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                count = count.wrapping_add(*deltas.next().unwrap());
                buckets.push((index, count.cast_unsigned()));
                index += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        buckets
    }

    proptest::proptest! {
        #[test]
        fn spans_and_differences_give_the_buckets_back(
            buckets in proptest::collection::btree_map(-2_000_i32..2_000, 1_u64.., 0..60),
        ) {
            let buckets: Vec<_> = buckets.into_iter().collect();
            let (spans, deltas) = spans_and_deltas(&buckets);
            proptest::prop_assert_eq!(&buckets_of(&spans, &deltas), &buckets);

            let histogram = NativeHistogram { positive: buckets.clone(), negative: buckets, ..histogram() };
            let message = Histogram::new(&histogram, -1);
            let encoded = 1 + prost::length_delimiter_len(message.encoded_len()) + message.encoded_len();
            proptest::prop_assert!(encoded <= histogram_bytes(&histogram));
        }
    }

    #[test]
    fn encodes_as_the_protocol_says() {
        let message = Histogram::new(&histogram(), 1_000);
        let mut expected = vec![0x08, 7]; // count
        expected.push(0x19); // sum
        expected.extend(104.5_f64.to_le_bytes());
        expected.extend([0x20, 2]); // schema 1, zigzag
        expected.push(0x29); // zero threshold
        expected.extend(1e-128_f64.to_le_bytes());
        expected.extend([0x30, 1]); // zero count
        expected.extend([0x42, 4, 0x08, 8, 0x10, 1]); // negative span: offset 4, length 1
        expected.extend([0x4a, 1, 2]); // negative difference: 1
        expected.extend([0x5a, 2, 0x10, 1]); // positive spans: 0 and 1 long
        expected.extend([0x5a, 4, 0x08, 2, 0x10, 1]); // one left out
        expected.extend([0x5a, 4, 0x08, 2, 0x10, 1]);
        expected.extend([0x5a, 4, 0x08, 18, 0x10, 1]); // nine left out
        expected.extend([0x62, 4, 4, 1, 0, 0]); // 2, −1, 0, 0
        expected.extend([0x70, 3]); // a gauge
        expected.extend([0x78, 0xe8, 0x07]); // 1000
        assert_eq!(message.encode_to_vec(), expected);
    }
}
