//! Topics that appear, vanish and come again while they are read.

use anyhow::Result;
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
