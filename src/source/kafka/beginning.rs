//! Where a group begins that has read nothing of a partition yet.
//!
//! With `start: latest` or a timestamp, the offset is looked up once, and committed before anything
//! is read. So a crash right after the first start, or many of them, lose nothing; and it is known
//! which partitions there were then: those that were added later are read from their beginning.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use crate::model::TimestampMs;

use super::super::Resume;
use super::super::config::{StartPosition, StartTime};
use super::answers::{ANSWER, committed, insist, offsets_at};
use super::group::Group;
use super::metadata;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// With the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// With the first record of this time or later, ms since the epoch.
    Timestamp(TimestampMs),
}

impl Beginning {
    /// What a valid configuration says; otherwise why it is none.
    ///
    /// # Errors
    /// The time is none.
    pub(super) fn new(start: &StartPosition) -> Result<Self, String> {
        match start {
            StartPosition::Earliest => Ok(Self::Earliest),
            StartPosition::Latest => Ok(Self::Latest),
            StartPosition::Timestamp(StartTime { timestamp: text }) => {
                match text.parse::<jiff::Timestamp>() {
                    Ok(time) => Ok(Self::Timestamp(time.as_millisecond())),
                    Err(_) => Err(format!("start: '{text}' is not a time")),
                }
            }
        }
    }
}

/// What there was before.
#[derive(Clone, Copy)]
pub(super) struct Begun<'a> {
    /// What the state has.
    pub(super) resume: &'a Resume,
    /// Whether a topic of which the group knows nothing was not there when it began.
    pub(super) is_new_topic: &'a dyn Fn(&str) -> bool,
}

/// What is known of a topic that a group may have begun with.
#[derive(Debug, Default)]
struct Topic {
    partitions: i32,
    /// How many partitions it had when the group began with it, as far as that is noted.
    began_with: Option<i32>,
    /// Whether the group has gone on since then, or a state has.
    went_on: bool,
}

impl Topic {
    /// Whether a partition that nothing is committed for was not there when the group began.
    fn is_new(&self, partition: i32) -> bool {
        match self.began_with {
            Some(partitions) => partition >= partitions,
            None => self.went_on,
        }
    }
}

/// Sets the offsets of those partitions of a new assignment that are in `untouched`, where neither
/// the group nor the state has one, and commits them. What is new keeps none, and is read from its
/// beginning. Gives the topics that we may see and not read: nothing is committed of those.
///
/// # Errors
/// The cluster does not say it, or does not take the commit: without it, a crash would begin later.
pub(super) fn begin(
    consumer: &BaseConsumer<Group>,
    beginning: Beginning,
    begun: Begun<'_>,
    assignment: &TopicPartitionList,
    untouched: &[(String, i32)],
) -> KafkaResult<Vec<String>> {
    let mut topics: BTreeMap<&str, Topic> = BTreeMap::new();
    let mut there = Vec::new();
    for (name, partition) in untouched {
        let topic = match topics.get(name.as_str()) {
            Some(topic) => topic,
            None => {
                let topic = insist(|| look_at(consumer, begun, name))?;
                topics.entry(name).or_insert(topic)
            }
        };
        if topic.is_new(*partition) {
            tracing::info!(
                topic = name,
                partition,
                "a new partition is read from its beginning"
            );
        } else {
            there.push((name.as_str(), *partition, topic.partitions));
        }
    }
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let partitions: Vec<_> = there
        .iter()
        .map(|(name, number, _)| (*name, *number))
        .collect();
    let offsets = insist(|| look_up(consumer, beginning, &partitions))?;
    let mut all = TopicPartitionList::new();
    let mut by_topic = BTreeMap::<_, TopicPartitionList>::new();
    for ((name, partition, partitions), offset) in there.into_iter().zip(offsets) {
        if let Some(mut element) = assignment.find_partition(name, partition) {
            element.set_offset(offset)?;
        }
        let topic = by_topic.entry(name).or_default();
        for list in [&mut all, topic] {
            list.add_partition_offset(name, partition, offset)?;
            if let Some(mut element) = list.find_partition(name, partition) {
                element.set_metadata(metadata::encode_beginning(partitions));
            }
        }
    }
    if may_commit(consumer, &all)? {
        return Ok(Vec::new());
    }
    // Of several topics, librdkafka does not say which ones are refused.
    let mut refused = Vec::new();
    for (name, list) in by_topic {
        if !may_commit(consumer, &list)? {
            refused.push(name.to_owned());
        }
    }
    Ok(refused)
}

