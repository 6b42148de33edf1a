//! What a worker knows of its splits: their watermarks, and from where they would have to be read
//! again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::split_state::{SplitState, SplitStates, Unwritten};
use crate::model::{self, Batch, SplitId, TimestampMs};
use crate::source::{KeptPositions, Safe, SafePositions};

/// The splits of one worker.
#[derive(Debug)]
pub(in crate::pipeline) struct Splits {
    out_of_order_ms: i64,
    splits: BTreeMap<SplitId, Split>,
    /// What a checkpoint says of the splits of all workers. A split's state takes effect when it is
    /// assigned.
    restored: Arc<SplitStates>,
    /// With checkpoints, the positions in the latest one.
    durable: Option<KeptPositions>,
}

#[derive(Debug, Default)]
struct Split {
    /// Its name, from its assignment on.
    name: Option<Arc<str>>,
    /// Whether its position is a checkpoint's, so that what an earlier run has committed elsewhere
    /// says nothing.
    is_restored: bool,
    /// Whether it is somebody else's now. What is known of it stays: where it comes back, its
    /// records are read again from the last commit on, and their events are in windows already.
    revoked: bool,
    /// Records before this position were processed in an earlier assignment.
    processed_before: Option<u64>,
    /// The first position of all.
    origin: Option<u64>,
    /// The highest event time so far.
    highest: Option<TimestampMs>,
    /// The highest event time of the records before `next`: others are decoded and wait for answers.
    processed_highest: Option<TimestampMs>,
    /// Windows that end at or before this were written with the split's events by an earlier run.
    written: Option<TimestampMs>,
    /// Batches whose windows are not all written, oldest first.
    unwritten: VecDeque<Unwritten>,
    /// The position after the last record that was processed, once one was.
    next: Option<u64>,
}

impl Split {
    /// A split goes on as a checkpoint says.
    fn restored(state: &SplitState) -> Self {
        Self {
            name: Some(state.name.clone()),
            is_restored: state.next.is_some(),
            revoked: state.revoked,
            // A source that begins too early must not make records count twice.
            processed_before: state.processed_before.max(state.next),
            origin: state.origin,
            highest: state.highest,
            processed_highest: state.highest,
            written: state.written,
            unwritten: state.unwritten.iter().copied().collect(),
            next: state.next,
        }
    }

    /// What a checkpoint says of it; nothing where it was never assigned.
    fn state(&self) -> Option<SplitState> {
        Some(SplitState {
            name: self.name.clone()?,
            revoked: self.revoked,
            processed_before: self.processed_before,
            origin: self.origin,
            highest: self.processed_highest,
            written: self.written,
            unwritten: self.unwritten.iter().copied().collect(),
            next: self.next,
        })
    }
}

impl Splits {
    pub(in crate::pipeline) fn new(out_of_order_ms: i64) -> Self {
        Self {
            out_of_order_ms,
            splits: BTreeMap::new(),
            restored: Arc::default(),
            durable: None,
        }
    }

    /// The same, where no position is safe that is behind that of the latest checkpoint.
    pub(in crate::pipeline) fn within(mut self, durable: Option<KeptPositions>) -> Self {
        self.durable = durable;
        self
    }

    /// From now on, splits that are assigned for the first time go on as a checkpoint says. All
    /// workers are given the same states: which of them a split is assigned to is not known before.
    pub(in crate::pipeline) fn restore(&mut self, states: Arc<SplitStates>) {
        self.restored = states;
    }

    /// A split is read by this worker from now on.
    pub(in crate::pipeline) fn assign(&mut self, split: &model::Split) {
        let restored = self.restored.get(&split.name);
        let known = self.splits.entry(split.id).or_default();
        if let Some(restored) = restored
            && known.name.is_none()
            && known.origin.is_none()
        {
            *known = Split::restored(restored);
        }
        known.name = Some(split.name.clone());
    }

    /// The splits that were assigned so far as they are now, of processed records only.
    pub(in crate::pipeline) fn snapshot(&self) -> Vec<SplitState> {
        self.splits.values().filter_map(Split::state).collect()
    }

    /// Records of a split begin at `first`. Gives the position before which they were processed in
    /// an earlier assignment and must not count again.
    pub(in crate::pipeline) fn begin(&mut self, split: SplitId, first: u64) -> Option<u64> {
        let split = self.splits.entry(split).or_default();
        if split.revoked && split.origin.is_some_and(|origin| first < origin) {
            // No commit of ours leads there: these are other records, of a topic made anew.
            *split = Split {
                name: split.name.take(),
                ..Split::default()
            };
        }
        split.revoked = false;
        split.origin.get_or_insert(first);
        if split.processed_before.is_some_and(|before| first >= before) {
            split.processed_before = None;
        }
        split.processed_before
    }

    /// The positions of a split begin again: its records are others from now on.
    pub(in crate::pipeline) fn begin_anew(&mut self, split: SplitId) {
        if let Some(split) = self.splits.get_mut(&split) {
            *split = Split {
                name: split.name.take(),
                ..Split::default()
            };
        }
    }

