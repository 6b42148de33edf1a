//! The pipeline from a start to a crash: all its parts, and their steps.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use fastrand::Rng;
use tokio::time::Instant;

use super::events::{Events, Reader};
use super::setting::Setting;
use crate::decode::DecodeMetrics;
use crate::model::{Clock, TimestampMs};
use crate::pipeline::assembly::Parts;
use crate::pipeline::checkpoint::{
    self, CheckpointMetrics, Checkpointer, HasCheckpoint, OpenState, Request, Restored, Saving,
    WorkerPort,
};
use crate::pipeline::ending::Ending;
use crate::pipeline::exchange::{Exchange, Sent};
use crate::pipeline::inbox::{Router, inboxes};
use crate::pipeline::metrics::PipelineMetrics;
use crate::pipeline::owner::keyed::KeyedState;
use crate::pipeline::savepoints::SavepointError;
use crate::pipeline::tests::bench::START_MS;
use crate::pipeline::worker::{Crowd, Event, Failed, Shared, Worker, restore};
use crate::source::{
    Alignment, Checkpointed, KeptPositions, PositionTokens, Resume, SafePositions, SourceOutput,
    StopSignal,
};
use crate::state::{Savepoint, StateError};
use crate::telemetry::Registry;
use crate::window::{END_OF_TIME, Watermarks};
use crate::write::remote_write::oracle::Oracle;
use crate::write::remote_write::scripted::Script;
use crate::write::{Writer, WriterHandle};

/// How many events wait for a worker at most, so that the source never has to wait.
const INBOX: usize = 4;

/// How a life is led.
pub(super) struct Plan {
    pub(super) workers: usize,
    /// Whether series end.
    pub(super) series_end: bool,
    pub(super) receiver: Script,
    /// How many of 256 times each link gives nothing though there is something, by owner and worker.
    pub(super) slow: Vec<Vec<u8>>,
    /// Where groups go that are too many for memory, if they do.
    pub(super) keyed: Option<KeyedState>,
    /// How much may wait at an owner before no worker takes input.
    pub(super) crowd: usize,
    /// In how many of 256 steps a worker lets go of texts at once, beside those where that is due; nothing
    /// where texts stay for ever.
    pub(super) compacts: Option<u8>,
}

/// All parts of a running pipeline.
pub(super) struct Life {
    pub(super) kept: KeptPositions,
    /// How often a worker has let go of texts at once.
    pub(super) let_go: u64,
    /// How often of these a checkpoint was under way.
    pub(super) let_go_forming: u64,
    plan: Plan,
    events: Arc<Events>,
    reader: Reader,
    router: Router,
    is_closed: bool,
    workers: Vec<Worker>,
    /// By owner and worker.
    links: Vec<Vec<Receiver<Sent>>>,
    /// Until it has ended.
    checkpointer: Option<Checkpointer>,
    requests: Sender<Request>,
    writer: Writer,
    handle: WriterHandle,
    began: Instant,
}

/// An answer that is waited for.
pub(super) type Answer = Receiver<Result<Savepoint, SavepointError>>;

/// What a worker can do next.
#[derive(Clone, Copy)]
enum Choice {
    Barrier,
    Link(usize),
    Room,
    Input,
    Tick,
}

