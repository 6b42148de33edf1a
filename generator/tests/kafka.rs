//! Events into Kafka, against the mock brokers of the client library.
#![cfg(feature = "kafka")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed assumption of a test is its failure"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use weirgen::sink::Sink;
use weirgen::{Fleet, FleetConfig, Target};

fn target(brokers: &str, topic: &str) -> Target {
    format!("kafka://{brokers}/{topic}").parse().unwrap()
}

/// The next message; an empty poll is only a turn of the consumer's own business.
fn next_message(consumer: &BaseConsumer) -> BorrowedMessage<'_> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            return message.unwrap();
        }
    }
    panic!("no message arrives");
}

#[test]
fn every_event_arrives_in_order_under_its_vehicles_key() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("vehicle-events", 4, 1).unwrap();
    let brokers = cluster.bootstrap_servers();

    let mut sink = Sink::open(&target(&brokers, "vehicle-events")).unwrap();
    let mut fleet = Fleet::new(FleetConfig::new(20)).unwrap();
    let mut sent: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for _ in 0..2_000 {
        let event = fleet.next_event();
        let mut json = Vec::new();
        event.write_json(&mut json);
        sent.entry(event.vehicle_id().to_string().into_bytes())
            .or_default()
            .push(json);
        sink.send(&event).unwrap();
    }
    sink.finish().unwrap();

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["vehicle-events"]).unwrap();
    let mut received: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let mut partitions: BTreeMap<Vec<u8>, i32> = BTreeMap::new();
    for _ in 0..2_000 {
        let message = next_message(&consumer);
        let key = message.key().unwrap().to_vec();
        let partition = *partitions.entry(key.clone()).or_insert(message.partition());
        assert_eq!(partition, message.partition());
        received
            .entry(key)
            .or_default()
            .push(message.payload().unwrap().to_vec());
    }
    assert_eq!(received, sent);
    assert!(partitions.values().any(|partition| *partition != 0));
}

#[test]
fn a_refused_event_is_an_error() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("vehicle-events", 1, 1).unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
    let mut sink = Sink::open(&target(&cluster.bootstrap_servers(), "vehicle-events")).unwrap();
    let event = Fleet::new(FleetConfig::new(1)).unwrap().next_event();
    sink.send(&event).unwrap();
    let error = sink.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic 'vehicle-events' takes no more events"
    );
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let error = Sink::open(&target("127.0.0.1:1", "vehicle-events")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no Kafka broker answers at 127.0.0.1:1; check that it runs and that its address is right"
    );
}
