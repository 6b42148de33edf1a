//! What waits for a shard: filled by the owners' threads, emptied by the shard's task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{Sample, TimestampMs};
use crate::write::Stopped;
use crate::write::metrics::{DropReason, Metrics, QueueGauges};
use crate::write::rooms::Rooms;

use super::batch::Batch;
use super::config::OnThrottleLimit;
use super::protocol::Protocol;

/// An owner's flush mark: everything up to the watermark stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The owner.
    pub(super) owner: usize,
    /// Its watermark, ms since the epoch.
    pub(super) watermark: TimestampMs,
}

#[derive(Debug)]
enum Item {
    Sample(Sample),
    Mark(Mark),
    /// What is behind it goes into another request.
    Cut,
}

/// Why a queue gave no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// There was a mark while the batch was empty, so everything before it is done.
    Reached(Mark),
    /// The batch has no room for the next sample, or the next one must not be in it.
    Full,
    /// The queue is empty for now.
    Empty,
    /// The queue is empty for ever.
    Closed,
}

/// A queue that is bounded by the bytes of its samples.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    capacity_bytes: usize,
    on_throttle_limit: OnThrottleLimit,
    rooms: Arc<Rooms>,
    filled: Notify,
    gauges: QueueGauges,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    samples: usize,
    bytes: usize,
    closed: bool,
    /// What was drained and is not done, in the order in which it stood here.
    in_flight: Vec<Sample>,
    /// Owners that found no room.
    waiting: Vec<usize>,
    /// Whether the receiver does not take what is in flight.
    is_stuck: bool,
}

impl Queue {
    /// An empty queue for samples of `capacity_bytes`, counted as they would be encoded alone. Owners
    /// that find no room are told in `rooms` when there is some.
    pub(super) fn new(
        capacity_bytes: usize,
        on_throttle_limit: OnThrottleLimit,
        rooms: Arc<Rooms>,
        gauges: QueueGauges,
    ) -> Self {
        Self {
            state: Mutex::default(),
            capacity_bytes,
            on_throttle_limit,
            rooms,
            filled: Notify::new(),
            gauges,
        }
    }

    /// Adds as many samples as there is room for, in their order, and gives back the others.
    ///
    /// # Errors
    /// [`Stopped`] when the queue is closed.
    pub(super) fn offer(
        &self,
        owner: usize,
        samples: Vec<Sample>,
        metrics: &Metrics,
    ) -> Result<Vec<Sample>, Stopped> {
        let mut state = self.lock();
        if state.closed {
            return Err(Stopped);
        }
        let (mut taken, mut dropped) = (0, 0);
        let mut samples = samples.into_iter();
        while let Some(next) = samples.as_slice().first() {
            let bytes = sample_bytes(next);
            if state.is_over(self.capacity_bytes, bytes) {
                // A receiver that takes what it is given has only to be waited for.
                if !state.is_stuck || self.on_throttle_limit == OnThrottleLimit::Wait {
                    break;
                }
                dropped += state.drop_oldest();
                continue;
            }
            let Some(sample) = samples.next() else { break };
            taken += 1;
            state.samples += 1;
            state.bytes += bytes;
            state.items.push_back(Item::Sample(sample));
        }
        // Under the lock, so that nothing is taken after the queue was closed.
        metrics.take(taken);
        metrics.drop_samples(DropReason::QueueFull, dropped);
        self.gauges.set(state.bytes, state.samples);
        if samples.len() > 0 && !state.waiting.contains(&owner) {
            state.waiting.push(owner);
        }
        drop(state);
        self.filled.notify_one();
        Ok(samples.collect())
    }

    /// Adds samples of the time before the start, whatever room there is, with a request of their own.
    pub(super) fn restore(&self, samples: Vec<Sample>, metrics: &Metrics) {
        if samples.is_empty() {
            return;
        }
        let mut state = self.lock();
        metrics.take(samples.len());
        for sample in samples {
            state.samples += 1;
            state.bytes += sample_bytes(&sample);
            state.items.push_back(Item::Sample(sample));
        }
        state.items.push_back(Item::Cut);
        self.gauges.set(state.bytes, state.samples);
        drop(state);
        self.filled.notify_one();
    }

