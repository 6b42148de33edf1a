//! What librdkafka tells us while it is polled: assignments, statistics, errors.

mod assigned;
mod commits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Statistics, TopicPartitionList};

use crate::model::{Split, SplitId, TimestampMs};

use super::super::{PositionTokens, Resume, SafePositions};
use super::beginning::Beginning;
use super::offsets::Offsets;
use super::sharing::{Sharing, let_go, take_on};
use super::start::Starts;
use super::status::{Reading, Status};
use super::tokens::Tokens;
use super::topics::Topics;
use super::trouble::Trouble;
use commits::Commits;

/// What librdkafka says of a topic that it cannot read, before its name and the reason.
const UNAVAILABLE: &str = "Subscribed topic not available: ";

/// Something that librdkafka told.
#[derive(Debug)]
pub(super) enum Notice {
    /// A partition is ours.
    Assigned {
        /// Which one.
        split: Split,
        /// Up to when windows were written with its events before.
        written: Option<TimestampMs>,
        /// From where it is read, where that is known.
        from: Option<u64>,
    },
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
    /// A topic of the pipeline file cannot be read.
    Unavailable(String, Trouble),
    /// Something that waiting does not mend.
    Refused(String),
    /// Something else that failed and will be tried again.
    Trouble(Trouble, String),
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
    /// The topics that were once told to be missing.
    appeared: Mutex<BTreeSet<String>>,
    offsets: Mutex<Offsets>,
    starts: Mutex<Starts>,
    /// How far the partitions were read that are not ours any more.
    left: Mutex<BTreeMap<SplitId, u64>>,
    notices: Mutex<VecDeque<Notice>>,
    has_notices: AtomicBool,
    commits: Commits,
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
            has_begun: AtomicBool::new(false),
            appeared: Mutex::default(),
            offsets: Mutex::default(),
            starts: Mutex::new(Starts::new(resume)),
            left: Mutex::default(),
            notices: Mutex::default(),
            has_notices: AtomicBool::new(false),
            commits: Commits::default(),
        }
    }

    /// Whether there are notices. It is asked for behind each record.
    pub(super) fn has_notices(&self) -> bool {
        self.has_notices.load(Ordering::Acquire)
    }

    /// The oldest notice.
    pub(super) fn next_notice(&self) -> Option<Notice> {
        if !self.has_notices() {
            return None;
        }
        let mut notices = lock(&self.notices);
        let notice = notices.pop_front();
        self.has_notices
            .store(!notices.is_empty(), Ordering::Release);
        notice
    }

    /// Something that waiting does not mend: reading ends.
    pub(super) fn refuse(&self, reason: String) {
        self.notice(Notice::Refused(reason));
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
        lock(&self.offsets).assigned(split.id, self.sharing.is_none());
    }

    /// A topic is gone for good: later checkpoints have nothing of it.
    pub(super) fn forget(&self, topic: &str) {
        self.position_tokens.forget_all(|split| {
            split
                .rsplit_once('/')
                .is_some_and(|(name, _)| name == topic)
        });
    }

    /// Other instances have partitions of ours and what was read of them.
    fn lost(&self, list: &TopicPartitionList) {
        let Some(sharing) = &self.sharing else {
            return;
        };
        sharing.checkpointed.forbid();
        let elements = list.elements();
        let names = elements
            .iter()
            .map(|element| format!("{}/{}", element.topic(), element.partition()));
        self.notice(Notice::Lost(names.collect::<Vec<_>>().join(", ")));
    }

    fn notice(&self, notice: Notice) {
        let mut notices = lock(&self.notices);
        notices.push_back(notice);
        self.has_notices.store(true, Ordering::Release);
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
            // Where others go on, this is the end: what was not committed by then is not confirmed.
            if self.sharing.is_none() {
                lock(&self.offsets).revoked(split);
            }
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
        let trouble = Trouble::of(code);
        self.notice(match code {
            // The statistics say it with the topic.
            Some(Code::PartitionEOF) => return,
            Some(Code::AllBrokersDown) => Notice::Disconnected(message),
            Some(Code::Fatal) => {
                // Most likely another one has our name in the group, and our partitions.
                if let Some(sharing) = &self.sharing {
                    sharing.checkpointed.forbid();
                }
                Notice::Refused(message)
            }
            // The next token may be a better one. A password stays the same until we start again.
            Some(Code::Authentication | Code::SaslAuthenticationFailed)
                if self.tokens.is_none() =>
            {
                Notice::Refused(message)
            }
            Some(Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                Notice::Refused(message)
            }
            _ => match unavailable(&message) {
                Some(topic) => {
                    if trouble == Trouble::MissingTopic {
                        lock(&self.appeared).insert(topic.to_owned());
                    }
                    Notice::Unavailable(topic.to_owned(), trouble)
                }
                None => Notice::Trouble(trouble, message),
            },
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
                self.lost(list);
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
                    self.commit_unanswered(consumer);
                }
                self.revoked(list);
            }
            Rebalance::Error(error) => {
                self.notice(Notice::Trouble(Trouble::Other, error.to_string()));
            }
        }
    }
}

/// The topic of which librdkafka says that it cannot be read.
fn unavailable(message: &str) -> Option<&str> {
    let (topic, _) = message.strip_prefix(UNAVAILABLE)?.split_once(": ")?;
    Some(topic)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_told_by_its_whole_name() {
        let message =
            "Subscribed topic not available: bus-events: Broker: Unknown topic or partition";
        assert_eq!(unavailable(message), Some("bus-events"));
        let message = "Fetch from broker 1 failed: Broker: Unknown topic or partition";
        assert_eq!(unavailable(message), None);
    }
}
