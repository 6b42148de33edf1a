//! A worker: a thread that takes batches of its splits through all stages, and is the owner of some
//! series.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select_biased};
use prometheus::IntGauge;

use super::batch::{Preparation, Prepared};
use super::exchange::{Exchange, Message, Partials, texts_of};
use super::inbox::{Inbox, Input};
use super::metrics::{PipelineMetrics, StateGauges};
use super::owner::{Formed, Owner};
use super::stage::MetricStage;
use crate::config::Metric;
use crate::model::hash::StableHash;
use crate::model::{Clock, Interner, RecordBatch, Symbol, TimestampMs};
use crate::source::{SafePositions, SourceEvent};
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
    pub(super) state_gauges: Vec<StateGauges>,
    pub(super) interner_gauges: [IntGauge; 2],
    pub(super) owner: Owner,
    pub(super) splits: Splits,
    pub(super) shared: Shared,
    pub(super) interner: Interner,
    /// Up to when this worker has sent its partials.
    pub(super) flushed: TimestampMs,
    pub(super) input_ended: bool,
}

impl Worker {
    /// Works until the input has ended and all workers have sent their last partials.
    pub(super) fn run(mut self) -> Result<Splits, write::Stopped> {
        let partials = self.partials.clone();
        let input = self.inbox.receiver.clone();
        let nothing = crossbeam_channel::never();
        let mut reported = Instant::now();
        while !(self.input_ended && self.owner.is_done()) {
            let input = if self.input_ended { &nothing } else { &input };
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
                recv(input) -> input => {
                    // The senders live as long as the pipeline; without them there is no input.
                    let input = input.unwrap_or(Input::End { complete: false });
                    self.inbox.taken(&input);
                    self.handle(input)?;
                }
                default(TICK) => self.advance(),
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

    fn handle(&mut self, input: Input) -> Result<(), write::Stopped> {
        match input {
            Input::Source(SourceEvent::Records(records)) => self.process(&records),
            Input::Source(SourceEvent::Assigned(split)) => {
                tracing::debug!(worker = self.number, split = %split, "split assigned");
            }
            Input::Source(SourceEvent::Written { split, until }) => {
                self.splits.set_written(split, until);
            }
            Input::Source(SourceEvent::Idle(split)) => {
                self.watermarks(|watermarks| watermarks.idle(split));
            }
            Input::Source(SourceEvent::Active(split)) => {
                self.watermarks(|watermarks| watermarks.wake(split));
            }
            Input::Source(SourceEvent::Finished(split)) => {
                self.watermarks(|watermarks| watermarks.finish(split));
            }
            Input::Source(SourceEvent::Revoked(split)) => {
                self.watermarks(|watermarks| watermarks.revoke(split));
                self.splits.revoke(split);
                self.shared.safe.remove(split);
            }
            Input::End { complete } => {
                if complete {
                    self.flush(END_OF_TIME);
                }
                self.exchange.broadcast(|| Message::Done);
                self.input_ended = true;
            }
        }
        self.advance();
        Ok(())
    }

    fn process(&mut self, records: &RecordBatch) {
        let split = records.split().id;
        let Prepared {
            batch,
            decoded,
            highest,
        } = self
            .preparation
            .prepare(records, &mut self.splits, &mut self.interner);
        let last_watermark = self.splits.watermark(split);
        let written = self.splits.written(split);
        for stage in &mut self.stages {
            stage.ingest(&batch, last_watermark, written, &mut self.interner);
        }
        let latest = batch.times.iter().copied().max();
        let end = latest.and_then(|latest| {
            self.stages
                .iter()
                .map(|stage| stage.store().windows().last_end(latest))
                .max()
        });
        let first = records.get(0).map(|record| record.position);
        let last = records
            .get(records.len().saturating_sub(1))
            .map(|record| record.position);
        if let (Some(first), Some(last)) = (first, last) {
            self.splits.processed(split, first, last + 1, end);
        }
        let now_ms = self.shared.clock.now_ms();
        let idle_after_ms = self.shared.idle_after_ms;
        self.watermarks(|watermarks| match decoded {
            0 => watermarks.eventless(split, now_ms, idle_after_ms),
            _ => watermarks.events(split, highest, now_ms),
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
        let watermark = self.watermarks(|watermarks| watermarks.advance(now_ms));
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
        let Some(Formed { samples, watermark }) = self.owner.receive(message, &mut self.interner)
        else {
            return Ok(());
        };
        if !samples.is_empty() {
            self.writer.send(self.number, samples)?;
        }
        self.writer.flushed(self.number, watermark);
        Ok(())
    }

    /// Brings gauges and safe positions up to date.
    fn report(&mut self) {
        for (stage, gauges) in self.stages.iter().zip(&mut self.state_gauges) {
            let store = stage.store();
            gauges.set(store.open_windows(), store.open_groups(), store.byte_len());
        }
        let [texts, bytes] = &self.interner_gauges;
        texts.set(i64::try_from(self.interner.len()).unwrap_or(i64::MAX));
        bytes.set(i64::try_from(self.interner.byte_len()).unwrap_or(i64::MAX));
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
