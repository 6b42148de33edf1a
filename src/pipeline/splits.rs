//! What a worker knows of its splits: their watermarks, and from where they would have to be read
//! again.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Batch, SplitId, TimestampMs};

/// The splits of one worker.
#[derive(Debug)]
pub(super) struct Splits {
    out_of_order_ms: i64,
    splits: BTreeMap<SplitId, Split>,
}

#[derive(Debug, Default)]
struct Split {
    /// The highest event time so far.
    highest: Option<TimestampMs>,
    /// Batches whose windows are not all written, oldest first.
    unwritten: VecDeque<Unwritten>,
    /// The position after the last record.
    next: u64,
}

/// A batch whose windows are not all written.
#[derive(Debug)]
struct Unwritten {
    /// Its first position.
    first: u64,
    /// The latest end of its windows.
    end: TimestampMs,
}

impl Splits {
    pub(super) fn new(out_of_order_ms: i64) -> Self {
        Self { out_of_order_ms, splits: BTreeMap::new() }
    }

    /// Takes note of a batch's times: fills in the split's watermark before each row, and gives the
    /// split's highest time so far.
    pub(super) fn observe(&mut self, batch: &mut Batch) -> Option<TimestampMs> {
        let split = self.splits.entry(batch.split).or_default();
        batch.watermarks.reserve(batch.times.len());
        let mut highest = split.highest.unwrap_or(TimestampMs::MIN);
        for time in &batch.times {
            batch.watermarks.push(highest.saturating_sub(self.out_of_order_ms));
            highest = highest.max(*time);
        }
        if !batch.times.is_empty() {
            split.highest = Some(highest);
        }
        split.highest
    }

    /// The watermark that a split has now, ms since the epoch.
    pub(super) fn watermark(&self, split: SplitId) -> TimestampMs {
        let highest = self.splits.get(&split).and_then(|split| split.highest);
        highest.map_or(TimestampMs::MIN, |highest| highest.saturating_sub(self.out_of_order_ms))
    }

    /// A batch of positions `first..next` was processed; its latest window ends at `end`, where it
    /// had events.
    pub(super) fn processed(
        &mut self,
        split: SplitId,
        first: u64,
        next: u64,
        end: Option<TimestampMs>,
    ) {
        let split = self.splits.entry(split).or_default();
        split.next = next;
        if let Some(end) = end {
            split.unwritten.push_back(Unwritten { first, end });
        }
    }

    /// All windows that end at or before `acknowledged` are written. Gives the first position of
    /// each split that is still needed.
    pub(super) fn safe_positions(
        &mut self,
        acknowledged: TimestampMs,
    ) -> impl Iterator<Item = (SplitId, u64)> {
        self.splits.iter_mut().map(move |(id, split)| {
            while split.unwritten.front().is_some_and(|batch| batch.end <= acknowledged) {
                split.unwritten.pop_front();
            }
            (*id, split.unwritten.front().map_or(split.next, |batch| batch.first))
        })
    }

    /// A split belongs to somebody else.
    pub(super) fn revoke(&mut self, split: SplitId) {
        self.splits.remove(&split);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SplitId = SplitId(3);

    fn batch(times: &[TimestampMs]) -> Batch {
        let mut batch = Batch::new(A);
        batch.times = times.to_vec();
        batch
    }

    #[test]
    fn each_row_has_the_watermark_before_it() {
        let mut splits = Splits::new(2_000);
        let mut first = batch(&[10_000, 9_000, 12_000]);
        assert_eq!(splits.observe(&mut first), Some(12_000));
        assert_eq!(first.watermarks[1..], [8_000, 8_000]);
        assert!(first.watermarks[0] < -1_000_000);
        let mut second = batch(&[1_000]);
        assert_eq!(splits.observe(&mut second), Some(12_000));
        assert_eq!(second.watermarks, [10_000]);
        assert_eq!(splits.watermark(A), 10_000);
        assert_eq!(splits.observe(&mut batch(&[])), Some(12_000));
    }

    #[test]
    fn a_position_is_safe_once_all_windows_before_it_are_written() {
        let mut splits = Splits::new(0);
        splits.processed(A, 100, 110, Some(10_000));
        splits.processed(A, 110, 120, Some(5_000));
        splits.processed(A, 120, 130, Some(15_000));
        splits.processed(A, 130, 140, None);
        let mut safe = |at| splits.safe_positions(at).collect::<Vec<_>>();
        assert_eq!(safe(9_999), [(A, 100)]);
        assert_eq!(safe(10_000), [(A, 120)]);
        assert_eq!(safe(15_000), [(A, 140)]);
    }
}
