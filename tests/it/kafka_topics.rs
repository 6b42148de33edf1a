//! Topics that appear, vanish and come again while they are read.

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::json;
use weir::source::Config;

use crate::support::kafka::Kafka;
use crate::support::source::{Positioned, RunningSource};

/// A source that looks for topics all the time.
fn source(kafka: &Kafka, topics: &[&str], group: &str, start: &str) -> Result<Config> {
    Ok(serde_json::from_value(json!({ "kafka": {
        "brokers": kafka.address(),
        "topics": topics,
        "group": group,
        "start": start,
        "properties": {
            "topic.metadata.refresh.interval.ms": "200",
            "topic.metadata.propagation.max.ms": "0",
        },
    } }))?)
}

fn texts(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|number| format!("event {number}")).collect()
}

fn positioned(from: u64, to: u64) -> Vec<Positioned> {
    (from..to).zip(texts(from, to)).collect()
}

#[test]
fn topics_that_a_pattern_finds_later_are_read_from_their_beginning() -> Result<()> {
    let kafka = Kafka::shared()?;
    for topic in ["scooter-uk", "scooter-alarms", "hidden-scooter-uk"] {
        kafka.create_topic(topic, 1)?;
        kafka.produce(topic, 0, &texts(0, 3))?;
    }
    let topics = ["^scooter-.{2}$", "scooter-alarms"];
    let config = source(kafka, &topics, "scooters", "latest")?;
    let running = RunningSource::start(&config, &[], None)?;
    running.await_idle()?;
    running.await_idle()?;
    kafka.create_topic("scooter-de", 1)?;
    kafka.produce("scooter-de", 0, &texts(0, 3))?;
    assert_eq!(running.take(3)?, positioned(0, 3), "it is new");
    for topic in ["hidden-scooter-uk", "scooter-uk"] {
        kafka.produce(topic, 0, &texts(3, 5))?;
    }
    assert_eq!(running.take(2)?, positioned(3, 5));
    running.stop()?;
    // Also one that has appeared while nobody was there.
    kafka.create_topic("scooter-at", 1)?;
    kafka.produce("scooter-at", 0, &texts(0, 2))?;
    let positions = [
        ("scooter-uk/0", 5),
        ("scooter-de/0", 3),
        ("scooter-alarms/0", 3),
    ];
    let running = RunningSource::start(&config, &positions, None)?;
    assert_eq!(running.take(2)?, positioned(0, 2));
    running.stop()
}

#[test]
fn a_listed_topic_that_appears_later_is_read_from_its_beginning() -> Result<()> {
    let kafka = Kafka::shared()?;
    let config = source(kafka, &["born-later"], "born-later", "latest")?;
    let running = RunningSource::start(&config, &[], None)?;
    let missing = "weir_kafka_errors_total{error=\"missing_topic\",pipeline=\"test\"} 1\n";
    running.await_metric(missing)?;
    kafka.create_topic("born-later", 1)?;
    kafka.produce("born-later", 0, &texts(0, 3))?;
    assert_eq!(running.take(3)?, positioned(0, 3));
    running.stop()
}

#[test]
fn a_pattern_that_no_topic_matches_is_told_until_one_does() -> Result<()> {
    let kafka = Kafka::shared()?;
    let config = source(kafka, &["^late-[0-9]{2}$"], "late-patterns", "latest")?;
    let running = RunningSource::start(&config, &[], None)?;
    let missing = "weir_kafka_errors_total{error=\"missing_topic\",pipeline=\"test\"} 1\n";
    running.await_metric(missing)?;
    kafka.create_topic("late-12", 1)?;
    kafka.produce("late-12", 0, &texts(0, 3))?;
    assert_eq!(running.take(3)?, positioned(0, 3));
    running.stop()
}

#[test]
fn a_fresh_instance_knows_from_the_group_that_a_topic_of_a_pattern_is_new() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("fresh-a", 1)?;
    let config = source(kafka, &["^fresh-.*"], "fresh", "latest")?;
    let running = RunningSource::start(&config, &[], None)?;
    running.await_idle()?;
    running.stop()?;
    kafka.create_topic("fresh-b", 1)?;
    kafka.produce("fresh-b", 0, &texts(0, 3))?;
    // As one that has nothing but the new topic assigned.
    let config = source(kafka, &["^fresh-b"], "fresh", "latest")?;
    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(3)?, positioned(0, 3));
    running.stop()
}

#[test]
fn what_retention_has_taken_of_a_group_without_a_state_is_told() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("taken", 1)?;
    kafka.produce("taken", 0, &texts(0, 10))?;
    let group: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .set("group.id", "taken")
        .create()?;
    let mut committed = TopicPartitionList::new();
    committed.add_partition_offset("taken", 0, Offset::Offset(5))?;
    group.commit(&committed, CommitMode::Sync)?;
    kafka.delete_records("taken", 0, 8)?;
    let config = source(kafka, &["taken"], "taken", "earliest")?;
    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(2)?, positioned(8, 10));
    running.await_metric("weir_source_positions_lost_total{pipeline=\"test\"} 1\n")?;
    running.stop()
}

#[test]
fn a_topic_that_is_deleted_and_made_anew_is_read_from_its_beginning() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("reborn", 1)?;
    kafka.produce("reborn", 0, &texts(0, 10))?;
    let config = source(kafka, &["reborn"], "reborn", "earliest")?;
    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(10)?, positioned(0, 10));
    running.await_idle()?;
    kafka.delete_topic("reborn")?;
    kafka.create_topic("reborn", 1)?;
    kafka.produce("reborn", 0, &texts(0, 4))?;
    assert_eq!(running.take(4)?, positioned(0, 4));
    running.await_metric("weir_source_positions_lost_total{pipeline=\"test\"} 1\n")?;
    running.stop()
}
