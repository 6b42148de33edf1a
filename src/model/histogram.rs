//! Prometheus' native histograms.

/// A distribution of values in exponential buckets.
///
/// Bucket `i` of `positive` holds the values `base^(i-1) < x <= base^i` with `base = 2^(2^-schema)`,
/// bucket `i` of `negative` those whose absolute values do
/// (<https://prometheus.io/docs/specs/native_histograms/>).
#[derive(Debug, Clone, PartialEq)]
pub struct NativeHistogram {
    /// The resolution, −4 to 8: each step doubles the number of buckets.
    pub schema: i32,
    /// Values whose absolute value is at most this are in the zero bucket.
    pub zero_threshold: f64,
    /// How many values are in the zero bucket.
    pub zero_count: u64,
    /// How many values there are in all.
    pub count: u64,
    /// The sum of all values.
    pub sum: f64,
    /// Indices and counts of the buckets of positive values, by ascending index, none empty.
    pub positive: Vec<(i32, u64)>,
    /// The same of negative values.
    pub negative: Vec<(i32, u64)>,
}
