//! The thread that takes checkpoints: it sends the barriers, gathers what comes of them, and stores it
//! while the workers go on.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select_biased, unbounded};

use super::coordinator::{Action, Coordinator, Event};
use super::error::CheckpointError;
use super::frozen::{Barrier, Frozen, FrozenState, OwnerState, WorkerPort, WorkerState};
use super::metrics::CheckpointMetrics;
use super::open::OpenState;
use super::save::{Collected, Saving};
use crate::model::{Clock, TimestampMs};
use crate::pipeline::inbox::InputEnd;
use crate::pipeline::savepoints::{SavepointError, SavepointErrorKind};
use crate::source::{Checkpointed, KeptPositions, StopSignal};
use crate::state::{About, Committed, Savepoint, StateError};
use crate::telemetry::LogLimit;
use crate::write::{DeadLetterHandle, WriterHandle};

/// How often a failure of the same kind is told of.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked whether the input has ended, and the age of the last checkpoint is told.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a checkpoint waits for dead letters: a broker of theirs may be away.
const LETTERS_PATIENCE: Duration = Duration::from_secs(30);

/// The same, once the pipeline is to stop: less than a checkpoint has then in all.
const LETTERS_PATIENCE_AT_THE_END: Duration = Duration::from_secs(3);
/// Why there is no checkpoint behind the loss of splits.
const FORBIDDEN: &str =
    "splits were lost to another instance, which reads them from the last one on";

/// What a checkpointer works with.
#[derive(Debug)]
pub(in crate::pipeline) struct Parts {
    pub(in crate::pipeline) state: OpenState,
    pub(in crate::pipeline) saving: Saving,
    pub(in crate::pipeline) writer: WriterHandle,
    /// What the pipeline drops, where it keeps that.
    pub(in crate::pipeline) dead_letters: Option<DeadLetterHandle>,
    /// Told which positions of the source are still needed.
    pub(in crate::pipeline) kept: KeptPositions,
    /// Told the positions in the latest checkpoint.
    pub(in crate::pipeline) durable: KeptPositions,
    /// Told the same, and asked whether the source wants a checkpoint, or none any more.
    pub(in crate::pipeline) checkpointed: Checkpointed,
    pub(in crate::pipeline) clock: Clock,
    pub(in crate::pipeline) metrics: CheckpointMetrics,
    /// Whether the input has ended.
    pub(in crate::pipeline) input: InputEnd,
    /// Stops the pipeline, where its state is somebody else's.
    pub(in crate::pipeline) stop: StopSignal,
    /// Set where its state is somebody else's: its series are then as well.
    pub(in crate::pipeline) fenced: StopSignal,
    /// Told when a checkpoint is complete.
    pub(in crate::pipeline) has_checkpoint: HasCheckpoint,
}

/// Whether a run has made a checkpoint that may be gone on from.
#[derive(Debug, Clone)]
pub struct HasCheckpoint {
    is_durable: Arc<AtomicBool>,
    needs_confirmation: Arc<AtomicBool>,
}

impl HasCheckpoint {
    /// That of a run whose source is told of checkpoints so.
    pub(in crate::pipeline) fn of(checkpointed: &Checkpointed) -> Self {
        Self {
            is_durable: Arc::default(),
            needs_confirmation: checkpointed.needs_confirmation(),
        }
    }

    /// Whether one is durable, and known to the others where they have to know it.
    pub fn get(&self) -> bool {
        self.is_durable.load(Ordering::Acquire) && !self.needs_confirmation.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.is_durable.store(true, Ordering::Release);
    }
}

/// To whoever waits for a savepoint.
type Answer = Sender<Result<Savepoint, SavepointError>>;

/// Something that is asked of a checkpointer.
#[derive(Debug)]
pub(in crate::pipeline) enum Request {
    /// A savepoint: a checkpoint as soon as possible, kept under a name.
    Savepoint { name: String, answer: Answer },
    /// One more checkpoint, behind which workers take no input, and then the end.
    Last,
    /// The end at once.
    Stop,
}

