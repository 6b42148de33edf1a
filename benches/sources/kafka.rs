//! Kafka, beside a loop over rdkafka that counts bytes, with the same settings.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::json;

use super::Contest;
use super::count::{Count, Measured, cars, read_all};
use super::support::kafka::Kafka;

const TOPIC: &str = "vehicle-events";
const PARTITIONS: i32 = 4;

/// How many records are written at once.
const AT_ONCE: usize = 100_000;

/// What weir sets as well, as far as it decides about speed.
const SETTINGS: [(&str, &str); 6] = [
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "100000"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.min.bytes", "65536"),
    ("fetch.wait.max.ms", "100"),
    ("check.crcs", "true"),
];

struct Broker {
    kafka: Kafka,
    records: u64,
}

/// Starts a broker and fills a topic.
pub(crate) fn set_up(records: u64) -> Result<Box<dyn Contest>> {
    let kafka = Kafka::start()?;
    kafka.create_topic(TOPIC, PARTITIONS)?;
    let mut cars = cars(records)?.peekable();
    while cars.peek().is_some() {
        let mut parts: Vec<Vec<Vec<u8>>> = vec![Vec::new(); PARTITIONS as usize];
        for (number, record) in cars.by_ref().take(AT_ONCE).enumerate() {
            let part = parts.get_mut(number % PARTITIONS as usize);
            part.context("a partition")?.push(record);
        }
        for (partition, part) in (0..).zip(&parts) {
            kafka.produce(TOPIC, partition, part)?;
        }
    }
    Ok(Box::new(Broker { kafka, records }))
}

impl Contest for Broker {
    fn bare_name(&self) -> &'static str {
        "a loop over rdkafka that counts bytes"
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn bare(&mut self) -> Result<Measured> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.kafka.address())
            .set("group.id", "bare");
        for (key, value) in SETTINGS {
            client.set(key, value);
        }
        let consumer: BaseConsumer = client.create()?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        let mut count = Count::default();
        while count.records() < self.records {
            let message = consumer.poll(Duration::from_secs(10));
            let message = message.context("no more records")??;
            count.add(1, message.payload().map_or(0, <[u8]>::len));
        }
        count.finish()
    }

    fn source(&mut self) -> Result<Measured> {
        // A group of its own each time, which begins at the beginning.
        let group = format!("weir-{}", fastrand::u64(..));
        let config = json!({ "kafka": {
            "brokers": self.kafka.address(), "topics": [TOPIC], "group": group,
        } });
        // To join a group is no reading.
        read_all(config, None, self.records, Count::default)
    }
}
