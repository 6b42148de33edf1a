//! A worker's input: bounded, so that a slow worker holds back the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};
use prometheus::IntGauge;

use super::ending::Ending;
use crate::model::{Split, SplitId};
use crate::pipeline::worker::split_state::SplitStates;
use crate::source::{self, SourceEvent, SourceOutput};
use crate::window::Watermarks;

/// How many batches wait for a worker at most. A source cuts a batch at 256 KiB, so this is a
/// megabyte, or a few milliseconds of work.
const WAITING_BATCHES: usize = 4;

/// How often a source whose worker takes nothing looks whether anything is taken any more.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a worker is given.
#[derive(Debug)]
pub enum Input {
    /// Something from the source about one of the worker's splits.
    Source(SourceEvent),
    /// There is no more input.
    End(Ending),
}

/// The receiving side.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) receiver: Receiver<Input>,
    bytes: IntGauge,
}

impl Inbox {
    /// To be called with everything that no longer waits.
    pub(super) fn taken(&self, event: &SourceEvent) {
        self.bytes.sub(byte_len(event));
    }
}

/// Whether the input has ended, and how; clones tell the same.
#[derive(Debug, Clone, Default)]
pub(super) struct InputEnd(Arc<AtomicU8>);

impl InputEnd {
    const WINDOWS_OPEN: u8 = 1;
    const WINDOWS_CLOSED: u8 = 2;

    /// Whether it has ended while there was more to read.
    pub(super) fn is_incomplete(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::WINDOWS_OPEN
    }

    /// Whether this is how it ends: nobody has said so before.
    fn claim(&self, ending: Ending) -> bool {
        let end = if ending.closes_windows() {
            Self::WINDOWS_CLOSED
        } else {
            Self::WINDOWS_OPEN
        };
        let claimed = self
            .0
            .compare_exchange(0, end, Ordering::AcqRel, Ordering::Acquire);
        claimed.is_ok()
    }
}

/// The source's side: routes each split to its worker.
#[derive(Debug, Clone)]
pub(super) struct Router {
    workers: Vec<(Sender<Input>, IntGauge)>,
    watermarks: Arc<std::sync::Mutex<Watermarks>>,
    /// How far splits were when the checkpoint was taken that the pipeline goes on from.
    restored: Arc<SplitStates>,
    /// Whether the watermark is held: not all splits that go on from where they were are known yet.
    holds: bool,
    stopped: Arc<AtomicBool>,
    ended: bool,
    end: InputEnd,
    /// How many workers are to be told of the end in the place of the source.
    untold: usize,
}

/// A router and the inboxes behind it, one for each gauge of waiting bytes.
pub(super) fn inboxes(
    gauges: Vec<IntGauge>,
    watermarks: Arc<std::sync::Mutex<Watermarks>>,
    restored: Arc<SplitStates>,
) -> (Router, Vec<Inbox>) {
    let holds = !restored.is_empty();
    if holds {
        lock(&watermarks).hold();
    }
    let mut workers = Vec::new();
    let mut inboxes = Vec::new();
    for bytes in gauges {
        let (sender, receiver) = bounded(WAITING_BATCHES);
        workers.push((sender, bytes.clone()));
        inboxes.push(Inbox { receiver, bytes });
    }
    (
        Router {
            workers,
            watermarks,
            restored,
            holds,
            stopped: Arc::default(),
            ended: false,
            end: InputEnd::default(),
            untold: 0,
        },
        inboxes,
    )
}

impl Router {
    /// From now on nothing is taken, also of what a worker has no room for at this moment.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether the input has ended.
    pub(super) fn input_end(&self) -> InputEnd {
        self.end.clone()
    }

    /// Tells all workers that the input has ended, unless they know already.
    pub(super) fn close(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.let_go();
        if !self.end.claim(ending) {
            return;
        }
        for (sender, _) in &self.workers {
            if self.hand(sender, Input::End(ending)).is_err() {
                tracing::debug!("a worker has ended already, or takes nothing any more");
            }
        }
    }

    /// The same in the place of a source that does not say it, as far as workers have room in their
    /// inboxes; to be called again for the others.
    pub(super) fn close_without_source(&mut self, ending: Ending) {
        if !std::mem::replace(&mut self.ended, true) && self.end.claim(ending) {
            self.untold = self.workers.len();
        }
        while let Some(worker) = self.untold.checked_sub(1)
            && let Some((sender, _)) = self.workers.get(worker)
        {
            if let Err(TrySendError::Full(_)) = sender.try_send(Input::End(ending)) {
                return;
            }
            self.untold = worker;
        }
    }

    /// Holds the watermark no longer.
    fn let_go(&mut self) {
        if std::mem::replace(&mut self.holds, false) {
            lock(&self.watermarks).release();
        }
    }

    /// Gives something to a worker, once it has room for it.
    fn hand(&self, worker: &Sender<Input>, mut input: Input) -> Result<(), source::Stopped> {
        loop {
            match worker.send_timeout(input, LOOK_EVERY) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !self.stopped.load(Ordering::Acquire) => {
                    input = back;
                }
                Err(_) => return Err(source::Stopped),
            }
        }
    }

    fn worker_of(&self, split: SplitId) -> Option<&(Sender<Input>, IntGauge)> {
        self.workers
            .get(split.0 as usize % self.workers.len().max(1))
    }
}

