//! One shard on its way into the pipeline: its records as batches, and its place.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::types::Record;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use crate::model::{RecordBatch, Split, TimestampMs};

use super::super::config::{KinesisMode, OutsideShard};
use super::super::handover::Producer;
use super::super::metrics::{DropReason, SourceMetrics, SplitMetrics};
use super::super::{Context, SourceEvent, Stopped};
use super::aggregated::{UserRecord, user_records};
use super::backoff::Backoff;
use super::client::{Client, Trouble};
use super::hash_range::HashRange;
use super::metrics::KinesisMetrics;
use super::place::{Place, is_before};

/// When a batch is handed over: at so many bytes, or at so many records.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_RECORDS: usize = 4_096;

/// After how long without an answer it is looked again whether records are lost. A stream keeps them for
/// a day at least.
const AWAY: Duration = Duration::from_secs(3600);

/// How often the oldest record is asked for until it is left at that.
const LOOKS: usize = 5;

/// How often a reader that waits for room, or for other splits, looks again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a reader says of its split.
#[derive(Debug)]
pub(super) enum Report {
    /// An answer has come.
    Read {
        split: Split,
        /// Whether there were records.
        records: bool,
        /// Whether there is nothing more for now.
        caught_up: bool,
    },
    /// Nothing comes for now.
    Trouble { split: Split, trouble: Trouble },
    /// Everything was handed over, and nothing more will come.
    Ended { split: Split, shard: String },
}

/// What all readers of a stream share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stream: String,
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) producer: Producer<SourceEvent>,
    pub(super) reports: UnboundedSender<Report>,
    pub(super) source_metrics: SourceMetrics,
    pub(super) metrics: KinesisMetrics,
    pub(super) mode: KinesisMode,
    pub(super) consumer_arn: Option<String>,
    pub(super) poll_every: Duration,
    pub(super) outside_shard: OutsideShard,
    /// How many answers may be on their way at once: each may have ten megabytes.
    pub(super) requests: Semaphore,
    /// The shards that take no more records.
    pub(super) closed: Mutex<BTreeSet<String>>,
    /// Whether nothing is read for now: where the stream is begun with is not durable yet.
    pub(super) is_held: AtomicBool,
}

impl Shared {
    /// A shard takes no more records.
    pub(super) fn close(&self, shard: &str) {
        let mut closed = self.closed();
        if !closed.contains(shard) {
            closed.insert(shard.to_owned());
        }
    }

    /// Whether a shard takes no more records, as far as is known.
    pub(super) fn is_closed(&self, shard: &str) -> bool {
        self.closed().contains(shard)
    }

    /// A shard has left the stream.
    pub(super) fn forget(&self, shard: &str) {
        self.closed().remove(shard);
    }

