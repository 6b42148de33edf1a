//! A running pipeline: started from its description, stopped with a deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, unbounded};
use tokio::runtime::Handle;

use super::batch::Preparation;
use super::clock_metrics::ClockMetrics;
use super::clocks::ClockStage;
use super::dead_letters::{self, Mailroom};
use super::exchange::{Exchange, Message};
use super::inbox::{Inbox, Router, inboxes};
use super::metrics::{MetricCounters, PipelineMetrics};
use super::owner::Owner;
use super::parked::Parked;
use super::pending::Pending;
use super::references::References;
use super::splits::Splits;
use super::stage::MetricStage;
use super::worker::{Route, Shared, Worker};
use crate::config::Pipeline;
use crate::decode::DecodeMetrics;
use crate::enrich::{LookupMetrics, PartialService, RefresherThread};
use crate::model::{Clock, Interner, TimestampMs};
use crate::source::{
    self, Alignment, FileProgress, SafePositions, Source, SourceError, StopSignal,
};
use crate::telemetry::Registry;
use crate::window::{END_OF_TIME, LatePolicy, Watermarks};
use crate::write::{
    self, DeadLetterHandle, DeadLetters, DeadLettersError, WriteError, WriteSummary, Writer,
};

/// The stack of a worker, bytes: records and expressions may be nested to their limits.
const WORKER_STACK: usize = 8 << 20;

/// How long a source may take to commit for the last time.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

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
pub type MakeSource = Box<dyn FnOnce(&Registry) -> Box<dyn Source>>;

/// How a pipeline is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many workers; the pipeline file's number, or one for each core, where it is not said.
    pub workers: Option<usize>,
    /// The clock of everything that judges events by the time of day. Bounded input takes one that
    /// stands still.
    pub clock: Clock,
    /// Told how far files are read.
    pub progress: FileProgress,
}

/// Why a pipeline could not start, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The writer.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The dead letters.
    #[error(transparent)]
    DeadLetters(#[from] DeadLettersError),
    /// A lookup's table.
    #[error("lookup {lookup}: {reason}")]
    Lookup {
        /// The lookup.
        lookup: String,
        /// What is wrong.
        reason: String,
    },
    /// The description is not one that was validated.
    #[error("invalid pipeline: {0}")]
    Invalid(String),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The writer took no more, and did not say why.
    #[error("the writer has failed")]
    Writer,
    /// A source that cannot be replayed was stopped, and not all of its events reached a window that
    /// was written.
    #[error("stopping took too long: events that were read and not written are lost")]
    GivenUp,
    /// A thread ended by a panic, which is a bug of weir.
    #[error("the {0} has failed unexpectedly; please report this")]
    Panicked(String),
}

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
    router: Router,
    /// The source's and the workers' threads, with what each of them is.
    threads: Vec<(JoinHandle<()>, &'static str)>,
    workers: usize,
    /// Whether samples go to a receiver that may be away.
    remote: bool,
    /// Whether what was read can be read again.
    replayable: bool,
    outcomes: Receiver<Outcome>,
    writer: Writer,
    dead_letters: Option<DeadLetters>,
    safe: SafePositions,
    refreshers: Vec<RefresherThread>,
    /// The services that are asked for keys.
    services: Vec<Arc<PartialService>>,
    decode: DecodeMetrics,
    counters: Vec<MetricCounters>,
    watermark: Arc<AtomicI64>,
    registry: Registry,
}

