//! Counts of values in exponential buckets, as quantiles and native histograms need them. Merged by
//! adding.

use super::octave::index;

/// A bucket with its count, by index; none is empty.
pub(super) type Counts = Vec<(i32, u64)>;

/// The counts of one slot, in buckets of the schema that its owner has.
#[derive(Debug, Clone, Default)]
pub(super) struct Exponential {
    /// Values near zero.
    pub(super) zero: u64,
    /// Positive values.
    pub(super) positive: Counts,
    /// Negative values, by their absolute value.
    pub(super) negative: Counts,
}

impl Exponential {
    /// Adds a finite value; what is at most `zero_threshold` from zero is near it.
    pub(super) fn add(&mut self, value: f64, schema: i32, zero_threshold: f64) {
        let magnitude = value.abs();
        if magnitude <= zero_threshold {
            self.zero += 1;
        } else if value > 0.0 {
            count(&mut self.positive, index(magnitude, schema), 1);
        } else {
            count(&mut self.negative, index(magnitude, schema), 1);
        }
    }

    /// Adds other counts.
    pub(super) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        for (bucket, more) in &other.positive {
            count(&mut self.positive, *bucket, *more);
        }
        for (bucket, more) in &other.negative {
            count(&mut self.negative, *bucket, *more);
        }
    }

    /// How many values.
    pub(super) fn count(&self) -> u64 {
        let buckets = self.positive.iter().chain(&self.negative);
        self.zero + buckets.map(|(_, count)| count).sum::<u64>()
    }

    /// How many bytes it takes beside itself.
    pub(super) fn byte_len(&self) -> usize {
        (self.positive.capacity() + self.negative.capacity()) * size_of::<(i32, u64)>()
    }
}

/// Adds to a bucket.
pub(super) fn count(counts: &mut Counts, bucket: i32, more: u64) {
    match counts.binary_search_by_key(&bucket, |(known, _)| *known) {
        Ok(place) => {
            if let Some((_, count)) = counts.get_mut(place) {
                *count += more;
            }
        }
        Err(place) => counts.insert(place, (bucket, more)),
    }
}