impl Life {
    /// Puts everything together as `Running::start` does; without a state there are no checkpoints.
    pub(super) fn start(
        setting: &Setting,
        events: &Arc<Events>,
        oracle: &Arc<Mutex<Oracle>>,
        plan: Plan,
        mut state: Option<OpenState>,
        random: &mut Rng,
    ) -> Self {
        let (pipeline, references) = (setting.pipeline(plan.series_end), &setting.references);
        let registry = Registry::new("test");
        let metrics = PipelineMetrics::new(&registry);
        let resume = state.as_mut().map(OpenState::resume).unwrap_or_default();
        let restored = state.as_mut().and_then(|state| state.restored.take());
        let positions = restored.iter().flat_map(Restored::positions);
        let reader = Reader::new(events, &positions.collect::<Resume>(), random);
        let receiver = plan.receiver.clone();
        let writer = receiver.start(plan.workers, oracle, &registry, &resume);

        let drift_ms = pipeline.time.max_drift.as_signed_millis();
        let out_of_order_ms = pipeline.time.out_of_order.as_signed_millis();
        let mut watermarks = Watermarks::new(out_of_order_ms).with_max_drift(drift_ms);
        if let Some(restored) = &restored {
            restored.restore_watermarks(&mut watermarks);
        }
        let watermarks = Arc::new(Mutex::new(watermarks));
        let clock = Clock::Fixed(START_MS);
        let gauges = (0..plan.workers).map(|worker| metrics.inbox_bytes(worker));
        let splits = restored.as_ref().map(|restored| restored.splits.clone());
        let splits = splits.unwrap_or_default();
        let (mut router, inboxes) = inboxes(gauges.collect(), watermarks.clone(), splits);
        let counters = pipeline.metrics.iter();
        let counters: Vec<_> = counters
            .map(|metric| metrics.of_metric(&metric.name))
            .collect();
        let parts = Parts {
            pipeline,
            references,
            schemas: None,
            decode: &DecodeMetrics::new(&registry),
            counters: &counters,
            dead_letters: None,
            clocks: None,
            shared: Shared {
                watermarks,
                watermark: Arc::new(AtomicI64::new(TimestampMs::MIN)),
                clock: clock.clone(),
                idle_after_ms: pipeline.time.idle_after.as_signed_millis(),
                safe: SafePositions::default(),
                alignment: Alignment::default(),
                metrics,
                abandoned: StopSignal::default(),
                crowd: Crowd::with_limit(plan.crowd),
            },
            keyed: plan.keyed.clone(),
            durable: None,
        };
        let kept = KeptPositions::default();
        let (checkpointer, requests, ports) = match state {
            None => {
                let ports = (0..plan.workers).map(|_| WorkerPort::closed());
                (None, unbounded().0, ports.collect())
            }
            Some(state) => {
                let parts = checkpoint::Parts {
                    saving: Saving::new(
                        pipeline,
                        references.states(pipeline),
                        restored.as_ref(),
                        PositionTokens::default(),
                    ),
                    writer: writer.handle(),
                    dead_letters: None,
                    kept: kept.clone(),
                    durable: KeptPositions::default(),
                    checkpointed: Checkpointed::default(),
                    has_checkpoint: HasCheckpoint::of(&Checkpointed::default()),
                    clock,
                    metrics: CheckpointMetrics::new(&registry),
                    input: router.input_end(),
                    stop: StopSignal::default(),
                    fenced: StopSignal::default(),
                    state,
                };
                let (checkpointer, requests, ports) = Checkpointer::new(parts, plan.workers);
                (Some(checkpointer), requests, ports)
            }
        };
        let mut workers = parts.workers(inboxes, ports, &writer).unwrap();
        let links = links(&mut workers);
        if plan.compacts.is_none() {
            workers
                .iter_mut()
                .for_each(|worker| worker.compaction.never());
        }
        if let Some(restored) = &restored {
            restore(&mut workers, restored).unwrap();
        }
        for assignment in events.assignments() {
            router.send(assignment).unwrap();
        }
        Self {
            kept,
            let_go: 0,
            let_go_forming: 0,
            plan,
            events: Arc::clone(events),
            reader,
            router,
            is_closed: false,
            workers,
            links,
            checkpointer,
            requests,
            handle: writer.handle(),
            writer,
            began: Instant::now(),
        }
    }

    /// One step of the source: something of some split, where there is room for it.
    pub(super) fn read(&mut self, random: &mut Rng) {
        if self.is_closed {
            return;
        }
        if self.reader.is_at_end() {
            self.close(Ending::Complete);
            return;
        }
        let split = random.usize(0..self.events.splits());
        let worker = &self.workers[split % self.workers.len()];
        if worker.inbox.receiver.len() < INBOX
            && let Some(event) = self.reader.next(&self.events, split, random)
        {
            self.router.send(event).unwrap();
        }
    }

    /// The source ends, where it can say so at once; says whether that was done.
    pub(super) fn close(&mut self, ending: Ending) -> bool {
        let is_room = |worker: &Worker| worker.inbox.receiver.len() < INBOX;
        if self.is_closed || !self.workers.iter().all(is_room) {
            return false;
        }
        self.router.close(ending);
        self.is_closed = true;
        true
    }

    /// One step of some worker.
    pub(super) fn work(&mut self, random: &mut Rng) -> Result<(), Failed> {
        let number = random.usize(0..self.workers.len());
        let worker = &mut self.workers[number];
        if worker.is_done() {
            return Ok(());
        }
        worker.release();
        let mut choices = vec![Choice::Tick];
        if self.checkpointer.is_none() || !worker.checkpoints.barriers().is_empty() {
            choices.push(Choice::Barrier);
        }
        for (from, link) in self.links[number].iter().enumerate() {
            if !link.is_empty() && random.u8(..) >= self.plan.slow[number][from] {
                choices.push(Choice::Link(from));
            }
        }
        if worker.is_blocked() && !worker.room.is_empty() {
            choices.push(Choice::Room);
        }
        if worker.wants_input() && !worker.inbox.receiver.is_empty() {
            choices.push(Choice::Input);
        }
        let takes_input = choices.iter().any(|choice| matches!(choice, Choice::Input));
        assert!(
            !takes_input || !self.is_crowded(),
            "a worker takes input while too much waits at an owner"
        );
        let worker = &mut self.workers[number];
        let choice = choices[random.usize(0..choices.len())];
        let event = match choice {
            Choice::Tick => Event::Tick,
            Choice::Barrier => match worker.checkpoints.barriers().try_recv() {
                Ok(barrier) => Event::Barrier(Some(barrier)),
                Err(TryRecvError::Disconnected) => Event::Barrier(None),
                Err(TryRecvError::Empty) => Event::Tick,
            },
            Choice::Link(from) => Event::Sent(self.links[number][from].try_recv().unwrap()),
            Choice::Room => {
                worker.room.try_recv().unwrap();
                Event::Room
            }
            Choice::Input => Event::Input(worker.inbox.receiver.try_recv().unwrap()),
        };
        worker.handle_event(event)?;
        if random.u8(..) < 10 {
            worker.report();
        }
        let compacts = self.plan.compacts.unwrap_or_default();
        if random.u8(..) < compacts && worker.compact() {
            self.let_go += 1;
            self.let_go_forming += u64::from(self.is_forming());
        }
        Ok(())
    }