/// The running thread.
#[derive(Debug)]
pub(in crate::pipeline) struct CheckpointerThread {
    requests: Sender<Request>,
    thread: Option<JoinHandle<Result<(), CheckpointError>>>,
}

impl CheckpointerThread {
    /// Starts it for as many workers as ports are given out.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(in crate::pipeline) fn start(
        parts: Parts,
        workers: usize,
    ) -> std::io::Result<(Self, Vec<WorkerPort>)> {
        let (checkpointer, requests, ports) = Checkpointer::new(parts, workers);
        let thread = thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || checkpointer.run_or_stop())?;
        let thread = Some(thread);
        Ok((Self { requests, thread }, ports))
    }

    /// The way to ask it for something.
    pub(super) fn requests(&self) -> Sender<Request> {
        self.requests.clone()
    }

    /// Asks for the last checkpoint, behind which the workers stop.
    pub(in crate::pipeline) fn last(&self) {
        self.requests.send(Request::Last).ok();
    }

    /// Ends it, with what has made it end before, if anything. What does not end within `patience`
    /// is left behind: a store that does not answer.
    pub(in crate::pipeline) fn end(&mut self, patience: Duration) -> Option<CheckpointError> {
        self.requests.send(Request::Stop).ok();
        let thread = self.thread.take()?;
        let end = Instant::now() + patience;
        while !thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        if !thread.is_finished() {
            tracing::warn!("the store of the checkpoints does not answer; it is left alone");
            return None;
        }
        let ended = thread.join();
        ended.unwrap_or(Err(CheckpointError::Panicked)).err()
    }
}

/// What the thread works with.
#[derive(Debug)]
pub(in crate::pipeline) struct Checkpointer {
    parts: Parts,
    coordinator: Coordinator,
    barriers: Vec<Sender<Barrier>>,
    frozen: Receiver<Frozen>,
    asked: Receiver<Request>,
    underway: Option<Gathering>,
    /// Who waits for savepoints.
    waiting: Vec<Wanted>,
    /// The positions in each kept checkpoint of this run.
    positions: BTreeMap<u64, BTreeMap<String, u64>>,
    log: LogLimit,
}

/// Somebody waits for a savepoint.
#[derive(Debug)]
struct Wanted {
    name: String,
    /// It is to be of the checkpoint with this number or a later one.
    after: u64,
    answer: Answer,
}

/// Every cause of work.
#[derive(Debug)]
pub(in crate::pipeline) enum Cause {
    Asked(Request),
    Frozen(Frozen),
    Time,
}

