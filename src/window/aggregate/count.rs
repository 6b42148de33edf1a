//! `count(*)`: rows. `count(x)`: values that are not NULL. Of nothing: 0. Merged by adding.

use super::state::read_counts;
use super::{Input, merge_slots, pick_slots};
use crate::model::{Column, Corrupt, Decoder, Encoder, Trilean};

/// Counts by slot.
#[derive(Debug, Clone, Default)]
pub struct Count(Vec<u64>);

impl Count {
    pub(super) fn grow(&mut self, slots: usize) {
        self.0.resize(slots, 0);
    }

    pub(super) fn update(
        &mut self,
        input: &Input<'_>,
        column: Option<&Column>,
        filter: Option<&[Trilean]>,
    ) {
        let counts = &mut self.0;
        let mut add = |slot: usize, counted: bool| {
            if let Some(count) = counts.get_mut(slot) {
                *count += u64::from(counted);
            }
        };
        match column {
            None => input.for_each(filter, |_, slot| add(slot, true)),
            Some(Column::Number(values)) => input.for_each(filter, |row, slot| {
                add(slot, values.get(row).is_some_and(|value| !value.is_nan()));
            }),
            Some(Column::Text(values)) => input.for_each(filter, |row, slot| {
                add(slot, values.get(row).is_some_and(|value| !value.is_null()));
            }),
            Some(Column::Boolean(values)) => input.for_each(filter, |row, slot| {
                add(
                    slot,
                    values.get(row).is_some_and(|value| *value != Trilean::Null),
                );
            }),
        }
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.0, &other.0, slots, |mine, theirs| *mine += theirs);
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self(pick_slots(&self.0, slots))
    }

    pub(super) fn finish(&self) -> Column {
        Column::Number(self.0.iter().map(|count| *count as f64).collect())
    }

    /// A column.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u64s(self.0.iter().copied());
    }

    pub(super) fn decode(from: &mut Decoder<'_>, slots: usize) -> Result<Self, Corrupt> {
        Ok(Self(read_counts(from, slots)?))
    }

    pub(super) fn byte_len(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }
}
