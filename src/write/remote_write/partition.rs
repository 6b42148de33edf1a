//! One part of the series and what of it waits: filled by the owners' threads, emptied by a shard's task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Sample, TimestampMs};
use crate::write::Stopped;
use crate::write::metrics::{DropReason, Extent, Metrics, QueueGauges};
use crate::write::rooms::Rooms;

use super::assignment::Assignment;
use super::batch::{Batch, Origin, Room};
use super::config::OnThrottleLimit;
use super::flow::Flow;
use super::protocol::Protocol;
use super::waiting::Waiting;

/// An owner's flush mark: everything up to the watermark stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The partition that it stands in.
    pub(super) partition: usize,
    /// The owner.
    pub(super) owner: usize,
    /// Its watermark, ms since the epoch.
    pub(super) watermark: TimestampMs,
}

#[derive(Debug)]
enum Item {
    Sample(Sample),
    Mark(Mark),
}

/// Why a partition gave no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// There was a mark, and everything before it is done.
    Reached(Mark),
    /// The batch has no room for the next sample.
    Full,
    /// The next sample must not be in this batch.
    Behind,
    /// It is empty for now.
    Empty,
    /// Another shard has something of it in a request that is under way.
    Busy,
    /// It is empty for ever.
    Closed,
}

/// What a shard takes out of its partitions for one request.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) batch: Batch,
    /// Marks that are reached when the request is done.
    pub(super) marks: Vec<Mark>,
    /// The partitions that the samples are of.
    pub(super) partitions: Vec<usize>,
}

impl Collected {
    /// Nothing yet.
    pub(super) fn into(batch: Batch) -> Self {
        Self {
            batch,
            marks: Vec::new(),
            partitions: Vec::new(),
        }
    }
}

/// What the partitions of a receiver share.
#[derive(Debug)]
pub(super) struct Common {
    /// How many bytes of samples each may hold.
    pub(super) capacity_bytes: usize,
    pub(super) on_throttle_limit: OnThrottleLimit,
    /// Where owners are told that have found no room.
    pub(super) rooms: Arc<Rooms>,
    pub(super) gauges: QueueGauges,
    pub(super) metrics: Arc<Metrics>,
    pub(super) assignment: Assignment,
    pub(super) flow: Flow,
}

/// A queue that is bounded by the bytes of its samples.
#[derive(Debug)]
pub(super) struct Partition {
    number: usize,
    common: Arc<Common>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is from before the start, each sample with the number of the request that it goes out in; it
    /// stands in front of all items.
    restored: VecDeque<(u64, Sample)>,
    items: VecDeque<Item>,
    bytes: usize,
    /// Since when the samples wait.
    waiting_since: Waiting,
    closed: bool,
    /// What was drained and is not done, in the order in which it stood here.
    in_flight: Vec<Sample>,
    /// Since when the oldest of these had waited.
    in_flight_since: Option<Instant>,
    /// The shard that has these.
    holder: Option<usize>,
    /// The holder has ended, and will never be done.
    is_lost: bool,
    /// The last shard that had anything.
    last: Option<usize>,
    /// Owners that found no room.
    owners: Vec<usize>,
}

impl Partition {
    /// An empty one.
    pub(super) fn new(number: usize, common: Arc<Common>) -> Self {
        Self {
            number,
            common,
            state: Mutex::default(),
        }
    }

    /// Adds as many samples as there is room for, in their order, and gives back the others.
    ///
    /// # Errors
    /// [`Stopped`] when it is closed.
    pub(super) fn offer(
        &self,
        owner: usize,
        samples: Vec<Sample>,
        now: Instant,
    ) -> Result<Vec<Sample>, Stopped> {
        let common = &*self.common;
        let mut state = self.lock();
        if state.closed {
            return Err(Stopped);
        }
        let before = state.extent();
        let (mut taken, mut dropped) = (0, 0);
        let mut samples = samples.into_iter();
        while let Some(next) = samples.as_slice().first() {
            let bytes = sample_bytes(next);
            if state.is_over(common.capacity_bytes, bytes) {
                // A receiver that takes what it is given has only to be waited for.
                if common.on_throttle_limit == OnThrottleLimit::Wait || !self.is_stuck(&state) {
                    break;
                }
                dropped += state.drop_oldest();
                continue;
            }
            let Some(sample) = samples.next() else { break };
            taken += 1;
            state.bytes += bytes;
            state.items.push_back(Item::Sample(sample));
            state.waiting_since.push(now);
        }
        // Under the lock, so that nothing is taken after it was closed.
        common.metrics.take(taken);
        common.metrics.drop_samples(DropReason::QueueFull, dropped);
        common.flow.take(taken);
        common.flow.done(dropped);
        common.gauges.change(before, state.extent());
        if samples.len() > 0 {
            common.flow.refuse();
            if !state.owners.contains(&owner) {
                state.owners.push(owner);
            }
        }
        drop(state);
        common.assignment.wake_shard_of(self.number);
        Ok(samples.collect())
    }

