//! The same events through a real Kafka give the samples of the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::reference::fleet::{CONNECTED_CARS, Fleet, START_MS, by_vehicle, expect_same, succeed};
use crate::reference::service::Service;
use crate::support::kafka::Kafka;
use crate::support::samples::{Sample, read_ndjson};

const PARTITIONS: usize = 8;

/// Twenty seconds, so four windows, within the allowed disorder.
const EVENTS: [&str; 4] = ["--seconds", "20", "--disorder", "2s"];

fn topic(kafka: &Kafka, name: &str) -> Result<()> {
    kafka.create_topic(name, i32::try_from(PARTITIONS)?)
}

/// `weir run` from a topic to a file, in a group of the topic's name.
fn start(fleet: &Fleet, kafka: &Kafka, topic: &str, idle: &str, output: &Path) -> Result<Service> {
    let settings = [
        format!("source.kafka.brokers={}", kafka.address()),
        format!("source.kafka.topics=[{topic}]"),
        format!("source.kafka.group={topic}"),
        format!("time.idle_after={idle}"),
    ];
    let mut command = fleet.weir(CONNECTED_CARS, &["--workers", "3"]);
    for setting in &settings {
        command.arg("--set").arg(setting);
    }
    command.arg("--output").arg(output);
    Service::start(&mut command, &fleet.folder)
}

/// How many records the group of a topic's name has committed, of all partitions.
fn committed(kafka: &Kafka, topic: &str) -> Result<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .set("group.id", topic)
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition(topic, i32::try_from(partition)?);
    }
    let mut sum = 0;
    let offsets = consumer.committed_offsets(partitions, Duration::from_secs(10))?;
    for partition in offsets.elements() {
        if let Offset::Offset(offset) = partition.offset() {
            sum += offset;
        }
    }
    Ok(sum)
}

/// How many samples of this time a file has.
fn samples_at(path: &Path, timestamp_ms: i64) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.matches(&format!("\"timestamp_ms\":{timestamp_ms},"))
        .count()
}

/// Waits until a file has the last of these samples, which come in order of time, and stops weir.
fn finish(mut service: Service, output: &Path, expected: &[Sample]) -> Result<Vec<Sample>> {
    let last_ms = expected
        .iter()
        .map(|sample| sample.timestamp_ms)
        .max()
        .unwrap_or_default();
    let last = expected
        .iter()
        .filter(|sample| sample.timestamp_ms == last_ms)
        .count();
    service.await_condition("last window", || samples_at(output, last_ms) >= last)?;
    service.stop()?;
    read_ndjson(output)
}

#[test]
fn the_samples_are_those_of_the_file() -> Result<()> {
    let (fleet, kafka) = (Fleet::new()?, Kafka::shared()?);
    topic(kafka, "values")?;
    let target = format!("kafka://{}/values", kafka.address());
    let send = |start_ms: i64, seed| -> Result<()> {
        let start_ms = start_ms.to_string();
        let mut command = fleet.weirgen(&["--max-speed", "--start-ms", &start_ms])?;
        succeed(command.args(EVENTS).args(["--seed", seed]).arg(&target)).map(drop)
    };
    send(START_MS, "1")?;
    let events = fleet.events(&EVENTS)?;
    let count = line_count(&events);
    let expected = fleet.check(&[events], &[])?;

    let output = fleet.path("kafka.ndjson");
    let mut service = start(&fleet, kafka, "values", "1s", &output)?;
    service.await_condition("commit of all records", || {
        committed(kafka, "values").is_ok_and(|records| records == count)
    })?;
    service.stop()?;
    expect_same(&read_ndjson(&output)?, &expected)?;

    // A second run of the group goes on where the first one ended, and reads nothing twice.
    let later_ms = START_MS + 300_000;
    send(later_ms, "2")?;
    let events = fleet.events_from(later_ms, &[&EVENTS[..], &["--seed", "2"]].concat())?;
    let expected = fleet.check(&[events.clone()], &[])?;
    let mut service = start(&fleet, kafka, "values", "1s", &output)?;
    service.await_metric("weir_events_total", &[], line_count(&events) as f64)?;
    let records = service.metric("weir_source_records_total", &[])?;
    assert_eq!(records, line_count(&events) as f64);
    expect_same(&finish(service, &output, &expected)?, &expected)
}

fn line_count(events: &[u8]) -> i64 {
    events
        .split_inclusive(|byte| *byte == b'\n')
        .map(|_| 1)
        .sum()
}

#[test]
fn nothing_is_lost_when_a_run_is_stopped_in_the_middle() -> Result<()> {
    let (fleet, kafka) = (Fleet::new()?, Kafka::shared()?);
    topic(kafka, "stopped")?;
    let events = fleet.events(&EVENTS)?;
    let expected = fleet.reference(&[events.clone()]).samples;
    let lines: Vec<&[u8]> = events.split_inclusive(|byte| *byte == b'\n').collect();

    // Pieces of four seconds, so that a batch ends within a window.
    let mut pieces = lines.chunks(lines.len() / 5);
    let mut sent = 0;
    let mut send = |piece: &[&[u8]]| -> Result<f64> {
        for (partition, split) in by_vehicle(&piece.concat(), PARTITIONS).iter().enumerate() {
            let lines: Vec<&[u8]> = split.split(|byte| *byte == b'\n').collect();
            let events: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            kafka.produce("stopped", i32::try_from(partition)?, &events)?;
        }
        sent += piece.len();
        Ok(sent as f64)
    };
    let first = fleet.path("first.ndjson");
    let mut service = start(&fleet, kafka, "stopped", "1h", &first)?;
    for piece in pieces.by_ref().take(3) {
        let count = send(piece)?;
        service.await_metric("weir_events_total", &[], count)?;
    }
    // Events up to 12 s have closed the first window, perhaps the second, and no other.
    let first_end_ms = START_MS + 5_000;
    let closed = |sample: &&Sample| sample.timestamp_ms == first_end_ms;
    let count = expected.iter().filter(closed).count();
    service.await_condition("first window", || samples_at(&first, first_end_ms) == count)?;
    service.stop()?;
    let first = read_ndjson(&first)?;
    assert!(first.len() < expected.len());

    for piece in pieces {
        send(piece)?;
    }
    let second = fleet.path("second.ndjson");
    let service = start(&fleet, kafka, "stopped", "1s", &second)?;
    let second = finish(service, &second, &expected)?;
    // A window that was written before can come again, made of those of its events that are read
    // again. Receivers keep the sample that they have, so the first one counts.
    let mut samples = BTreeMap::new();
    for sample in first.into_iter().chain(second) {
        let series = (
            sample.name.clone(),
            sample.labels.clone(),
            sample.timestamp_ms,
        );
        samples.entry(series).or_insert(sample);
    }
    let mut samples: Vec<Sample> = samples.into_values().collect();
    samples.sort();
    expect_same(&samples, &expected)
}