/// How a thread of the pipeline ended.
#[derive(Debug)]
enum Outcome {
    Source(Result<(), SourceError>),
    Worker(Result<Splits, write::Stopped>),
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
        if let Some(dir) = &pipeline.state_dir {
            tracing::warn!(
                pipeline = pipeline.name,
                dir,
                "this version writes no checkpoints: a restart reads open windows again from Kafka"
            );
        }
        let workers = worker_count(pipeline, options);
        let metrics = PipelineMetrics::new(&registry);
        let decode = DecodeMetrics::new(&registry);
        let safe = SafePositions::default();
        let alignment = Alignment::default();
        let lookup_metrics = LookupMetrics::new(&registry);
        let (references, refreshers) =
            References::load(pipeline, lookup_metrics, &options.clock, &runtime)?;
        let source = match source {
            SourceOf::Made(make) => make(&registry),
            SourceOf::File => {
                let context = source::Context {
                    pipeline: pipeline.name.clone(),
                    idle_after: pipeline.time.idle_after,
                    commit_every: pipeline.commit_every,
                    max_record_bytes: pipeline.max_record_bytes,
                    needs_envelope: pipeline.needs_envelope,
                    clock: options.clock.clone(),
                    safe: safe.clone(),
                    alignment: alignment.clone(),
                    progress: options.progress.clone(),
                };
                source::build(&pipeline.source, context, &registry)?
            }
        };
        let writer = Writer::start(&pipeline.write, workers, &registry, runtime)?;
        let dead_letters = dead_letters::start(pipeline, &registry)?;

