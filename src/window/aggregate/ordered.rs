//! `first(x)` and `last(x)`: the value that is not NULL of the earliest and latest event, by event
//! time; between equal times, by split and position. Of nothing: NULL. Merged by comparing that
//! order.

use super::{Input, merge_slots, pick_slots};
use crate::model::{SplitId, TimestampMs, Trilean};

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    Earliest,
    Latest,
}

type Place = (TimestampMs, SplitId, u64);

/// Values with their place in time, by slot.
#[derive(Debug, Clone)]
pub struct Ordered<T> {
    pick: Pick,
    values: Vec<Option<(Place, T)>>,
}

impl<T: Copy> Ordered<T> {
    pub(super) fn new(pick: Pick) -> Self {
        Self {
            pick,
            values: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.values.resize(slots, None);
    }

    pub(super) fn update(
        &mut self,
        input: &Input<'_>,
        values: &[T],
        filter: Option<&[Trilean]>,
        is_some: impl Fn(&T) -> bool,
    ) {
        let (pick, states) = (self.pick, &mut self.values);
        input.for_each(filter, |row, slot| {
            let position = input.origin.positions.get(row);
            if let (Some(value), Some(time), Some(position), Some(state)) = (
                values.get(row),
                input.times.get(row),
                position,
                states.get_mut(slot),
            ) && is_some(value)
            {
                keep(pick, state, (*time, input.origin.split, *position), *value);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32], convert: impl Fn(T) -> T) {
        let pick = self.pick;
        merge_slots(&mut self.values, &other.values, slots, |mine, theirs| {
            if let Some((place, value)) = theirs {
                keep(pick, mine, *place, convert(*value));
            }
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self {
            pick: self.pick,
            values: pick_slots(&self.values, slots),
        }
    }

    pub(super) fn finish(&self, null: T) -> Vec<T> {
        self.values
            .iter()
            .map(|state| state.map_or(null, |(_, value)| value))
            .collect()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = T> {
        self.values.iter().flatten().map(|(_, value)| *value)
    }

    pub(super) fn byte_len(&self) -> usize {
        self.values.capacity() * size_of::<Option<(Place, T)>>()
    }
}

fn keep<T>(pick: Pick, state: &mut Option<(Place, T)>, place: Place, value: T) {
    let replaces = match (pick, state.as_ref()) {
        (_, None) => true,
        (Pick::Earliest, Some((known, _))) => place < *known,
        (Pick::Latest, Some((known, _))) => place > *known,
    };
    if replaces {
        *state = Some((place, value));
    }
}
