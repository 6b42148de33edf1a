//! Counts of values in exponential buckets, as quantiles and native histograms need them. Merged by
//! adding.

use super::octave::{index, indexes};
use super::state::{MOST_VALUES, must, must_add_up, read_counts, read_lengths, write_lengths};
use crate::model::{Corrupt, Decoder, Encoder};

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

    /// Writes the counts of all slots: those near zero, how many positive and negative buckets each
    /// slot has, and of all these buckets the indexes and the counts.
    pub(super) fn encode_all<'s>(
        out: &mut Encoder,
        all: impl ExactSizeIterator<Item = &'s Self> + Clone,
    ) {
        out.u64s(all.clone().map(|counts| counts.zero));
        write_lengths(out, all.clone().map(|counts| counts.positive.len()));
        write_lengths(out, all.clone().map(|counts| counts.negative.len()));
        let buckets: Vec<(i32, u64)> = all
            .flat_map(|counts| counts.positive.iter().chain(&counts.negative))
            .copied()
            .collect();
        out.i32s(buckets.iter().map(|(bucket, _)| *bucket));
        out.u64s(buckets.iter().map(|(_, count)| *count));
    }

    /// Reads what [`encode_all`](Self::encode_all) has written of buckets of a schema.
    pub(super) fn decode_all(
        from: &mut Decoder<'_>,
        slots: usize,
        schema: i32,
    ) -> Result<Vec<Self>, Corrupt> {
        let zeros = read_counts(from, slots)?;
        let positive = read_lengths(from, slots)?;
        let negative = read_lengths(from, slots)?;
        let indexes = from.i32s()?;
        let counts = from.u64s()?;
        for length in [indexes.len(), counts.len()] {
            must_add_up(from, positive.iter().chain(&negative).copied(), length)?;
        }
        let mut buckets = indexes.into_iter().zip(counts);
        let mut take = |length| buckets.by_ref().take(length).collect();
        let all: Vec<Self> = zeros
            .into_iter()
            .zip(positive.into_iter().zip(negative))
            .map(|(zero, (positive, negative))| Self {
                zero,
                positive: take(positive),
                negative: take(negative),
            })
            .collect();
        must(
            from,
            all.iter().all(|counts| counts.is_valid(schema)),
            || format!("buckets are not those of values by schema {schema}"),
        )?;
        Ok(all)
    }

    /// Whether buckets are in order, those of some value, not empty, and of not too many values.
    fn is_valid(&self, schema: i32) -> bool {
        let indexes = indexes(schema);
        let are_buckets = |counts: &Counts| {
            counts.is_sorted_by(|(one, _), (next, _)| one < next)
                && counts
                    .iter()
                    .all(|(bucket, count)| indexes.contains(bucket) && *count > 0)
        };
        let counts = self.positive.iter().chain(&self.negative);
        let total = counts
            .map(|(_, count)| *count)
            .try_fold(self.zero, u64::checked_add);
        are_buckets(&self.positive)
            && are_buckets(&self.negative)
            && total.is_some_and(|total| total <= MOST_VALUES)
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
