//! Messages as they are polled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::BorrowedMessage;

use crate::model::{RecordBatch, Split, SplitId};

use super::super::idle::IdleTracker;
use super::super::metrics::{DropReason, SplitMetrics};
use super::KafkaSource;
use super::answers::insist;
use super::gather::{Gather, Message};
use super::group::Group;
use super::start::{Back, went_back};

/// How many statistics may come after records were passed over until one tells whether they were gone:
/// one may have been made before the broker was asked.
const STATISTICS: u32 = 1;

/// How long the broker may take to say which offsets a partition has that has gone back.
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(5);

/// A partition of ours.
pub(super) struct Owned {
    pub(super) split: Split,
    pub(super) metrics: SplitMetrics,
    /// The offset behind the last record that we read, or from where reading begins.
    pub(super) next: Option<u64>,
    /// Whether a record was read.
    has_begun: bool,
    /// The first offset of late that was passed over, and for how many statistics more it is looked for.
    passed: Option<(u64, u32)>,
    /// Everything before this was polled, also what is no record for us.
    polled: Option<u64>,
    /// Where the client was when it was first asked.
    pub(super) begin: Option<u64>,
    /// The offset behind the last record that the partition is known to have for us.
    pub(super) end: Option<u64>,
    /// The offset behind the last record that was handed over.
    pub(super) handed: Option<u64>,
    /// Whether it is to go to another instance, so that nothing more is read of it.
    pub(super) leaves: bool,
    /// The statistics have said that everything before this was fetched, up to the partition's end.
    pub(super) fetched: Option<u64>,
}

impl Owned {
    /// A partition of which nothing is known yet.
    pub(super) fn new(split: Split, metrics: SplitMetrics) -> Self {
        Self {
            split,
            metrics,
            next: None,
            has_begun: false,
            passed: None,
            polled: None,
            begin: None,
            end: None,
            handed: None,
            leaves: false,
            fetched: None,
        }
    }

    /// A batch is handed over.
    pub(super) fn took(&mut self, batch: &RecordBatch) {
        self.metrics.count(batch);
        let last = batch.len().checked_sub(1).and_then(|last| batch.get(last));
        self.handed = self.handed.max(last.map(|record| record.position + 1));
    }

    /// Everything that was fetched has been polled. Behind the last record there may be markers of
    /// transactions and gaps that compaction has left: nobody gets to see these, and nobody lags
    /// behind them.
    pub(super) fn polled_all(&mut self) {
        self.polled = self.polled.max(self.fetched.take());
    }

    /// The records at and behind an offset come. Those between it and the last one may be gaps, which
    /// compaction and markers of transactions leave.
    fn reached(&mut self, offset: u64) {
        if let Some(next) = self.next.filter(|next| offset > *next) {
            self.passed.get_or_insert((next, STATISTICS));
        }
        self.next = Some(offset + 1);
    }

    /// Given the first offset that the broker has: the offset of which is now known that its record was
    /// gone before we came to it.
    pub(super) fn lost_before(&mut self, first: Option<u64>) -> Option<u64> {
        let (wanted, times) = self.passed.take()?;
        if first.is_some_and(|first| first > wanted) {
            return Some(wanted);
        }
        self.passed = times.checked_sub(1).map(|times| (wanted, times));
        None
    }

    /// How many offsets there are from where we are up to the end, where both are known.
    pub(super) fn lag(&self) -> Option<u64> {
        let next = self.next.max(self.polled).or(self.begin);
        Some(self.end?.saturating_sub(next?))
    }
}

/// What has come of a message.
#[derive(Default)]
pub(super) struct Gathered {
    /// Its partition, where that has gone back and why, and what was gathered of it before.
    pub(super) back: Option<(SplitId, Back)>,
    pub(super) before: Option<RecordBatch>,
    /// The batches that are full.
    pub(super) full: Vec<RecordBatch>,
}

/// What taking in a message needs of the reader, apart from the consumer that it borrows.
pub(super) struct Intake<'a> {
    pub(super) source: &'a KafkaSource,
    pub(super) consumer: &'a BaseConsumer<Group>,
    pub(super) owned: &'a mut BTreeMap<SplitId, Owned>,
    pub(super) gather: &'a mut Gather,
    pub(super) idle: &'a mut IdleTracker,
    pub(super) last: &'a mut Option<LastPartition>,
    pub(super) now: Instant,
}

/// A partition with its split. Records come in runs of one.
pub(super) struct LastPartition {
    is_only_topic: bool,
    topic: String,
    partition: i32,
    split: SplitId,
}

