//! What becomes of the records of requests: they are appended to the log, or handed over to the
//! pipeline where there is none, and after that the requests are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::durable::LogError;
use crate::model::{Clock, RecordBatch, Split, SplitId, TimestampMs};

use super::super::handover::Consumer;
use super::super::idle::IdleTracker;
use super::super::log::{Appender, Entry, Progress, look_back};
use super::super::metrics::{SourceMetrics, SplitMetrics};
use super::super::{Context, SourceEvent, SourceOutput, StopSignal, Stopped};
use super::budget::Held;
use super::key::RequestKey;
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
    /// By what it is known when it comes again.
    pub(super) key: Option<RequestKey>,
    /// When it came, ms since the epoch.
    pub(super) received_ms: TimestampMs,
    /// Told what has become of it. Where nobody waits any more, nothing is taken.
    pub(super) answer: oneshot::Sender<Outcome>,
    /// What it holds of the memory of all requests, also where its client has gone.
    pub(super) _held: Held,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The log, or else the pipeline, has all its records.
    Taken,
    /// The log has no room; it has none of them that it had not before.
    Full,
    /// The same for its disk.
    DiskFull,
    /// Its key is that of a request with another content; nothing of it is taken.
    OtherContent,
}

/// Answers all of these.
fn answer(waiting: &mut Vec<oneshot::Sender<Outcome>>, outcome: Outcome) {
    for sender in waiting.drain(..) {
        // A client that has gone sends it again.
        let _gone = sender.send(outcome);
    }
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
        let outcome = self.append(&push)?;
        if outcome == Outcome::Taken {
            self.idle.active(self.split, Instant::now());
            self.unsynced.push(push.answer);
            return Ok(());
        }
        self.idle.blocked(Instant::now());
        let _gone = push.answer.send(outcome);
        Ok(())
    }

    /// Appends what the log has not yet of a request: all of it or nothing, so that it can be sent again.
    fn append(&mut self, push: &Push) -> Result<Outcome, LogError> {
        let records = &push.records;
        let key = push.key.as_ref().map_or(&[][..], RequestKey::as_bytes);
        let Ok(known) = self.repeats.records(key) else {
            return Ok(Outcome::OtherContent);
        };
        let known = known.min(records.len());
        if known < records.len() && !self.appender.has_room()? {
            return Ok(Outcome::Full);
        }
        let entry = |index| Entry {
            packet_id: match key {
                [] => 0,
                _ => u16::try_from(index).unwrap_or(u16::MAX),
            },
            topic: key,
            payload: records.get(index),
        };
        let added = known..records.len();
        let bytes = records.bytes() + added.len() * (Entry::HEAD_BYTES + key.len());
        if !self.appender.append_all(added.clone(), bytes, entry)? {
            return Ok(Outcome::DiskFull);
        }
        (0..known).for_each(|_| self.appender.repeated());
        if let Some(last) = added.last() {
            self.repeats.note(key, last);
        }
        Ok(Outcome::Taken)
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
    clock: Clock,
    metrics: SplitMetrics,
    idle: IdleTracker,
    next_position: u64,
}

impl Delivery {
    /// Hands over as `split`.
    pub(super) fn new(split: Split, context: &Context, metrics: &SourceMetrics) -> Self {
        Self {
            clock: context.clock.clone(),
            metrics: metrics.split(&split.name),
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
        for push in taken {
            // Whoever does not wait any more sends it again, and so it must not be taken. It is in our hands
            // from here on: how long the pipeline may be blocked is nothing to wait for.
            if push.answer.send(Outcome::Taken).is_err() {
                continue;
            }
            for record in push.records.iter() {
                batch.push(record, self.next_position);
                batch.set_timestamp(push.received_ms);
                self.next_position += 1;
                if batch.len() >= BATCH_RECORDS {
                    let full = std::mem::replace(&mut batch, self.new_batch());
                    self.send(full, output)?;
                }
            }
        }
        self.send(batch, output)?;
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
        self.metrics.count(&batch);
        output.send(SourceEvent::Records(batch))
    }
}
