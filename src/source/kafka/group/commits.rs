//! What the cluster is told of our positions, and what it says to that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::super::super::Safe;
use super::super::metadata;
use super::super::offsets::{Due, Offsets};
use super::super::sharing::Sharing;
use super::super::trouble::Trouble;
use super::{Group, Notice, lock};
use crate::model::{SplitId, TimestampMs};

/// How commits are made.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// Held by whoever commits: of two at a time, the older one could come last.
    turn: Mutex<()>,
    /// Whether each topic is committed by itself. Of several, librdkafka does not say which ones the
    /// cluster has taken where it has refused one.
    one_by_one: AtomicBool,
}

impl Group {
    /// Notes that a record was read.
    pub(in super::super) fn read(&self, split: SplitId, offset: u64) {
        lock(&self.offsets).read(split, offset);
    }

    /// Commits what the pipeline has finished with and the cluster is not known to have, and waits for the
    /// answer: librdkafka tells nobody what comes of a commit that is not waited for. What has failed,
    /// as in the midst of a rebalance, is due again.
    ///
    /// # Errors
    /// There was a failure, which is noticed already. That of a topic is given only where there is no
    /// other.
    pub(in super::super) fn commit(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        let turn = lock(&self.commits.turn);
        let result = self.commit_in_turn(consumer);
        drop(turn);
        result
    }

    /// Commits all that was committed once more: a group that has thrown us out refuses it.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub(in super::super) fn commit_again(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        let turn = lock(&self.commits.turn);
        lock(&self.offsets).doubt();
        let result = self.commit_in_turn(consumer);
        drop(turn);
        result
    }

    /// Commits for partitions that go at once, within a callback, where there is no time for an answer. Where
    /// others go on from a checkpoint nothing is: no one would hear that they do, and our next run would go on
    /// from the one before.
    pub(super) fn commit_unanswered(&self, consumer: &BaseConsumer<Self>) {
        if self.sharing.is_none() {
            self.try_commit(consumer, CommitMode::Async).ok();
        }
    }

    fn commit_in_turn(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        let were_together = !self.is_one_by_one();
        let result = self.try_commit(consumer, CommitMode::Sync);
        // That a topic is refused does not say whether we are still a member: the others show it.
        match were_together && self.is_one_by_one() {
            true => self.try_commit(consumer, CommitMode::Sync),
            false => result,
        }
    }

    fn is_one_by_one(&self) -> bool {
        self.commits.one_by_one.load(Ordering::Acquire)
    }

    fn try_commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) -> KafkaResult<()> {
        let is_one_by_one = self.is_one_by_one();
        let mut lists = BTreeMap::<_, (TopicPartitionList, Vec<_>)>::new();
        for (split, due) in self.due() {
            let Some((topic, partition)) = self.topics.partition(split) else {
                continue;
            };
            let Ok(offset) = i64::try_from(due.safe.position) else {
                continue;
            };
            let key = is_one_by_one.then(|| topic.clone());
            let (list, dues) = lists.entry(key).or_default();
            let added = list.add_partition_offset(&topic, partition, Offset::Offset(offset));
            if let Err(error) = added {
                tracing::warn!(%error, %topic, partition, offset, "an offset cannot be committed");
                continue;
            }
            if let Some(mut element) = list.find_partition(&topic, partition) {
                element.set_metadata(match &self.sharing {
                    None => metadata::encode(due.safe.written),
                    Some(sharing) => metadata::encode_instance(&sharing.instance, due.from),
                });
            }
            dues.push((split, due));
        }
        let mut result = Ok(());
        for (list, dues) in lists.values() {
            match (consumer.commit(list, mode), mode) {
                (Ok(()), CommitMode::Sync) => {
                    let mut offsets = lock(&self.offsets);
                    for (split, due) in dues {
                        offsets.committed(*split, *due);
                    }
                }
                (Ok(()), CommitMode::Async) => {}
                (Err(error), _) => {
                    self.are_refused(&error, list, dues);
                    if result.is_ok() || !is_of_topic(error.rdkafka_error_code()) {
                        result = Err(error);
                    }
                }
            }
        }
        result
    }

    /// The cluster does not take these offsets. They are due again.
    fn are_refused(&self, error: &KafkaError, list: &TopicPartitionList, dues: &[(SplitId, Due)]) {
        let code = error.rdkafka_error_code();
        let elements = list.elements();
        let topics: BTreeSet<_> = elements.iter().map(|element| element.topic()).collect();
        let names: Vec<_> = topics.iter().copied().collect();
        let message = format!(
            "the offsets of {} are not committed, which is tried again: {error}",
            names.join(", ")
        );
        self.notice(Notice::Trouble(Trouble::of(code), message));
        match code {
            // Where a rebalance is under way, a commit may be refused for other reasons.
            Some(Code::UnknownMemberId | Code::FencedInstanceId) => self.lost(list),
            code if !is_of_topic(code) => {}
            _ if topics.len() > 1 => self.commits.one_by_one.store(true, Ordering::Release),
            _ => {
                let mut offsets = lock(&self.offsets);
                for (split, due) in dues {
                    offsets.refused(*split, *due);
                }
            }
        }
    }

    /// Confirms the latest checkpoint, where the cluster has what it has.
    pub(in super::super) fn confirm(&self) {
        let Some(sharing) = &self.sharing else {
            return;
        };
        let checkpointed = &sharing.checkpointed;
        if !checkpointed.is_unconfirmed() {
            return;
        }
        // Before the positions, which may be those of a later one.
        let generation = checkpointed.generation();
        let offsets = lock(&self.offsets);
        let positions = self.checkpointed(&offsets, sharing);
        if !offsets.has_committed(&positions) {
            return;
        }
        drop(offsets);
        if let Err(error) = checkpointed.confirm(generation) {
            let message = format!("it cannot be noted that a checkpoint is committed: {error}");
            self.notice(Notice::Trouble(Trouble::Other, message));
        }
        if !checkpointed.is_unconfirmed() {
            lock(&self.offsets).confirmed(&positions);
        }
    }

    /// Whether the cluster is known to have what the latest checkpoint has.
    pub(in super::super) fn has_latest_checkpoint(&self) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| {
            let offsets = lock(&self.offsets);
            offsets.has_committed(&self.checkpointed(&offsets, sharing))
        })
    }

    /// What is to be committed: what was written, or, where others may go on from there, what the last
    /// checkpoint has.
    fn due(&self) -> Vec<(SplitId, Due)> {
        let mut offsets = lock(&self.offsets);
        let Some(sharing) = &self.sharing else {
            return offsets.due(&self.safe.all());
        };
        if sharing.checkpointed.is_forbidden() {
            return Vec::new();
        }
        let positions = self.checkpointed(&offsets, sharing);
        offsets.due(&positions)
    }

    /// What the latest checkpoint has of our partitions.
    fn checkpointed(&self, offsets: &Offsets, sharing: &Sharing) -> BTreeMap<SplitId, Safe> {
        let positions = offsets.splits().filter_map(|split| {
            let name = self.topics.name(split)?;
            let position = sharing.checkpointed.position(&name)?;
            let written = TimestampMs::MIN;
            Some((split, Safe { position, written }))
        });
        positions.collect()
    }
}

/// Whether a commit has failed because of a topic, which nobody may read or which is gone.
fn is_of_topic(code: Option<Code>) -> bool {
    matches!(
        code,
        Some(Code::TopicAuthorizationFailed | Code::UnknownTopicOrPartition | Code::UnknownTopic)
    )
}