impl SourceOutput for Router {
    fn send(&mut self, event: SourceEvent) -> Result<(), source::Stopped> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(source::Stopped);
        }
        // A split holds back the watermark from the moment that it is known, not only once its
        // worker gets to it: another worker must not close windows in between.
        if let SourceEvent::Assigned(Split { id, name }) = &event {
            let mut watermarks = lock(&self.watermarks);
            let restored = self.restored.get(name).and_then(|split| split.highest);
            if let Some(highest) = restored {
                watermarks.seed(*id, highest);
            }
            watermarks.assign(*id);
        } else if !matches!(event, SourceEvent::Written { .. }) {
            // A source assigns what it has before it says anything else. Until then the first splits
            // would let the watermark run ahead of those that are yet to be assigned.
            self.let_go();
        }
        let Some((sender, bytes)) = self.worker_of(event.split()) else {
            return Err(source::Stopped);
        };
        bytes.add(byte_len(&event));
        self.hand(sender, Input::Source(event))
    }

    fn end(&mut self) {
        self.close(Ending::Interrupted);
    }
}

fn lock(watermarks: &std::sync::Mutex<Watermarks>) -> std::sync::MutexGuard<'_, Watermarks> {
    watermarks
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn byte_len(event: &SourceEvent) -> i64 {
    match event {
        SourceEvent::Records(batch) => i64::try_from(batch.byte_len()).unwrap_or(i64::MAX),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RecordBatch;
    use crate::pipeline::worker::split_state::SplitState;
    use crate::testing::wait_until;

    fn split(id: u32, name: &str) -> Split {
        Split {
            id: SplitId(id),
            name: name.into(),
        }
    }

    #[test]
    fn the_watermark_waits_until_all_splits_are_assigned_that_go_on() {
        let state = |name: &str, highest| SplitState {
            name: name.into(),
            revoked: false,
            processed_before: None,
            origin: Some(0),
            next: Some(5),
            highest: Some(highest),
            written: None,
            unwritten: Vec::new(),
        };
        let states = [state("a", 10_000), state("b", 7_000), state("gone", 3_000)];
        let states = states.map(|state| (state.name.clone(), state));
        let mut watermarks = Watermarks::new(1_000);
        watermarks.restore(5_000);
        let watermarks = Arc::new(std::sync::Mutex::new(watermarks));
        let gauge = IntGauge::new("bytes", "Bytes.").unwrap();
        let states = Arc::new(SplitStates::from(states));
        let (mut router, _inboxes) = inboxes(vec![gauge], watermarks.clone(), states);
        let watermark = || lock(&watermarks).advance(1_000_000);

        router.send(SourceEvent::Assigned(split(0, "a"))).unwrap();
        assert_eq!(watermark(), 5_000, "b may be behind a");
        router.send(SourceEvent::Assigned(split(1, "b"))).unwrap();
        assert_eq!(watermark(), 5_000);
        let records = RecordBatch::new(split(0, "a"), 0);
        router.send(SourceEvent::Records(records)).unwrap();
        assert_eq!(watermark(), 6_000, "that of b");
    }

    #[test]
    fn a_source_that_waits_for_room_is_set_free_where_nothing_is_taken_any_more() {
        let watermarks = Arc::new(std::sync::Mutex::new(Watermarks::new(0)));
        let gauge = IntGauge::new("bytes", "Bytes.").unwrap();
        let (mut router, _inboxes) = inboxes(vec![gauge], watermarks, Arc::default());
        let stopper = router.clone();
        let source = std::thread::spawn(move || {
            let mut sent = 0;
            while router.send(SourceEvent::Idle(SplitId(0))).is_ok() {
                sent += 1;
            }
            router.close(Ending::Interrupted);
            sent
        });
        let (worker, _) = stopper.workers.first().unwrap();
        wait_until("the worker has no more room", || worker.is_full());
        stopper.stop();
        assert_eq!(source.join().unwrap(), WAITING_BATCHES);
    }

    #[test]
    fn the_first_end_is_the_one_that_workers_are_told_of() {
        let gauge = || IntGauge::new("bytes", "Bytes.").unwrap();
        let watermarks = || Arc::new(std::sync::Mutex::new(Watermarks::new(0)));
        let ends = |inboxes: &[Inbox]| -> Vec<Vec<Ending>> {
            let all = inboxes.iter().map(|inbox| {
                let told = inbox.receiver.try_iter().filter_map(|input| match input {
                    Input::End(ending) => Some(ending),
                    Input::Source(_) => None,
                });
                told.collect()
            });
            all.collect()
        };
        let gauges = || vec![gauge(), gauge()];
        let (mut router, inboxes_of) = inboxes(gauges(), watermarks(), Arc::default());
        let mut other = router.clone();
        router.close(Ending::Complete);
        other.close_without_source(Ending::Stopped);
        assert_eq!(ends(&inboxes_of), [[Ending::Complete]; 2]);

        let (mut router, inboxes_of) = inboxes(gauges(), watermarks(), Arc::default());
        let mut other = router.clone();
        for _ in 0..WAITING_BATCHES {
            router.send(SourceEvent::Idle(SplitId(0))).unwrap();
        }
        other.close_without_source(Ending::Stopped);
        assert_eq!(ends(&inboxes_of[1..]), [[Ending::Stopped]], "it has room");
        assert_eq!(ends(&inboxes_of[..1]), [[]], "it had none");
        other.close_without_source(Ending::Stopped);
        router.close(Ending::Complete);
        assert_eq!(ends(&inboxes_of), [vec![Ending::Stopped], vec![]]);
    }
}
