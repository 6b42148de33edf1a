//! `first(x)` and `last(x)`: the value that is not NULL of the earliest and latest event, by event
//! time; between equal times, by split and position. Of nothing: NULL. Merged by comparing that
//! order.

use super::state::{for_slots, must, must_add_up};
use super::{Input, merge_slots, pick_slots};
use crate::model::{
    Corrupt, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, SplitId, Symbol,
    TimestampMs, Trilean,
};

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

impl HoldsSymbols for Ordered<Symbol> {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.values().for_each(|symbol| live.mark(symbol));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        for (_, symbol) in self.values.iter_mut().flatten() {
            symbol.renumber(numbers);
        }
    }
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
                let place = (*time, input.origin.split, *position);
                // Events of one record have one position, and come in their order.
                match state {
                    Some((known, last)) if pick == Pick::Latest && place == *known => {
                        *last = *value
                    }
                    state => keep(pick, state, place, *value),
                }
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

    /// Whether it is the latest, a column that says which slots have a value, and for each of those
    /// its time, split, position and value. `write` writes the column of values.
    pub(super) fn encode(&self, out: &mut Encoder, write: impl FnOnce(&mut Encoder, Vec<T>)) {
        out.bool(self.pick == Pick::Latest);
        out.u8s(self.values.iter().map(|state| u8::from(state.is_some())));
        let places: Vec<Place> = self
            .values
            .iter()
            .flatten()
            .map(|(place, _)| *place)
            .collect();
        out.i64s(places.iter().map(|(time, _, _)| *time));
        out.u32s(places.iter().map(|(_, split, _)| split.0));
        out.u64s(places.iter().map(|(_, _, position)| *position));
        write(out, self.values().collect());
    }

    /// `read` reads the column of values, and refuses NULL.
    pub(super) fn decode(
        empty: Self,
        from: &mut Decoder<'_>,
        slots: usize,
        read: impl FnOnce(&mut Decoder<'_>) -> Result<Vec<T>, Corrupt>,
    ) -> Result<Self, Corrupt> {
        let is_latest = from.bool()?;
        must(from, is_latest == (empty.pick == Pick::Latest), || {
            "the first values are not the last ones".to_owned()
        })?;
        let present = from.u8s()?;
        let present = for_slots(from, present, slots)?;
        must(from, present.iter().all(|present| *present <= 1), || {
            "whether there is a value is neither 0 nor 1".to_owned()
        })?;
        let times = from.i64s()?;
        let splits = from.u32s()?;
        let positions = from.u64s()?;
        let values = read(from)?;
        for length in [times.len(), splits.len(), positions.len(), values.len()] {
            must_add_up(
                from,
                present.iter().map(|present| usize::from(*present)),
                length,
            )?;
        }
        let splits = splits.into_iter().map(SplitId);
        let mut found = times.into_iter().zip(splits).zip(positions).zip(values);
        let next = |present: u8| match present {
            0 => None,
            _ => found
                .next()
                .map(|(((time, split), position), value)| ((time, split, position), value)),
        };
        Ok(Self {
            values: present.into_iter().map(next).collect(),
            ..empty
        })
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