    /// Adds a mark; never blocks. A mark of the same owner with no sample behind it is replaced,
    /// so that marks do not pile up while nothing moves.
    pub(super) fn mark(&self, mark: Mark) {
        let mut state = self.lock();
        for item in state.items.iter_mut().rev() {
            match item {
                Item::Sample(_) | Item::Cut => break,
                Item::Mark(known) if known.owner == mark.owner => {
                    known.watermark = known.watermark.max(mark.watermark);
                    return;
                }
                Item::Mark(_) => {}
            }
        }
        state.items.push_back(Item::Mark(mark));
        drop(state);
        self.filled.notify_one();
    }

    /// Moves samples to the batch, and the marks behind them to `marks`, until the batch has no
    /// room or all is moved. The samples are in flight until [`done`](Self::done).
    pub(super) fn drain(&self, batch: &mut Batch, marks: &mut Vec<Mark>) -> Drained {
        let mut state = self.lock();
        let before = state.bytes;
        let drained = loop {
            match state.items.front() {
                Some(Item::Sample(next)) if !batch.has_room_for(next) => break Drained::Full,
                _ => {}
            }
            match state.items.pop_front() {
                Some(Item::Sample(sample)) => {
                    state.samples -= 1;
                    state.bytes = state.bytes.saturating_sub(sample_bytes(&sample));
                    state.in_flight.push(sample.clone());
                    batch.push(sample);
                }
                Some(Item::Cut) if batch.is_empty() => {}
                Some(Item::Cut) => break Drained::Full,
                Some(Item::Mark(mark)) if batch.is_empty() => break Drained::Reached(mark),
                Some(Item::Mark(mark)) => marks.push(mark),
                None if state.closed => break Drained::Closed,
                None if batch.is_full() => break Drained::Full,
                None => break Drained::Empty,
            }
        };
        self.gauges.set(state.bytes, state.samples);
        if state.bytes < before {
            for owner in state.waiting.drain(..) {
                self.rooms.open(owner);
            }
        }
        drained
    }

    /// Whether the receiver does not take what is in flight, and will be asked again.
    pub(super) fn set_stuck(&self, is_stuck: bool) {
        let mut state = self.lock();
        if is_stuck == std::mem::replace(&mut state.is_stuck, is_stuck) {
            return;
        }
        if is_stuck && self.on_throttle_limit == OnThrottleLimit::DropOldest {
            for owner in state.waiting.drain(..) {
                self.rooms.open(owner);
            }
        }
    }

    /// All that was drained is acknowledged, or dropped for a permanent reason.
    pub(super) fn done(&self) {
        self.lock().in_flight.clear();
    }

    /// All samples that are not done, in their order.
    pub(super) fn unacknowledged(&self) -> Vec<Sample> {
        let state = self.lock();
        let waiting = state.items.iter().filter_map(|item| match item {
            Item::Sample(sample) => Some(sample),
            Item::Mark(_) | Item::Cut => None,
        });
        state.in_flight.iter().chain(waiting).cloned().collect()
    }

    /// Waits until something was added, or the queue was closed, since the last wait.
    pub(super) async fn changed(&self) {
        self.filled.notified().await;
    }

    /// Takes no more; what is in the queue can still be drained.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.rooms.open_all();
        self.filled.notify_one();
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
    /// Whether one more sample would be too much. An empty queue takes any.
    fn is_over(&self, capacity_bytes: usize, bytes: usize) -> bool {
        self.samples > 0 && self.bytes + bytes > capacity_bytes
    }

