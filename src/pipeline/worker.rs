//! A worker: a thread that takes batches of its splits through all stages, and is the owner of some
//! series.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select_biased};
use prometheus::IntGauge;

use super::batch::{Preparation, Prepared, Undelivered};
use super::dead_letters::Mailroom;
use super::exchange::{Exchange, Message, Partials, texts_of};
use super::inbox::{Inbox, Input};
use super::metrics::{PipelineMetrics, StateGauges};
use super::owner::{Formed, Owner};
use super::parked::Parked;
use super::pending::{Item, Pending};
use super::stage::{BatchProgress, MetricStage};
use crate::config::Metric;
use crate::model::hash::StableHash;
use crate::model::{Clock, Interner, RecordBatch, SplitId, Symbol, TimestampMs};
use crate::source::{Alignment, SafePositions, SourceEvent};
use crate::window::{END_OF_TIME, Groups, PaneKey, SplitState, Watermarks};
use crate::write::{self, WriterHandle};

use super::splits::Splits;

/// How often a worker without input looks at the watermark: other workers may have moved it, or
/// silence.
const TICK: Duration = Duration::from_millis(50);

/// How often gauges and safe positions are brought up to date, with input or without.
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
}

/// Which owner a metric's groups go to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Route {
    /// By the hash of their labels, which are so many first symbols of the key: each group has its
    /// owner.
    ByLabels(usize),
    /// All to one owner, by this hash: what is formed depends on all groups together.
    Whole(u64),
}

impl Route {
    pub(super) fn of(metric: &Metric) -> Self {
        if metric.needs_all_groups() {
            Self::Whole(StableHash::default().text(&metric.name).finish())
        } else {
            Self::ByLabels(metric.by.len())
        }
    }
}

/// A worker, before it runs.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) inbox: Inbox,
    pub(super) partials: Receiver<Message>,
    pub(super) exchange: Exchange,
    pub(super) writer: WriterHandle,
    pub(super) preparation: Preparation,
    pub(super) stages: Vec<MetricStage>,
    /// Which owner each metric's groups go to.
    pub(super) routes: Vec<Route>,
    /// Where the pipeline has dead letters.
    pub(super) dead_letters: Option<Mailroom>,
    pub(super) state_gauges: Vec<StateGauges>,
    pub(super) interner_gauges: [IntGauge; 2],
    pub(super) owner: Owner,
    pub(super) splits: Splits,
    /// What came of splits that run ahead.
    pub(super) parked: Parked,
    pub(super) shared: Shared,
    pub(super) interner: Interner,
    /// Up to when this worker has sent its partials.
    pub(super) flushed: TimestampMs,
    /// Whether all windows close once nothing waits any more.
    pub(super) ending: bool,
    pub(super) input_ended: bool,
    /// What waits for answers of services.
    pub(super) pending: Pending,
    /// Filled when something of it may go on.
    pub(super) answers: Receiver<()>,
    /// Whether so much waits that no input is taken.
    pub(super) is_full: bool,
}

impl Worker {
    /// Works until the input has ended and all workers have sent their last partials.
    pub(super) fn run(mut self) -> Result<Splits, write::Stopped> {
        let partials = self.partials.clone();
        let input = self.inbox.receiver.clone();
        let answers = self.answers.clone();
        let nothing = crossbeam_channel::never();
        let mut reported = Instant::now();
        while !(self.input_ended && self.owner.is_done()) {
            // Something that has waited for other splits is there at once.
            let patience = if self.release() { Duration::ZERO } else { TICK };
            let takes_input = !self.input_ended && !self.is_full();
            let input = if takes_input { &input } else { &nothing };
            select_biased! {
                recv(partials) -> message => {
                    if let Ok(message) = message {
                        self.receive(message)?;
                    }
                    // A worker without input would wait for a tick, and there is none while the
                    // others send; but every window waits for every worker.
                    if self.shared.watermark.load(Ordering::Acquire) > self.flushed {
                        self.advance();
                    }
                }
                recv(answers) -> _ => self.go_on(),
                recv(input) -> input => {
                    // The senders live as long as the pipeline; without them there is no input.
                    let input = input.unwrap_or(Input::End { complete: false });
                    self.receive_input(input);
                }
                default(patience) => self.advance(),
            }
            // Not only on a tick: under load there is none.
            if reported.elapsed() >= REPORT {
                self.report();
                reported = Instant::now();
            }
        }
        self.report();
        Ok(self.splits)
    }

