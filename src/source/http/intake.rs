//! What becomes of the records of requests: they are appended to the log, or handed over to the
//! pipeline where there is none, and after that the requests are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::durable::LogError;
use crate::model::{Clock, RecordBatch, Split, SplitId};

use super::super::handover::Consumer;
use super::super::idle::IdleTracker;
use super::super::log::{Appender, Entry, Progress, look_back};
use super::super::metrics::{DropReason, SourceMetrics, SplitMetrics};
use super::super::{Context, SourceEvent, SourceOutput, StopSignal, Stopped};
use super::records::Records;
use super::repeats::Repeats;

/// How many records a request with a key may have: their numbers stand in the log.
pub(super) const MAX_KEYED_RECORDS: usize = 65_536;

/// How many of the last records stay in the log, so that their requests are known after a restart.
pub(super) const KEPT_RECORDS: u64 = 65_536;

/// The most that is taken from the connections at once.
const TAKE_REQUESTS: usize = 4_096;
const TAKE_BYTES: usize = 1024 * 1024;

/// The most records of a batch, where there is no log.
const BATCH_RECORDS: usize = 4_096;

/// How often idleness is looked for, and whether the reader of the log has given up.
const PATIENCE: Duration = Duration::from_millis(20);

/// A request whose records are to be taken.
#[derive(Debug)]
pub(super) struct Push {
    /// Its records.
    pub(super) records: Records,
    /// Its `Idempotency-Key`.
    pub(super) key: Option<Vec<u8>>,
    /// Told what has become of it. Where nobody waits any more, nothing is taken.
    pub(super) answer: oneshot::Sender<Outcome>,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The log, or else the pipeline, has all its records.
    Taken,
    /// The log has no room; it has none of them that it had not before.
    Full,
}

/// Answers all of these.
fn answer(waiting: &mut Vec<oneshot::Sender<Outcome>>, outcome: Outcome) {
    for sender in waiting.drain(..) {
        // A client that has gone sends it again.
        let _gone = sender.send(outcome);
    }
}

/// Whether a record is to be taken; counts it where it is not.
fn is_wanted(record: &[u8], max_record_bytes: usize, metrics: &SourceMetrics) -> bool {
    let is_small = record.len() <= max_record_bytes;
    if !is_small {
        metrics.dropped(DropReason::TooLarge).inc();
    }
    is_small
}

/// Silence of all clients. Whoever could send can reach us, so it is always silence indeed.
fn silence(split: SplitId, idle_after: Duration) -> IdleTracker {
    let (mut idle, now) = (IdleTracker::new(idle_after), Instant::now());
    idle.assigned(split, now);
    idle.caught_up(split, true, now);
    idle.connected(true, now);
    idle
}

/// Appends the records of requests to the log.
#[derive(Debug)]
pub(super) struct Logging {
    appender: Appender,
    progress: Arc<Progress>,
    repeats: Repeats,
    max_record_bytes: usize,
    metrics: SourceMetrics,
    split: SplitId,
    idle: IdleTracker,
    /// The requests whose records are appended and not yet durable.
    unsynced: Vec<oneshot::Sender<Outcome>>,
}

