//! A queue between the thread that reads a connection and the one that hands over to the pipeline,
//! so that a busy pipeline does not keep the connection from answering its broker.
//!
//! It is bounded in bytes. Both ends notice when the other has gone.

use std::collections::VecDeque;
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Stopped;
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use super::{SourceEvent, SourceOutput};

/// The end that reads the connection. Dropping it ends the queue: the rest can still be taken.
#[derive(Debug)]
pub(super) struct Producer<T>(Arc<Shared<T>>);

/// The end that hands over. Dropping it tells the producer that nobody takes more.
#[derive(Debug)]
pub(super) struct Consumer<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    held: usize,
    finished: bool,
    abandoned: bool,
}

/// A queue that holds about `capacity` bytes: room is asked for before more is read, so one read
/// may go beyond it.
pub(super) fn queue<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let state = State {
        items: VecDeque::new(),
        held: 0,
        finished: false,
        abandoned: false,
    };
    let shared = Arc::new(Shared {
        capacity,
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    (Producer(Arc::clone(&shared)), Consumer(shared))
}

impl<T> State<T> {
    /// Whether there is nothing to take, but may be later.
    fn is_waiting(&mut self) -> bool {
        self.items.is_empty() && !self.finished
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Producer<T> {
    /// Adds an item that holds on to so many bytes; never waits.
    ///
    /// # Errors
    /// The consumer has gone.
    pub(super) fn push(&self, item: T, bytes: usize) -> Result<(), Stopped> {
        let mut state = self.0.lock();
        if state.abandoned {
            return Err(Stopped);
        }
        state.held += bytes;
        state.items.push_back((item, bytes));
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Waits for room, but not longer than `patience`; says whether there is some. There is room
    /// for nobody when the consumer has gone, so `push` can say so.
    pub(super) fn has_room(&self, patience: Duration) -> bool {
        let full = |state: &mut State<T>| state.held >= self.0.capacity && !state.abandoned;
        let state = self.0.lock();
        let (mut state, _) = self
            .0
            .changed
            .wait_timeout_while(state, patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        !full(&mut state)
    }

    /// How many bytes wait in it.
    #[cfg(feature = "mqtt")]
    pub(super) fn held(&self) -> usize {
        self.0.lock().held
    }

    /// Ends the queue; what is in it can still be taken.
    pub(super) fn finish(&self) {
        self.0.lock().finished = true;
        self.0.changed.notify_all();
    }

    /// Ends the queue with nothing in it: what waits is not to be taken.
    #[cfg(feature = "kafka")]
    pub(super) fn discard(&self) {
        let mut state = self.0.lock();
        state.items.clear();
        state.held = 0;
        state.finished = true;
        drop(state);
        self.0.changed.notify_all();
    }

    /// Whether the consumer has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.0.lock().abandoned
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl<T> Consumer<T> {
    /// Waits for items and takes the oldest: at most `max_items`, and none beyond `max_bytes` but
    /// the one that crosses it.
    /// Nothing means that the queue has ended.
    #[cfg(any(feature = "kafka", feature = "kinesis", feature = "mqtt", test))]
    pub(super) fn take(&self, max_items: usize, max_bytes: usize) -> Vec<T> {
        let state = self.0.lock();
        let state = self
            .0
            .changed
            .wait_while(state, State::is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        self.take_from(state, max_items, max_bytes)
    }

    /// As [`take`](Self::take), but waits no longer than `patience`: gives nothing then. None means
    /// that the queue has ended.
    pub(super) fn take_within(
        &self,
        patience: Duration,
        max_items: usize,
        max_bytes: usize,
    ) -> Option<Vec<T>> {
        let state = self.0.lock();
        let (state, _) = self
            .0
            .changed
            .wait_timeout_while(state, patience, State::is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if state.items.is_empty() && state.finished {
            return None;
        }
        Some(self.take_from(state, max_items, max_bytes))
    }

    fn take_from(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        max_items: usize,
        max_bytes: usize,
    ) -> Vec<T> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < max_items && bytes < max_bytes {
            let Some((item, size)) = state.items.pop_front() else {
                break;
            };
            bytes += size;
            taken.push(item);
        }
        state.held = state.held.saturating_sub(bytes);
        drop(state);
        self.0.changed.notify_all();
        taken
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        state.items.clear();
        state.held = 0;
        drop(state);
        self.0.changed.notify_all();
    }
}

/// Hands over events until there are no more or the pipeline takes no more, which `refused` then says to the
/// thread that reads.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
pub(super) fn hand_over(
    handed: Consumer<SourceEvent>,
    output: &mut dyn SourceOutput,
    refused: &AtomicBool,
) {
    loop {
        let events = handed.take(1, 1);
        if events.is_empty() {
            return;
        }
        for event in events {
            if output.send(event).is_err() {
                refused.store(true, Ordering::Release);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn is_taken_in_order_in_bounded_portions() {
        let (producer, consumer) = queue(1_000);
        for number in 0..5 {
            producer.push(number, 10).unwrap();
        }
        assert_eq!(consumer.take(2, 1_000), [0, 1]);
        assert_eq!(consumer.take(9, 15), [2, 3]);
        drop(producer);
        assert_eq!(consumer.take(9, 1_000), [4]);
        assert!(consumer.take(9, 1_000).is_empty());
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn what_is_discarded_is_not_handed_over() {
        let (producer, consumer) = queue(1_000);
        for number in 0..3 {
            producer.push(number, 10).unwrap();
        }
        assert_eq!(consumer.take(1, 1), [0]);
        producer.discard();
        assert!(consumer.take(1, 1).is_empty());
    }

    #[test]
    fn is_waited_for_no_longer_than_asked() {
        let (producer, consumer) = queue(1_000);
        assert_eq!(consumer.take_within(Duration::ZERO, 9, 9), Some(vec![]));
        producer.push('a', 10).unwrap();
        producer.push('b', 10).unwrap();
        drop(producer);
        let patience = Duration::from_secs(60);
        assert_eq!(consumer.take_within(patience, 1, 9), Some(vec!['a']));
        assert_eq!(consumer.take_within(patience, 9, 9), Some(vec!['b']));
        assert_eq!(consumer.take_within(patience, 9, 9), None);
    }

    #[test]
    fn is_full_until_something_is_taken() {
        let (producer, consumer) = queue(20);
        producer.push('a', 15).unwrap();
        assert!(producer.has_room(Duration::ZERO));
        producer.push('b', 15).unwrap();
        assert!(!producer.has_room(Duration::ZERO));
        let taker = thread::spawn(move || (consumer.take(1, 1), consumer));
        assert!(producer.has_room(Duration::from_secs(60)));
        let (taken, _consumer) = taker.join().unwrap();
        assert_eq!(taken, ['a']);
    }

    #[test]
    fn tells_the_producer_that_the_consumer_has_gone() {
        let (producer, consumer) = queue(1);
        producer.push('a', 5).unwrap();
        drop(consumer);
        assert!(producer.is_abandoned());
        assert!(producer.has_room(Duration::from_secs(60)));
        assert_eq!(producer.push('b', 5), Err(Stopped));
    }
}
