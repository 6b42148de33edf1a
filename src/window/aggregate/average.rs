//! `avg(x)`: the sum of the values that are not NULL divided by their number. Of nothing: NULL.
//! Merged by adding sums and counts.

use super::Input;
use super::sum::{ExactSum, Sum};
use crate::model::{Column, Corrupt, Decoder, Encoder, Trilean};

/// Sums with their counts, by slot.
#[derive(Debug, Clone, Default)]
pub struct Average(Sum);

impl Average {
    pub(super) fn grow(&mut self, slots: usize) {
        self.0.grow(slots);
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64], filter: Option<&[Trilean]>) {
        self.0.update(input, values, filter);
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        self.0.merge(&other.0, slots);
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self(self.0.pick(slots))
    }

    pub(super) fn finish(&self) -> Column {
        Column::Number(self.0.sums().iter().map(ExactSum::mean).collect())
    }

    /// The sums.
    pub(super) fn encode(&self, out: &mut Encoder) {
        self.0.encode(out);
    }

    pub(super) fn decode(from: &mut Decoder<'_>, slots: usize) -> Result<Self, Corrupt> {
        Ok(Self(Sum::decode(from, slots)?))
    }

    pub(super) fn byte_len(&self) -> usize {
        self.0.byte_len()
    }
}
