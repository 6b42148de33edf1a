//! Messages as they are polled.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;

use crate::model::{RecordBatch, Split, SplitId};

use super::super::idle::IdleTracker;
use super::super::metrics::{DropReason, SplitMetrics};
use super::KafkaSource;
use super::gather::{Gather, Message};
use super::group::Group;

/// A partition of ours.
pub(super) struct Owned {
    pub(super) split: Split,
    pub(super) metrics: SplitMetrics,
    /// The offset behind the last record that we read.
    pub(super) next: Option<u64>,
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

    /// How many offsets there are from where we are up to the end, where both are known.
    pub(super) fn lag(&self) -> Option<u64> {
        let next = self.next.max(self.polled).or(self.begin);
        Some(self.end?.saturating_sub(next?))
    }
}

/// What has come of a message.
#[derive(Default)]
pub(super) struct Gathered {
    /// Its partition, where that is of a topic that was made anew, and what was gathered of it before.
    pub(super) anew: Option<SplitId>,
    pub(super) before: Option<RecordBatch>,
    /// The batches that are full.
    pub(super) full: Vec<RecordBatch>,
}

/// What taking in a message needs of the reader, apart from the consumer that it borrows.
pub(super) struct Intake<'a> {
    pub(super) source: &'a KafkaSource,
    pub(super) group: &'a Group,
    pub(super) owned: &'a mut BTreeMap<SplitId, Owned>,
    pub(super) gather: &'a mut Gather,
    pub(super) idle: &'a mut IdleTracker,
}

impl Intake<'_> {
    /// Adds a message to its batch; gives the batches that are full.
    pub(super) fn gather(self, message: &BorrowedMessage<'_>, now: Instant) -> Gathered {
        let Some(split) = self.source.topics.id(message.topic(), message.partition()) else {
            return Gathered::default();
        };
        let Some(owned) = self.owned.get_mut(&split).filter(|owned| !owned.leaves) else {
            return Gathered::default();
        };
        let (Ok(offset), Ok(number)) = (
            u64::try_from(message.offset()),
            u32::try_from(message.partition()),
        ) else {
            return Gathered::default();
        };
        let mut gathered = Gathered::default();
        if owned.next.is_some_and(|next| offset < next) {
            // The client has found that its offset is not there any more, and begins again.
            gathered.anew = Some(split);
            gathered.before = self.gather.take(split);
            *owned = Owned::new(owned.split.clone(), owned.metrics.clone());
            self.group.made_anew(&owned.split);
        }
        if owned.next.is_none() {
            self.group.read(split, offset);
        }
        owned.next = Some(offset + 1);
        self.idle.active(split, now);
        let Some(payload) = message.payload() else {
            self.source.metrics.dropped(DropReason::Tombstone).inc();
            return gathered;
        };
        if payload.len() > self.source.context.max_record_bytes {
            self.source.metrics.dropped(DropReason::TooLarge).inc();
            return gathered;
        }
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
        let context = &self.source.context;
        gathered.full = self.gather.push(&owned.split, message, now, |split| {
            let batch = RecordBatch::new(split, context.clock.now_ms());
            batch.of_partition(number, context.headers.clone())
        });
        gathered
    }
}
