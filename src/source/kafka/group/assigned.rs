//! Partitions that become ours, and from where they are read.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::super::answers::{ANSWER, Watermarks, committed, insist, position, watermarks};
use super::super::beginning::{Beginning, Begun, begin};
use super::super::metadata;
use super::super::start::{Known, Place};
use super::super::trouble::Trouble;
use super::{Group, Notice, lock};
use crate::model::{Split, TimestampMs};

/// How long the leaders of partitions may take to say which offsets these have. Without an answer the
/// first records show whether what was wanted is still there.
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(5);

/// What Kafka keeps for itself begins with this.
const INTERNAL: &str = "__";

/// A partition that becomes ours.
struct Taken {
    split: Split,
    topic: String,
    partition: i32,
    known: Known,
    /// Up to when windows were written with its events, where no state says it.
    written: Option<TimestampMs>,
}

impl Group {
    /// Partitions are ours from now on: sets in the list from where they are read.
    pub(super) fn assigned(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        if let Err(error) = self.try_assigned(consumer, list) {
            // With a guess events would count twice, or never.
            self.notice(Notice::Refused(format!(
                "it cannot be found out from where partitions are to be read: {error}"
            )));
        }
    }

    fn try_assigned(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let committed = insist(|| committed(consumer, list))?;
        let mut taken = self.take(list, &committed);
        self.look_at_offsets(consumer, &mut taken);
        let mut untouched = Vec::new();
        for partition in &taken {
            let Some(place) = self.place(partition) else {
                untouched.push((partition.topic.clone(), partition.partition));
                continue;
            };
            // The client reads from the offsets of the list once this callback has returned.
            let element = list.find_partition(&partition.topic, partition.partition);
            let set = element.map_or(Ok(()), |mut element| element.set_offset(place));
            if let Err(error) = set {
                let message = format!("partition {} cannot be read: {error}", partition.split);
                self.notice(Notice::Refused(message));
            }
        }
        let is_touched = untouched.len() < taken.len();
        let had_partitions = self.has_begun.fetch_or(!taken.is_empty(), Ordering::AcqRel);
        if self.beginning == Beginning::Earliest || untouched.is_empty() {
            return Ok(());
        }
        let is_later = had_partitions
            || self.topics.has_patterns()
                && (is_touched
                    || !self.resume.is_empty()
                    || insist(|| has_committed(consumer, &untouched))?);
        let appeared = lock(&self.appeared).clone();
        let is_new_topic = |topic: &str| is_later || appeared.contains(topic);
        let begun = Begun {
            resume: &self.resume,
            is_new_topic: &is_new_topic,
        };
        for topic in begin(consumer, self.beginning, begun, list, &untouched)? {
            self.notice(Notice::Unavailable(topic, Trouble::Authorization));
        }
        Ok(())
    }

    /// Numbers the partitions, and gathers what the state and the group know of them.
    fn take(&self, list: &TopicPartitionList, committed: &TopicPartitionList) -> Vec<Taken> {
        let elements = list.elements();
        self.topics
            .learn(elements.iter().map(|element| element.topic()));
        let mut taken = Vec::new();
        for element in elements {
            let (topic, partition) = (element.topic(), element.partition());
            let Some(split) = self.topics.split(topic, partition) else {
                self.notice(Notice::Refused(self.topics.bound(topic, partition)));
                continue;
            };
            if let Some(token) = self.topics.token(split.id) {
                self.position_tokens.add(&split.name, 0, &token);
            }
            self.safe.remove(split.id);
            let committed = committed.find_partition(topic, partition);
            let text = committed.as_ref().map(|element| element.metadata());
            let offset = committed
                .as_ref()
                .and_then(|element| position(element.offset()));
            let (start, is_known) = match &self.sharing {
                None => (lock(&self.starts).assigned(&split, offset), true),
                Some(sharing) => {
                    let by = text.and_then(metadata::decode_instance);
                    let start = sharing.start(&split.name, offset.map(|offset| (offset, by)));
                    let position = sharing.checkpointed.position(&split.name);
                    (start, start.is_some() && start == position)
                }
            };
            lock(&self.offsets).assigned(split.id, is_known);
            let written = text.filter(|_| start.is_none());
            taken.push(Taken {
                topic: topic.to_owned(),
                partition,
                known: Known {
                    start,
                    committed: offset,
                    left: lock(&self.left).get(&split.id).copied(),
                    offsets: None,
                },
                written: written.and_then(metadata::decode),
                split,
            });
        }
        taken
    }

