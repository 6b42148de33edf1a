//! What librdkafka tells us while it is polled: assignments, statistics, errors.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use crate::model::{Split, SplitId, TimestampMs};

use super::super::SafePositions;
use super::metadata;
use super::offsets::Offsets;
use super::status::Status;
use super::topics::Topics;

/// How long the cluster may take to say what was committed before.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that librdkafka told.
#[derive(Debug)]
pub(super) enum Notice {
    /// A partition is ours, and up to when windows were written with its events before.
    Assigned(Split, Option<TimestampMs>),
    /// A partition is no longer ours.
    Revoked(SplitId),
    /// How everything stands.
    Status(Status),
    /// No broker can be reached.
    Disconnected(String),
    /// A topic does not exist.
    MissingTopic(String),
    /// Something that waiting does not mend.
    Refused(String),
    /// Something else that failed and will be tried again.
    Trouble(String),
}

/// Our part in the consumer group. Its callbacks run on the thread that polls, within `poll`, and
/// leave notices for it.
#[derive(Debug)]
pub(super) struct Group {
    topics: Topics,
    safe: SafePositions,
    silence_limit_us: i64,
    offsets: Mutex<Offsets>,
    notices: Mutex<VecDeque<Notice>>,
}

impl Group {
    /// No partitions yet.
    pub(super) fn new(topics: Topics, safe: SafePositions, silence_limit_us: i64) -> Self {
        Self {
            topics,
            safe,
            silence_limit_us,
            offsets: Mutex::default(),
            notices: Mutex::default(),
        }
    }

    /// The oldest notice.
    pub(super) fn next_notice(&self) -> Option<Notice> {
        lock(&self.notices).pop_front()
    }

    /// Notes that a record was read.
    pub(super) fn read(&self, split: SplitId, offset: u64) {
        lock(&self.offsets).read(split, offset);
    }

    /// Notes which offset of a partition the cluster is known to have.
    pub(super) fn committed(&self, split: SplitId, offset: u64) {
        lock(&self.offsets).committed(split, offset);
    }

    /// Commits what the pipeline has finished with and the cluster is not known to have. Nobody
    /// tells when an asynchronous commit fails, as in the midst of a rebalance: it is repeated
    /// until the statistics show it.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) {
        let due = lock(&self.offsets).due(&self.safe.all());
        let mut list = TopicPartitionList::new();
        for (split, safe) in due {
            let Some((topic, partition)) = self.topics.partition(split) else {
                continue;
            };
            let Ok(offset) = i64::try_from(safe.position) else {
                continue;
            };
            let added = list.add_partition_offset(topic, partition, Offset::Offset(offset));
            if let Err(error) = added {
                tracing::warn!(%error, topic, partition, offset, "an offset cannot be committed");
            }
            if let Some(mut element) = list.find_partition(topic, partition) {
                element.set_metadata(metadata::encode(safe.written));
            }
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = consumer.commit(&list, mode) {
            tracing::warn!(%error, "offsets were not committed; they are read again");
        }
    }

    fn notice(&self, notice: Notice) {
        lock(&self.notices).push_back(notice);
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let committed = consumer
            .committed_offsets(list.clone(), COMMITTED_TIMEOUT)
            .inspect_err(|error| {
                tracing::warn!(%error, "it is not known which windows were written before");
            })
            .ok();
        let written = |topic: &str, partition| {
            let element = committed.as_ref()?.find_partition(topic, partition)?;
            metadata::decode(element.metadata())
        };
        for element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            match self.topics.split(topic, partition) {
                Some(split) => {
                    self.safe.remove(split.id);
                    lock(&self.offsets).assigned(split.id);
                    self.notice(Notice::Assigned(split, written(topic, partition)));
                }
                None => self.notice(Notice::Refused(format!(
                    "partition {topic}/{partition} cannot be numbered; at most 65536 a topic"
                ))),
            }
        }
    }

    fn revoked(&self, list: &TopicPartitionList) {
        for element in list.elements() {
            let Some(split) = self.topics.id(element.topic(), element.partition()) else {
                continue;
            };
            self.safe.remove(split);
            lock(&self.offsets).revoked(split);
            self.notice(Notice::Revoked(split));
        }
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error, too, and is logged at a bounded rate from there.
        tracing::debug!(?level, facility, "{message}");
    }

    fn stats(&self, statistics: Statistics) {
        let status = Status::read(&statistics, &self.topics, self.silence_limit_us);
        self.notice(Notice::Status(status));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let message = if reason.is_empty() {
            error.to_string()
        } else {
            reason.to_owned()
        };
        self.notice(match code {
            // The statistics say it with the topic.
            Some(Code::PartitionEOF) => return,
            Some(Code::AllBrokersDown) => Notice::Disconnected(message),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                Notice::MissingTopic(message)
            }
            Some(
                Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::Fatal,
            ) => Notice::Refused(message),
            _ => Notice::Trouble(message),
        });
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.assigned(consumer, list),
            Rebalance::Revoke(list) => {
                // What was lost may be read by somebody else by now: their commits count.
                if !consumer.assignment_lost() {
                    self.commit(consumer, CommitMode::Async);
                }
                self.revoked(list);
            }
            Rebalance::Error(error) => self.notice(Notice::Trouble(error.to_string())),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
