//! The thread that polls librdkafka.

mod leaving;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use crate::model::{RecordBatch, Split, SplitId, TimestampMs};
use crate::telemetry::LogLimit;

use super::super::handover::Producer;
use super::super::idle::IdleTracker;
use super::super::{SourceError, SourceEvent, StopSignal, Stopped};
use super::KafkaSource;
use super::connection::Connection;
use super::gather::Gather;
use super::group::{Group, Notice};
use super::intake::{Gathered, Intake, Owned};
use super::status::Status;
use super::topics::is_pattern;
use leaving::Leaving;

/// How often due batches, idle partitions and the stop signal are looked for.
const TICK: Duration = Duration::from_millis(10);

/// How long the pipeline may take nothing until the partitions are paused and polling goes on.
/// Pausing throws away what librdkafka has fetched ahead, so it is only for long waits; it must be
/// well under `max.poll.interval.ms` (five minutes).
const PAUSE_AFTER: Duration = Duration::from_secs(10);

/// A wait that is long enough that what arrived meanwhile must be read before anything is idle.
const LONG_WAIT: Duration = Duration::from_millis(100);

/// How often the same trouble is logged, and a missing topic looked for.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// How long the broker may take to say whether a topic exists.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the ends of paused partitions are asked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a broker may take to say where a paused partition ends.
const ENDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads partitions into a queue.
pub(super) struct Reader {
    source: KafkaSource,
    consumer: BaseConsumer<Group>,
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
    /// Whether something was handed over since room was last looked for.
    pushed: bool,
    /// When the ends of paused partitions are asked for.
    next_look: Instant,
    missing_topics: BTreeSet<String>,
    /// The partitions that are to go to other instances.
    leaving: Option<Leaving>,
    /// The checkpoint that was committed last, by its generation.
    committed: u64,
    missing_log: LogLimit,
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
            consumer,
            producer,
            owned: BTreeMap::new(),
            gather: Gather::default(),
            idle,
            connection: Connection::Never,
            paused: false,
            ahead: BTreeSet::new(),
            aligned: None,
            pushed: false,
            next_look: Instant::now(),
            missing_topics: BTreeSet::new(),
            leaving: None,
            committed: 0,
            missing_log: LogLimit::every(LOG_EVERY),
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
        let end = self.read(stop).and_then(|()| Ok(self.hand_over_rest()?));
        self.producer.finish();
        if !matches!(end, Err(End::Failed(_))) {
            self.drain(refused);
        }
        self.end_sharing();
        self.source.metrics.connected.set(0);
        match end {
            Ok(()) | Err(End::Stopped) => Ok(()),
            Err(End::Failed(error)) => Err(error),
        }
    }

    fn read(&mut self, stop: &StopSignal) -> Result<(), End> {
        let mut next_tick = Instant::now();
        let commit_every = self.source.context.commit_every.to_std();
        let mut next_commit = next_tick + commit_every;
        while !stop.is_stopped() {
            self.poll(TICK)?;
            self.align();
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now)?;
                self.look_at_paused(now);
                self.let_leave(now)?;
            }
            if now >= next_commit || self.is_checkpointed() {
                next_commit = now + commit_every;
                self.consumer
                    .context()
                    .commit(&self.consumer, CommitMode::Async);
                self.look_for_missing_topics();
            }
            if std::mem::take(&mut self.pushed) {
                self.wait_for_room(stop)?;
            }
        }
        Ok(())
    }

    /// Whether there is a checkpoint that others go on from where it is committed. The sooner that is
    /// so, the less counts twice when we crash.
    fn is_checkpointed(&mut self) -> bool {
        let Some(sharing) = self.consumer.context().sharing() else {
            return false;
        };
        let generation = sharing.checkpointed.generation();
        std::mem::replace(&mut self.committed, generation) != generation
    }

    /// Polls once.
    fn poll(&mut self, patience: Duration) -> Result<(), End> {
        let began = Instant::now();
        // The message borrows the consumer, so its bytes are gathered before anything else.
        let gathered = match self.consumer.poll(patience) {
            Some(Ok(message)) => {
                let now = Instant::now();
                self.connection = self.connection.seen(&self.source, &mut self.idle, now);
                let intake = Intake {
                    source: &self.source,
                    group: self.consumer.context(),
                    owned: &mut self.owned,
                    gather: &mut self.gather,
                    idle: &mut self.idle,
                };
                intake.gather(&message, now)
            }
            // Errors are told to the context with more words than here.
            Some(Err(_)) => Gathered::default(),
            None => {
                // The time was waited out, and nothing has come.
                if !patience.is_zero() && began.elapsed() >= patience {
                    self.owned.values_mut().for_each(Owned::polled_all);
                }
                Gathered::default()
            }
        };
        // What is told during a poll comes before its message, which can only be of partitions that
        // were ours before.
        self.heed_notices()?;
        self.push(Vec::from_iter(gathered.before))?;
        if let Some(split) = gathered.anew {
            self.made_anew(split)?;
        }
        self.push(gathered.full)?;
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<(), Stopped> {
        let due = self.gather.take_due(now);
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
            if self.paused {
                self.poll(Duration::ZERO)?;
                self.look_at_paused(Instant::now());
            } else if start.elapsed() >= PAUSE_AFTER {
                self.pause();
            }
        }
        if self.paused {
            self.resume();
        }
        if start.elapsed() >= LONG_WAIT {
            self.idle.blocked(Instant::now());
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.paused = true;
        let paused = self
            .consumer
            .assignment()
            .and_then(|list| self.consumer.pause(&list));
        if let Err(error) = paused {
            tracing::warn!(%error, "the partitions cannot be paused");
        }
    }

    /// Resumes what is assigned and does not run ahead.
    fn resume(&mut self) {
        self.paused = false;
        let splits = self.owned.keys().copied();
        self.resume_partitions(splits.filter(|split| !self.ahead.contains(split)));
    }

    fn resume_partitions(&self, splits: impl Iterator<Item = SplitId>) {
        if let Err(error) = self.consumer.resume(&self.partitions(splits)) {
            tracing::warn!(%error, "the partitions cannot be resumed");
        }
    }

    fn partitions(&self, splits: impl Iterator<Item = SplitId>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in splits.filter_map(|split| self.source.topics.partition(split)) {
            list.add_partition(&topic, partition);
        }
        list
    }

    /// Pauses the partitions that run ahead of the others, and resumes those that no longer do.
    fn align(&mut self) {
        let alignment = &self.source.context.alignment;
        let generation = alignment.generation();
        if self.aligned == Some(generation) {
            return;
        }
        self.aligned = Some(generation);
        let mut ahead = alignment.paused();
        ahead.retain(|split| self.owned.contains_key(split));
        let resumed: Vec<_> = self.ahead.difference(&ahead).copied().collect();
        let paused: Vec<_> = ahead.difference(&self.ahead).copied().collect();
        self.ahead = ahead;
        let now = Instant::now();
        if !paused.is_empty() {
            tracing::debug!(splits = ?paused, "kafka partitions run ahead and are paused");
            let list = self.partitions(paused.iter().copied());
            if let Err(error) = self.consumer.pause(&list) {
                tracing::warn!(%error, "the partitions that run ahead cannot be paused");
            }
        }
        if !resumed.is_empty() {
            tracing::debug!(splits = ?resumed, "kafka partitions are resumed");
            self.resume_partitions(resumed.iter().copied());
        }
        for (splits, is_paused) in [(paused, true), (resumed, false)] {
            for split in splits {
                self.idle.paused(split, is_paused, now);
            }
        }
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
            while let Some(notice) = self.consumer.context().next_notice() {
                if let Notice::Leaving(splits) = notice {
                    self.note_leaving(&splits);
                }
            }
        }
        if self.connection == Connection::Up {
            self.consumer
                .context()
                .commit(&self.consumer, CommitMode::Sync);
        }
    }

    fn heed_notices(&mut self) -> Result<(), End> {
        while let Some(notice) = self.consumer.context().next_notice() {
            match notice {
                Notice::Assigned(split, written) => self.assigned(split, written)?,
                Notice::PositionLost {
                    split,
                    wanted,
                    first,
                } => {
                    self.source.metrics.positions_lost.inc();
                    tracing::warn!(
                        %split,
                        wanted,
                        first,
                        "the broker has no longer what was to be read next; reading goes on at the \
                         first record that there is"
                    );
                }
                Notice::Anew(split) => self.made_anew(split)?,
                Notice::Revoked(split) => self.revoked(split)?,
                Notice::Leaving(splits) => self.leave(&splits)?,
                Notice::Lost(splits) => {
                    return Err(End::Failed(self.error(format!(
                        "partitions {splits} were lost to other instances, which read them from the \
                         last checkpoint on; going on from there as well"
                    ))));
                }
                Notice::Status(status) => self.stands(&status),
                Notice::Disconnected(reason) => self.disconnected(&reason),
                Notice::MissingTopic(reason) => self.topic_is_missing(&reason),
                Notice::Refused(reason) => return Err(End::Failed(self.error(reason))),
                Notice::Trouble(reason) => {
                    if let Some(held_back) = self.trouble_log.admit() {
                        tracing::warn!(held_back, "kafka: {reason}");
                    }
                }
            }
        }
        Ok(())
    }

    fn assigned(&mut self, split: Split, written: Option<TimestampMs>) -> Result<(), Stopped> {
        tracing::info!(%split, "kafka partition assigned");
        if let Some((topic, _)) = self.source.topics.partition(split.id) {
            self.missing_topics.remove(&*topic);
        }
        self.idle.assigned(split.id, Instant::now());
        let metrics = self.source.metrics.split(&split.name);
        self.owned
            .insert(split.id, Owned::new(split.clone(), metrics));
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

    fn made_anew(&mut self, split: SplitId) -> Result<(), Stopped> {
        self.source.metrics.positions_lost.inc();
        if let Some(owned) = self.owned.get(&split) {
            tracing::warn!(
                split = %owned.split,
                "the kafka topic was made anew; it is read from its beginning"
            );
        }
        self.producer.push(SourceEvent::Anew(split), 0)
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
        for partition in &status.partitions {
            let Some(owned) = self.owned.get_mut(&partition.split) else {
                continue;
            };
            self.idle
                .caught_up(partition.split, partition.caught_up, now);
            owned.end = owned.end.max(partition.end);
            owned.begin = owned.begin.or(partition.next);
            owned.fetched = partition.next.filter(|_| partition.caught_up);
            if let Some(offset) = partition.committed {
                self.consumer.context().committed(partition.split, offset);
            }
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

    /// Asks for the ends of the partitions that are paused: nothing is fetched of them that would
    /// tell.
    fn look_at_paused(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        let is_paused = |split: &SplitId| self.paused || self.ahead.contains(split);
        let paused = self.owned.iter_mut().filter(|(split, _)| is_paused(split));
        for (split, owned) in paused {
            let Some((topic, partition)) = self.source.topics.partition(*split) else {
                continue;
            };
            match self
                .consumer
                .fetch_watermarks(&topic, partition, ENDS_TIMEOUT)
            {
                Ok((_, end)) => owned.end = owned.end.max(u64::try_from(end).ok()),
                // The next one would have to be waited for as well.
                Err(error) => {
                    tracing::debug!(split = %owned.split, %error, "its end is not known");
                    break;
                }
            }
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

    fn topic_is_missing(&mut self, reason: &str) {
        let topics = self.source.topics.wanted();
        let topics = topics.filter(|topic| !is_pattern(topic));
        self.missing_topics.extend(
            topics
                .filter(|topic| reason.contains(*topic))
                .map(str::to_owned),
        );
    }

    /// A missing topic is waited for: it may be created later, and other topics go on meanwhile.
    fn look_for_missing_topics(&mut self) {
        if self.missing_topics.is_empty() {
            return;
        }
        let Some(_) = self.missing_log.admit() else {
            return;
        };
        let consumer = &self.consumer;
        self.missing_topics.retain(|topic| {
            let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT);
            !metadata.is_ok_and(|metadata| {
                metadata
                    .topics()
                    .iter()
                    .any(|topic| !topic.partitions().is_empty())
            })
        });
        for topic in &self.missing_topics {
            tracing::warn!(%topic, "the kafka topic does not exist; waiting for it");
        }
    }

    fn error(&self, message: String) -> SourceError {
        SourceError::new(&self.source.name, message)
    }
}
