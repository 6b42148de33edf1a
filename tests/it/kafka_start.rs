//! Where a group begins.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use weir::source::Config;

use crate::support::kafka::Kafka;
use crate::support::source::{Positioned, RunningSource};

const LIMIT: Duration = Duration::from_secs(60);

/// The source of a topic that a group of its name reads, and begins with as `start` says.
fn source(kafka: &Kafka, topic: &str, start: &Value) -> Result<Config> {
    Ok(serde_json::from_value(json!({ "kafka": {
        "brokers": kafka.address(),
        "topics": [topic],
        "group": topic,
        "start": start,
        "properties": { "topic.metadata.refresh.interval.ms": "200" },
    } }))?)
}

fn texts(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|number| format!("event {number}")).collect()
}

fn positioned(from: u64, to: u64) -> Vec<Positioned> {
    (from..to).zip(texts(from, to)).collect()
}

#[test]
fn latest_is_the_first_start_and_a_new_partition_is_read_from_its_beginning() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("latest", 1)?;
    kafka.produce("latest", 0, &texts(0, 10))?;
    let config = source(kafka, "latest", &json!("latest"))?;
    let running = RunningSource::start(&config, &[], None)?;
    running.await_idle()?;
    // Nothing was processed, and so nothing committed but where it began.
    running.abandon()?;
    kafka.produce("latest", 0, &texts(10, 15))?;
    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(5)?, positioned(10, 15));
    running.abandon()?;

    let running = RunningSource::start(&config, &[], None)?;
    assert_eq!(running.take(5)?, positioned(10, 15), "as often as it is");
    kafka.grow_topic("latest", 2)?;
    kafka.produce("latest", 1, &texts(0, 3))?;
    assert_eq!(running.take(3)?, positioned(0, 3));
    running.stop()?;
    // Also one that was added while nobody was there.
    kafka.grow_topic("latest", 3)?;
    kafka.produce("latest", 2, &texts(0, 3))?;
    let running = RunningSource::start(&config, &[("latest/0", 15), ("latest/1", 3)], None)?;
    assert_eq!(running.take(3)?, positioned(0, 3));
    running.stop()
}

#[test]
fn a_time_is_looked_up_at_the_brokers() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("times", 1)?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .create()?;
    // 2024-11-03T08:00:00Z, and a record each minute.
    let start_ms = 1_730_620_800_000;
    for (number, text) in (0_i64..).zip(&texts(0, 10)) {
        let record = BaseRecord::<(), str>::to("times")
            .partition(0)
            .timestamp(start_ms + number * 60_000)
            .payload(text.as_str());
        let sent = producer.send(record).map_err(|(error, _)| error);
        sent.context("a record")?;
    }
    producer.flush(LIMIT)?;
    let at = |time: &str| source(kafka, "times", &json!({ "timestamp": time }));
    let running = RunningSource::start(&at("2024-11-03T09:03:30+01:00")?, &[], None)?;
    assert_eq!(running.take(6)?, positioned(4, 10));
    running.abandon()?;
    // The group has begun: another time does not count any more.
    let running = RunningSource::start(&at("2030-01-01T00:00:00Z")?, &[], None)?;
    assert_eq!(running.take(6)?, positioned(4, 10));
    running.stop()
}
