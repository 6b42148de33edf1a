//! `buckets(x, b1, b2, ...)`: how many of the values that are not NULL are at most `b1`, `b2` and so
//! on, as Prometheus' classic histogram. Of nothing: no samples. Merged by adding counts and sums.

use std::sync::Arc;

use super::state::{must, must_add_up};
use super::sum::ExactSum;
use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Corrupt, Decoder, Encoder, Trilean};

/// A classic histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassicHistogram {
    /// How many values are at most each bound, in the order of the bounds.
    pub cumulative: Vec<u64>,
    /// How many values there are in all.
    pub count: u64,
    /// The sum of all values.
    pub sum: f64,
}

/// The counts of one slot, not cumulative, and the sum. Values beyond the last bound are in the sum's
/// count only.
#[derive(Debug, Clone, Default)]
struct Counts {
    below: Vec<u64>,
    sum: ExactSum,
}

impl Counts {
    fn add(&mut self, value: f64, bounds: &[f64]) {
        self.below.resize(bounds.len(), 0);
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.below.get_mut(bucket) {
            *count += 1;
        }
        self.sum.add(value);
    }

    fn merge(&mut self, other: &Self) {
        self.below
            .resize(self.below.len().max(other.below.len()), 0);
        for (mine, theirs) in self.below.iter_mut().zip(&other.below) {
            *mine += theirs;
        }
        self.sum.merge(&other.sum);
    }
}

impl Counts {
    fn is_valid(&self) -> bool {
        let below = self.below.iter().copied().try_fold(0, u64::checked_add);
        below.is_some_and(|below| below <= self.sum.count())
    }
}

/// Counts by slot.
#[derive(Debug, Clone)]
pub struct Buckets {
    bounds: Arc<[f64]>,
    counts: Vec<Counts>,
}

impl Buckets {
    pub(super) fn new(bounds: Arc<[f64]>) -> Self {
        Self {
            bounds,
            counts: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.counts.resize_with(slots, Counts::default);
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64], filter: Option<&[Trilean]>) {
        let (bounds, all) = (&self.bounds, &mut self.counts);
        input.for_each(filter, |row, slot| {
            if let (Some(value), Some(counts)) = (values.get(row), all.get_mut(slot))
                && !value.is_nan()
            {
                counts.add(*value, bounds);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.counts, &other.counts, slots, Counts::merge);
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self {
            bounds: Arc::clone(&self.bounds),
            counts: pick_slots(&self.counts, slots),
        }
    }

    /// The number of values of each slot, NULL where there are none: what there is of a distribution
    /// in a column of numbers.
    pub(super) fn finish(&self) -> Column {
        let count = |counts: &Counts| match counts.sum.count() {
            0 => f64::NAN,
            count => count as f64,
        };
        Column::Number(self.counts.iter().map(count).collect())
    }

    /// The histogram of a slot; nothing where it has no values.
    pub(super) fn histogram(&self, slot: usize) -> Option<ClassicHistogram> {
        let counts = self.counts.get(slot)?;
        if counts.sum.count() == 0 {
            return None;
        }
        let mut below = 0;
        let add = |count: &u64| {
            below += count;
            below
        };
        Some(ClassicHistogram {
            cumulative: counts.below.iter().map(add).collect(),
            count: counts.sum.count(),
            sum: counts.sum.total(),
        })
    }

    /// The bounds, the sums, and of each slot that has values the counts below each bound.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.f64s(self.bounds.iter().copied());
        ExactSum::encode_all(out, self.counts.iter().map(|counts| &counts.sum));
        let below: Vec<u64> = self
            .counts
            .iter()
            .flat_map(|one| &one.below)
            .copied()
            .collect();
        out.u64s(below.into_iter());
    }

    pub(super) fn decode(
        empty: Self,
        from: &mut Decoder<'_>,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let bounds = from.f64s()?;
        must(from, *bounds == *empty.bounds, || {
            format!("the bounds are {bounds:?}, not {:?}", empty.bounds)
        })?;
        let sums = ExactSum::decode_all(from, slots)?;
        let below = from.u64s()?;
        let length = |sum: &ExactSum| match sum.count() {
            0 => 0,
            _ => bounds.len(),
        };
        must_add_up(from, sums.iter().map(length), below.len())?;
        let mut below = below.into_iter();
        let counts: Vec<_> = sums
            .into_iter()
            .map(|sum| Counts {
                below: below.by_ref().take(length(&sum)).collect(),
                sum,
            })
            .collect();
        must(from, counts.iter().all(Counts::is_valid), || {
            "more values are below the bounds than there are".to_owned()
        })?;
        Ok(Self { counts, ..empty })
    }

    pub(super) fn byte_len(&self) -> usize {
        let beside =
            |counts: &Counts| counts.below.capacity() * size_of::<u64>() + counts.sum.byte_len();
        let beside: usize = self.counts.iter().map(beside).sum();
        beside + self.counts.capacity() * size_of::<Counts>()
    }
}
