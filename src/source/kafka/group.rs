//! What librdkafka tells us while it is polled: assignments, statistics, errors.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use crate::model::{Split, SplitId, TimestampMs};

use super::super::{Resume, SafePositions};
use super::beginning::{Beginning, begin};
use super::metadata;
use super::offsets::Offsets;
use super::start::{Found, Starts, find};
use super::status::Status;
use super::tokens::Tokens;
use super::topics::Topics;

/// How long the cluster may take to say what was committed before.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may take to say which offsets a partition has.
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(10);

/// What librdkafka says when [`Tokens`] had no token.
const NO_TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token";

/// Something that librdkafka told.
#[derive(Debug)]
pub(super) enum Notice {
    /// A partition is ours, and up to when windows were written with its events before.
    Assigned(Split, Option<TimestampMs>),
    /// The broker has no longer the record from which a partition was to be read.
    PositionLost {
        /// Which partition.
        split: Split,
        /// From where it was to be read.
        wanted: u64,
        /// The first offset that there is.
        first: u64,
    },
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
    tokens: Option<Tokens>,
    resume: Resume,
    beginning: Beginning,
    offsets: Mutex<Offsets>,
    starts: Mutex<Starts>,
    notices: Mutex<VecDeque<Notice>>,
}

impl Group {
    /// No partitions yet; those that `resume` knows are read from there, and those of which neither
    /// it nor the cluster knows anything from the `beginning`.
    pub(super) fn new(
        topics: Topics,
        safe: SafePositions,
        (resume, beginning): (Resume, Beginning),
        silence_limit_us: i64,
        tokens: Option<Tokens>,
    ) -> Self {
        Self {
            topics,
            safe,
            silence_limit_us,
            tokens,
            resume: resume.clone(),
            beginning,
            offsets: Mutex::default(),
            starts: Mutex::new(Starts::new(resume)),
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
        let mut untouched = Vec::new();
        for mut element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let Some(split) = self.topics.split(topic, partition) else {
                self.notice(Notice::Refused(format!(
                    "partition {topic}/{partition} cannot be numbered; at most 65536 a topic"
                )));
                continue;
            };
            self.safe.remove(split.id);
            lock(&self.offsets).assigned(split.id);
            let committed = committed
                .as_ref()
                .and_then(|list| list.find_partition(topic, partition));
            let offset = committed
                .as_ref()
                .and_then(|element| position(element.offset()));
            let start = lock(&self.starts).assigned(&split, offset);
            let Some(start) = start else {
                if committed.as_ref().is_some_and(|_| offset.is_none()) {
                    untouched.push((topic.to_owned(), partition));
                }
                let written = committed.and_then(|element| metadata::decode(element.metadata()));
                self.notice(Notice::Assigned(split, written));
                continue;
            };
            self.notice(Notice::Assigned(split.clone(), None));
            let start = self.look_for(consumer, topic, partition, split.clone(), start);
            let offset = i64::try_from(start).map_or(Offset::End, Offset::Offset);
            // The client reads from the offsets of the list once this callback has returned.
            if let Err(error) = element.set_offset(offset) {
                let message = format!("partition {split} cannot be read from {start}: {error}");
                self.notice(Notice::Refused(message));
            }
        }
        begin(consumer, self.beginning, &self.resume, list, &untouched);
    }

    /// From where to read a partition that is to be read from `wanted`: there, or from the first
    /// record that there is.
    fn look_for(
        &self,
        consumer: &BaseConsumer<Self>,
        topic: &str,
        partition: i32,
        split: Split,
        wanted: u64,
    ) -> u64 {
        let offsets = match consumer.fetch_watermarks(topic, partition, OFFSETS_TIMEOUT) {
            Ok((first, end)) => u64::try_from(first).ok().zip(u64::try_from(end).ok()),
            Err(error) => {
                tracing::warn!(%split, %error, "it is not known which offsets there are");
                None
            }
        };
        let Some((first, end)) = offsets else {
            return wanted;
        };
        match find(wanted, first, end) {
            Found::There => wanted,
            Found::Lost => {
                self.notice(Notice::PositionLost {
                    split,
                    wanted,
                    first,
                });
                first
            }
            Found::Anew => {
                self.notice(Notice::Refused(format!(
                    "partition {split} ends at offset {end}, the state has read up to {wanted}: \
                     the topic was made anew; start fresh or from another savepoint"
                )));
                wanted
            }
        }
    }

    fn revoked(&self, list: &TopicPartitionList) {
        for element in list.elements() {
            let Some(split) = self.topics.id(element.topic(), element.partition()) else {
                continue;
            };
            if let Some(safe) = self.safe.all().get(&split) {
                lock(&self.starts).revoked(split, safe.position);
            }
            self.safe.remove(split);
            lock(&self.offsets).revoked(split);
            self.notice(Notice::Revoked(split));
        }
    }
}

impl ClientContext for Group {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let Some(tokens) = &self.tokens else {
            return Err(
                "sasl.mechanism is OAUTHBEARER; write it as `sasl`, not as a property".into(),
            );
        };
        Ok(tokens.token()?)
    }

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
            // Whoever gives tokens may be away for a while; librdkafka asks again.
            Some(Code::Authentication) if message.starts_with(NO_TOKEN) => Notice::Trouble(message),
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

/// The position of an offset that is a number.
fn position(offset: Offset) -> Option<u64> {
    offset
        .to_raw()
        .and_then(|offset| u64::try_from(offset).ok())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
