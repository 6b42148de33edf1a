//! What a worker knows of its splits: their watermarks, and from where they would have to be read
//! again.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Batch, SplitId, TimestampMs};
use crate::source::{Safe, SafePositions};

/// The splits of one worker.
#[derive(Debug)]
pub(super) struct Splits {
    out_of_order_ms: i64,
    splits: BTreeMap<SplitId, Split>,
}

#[derive(Debug, Default)]
struct Split {
    /// Whether it is somebody else's now. What is known of it stays: where it comes back, its
    /// records are read again from the last commit on, and their events are in windows already.
    revoked: bool,
    /// Records before this position were processed in an earlier assignment.
    processed_before: Option<u64>,
    /// The first position of all.
    origin: Option<u64>,
    /// The highest event time so far.
    highest: Option<TimestampMs>,
    /// Windows that end at or before this were written with the split's events by an earlier run.
    written: Option<TimestampMs>,
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
        Self {
            out_of_order_ms,
            splits: BTreeMap::new(),
        }
    }

    /// Records of a split begin at `first`. Gives the position before which they were processed in
    /// an earlier assignment and must not count again.
    pub(super) fn begin(&mut self, split: SplitId, first: u64) -> Option<u64> {
        let split = self.splits.entry(split).or_default();
        if split.revoked && split.origin.is_some_and(|origin| first < origin) {
            // No commit of ours leads there: these are other records, of a topic made anew.
            *split = Split::default();
        }
        split.revoked = false;
        split.origin.get_or_insert(first);
        if split.processed_before.is_some_and(|before| first >= before) {
            split.processed_before = None;
        }
        split.processed_before
    }

    /// Takes note of a batch's times: fills in the split's watermark before each row, and gives the
    /// split's highest time so far. `marks`, where there are some, say instead of the times how far
    /// each row moves the watermark.
    pub(super) fn observe(
        &mut self,
        batch: &mut Batch,
        marks: Option<&[TimestampMs]>,
    ) -> Option<TimestampMs> {
        let split = self.splits.entry(batch.split).or_default();
        batch.watermarks.reserve(batch.times.len());
        let mut highest = split.highest.unwrap_or(TimestampMs::MIN);
        for time in marks.unwrap_or(&batch.times) {
            batch
                .watermarks
                .push(highest.saturating_sub(self.out_of_order_ms));
            highest = highest.max(*time);
        }
        if highest > TimestampMs::MIN {
            split.highest = Some(highest);
        }
        split.highest
    }

    /// The watermark that a split has now, ms since the epoch.
    pub(super) fn watermark(&self, split: SplitId) -> TimestampMs {
        let highest = self.splits.get(&split).and_then(|split| split.highest);
        highest.map_or(TimestampMs::MIN, |highest| {
            highest.saturating_sub(self.out_of_order_ms)
        })
    }

    /// The highest watermark of all splits, ms since the epoch.
    pub(super) fn furthest_watermark(&self) -> TimestampMs {
        let highest = self.splits.values().filter_map(|split| split.highest).max();
        highest.map_or(TimestampMs::MIN, |highest| {
            highest.saturating_sub(self.out_of_order_ms)
        })
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
        // Records that are read again are accounted for by their first reading.
        let first = first.max(split.processed_before.unwrap_or_default());
        split.next = split.next.max(next);
        if let Some(end) = end {
            split.unwritten.push_back(Unwritten { first, end });
        }
    }

    /// An earlier run has written all windows up to `until` with a split's events.
    pub(super) fn set_written(&mut self, split: SplitId, until: TimestampMs) {
        self.splits.entry(split).or_default().written = Some(until);
    }

    /// Up to when windows were written with a split's events by an earlier run.
    pub(super) fn written(&self, split: SplitId) -> TimestampMs {
        let written = self.splits.get(&split).and_then(|split| split.written);
        written.unwrap_or(TimestampMs::MIN)
    }

    /// Says from where each split must be read again, where all windows that end at or before
    /// `acknowledged` are written.
    pub(super) fn report(&mut self, acknowledged: TimestampMs, safe: &SafePositions) {
        let positions: Vec<_> = self.safe_positions(acknowledged).collect();
        for (split, position) in positions {
            let written = acknowledged.max(self.written(split));
            safe.set(split, Safe { position, written });
        }
    }

    /// All windows that end at or before `acknowledged` are written. Gives the first position of
    /// each split that is still needed.
    fn safe_positions(
        &mut self,
        acknowledged: TimestampMs,
    ) -> impl Iterator<Item = (SplitId, u64)> {
        let ours = self.splits.iter_mut().filter(|(_, split)| !split.revoked);
        ours.map(move |(id, split)| {
            while split
                .unwritten
                .front()
                .is_some_and(|batch| batch.end <= acknowledged)
            {
                split.unwritten.pop_front();
            }
            (
                *id,
                split
                    .unwritten
                    .front()
                    .map_or(split.next, |batch| batch.first),
            )
        })
    }

    /// A split belongs to somebody else.
    pub(super) fn revoke(&mut self, split: SplitId) {
        if let Some(split) = self.splits.get_mut(&split) {
            split.revoked = true;
            split.processed_before = Some(split.next);
        }
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
        assert_eq!(splits.observe(&mut first, None), Some(12_000));
        assert_eq!(first.watermarks[1..], [8_000, 8_000]);
        assert!(first.watermarks[0] < -1_000_000);
        let mut second = batch(&[1_000]);
        assert_eq!(splits.observe(&mut second, None), Some(12_000));
        assert_eq!(second.watermarks, [10_000]);
        assert_eq!(splits.watermark(A), 10_000);
        assert_eq!(splits.observe(&mut batch(&[]), None), Some(12_000));
    }

    #[test]
    fn marks_move_the_watermark_in_the_place_of_times() {
        let mut splits = Splits::new(2_000);
        let mut first = batch(&[90_000, 10_000]);
        let none = [TimestampMs::MIN; 2];
        assert_eq!(splits.observe(&mut first, Some(&none)), None);
        assert_eq!(splits.watermark(A), TimestampMs::MIN);
        let mut second = batch(&[90_000, 10_000, 11_000]);
        let marks = [TimestampMs::MIN, 10_000, 11_000];
        assert_eq!(splits.observe(&mut second, Some(&marks)), Some(11_000));
        assert_eq!(second.watermarks[2], 8_000);
    }

    #[test]
    fn records_that_are_read_again_after_a_revocation_do_not_count_again() {
        let mut splits = Splits::new(0);
        assert_eq!(splits.begin(A, 100), None);
        splits.processed(A, 100, 110, Some(10_000));
        splits.processed(A, 110, 120, Some(20_000));
        assert_eq!(
            splits.begin(A, 120),
            None,
            "only a revocation makes records come again"
        );
        splits.revoke(A);
        assert_eq!(splits.safe_positions(0).count(), 0);

        assert_eq!(splits.begin(A, 105), Some(120));
        splits.processed(A, 105, 112, None);
        let safe = |splits: &mut Splits, at| splits.safe_positions(at).collect::<Vec<_>>();
        assert_eq!(
            safe(&mut splits, 10_000),
            [(A, 110)],
            "as at the first reading"
        );
        assert_eq!(splits.begin(A, 112), Some(120));
        splits.processed(A, 112, 125, Some(20_000));
        assert_eq!(splits.begin(A, 125), None);
        assert_eq!(safe(&mut splits, 20_000), [(A, 125)]);

        splits.revoke(A);
        assert_eq!(splits.begin(A, 0), None, "another topic of the same name");
        splits.processed(A, 0, 10, Some(30_000));
        assert_eq!(safe(&mut splits, 20_000), [(A, 0)]);
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
