//! All readings with their times, for metrics without a window: they are put in order, and of
//! several at one time the one furthest on in the source is kept. Merged by joining.

use super::{Input, merge_slots, pick_slots};
use crate::model::{SplitId, TimestampMs};

/// One reading. The fields stand in the order in which readings are sorted.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Reading {
    /// Event time, ms since the epoch.
    pub time: TimestampMs,
    /// Its split.
    pub split: SplitId,
    /// Its position in the split.
    pub position: u64,
    /// The value; never NaN.
    pub value: f64,
}

/// Readings by slot.
#[derive(Debug, Clone, Default)]
pub struct Collect(Vec<Vec<Reading>>);

impl Collect {
    pub(super) fn grow(&mut self, slots: usize) {
        self.0.resize(slots, Vec::new());
    }

    pub(super) fn update(&mut self, input: &Input<'_>, values: &[f64]) {
        let readings = &mut self.0;
        input.for_each(None, |row, slot| {
            if let (Some(value), Some(time), Some(position), Some(readings)) = (
                values.get(row),
                input.times.get(row),
                input.origin.positions.get(row),
                readings.get_mut(slot),
            ) && !value.is_nan()
            {
                let split = input.origin.split;
                readings.push(Reading {
                    time: *time,
                    split,
                    position: *position,
                    value: *value,
                });
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.0, &other.0, slots, |mine, theirs| {
            mine.extend(theirs)
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self(pick_slots(&self.0, slots))
    }

    pub(super) fn readings(&self, slot: usize) -> Option<&[Reading]> {
        self.0.get(slot).map(Vec::as_slice)
    }

    pub(super) fn byte_len(&self) -> usize {
        let readings: usize = self.0.iter().map(Vec::capacity).sum();
        readings * size_of::<Reading>() + self.0.capacity() * size_of::<Vec<Reading>>()
    }
}
