//! The fields that a lookup adds, by place: a row of a batch, a key of a worker.

use super::super::field_value::FieldValue;
use super::super::values::Values;
use super::answer::Answer;
use crate::model::{Column, HoldsSymbols, Interner, LiveSymbols, Renumbering};

/// Whether a key was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Hit,
    /// The service does not know the key, or has not answered.
    Miss,
}

/// The added fields of some places.
#[derive(Debug)]
pub(super) struct Fields {
    outcomes: Vec<Outcome>,
    values: Values,
}

impl Fields {
    pub(super) fn new(fallbacks: &[FieldValue]) -> Self {
        Self {
            outcomes: Vec::new(),
            values: Values::new(fallbacks),
        }
    }

    /// Makes room for so many places; new ones are misses with NULLs.
    pub(super) fn resize(&mut self, places: usize) {
        self.outcomes.resize(places, Outcome::Miss);
        self.values.resize(places);
    }

    /// Puts an answer into a place, or the fallbacks where it has no values.
    pub(super) fn set(
        &mut self,
        place: usize,
        answer: &Answer,
        fallbacks: &[FieldValue],
        interner: &mut Interner,
    ) {
        let (outcome, values) = match answer {
            Answer::Found(values) => (Outcome::Hit, &**values),
            Answer::Missing | Answer::Failed => (Outcome::Miss, fallbacks),
        };
        if let Some(entry) = self.outcomes.get_mut(place) {
            *entry = outcome;
        }
        self.values.set(place, values, interner);
    }

    /// Copies a place of others, which have the same columns.
    pub(super) fn copy(&mut self, place: usize, from: &Self, other: usize) {
        if let (Some(entry), Some(outcome)) =
            (self.outcomes.get_mut(place), from.outcomes.get(other))
        {
            *entry = *outcome;
        }
        self.values.copy(place, &from.values, other);
    }

    /// Marks the symbols of a place.
    pub(super) fn mark_place(&self, place: usize, live: &mut LiveSymbols) {
        self.values.mark_slot(place, live);
    }

    /// How many places are hits.
    pub(super) fn hits(&self) -> usize {
        self.outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Hit)
            .count()
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// The places that are hits.
    pub(super) fn places_of_hits(&self) -> Vec<u32> {
        let places = (0_u32..).zip(&self.outcomes);
        places
            .filter(|(_, outcome)| **outcome == Outcome::Hit)
            .map(|(place, _)| place)
            .collect()
    }

    /// The columns, a row for each place.
    pub(super) fn into_columns(self) -> Vec<Column> {
        self.values.into_columns()
    }
}

impl HoldsSymbols for Fields {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.values.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.values.renumber(numbers);
    }
}