        let out_of_order_ms = pipeline.time.out_of_order.as_signed_millis();
        let max_drift_ms = pipeline.time.max_drift.as_signed_millis();
        let watermarks = Watermarks::new(out_of_order_ms).with_max_drift(max_drift_ms);
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
        };
        let counters: Vec<_> = pipeline
            .metrics
            .iter()
            .map(|metric| metrics.of_metric(&metric.name))
            .collect();
        let gauges = (0..workers)
            .map(|worker| metrics.inbox_bytes(worker))
            .collect();
        let (router, inboxes) = inboxes(gauges, watermarks);
        let parts = Parts {
            pipeline,
            references: &references,
            decode: &decode,
            counters: &counters,
            dead_letters: dead_letters.as_ref().map(DeadLetters::handle),
            clocks: pipeline.clocks.as_ref().map(|clocks| {
                let by: Vec<_> = clocks.by.iter().map(|(name, _)| &**name).collect();
                ClockMetrics::new(&registry, &by)
            }),
            shared,
        };
        let (outcome, outcomes) = unbounded();
        let stop = StopSignal::default();
        let mut threads = parts.start_workers(inboxes, &writer, &outcome, &stop)?;
        let replayable = source.is_replayable();
        let source = start_source(source, router.clone(), stop.clone(), outcome)?;
        threads.push((source, "source"));
        Ok(Self {
            name: pipeline.name.clone(),
            stop,
            router,
            threads,
            workers,
            remote: pipeline.write.remote_write.is_some(),
            replayable,
            outcomes,
            writer,
            dead_letters,
            safe,
            refreshers,
            services: references.services(),
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

    /// Whether all threads but the writer's have ended.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(|(thread, _)| thread.is_finished())
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
    pub fn finish(self, drain: Duration) -> Finished {
        let mut error = None;
        let mut deadline = None;
        let mut workers = self.workers;
        let (mut writer_failed, mut worker_failed) = (false, false);
        let mut splits = Vec::new();
        while workers > 0 && !worker_failed && deadline.is_none_or(|end| Instant::now() < end) {
            if deadline.is_none() && self.stop.is_stopped() {
                deadline = Some(Instant::now() + drain);
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
                Outcome::Worker(Err(write::Stopped)) => {
                    writer_failed = true;
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
        // Nothing is taken any more: a worker or source that still waits is set free.
        self.router.stop();
        if worker_failed {
            self.stop.stop();
        }
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
        while workers == 0 && !source_ended() && Instant::now() < patience {
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
        }
        self.services.iter().for_each(|service| service.close());
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

    /// Waits until the receiver has taken everything, however long it is away, or until the stop
    /// signal is set.
    fn await_acknowledgement(&self) {
        let writer = self.writer.handle();
        while self.remote && writer.acknowledged() < END_OF_TIME && !self.stop.is_stopped() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What is needed to make workers.
struct Parts<'a> {
    pipeline: &'a Pipeline,
    references: &'a References,
    decode: &'a DecodeMetrics,
    counters: &'a [MetricCounters],
    dead_letters: Option<DeadLetterHandle>,
    clocks: Option<ClockMetrics>,
    shared: Shared,
}

impl Parts<'_> {
    fn start_workers(
        &self,
        inboxes: Vec<Inbox>,
        writer: &Writer,
        outcome: &Sender<Outcome>,
        stop: &StopSignal,
    ) -> Result<Vec<(JoinHandle<()>, &'static str)>, PipelineError> {
        let (senders, receivers): (Vec<_>, Vec<_>) = inboxes.iter().map(|_| unbounded()).unzip();
        let exchange = Exchange::new(senders);
        let mut threads = Vec::new();
        for (number, (inbox, partials)) in inboxes.into_iter().zip(receivers).enumerate() {
            let worker = self.worker(number, inbox, partials, exchange.clone(), writer)?;
            let (outcome, stop) = (outcome.clone(), stop.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(WORKER_STACK)
                .spawn(move || {
                    let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
                    if !matches!(ended, Ok(Ok(_))) && !stop.is_stopped() {
                        // The other workers would wait for this one's partials for ever.
                        tracing::error!(worker = number, "the pipeline stops: a worker has failed");
                        stop.stop();
                    }
                    report(
                        &outcome,
                        ended.map_or(Outcome::WorkerPanicked, Outcome::Worker),
                    );
                })?;
            threads.push((thread, "worker"));
        }
        Ok(threads)
    }

    fn worker(
        &self,
        number: usize,
        inbox: Inbox,
        partials: Receiver<Message>,
        exchange: Exchange,
        writer: &Writer,
    ) -> Result<Worker, PipelineError> {
        let Pipeline { metrics, time, .. } = self.pipeline;
        let (wake, answers) = bounded(1);
        let lookups = self.references.lookups(self.pipeline, &wake)?;
        // Without partial lookups nobody holds the other end.
        let answers = match self.references.services().is_empty() {
            true => never(),
            false => answers,
        };
        let clocks = self.pipeline.clocks.as_ref().zip(self.clocks.clone());
        let clocks = clocks.map(|(clocks, metrics)| ClockStage::new(number, clocks, metrics));
        let (decode, clock) = (self.decode.clone(), &self.shared.clock);
        let preparation = Preparation::build(self.pipeline, lookups, decode, clocks, clock)
            .map_err(|error| PipelineError::Invalid(error.to_string()))?;
        let stages = metrics.iter().zip(self.counters);
        let shared = self.shared.clone();
        let mut stages: Vec<_> = stages
            .map(|(metric, counters)| MetricStage::new(metric, counters))
            .collect();
        if time.late == LatePolicy::Divert {
            stages.iter_mut().for_each(MetricStage::divert_late);
        }
        let mailroom = |handle: &DeadLetterHandle| Mailroom::new(metrics, handle.clone());
        Ok(Worker {
            number,
            inbox,
            partials,
            owner: Owner::new(
                metrics,
                exchange.owners(),
                self.counters,
                &self.references.tables(),
            ),
            exchange,
            writer: writer.handle(),
            preparation,
            stages,
            dead_letters: self.dead_letters.as_ref().map(mailroom),
            routes: metrics.iter().map(Route::of).collect(),
            state_gauges: metrics
                .iter()
                .map(|metric| shared.metrics.state_of(&metric.name))
                .collect(),
            interner_gauges: shared.metrics.interner(number),
            splits: Splits::new(time.out_of_order.as_signed_millis()),
            parked: Parked::default(),
            shared,
            interner: Interner::new(),
            flushed: TimestampMs::MIN,
            ending: false,
            input_ended: false,
            pending: Pending::default(),
            answers,
            is_full: false,
        })
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
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("source".to_owned())
        .spawn(move || {
            let replayable = source.is_replayable();
            let ended = catch_unwind(AssertUnwindSafe(|| source.run(&mut router, &stop)));
            if let Ok(Err(error)) = &ended {
                tracing::error!(%error, "the source has failed");
            }
            // What cannot be read again is written as far as it goes.
            let complete = !replayable || (matches!(ended, Ok(Ok(()))) && !stop.is_stopped());
            // Before the workers can end, so that nobody takes a failure for an end.
            report(
                &outcome,
                ended.map_or(Outcome::SourcePanicked, Outcome::Source),
            );
            router.close(complete);
        })
}

fn report(to: &Sender<Outcome>, outcome: Outcome) {
    if to.send(outcome).is_err() {
        tracing::debug!("nobody waits for the pipeline any more");
    }
}
