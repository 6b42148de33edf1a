//! Where a group begins that has read nothing of a partition yet.
//!
//! With `start: latest` or a timestamp, the offset is looked up once, and committed before anything
//! is read. So a crash right after the first start, or many of them, lose nothing; and it is known
//! which partitions there were then: those that were added later are read from their beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use crate::model::TimestampMs;

use super::super::Resume;
use super::super::config::{StartPosition, StartTime};
use super::group::Group;
use super::metadata;

/// How long the cluster may take for each answer.
const TIMEOUT: Duration = Duration::from_secs(10);

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
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun<'a> {
    /// What the state has.
    pub(super) resume: &'a Resume,
    /// Whether a topic of which the group knows nothing was not there when it began.
    pub(super) new_topics: bool,
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
/// the group nor the state has one, and commits them.
pub(super) fn begin(
    consumer: &BaseConsumer<Group>,
    beginning: Beginning,
    begun: Begun<'_>,
    assignment: &TopicPartitionList,
    untouched: &[(String, i32)],
) {
    if beginning == Beginning::Earliest {
        return;
    }
    let mut topics: BTreeMap<&str, Topic> = BTreeMap::new();
    let mut commit = TopicPartitionList::new();
    for (name, partition) in untouched {
        let offset = try_begin(consumer, beginning, begun, &mut topics, name, *partition);
        let started = offset.and_then(|offset| {
            let Some(offset) = offset else { return Ok(()) };
            let partitions = topics
                .get(name.as_str())
                .map_or(0, |topic| topic.partitions);
            let Some(mut element) = assignment.find_partition(name, *partition) else {
                return Ok(());
            };
            element.set_offset(offset)?;
            commit.add_partition_offset(name, *partition, offset)?;
            if let Some(mut element) = commit.find_partition(name, *partition) {
                element.set_metadata(metadata::encode_beginning(partitions));
            }
            Ok(())
        });
        if let Err(error) = started {
            tracing::warn!(
                %error,
                topic = %name,
                partition,
                "it is not known where to begin; the partition is read from its beginning"
            );
        }
    }
    if commit.count() == 0 {
        return;
    }
    if let Err(error) = consumer.commit(&commit, CommitMode::Sync) {
        tracing::warn!(%error, "where reading begins is not committed; a crash may begin later");
    }
}

/// The offset; none where the partition is new, and read from its beginning.
fn try_begin<'a>(
    consumer: &BaseConsumer<Group>,
    beginning: Beginning,
    begun: Begun<'_>,
    topics: &mut BTreeMap<&'a str, Topic>,
    name: &'a str,
    partition: i32,
) -> KafkaResult<Option<Offset>> {
    if !topics.contains_key(name) {
        topics.insert(name, look_at(consumer, begun, name)?);
    }
    if topics
        .get(name)
        .is_some_and(|topic| topic.is_new(partition))
    {
        tracing::info!(
            topic = name,
            partition,
            "a new partition is read from its beginning"
        );
        return Ok(None);
    }
    if let Beginning::Timestamp(time) = beginning {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, partition, Offset::Offset(time))?;
        let found = consumer.offsets_for_times(list, TIMEOUT)?;
        if let Some(element) = found.find_partition(name, partition) {
            element.error()?;
            // There is no number where all records are older.
            if let Offset::Offset(offset) = element.offset() {
                return Ok(Some(Offset::Offset(offset)));
            }
        }
    }
    let (_, end) = consumer.fetch_watermarks(name, partition, TIMEOUT)?;
    Ok(Some(Offset::Offset(end)))
}

fn look_at(consumer: &BaseConsumer<Group>, begun: Begun<'_>, name: &str) -> KafkaResult<Topic> {
    let metadata = consumer.fetch_metadata(Some(name), TIMEOUT)?;
    let partitions = metadata
        .topics()
        .iter()
        .map(|topic| topic.partitions().len());
    let partitions = i32::try_from(partitions.sum::<usize>()).unwrap_or(i32::MAX);
    let mut list = TopicPartitionList::new();
    let mut topic = Topic {
        partitions,
        went_on: begun.new_topics,
        ..Topic::default()
    };
    for partition in 0..partitions {
        list.add_partition(name, partition);
        topic.went_on |= begun
            .resume
            .position(&format!("{name}/{partition}"))
            .is_some();
    }
    let committed: Result<_, KafkaError> = consumer.committed_offsets(list, TIMEOUT);
    for element in committed?.elements() {
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