    /// Handles what came, unless it is of a split that runs ahead: that has to wait.
    fn receive_input(&mut self, input: Input) {
        let event = match input {
            Input::Source(event) => event,
            Input::End { complete } => {
                self.ending = complete;
                if !complete {
                    // It is read again.
                    self.pending.drop_all();
                }
                return self.end();
            }
        };
        let split = event.split();
        if matches!(event, SourceEvent::Revoked(_)) {
            for forgotten in self.parked.forget(split) {
                self.inbox.taken(&forgotten);
            }
        }
        let runs_ahead = matches!(event, SourceEvent::Records(_))
            && self.watermarks(|watermarks| watermarks.is_paused(split));
        if runs_ahead || self.parked.holds(split) {
            self.parked.push(event);
        } else {
            self.handle(event);
        }
    }

    /// Handles one of the events that have waited for the other splits; says whether there was one.
    fn release(&mut self) -> bool {
        if self.parked.is_empty() || self.pending.is_full() {
            return false;
        }
        let watermarks = self.shared.watermarks.clone();
        let released = {
            let watermarks = watermarks.lock().unwrap_or_else(PoisonError::into_inner);
            self.parked.take(|split| !watermarks.is_paused(split))
        };
        let Some(event) = released else {
            return false;
        };
        self.handle(event);
        if self.ending {
            self.end();
        }
        true
    }

    /// There is no more input. Where windows are to close, what waits for other splits or for answers
    /// is processed first, and still in step with the others; what would be read again is left.
    fn end(&mut self) {
        if self.ending {
            let owners = self.exchange.owners();
            self.watermarks(|watermarks| {
                watermarks.end(|split| {
                    split.0 as usize % owners.max(1) == self.number
                        && !self.parked.holds(split)
                        && !self.pending.holds(split)
                });
            });
            if !self.parked.is_empty() || !self.pending.is_empty() {
                self.advance();
                return;
            }
            self.ending = false;
            self.flush(END_OF_TIME);
        }
        // Nothing waits any more, so the watermark is not held for this worker.
        self.is_full();
        self.exchange.broadcast(|| Message::Done);
        self.input_ended = true;
    }

    /// Handles an event, or puts it behind what waits of its split for answers.
    fn handle(&mut self, event: SourceEvent) {
        self.inbox.taken(&event);
        let split = event.split();
        if self.pending.holds(split) {
            self.park(split, event);
        } else {
            self.take(event);
        }
        self.advance();
    }