    /// Whether the shard that has to send the next sample, or the one before it, is repeating a request.
    fn is_stuck(&self, state: &State) -> bool {
        let assignment = &self.common.assignment;
        assignment.is_stuck(assignment.shard_of(self.number))
            || state.holder.is_some_and(|shard| assignment.is_stuck(shard))
    }

    /// Adds samples of the time before the start, whatever room there is; those of one number go out
    /// together, and nothing else with them.
    pub(super) fn restore(&self, number: u64, samples: Vec<Sample>, now: Instant) {
        if samples.is_empty() {
            return;
        }
        let mut state = self.lock();
        let before = state.extent();
        self.common.metrics.take(samples.len());
        self.common.flow.take(samples.len());
        for sample in samples {
            state.bytes += sample_bytes(&sample);
            state.restored.push_back((number, sample));
            state.waiting_since.push(now);
        }
        self.common.gauges.change(before, state.extent());
        drop(state);
        self.common.assignment.wake_shard_of(self.number);
    }

    /// Adds a mark; never blocks. A mark of the same owner with no sample behind it is replaced,
    /// so that marks do not pile up while nothing moves.
    pub(super) fn mark(&self, owner: usize, watermark: TimestampMs) {
        let mut state = self.lock();
        for item in state.items.iter_mut().rev() {
            match item {
                Item::Sample(_) => break,
                Item::Mark(known) if known.owner == owner => {
                    known.watermark = known.watermark.max(watermark);
                    return;
                }
                Item::Mark(_) => {}
            }
        }
        state.items.push_back(Item::Mark(Mark {
            partition: self.number,
            owner,
            watermark,
        }));
        drop(state);
        self.common.assignment.wake_shard_of(self.number);
    }

    /// Moves samples to a shard's batch, and the marks behind them, until the batch has no room or all is
    /// moved. The samples are in flight, and the partition is the shard's, until [`done`](Self::done).
    pub(super) fn drain(&self, shard: usize, into: &mut Collected) -> Drained {
        let mut state = self.lock();
        if state.holder.is_some_and(|holder| holder != shard) {
            return match state.is_lost {
                true => Drained::Closed,
                false => Drained::Busy,
            };
        }
        if state.last.is_some_and(|last| last != shard) && self.common.assignment.is_held() {
            return Drained::Busy;
        }
        let before = state.extent();
        let drained = loop {
            let next = match state.restored.front() {
                Some((number, sample)) => Some((sample, Origin::Restored(*number))),
                None => match state.items.front() {
                    Some(Item::Sample(sample)) => Some((sample, Origin::Formed)),
                    Some(Item::Mark(_)) | None => None,
                },
            };
            match next.map(|(sample, origin)| into.batch.room_for(sample, origin)) {
                Some(Room::Free) => {}
                Some(Room::Later) => break Drained::Behind,
                Some(Room::Full) => break Drained::Full,
                None => {}
            }
            match state.pop_front() {
                Some((origin, Item::Sample(sample))) => {
                    if state.in_flight.is_empty() {
                        state.holder = Some(shard);
                        state.last = Some(shard);
                        into.partitions.push(self.number);
                    }
                    state.in_flight.push(sample.clone());
                    into.batch.push(sample, origin);
                }
                Some((_, Item::Mark(mark))) if state.in_flight.is_empty() => {
                    break Drained::Reached(mark);
                }
                Some((_, Item::Mark(mark))) => into.marks.push(mark),
                None if state.closed => break Drained::Closed,
                None => break Drained::Empty,
            }
        };
        self.common.gauges.change(before, state.extent());
        if state.bytes < before.bytes {
            self.open_rooms(&mut state);
        }
        drained
    }

