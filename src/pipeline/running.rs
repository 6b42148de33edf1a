//! A running pipeline: started from its description, stopped with a deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use tokio::runtime::Handle;

use super::assembly::{self, Parts};
use super::checkpoint::{
    self, CheckpointMetrics, CheckpointerThread, HasCheckpoint, OpenState, Restored,
    RunningSavepoints, Saving, WorkerPort,
};
use super::ending::Ending;
use super::error::PipelineError;
use super::inbox::{Router, inboxes};
use super::metrics::{MetricCounters, PipelineMetrics};
use super::options::Options;
use super::references::References;
use super::savepoints::Savepoints;
use super::worker::{Crowd, Failed, Shared, restore};
use crate::config::Pipeline;
use crate::decode::{DecodeMetrics, SchemaRegistry};
use crate::durable::FolderLock;
use crate::enrich::{LookupMetrics, PartialService, RefresherThread};
use crate::model::TimestampMs;
use crate::pipeline::worker::clock_metrics::ClockMetrics;
use crate::pipeline::worker::dead_letters;
use crate::pipeline::worker::splits::Splits;
use crate::source::{
    self, Alignment, Checkpointed, KeptPositions, PositionTokens, SafePositions, Source,
    SourceError, StopSignal,
};
use crate::state::StateError;
use crate::telemetry::Registry;
use crate::window::{END_OF_TIME, Watermarks};
use crate::write::{DeadLetters, WriteSummary, Writer};

/// How long a source may take to commit for the last time.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// How long the store of the checkpoints may take to finish what it is doing.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);

/// Where a pipeline's events come from.
#[expect(
    missing_debug_implementations,
    reason = "a source made elsewhere need not print itself"
)]
pub enum SourceOf {
    /// The source that the pipeline file describes.
    File,
    /// A source that is made elsewhere and counts in the pipeline's registry.
    Made(MakeSource),
}

/// Makes a source, given the pipeline's registry.
pub type MakeSource = Box<dyn FnOnce(&Registry) -> Box<dyn Source> + Send>;

/// How far a pipeline is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    /// Events decoded.
    pub events: u64,
    /// Records and events that were dropped before windows.
    pub dropped: u64,
    /// Events that were late for a metric.
    pub late: u64,
    /// Samples formed.
    pub samples: u64,
    /// The watermark, ms since the epoch, where there is one.
    pub watermark_ms: Option<TimestampMs>,
}

/// What became of a pipeline.
#[derive(Debug)]
pub struct Finished {
    /// The last status.
    pub status: Status,
    /// What became of its samples.
    pub written: WriteSummary,
    /// What ended it before its time.
    pub error: Option<PipelineError>,
}

/// A running pipeline.
#[derive(Debug)]
pub struct Running {
    name: String,
    stop: StopSignal,
    /// Tells workers that nobody waits for them any more.
    abandoned: StopSignal,
    router: Router,
    /// The source's and the workers' threads, with what each of them is.
    threads: Vec<(JoinHandle<()>, &'static str)>,
    workers: usize,
    /// Whether samples go to a receiver that may be away.
    remote: bool,
    /// Whether what was read can be read again.
    replayable: bool,
    /// How the input ends where it is stopped.
    stopped: Ending,
    outcomes: Receiver<Outcome>,
    writer: Writer,
    dead_letters: Option<DeadLetters>,
    /// Where the pipeline has state.
    checkpointer: Option<CheckpointerThread>,
    savepoints: Option<Arc<RunningSavepoints>>,
    /// The writer has its journal in the folder of the state, and goes on when checkpoints have ended.
    _lock: Option<Arc<FolderLock>>,
    has_checkpoint: HasCheckpoint,
    /// Set where the state is somebody else's.
    fenced: StopSignal,
    /// Says whether what was read counts somewhere else.
    checkpointed: Checkpointed,
    safe: SafePositions,
    refreshers: Vec<RefresherThread>,
    /// The services that are asked for keys.
    services: Vec<Arc<PartialService>>,
    /// Where the records' schemas are, where they are registered.
    schemas: Option<SchemaRegistry>,
    decode: DecodeMetrics,
    counters: Vec<MetricCounters>,
    watermark: Arc<AtomicI64>,
    registry: Registry,
}

/// How a thread of the pipeline ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Source(Result<(), SourceError>),
    Worker(Result<Splits, Failed>),
    SourcePanicked,
    WorkerPanicked,
}

