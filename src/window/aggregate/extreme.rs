//! `min(x)` and `max(x)`: the lowest and highest value that is not NULL. Of nothing: NULL. Merged
//! by comparing.

use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Trilean};

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
