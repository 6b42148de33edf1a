//! What librdkafka tells us while it is polled: assignments, statistics, errors.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use crate::model::{Split, SplitId, TimestampMs};

use super::super::{PositionTokens, Resume, Safe, SafePositions};
use super::beginning::{Beginning, Begun, begin};
use super::metadata;
use super::offsets::Offsets;
use super::sharing::{Sharing, let_go, take_on};
use super::start::{Found, Starts, find};
use super::status::{Reading, Status};
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
    /// A partition is of a topic that was made anew, and is read from its beginning.
    Anew(SplitId),
    /// A partition is no longer ours.
    Revoked(SplitId),
    /// Partitions are to go to other instances, once a checkpoint has what was read of them.
    Leaving(Vec<SplitId>),
    /// Other instances have read partitions of ours since the last checkpoint.
    Lost(String),
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
    reading: Reading,
    tokens: Option<Tokens>,
    resume: Resume,
    beginning: Beginning,
    /// What several instances of a group agree upon; none where there is one.
    sharing: Option<Sharing>,
    /// What checkpoints keep of topics that patterns have found.
    position_tokens: PositionTokens,
    /// Whether there were partitions before.
    has_begun: AtomicBool,
    offsets: Mutex<Offsets>,
    starts: Mutex<Starts>,
    /// How far the partitions were read that are not ours any more.
    left: Mutex<BTreeMap<SplitId, u64>>,
    notices: Mutex<VecDeque<Notice>>,
}