    fn closed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a reader goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The pipeline takes no more.
    Stopped,
    /// The shard has nothing more.
    OfShard,
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Reads one shard.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) split: Split,
    pub(super) shard: String,
    pub(super) range: HashRange,
    /// From where it is read on.
    pub(super) place: Place,
    /// The position of the next record.
    pub(super) next: u64,
    pub(super) backoff: Backoff,
    /// When the last answer came.
    answered: Option<Instant>,
    /// Whether records may be lost before those that come next.
    is_loss_possible: bool,
    split_metrics: SplitMetrics,
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        (split, shard): (Split, String),
        range: HashRange,
        (place, next): (Place, u64),
    ) -> Self {
        let split_metrics = shared.source_metrics.split(&split.name);
        let split_id = split.id.0;
        Self {
            shared,
            split,
            shard,
            range,
            place,
            next,
            backoff: Backoff::new(u64::from(split_id)),
            answered: None,
            is_loss_possible: false,
            split_metrics,
        }
    }

    /// Reads until there is nothing more.
    pub(super) async fn run(mut self) {
        let end = match self.shared.mode {
            KinesisMode::Polling => self.poll().await,
            KinesisMode::EnhancedFanOut => self.follow().await,
        };
        if end == End::OfShard {
            self.place = Place::End;
            self.keep_place();
            self.shared.metrics.ended(&self.split.name);
            let (split, shard) = (self.split.clone(), self.shard.clone());
            self.report(Report::Ended { split, shard });
        }
    }

    /// Waits while the split runs ahead of the others or the pipeline has no room.
    pub(super) async fn wait_for_turn(&self) -> Result<(), Stopped> {
        let mut counted = false;
        loop {
            if self.shared.producer.is_abandoned() {
                return Err(Stopped);
            }
            let ahead = self.shared.context.alignment.is_paused(self.split.id);
            let has_room = self.shared.producer.has_room(Duration::ZERO);
            if !ahead && has_room && !self.shared.is_held.load(Ordering::Acquire) {
                return Ok(());
            }
            if !has_room && !std::mem::replace(&mut counted, true) {
                self.shared.source_metrics.buffer_full.inc();
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Hands over records in their order, each with a position and, behind every batch, the place for
    /// checkpoints.
    pub(super) fn hand_over(&mut self, records: &[Record]) -> Result<(), Stopped> {
        let mut batch = self.batch();
        for record in records {
            let sequence = record.sequence_number();
            let done = match &self.place {
                Place::Within(within, done) if within == sequence => *done,
                _ => 0,
            };
            let arrived = record
                .approximate_arrival_timestamp()
                .and_then(|time| time.to_millis().ok());
            let data = record.data().as_ref();
            match user_records(data) {
                None if done == 0 => self.push(
                    &mut batch,
                    data,
                    record.partition_key().unwrap_or_default(),
                    arrived,
                ),
                None => {}
                Some(parts) => {
                    for (number, part) in (1..).zip(&parts).skip(done) {
                        if self.is_ours(part) {
                            self.push(&mut batch, part.data, part.partition_key, arrived);
                        }
                        if is_full(&batch) {
                            self.place = Place::Within(sequence.to_owned(), number);
                            batch = self.send(batch)?;
                        }
                    }
                }
            }
            self.place = Place::After(sequence.to_owned());
            if is_full(&batch) {
                batch = self.send(batch)?;
            }
        }
        let arrived = records
            .last()
            .and_then(Record::approximate_arrival_timestamp);
        if let Some(arrived) = arrived.and_then(|time| time.to_millis().ok()) {
            let age = self.shared.context.clock.now_ms().saturating_sub(arrived);
            self.shared.metrics.age(&self.split.name, age);
        }
        self.send(batch)?;
        Ok(())
    }

    /// Whether a part of an aggregated record is to be counted here. After a split or a merge the producer
    /// library finds out that a record went to a shard that some of its parts do not belong to, and sends
    /// those again.
    fn is_ours(&self, part: &UserRecord<'_>) -> bool {
        if self.range.contains(part.hash_key()) {
            return true;
        }
        self.shared.metrics.outside_shard.inc();
        self.shared.outside_shard == OutsideShard::Keep
    }

    fn push(
        &mut self,
        batch: &mut RecordBatch,
        data: &[u8],
        key: &str,
        arrived: Option<TimestampMs>,
    ) {
        let context = &self.shared.context;
        if data.len() > context.max_record_bytes {
            let metrics = &self.shared.source_metrics;
            metrics.dropped(DropReason::TooLarge).inc();
            return;
        }
        if context.needs_envelope {
            let stream = self.shared.stream.as_bytes();
            batch.push_enveloped(data, self.next, stream, key.as_bytes());
        } else {
            batch.push(data, self.next);
        }
        if let Some(arrived) = arrived {
            batch.set_timestamp(arrived);
        }
        self.next += 1;
    }

    /// Hands over a batch; gives an empty one.
    fn send(&mut self, batch: RecordBatch) -> Result<RecordBatch, Stopped> {
        // Before the batch: a checkpoint that has its records finds the place behind them.
        self.keep_place();
        if !batch.is_empty() {
            self.split_metrics.count(&batch);
            let bytes = batch.byte_len();
            let event = SourceEvent::Records(batch);
            self.shared.producer.push(event, bytes)?;
        }
        Ok(self.batch())
    }

    fn batch(&self) -> RecordBatch {
        RecordBatch::new(self.split.clone(), self.shared.context.clock.now_ms())
    }

    fn keep_place(&self) {
        let tokens = &self.shared.context.tokens;
        tokens.add(&self.split.name, self.next, &self.place.to_string());
    }

    /// An answer has come.
    pub(super) fn has_read(&mut self, records: bool, millis_behind: i64) {
        self.backoff.reset();
        self.shared.metrics.behind(&self.split.name, millis_behind);
        self.report(Report::Read {
            split: self.split.clone(),
            records,
            caught_up: millis_behind == 0,
        });
    }

    /// Does what a failure asks for, and waits. `Err` where nothing more will come.
    pub(super) async fn recover(&mut self, trouble: Trouble) -> Result<(), End> {
        match &trouble {
            Trouble::ExpiredIterator => {
                self.shared.metrics.expired_iterators.inc();
            }
            Trouble::Throttled(_) => self.shared.metrics.throttled.inc(),
            // Not a failure of the shard: somebody else of the same name had it a moment ago.
            Trouble::InUse(_) => {}
            Trouble::NotFound(words) if self.is_gone().await => {
                tracing::warn!(
                    split = %self.split,
                    reason = words,
                    "the kinesis shard is gone; what was not read of it is lost"
                );
                self.shared.source_metrics.positions_lost.inc();
                return Err(End::OfShard);
            }
            Trouble::NotFound(_)
            | Trouble::Invalid(_)
            | Trouble::Denied(_)
            | Trouble::Passing(_) => {
                let split = self.split.clone();
                self.report(Report::Trouble { split, trouble });
            }
        }
        sleep(self.backoff.next()).await;
        Ok(())
    }

    /// Does what is right where there is no iterator at the place: goes on with the oldest record, unless
    /// the shard is one of another stream. `Err` where nothing more will come.
    pub(super) async fn fall_back(&mut self, words: String) -> Result<(), End> {
        let listed = match self.shared.client.shards().await {
            Ok(listed) => listed,
            Err(trouble) => return self.recover(trouble).await,
        };
        let info = listed.iter().find(|info| info.listed.id == self.shard);
        if info.is_some_and(|info| info.is_another(&self.place)) {
            return self.recover(Trouble::Invalid(words)).await;
        }
        self.has_lost(&words);
        self.place = Place::TrimHorizon;
        Ok(())
    }

    /// Looks whether records are lost before these, the first since the start or since a long time: Kinesis
    /// may begin with the oldest record that it keeps, and say nothing.
    pub(super) async fn look_for_loss(&mut self, records: &[Record]) {
        let is_away = self.answered.is_none_or(|at| at.elapsed() > AWAY);
        self.answered = Some(Instant::now());
        self.is_loss_possible |= is_away;
        let Some(first) = records.first().filter(|_| self.is_loss_possible) else {
            return;
        };
        self.is_loss_possible = false;
        let Some(sequence) = self.place.sequence() else {
            return;
        };
        if first.sequence_number() == sequence {
            return;
        }
        for _ in 0..LOOKS {
            match self.shared.client.oldest(&self.shard).await {
                Ok(Some(oldest)) if is_before(sequence, &oldest) => {
                    self.has_lost("the record of the position is no longer kept");
                    return;
                }
                Ok(_) => return,
                Err(_) => sleep(self.backoff.next()).await,
            }
        }
        tracing::warn!(
            split = %self.split,
            "it is not known whether kinesis still keeps all records behind the position"
        );
    }

    /// The records behind the place may be lost. Those that come instead are none that were processed.
    fn has_lost(&mut self, reason: &str) {
        tracing::warn!(
            split = %self.split,
            place = %self.place,
            reason,
            "the kinesis stream does not keep the records behind the position any more; it goes on with \
             the oldest record"
        );
        self.shared.source_metrics.positions_lost.inc();
        let processed = self.shared.context.resume.position(&self.split.name);
        self.next = self.next.max(processed.unwrap_or_default());
    }

    /// Whether the stream no longer lists the shard. A consumer or a stream that is not found says nothing
    /// of its shards.
    async fn is_gone(&self) -> bool {
        let listed = self.shared.client.shards().await;
        listed.is_ok_and(|listed| listed.iter().all(|info| info.listed.id != self.shard))
    }

    fn report(&self, report: Report) {
        // Nobody listens any more once the source is stopped.
        self.shared.reports.send(report).ok();
    }
}

fn is_full(batch: &RecordBatch) -> bool {
    batch.len() >= BATCH_RECORDS || batch.byte_len() >= BATCH_BYTES
}
