//! The same events through a real Kafka give the samples of the file.

use std::fs;
use std::path::Path;
use std::slice;

use anyhow::{Context as _, Result};

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
    start_with(fleet, kafka, topic, idle, &[], output)
}

/// The same with further settings.
fn start_with(
    fleet: &Fleet,
    kafka: &Kafka,
    topic: &str,
    idle: &str,
    more: &[String],
    output: &Path,
) -> Result<Service> {
    let settings = [
        format!("source.kafka.brokers={}", kafka.address()),
        format!("source.kafka.topics=[{topic}]"),
        format!("source.kafka.group={topic}"),
        format!("time.idle_after={idle}"),
    ];
    let mut command = fleet.weir(CONNECTED_CARS, &["--workers", "3"]);
    for setting in settings.iter().chain(more) {
        command.arg("--set").arg(setting);
    }
    command.arg("--output").arg(output);
    Service::start(&mut command, &fleet.folder)
}

/// How many samples of this time a file has.
fn samples_at(path: &Path, timestamp_ms: i64) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.matches(&format!("\"timestamp_ms\":{timestamp_ms},"))
        .count()
}

/// Waits until a file has the last of these samples, which come in order of time.
fn await_last(service: &mut Service, output: &Path, expected: &[Sample]) -> Result<()> {
    let times = expected.iter().map(|sample| sample.timestamp_ms);
    let last_ms = times.clone().max().unwrap_or_default();
    let last = times.filter(|time_ms| *time_ms == last_ms).count();
    service.await_condition("last window", || samples_at(output, last_ms) >= last)
}

/// Waits for the last of these samples, stops weir, and gives all that it has written.
fn finish(mut service: Service, output: &Path, expected: &[Sample]) -> Result<Vec<Sample>> {
    await_last(&mut service, output, expected)?;
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
    let expected = fleet.check(&[events], &[])?;

    let output = fleet.path("kafka.ndjson");
    let service = start(&fleet, kafka, "values", "1s", &output)?;
    expect_same(&finish(service, &output, &expected)?, &expected)?;

    // A second run of the group goes on where the first one ended, and reads nothing twice.
    let later_ms = START_MS + 300_000;
    send(later_ms, "2")?;
    let events = fleet.events_from(later_ms, &[&EVENTS[..], &["--seed", "2"]].concat())?;
    let count = events.split_inclusive(|byte| *byte == b'\n').count() as f64;
    let expected = fleet.check(&[events], &[])?;
    let mut service = start(&fleet, kafka, "values", "1s", &output)?;
    await_last(&mut service, &output, &expected)?;
    assert_eq!(service.metric("weir_source_records_total", &[])?, count);
    expect_same(&finish(service, &output, &expected)?, &expected)
}

#[test]
fn nothing_is_lost_or_written_twice_when_a_run_is_stopped_in_the_middle() -> Result<()> {
    let (fleet, kafka) = (Fleet::new()?, Kafka::shared()?);
    topic(kafka, "stopped")?;
    let events = fleet.events(&EVENTS)?;
    let expected = fleet.reference(slice::from_ref(&events)).samples;
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
    let mut samples = read_ndjson(&first)?;
    assert!(samples.len() < expected.len());

    for piece in pieces {
        send(piece)?;
    }
    let second = fleet.path("second.ndjson");
    let service = start(&fleet, kafka, "stopped", "1s", &second)?;
    samples.extend(finish(service, &second, &expected)?);
    samples.sort();
    expect_same(&samples, &expected)
}

/// An event of a later time, as another of the same events.
fn later(line: &[u8], millis: i64) -> Result<Vec<u8>> {
    let mut event: serde_json::Value = serde_json::from_slice(line)?;
    let time = event.get_mut("timestamp").context("no time")?;
    *time = (time.as_i64().context("no number")? + millis).into();
    Ok(serde_json::to_vec(&event)?)
}

#[test]
fn partitions_that_run_ahead_are_paused_and_the_samples_are_the_same() -> Result<()> {
    let (fleet, kafka) = (Fleet::new()?, Kafka::shared()?);
    topic(kafka, "uneven")?;
    let events = fleet.events(&EVENTS)?;
    let expected = fleet.reference(slice::from_ref(&events)).samples;
    let splits = by_vehicle(&events, PARTITIONS);
    let splits: Vec<Vec<&[u8]>> = splits
        .iter()
        .map(|split| {
            let lines = split.split(|byte| *byte == b'\n');
            lines.filter(|line| !line.is_empty()).collect()
        })
        .collect();
    let (slow, fast) = splits.split_last().context("no partitions")?;
    let last = i32::try_from(fast.len())?;
    // The slow partition stands at five seconds while all others have come to twenty.
    let (beginning, rest) = slow.split_at(slow.len() / 4);
    kafka.produce("uneven", last, beginning)?;
    let output = fleet.path("uneven.ndjson");
    let mut service = start_with(
        &fleet,
        kafka,
        "uneven",
        "1h",
        &["time.max_drift=3s".to_owned()],
        &output,
    )?;
    service.await_metric("weir_events_total", &[], beginning.len() as f64)?;
    for (partition, lines) in (0..).zip(fast) {
        kafka.produce("uneven", partition, lines)?;
    }
    service.await_metric("weir_splits", &[("state", "paused")], fast.len() as f64)?;
    assert!(service.metric("weir_drift_seconds", &[])? > 3.0);
    kafka.produce("uneven", last, rest)?;
    // What is sent to paused partitions is read once they go on; here it closes the last windows.
    for (partition, lines) in (0..).zip(&splits) {
        let end = later(lines.last().context("no events")?, 60_000)?;
        kafka.produce("uneven", partition, &[end])?;
    }
    await_last(&mut service, &output, &expected)?;
    service.await_metric("weir_splits", &[("state", "paused")], 0.0)?;
    assert!(service.metric("weir_split_pauses_total", &[])? >= fast.len() as f64);
    expect_same(&finish(service, &output, &expected)?, &expected)
}
