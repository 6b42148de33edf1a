//! The thread that polls librdkafka.

mod committing;
mod leaving;
mod pausing;
mod unavailable;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::model::{RecordBatch, Split, SplitId, TimestampMs};
use crate::telemetry::LogLimit;

use super::super::handover::Producer;
use super::super::idle::IdleTracker;
use super::super::{SourceError, SourceEvent, StopSignal, Stopped};
use super::KafkaSource;
use super::connection::Connection;
use super::gather::Gather;
use super::group::{Group, Notice};
use super::intake::{Intake, LastPartition, Owned};
use super::start::Back;
use super::status::Status;
use super::trouble::Trouble;
use super::vanished::Vanished;
use committing::Committing;
use leaving::Leaving;
use unavailable::Unavailable;

/// How many records are taken in before the clock and the group are looked at again: to do so for each of
/// them costs about a tenth of reading it.
const RUN: usize = 64;

/// How often due batches, idle partitions and the stop signal are looked for.
const TICK: Duration = Duration::from_millis(10);

/// How long the pipeline may take nothing until the partitions are paused and polling goes on.
/// Pausing throws away what librdkafka has fetched ahead, so it is only for long waits; it must be
/// well under `max.poll.interval.ms` (five minutes).
const PAUSE_AFTER: Duration = Duration::from_secs(10);

/// A wait that is long enough that what arrived meanwhile must be read before anything is idle.
const LONG_WAIT: Duration = Duration::from_millis(100);

/// How often the same trouble is logged, and a topic looked for that cannot be read.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Reads partitions into a queue.
pub(super) struct Reader {
    source: KafkaSource,
    consumer: Arc<BaseConsumer<Group>>,
    producer: Producer<SourceEvent>,
    owned: BTreeMap<SplitId, Owned>,
    gather: Gather,
    idle: IdleTracker,
    connection: Connection,
    paused: bool,
    /// The partitions that are paused because they run ahead of the others.
    ahead: BTreeSet<SplitId>,
    /// The generation of the alignment that `ahead` is of; none where it has to be looked at again.
    aligned: Option<u64>,
    /// The partition that the last record was of.
    last: Option<LastPartition>,
    /// Whether something was handed over since room was last looked for.
    pushed: bool,
    /// When the ends of paused partitions are asked for.
    next_look: Instant,
    unavailable: Unavailable,
    vanished: Vanished,
    /// The partitions that are to go to other instances.
    leaving: Option<Leaving>,
    committing: Committing,
    trouble_log: LogLimit,
    others_log: LogLimit,
}

/// Why reading ends.
enum End {
    /// The pipeline takes no more.
    Stopped,
    Failed(SourceError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Reader {
    pub(super) fn new(
        source: KafkaSource,
        consumer: BaseConsumer<Group>,
        producer: Producer<SourceEvent>,
    ) -> Self {
        let idle = IdleTracker::new(source.context.idle_after.to_std());
        Self {
            source,
            consumer: Arc::new(consumer),
            producer,
            owned: BTreeMap::new(),
            gather: Gather::default(),
            idle,
            connection: Connection::Never,
            paused: false,
            ahead: BTreeSet::new(),
            aligned: None,
            last: None,
            pushed: false,
            next_look: Instant::now(),
            unavailable: Unavailable::new(),
            vanished: Vanished::default(),
            leaving: None,
            committing: Committing::new(),
            trouble_log: LogLimit::every(LOG_EVERY),
            others_log: LogLimit::every(LOG_EVERY),
        }
    }

    /// Reads until the signal is set or the pipeline takes no more, which `refused` says.
    ///
    /// # Errors
    /// What waiting does not mend, such as refused credentials.
    pub(super) fn run(
        mut self,
        stop: &StopSignal,
        refused: &AtomicBool,
    ) -> Result<(), SourceError> {
        let topics: Vec<_> = self.source.topics.wanted().collect();
        self.consumer
            .subscribe(&topics)
            .map_err(|error| self.error(format!("cannot subscribe: {error}")))?;
        self.committing
            .start(Arc::clone(&self.consumer))
            .map_err(|error| {
                self.error(format!("cannot start the thread that commits: {error}"))
            })?;
        let end = self.read(stop).and_then(|()| Ok(self.hand_over_rest()?));
        let failure = match end {
            Err(End::Failed(error)) => {
                // It is read again, by us or by others: it must not count here beside that.
                self.forbid_checkpoints();
                self.producer.discard();
                Some(error)
            }
            Ok(()) | Err(End::Stopped) => {
                self.producer.finish();
                self.drain(refused);
                None
            }
        };
        self.end_sharing();
        self.source.metrics.connected.set(0);
        failure.map_or(Ok(()), Err)
    }

    fn forbid_checkpoints(&self) {
        if let Some(sharing) = self.consumer.context().sharing() {
            sharing.checkpointed.forbid();
        }
    }

    fn read(&mut self, stop: &StopSignal) -> Result<(), End> {
        let mut next_tick = Instant::now();
        let every = self.source.context.commit_every.to_std();
        self.committing.at(next_tick + every);
        while !stop.is_stopped() {
            self.poll(TICK)?;
            self.align();
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now)?;
                self.look_at_paused(now);
                self.serve_group(now)?;
            }
            if std::mem::take(&mut self.pushed) {
                self.wait_for_room(stop)?;
            }
        }
        Ok(())
    }