/// Commits; whether we may read all of the topics.
fn may_commit(consumer: &BaseConsumer<Group>, list: &TopicPartitionList) -> KafkaResult<bool> {
    insist(|| match consumer.commit(list, CommitMode::Sync) {
        Err(error) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
            Ok(false)
        }
        committed => committed.map(|()| true),
    })
}

/// The offsets at which these partitions begin.
fn look_up(
    consumer: &BaseConsumer<Group>,
    beginning: Beginning,
    partitions: &[(&str, i32)],
) -> KafkaResult<Vec<Offset>> {
    // The ends first: a record that is written between the two answers is behind them.
    let ends = offsets_at(consumer, partitions, Offset::End, ANSWER)?;
    let found = match beginning {
        Beginning::Timestamp(time) => Some(offsets_at(
            consumer,
            partitions,
            Offset::Offset(time),
            ANSWER,
        )?),
        _ => None,
    };
    let offset = |list: &TopicPartitionList, name: &str, partition| {
        let element = list.find_partition(name, partition);
        let element = element.ok_or(KafkaError::MetadataFetch(Code::UnknownPartition))?;
        element.error()?;
        KafkaResult::Ok(element.offset())
    };
    let mut offsets = Vec::new();
    for (name, partition) in partitions {
        let end = offset(&ends, name, *partition)?;
        let found = match &found {
            Some(found) => offset(found, name, *partition)?,
            None => end,
        };
        // There is no number where all records are older.
        offsets.push(match (found, end) {
            (Offset::Offset(_), _) => found,
            (_, Offset::Offset(_)) => end,
            _ => return Err(KafkaError::MetadataFetch(Code::NoOffset)),
        });
    }
    Ok(offsets)
}

fn look_at(consumer: &BaseConsumer<Group>, begun: Begun<'_>, name: &str) -> KafkaResult<Topic> {
    let metadata = consumer.fetch_metadata(Some(name), ANSWER)?;
    let mut partitions = 0;
    for topic in metadata.topics() {
        if let Some(error) = topic.error() {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        partitions += topic.partitions().len();
    }
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    let mut list = TopicPartitionList::new();
    let mut topic = Topic {
        partitions,
        went_on: (begun.is_new_topic)(name),
        ..Topic::default()
    };
    for partition in 0..partitions {
        list.add_partition(name, partition);
        topic.went_on |= begun
            .resume
            .position(&format!("{name}/{partition}"))
            .is_some();
    }
    for element in committed(consumer, &list)?.elements() {
        if !matches!(element.offset(), Offset::Offset(_)) {
            continue;
        }
        match metadata::decode_beginning(element.metadata()) {
            Some(began_with) => {
                topic.began_with = Some(topic.began_with.map_or(began_with, |b| b.min(began_with)));
            }
            None => topic.went_on = true,
        }
    }
    Ok(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_new_that_was_added_after_the_group_began() {
        let topic = |began_with, went_on| Topic {
            partitions: 4,
            began_with,
            went_on,
        };
        for (topic, expected) in [
            (topic(None, false), [false; 4]),
            (topic(None, true), [true; 4]),
            (topic(Some(2), false), [false, false, true, true]),
            (topic(Some(2), true), [false, false, true, true]),
        ] {
            let new = [0, 1, 2, 3].map(|partition| topic.is_new(partition));
            assert_eq!(new, expected, "{topic:?}");
        }
    }

    #[test]
    fn times_are_read() {
        let at = |text: &str| {
            let timestamp = text.to_owned();
            Beginning::new(&StartPosition::Timestamp(StartTime { timestamp }))
        };
        assert_eq!(
            at("1970-01-01T01:00:01.5+01:00"),
            Ok(Beginning::Timestamp(1_500))
        );
        assert_eq!(at("noon"), Err("start: 'noon' is not a time".to_owned()));
    }
}
