//! A worker: a thread that takes batches of its splits through all stages, and is the owner of some
//! series.

mod back_pressure;
mod barrier;
pub(in crate::pipeline) mod batch;
pub(in crate::pipeline) mod clock_metrics;
pub(in crate::pipeline) mod clock_state;
pub(in crate::pipeline) mod clocks;
mod compaction;
pub(in crate::pipeline) mod dead_letters;
pub(in crate::pipeline) mod decoder_state;
mod failed;
mod flush;
mod input;
mod output;
pub(in crate::pipeline) mod parked;
pub(in crate::pipeline) mod pending;
mod report;
mod restore;
pub(in crate::pipeline) mod split_state;
pub(in crate::pipeline) mod splits;
pub(in crate::pipeline) mod stage;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select_biased};
use prometheus::IntGauge;

use super::checkpoint::{Barrier, WorkerPort};
use super::ending::Ending;
use super::exchange::{Exchange, OwnPartials, Sent};
use super::inbox::{Inbox, Input};
use super::metrics::{PipelineMetrics, StateGauges};
use super::owner::Owner;
use super::route::Route;
use crate::model::{Clock, Interner, Sample, TimestampMs};
use crate::pipeline::owner::keyed::KeyedState;
use crate::source::{Alignment, SafePositions, StopSignal};
use crate::window::Watermarks;
use crate::write::WriterHandle;
use batch::Preparation;
use dead_letters::Mailroom;
use parked::Parked;
use pending::Pending;
use splits::Splits;
use stage::MetricStage;

pub(super) use back_pressure::Crowd;
pub(super) use compaction::Compaction;
pub(super) use failed::Failed;
pub(super) use restore::restore;

/// How often a worker without input looks at the watermark: other workers may have moved it, or
/// silence.
const TICK: Duration = Duration::from_millis(50);

/// How often gauges and safe positions are brought up to date and the pieces of checkpoints merged,
/// with input or without.
const REPORT: Duration = Duration::from_millis(200);

/// What all workers of a pipeline share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) watermarks: Arc<Mutex<Watermarks>>,
    /// The watermark that was last seen by any worker.
    pub(super) watermark: Arc<AtomicI64>,
    pub(super) clock: Clock,
    /// After how long without usable records a split steps aside, ms.
    pub(super) idle_after_ms: i64,
    pub(super) safe: SafePositions,
    /// Told which splits run ahead of the others.
    pub(super) alignment: Alignment,
    pub(super) metrics: PipelineMetrics,
    pub(super) crowd: Crowd,
    /// Set when nobody waits for workers any more: one that has failed would be waited for by the
    /// others for ever.
    pub(super) abandoned: StopSignal,
}

/// A worker, before it runs.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) inbox: Inbox,
    pub(super) partials: Receiver<Sent>,
    pub(super) exchange: Exchange,
    pub(super) writer: WriterHandle,
    /// Filled when the writer has room again.
    pub(super) room: Receiver<()>,
    pub(super) preparation: Preparation,
    pub(super) stages: Vec<MetricStage>,
    /// Which owner each metric's groups go to.
    pub(super) routes: Vec<Route>,
    /// Where the pipeline has dead letters.
    pub(super) dead_letters: Option<Mailroom>,
    pub(super) state_gauges: Vec<StateGauges>,
    pub(super) interner_gauges: [IntGauge; 2],
    pub(super) owner: Owner,
    /// Where groups go that are too many for memory, if they do.
    pub(super) keyed: Option<KeyedState>,
    pub(super) splits: Splits,
    /// What came of splits that run ahead.
    pub(super) parked: Parked,
    pub(super) shared: Shared,
    pub(super) interner: Interner,
    /// When texts are let go of.
    pub(super) compaction: Compaction,
    /// What this worker has sent to itself.
    pub(super) own_partials: OwnPartials,
    /// Up to when this worker has sent its partials.
    pub(super) flushed: TimestampMs,
    /// Whether input is taken: not any more, where only the last checkpoint is waited for.
    pub(super) takes_input: bool,
    /// How the input has ended, until nothing of it waits any more.
    pub(super) ending: Option<Ending>,
    pub(super) input_ended: bool,
    /// The way to the checkpoints.
    pub(super) checkpoints: WorkerPort,
    /// Samples that the writer has had no room for yet.
    pub(super) unsent: VecDeque<Sample>,
    /// Up to when everything is handed over with them.
    pub(super) unsent_until: Option<TimestampMs>,
    /// What waits for answers of services.
    pub(super) pending: Pending,
    /// Filled when something of it may go on.
    pub(super) answers: Receiver<()>,
    /// Whether so much waits here for services that no input is taken.
    pub(super) is_full: bool,
    /// Whether so much waits here for the writer that no worker takes input.
    pub(super) is_crowded: bool,
}