    /// Commits, and lets partitions go that are to: also while the pipeline takes nothing.
    fn serve_group(&mut self, now: Instant) -> Result<(), End> {
        self.let_leave(now)?;
        self.commit(now);
        self.look_for_unavailable_topics();
        self.look_for_vanished_topics(now);
        Ok(())
    }

    /// Waits for a record, but not longer than `patience`, and takes in those that have come.
    fn poll(&mut self, patience: Duration) -> Result<(), End> {
        let mut now = Instant::now();
        let mut polled = self.consumer.poll(Duration::ZERO);
        let mut nothing_came = false;
        if polled.is_none() && !patience.is_zero() {
            // A partition that was just assigned may have a record before the wait is over.
            drop(polled);
            self.heed_notices()?;
            let began = Instant::now();
            polled = self.consumer.poll(patience);
            now = Instant::now();
            nothing_came = polled.is_none() && now.duration_since(began) >= patience;
        }
        let mut intake = Intake {
            source: &self.source,
            consumer: &self.consumer,
            owned: &mut self.owned,
            gather: &mut self.gather,
            idle: &mut self.idle,
            last: &mut self.last,
            now,
        };
        let (mut gathered, mut is_connected) = (None, false);
        for left in (0..RUN).rev() {
            // A message borrows the consumer, so its bytes are gathered before anything else.
            match polled {
                Some(Ok(message)) => {
                    is_connected = true;
                    gathered = intake.gather(&message);
                }
                // Errors are told to the context with more words than here.
                Some(Err(_)) => {}
                None => break,
            }
            // A record that was polled is read.
            if left == 0 || gathered.is_some() || self.consumer.context().has_notices() {
                break;
            }
            polled = self.consumer.poll(Duration::ZERO);
        }
        if is_connected {
            self.connection = self.connection.seen(&self.source, &mut self.idle, now);
        }
        if nothing_came {
            self.owned.values_mut().for_each(Owned::polled_all);
        }
        // What is told during a poll comes before its message, which can only be of partitions that
        // were ours before.
        self.heed_notices()?;
        let Some(gathered) = gathered else {
            return Ok(());
        };
        self.push(Vec::from_iter(gathered.before))?;
        if let Some((split, back)) = gathered.back {
            self.went_back(split, back)?;
        }
        self.push(gathered.full)?;
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<(), Stopped> {
        let due = self.gather.take_due(now);
        for batch in &due {
            self.idle.active(batch.split().id, now);
        }
        self.push(due)?;
        for split in self.idle.take_woken() {
            self.producer.push(SourceEvent::Active(split), 0)?;
        }
        for split in self.idle.due(now) {
            let rest = self.gather.take(split);
            self.push(Vec::from_iter(rest))?;
            self.producer.push(SourceEvent::Idle(split), 0)?;
        }
        Ok(())
    }

    fn push(&mut self, batches: Vec<RecordBatch>) -> Result<(), Stopped> {
        for batch in batches {
            self.pushed = true;
            // Records of a partition that was just revoked are read by its new owner.
            let Some(owned) = self.owned.get_mut(&batch.split().id) else {
                continue;
            };
            owned.took(&batch);
            let bytes = batch.byte_len();
            self.producer.push(SourceEvent::Records(batch), bytes)?;
        }
        Ok(())
    }

    /// Waits until the pipeline takes more. When that is long, the partitions are paused and polled
    /// so that we stay in the group.
    fn wait_for_room(&mut self, stop: &StopSignal) -> Result<(), End> {
        let start = Instant::now();
        if self.producer.has_room(Duration::ZERO) {
            return Ok(());
        }
        self.source.metrics.buffer_full.inc();
        while !self.producer.has_room(TICK) && !stop.is_stopped() {
            let now = Instant::now();
            if self.paused {
                self.poll(Duration::ZERO)?;
                self.look_at_paused(now);
            } else if start.elapsed() >= PAUSE_AFTER {
                self.pause();
            }
            self.serve_group(now)?;
        }
        if self.paused {
            self.resume();
        }
        if start.elapsed() >= LONG_WAIT {
            self.idle.blocked(Instant::now());
        }
        Ok(())
    }

    fn hand_over_rest(&mut self) -> Result<(), Stopped> {
        let rest = self.gather.take_all();
        self.push(rest)
    }

    /// Stays in the group until everything is handed over and the pipeline has made of it what it
    /// can, then commits for the last time.
    fn drain(&mut self, refused: &AtomicBool) {
        self.pause();
        let safe = self.source.context.safe.clone();
        // A pipeline that takes no more makes nothing of the rest, either.
        let concluded = || safe.is_closed() || refused.load(Ordering::Acquire);
        while !(self.producer.is_abandoned() && concluded()) {
            drop(self.consumer.poll(TICK));
            // Records that still come are not handed over, and so not committed.
            self.heed_last_notices();
            // The last checkpoint may come any time: the sooner the group has it, the better.
            if self.connection == Connection::Up {
                self.commit(Instant::now());
            }
        }
        if self.connection == Connection::Up {
            self.commit_at_last();
        }
    }

    fn heed_notices(&mut self) -> Result<(), End> {
        while let Some(notice) = self.consumer.context().next_notice() {
            match notice {
                Notice::Assigned {
                    split,
                    written,
                    from,
                } => self.assigned(split, written, from)?,
                Notice::PositionLost {
                    split,
                    wanted,
                    first,
                } => self.position_lost(&split, wanted, first),
                Notice::Anew(split) => self.went_back(split, Back::Anew)?,
                Notice::Revoked(split) => self.revoked(split)?,
                Notice::Leaving(splits) => self.leave(&splits)?,
                Notice::Lost(splits) => return Err(self.lost(&splits)),
                Notice::Status(status) => self.stands(&status),
                Notice::Disconnected(reason) => self.disconnected(&reason),
                Notice::Unavailable(topic, trouble) => self.topic_is_unavailable(topic, trouble),
                Notice::Refused(reason) => return Err(End::Failed(self.error(reason))),
                Notice::Trouble(trouble, reason) => self.went_wrong(trouble, &reason),
            }
        }
        Ok(())
    }

    /// Of what is told while nothing more is read, only this counts.
    fn heed_last_notices(&mut self) {
        while let Some(notice) = self.consumer.context().next_notice() {
            match notice {
                Notice::Leaving(splits) => self.note_leaving(&splits),
                Notice::Status(status) => self.stands(&status),
                Notice::Disconnected(reason) => self.disconnected(&reason),
                Notice::Trouble(trouble, reason) => self.went_wrong(trouble, &reason),
                _ => {}
            }
        }
    }

    /// Something has failed and is tried again.
    fn went_wrong(&mut self, trouble: Trouble, reason: &str) {
        self.source.errors(trouble).inc();
        if let Some(held_back) = self.trouble_log.admit() {
            tracing::warn!(held_back, "kafka: {reason}");
        }
    }

    fn lost(&self, splits: &str) -> End {
        End::Failed(self.error(format!(
            "partitions {splits} were lost to other instances, which read them from the last \
             checkpoint on; going on from there as well"
        )))
    }

    fn position_lost(&self, split: &Split, wanted: u64, first: u64) {
        self.source.metrics.positions_lost.inc();
        tracing::warn!(
            %split,
            wanted,
            first,
            "the broker has no longer what was to be read next; reading goes on at the first record \
             that there is"
        );
    }

    fn assigned(
        &mut self,
        split: Split,
        written: Option<TimestampMs>,
        from: Option<u64>,
    ) -> Result<(), Stopped> {
        tracing::info!(%split, from, "kafka partition assigned");
        if let Some((topic, _)) = self.source.topics.partition(split.id) {
            self.unavailable.available(&topic);
        }
        self.idle.assigned(split.id, Instant::now());
        let metrics = self.source.metrics.split(&split.name);
        let mut owned = Owned::new(split.clone(), metrics);
        owned.next = from;
        self.owned.insert(split.id, owned);
        let id = split.id;
        self.producer.push(SourceEvent::Assigned(split), 0)?;
        if let Some(until) = written {
            self.producer
                .push(SourceEvent::Written { split: id, until }, 0)?;
        }
        // The client keeps a partition paused that was so when it was revoked.
        self.ahead.remove(&id);
        self.aligned = None;
        if self.paused {
            self.pause();
        } else {
            self.resume_partitions(std::iter::once(id));
        }
        Ok(())
    }

    /// What comes of a partition next is before what was read of it.
    fn went_back(&mut self, split: SplitId, back: Back) -> Result<(), Stopped> {
        let Some(owned) = self.owned.get_mut(&split) else {
            return Ok(());
        };
        self.source.metrics.positions_lost.inc();
        let split = &owned.split;
        match back {
            Back::Anew => {
                tracing::warn!(%split, "the kafka topic was made anew; it is read from its beginning");
            }
            Back::Truncated => {
                tracing::warn!(%split, "the kafka partition was truncated; reading goes on at its end");
            }
            Back::Again => {
                tracing::warn!(
                    %split,
                    "the kafka partition was truncated; it is read again, and what was read does \
                     not count again"
                );
                let id = split.id;
                self.producer.push(SourceEvent::Revoked(id), 0)?;
                let split = split.clone();
                return self.producer.push(SourceEvent::Assigned(split), 0);
            }
        }
        // What was gathered before is handed over by now.
        owned.handed = None;
        let id = split.id;
        self.producer.push(SourceEvent::Anew(id), 0)
    }

    fn revoked(&mut self, split: SplitId) -> Result<(), Stopped> {
        self.idle.revoked(split);
        self.ahead.remove(&split);
        drop(self.gather.take(split));
        let Some(owned) = self.owned.remove(&split) else {
            return Ok(());
        };
        tracing::info!(split = %owned.split, "kafka partition revoked");
        self.consumer.context().left(split, owned.next);
        if self.consumer.context().sharing().is_none()
            && let Some(held_back) = self.others_log.admit()
        {
            tracing::warn!(
                held_back,
                "another member of the group reads partitions of ours: windows that are open have \
                 their events here and there; several instances need source.kafka.instance each"
            );
        }
        // A partition without lag has no series, which is no error.
        drop(self.source.lag.remove_label_values(&[&owned.split.name]));
        self.producer.push(SourceEvent::Revoked(split), 0)
    }

    fn stands(&mut self, status: &Status) {
        let now = Instant::now();
        if !status.connected {
            // The first statistics may come before the first connection.
            if self.connection != Connection::Never {
                self.disconnected("no broker answers");
            }
            return;
        }
        self.connection = self.connection.seen(&self.source, &mut self.idle, now);
        let mut lost = Vec::new();
        for partition in &status.partitions {
            let Some(owned) = self.owned.get_mut(&partition.split) else {
                continue;
            };
            if let Some(wanted) = owned.lost_before(partition.first) {
                lost.push((
                    owned.split.clone(),
                    wanted,
                    partition.first.unwrap_or(wanted),
                ));
            }
            self.idle
                .caught_up(partition.split, partition.caught_up, now);
            owned.end = owned.end.max(partition.end);
            owned.begin = owned.begin.or(partition.next);
            owned.fetched = partition.next.filter(|_| partition.caught_up);
        }
        for (split, wanted, first) in lost {
            self.position_lost(&split, wanted, first);
        }
        self.tell_lag();
    }

    fn tell_lag(&self) {
        let partitions = i64::try_from(self.owned.len()).unwrap_or(i64::MAX);
        self.source.partitions.set(partitions);
        for owned in self.owned.values() {
            let Some(lag) = owned.lag() else { continue };
            let gauge = self.source.lag.with_label_values(&[&owned.split.name]);
            gauge.set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
    }

    fn disconnected(&mut self, reason: &str) {
        if self.connection == Connection::Up {
            self.connection = Connection::Lost;
        }
        self.source.metrics.connected.set(0);
        self.idle.connected(false, Instant::now());
        if let Some(held_back) = self.trouble_log.admit() {
            tracing::warn!(held_back, "kafka is not connected: {reason}");
        }
    }

    fn error(&self, message: String) -> SourceError {
        SourceError::new(&self.source.name, message)
    }
}

impl Drop for Reader {
    /// Ends what would outlive the reader, also where its thread panics: the consumer closes only once nothing is
    /// handed over any more, and the thread that commits holds the consumer.
    fn drop(&mut self) {
        if thread::panicking() {
            self.forbid_checkpoints();
        }
        if let Some(sharing) = self.consumer.context().sharing() {
            sharing.end();
        }
        self.committing.finish();
        self.consumer.context().confirm();
        if self.is_unconfirmed() {
            tracing::warn!(
                "the kafka group is not known to have the latest checkpoint: the next start goes on from the \
                 one before it"
            );
        }
    }
}