    fn take(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Records(records) => {
                let (mut prepared, is_ready) = self.prepare(records);
                if is_ready {
                    self.process(&mut prepared);
                } else {
                    self.park_batch(prepared, is_ready);
                }
            }
            SourceEvent::Assigned(split) => {
                tracing::debug!(worker = self.number, split = %split, "split assigned");
            }
            SourceEvent::Written { split, until } => self.splits.set_written(split, until),
            SourceEvent::Idle(split) => self.watermarks(|watermarks| watermarks.idle(split)),
            SourceEvent::Active(split) => self.watermarks(|watermarks| watermarks.wake(split)),
            SourceEvent::Finished(split) => self.watermarks(|watermarks| watermarks.finish(split)),
            SourceEvent::Revoked(split) => {
                self.watermarks(|watermarks| watermarks.revoke(split));
                self.splits.revoke(split);
                self.preparation.revoke(split);
                self.shared.safe.remove(split);
            }
        }
    }

    /// Puts something behind what waits of its split.
    fn park(&mut self, split: SplitId, event: SourceEvent) {
        match event {
            SourceEvent::Records(records) if self.pending.may_begin(split) => {
                let (prepared, is_ready) = self.prepare(records);
                self.park_batch(prepared, is_ready);
            }
            SourceEvent::Records(records) => self.pending.push(split, Item::Records(records)),
            event => self.pending.push(split, Item::Event(event)),
        }
    }

    /// Lets a batch wait. Its split holds back the watermark until then, also where it was idle
    /// before: its events must not become late by waiting.
    fn park_batch(&mut self, prepared: Prepared, is_ready: bool) {
        let split = prepared.batch.split;
        self.watermarks(|watermarks| watermarks.wake(split));
        let prepared = Box::new(prepared);
        self.pending.push(split, Item::Batch { prepared, is_ready });
    }

    /// Answers have come: goes on with all that waited for them, split by split.
    fn go_on(&mut self) {
        for split in self.pending.splits() {
            let mut lane = self.pending.take(split);
            for item in &mut lane {
                // Also behind one that still waits, because it may have more to ask.
                if let Item::Batch { prepared, is_ready } = item
                    && !*is_ready
                {
                    *is_ready = self.preparation.go_on(prepared, &mut self.interner);
                }
            }
            while let Some(item) = lane.pop_front() {
                match item {
                    Item::Batch {
                        mut prepared,
                        is_ready,
                    } if is_ready => self.process(&mut prepared),
                    Item::Records(records) => {
                        let (prepared, is_ready) = self.prepare(records);
                        let prepared = Box::new(prepared);
                        lane.push_front(Item::Batch { prepared, is_ready });
                    }
                    // Records behind it say that the silence is over already.
                    Item::Event(SourceEvent::Idle(_)) if lane.iter().any(Item::is_batch) => {}
                    Item::Event(event) => self.take(event),
                    Item::Batch { .. } => {
                        lane.push_front(item);
                        self.watermarks(|watermarks| watermarks.wake(split));
                        break;
                    }
                }
            }
            self.pending.put_back(split, lane);
        }
        self.advance();
        if self.ending {
            self.end();
        }
    }

    /// Whether so much waits that no input is to be taken. What waits in the inbox then may be of
    /// splits that are idle as yet, so the watermark stays where it is.
    fn is_full(&mut self) -> bool {
        let is_full = self.pending.is_full();
        if is_full != std::mem::replace(&mut self.is_full, is_full) {
            self.watermarks(|watermarks| match is_full {
                true => watermarks.hold(),
                false => watermarks.release(),
            });
        }
        is_full
    }

    /// A batch of records with its columns, and whether all of them are there.
    fn prepare(&mut self, records: RecordBatch) -> (Prepared, bool) {
        let (splits, interner) = (&mut self.splits, &mut self.interner);
        let mut prepared = self.preparation.begin(records, splits, interner);
        let is_ready = self.preparation.go_on(&mut prepared, interner);
        (prepared, is_ready)
    }

    fn process(&mut self, prepared: &mut Prepared) {
        let quarantined = self.preparation.settle(prepared);
        if let Some(first) = quarantined.first() {
            tracing::debug!(
                events = quarantined.len(),
                ?first,
                "events of wrong clocks are dropped"
            );
        }
        let batch = &prepared.batch;
        let split = batch.split;
        let (earliest, latest) = (batch.times.iter().min(), batch.times.iter().max());
        let progress = BatchProgress {
            span: earliest
                .zip(latest)
                .map_or((0, 0), |(from, to)| (*from, *to)),
            last_watermark: prepared.watermark,
            written: self.splits.written(split),
        };
        for (metric, stage) in self.stages.iter_mut().enumerate() {
            let late = stage.ingest(batch, &progress, &mut self.interner);
            if let Some(mailroom) = &mut self.dead_letters {
                mailroom.note_late(metric, late);
            }
        }
        if let (Some(mailroom), Some(undelivered)) = (&mut self.dead_letters, &prepared.undelivered)
        {
            let now_ms = self.shared.clock.now_ms();
            let Undelivered {
                records,
                rejected,
                processed_before,
            } = undelivered;
            mailroom.reject(records, rejected, *processed_before, now_ms);
            mailroom.quarantine(records, &quarantined, now_ms);
            mailroom.divert(records, batch, self.flushed, now_ms);
            mailroom.send();
        }
        for (stage, gauges) in self.stages.iter().zip(&mut self.state_gauges) {
            gauges.saw(stage.store().open_windows());
        }
        let end = latest.copied().and_then(|latest| {
            self.stages
                .iter()
                .map(|stage| stage.last_end(latest, prepared.watermark))
                .max()
        });
        if let Some((first, last)) = prepared.positions {
            self.splits.processed(split, first, last + 1, end);
        }
        let now_ms = self.shared.clock.now_ms();
        let idle_after_ms = self.shared.idle_after_ms;
        self.watermarks(|watermarks| {
            // Events that may move no watermark must not hold it back for ever, either.
            if prepared.decoded == 0 || prepared.all_doubted {
                watermarks.eventless(split, now_ms, idle_after_ms);
            } else {
                watermarks.events(split, prepared.highest, now_ms);
            }
        });
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

    /// Closes the windows that the watermark has passed.
    fn advance(&mut self) {
        if self.input_ended {
            return;
        }
        let now_ms = self.shared.clock.now_ms();
        let watermark = self.watermarks(|watermarks| {
            let watermark = watermarks.advance(now_ms);
            // Told under the lock, so that no later decision is overtaken by an earlier one.
            if let Some(paused) = watermarks.align() {
                self.shared.metrics.split_pauses.inc_by(paused.new);
                self.shared.alignment.set(paused.splits);
            }
            watermark
        });
        if watermark > self.flushed && watermark != END_OF_TIME {
            self.flush(watermark);
        }
    }

    /// Sends the partials of all windows that end at or before the watermark to their owners.
    fn flush(&mut self, watermark: TimestampMs) {
        self.flushed = watermark;
        self.shared.watermark.fetch_max(watermark, Ordering::AcqRel);
        for metric in 0..self.stages.len() {
            let closed = self
                .stages
                .get_mut(metric)
                .map(|stage| stage.close(watermark));
            for (key, groups) in closed.unwrap_or_default() {
                self.send(metric, key, groups);
            }
        }
        let worker = self.number;
        let reached = self.splits.furthest_watermark();
        self.exchange.broadcast(|| Message::Flushed {
            worker,
            watermark,
            reached,
        });
    }

    fn send(&self, metric: usize, key: PaneKey, groups: Groups) {
        let route = self.routes.get(metric).copied().unwrap_or(Route::Whole(0));
        let owners = self.exchange.owners();
        let owner_of = |key: &[Symbol]| {
            let hash = match route {
                Route::Whole(hash) => hash,
                Route::ByLabels(labels) => {
                    let labels = key.iter().take(labels);
                    let text = |symbol: &Symbol| self.interner.text(*symbol);
                    labels
                        .fold(StableHash::default(), |hash, symbol| {
                            hash.text(text(symbol))
                        })
                        .finish()
                }
            };
            usize::try_from(hash % owners as u64).unwrap_or_default()
        };
        for routed in groups.route(owners, owner_of) {
            let local = routed.owner == self.number;
            let texts = (!local).then(|| texts_of(&routed.groups, &self.interner));
            let partials = Partials {
                metric,
                key,
                groups: routed.groups,
                texts,
            };
            self.exchange
                .send(routed.owner, Message::Partials(Box::new(partials)));
        }
    }

    fn receive(&mut self, message: Message) -> Result<(), write::Stopped> {
        let mut formed = self.owner.receive(message, &mut self.interner);
        while let Some(Formed { samples, watermark }) = formed {
            if !samples.is_empty() {
                self.writer.send(self.number, samples)?;
            }
            formed = match watermark {
                Some(watermark) => {
                    self.writer.flushed(self.number, watermark);
                    None
                }
                None => Some(self.owner.form(&mut self.interner)),
            };
        }
        Ok(())
    }

    /// Brings gauges and safe positions up to date.
    fn report(&mut self) {
        let owned = self.owner.states();
        for ((stage, gauges), owned) in self.stages.iter().zip(&mut self.state_gauges).zip(owned) {
            let store = stage.store();
            let (panes, groups, bytes) = owned;
            gauges.set(
                store.open_windows() + panes,
                store.open_groups() + groups,
                store.byte_len() + bytes,
            );
        }
        let [texts, bytes] = &self.interner_gauges;
        texts.set(i64::try_from(self.interner.len()).unwrap_or(i64::MAX));
        bytes.set(i64::try_from(self.interner.byte_len()).unwrap_or(i64::MAX));
        self.preparation.report(&self.interner);
        self.splits
            .report(self.writer.acknowledged(), &self.shared.safe);
        if self.number != 0 {
            return;
        }
        let metrics = &self.shared.metrics;
        self.watermarks(|watermarks| {
            for (state, name) in [
                (SplitState::Active, "active"),
                (SplitState::Idle, "idle"),
                (SplitState::Finished, "finished"),
            ] {
                let count = i64::try_from(watermarks.count(state)).unwrap_or(i64::MAX);
                metrics.splits(name).set(count);
            }
            let paused = i64::try_from(watermarks.count_paused()).unwrap_or(i64::MAX);
            metrics.splits("paused").set(paused);
            metrics.drift.set(watermarks.drift_ms() as f64 / 1e3);
        });
        if self.flushed > TimestampMs::MIN && self.flushed < END_OF_TIME {
            let now_ms = self.shared.clock.now_ms();
            metrics.watermark.set(self.flushed as f64 / 1e3);
            metrics
                .watermark_lag
                .set(now_ms.saturating_sub(self.flushed) as f64 / 1e3);
        }
    }
}
