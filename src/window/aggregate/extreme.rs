//! `min(x)` and `max(x)`: the lowest and highest value that is not NULL. Of nothing: NULL. Merged
//! by comparing.

use super::state::{for_slots, must};
use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Corrupt, Decoder, Encoder, Trilean};

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Lowest,
    Highest,
}

/// Extremes by slot; NaN where there is none yet.
#[derive(Debug, Clone)]
pub struct Extreme {
    side: Side,
    values: Vec<f64>,
}

impl Extreme {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            values: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.values.resize(slots, f64::NAN);
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64], filter: Option<&[Trilean]>) {
        let (side, extremes) = (self.side, &mut self.values);
        input.for_each(filter, |row, slot| {
            if let (Some(value), Some(extreme)) = (values.get(row), extremes.get_mut(slot)) {
                *extreme = further(side, *extreme, *value);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        let side = self.side;
        merge_slots(&mut self.values, &other.values, slots, |mine, theirs| {
            *mine = further(side, *mine, *theirs);
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self {
            side: self.side,
            values: pick_slots(&self.values, slots),
        }
    }

    pub(super) fn finish(&self) -> Column {
        Column::Number(self.values.clone())
    }

    /// Whether it is the highest, and a column.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.bool(self.side == Side::Highest);
        out.f64s(self.values.iter().copied());
    }

    pub(super) fn decode(
        empty: Self,
        from: &mut Decoder<'_>,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let is_highest = from.bool()?;
        must(from, is_highest == (empty.side == Side::Highest), || {
            "the lowest values are not the highest ones".to_owned()
        })?;
        let values = from.f64s()?;
        let values = for_slots(from, values, slots)?;
        let is_zero_without_sign = |value: &f64| *value != 0.0 || value.is_sign_positive();
        must(from, values.iter().all(is_zero_without_sign), || {
            "an extreme is −0".to_owned()
        })?;
        Ok(Self { values, ..empty })
    }

    pub(super) fn byte_len(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
    }
}

/// The further of two values; NaN gives way. Zero has no sign here: which of −0 and 0 came first
/// must not show.
fn further(side: Side, one: f64, other: f64) -> f64 {
    let further = match side {
        Side::Lowest => one.min(other),
        Side::Highest => one.max(other),
    };
    further + 0.0
}
