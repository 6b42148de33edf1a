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
    pub(super) fn gather(self, message: &BorrowedMessage<'_>, now: Instant) -> Vec<RecordBatch> {
        let Some(split) = self.source.topics.id(message.topic(), message.partition()) else {
            return Vec::new();
        };
        let Some(owned) = self.owned.get_mut(&split) else {
            return Vec::new();
        };
        let Ok(offset) = u64::try_from(message.offset()) else {
            return Vec::new();
        };
        if owned.next.is_none() {
            self.group.read(split, offset);
        }
        owned.next = Some(offset + 1);
        self.idle.active(split, now);
        let Some(payload) = message.payload() else {
            self.source.metrics.dropped(DropReason::Tombstone).inc();
            return Vec::new();
        };
        if payload.len() > self.source.context.max_record_bytes {
            self.source.metrics.dropped(DropReason::TooLarge).inc();
            return Vec::new();
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
            timestamp: message.timestamp().to_millis(),
        };
        self.gather.push(&owned.split, message, now, || {
            self.source.context.clock.now_ms()
        })
    }
}