impl Logging {
    /// Looks through the end of the log for requests that may be sent again.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn new(
        appender: Appender,
        split: &Split,
        context: &Context,
        metrics: &SourceMetrics,
    ) -> Result<Self, LogError> {
        let mut repeats = Repeats::default();
        look_back(&appender, KEPT_RECORDS, |entry| {
            if !entry.topic.is_empty() {
                repeats.note(entry.topic, usize::from(entry.packet_id));
            }
        })?;
        Ok(Self {
            progress: Arc::clone(appender.progress()),
            appender,
            repeats,
            max_record_bytes: context.max_record_bytes,
            metrics: metrics.clone(),
            split: split.id,
            idle: silence(split.id, context.idle_after.to_std()),
            unsynced: Vec::new(),
        })
    }

    /// Appends until the server has ended or the reader of the log has given up.
    ///
    /// # Errors
    /// The log cannot be written. What was not answered by then never is.
    pub(super) fn run(mut self, handed: Consumer<Push>, stop: &StopSignal) -> Result<(), LogError> {
        while !self.progress.now().abandoned {
            let patience = self.appender.patience(Instant::now()).min(PATIENCE);
            let Some(taken) = handed.take_within(patience, TAKE_REQUESTS, TAKE_BYTES) else {
                return self.sync();
            };
            for push in taken {
                self.take(push)?;
            }
            let now = Instant::now();
            // Nobody is to wait for others when there are no others.
            if self.appender.sync_is_due(now) || stop.is_stopped() {
                self.sync()?;
            } else if self.appender.is_durable() {
                answer(&mut self.unsynced, Outcome::Taken);
            }
            self.appender.keep_house(now)?;
            if !self.idle.due(now).is_empty() {
                self.progress.change(|state| state.idle = true);
            }
        }
        Ok(())
    }

    fn take(&mut self, push: Push) -> Result<(), LogError> {
        if push.answer.is_closed() {
            return Ok(());
        }
        let key = push.key.as_deref().unwrap_or_default();
        let known = self.repeats.records(key);
        // All records of a request find room or none, so that it can be sent again.
        if known < push.records.len() && !self.appender.has_room()? {
            self.idle.blocked(Instant::now());
            let _gone = push.answer.send(Outcome::Full);
            return Ok(());
        }
        for (index, record) in push.records.iter().enumerate() {
            if index < known {
                self.appender.repeated();
            } else if is_wanted(record, self.max_record_bytes, &self.metrics) {
                self.append(key, index, record)?;
            }
        }
        self.idle.active(self.split, Instant::now());
        self.unsynced.push(push.answer);
        Ok(())
    }

    fn append(&mut self, key: &[u8], index: usize, payload: &[u8]) -> Result<(), LogError> {
        let number = if key.is_empty() { 0 } else { index };
        self.appender.append(&Entry {
            packet_id: u16::try_from(number).unwrap_or(u16::MAX),
            topic: key,
            payload,
        })?;
        if !key.is_empty() {
            self.repeats.note(key, index);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.appender.sync()?;
        answer(&mut self.unsynced, Outcome::Taken);
        Ok(())
    }
}

/// Hands over the records of requests to the pipeline, where there is no log.
#[derive(Debug)]
pub(super) struct Delivery {
    split: Split,
    max_record_bytes: usize,
    clock: Clock,
    metrics: SourceMetrics,
    split_metrics: SplitMetrics,
    idle: IdleTracker,
    next_position: u64,
}

impl Delivery {
    /// Hands over as `split`.
    pub(super) fn new(split: Split, context: &Context, metrics: &SourceMetrics) -> Self {
        Self {
            max_record_bytes: context.max_record_bytes,
            clock: context.clock.clone(),
            metrics: metrics.clone(),
            split_metrics: metrics.split(&split.name),
            idle: silence(split.id, context.idle_after.to_std()),
            split,
            next_position: 0,
        }
    }

    /// Hands over until the server has ended.
    ///
    /// # Errors
    /// The pipeline takes no more.
    pub(super) fn run(
        mut self,
        handed: &Consumer<Push>,
        output: &mut dyn SourceOutput,
    ) -> Result<(), Stopped> {
        output.send(SourceEvent::Assigned(self.split.clone()))?;
        while let Some(taken) = handed.take_within(PATIENCE, TAKE_REQUESTS, TAKE_BYTES) {
            if !taken.is_empty() {
                self.hand_over(taken, output)?;
            }
            for split in self.idle.due(Instant::now()) {
                output.send(SourceEvent::Idle(split))?;
            }
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        taken: Vec<Push>,
        output: &mut dyn SourceOutput,
    ) -> Result<(), Stopped> {
        let mut batch = self.new_batch();
        let mut waiting = Vec::new();
        for push in taken.into_iter().filter(|push| !push.answer.is_closed()) {
            for record in push.records.iter() {
                let position = self.next_position;
                self.next_position += 1;
                if is_wanted(record, self.max_record_bytes, &self.metrics) {
                    batch.push(record, position);
                }
                if batch.len() >= BATCH_RECORDS {
                    let full = std::mem::replace(&mut batch, self.new_batch());
                    self.send(full, output)?;
                }
            }
            waiting.push(push.answer);
        }
        self.send(batch, output)?;
        answer(&mut waiting, Outcome::Taken);
        let now = Instant::now();
        self.idle.blocked(now);
        self.idle.active(self.split.id, now);
        Ok(())
    }

    fn new_batch(&self) -> RecordBatch {
        RecordBatch::new(self.split.clone(), self.clock.now_ms())
    }

    fn send(&self, batch: RecordBatch, output: &mut dyn SourceOutput) -> Result<(), Stopped> {
        if batch.is_empty() {
            return Ok(());
        }
        self.split_metrics.count(&batch);
        output.send(SourceEvent::Records(batch))
    }
}
