//! The same events through a real Kafka give the samples of the file.

use std::path::Path;

use anyhow::Result;

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

/// Waits until silence has closed all windows, and stops.
fn samples_of(mut service: Service, output: &Path, expected: usize) -> Result<Vec<Sample>> {
    service.await_lines(output, expected)?;
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
    let expected = fleet.check(&[fleet.events(&EVENTS)?], &[])?;

    let output = fleet.path("kafka.ndjson");
    let service = start(&fleet, kafka, "values", "1s", &output)?;
    expect_same(&samples_of(service, &output, expected.len())?, &expected)?;

    // A second run of the group goes on where the first one ended.
    let later_ms = START_MS + 300_000;
    send(later_ms, "2")?;
    let events = fleet.events_from(later_ms, &[&EVENTS[..], &["--seed", "2"]].concat())?;
    let count = events.split_inclusive(|byte| *byte == b'\n').count() as f64;
    let expected = fleet.check(&[events], &[])?;
    let mut service = start(&fleet, kafka, "values", "1s", &output)?;
    service.await_lines(&output, expected.len())?;
    assert_eq!(service.metric("weir_source_records_total", &[])?, count);
    expect_same(&samples_of(service, &output, expected.len())?, &expected)
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
    let closed = |sample: &&Sample| sample.timestamp_ms == START_MS + 5_000;
    service.await_lines(&first, expected.iter().filter(closed).count())?;
    service.stop()?;
    let mut samples = read_ndjson(&first)?;
    assert!(samples.len() < expected.len());

    for piece in pieces {
        send(piece)?;
    }
    let second = fleet.path("second.ndjson");
    let missing = expected
        .iter()
        .filter(|sample| !samples.contains(sample))
        .count();
    let service = start(&fleet, kafka, "stopped", "1s", &second)?;
    samples.extend(samples_of(service, &second, missing)?);
    // A window may be written twice, but then with the same values.
    samples.sort();
    samples.dedup();
    expect_same(&samples, &expected)
}
