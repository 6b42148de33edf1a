//! All readings with their times, for what depends on how values follow each other, and for metrics
//! without a window. Merged by joining; put in order at the end, and of several at one time the one
//! furthest on in the source is kept.

use super::state::{must, must_add_up, read_lengths, write_lengths};
use super::{Input, merge_slots, null_unless_finite, pick_slots, rate, time_weighted};
use crate::model::{Column, Corrupt, Decoder, Encoder, SplitId, TimestampMs, Trilean};
use crate::window::{Bounds, Extent};

/// One reading. The fields stand in the order in which readings are sorted.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Reading {
    /// Event time, ms since the epoch.
    pub time: TimestampMs,
    /// Its split.
    pub split: SplitId,
    /// Its position in the split.
    pub position: u64,
    /// The value; never NaN. Truth is 1 and falsehood 0.
    pub value: f64,
}

/// What is made of the readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Nothing: they are taken as they are.
    None,
    Rate,
    Increase,
    Delta,
    TimeAverage,
    TimeIn,
}

impl Measure {
    fn of(self, readings: &[Reading], window: Bounds) -> f64 {
        match self {
            Self::None => f64::NAN,
            Self::Rate => rate::rate(readings),
            Self::Increase => rate::increase(readings),
            Self::Delta => rate::delta(readings),
            Self::TimeAverage => time_weighted::average(readings, window),
            Self::TimeIn => time_weighted::seconds_in(readings, window),
        }
    }
}

/// Readings by slot.
#[derive(Debug, Clone)]
pub struct Readings {
    measure: Measure,
    slots: Vec<Vec<Reading>>,
}

impl Readings {
    pub(super) fn new(measure: Measure) -> Self {
        Self {
            measure,
            slots: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, slots: usize) {
        self.slots.resize(slots, Vec::new());
    }

    pub(super) fn update(
        &mut self,
        input: &Input<'_>,
        column: &Column,
        filter: Option<&[Trilean]>,
    ) {
        let slots = &mut self.slots;
        input.for_each(filter, |row, slot| {
            let value = match column {
                Column::Number(values) => values.get(row).copied(),
                Column::Boolean(values) => values
                    .get(row)
                    .filter(|value| **value != Trilean::Null)
                    .map(|value| f64::from(u8::from(value.is_true()))),
                Column::Text(_) => None,
            };
            if let (Some(value), Some(time), Some(position), Some(readings)) = (
                value,
                input.times.get(row),
                input.origin.positions.get(row),
                slots.get_mut(slot),
            ) && !value.is_nan()
            {
                readings.push(Reading {
                    time: *time,
                    split: input.origin.split,
                    position: *position,
                    value,
                });
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.slots, &other.slots, slots, |mine, theirs| {
            mine.extend(theirs)
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self {
            measure: self.measure,
            slots: pick_slots(&self.slots, slots),
        }
    }

    pub(super) fn finish(&self, windows: Extent<'_>) -> Column {
        let value = |slot| {
            let readings = self.ordered(slot);
            null_unless_finite(self.measure.of(&readings, windows.of(slot)))
        };
        Column::Number((0..self.slots.len()).map(value).collect())
    }

    /// The readings of a slot by their times, one at each.
    pub(super) fn ordered(&self, slot: usize) -> Vec<Reading> {
        let mut readings = self.slots.get(slot).cloned().unwrap_or_default();
        let place = |reading: &Reading| (reading.time, reading.split, reading.position);
        // Stable, because events of one record have one position, and are in their order.
        readings.sort_by_key(place);
        // Keeps the first of its kind, so the last one comes first.
        readings.reverse();
        readings.dedup_by_key(|reading| reading.time);
        readings.reverse();
        readings
    }

    /// How many readings each slot has; the times, splits, positions and values of all of them.
    pub(super) fn encode(&self, out: &mut Encoder) {
        write_lengths(out, self.slots.iter().map(Vec::len));
        let all: Vec<Reading> = self.slots.iter().flatten().copied().collect();
        out.i64s(all.iter().map(|reading| reading.time));
        out.u32s(all.iter().map(|reading| reading.split.0));
        out.u64s(all.iter().map(|reading| reading.position));
        out.f64s(all.iter().map(|reading| reading.value));
    }

    pub(super) fn decode(
        empty: Self,
        from: &mut Decoder<'_>,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let lengths = read_lengths(from, slots)?;
        let times = from.i64s()?;
        let splits = from.u32s()?;
        let positions = from.u64s()?;
        let values = from.f64s()?;
        for length in [times.len(), splits.len(), positions.len(), values.len()] {
            must_add_up(from, lengths.iter().copied(), length)?;
        }
        must(from, values.iter().all(|value| !value.is_nan()), || {
            "a reading is NULL".to_owned()
        })?;
        let fields = times.into_iter().zip(splits).zip(positions).zip(values);
        let mut readings = fields.map(|(((time, split), position), value)| Reading {
            time,
            split: SplitId(split),
            position,
            value,
        });
        let take = |length| readings.by_ref().take(length).collect();
        Ok(Self {
            slots: lengths.into_iter().map(take).collect(),
            ..empty
        })
    }

    pub(super) fn byte_len(&self) -> usize {
        let readings: usize = self.slots.iter().map(Vec::capacity).sum();
        readings * size_of::<Reading>() + self.slots.capacity() * size_of::<Vec<Reading>>()
    }
}