impl Group {
    /// No partitions yet; those that `resume` knows are read from there, and those of which neither
    /// it nor the cluster knows anything from the `beginning`.
    pub(super) fn new(
        topics: Topics,
        safe: SafePositions,
        (resume, beginning): (Resume, Beginning),
        reading: Reading,
        tokens: Option<Tokens>,
        (sharing, position_tokens): (Option<Sharing>, PositionTokens),
    ) -> Self {
        Self {
            topics,
            safe,
            reading,
            tokens,
            resume: resume.clone(),
            beginning,
            sharing,
            position_tokens,
            has_begun: AtomicBool::new(!resume.is_empty()),
            offsets: Mutex::default(),
            starts: Mutex::new(Starts::new(resume)),
            left: Mutex::default(),
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
    /// until the statistics show it. Says whether there was no failure as yet.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) -> bool {
        let due = self.due();
        let mut list = TopicPartitionList::new();
        for (split, safe) in due {
            let Some((topic, partition)) = self.topics.partition(split) else {
                continue;
            };
            let Ok(offset) = i64::try_from(safe.position) else {
                continue;
            };
            let added = list.add_partition_offset(&topic, partition, Offset::Offset(offset));
            if let Err(error) = added {
                tracing::warn!(%error, %topic, partition, offset, "an offset cannot be committed");
            }
            if let Some(mut element) = list.find_partition(&topic, partition) {
                element.set_metadata(match &self.sharing {
                    None => metadata::encode(safe.written),
                    Some(sharing) => metadata::encode_instance(&sharing.instance),
                });
            }
        }
        if list.count() == 0 {
            return true;
        }
        let committed = consumer.commit(&list, mode);
        if let Err(error) = &committed {
            tracing::warn!(%error, "offsets were not committed; they are read again");
        }
        committed.is_ok()
    }

    /// What is to be committed: what was written, or, where others may go on from there, what the last
    /// checkpoint has.
    fn due(&self) -> Vec<(SplitId, Safe)> {
        let mut offsets = lock(&self.offsets);
        let Some(sharing) = &self.sharing else {
            return offsets.due(&self.safe.all());
        };
        let positions = offsets.splits().filter_map(|split| {
            let name = self.topics.name(split)?;
            let position = sharing.checkpointed.position(&name)?;
            let written = TimestampMs::MIN;
            Some((split, Safe { position, written }))
        });
        let positions = positions.collect();
        offsets.due(&positions)
    }

    /// What several instances agree upon.
    pub(super) fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    /// A partition has gone to another instance.
    pub(super) fn handed_over(&self, split: SplitId) {
        self.safe.remove(split);
        lock(&self.offsets).revoked(split);
    }

    /// A partition that is not ours any more was read so far.
    pub(super) fn left(&self, split: SplitId, next: Option<u64>) {
        if let Some(next) = next {
            lock(&self.left).insert(split, next);
        }
    }

    /// A partition is of a topic that was made anew.
    pub(super) fn made_anew(&self, split: &Split) {
        lock(&self.starts).forget(split);
        lock(&self.left).remove(&split.id);
        if let Some(sharing) = &self.sharing {
            sharing.checkpointed.forget(&split.name);
        }
        self.safe.remove(split.id);
        lock(&self.offsets).assigned(split.id);
    }

    /// Whether a partition that comes back to us ends before what we have read of it. With their topic,
    /// its brokers forget what was committed.
    fn is_anew(
        &self,
        consumer: &BaseConsumer<Self>,
        (topic, partition): (&str, i32),
        split: SplitId,
        committed: Option<u64>,
    ) -> bool {
        let left = lock(&self.left).get(&split).copied();
        let (Some(left), None) = (left, committed) else {
            return false;
        };
        let offsets = consumer.fetch_watermarks(topic, partition, OFFSETS_TIMEOUT);
        offsets.is_ok_and(|(_, end)| u64::try_from(end).is_ok_and(|end| end < left))
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
        let elements = list.elements();
        self.topics
            .learn(elements.iter().map(TopicPartitionListElem::topic));
        let mut untouched = Vec::new();
        for mut element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let Some(split) = self.topics.split(topic, partition) else {
                self.notice(Notice::Refused(format!(
                    "partition {topic}/{partition} cannot be numbered; at most 65536 a topic"
                )));
                continue;
            };
            if let Some(token) = self.topics.token(split.id) {
                self.position_tokens.add(&split.name, 0, &token);
            }
            self.safe.remove(split.id);
            lock(&self.offsets).assigned(split.id);
            let committed = committed
                .as_ref()
                .and_then(|list| list.find_partition(topic, partition));
            let offset = committed
                .as_ref()
                .and_then(|element| position(element.offset()));
            if self.is_anew(consumer, (topic, partition), split.id, offset) {
                self.made_anew(&split);
                self.notice(Notice::Assigned(split.clone(), None));
                self.notice(Notice::Anew(split.id));
                if let Err(error) = element.set_offset(Offset::Beginning) {
                    let message = format!("partition {split} cannot be read: {error}");
                    self.notice(Notice::Refused(message));
                }
                continue;
            }
            let start = match &self.sharing {
                None => lock(&self.starts).assigned(&split, offset),
                Some(sharing) => {
                    let text = committed.as_ref().map(|element| element.metadata());
                    let by = text.and_then(metadata::decode_instance);
                    sharing.start(&split.name, offset.map(|offset| (offset, by)))
                }
            };
            let Some(start) = start else {
                if committed.as_ref().is_some_and(|_| offset.is_none()) {
                    untouched.push((topic.to_owned(), partition));
                }
                let written = committed.and_then(|element| metadata::decode(element.metadata()));
                self.notice(Notice::Assigned(split, written));
                continue;
            };
            self.notice(Notice::Assigned(split.clone(), None));
            if self.sharing.is_some() {
                // What our checkpoint has is committed though nothing more is read: whoever gets the
                // partition after us goes on from there.
                lock(&self.offsets).read(split.id, start);
            }
            let start = self.look_for(consumer, topic, partition, split.clone(), start);
            let offset = i64::try_from(start).map_or(Offset::End, Offset::Offset);
            // The client reads from the offsets of the list once this callback has returned.
            if let Err(error) = element.set_offset(offset) {
                let message = format!("partition {split} cannot be read from {start}: {error}");
                self.notice(Notice::Refused(message));
            }
        }
        // A topic that a pattern finds later is new as a whole.
        let touched = list.count() > untouched.len();
        let has_begun = self.has_begun.fetch_or(list.count() > 0, Ordering::AcqRel) || touched;
        let begun = Begun {
            resume: &self.resume,
            new_topics: has_begun && self.topics.has_patterns(),
        };
        begin(consumer, self.beginning, begun, list, &untouched);
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
        let status = Status::read(&statistics, &self.topics, self.reading);
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
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let is_revocation = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS;
        if is_revocation && let Some(sharing) = &self.sharing {
            let elements = list.elements();
            let splits = elements
                .iter()
                .filter_map(|element| self.topics.id(element.topic(), element.partition()));
            if consumer.assignment_lost() {
                sharing.checkpointed.forbid();
                let names: Vec<_> = splits.filter_map(|split| self.topics.name(split)).collect();
                self.notice(Notice::Lost(names.join(", ")));
            } else if sharing.hands_over() {
                self.notice(Notice::Leaving(splits.collect()));
                return;
            }
        }
        if is_revocation {
            self.pre_rebalance(consumer, &Rebalance::Revoke(list));
            let_go(consumer, list);
        } else {
            self.pre_rebalance(consumer, &Rebalance::Assign(list));
            take_on(consumer, list);
        }
    }

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
