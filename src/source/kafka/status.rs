//! What librdkafka's statistics say about our partitions.
//!
//! The end-of-partition events name no topic in rdkafka, so with several topics they would be
//! ambiguous; the statistics, once a second, are not.

use rdkafka::Statistics;
use rdkafka::statistics::{Broker, Partition};

use crate::model::SplitId;

use super::topics::Topics;

/// How the statistics are to be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// How long a broker may say nothing until it is taken for unreachable, microseconds.
    pub(super) silence_limit_us: i64,
    /// Whether records of open transactions are not for us yet.
    pub(super) committed_only: bool,
}

/// How the connection and the partitions stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Whether any broker is connected.
    pub(super) connected: bool,
    /// The partitions of our topics that librdkafka knows, in no particular order.
    pub(super) partitions: Vec<PartitionStatus>,
}

/// How a partition stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartitionStatus {
    /// Its split.
    pub(super) split: SplitId,
    /// Whether its broker answers and everything up to its end has been fetched.
    pub(super) caught_up: bool,
    /// The first offset that the broker has.
    pub(super) first: Option<u64>,
    /// The next offset to fetch.
    pub(super) next: Option<u64>,
    /// The offset behind the last record that we may read.
    pub(super) end: Option<u64>,
}

impl Status {
    /// Reads the statistics.
    pub(super) fn read(statistics: &Statistics, topics: &Topics, reading: Reading) -> Self {
        let connected = statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP");
        let mut partitions = Vec::new();
        for (topic, topic_statistics) in &statistics.topics {
            for partition in topic_statistics.partitions.values() {
                let Some(split) = topics.id(topic, partition.partition) else {
                    continue;
                };
                let mut brokers = statistics.brokers.values();
                let broker = brokers.find(|broker| broker.nodeid == partition.broker);
                let answers =
                    broker.is_some_and(|broker| answers(broker, reading.silence_limit_us));
                partitions.push(PartitionStatus {
                    split,
                    caught_up: answers && at_end(partition),
                    first: offset(partition.lo_offset),
                    next: offset(partition.next_offset),
                    // Where the broker has no transactions there is only the other end.
                    end: offset(partition.ls_offset)
                        .filter(|_| reading.committed_only)
                        .or_else(|| offset(partition.hi_offset)),
                });
            }
        }
        Self {
            connected,
            partitions,
        }
    }
}

fn answers(broker: &Broker, silence_limit_us: i64) -> bool {
    broker.state == "UP" && (0..silence_limit_us).contains(&broker.rxidle)
}

/// librdkafka notes the offset of each end that it reports, and is beyond it as soon as it has
/// fetched more.
fn at_end(partition: &Partition) -> bool {
    partition.fetch_state == "active"
        && partition.eof_offset >= 0
        && partition.eof_offset == partition.next_offset
}

/// Negative numbers are librdkafka's way to say that it does not know.
fn offset(offset: i64) -> Option<u64> {
    u64::try_from(offset).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rdkafka::statistics::Topic;

    use crate::source::Resume;

    use super::*;

    fn statistics(state: &str, rxidle: i64, next_offset: i64, eof_offset: i64) -> Statistics {
        let broker = |nodeid, state: &str| Broker {
            nodeid,
            state: state.to_owned(),
            rxidle,
            ..Broker::default()
        };
        let partition = |partition| Partition {
            partition,
            broker: 1,
            fetch_state: "active".to_owned(),
            next_offset,
            eof_offset,
            lo_offset: 30,
            hi_offset: 100,
            ls_offset: -1001,
            ..Partition::default()
        };
        let topic = Topic {
            partitions: HashMap::from([(-1, partition(-1)), (2, partition(2))]),
            ..Topic::default()
        };
        Statistics {
            brokers: HashMap::from([
                ("bootstrap".to_owned(), broker(-1, "DOWN")),
                ("leader".to_owned(), broker(1, state)),
            ]),
            topics: HashMap::from([("events".to_owned(), topic)]),
            ..Statistics::default()
        }
    }

    fn status(state: &str, rxidle: i64, next_offset: i64, eof_offset: i64) -> Status {
        let topics = Topics::new(&["events".to_owned()], &Resume::default());
        Status::read(
            &statistics(state, rxidle, next_offset, eof_offset),
            &topics,
            Reading {
                silence_limit_us: 5_000_000,
                committed_only: true,
            },
        )
    }

    #[test]
    fn a_partition_is_caught_up_when_its_broker_answers_and_its_end_was_reported() {
        let partition = |next, caught_up| PartitionStatus {
            split: SplitId(2),
            caught_up,
            first: Some(30),
            next,
            end: Some(100),
        };
        for (state, rxidle, next, eof, connected, expected) in [
            ("UP", 10, 100, 100, true, partition(Some(100), true)),
            ("UP", 10, 101, 100, true, partition(Some(101), false)),
            ("UP", 10, -1001, -1001, true, partition(None, false)),
            ("UP", 5_000_000, 100, 100, true, partition(Some(100), false)),
            ("UP", -1, 100, 100, true, partition(Some(100), false)),
            ("DOWN", 10, 100, 100, false, partition(Some(100), false)),
        ] {
            let expected = Status {
                connected,
                partitions: vec![expected],
            };
            assert_eq!(
                status(state, rxidle, next, eof),
                expected,
                "{state} {rxidle} {next} {eof}"
            );
        }
    }

    #[test]
    fn the_end_is_that_of_the_records_that_are_read() {
        let topics = Topics::new(&["events".to_owned()], &Resume::default());
        let mut statistics = statistics("UP", 10, 100, 100);
        let ends = |statistics: &Statistics| {
            [true, false].map(|committed_only| {
                let reading = Reading {
                    silence_limit_us: 0,
                    committed_only,
                };
                Status::read(statistics, &topics, reading).partitions[0].end
            })
        };
        assert_eq!(ends(&statistics), [Some(100); 2]);
        for topic in statistics.topics.values_mut() {
            for partition in topic.partitions.values_mut() {
                partition.ls_offset = 90;
            }
        }
        assert_eq!(ends(&statistics), [Some(90), Some(100)]);
    }
}