    /// Removes the sample that has waited longest; says how many that was. Marks stay where they are.
    fn drop_oldest(&mut self) -> usize {
        let is_sample = |item: &Item| matches!(item, Item::Sample(_));
        let place = self.items.iter().position(is_sample);
        let Some(Item::Sample(sample)) = place.and_then(|place| self.items.remove(place)) else {
            return 0;
        };
        self.samples -= 1;
        self.bytes = self.bytes.saturating_sub(sample_bytes(&sample));
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::Registry;
    use crate::write::remote_write::config::BatchConfig;
    use crate::write::testing::sample;

    fn queue_for(samples: usize) -> (Queue, Arc<Rooms>, Metrics) {
        let metrics = Metrics::new(&Registry::new("test"));
        let capacity = samples * sample_bytes(&up(0));
        let rooms = Arc::new(Rooms::new(2));
        let queue = Queue::new(
            capacity,
            OnThrottleLimit::Wait,
            Arc::clone(&rooms),
            metrics.queue("shard-0"),
        );
        (queue, rooms, metrics)
    }

    fn up(timestamp: TimestampMs) -> Sample {
        sample("up", &[], timestamp, 1.0)
    }

    fn ups(timestamps: impl IntoIterator<Item = TimestampMs>) -> Vec<Sample> {
        timestamps.into_iter().map(up).collect()
    }

    fn drain(queue: &Queue, samples: usize) -> (Drained, Vec<Mark>) {
        let mut marks = Vec::new();
        let limits = BatchConfig {
            samples,
            samples_per_series: 0,
            ..BatchConfig::default()
        };
        let mut batch = Batch::new(limits, Protocol::V1);
        (queue.drain(&mut batch, &mut marks), marks)
    }

    #[test]
    fn keeps_marks_behind_their_samples() {
        let (queue, _, metrics) = queue_for(10);
        let mark = |owner, watermark| Mark { owner, watermark };
        queue.offer(0, ups([1, 2]), &metrics).unwrap();
        queue.mark(mark(0, 2));
        queue.offer(0, ups([3]), &metrics).unwrap();
        queue.mark(mark(0, 3));
        queue.mark(mark(1, 7));
        queue.mark(mark(0, 4));
        assert_eq!(drain(&queue, 1), (Drained::Full, vec![]));
        assert_eq!(drain(&queue, 1), (Drained::Full, vec![mark(0, 2)]));
        assert_eq!(
            drain(&queue, 2),
            (Drained::Empty, vec![mark(0, 4), mark(1, 7)])
        );
        queue.mark(mark(1, 8));
        assert_eq!(drain(&queue, 2), (Drained::Reached(mark(1, 8)), vec![]));
        queue.close();
        assert_eq!(drain(&queue, 2), (Drained::Closed, vec![]));
    }

    #[test]
    fn gives_back_what_has_no_room_and_says_when_there_is_some() {
        let (queue, rooms, metrics) = queue_for(2);
        assert_eq!(queue.offer(0, ups(0..2), &metrics), Ok(vec![]));
        assert_eq!(queue.offer(1, ups(2..5), &metrics), Ok(ups(2..5)));
        assert_eq!(queue.bytes(), 2 * sample_bytes(&up(0)));
        let signals = || [0, 1].map(|owner| rooms.of(owner).try_recv().is_ok());
        assert_eq!(signals(), [false, false]);
        drain(&queue, 1);
        // Only who was refused waits.
        assert_eq!(signals(), [false, true]);
        assert_eq!(queue.offer(1, ups(2..5), &metrics), Ok(ups(3..5)));
        drain(&queue, 2);
        assert_eq!(signals(), [false, true]);
        drain(&queue, 2);
        assert_eq!(signals(), [false, false]);
        queue.close();
        assert_eq!(signals(), [true, true]);
        assert_eq!(queue.offer(1, ups(3..5), &metrics), Err(Stopped));
        assert_eq!(metrics.waiting(), 3);
    }

    #[test]
    fn an_empty_queue_takes_a_sample_that_is_too_large() {
        let (queue, _, metrics) = queue_for(0);
        assert_eq!(queue.offer(0, ups(0..2), &metrics), Ok(ups(1..2)));
    }

    #[test]
    fn samples_are_unacknowledged_until_they_are_done() {
        let (queue, _, metrics) = queue_for(10);
        queue.offer(0, ups(0..5), &metrics).unwrap();
        drain(&queue, 2);
        drain(&queue, 1);
        assert_eq!(queue.unacknowledged(), ups(0..5));
        queue.done();
        assert_eq!(queue.unacknowledged(), ups(3..5));
    }

    #[test]
    fn what_is_restored_goes_out_in_requests_of_its_own() {
        let (queue, _, metrics) = queue_for(1);
        queue.restore(ups(0..3), &metrics);
        queue.restore(ups([]), &metrics);
        queue.restore(ups(3..4), &metrics);
        assert_eq!(queue.offer(0, ups(4..5), &metrics), Ok(ups(4..5)));
        let sizes: Vec<_> = (0..3)
            .map(|_| {
                queue.done();
                let before = queue.unacknowledged().len();
                let (drained, _) = drain(&queue, 100);
                queue.done();
                (drained, before - queue.unacknowledged().len())
            })
            .collect();
        assert_eq!(
            sizes,
            [(Drained::Full, 3), (Drained::Full, 1), (Drained::Empty, 0)]
        );
        assert_eq!(queue.offer(0, ups(4..5), &metrics), Ok(vec![]));
    }
}