    /// Takes note of a batch's times: fills in the split's watermark before each row, and gives the
    /// split's highest time so far. `marks`, where there are some, say instead of the times how far
    /// each row moves the watermark.
    pub(in crate::pipeline) fn observe(
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
    pub(in crate::pipeline) fn watermark(&self, split: SplitId) -> TimestampMs {
        let highest = self.splits.get(&split).and_then(|split| split.highest);
        highest.map_or(TimestampMs::MIN, |highest| {
            highest.saturating_sub(self.out_of_order_ms)
        })
    }

    /// The highest watermark of all splits, ms since the epoch.
    pub(in crate::pipeline) fn furthest_watermark(&self) -> TimestampMs {
        self.highest().map_or(TimestampMs::MIN, |highest| {
            highest.saturating_sub(self.out_of_order_ms)
        })
    }

    /// The highest event time of all splits, ms since the epoch.
    pub(in crate::pipeline) fn highest(&self) -> Option<TimestampMs> {
        self.splits.values().filter_map(|split| split.highest).max()
    }

    /// A batch of positions `first..next` was processed; its latest window ends at `end`, where it
    /// had events. `highest` is what [`observe`](Self::observe) gave for it.
    pub(in crate::pipeline) fn processed(
        &mut self,
        split: SplitId,
        first: u64,
        next: u64,
        end: Option<TimestampMs>,
        highest: Option<TimestampMs>,
    ) {
        let split = self.splits.entry(split).or_default();
        // Records that are read again are accounted for by their first reading.
        let first = first.max(split.processed_before.unwrap_or_default());
        split.next = split.next.max(Some(next));
        split.processed_highest = split.processed_highest.max(highest);
        if let Some(end) = end {
            split.unwritten.push_back(Unwritten { first, end });
        }
    }

    /// An earlier run has written all windows up to `until` with a split's events. That run's state is
    /// not this one's: where there is a checkpoint, it knows better.
    pub(in crate::pipeline) fn set_written(&mut self, split: SplitId, until: TimestampMs) {
        let split = self.splits.entry(split).or_default();
        if !split.is_restored {
            split.written = Some(until);
        }
    }

    /// Up to when windows were written with a split's events by an earlier run.
    pub(in crate::pipeline) fn written(&self, split: SplitId) -> TimestampMs {
        let written = self.splits.get(&split).and_then(|split| split.written);
        written.unwrap_or(TimestampMs::MIN)
    }

    /// Says from where each split must be read again, where all windows that end at or before
    /// `acknowledged` are written.
    pub(in crate::pipeline) fn report(&mut self, acknowledged: TimestampMs, safe: &SafePositions) {
        let mut positions: Vec<_> = self.safe_positions(acknowledged).collect();
        if let Some(durable) = &self.durable {
            // Where no checkpoint is left, nothing may be missing of what the latest one has.
            positions.retain_mut(|(split, position)| {
                let name = self
                    .splits
                    .get(split)
                    .and_then(|split| split.name.as_deref());
                let limit = name.and_then(|name| durable.position(name));
                *position = limit.map_or(*position, |limit| limit.min(*position));
                limit.is_some()
            });
        }
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
        // Of a split of which nothing was processed there is nothing to tell.
        ours.filter_map(move |(id, split)| {
            while split
                .unwritten
                .front()
                .is_some_and(|batch| batch.end <= acknowledged)
            {
                split.unwritten.pop_front();
            }
            let first = split.unwritten.front().map(|batch| batch.first);
            Some((*id, first.or(split.next)?))
        })
    }

    /// A split belongs to somebody else.
    pub(in crate::pipeline) fn revoke(&mut self, split: SplitId) {
        if let Some(split) = self.splits.get_mut(&split) {
            split.revoked = true;
            split.is_restored = false;
            split.processed_before = split.processed_before.max(split.next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::worker::split_state::all_of;

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
        splits.processed(A, 100, 110, Some(10_000), None);
        splits.processed(A, 110, 120, Some(20_000), None);
        assert_eq!(
            splits.begin(A, 120),
            None,
            "only a revocation makes records come again"
        );
        splits.revoke(A);
        assert_eq!(splits.safe_positions(0).count(), 0);

        assert_eq!(splits.begin(A, 105), Some(120));
        splits.processed(A, 105, 112, None, None);
        let safe = |splits: &mut Splits, at| splits.safe_positions(at).collect::<Vec<_>>();
        assert_eq!(
            safe(&mut splits, 10_000),
            [(A, 110)],
            "as at the first reading"
        );
        assert_eq!(splits.begin(A, 112), Some(120));
        splits.processed(A, 112, 125, Some(20_000), None);
        assert_eq!(splits.begin(A, 125), None);
        assert_eq!(safe(&mut splits, 20_000), [(A, 125)]);

        splits.revoke(A);
        assert_eq!(splits.begin(A, 0), None, "another topic of the same name");
        splits.processed(A, 0, 10, Some(30_000), None);
        assert_eq!(safe(&mut splits, 20_000), [(A, 0)]);
    }

    #[test]
    fn a_split_that_begins_anew_counts_its_records_from_the_first_one() {
        let mut splits = Splits::new(0);
        splits.assign(&assigned("a"));
        splits.begin(A, 0);
        splits.processed(A, 0, 100, Some(10_000), None);
        splits.revoke(A);
        splits.assign(&assigned("a"));
        splits.begin_anew(A);
        assert_eq!(splits.begin(A, 0), None);
        splits.processed(A, 0, 5, Some(20_000), None);
        assert_eq!(splits.snapshot()[0].position(), Some(5));
        let safe: Vec<_> = splits.safe_positions(20_000).collect();
        assert_eq!(safe, [(A, 5)]);
    }

    #[test]
    fn a_position_is_safe_once_all_windows_before_it_are_written() {
        let mut splits = Splits::new(0);
        splits.processed(A, 100, 110, Some(10_000), None);
        splits.processed(A, 110, 120, Some(5_000), None);
        splits.processed(A, 120, 130, Some(15_000), None);
        splits.processed(A, 130, 140, None, None);
        let mut safe = |at| splits.safe_positions(at).collect::<Vec<_>>();
        assert_eq!(safe(9_999), [(A, 100)]);
        assert_eq!(safe(10_000), [(A, 120)]);
        assert_eq!(safe(15_000), [(A, 140)]);
    }

    fn assigned(name: &str) -> model::Split {
        let name = name.into();
        model::Split { id: A, name }
    }

    /// Splits that go on as others were.
    fn restored(from: &Splits) -> Splits {
        let mut splits = Splits::new(2_000);
        splits.restore(Arc::new(all_of([from.snapshot()], &SplitStates::new())));
        splits
    }

    #[test]
    fn a_snapshot_is_of_processed_records_only() {
        let mut splits = Splits::new(2_000);
        splits.assign(&assigned("a"));
        assert_eq!(splits.snapshot()[0].position(), None);
        assert_eq!(splits.safe_positions(0).count(), 0);
        splits.begin(A, 100);
        let first = splits.observe(&mut batch(&[10_000]), None);
        splits.begin(A, 101);
        let second = splits.observe(&mut batch(&[30_000]), None);
        splits.processed(A, 100, 101, Some(15_000), first);
        let state = &splits.snapshot()[0];
        assert_eq!((state.position(), state.highest), (Some(101), Some(10_000)));
        assert_eq!(splits.watermark(A), 28_000, "decoded records count here");
        splits.processed(A, 101, 102, Some(35_000), second);
        let state = &splits.snapshot()[0];
        assert_eq!((state.position(), state.highest), (Some(102), Some(30_000)));
        let unwritten: Vec<_> = state.unwritten.iter().map(|batch| batch.end).collect();
        assert_eq!(unwritten, [15_000, 35_000]);
    }

    #[test]
    fn a_restored_split_goes_on_and_counts_no_record_again() {
        let mut before = Splits::new(2_000);
        before.assign(&assigned("a"));
        before.begin(A, 100);
        let highest = before.observe(&mut batch(&[10_000]), None);
        before.processed(A, 100, 110, Some(15_000), highest);

        let mut splits = restored(&before);
        splits.set_written(A, 7);
        splits.assign(&assigned("a"));
        splits.set_written(A, 8);
        assert_eq!(
            splits.written(A),
            TimestampMs::MIN,
            "the checkpoint decides"
        );
        let expected = SplitState {
            processed_before: Some(110),
            ..before.snapshot()[0].clone()
        };
        assert_eq!(splits.snapshot(), [expected]);
        assert_eq!(splits.watermark(A), 8_000);
        let safe: Vec<_> = splits.safe_positions(14_999).collect();
        assert_eq!(safe, [(A, 100)], "its windows are not written yet");
        assert_eq!(splits.begin(A, 50), Some(110), "the source began too early");
        assert_eq!(splits.begin(A, 110), None);

        let mut other = restored(&before);
        other.assign(&assigned("b"));
        assert_eq!(other.watermark(A), TimestampMs::MIN);
        assert_eq!(other.begin(A, 3), None);
    }

    #[test]
    fn a_split_that_was_somebody_elses_goes_on_from_the_checkpoint() {
        let mut before = Splits::new(0);
        before.assign(&assigned("a"));
        before.begin(A, 100);
        before.processed(A, 100, 110, None, None);
        before.revoke(A);
        assert_eq!(before.snapshot()[0].position(), Some(110));
        let mut splits = restored(&before);
        splits.assign(&assigned("a"));
        splits.set_written(A, 8);
        assert_eq!(splits.written(A), TimestampMs::MIN, "the state has no more");
        assert_eq!(splits.safe_positions(0).count(), 0);
        assert_eq!(splits.begin(A, 105), Some(110));
    }
}