    /// The receiver does not take what its shard is sending, and samples may have to give way now.
    pub(super) fn may_drop(&self, shard: usize) {
        let mut state = self.lock();
        let is_of_shard =
            state.holder == Some(shard) || self.common.assignment.shard_of(self.number) == shard;
        if is_of_shard && self.common.on_throttle_limit == OnThrottleLimit::DropOldest {
            self.open_rooms(&mut state);
        }
    }

    fn open_rooms(&self, state: &mut State) {
        for owner in state.owners.drain(..) {
            self.common.rooms.open(owner);
        }
    }

    /// All that the shard has drained is acknowledged, or dropped for a permanent reason.
    pub(super) fn done(&self, shard: usize) {
        let mut state = self.lock();
        if state.holder != Some(shard) {
            return;
        }
        state.in_flight.clear();
        state.in_flight_since = None;
        state.holder = None;
        drop(state);
        if self.common.assignment.shard_of(self.number) != shard {
            self.common.assignment.wake_shard_of(self.number);
        }
    }

    /// A shard has ended in whatever way: what it holds will never be done.
    pub(super) fn ended(&self, shard: usize) {
        let mut state = self.lock();
        state.is_lost |= state.holder == Some(shard);
    }

    /// All samples that are not done, in their order.
    pub(super) fn unacknowledged(&self) -> Vec<Sample> {
        let state = self.lock();
        let restored = state.restored.iter().map(|(_, sample)| sample);
        let formed = state.items.iter().filter_map(|item| match item {
            Item::Sample(sample) => Some(sample),
            Item::Mark(_) => None,
        });
        let in_flight = state.in_flight.iter();
        in_flight.chain(restored).chain(formed).cloned().collect()
    }

    /// For how long the oldest sample has waited that is not done.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        let state = self.lock();
        let since = state.in_flight_since.or(state.waiting_since.oldest());
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Takes no more; what is there can still be drained.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// How many bytes of samples wait.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn extent(&self) -> Extent {
        Extent {
            samples: self.waiting_since.len(),
            bytes: self.bytes,
        }
    }

    /// Whether one more sample would be too much. An empty queue takes any.
    fn is_over(&self, capacity_bytes: usize, bytes: usize) -> bool {
        !self.waiting_since.is_empty() && self.bytes + bytes > capacity_bytes
    }

    /// Takes the first of what waits.
    fn pop_front(&mut self) -> Option<(Origin, Item)> {
        let (origin, item) = match self.restored.pop_front() {
            Some((number, sample)) => (Origin::Restored(number), Item::Sample(sample)),
            None => (Origin::Formed, self.items.pop_front()?),
        };
        if let Item::Sample(sample) = &item {
            self.bytes = self.bytes.saturating_sub(sample_bytes(sample));
            let since = self.waiting_since.pop();
            self.in_flight_since = self.in_flight_since.or(since);
        }
        Some((origin, item))
    }

    /// Takes the marks in front of the first sample, and puts them together with others that stood before
    /// them: of each owner one is left, so that they do not pile up where samples are dropped.
    fn take_marks(&mut self, mut marks: Vec<Mark>) -> Vec<Mark> {
        while let Some(Item::Mark(mark)) = self.items.front() {
            let mark = *mark;
            self.items.pop_front();
            match marks.iter_mut().find(|known| known.owner == mark.owner) {
                Some(known) => known.watermark = known.watermark.max(mark.watermark),
                None => marks.push(mark),
            }
        }
        marks
    }

    /// Removes the sample that has waited longest; says how many that was. Marks stay.
    fn drop_oldest(&mut self) -> usize {
        let restored = self.restored.pop_front().map(|(_, sample)| sample);
        let sample = restored.or_else(|| {
            let marks = self.take_marks(Vec::new());
            let sample = match self.items.pop_front() {
                Some(Item::Sample(sample)) => Some(sample),
                Some(Item::Mark(_)) | None => None,
            };
            for mark in self.take_marks(marks).into_iter().rev() {
                self.items.push_front(Item::Mark(mark));
            }
            sample
        });
        let Some(sample) = sample else { return 0 };
        self.bytes = self.bytes.saturating_sub(sample_bytes(&sample));
        self.waiting_since.pop();
        1
    }
}

/// What a sample counts for in a queue.
pub(super) fn sample_bytes(sample: &Sample) -> usize {
    // The smaller protocol is near enough: what waits is in memory, and not yet written in any.
    let point = Protocol::V1.point_bytes(sample.timestamp_ms, &sample.value);
    Protocol::V1.series_bytes(&sample.series) + point
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