/// What has come of a checkpoint.
#[derive(Debug)]
struct Gathering {
    number: u64,
    began: Duration,
    /// Up to when every sample was acknowledged when it began, ms since the epoch.
    acknowledged: TimestampMs,
    /// The longest that a thread did nothing else for it.
    sync: Duration,
    /// How long it took until the last part was there.
    alignment: Duration,
    workers: BTreeMap<usize, WorkerState>,
    owners: BTreeMap<usize, OwnerState>,
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Checkpointer {
    /// Runs to its end. Where that is a panic the pipeline stops: without checkpoints its journal and
    /// its log would grow for ever.
    fn run_or_stop(self) -> Result<(), CheckpointError> {
        let stop = self.parts.stop.clone();
        match catch_unwind(AssertUnwindSafe(|| self.run())) {
            Ok(ended) => Ok(ended?),
            Err(_) => {
                stop.stop();
                Err(CheckpointError::Panicked)
            }
        }
    }

    /// One for so many workers, with the way to ask it for something and the workers' ways to it.
    pub(in crate::pipeline) fn new(
        parts: Parts,
        workers: usize,
    ) -> (Self, Sender<Request>, Vec<WorkerPort>) {
        let (froze, frozen) = unbounded();
        let (barriers, ports): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (barriers, received) = unbounded();
                (barriers, WorkerPort::new(received, froze.clone()))
            })
            .unzip();
        let (requests, asked) = unbounded();
        let first = parts.state.checkpoints.next_number();
        let first = first.max(parts.writer.next_checkpoint());
        let schedule = parts.state.schedule();
        let checkpointer = Self {
            parts,
            coordinator: Coordinator::new(schedule, workers, first, Duration::ZERO),
            barriers,
            frozen,
            asked,
            underway: None,
            waiting: Vec::new(),
            positions: BTreeMap::new(),
            log: LogLimit::every(LOG_EVERY),
        };
        (checkpointer, requests, ports)
    }

    /// Runs until it is told to end, or no checkpoint can follow.
    fn run(mut self) -> Result<(), StateError> {
        let began = Instant::now();
        loop {
            let patience = self.coordinator.patience(began.elapsed()).min(LOOK_EVERY);
            let cause = self.next_cause(patience);
            if self.turn(cause, began.elapsed())? {
                return Ok(());
            }
        }
    }

    /// Waits for the next cause of work, but no longer than `patience`.
    pub(in crate::pipeline) fn next_cause(&self, patience: Duration) -> Cause {
        select_biased! {
            recv(self.asked) -> request => Cause::Asked(request.unwrap_or(Request::Stop)),
            // Workers that have ended freeze nothing more; others have their ways here.
            recv(self.frozen) -> frozen => frozen.map_or(Cause::Time, Cause::Frozen),
            default(patience) => Cause::Time,
        }
    }

    /// Whether a checkpoint has begun and is not stored yet.
    #[cfg(test)]
    pub(in crate::pipeline) fn is_underway(&self) -> bool {
        self.underway.is_some()
    }

    /// Does what a cause of work asks for, `now` after the start; says whether that was all.
    ///
    /// # Errors
    /// The state is somebody else's.
    pub(in crate::pipeline) fn turn(
        &mut self,
        cause: Cause,
        now: Duration,
    ) -> Result<bool, StateError> {
        let event = match cause {
            Cause::Asked(Request::Stop) => return self.conclude(now).map(|()| true),
            Cause::Asked(request) => self.request(request),
            Cause::Frozen(frozen) => self.take(frozen, now),
            Cause::Time if self.parts.checkpointed.take_wish() => Event::Requested,
            Cause::Time => Event::Tick,
        };
        self.step(event, now)?;
        if self.parts.input.is_incomplete() {
            self.step(Event::Last, now)?;
        }
        Ok(self.coordinator.is_over())
    }

    /// Takes what workers have frozen before they ended: where that is all of a checkpoint, usually of
    /// the last one, it is stored.
    fn conclude(&mut self, now: Duration) -> Result<(), StateError> {
        while let Ok(frozen) = self.frozen.try_recv() {
            let event = self.take(frozen, now);
            self.step(event, now)?;
        }
        Ok(())
    }

    /// Lets the coordinator decide, and does what it says, until there is nothing more to do.
    fn step(&mut self, event: Event, now: Duration) -> Result<(), StateError> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            // What the others do not know yet is one checkpoint at most, and the last one. It may be the one
            // that was stored in this very step.
            let is_held = self.parts.checkpointed.is_unconfirmed();
            self.coordinator.hold(is_held);
            match self.coordinator.on(event, now) {
                None => {}
                Some(Action::Begin { number, is_last }) => next = self.begin(number, is_last, now),
                Some(Action::Store { number }) => {
                    self.store(number)?;
                    next = Some(Event::Ended { number });
                }
                Some(Action::GiveUp { number, missing }) => {
                    self.underway = None;
                    let seconds = self.parts.state.schedule().timeout.as_secs();
                    self.failed(
                        number,
                        &format!("{missing} parts of it were not there after {seconds} s"),
                    );
                }
            }
        }
        Ok(())
    }

    /// Waits for dead letters; not for long where the pipeline is to stop.
    fn has_letters(&self) -> bool {
        let Some(letters) = &self.parts.dead_letters else {
            return true;
        };
        let patience = match self.parts.stop.is_stopped() {
            true => LETTERS_PATIENCE_AT_THE_END,
            false => LETTERS_PATIENCE,
        };
        letters.make_durable(Instant::now() + patience)
    }

    fn request(&mut self, request: Request) -> Event {
        match request {
            Request::Savepoint { name, answer } => {
                // Of one that begins later than now: what is under way is of the past.
                let after = self.underway.as_ref().map_or(0, |one| one.number + 1);
                self.waiting.push(Wanted {
                    name,
                    after,
                    answer,
                });
                return Event::Requested;
            }
            Request::Last => return Event::Last,
            Request::Stop => {}
        }
        Event::Tick
    }

    fn begin(&mut self, number: u64, is_last: bool, now: Duration) -> Option<Event> {
        if self.parts.checkpointed.is_forbidden() {
            self.failed(number, FORBIDDEN);
            return Some(Event::Ended { number });
        }
        // Before any barrier: what is sent from now on is written down for this checkpoint.
        if let Err(error) = self.parts.writer.begin_checkpoint(number) {
            // Also of the last one: a restart from it would not know what is sent from now on.
            self.failed(number, &error.to_string());
            return Some(Event::Ended { number });
        }
        // Before any barrier as well: whoever goes on from this checkpoint forms again what comes behind
        // one. What the restored checkpoint says still holds until this run has come as far.
        let earlier = self.parts.state.acknowledged.unwrap_or(TimestampMs::MIN);
        let acknowledged = self.parts.writer.acknowledged().max(earlier);
        for barriers in &self.barriers {
            // A worker that has ended has said so to everybody.
            barriers.send(Barrier { number, is_last }).ok();
        }
        self.underway = Some(Gathering {
            number,
            began: now,
            acknowledged,
            sync: Duration::ZERO,
            alignment: Duration::ZERO,
            workers: BTreeMap::new(),
            owners: BTreeMap::new(),
        });
        None
    }

    fn take(&mut self, frozen: Frozen, now: Duration) -> Event {
        let number = frozen.checkpoint;
        let Some(underway) = self.underway.as_mut().filter(|one| one.number == number) else {
            return Event::Tick;
        };
        self.parts.metrics.froze(frozen.took);
        underway.sync = underway.sync.max(frozen.took);
        underway.alignment = now.saturating_sub(underway.began);
        match frozen.state {
            FrozenState::Worker(state) => {
                underway.workers.insert(frozen.worker, state);
                Event::WorkerFroze { number }
            }
            FrozenState::Owner(state) => {
                underway.owners.insert(frozen.worker, state);
                Event::OwnerFroze { number }
            }
        }
    }

    /// Stores what has come. Only where the state is somebody else's by now, there is no way on.
    fn store(&mut self, number: u64) -> Result<(), StateError> {
        let Some(Gathering {
            acknowledged,
            sync,
            alignment,
            workers,
            owners,
            ..
        }) = self.underway.take()
        else {
            return Ok(());
        };
        self.parts.metrics.aligned(alignment);
        let storing = Instant::now();
        let writer = match self.parts.writer.snapshot() {
            Ok(writer) => writer,
            Err(stopped) => {
                self.failed(number, &stopped.to_string());
                return Ok(());
            }
        };
        // Workers handed them over before their barriers; behind the checkpoint they are not read again.
        if !self.has_letters() {
            self.failed(
                number,
                "dead letters of before it are not on the disk or with their broker",
            );
            return Ok(());
        }
        let collected = Collected {
            workers,
            owners,
            writer,
        };
        if self.parts.checkpointed.is_forbidden() {
            self.failed(number, FORBIDDEN);
            return Ok(());
        }
        if let Err(error) = self.parts.checkpointed.announce(number) {
            self.failed(number, &error.to_string());
            return Ok(());
        }
        let positions = self.parts.saving.positions(&collected);
        let tokens = self.parts.saving.tokens(&collected);
        let committed = self.commit(number, acknowledged, collected);
        match committed {
            Ok(committed) => {
                let now_ms = self.parts.clock.now_ms();
                let took = storing.elapsed();
                self.parts.metrics.stored(&committed, took, now_ms);
                tracing::debug!(
                    checkpoint = number,
                    sync_ms = milliseconds(sync),
                    alignment_ms = milliseconds(alignment),
                    async_ms = milliseconds(took),
                    bytes = committed.bytes,
                    new_bytes = committed.new_bytes,
                    "a checkpoint is durable"
                );
                self.parts.saving.tokens.saved(&tokens);
                self.completed(&committed, positions);
                Ok(())
            }
            Err(error @ StateError::Fenced { .. }) => {
                tracing::error!(%error, "the pipeline stops");
                self.parts.metrics.failures.inc();
                self.parts.fenced.stop();
                self.parts.stop.stop();
                Err(error)
            }
            Err(error) => {
                self.failed(number, &error.to_string());
                Ok(())
            }
        }
    }

    fn commit(
        &mut self,
        number: u64,
        acknowledged: TimestampMs,
        collected: Collected,
    ) -> Result<Committed, StateError> {
        let first = self.parts.checkpointed.first_unconfirmed();
        self.parts.state.checkpoints.may_withdraw(first);
        let mut draft = self.parts.state.checkpoints.begin(number);
        self.parts.saving.save(collected, &mut draft)?;
        draft.commit(About {
            created_ms: self.parts.clock.now_ms(),
            acknowledged_ms: Some(acknowledged),
            weir_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// A checkpoint is durable: what only earlier ones needed may go.
    fn completed(&mut self, committed: &Committed, positions: BTreeMap<String, u64>) {
        self.parts.has_checkpoint.set();
        let (state, has_checkpoint) = (&self.parts.state, &self.parts.has_checkpoint);
        let oldest_acknowledged = || state.oldest_acknowledged(has_checkpoint.get());
        self.parts.writer.completed(oldest_acknowledged);
        let checkpointed = positions.iter();
        let checkpointed = checkpointed.map(|(split, position)| (split.clone(), *position));
        self.parts.checkpointed.set(checkpointed);
        for (split, position) in &positions {
            self.parts.durable.set(split, *position);
        }
        self.positions.insert(committed.number, positions);
        self.positions = self.positions.split_off(&committed.oldest_kept);
        self.tell_kept(committed.oldest_kept);
        let number = committed.number;
        let (due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|wanted: &Wanted| wanted.after <= number);
        self.waiting = waiting;
        for Wanted { name, answer, .. } in due {
            let saved = self.parts.state.checkpoints.load(number);
            let saved =
                saved.and_then(|checkpoint| self.parts.state.savepoints.save(&name, &checkpoint));
            answer.send(saved.map_err(SavepointError::from)).ok();
        }
    }

    /// Tells the source what it need not keep any more.
    fn tell_kept(&self, oldest_kept: u64) {
        // What an earlier run has stored, or one that seemed to fail, is not known here: while one of
        // these is kept, so is everything.
        if !self.positions.contains_key(&oldest_kept) {
            return;
        }
        let all = || self.positions.values();
        for split in all().flat_map(BTreeMap::keys) {
            // A checkpoint that does not know a split needs all of it.
            if let Some(position) = all().map(|known| known.get(split)).min().flatten() {
                self.parts.kept.set(split, *position);
            }
        }
    }

    fn failed(&mut self, number: u64, reason: &str) {
        self.parts.metrics.failures.inc();
        for Wanted { name, answer, .. } in self.waiting.drain(..) {
            let message =
                format!("there is no savepoint {name}: checkpoint {number} failed: {reason}");
            let error = SavepointError::new(SavepointErrorKind::Failed, message);
            answer.send(Err(error)).ok();
        }
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(
                checkpoint = number,
                reason,
                held_back,
                "a checkpoint has failed; the one before stays the latest"
            );
        }
    }
}