/// Every cause of work.
#[derive(Debug)]
pub(super) enum Event {
    /// A checkpoint begins; or nothing, where there are no more of them.
    Barrier(Option<Barrier>),
    /// A worker says something to this owner.
    Sent(Sent),
    /// The writer has room again.
    Room,
    /// Answers that batches wait for have come.
    Answers,
    /// Records that were taken are not all decoded.
    Rest,
    /// Something of the source.
    Input(Input),
    /// Time has passed.
    Tick,
}

impl Worker {
    /// Works until the input has ended, all workers have sent their last partials, and everything that
    /// they make is handed over.
    ///
    /// # Errors
    /// Those of [`handle_event`](Self::handle_event).
    pub(super) fn run(mut self) -> Result<Splits, Failed> {
        let mut reported = Instant::now();
        while !self.is_done() {
            if self.shared.abandoned.is_stopped() {
                return Err(Failed::Writer);
            }
            // Something that has waited for other splits is there at once.
            let patience = if self.release() { Duration::ZERO } else { TICK };
            let event = self.next_event(patience);
            self.handle_event(event)?;
            // Not only on a tick: under load there is none.
            if reported.elapsed() >= REPORT {
                self.report();
                self.merge_pieces();
                reported = Instant::now();
            }
        }
        self.report();
        Ok(self.splits)
    }

    /// Waits for the next cause of work, but no longer than `patience`. Of several, those come first
    /// that others wait for.
    fn next_event(&mut self, patience: Duration) -> Event {
        let nothing = crossbeam_channel::never();
        let no_room = crossbeam_channel::never();
        let wants_input = self.wants_input();
        let goes_on = self.pending.goes_on() && self.has_room();
        let patience = if goes_on { Duration::ZERO } else { patience };
        let input = if wants_input && !goes_on {
            &self.inbox.receiver
        } else {
            &nothing
        };
        let room = if self.is_blocked() {
            &self.room
        } else {
            &no_room
        };
        select_biased! {
            recv(self.checkpoints.barriers()) -> barrier => Event::Barrier(barrier.ok()),
            // This worker's own way to itself keeps the channel open.
            recv(self.partials) -> sent => sent.map_or(Event::Tick, Event::Sent),
            recv(room) -> _ => Event::Room,
            recv(self.answers) -> _ => Event::Answers,
            // The senders live as long as the pipeline; without them there is no input.
            recv(input) -> input => Event::Input(input.unwrap_or(Input::End(Ending::Interrupted))),
            default(patience) => if goes_on { Event::Rest } else { Event::Tick },
        }
    }

    /// Does what an event asks for.
    ///
    /// # Errors
    /// The writer has failed, or state that is too large for memory cannot be kept.
    pub(super) fn handle_event(&mut self, event: Event) -> Result<(), Failed> {
        match event {
            Event::Barrier(barrier) => self.barrier(barrier),
            Event::Sent(sent) => {
                self.receive(sent)?;
                self.write_out()?;
                // A worker without input would wait for a tick, and there is none while the others
                // send; but every window waits for every worker.
                if self.shared.watermark.load(Ordering::Acquire) > self.flushed {
                    self.advance();
                }
            }
            Event::Room => self.write_out()?,
            Event::Answers | Event::Rest => self.go_on(),
            Event::Input(input) => self.receive_input(input),
            Event::Tick => self.advance(),
        }
        self.compact_if_due();
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.input_ended && self.owner.is_done() && !self.owner.is_due() && !self.is_blocked()
    }

    /// Whether all windows close once nothing waits any more.
    fn is_closing(&self) -> bool {
        self.ending.is_some_and(Ending::closes_windows)
    }

    fn watermarks<T>(&self, change: impl FnOnce(&mut Watermarks) -> T) -> T {
        change(
            &mut self
                .shared
                .watermarks
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