    /// One step of the checkpointer; says whether it has ended by now.
    pub(super) fn check(&mut self) -> Result<bool, StateError> {
        let Some(checkpointer) = &mut self.checkpointer else {
            return Ok(true);
        };
        let cause = checkpointer.next_cause(Duration::ZERO);
        if checkpointer.turn(cause, self.began.elapsed())? {
            self.checkpointer = None;
        }
        Ok(self.checkpointer.is_none())
    }

    /// Asks for a savepoint.
    pub(super) fn savepoint(&self, name: &str) -> Answer {
        let (answer, answered) = bounded(1);
        let name = name.to_owned();
        let request = Request::Savepoint { name, answer };
        // Where it has ended, the answer says so.
        self.requests.send(request).ok();
        answered
    }

    /// Whether all workers have ended.
    pub(super) fn has_worked(&self) -> bool {
        self.workers.iter().all(|worker| worker.is_done())
    }

    /// Whether everything has been read, formed and acknowledged.
    pub(super) fn is_complete(&self) -> bool {
        self.has_worked() && self.handle.acknowledged() == END_OF_TIME
    }

    /// Whether a checkpoint has begun and is not stored.
    pub(super) fn is_forming(&self) -> bool {
        let checkpointer = self.checkpointer.as_ref();
        checkpointer.is_some_and(Checkpointer::is_underway)
    }

    /// What is told of a life that does not end.
    pub(super) fn told(&self) -> String {
        let of_worker = |worker: &Worker| {
            let Worker {
                takes_input,
                ending,
                input_ended,
                flushed,
                ..
            } = worker;
            let (inbox, unsent) = (worker.inbox.receiver.len(), worker.unsent.len());
            format!(
                "takes_input {takes_input}, ending {ending:?}, input_ended {input_ended}, flushed \
                 {flushed}, {inbox} events and {unsent} samples wait, done: {}, owner {:?}",
                worker.is_done(),
                worker.owner.is_due()
            )
        };
        let workers: Vec<_> = self.workers.iter().map(of_worker).collect();
        let links = self.links.iter().flatten().map(Receiver::len);
        format!(
            "workers: {workers:#?}; in the links: {:?}; acknowledged {}; closed {} reader {:?}",
            links.collect::<Vec<_>>(),
            self.handle.acknowledged(),
            self.is_closed,
            self.reader
        )
    }

    /// Whether groups are in a store that are too many for memory.
    pub(super) fn has_stored(&self) -> bool {
        let mut owned = self
            .workers
            .iter()
            .flat_map(|worker| worker.owner.metrics());
        owned.any(|metric| metric.stored_bytes() > 0)
    }

    /// Whether no worker takes input, because too much waits at an owner.
    pub(super) fn is_crowded(&self) -> bool {
        self.workers.iter().any(|worker| worker.is_crowded)
    }

    /// Whether samples wait for room at the writer.
    pub(super) fn is_blocked(&self) -> bool {
        self.workers.iter().any(Worker::is_blocked)
    }

    /// Whether the writer has samples that are not acknowledged.
    pub(super) fn has_unacknowledged(&self) -> bool {
        self.writer.snapshot().is_ok_and(|waits| !waits.is_empty())
    }
}

/// Gives each pair of a worker and an owner a way of its own, by owner and worker.
fn links(workers: &mut [Worker]) -> Vec<Vec<Receiver<Sent>>> {
    let count = workers.len();
    let mut links: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    for (number, worker) in workers.iter_mut().enumerate() {
        let mut senders = Vec::new();
        for links in &mut links {
            let (sender, receiver) = unbounded();
            senders.push(sender);
            links.push(receiver);
        }
        worker.exchange = Exchange::new(number, senders);
    }
    links
}
