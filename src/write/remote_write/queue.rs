//! What waits for a shard: filled by the owners' threads, emptied by the shard's task.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{Sample, TimestampMs};
use crate::write::Stopped;
use crate::write::metrics::{Metrics, QueueGauges};

use super::batch::Batch;
use super::proto::{point_bytes, series_bytes};

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
}

/// Why a queue gave no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// There was a mark while the batch was empty, so everything before it is done.
    Reached(Mark),
    /// The batch has no room for the next sample.
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
    room: Condvar,
    filled: Notify,
    gauges: QueueGauges,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    samples: usize,
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// An empty queue for samples of `capacity_bytes`, counted as they would be encoded alone.
    pub(super) fn new(capacity_bytes: usize, gauges: QueueGauges) -> Self {
        Self {
            state: Mutex::default(),
            capacity_bytes,
            room: Condvar::new(),
            filled: Notify::new(),
            gauges,
        }
    }

    /// Adds samples one by one; blocks while the queue is full.
    ///
    /// # Errors
    /// [`Stopped`] when the queue is closed; some of the samples may have been taken before.
    pub(super) fn push(&self, samples: Vec<Sample>, metrics: &Metrics) -> Result<(), Stopped> {
        let mut state = self.lock();
        for sample in samples {
            let bytes = sample_bytes(&sample);
            while !state.closed && state.is_over(self.capacity_bytes, bytes) {
                self.filled.notify_one();
                state = self
                    .room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return Err(Stopped);
            }
            // Under the lock, so that nothing is taken after the queue was closed.
            metrics.take(1);
            state.samples += 1;
            state.bytes += bytes;
            state.items.push_back(Item::Sample(sample));
        }
        self.gauges.set(state.bytes, state.samples);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Adds a mark; never blocks. A mark of the same owner with no sample behind it is replaced,
    /// so that marks do not pile up while nothing moves.
    pub(super) fn mark(&self, mark: Mark) {
        let mut state = self.lock();
        for item in state.items.iter_mut().rev() {
            match item {
                Item::Sample(_) => break,
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
    /// room or all is moved.
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
                    batch.push(sample);
                }
                Some(Item::Mark(mark)) if batch.is_empty() => break Drained::Reached(mark),
                Some(Item::Mark(mark)) => marks.push(mark),
                None if state.closed => break Drained::Closed,
                None if batch.is_full() => break Drained::Full,
                None => break Drained::Empty,
            }
        };
        self.gauges.set(state.bytes, state.samples);
        if state.bytes < before {
            self.room.notify_all();
        }
        drained
    }

    /// Waits until something was added, or the queue was closed, since the last wait.
    pub(super) async fn changed(&self) {
        self.filled.notified().await;
    }

    /// Takes no more; what is in the queue can still be drained.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
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
}

/// What a sample counts for in a queue.
pub(super) fn sample_bytes(sample: &Sample) -> usize {
    series_bytes(&sample.series) + point_bytes(sample.timestamp_ms, &sample.value)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;
    use crate::telemetry::Registry;
    use crate::write::remote_write::config::BatchConfig;
    use crate::write::testing::sample;

    fn queue_for(samples: usize) -> (Arc<Queue>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(&Registry::new("test")));
        let capacity = samples * sample_bytes(&up(0));
        (
            Arc::new(Queue::new(capacity, metrics.queue("shard-0"))),
            metrics,
        )
    }

    fn up(timestamp: TimestampMs) -> Sample {
        sample("up", &[], timestamp, 1.0)
    }

    fn drain(queue: &Queue, samples: usize) -> (Drained, Vec<Mark>) {
        let mut marks = Vec::new();
        let mut batch = Batch::new(BatchConfig {
            samples,
            ..BatchConfig::default()
        });
        (queue.drain(&mut batch, &mut marks), marks)
    }

    #[test]
    fn keeps_marks_behind_their_samples() {
        let (queue, metrics) = queue_for(10);
        let mark = |owner, watermark| Mark { owner, watermark };
        queue.push(vec![up(1), up(2)], &metrics).unwrap();
        queue.mark(mark(0, 2));
        queue.push(vec![up(3)], &metrics).unwrap();
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
    fn blocks_while_full_and_goes_on_when_there_is_room() {
        let (queue, metrics) = queue_for(2);
        let (done, is_done) = mpsc::channel();
        let producer = {
            let (queue, metrics) = (Arc::clone(&queue), Arc::clone(&metrics));
            thread::spawn(move || {
                let pushed = queue.push((0..5).map(up).collect(), &metrics);
                done.send(()).unwrap();
                pushed
            })
        };
        // The producer cannot end before three samples were taken out.
        let mut taken = 0;
        while taken < 3 {
            assert_eq!(is_done.try_recv(), Err(mpsc::TryRecvError::Empty));
            assert!(queue.lock().samples <= 2);
            let waiting = queue.lock().samples;
            let mut batch = Batch::new(BatchConfig {
                samples: 1,
                ..BatchConfig::default()
            });
            if waiting > 0 {
                queue.drain(&mut batch, &mut Vec::new());
                taken += 1;
            }
            thread::yield_now();
        }
        is_done.recv().unwrap();
        assert_eq!(producer.join().unwrap(), Ok(()));
        assert_eq!(queue.lock().samples, 2);
        assert_eq!(queue.bytes(), 2 * sample_bytes(&up(0)));
    }

    #[test]
    fn closing_releases_a_blocked_producer() {
        let (queue, metrics) = queue_for(1);
        let producer = {
            let (queue, metrics) = (Arc::clone(&queue), Arc::clone(&metrics));
            thread::spawn(move || queue.push(vec![up(0), up(1)], &metrics))
        };
        while queue.lock().samples == 0 {
            thread::yield_now();
        }
        queue.close();
        assert_eq!(producer.join().unwrap(), Err(Stopped));
        assert_eq!(metrics.waiting(), 1);
    }
}
