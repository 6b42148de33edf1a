//! `histogram(x)`: the distribution of the values that are not NULL, as Prometheus' native histogram.
//! Of nothing: no sample. Merged by adding the counts of buckets, and the sums.
//!
//! The buckets are those of `histogram(x, schema)`, by default 3, which is eight to each doubling.
//! Where there are more than [`MAX_BUCKETS`], neighbours are joined, which is the next coarser schema,
//! until there are not.

use super::exponential::{Counts, Exponential, count};
use super::octave::{COARSEST, coarser};
use super::state::must;
use super::sum::ExactSum;
use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Corrupt, Decoder, Encoder, NativeHistogram, Trilean};

/// The schema where none is given.
pub(super) const DEFAULT_SCHEMA: i32 = 3;
/// Prometheus' default: 2⁻¹²⁸.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;
/// How many buckets a sample has at most.
const MAX_BUCKETS: usize = 160;

#[derive(Debug, Clone, Default)]
struct Distribution {
    counts: Exponential,
    sum: ExactSum,
}

/// Distributions by slot.
#[derive(Debug, Clone)]
pub struct Histogram {
    schema: i32,
    distributions: Vec<Distribution>,
}

impl Histogram {
    pub(super) fn new(schema: i32) -> Self {
        Self {
            schema,
            distributions: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.distributions.resize_with(slots, Distribution::default);
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64], filter: Option<&[Trilean]>) {
        let (schema, all) = (self.schema, &mut self.distributions);
        input.for_each(filter, |row, slot| {
            if let (Some(value), Some(distribution)) = (values.get(row), all.get_mut(slot))
                && !value.is_nan()
            {
                distribution.counts.add(*value, schema, ZERO_THRESHOLD);
                distribution.sum.add(*value);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        let (mine, theirs) = (&mut self.distributions, &other.distributions);
        merge_slots(mine, theirs, slots, |mine, theirs| {
            mine.counts.merge(&theirs.counts);
            mine.sum.merge(&theirs.sum);
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self {
            schema: self.schema,
            distributions: pick_slots(&self.distributions, slots),
        }
    }

    /// The number of values of each slot, NULL where there are none: what there is of a distribution
    /// in a column of numbers.
    pub(super) fn finish(&self) -> Column {
        let count = |distribution: &Distribution| match distribution.sum.count() {
            0 => f64::NAN,
            count => count as f64,
        };
        Column::Number(self.distributions.iter().map(count).collect())
    }

    /// The histogram of a slot; nothing where it has no values.
    pub(super) fn histogram(&self, slot: usize) -> Option<NativeHistogram> {
        let distribution = self.distributions.get(slot)?;
        if distribution.sum.count() == 0 {
            return None;
        }
        let counts = &distribution.counts;
        let mut positive = counts.positive.clone();
        let mut negative = counts.negative.clone();
        let mut schema = self.schema;
        while positive.len() + negative.len() > MAX_BUCKETS && schema > COARSEST {
            positive = join_neighbours(&positive);
            negative = join_neighbours(&negative);
            schema -= 1;
        }
        Some(NativeHistogram {
            schema,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: counts.zero,
            count: distribution.sum.count(),
            sum: distribution.sum.total(),
            positive,
            negative,
        })
    }

    /// The schema, the counts and the sums.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.i32(self.schema);
        Exponential::encode_all(out, self.distributions.iter().map(|one| &one.counts));
        ExactSum::encode_all(out, self.distributions.iter().map(|one| &one.sum));
    }

    pub(super) fn decode(
        empty: Self,
        from: &mut Decoder<'_>,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let schema = from.i32()?;
        must(from, schema == empty.schema, || {
            format!("the schema is {schema}, not {}", empty.schema)
        })?;
        let counts = Exponential::decode_all(from, slots, schema)?;
        let sums = ExactSum::decode_all(from, slots)?;
        let distributions: Vec<_> = counts
            .into_iter()
            .zip(sums)
            .map(|(counts, sum)| Distribution { counts, sum })
            .collect();
        let is_whole = |one: &Distribution| one.counts.count() == one.sum.count();
        must(from, distributions.iter().all(is_whole), || {
            "buckets and a sum are not of the same values".to_owned()
        })?;
        Ok(Self {
            distributions,
            ..empty
        })
    }

    pub(super) fn byte_len(&self) -> usize {
        let beside = |one: &Distribution| one.counts.byte_len() + one.sum.byte_len();
        let beside: usize = self.distributions.iter().map(beside).sum();
        beside + self.distributions.capacity() * size_of::<Distribution>()
    }
}

fn join_neighbours(counts: &Counts) -> Counts {
    let mut joined = Counts::new();
    for (bucket, more) in counts {
        count(&mut joined, coarser(*bucket, 1), *more);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = f64>, schema: i32) -> NativeHistogram {
        let mut state = Histogram::new(schema);
        state.grow(1);
        for value in values {
            let distribution = &mut state.distributions[0];
            distribution.counts.add(value, schema, ZERO_THRESHOLD);
            distribution.sum.add(value);
        }
        state.histogram(0).unwrap()
    }

    #[test]
    fn values_are_in_the_buckets_of_the_specification() {
        let found = histogram([0.0, 1e-40, 1.0, 1.05, 1.1, 2.0, -4.0, -5.0, -5.1], 3);
        let expected = NativeHistogram {
            schema: 3,
            zero_threshold: 2_f64.powi(-128),
            zero_count: 2,
            count: 9,
            sum: -8.95,
            positive: vec![(0, 1), (1, 1), (2, 1), (8, 1)],
            negative: vec![(16, 1), (19, 2)],
        };
        assert_eq!(found, expected);
        assert!(Histogram::new(3).histogram(0).is_none());
    }

    #[test]
    fn a_wide_distribution_gets_a_coarser_schema() {
        let values: Vec<f64> = (-60..60)
            .map(|exponent| 1.3 * 2_f64.powi(exponent))
            .collect();
        assert_eq!(histogram(values.iter().copied(), 8).schema, 8);
        let both = values.iter().flat_map(|value| [*value, -value]);
        let found = histogram(both, 8);
        assert_eq!(found.schema, -1);
        assert_eq!(found.positive.len() + found.negative.len(), 120);
        // Two octaves each: the same as if counted so from the beginning.
        let both = values.iter().flat_map(|value| [*value, -value]);
        assert_eq!(found, histogram(both, -1));
    }

    #[test]
    fn the_widest_distribution_fits() {
        let range = (-128..1024).map(|exponent| 1.3 * 2_f64.powi(exponent.min(1023)));
        let found = histogram(range.flat_map(|value| [value, -value]), 8);
        assert_eq!(found.schema, -4);
        assert!(found.positive.len() + found.negative.len() <= MAX_BUCKETS);
    }
}
