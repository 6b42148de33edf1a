//! Marks of very many series: the hash of each in place of its labels.

use crate::model::TimestampMs;

/// Marks by [`Series::wide_hash`](crate::model::Series::wide_hash), in 24 bytes each.
#[derive(Debug, Clone)]
pub(super) struct CompactMarks {
    /// Ascending.
    hashes: Vec<u128>,
    /// In the same places.
    times: Vec<TimestampMs>,
    highest: TimestampMs,
}

impl Default for CompactMarks {
    fn default() -> Self {
        Self {
            hashes: Vec::new(),
            times: Vec::new(),
            highest: TimestampMs::MIN,
        }
    }
}

impl CompactMarks {
    /// These marks, in whatever order.
    #[cfg(test)]
    pub(super) fn of(mut marks: Vec<(u128, TimestampMs)>) -> Self {
        marks.sort_unstable();
        let mut all = Self::default();
        for (hash, time) in marks {
            all.push(hash, time);
        }
        all
    }

    /// Adds the mark of a series whose hash is above all others that were added, ms since the epoch.
    pub(super) fn push(&mut self, hash: u128, time: TimestampMs) {
        self.hashes.push(hash);
        self.times.push(time);
        self.highest = self.highest.max(time);
    }

    /// The mark of a series by its hash, ms since the epoch.
    pub(super) fn get(&self, hash: u128) -> Option<TimestampMs> {
        let place = self.hashes.binary_search(&hash).ok()?;
        self.times.get(place).copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The newest of all, ms since the epoch.
    pub(super) fn highest(&self) -> TimestampMs {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_found_by_its_hash() {
        let marks = CompactMarks::of(vec![(u128::MAX, 5), (0, 9), (7, -3)]);
        assert_eq!((marks.len(), marks.highest()), (3, 9));
        let found = [0, 1, 7, 8, u128::MAX].map(|hash| marks.get(hash));
        assert_eq!(found, [Some(9), None, Some(-3), None, Some(5)]);
        assert!(CompactMarks::default().is_empty());
    }
}
