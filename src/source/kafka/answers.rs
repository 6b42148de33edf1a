//! What the cluster is asked within a callback, where nothing is polled meanwhile: a few requests for all
//! partitions together, each with an end to the waiting.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::group::Group;

/// How long the cluster may take for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// For how long it is asked again. With an answer more that is far from `max.poll.interval.ms` (five
/// minutes).
const PATIENCE: Duration = Duration::from_secs(30);

/// The wait before it is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks until there is an answer: a guess instead of one would count events twice, or lose them.
///
/// # Errors
/// The last one, where there is no answer for too long.
pub(super) fn insist<T>(mut ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(error) if Instant::now() < deadline => {
                tracing::debug!(%error, "the kafka cluster is asked again");
                thread::sleep(PAUSE);
            }
            answer => return answer,
        }
    }
}

/// What the group has committed of each partition of a list.
///
/// # Errors
/// There is no answer, or none for one of them.
pub(super) fn committed(
    consumer: &BaseConsumer<Group>,
    list: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    if list.count() == 0 {
        return Ok(TopicPartitionList::new());
    }
    let committed = consumer.committed_offsets(list.clone(), ANSWER)?;
    for element in committed.elements() {
        element.error()?;
    }
    Ok(committed)
}

/// The first offset that partitions have, and the one behind their last, by topic and partition; those
/// that are not known are left out.
pub(super) type Watermarks = BTreeMap<(String, i32), (u64, u64)>;

/// Asks each leader for all of its partitions at once.
///
/// # Errors
/// A leader does not answer in time.
pub(super) fn watermarks(
    consumer: &BaseConsumer<Group>,
    partitions: &[(&str, i32)],
    timeout: Duration,
) -> KafkaResult<Watermarks> {
    if partitions.is_empty() {
        return Ok(Watermarks::new());
    }
    let first = offsets_at(consumer, partitions, Offset::Beginning, timeout)?;
    let end = offsets_at(consumer, partitions, Offset::End, timeout)?;
    let both = partitions.iter().filter_map(|(topic, partition)| {
        let of = |list: &TopicPartitionList| {
            let element = list.find_partition(topic, *partition)?;
            element.error().ok()?;
            position(element.offset())
        };
        Some((((*topic).to_owned(), *partition), (of(&first)?, of(&end)?)))
    });
    Ok(both.collect())
}

/// The offsets of partitions at a place: their beginning, their end, or a time in ms since the epoch.
///
/// # Errors
/// A leader does not answer in time.
pub(super) fn offsets_at(
    consumer: &BaseConsumer<Group>,
    partitions: &[(&str, i32)],
    place: Offset,
    timeout: Duration,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition_offset(topic, *partition, place)?;
    }
    consumer.offsets_for_times(list, timeout)
}

/// The position of an offset that is a number.
pub(super) fn position(offset: Offset) -> Option<u64> {
    offset
        .to_raw()
        .and_then(|offset| u64::try_from(offset).ok())
}