impl Intake<'_> {
    /// The split of a message, where it is of a known topic.
    fn split(&mut self, message: &BorrowedMessage<'_>) -> Option<SplitId> {
        let partition = message.partition();
        let known = self.last.as_ref().filter(|last| {
            // To make a text of the topic's name costs more than to copy the record.
            last.partition == partition && (last.is_only_topic || last.topic == message.topic())
        });
        if let Some(last) = known {
            return Some(last.split);
        }
        let topics = &self.source.topics;
        let topic = message.topic();
        let split = topics.id(topic, partition)?;
        *self.last = Some(LastPartition {
            is_only_topic: topics.is_one(),
            topic: topic.to_owned(),
            partition,
            split,
        });
        Some(split)
    }

    /// Adds a message to its batch; gives what has to be handed over because of it.
    pub(super) fn gather(&mut self, message: &BorrowedMessage<'_>) -> Option<Gathered> {
        let split = self.split(message)?;
        let owned = self.owned.get_mut(&split).filter(|owned| !owned.leaves)?;
        let offset = u64::try_from(message.offset()).ok()?;
        let number = u32::try_from(message.partition()).ok()?;
        let mut gathered = None;
        let group = self.consumer.context();
        if let Some(next) = owned.next.filter(|next| offset < *next) {
            // The client has found that its offset is not there any more.
            let (topic, partition) = (message.topic(), message.partition());
            let ask = || {
                let consumer = self.consumer;
                consumer.fetch_watermarks(topic, partition, OFFSETS_TIMEOUT)
            };
            let (first, end) = match insist(ask) {
                Ok((first, end)) => (u64::try_from(first).ok()?, u64::try_from(end).ok()?),
                Err(error) => {
                    // With a guess events would count twice, or never.
                    group.refuse(format!(
                        "partition {} goes back from offset {next} to {offset}, and it cannot be \
                         found out why: {error}",
                        owned.split
                    ));
                    return None;
                }
            };
            let back = went_back(offset, next, (first, end));
            gathered = Some(Gathered {
                back: Some((split, back)),
                before: self.gather.take(split),
                full: Vec::new(),
            });
            let handed = owned.handed;
            *owned = Owned::new(owned.split.clone(), owned.metrics.clone());
            match back {
                Back::Again => owned.handed = handed,
                Back::Anew | Back::Truncated => group.made_anew(&owned.split),
            }
        }
        if !std::mem::replace(&mut owned.has_begun, true) {
            group.read(split, offset);
        }
        owned.reached(offset);
        let limit = self.source.context.max_record_bytes;
        let used = match message.payload() {
            Some(payload) if payload.len() <= limit => Ok(payload),
            Some(_) => Err(DropReason::TooLarge),
            None => Err(DropReason::Tombstone),
        };
        let payload = match used {
            Ok(payload) => payload,
            Err(reason) => {
                self.idle.active(split, self.now);
                self.source.metrics.dropped(reason).inc();
                return gathered;
            }
        };
        let envelope = self.source.context.needs_envelope.then(|| {
            (
                message.topic().as_bytes(),
                message.key().unwrap_or_default(),
            )
        });
        let message = Message {
            payload,
            offset,
            envelope,
            headers: match self.source.context.headers.is_empty() {
                true => None,
                false => message.headers(),
            },
            timestamp: message.timestamp().to_millis(),
        };
        // Of a batch, the first record and the hand-over are looked at.
        let full = self.gather.push(&owned.split, message, self.now, |split| {
            self.idle.active(split.id, self.now);
            let batch = RecordBatch::new(split, self.source.context.clock.now_ms());
            batch.of_partition(number, self.source.context.headers.clone())
        });
        if !full.is_empty() {
            self.idle.active(split, self.now);
            gathered.get_or_insert_default().full = full;
        }
        gathered
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::metrics::SourceMetrics;
    use super::*;
    use crate::telemetry::Registry;

    fn owned(next: u64) -> Owned {
        let name = "events/0".into();
        let split = Split {
            id: SplitId(0),
            name,
        };
        let metrics = SourceMetrics::new(&Registry::new("test")).split("events/0");
        let mut owned = Owned::new(split, metrics);
        owned.next = Some(next);
        owned
    }

    #[test]
    fn nobody_lags_behind_what_compaction_has_left_of_the_end() {
        let mut partition = owned(10);
        assert_eq!(partition.lag(), None, "nobody knows its end");
        partition.end = Some(20);
        partition.reached(10);
        assert_eq!(partition.lag(), Some(9));
        partition.fetched = Some(20);
        assert_eq!(partition.lag(), Some(9), "some of it may wait to be polled");
        partition.polled_all();
        assert_eq!(partition.lag(), Some(0), "the others were compacted away");
        partition.end = Some(25);
        assert_eq!(partition.lag(), Some(5));
        partition.reached(21);
        assert_eq!(partition.lag(), Some(3));
    }

    #[test]
    fn what_retention_has_taken_before_it_was_read_is_lost_and_a_gap_is_not() {
        let mut partition = owned(10);
        partition.reached(10);
        assert_eq!(
            partition.lost_before(Some(5_000)),
            None,
            "nothing was passed over"
        );
        // Markers of transactions.
        partition.reached(13);
        assert_eq!(partition.lost_before(Some(0)), None);
        assert_eq!(partition.lost_before(Some(0)), None);
        assert_eq!(partition.lost_before(Some(5_000)), None, "it was looked at");

        let mut partition = owned(10);
        partition.reached(5_000);
        partition.reached(5_003);
        assert_eq!(partition.lost_before(Some(0)), None, "of before");
        assert_eq!(partition.lost_before(Some(5_000)), Some(10));
        assert_eq!(partition.lost_before(Some(5_000)), None, "once");
        partition.reached(5_010);
        assert_eq!(partition.lost_before(None), None);
    }
}