    /// Asks for the offsets that there are, where something is to be found among them.
    fn look_at_offsets(&self, consumer: &BaseConsumer<Self>, taken: &mut [Taken]) {
        let known = |taken: &&Taken| {
            let Known {
                start,
                committed,
                left,
                ..
            } = taken.known;
            start.or(committed).or(left).is_some()
        };
        let partitions = taken.iter().filter(known);
        let partitions: Vec<_> = partitions
            .map(|taken| (&*taken.topic, taken.partition))
            .collect();
        let found = watermarks(consumer, &partitions, OFFSETS_TIMEOUT).unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known which offsets the partitions have");
            Watermarks::new()
        });
        for partition in taken {
            let key = (partition.topic.clone(), partition.partition);
            partition.known.offsets = found.get(&key).copied();
        }
    }

    /// Tells from where a partition is read; none where nobody knows of it.
    fn place(&self, partition: &Taken) -> Option<Offset> {
        let Taken { split, known, .. } = partition;
        let assigned = |from| Notice::Assigned {
            split: split.clone(),
            written: partition.written,
            from,
        };
        let at = |from: u64| Some(i64::try_from(from).map_or(Offset::End, Offset::Offset));
        if let Some(start) = known.start.filter(|_| self.sharing.is_some()) {
            // What our checkpoint has is committed though nothing more is read: whoever gets the
            // partition after us goes on from there.
            lock(&self.offsets).read(split.id, start);
        }
        match known.place() {
            Place::Untouched => {
                self.notice(assigned(None));
                None
            }
            Place::At(from) => {
                self.notice(assigned(Some(from)));
                at(from)
            }
            Place::Lost { wanted, first } => {
                self.notice(assigned(Some(first)));
                self.notice(Notice::PositionLost {
                    split: split.clone(),
                    wanted,
                    first,
                });
                at(first)
            }
            Place::Anew => {
                self.made_anew(split);
                self.notice(assigned(None));
                self.notice(Notice::Anew(split.id));
                Some(Offset::Beginning)
            }
            Place::Foreign { wanted, end } => {
                self.notice(assigned(Some(wanted)));
                self.notice(Notice::Refused(format!(
                    "partition {split} ends at offset {end}, the state has read up to {wanted}: \
                     the topic was made anew; start fresh or from another savepoint"
                )));
                at(wanted)
            }
        }
    }
}

/// Whether the group has committed anything of another topic than those of these partitions: then it has
/// begun before they were there.
fn has_committed(consumer: &BaseConsumer<Group>, untouched: &[(String, i32)]) -> KafkaResult<bool> {
    let untouched: BTreeSet<_> = untouched.iter().map(|(topic, _)| topic.as_str()).collect();
    let metadata = consumer.fetch_metadata(None, ANSWER)?;
    let mut list = TopicPartitionList::new();
    for topic in metadata.topics() {
        if untouched.contains(topic.name()) || topic.name().starts_with(INTERNAL) {
            continue;
        }
        for partition in topic.partitions() {
            list.add_partition(topic.name(), partition.id());
        }
    }
    if list.count() == 0 {
        return Ok(false);
    }
    // Of a topic that we may not see nothing is known, and nothing was committed by us.
    let committed = consumer.committed_offsets(list, ANSWER)?;
    let elements = committed.elements();
    Ok(elements
        .iter()
        .any(|element| position(element.offset()).is_some()))
}
