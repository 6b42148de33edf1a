//! Workers, put together of their stages.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};

use super::checkpoint::WorkerPort;
use super::error::PipelineError;
use super::exchange::{Exchange, OwnPartials, Sent};
use super::inbox::Inbox;
use super::metrics::MetricCounters;
use super::owner::Owner;
use super::references::References;
use super::route::Route;
use super::running::{Outcome, report};
use super::worker::{Compaction, Shared, Worker};
use crate::config::Pipeline;
use crate::decode::{DecodeMetrics, SchemaRegistry};
use crate::model::{Interner, TimestampMs};
use crate::pipeline::owner::keyed::KeyedState;
use crate::pipeline::worker::batch::Preparation;
use crate::pipeline::worker::clock_metrics::ClockMetrics;
use crate::pipeline::worker::clocks::ClockStage;
use crate::pipeline::worker::dead_letters::Mailroom;
use crate::pipeline::worker::parked::Parked;
use crate::pipeline::worker::pending::Pending;
use crate::pipeline::worker::splits::Splits;
use crate::pipeline::worker::stage::MetricStage;
use crate::source::{KeptPositions, StopSignal};
use crate::window::LatePolicy;
use crate::write::{DeadLetterHandle, Writer, WriterHandle};

/// The stack of a worker, bytes: records and expressions may be nested to their limits.
const WORKER_STACK: usize = 8 << 20;

/// What is needed to make workers.
pub(super) struct Parts<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) references: &'a References,
    /// Where the records' schemas are, where they are registered.
    pub(super) schemas: Option<SchemaRegistry>,
    pub(super) decode: &'a DecodeMetrics,
    pub(super) counters: &'a [MetricCounters],
    pub(super) dead_letters: Option<DeadLetterHandle>,
    pub(super) clocks: Option<ClockMetrics>,
    /// Where groups go that are too many for memory, if they do.
    pub(super) keyed: Option<KeyedState>,
    pub(super) shared: Shared,
    /// With checkpoints, the positions in the latest one.
    pub(super) durable: Option<KeptPositions>,
}

impl Parts<'_> {
    /// The workers, one for each inbox.
    ///
    /// # Errors
    /// The pipeline's description is not one that was validated.
    pub(super) fn workers(
        &self,
        inboxes: Vec<Inbox>,
        ports: Vec<WorkerPort>,
        writer: &Writer,
    ) -> Result<Vec<Worker>, PipelineError> {
        let (senders, receivers): (Vec<_>, Vec<_>) = inboxes.iter().map(|_| unbounded()).unzip();
        let ways = inboxes.into_iter().zip(receivers).zip(ports);
        ways.enumerate()
            .map(|(number, ((inbox, partials), port))| {
                let exchange = Exchange::new(number, senders.clone());
                self.worker(inbox, partials, exchange, port, writer.handle())
            })
            .collect()
    }

    fn worker(
        &self,
        inbox: Inbox,
        partials: Receiver<Sent>,
        exchange: Exchange,
        checkpoints: WorkerPort,
        writer: WriterHandle,
    ) -> Result<Worker, PipelineError> {
        let number = exchange.worker();
        let Pipeline { metrics, time, .. } = self.pipeline;
        let (wake, answers) = bounded(1);
        let lookups = self.references.lookups(self.pipeline, &wake)?;
        // Without partial lookups and a schema registry nobody holds the other end.
        let answers = match self.references.services().is_empty() && self.schemas.is_none() {
            true => never(),
            false => answers,
        };
        let clocks = self.pipeline.clocks.as_ref().zip(self.clocks.clone());
        let clocks = clocks.map(|(clocks, metrics)| ClockStage::new(number, clocks, metrics));
        let (decode, clock) = (self.decode.clone(), &self.shared.clock);
        let mut preparation = Preparation::build(self.pipeline, lookups, decode, clocks, clock)
            .map_err(|error| PipelineError::Invalid(error.to_string()))?;
        if let Some(schemas) = &self.schemas {
            preparation.ask_for_schemas(schemas, wake);
        }
        let stages = metrics.iter().zip(self.counters);
        let shared = self.shared.clone();
        let mut stages: Vec<_> = stages
            .map(|(metric, counters)| MetricStage::new(metric, counters))
            .collect();
        if time.late == LatePolicy::Divert {
            stages.iter_mut().for_each(MetricStage::divert_late);
        }
        let tables = self.references.tables();
        let mut owner = Owner::new(metrics, exchange.owners(), self.counters, &tables);
        if let Some(keyed) = &self.keyed {
            owner.keep_in(keyed);
        }
        let mailroom = |handle: &DeadLetterHandle| Mailroom::new(metrics, handle.clone());
        Ok(Worker {
            number,
            inbox,
            partials,
            owner,
            keyed: self.keyed.clone(),
            exchange,
            room: writer.room(number),
            writer,
            checkpoints,
            unsent: VecDeque::new(),
            unsent_until: None,
            takes_input: true,
            preparation,
            stages,
            dead_letters: self.dead_letters.as_ref().map(mailroom),
            routes: metrics.iter().map(Route::of).collect(),
            state_gauges: metrics
                .iter()
                .map(|metric| shared.metrics.state_of(&metric.name))
                .collect(),
            interner_gauges: shared.metrics.interner(number),
            splits: Splits::new(time.out_of_order.as_signed_millis()).within(self.durable.clone()),
            parked: Parked::default(),
            compaction: Compaction::new(shared.metrics.compactions.clone()),
            shared,
            interner: Interner::new(),
            own_partials: OwnPartials::default(),
            flushed: TimestampMs::MIN,
            ending: None,
            input_ended: false,
            pending: Pending::default(),
            answers,
            is_full: false,
            is_crowded: false,
        })
    }
}

/// Starts the workers' threads.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start(
    workers: Vec<Worker>,
    outcome: &Sender<Outcome>,
    stop: &StopSignal,
) -> io::Result<Vec<(JoinHandle<()>, &'static str)>> {
    let mut threads = Vec::new();
    for worker in workers {
        let number = worker.number;
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