impl Outcome {
    /// What the source has failed with, where this is its end.
    fn source_error(self) -> Option<PipelineError> {
        match self {
            Self::Source(result) => result.err().map(PipelineError::from),
            Self::SourcePanicked => Some(PipelineError::Panicked("source".to_owned())),
            Self::Worker(_) | Self::WorkerPanicked => None,
        }
    }
}

impl Running {
    /// Starts a pipeline. Remote-Write and the requests of lookups run on `runtime`.
    ///
    /// # Errors
    /// A reference table cannot be read, the writer or the source cannot be set up, or the system
    /// gives no threads.
    pub fn start(
        pipeline: &Pipeline,
        source: SourceOf,
        options: &Options,
        runtime: Handle,
    ) -> Result<Self, PipelineError> {
        let registry = Registry::new(&pipeline.name);
        let workers = worker_count(pipeline, options);
        let metrics = PipelineMetrics::new(&registry);
        let decode = DecodeMetrics::new(&registry);
        let safe = SafePositions::default();
        let alignment = Alignment::default();
        let abandoned = StopSignal::default();
        let lookup_metrics = LookupMetrics::new(&registry);
        let (references, refreshers) =
            References::load(pipeline, lookup_metrics, &options.clock, &runtime)?;
        let schemas = pipeline.format.registry().map(|config| {
            SchemaRegistry::build(config, runtime.clone(), &registry)
                .map_err(PipelineError::SchemaRegistry)
        });
        let schemas = schemas.transpose()?;
        // Before anything is read or written: what is there decides from where.
        let mut state = OpenState::open(pipeline, options)?;
        let resume = state.as_mut().map(OpenState::resume).unwrap_or_default();
        let restored = state.as_mut().and_then(|state| state.restored.take());
        let keyed = state.as_ref().and_then(|state| state.keyed.clone());
        let lock = state.as_ref().map(|state| Arc::clone(&state.lock));
        let (kept, durable) = (KeptPositions::default(), KeptPositions::default());
        let positions = || restored.iter().flat_map(Restored::positions);
        positions().for_each(|(split, position)| durable.set(&split, position));
        let checkpointed = state.as_ref().map(OpenState::checkpointed);
        let checkpointed = checkpointed.unwrap_or_default();
        checkpointed.set(positions());
        let tokens = match &state {
            None => PositionTokens::default(),
            Some(_) => PositionTokens::kept(restored.iter().flat_map(|one| one.tokens.clone())),
        };
        let source = match source {
            SourceOf::Made(make) => make(&registry),
            SourceOf::File => {
                let context = source::Context {
                    pipeline: pipeline.name.clone(),
                    idle_after: pipeline.time.idle_after,
                    commit_every: pipeline.commit_every,
                    max_record_bytes: pipeline.max_record_bytes,
                    needs_envelope: pipeline.needs_envelope,
                    headers: pipeline.headers.clone(),
                    clock: options.clock.clone(),
                    safe: safe.clone(),
                    resume: restored.as_ref().map(Restored::resume).unwrap_or_default(),
                    kept: kept.clone(),
                    tokens: tokens.clone(),
                    checkpointed: checkpointed.clone(),
                    log: state.as_ref().map(OpenState::log),
                    alignment: alignment.clone(),
                    progress: options.progress.clone(),
                };
                source::build(&pipeline.source, context, &registry)?
            }
        };
        let writer = Writer::start(&pipeline.write, workers, &registry, runtime, resume)?;
        let dead_letters = dead_letters::start(pipeline, &registry)?;

        let out_of_order_ms = pipeline.time.out_of_order.as_signed_millis();
        let max_drift_ms = pipeline.time.max_drift.as_signed_millis();
        let mut watermarks = Watermarks::new(out_of_order_ms).with_max_drift(max_drift_ms);
        if let Some(restored) = &restored {
            restored.restore_watermarks(&mut watermarks);
            restored.tell_changed_tables(&references.states(pipeline));
        }
        let watermarks = Arc::new(Mutex::new(watermarks));
        let watermark = Arc::new(AtomicI64::new(TimestampMs::MIN));
        let shared = Shared {
            watermarks: watermarks.clone(),
            watermark: watermark.clone(),
            clock: options.clock.clone(),
            idle_after_ms: pipeline.time.idle_after.as_signed_millis(),
            safe: safe.clone(),
            alignment,
            metrics: metrics.clone(),
            abandoned: abandoned.clone(),
            crowd: Crowd::default(),
        };
        let counters: Vec<_> = pipeline
            .metrics
            .iter()
            .map(|metric| metrics.of_metric(&metric.name))
            .collect();
        let gauges = (0..workers)
            .map(|worker| metrics.inbox_bytes(worker))
            .collect();
        let splits = restored.as_ref().map(|restored| restored.splits.clone());
        let splits = splits.unwrap_or_default();
        let (router, inboxes) = inboxes(gauges, watermarks, splits);
        let parts = Parts {
            pipeline,
            references: &references,
            schemas: schemas.clone(),
            decode: &decode,
            counters: &counters,
            dead_letters: dead_letters.as_ref().map(DeadLetters::handle),
            clocks: pipeline.clocks.as_ref().map(|clocks| {
                let by: Vec<_> = clocks.by.iter().map(|(name, _)| &**name).collect();
                ClockMetrics::new(&registry, &by)
            }),
            keyed,
            shared,
            durable: state.as_ref().map(|_| durable.clone()),
        };
        let (outcome, outcomes) = unbounded();
        let (stop, fenced) = (StopSignal::default(), StopSignal::default());
        let mut savepoints = None;
        let has_checkpoint = HasCheckpoint::of(&checkpointed);
        let (checkpointer, ports) = match state {
            None => (None, (0..workers).map(|_| WorkerPort::closed()).collect()),
            Some(state) => {
                let parts = checkpoint::Parts {
                    saving: Saving::new(
                        pipeline,
                        references.states(pipeline),
                        restored.as_ref(),
                        tokens,
                    ),
                    writer: writer.handle(),
                    dead_letters: dead_letters.as_ref().map(DeadLetters::handle),
                    kept,
                    durable,
                    checkpointed: checkpointed.clone(),
                    clock: options.clock.clone(),
                    metrics: CheckpointMetrics::new(&registry),
                    input: router.input_end(),
                    stop: stop.clone(),
                    fenced: fenced.clone(),
                    has_checkpoint: has_checkpoint.clone(),
                    state,
                };
                let stored = parts.state.stored_savepoints();
                let (thread, ports) = CheckpointerThread::start(parts, workers)?;
                savepoints = Some(Arc::new(RunningSavepoints::new(&thread, stored)));
                (Some(thread), ports)
            }
        };
        let mut built = parts.workers(inboxes, ports, &writer)?;
        if let Some(restored) = &restored {
            restore(&mut built, restored)?;
        }
        let mut threads = assembly::start(built, &outcome, &stop)?;
        let replayable = source.is_replayable();
        let goes_on = checkpointer.is_some() || source.keeps_positions();
        let stopped = Ending::by_stop(replayable, goes_on);
        let source = start_source(source, router.clone(), stop.clone(), outcome, stopped)?;
        threads.push((source, "source"));
        Ok(Self {
            name: pipeline.name.clone(),
            stop,
            abandoned,
            router,
            threads,
            workers,
            remote: pipeline.write.remote_write.is_some(),
            replayable,
            stopped,
            outcomes,
            writer,
            dead_letters,
            checkpointer,
            savepoints,
            _lock: lock,
            has_checkpoint,
            fenced,
            checkpointed,
            safe,
            refreshers,
            services: references.services(),
            schemas,
            decode,
            counters,
            watermark,
            registry,
        })
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pipeline's metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Can be used to stop the pipeline from another thread: it reads no more, and
    /// [`finish`](Self::finish) ends it.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// The pipeline's savepoints, where it keeps state.
    pub fn savepoints(&self) -> Option<Arc<dyn Savepoints>> {
        let savepoints = self.savepoints.clone()?;
        Some(savepoints)
    }

    /// Whether this run has made a checkpoint that the next one may go on from; to be asked after its end as
    /// well.
    pub fn has_checkpoint(&self) -> HasCheckpoint {
        self.has_checkpoint.clone()
    }

    /// Whether all threads but the writer's have ended, or nothing that they still make counts.
    pub fn is_finished(&self) -> bool {
        self.checkpointed.is_forbidden()
            || self.threads.iter().all(|(thread, _)| thread.is_finished())
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        let sum = |count: fn(&MetricCounters) -> u64| self.counters.iter().map(count).sum();
        let watermark = self.watermark.load(Ordering::Acquire);
        let known = watermark > TimestampMs::MIN && watermark < TimestampMs::MAX;
        Status {
            events: self.decode.events_total(),
            dropped: self.decode.dropped_total(),
            late: sum(|counters| counters.late.get() + counters.late_after_idle.get()),
            samples: sum(|counters| counters.samples.get()),
            watermark_ms: known.then_some(watermark),
        }
    }

    /// Waits until the input has ended or the signal was set, and everything is written. Once the
    /// signal is set, this takes no longer than `drain`; samples that are not written by then are
    /// given up, and counted.
    pub fn finish(mut self, drain: Duration) -> Finished {
        let mut error = None;
        let mut deadline = None;
        let mut workers = self.workers;
        let (mut writer_failed, mut worker_failed) = (false, false);
        let mut splits = Vec::new();
        while workers > 0 && !worker_failed && deadline.is_none_or(|end| Instant::now() < end) {
            if deadline.is_none() && self.stop.is_stopped() {
                deadline = Some(Instant::now() + drain);
            }
            if self.fenced.is_stopped() || self.checkpointed.is_forbidden() {
                // Nothing more is sent beside the weir that has the state now, or what was read.
                deadline = Some(Instant::now());
            }
            // The last checkpoint follows the end of the input, but does not wait for it for ever: a
            // worker whose samples have no room takes no input.
            if deadline.is_some_and(|end| Instant::now() + drain * 3 / 4 >= end)
                && let Some(checkpointer) = &self.checkpointer
            {
                checkpointer.last();
            }
            // Nor is a source waited for whose pipe is silent: it sees no signal. What it may still
            // send is not counted.
            if deadline.is_some_and(|end| Instant::now() + drain * 3 / 4 >= end)
                && self.stopped == Ending::Stopped
            {
                self.router.close_without_source(Ending::Stopped);
            }
            // Half of the time is for answers, the other half for what is made of them.
            if deadline.is_some_and(|end| Instant::now() + drain / 2 >= end) {
                self.services.iter().for_each(|service| service.close());
            }
            let outcome = match self.outcomes.recv_timeout(Duration::from_millis(50)) {
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(outcome) => outcome,
            };
            let is_worker = matches!(outcome, Outcome::Worker(_) | Outcome::WorkerPanicked);
            match outcome {
                Outcome::Worker(Ok(ended)) => splits.push(ended),
                Outcome::Worker(Err(Failed::Writer)) => {
                    writer_failed = true;
                    worker_failed = true;
                }
                Outcome::Worker(Err(Failed::State(failure))) => {
                    let failure = StateError::Store(failure).into();
                    error = Some(PipelineError::State(failure));
                    worker_failed = true;
                }
                Outcome::WorkerPanicked => {
                    error = Some(PipelineError::Panicked("worker".to_owned()));
                    worker_failed = true;
                }
                Outcome::Source(_) | Outcome::SourcePanicked => error = outcome.source_error(),
            }
            workers -= usize::from(is_worker);
        }
        if let Some(mut checkpointer) = self.checkpointer.take()
            && let Some(lost) = checkpointer.end(CHECKPOINT_PATIENCE)
        {
            // Usually because the state is somebody else's, and so are the series.
            error = Some(PipelineError::State(lost));
            deadline = Some(Instant::now());
        }
        // Nothing is taken any more: a worker or source that still waits is set free.
        self.router.stop();
        if worker_failed {
            self.stop.stop();
        }
        self.abandoned.stop();
        // A source may say that nothing more comes before it says that it has failed; only after a
        // complete end is there anything to wait for.
        let closed = self.watermark.load(Ordering::Acquire) == END_OF_TIME;
        let complete = closed && deadline.is_none() && error.is_none() && !worker_failed;
        if complete {
            self.await_acknowledgement();
        }
        let rest = match deadline {
            Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            // A reader of a pipe may take its time; it is not for us to lose samples over it.
            None if complete && !self.remote => None,
            None => Some(drain),
        };
        let status = self.status();
        let handle = self.writer.handle();
        let written = self.writer.finish(rest);
        if let Some(dead_letters) = self.dead_letters {
            // Before offsets are committed behind them; but they do not keep a run from its end for
            // longer than a drain.
            let rest = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            dead_letters.finish(rest.unwrap_or(drain));
        }
        for splits in &mut splits {
            splits.report(handle.acknowledged(), &self.safe);
        }
        self.safe.close();
        // A source that commits offsets does so now; it is waited for as long as that may take.
        let source_ended = || self.threads.iter().all(|(thread, _)| thread.is_finished());
        let patience = Instant::now() + COMMIT_PATIENCE;
        let is_lost = self.checkpointed.is_forbidden();
        while (workers == 0 || is_lost) && !source_ended() && Instant::now() < patience {
            thread::sleep(Duration::from_millis(10));
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            if let Some(late) = outcome.source_error() {
                error.get_or_insert(late);
            }
        }
        if writer_failed && written.error.is_none() {
            error.get_or_insert(PipelineError::Writer);
        } else if workers > 0 && !worker_failed && !self.replayable {
            error.get_or_insert(PipelineError::GivenUp);
        } else if is_lost && !self.stop.is_stopped() {
            // The source usually says more.
            error.get_or_insert(PipelineError::Lost);
        }
        self.checkpointed.release();
        self.services.iter().for_each(|service| service.close());
        self.schemas.iter().for_each(SchemaRegistry::close);
        drop(self.refreshers);
        for (thread, what) in self.threads {
            // What does not end in time is left behind; it holds nothing that is of use any more.
            let ended = thread.is_finished();
            if ended && thread.join().is_err() {
                error.get_or_insert(PipelineError::Panicked(what.to_owned()));
            }
        }
        Finished {
            status,
            written,
            error,
        }
    }

    /// Waits until the receivers have taken everything, however long they are away, until one has failed
    /// for good, or until the stop signal is set.
    fn await_acknowledgement(&self) {
        let writer = self.writer.handle();
        let is_done = || writer.acknowledged() == END_OF_TIME || writer.has_ended();
        while self.remote && !is_done() && !self.stop.is_stopped() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Bounded input is read by as many workers as there are files at most: a split is not divided.
fn worker_count(pipeline: &Pipeline, options: &Options) -> usize {
    let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted = options.workers.or(pipeline.workers).unwrap_or_else(cores);
    let splits = pipeline
        .source
        .file
        .as_ref()
        .map(|file| file.path.all().count());
    wanted.min(splits.unwrap_or(wanted)).max(1)
}

fn start_source(
    source: Box<dyn Source>,
    mut router: Router,
    stop: StopSignal,
    outcome: Sender<Outcome>,
    stopped: Ending,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("source".to_owned())
        .spawn(move || {
            let replayable = source.is_replayable();
            let ended = catch_unwind(AssertUnwindSafe(|| source.run(&mut router, &stop)));
            if let Ok(Err(error)) = &ended {
                tracing::error!(%error, "the source has failed");
            }
            let ending = match ended {
                Ok(Ok(())) if !stop.is_stopped() => Ending::Complete,
                Ok(Ok(())) => stopped,
                Ok(Err(_)) | Err(_) => Ending::by_failure(replayable),
            };
            // Before the workers can end, so that nobody takes a failure for an end.
            report(
                &outcome,
                ended.map_or(Outcome::SourcePanicked, Outcome::Source),
            );
            router.close(ending);
        })
}

pub(super) fn report(to: &Sender<Outcome>, outcome: Outcome) {
    if to.send(outcome).is_err() {
        tracing::debug!("nobody waits for the pipeline any more");
    }
}
