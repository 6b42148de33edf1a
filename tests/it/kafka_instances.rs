//! Several instances of a pipeline share a group: they come, go and crash, and each event counts in
//! the windows of one of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::reference::fleet::START_MS;
use crate::reference::service::Service;
use crate::support::LIMIT;
use crate::support::files::{temporary_folder, weir, write};
use crate::support::kafka::Kafka;
use crate::support::samples::read_ndjson;

const PARTITIONS: i64 = 6;
const TOPIC: &str = "instances";

/// The width of the windows, ms.
const WINDOW_MS: i64 = 5_000;

const PIPELINE: &str = "
pipeline: fleet
event: { time: { from: t }, fields: { number: number } }
derive: { instance: \"'NAME'\" }
time: { out_of_order: 60s, idle_after: 1h }
metrics:
  events: { window: { tumbling: 5s }, by: [instance], value: count(*) }
  numbers: { window: { tumbling: 5s }, by: [instance], value: sum(number) }
write: { file: { path: samples.ndjson } }
state: { dir: state, checkpoint: { every: EVERY } }
";

/// A checkpoint is made when a partition moves or an instance stops, and at no other time: what a
/// crash takes away is known.
const NEVER: &str = "1h";

/// An instance with its folder.
struct Instance {
    folder: TempDir,
    name: &'static str,
}

impl Instance {
    /// One that makes a checkpoint so often.
    fn new(kafka: &Kafka, name: &'static str, every: &str) -> Result<Self> {
        let folder = temporary_folder()?;
        let text = format!(
            "{}source: {{ kafka: {{ brokers: '{}', topics: [{TOPIC}], group: {TOPIC}, \
             instance: {name}, properties: {{ session.timeout.ms: '6000', \
             heartbeat.interval.ms: '500' }} }} }}\n",
            PIPELINE.replace("NAME", name).replace("EVERY", every),
            kafka.address()
        );
        write(folder.path(), "pipeline.yaml", &text)?;
        Ok(Self { folder, name })
    }

    fn start(&self) -> Result<Service> {
        let mut command = weir(["run", "pipeline.yaml"]);
        command.current_dir(self.folder.path());
        Service::start(&mut command, &self.folder)
    }

    fn samples(&self) -> PathBuf {
        self.folder.path().join("samples.ndjson")
    }
}

/// What was sent so far.
struct Sent<'a> {
    kafka: &'a Kafka,
    number: i64,
}

impl Sent<'_> {
    /// Sends an event to each partition; they are 50 ms apart.
    fn send(&mut self) -> Result<()> {
        for partition in 0..PARTITIONS {
            let event = format!(r#"{{"t":{},"number":{}}}"#, time(self.number), self.number);
            let partition = i32::try_from(partition)?;
            self.kafka.produce(TOPIC, partition, &[event])?;
            self.number += 1;
        }
        Ok(())
    }

    /// Sends so many events to each partition.
    fn send_some(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.send())
    }

    /// Sends events until the instance has read so many.
    fn send_until(&mut self, service: &mut Service, records: f64) -> Result<()> {
        let mut failure = Ok(());
        service.repeat_until("weir_source_records_total", records, || {
            if failure.is_ok() {
                failure = self.send();
            }
        })?;
        failure
    }

    /// Sends events until these instances have all partitions.
    fn send_until_owned(&mut self, services: &mut [&mut Service]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut owned = 0.0;
            for service in services.iter() {
                owned += service.metric("weir_kafka_assigned_partitions", &[])?;
            }
            if owned == PARTITIONS as f64 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{owned} partitions");
            self.send()?;
        }
    }

    /// The sums over all instances, by metric and window.
    fn expected(&self) -> BTreeMap<(String, i64), f64> {
        let mut sums = BTreeMap::new();
        for number in 0..self.number {
            let end = (time(number).div_euclid(WINDOW_MS) + 1) * WINDOW_MS;
            *sums.entry(("events".to_owned(), end)).or_default() += 1.0;
            *sums.entry(("numbers".to_owned(), end)).or_default() += number as f64;
        }
        sums
    }
}

fn time(number: i64) -> i64 {
    START_MS + number * 50
}

/// What the instances have written of windows that end up to `last`, summed over them.
fn found(instances: &[&Instance], last: i64) -> BTreeMap<(String, i64), f64> {
    let mut sums = BTreeMap::new();
    for instance in instances {
        for sample in read_ndjson(&instance.samples()).unwrap_or_default() {
            let name = sample.labels.get("instance");
            assert_eq!(name.map(String::as_str), Some(instance.name));
            if sample.timestamp_ms <= last {
                *sums.entry((sample.name, sample.timestamp_ms)).or_default() += sample.value;
            }
        }
    }
    sums
}

#[test]
fn every_event_counts_once_while_instances_come_go_and_crash() -> Result<()> {
    let kafka = Kafka::start()?;
    kafka.create_topic(TOPIC, i32::try_from(PARTITIONS)?)?;
    let mut sent = Sent {
        kafka: &kafka,
        number: 0,
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| Instance::new(&kafka, name, NEVER));
    let (a, b, c) = (a?, b?, c?);

    let mut first = a.start()?;
    sent.send_some(20)?;
    first.await_metric("weir_events_total", &[], 120.0)?;
    // One joins, and another one: partitions move to them while events come.
    let mut second = b.start()?;
    sent.send_until(&mut second, 1.0)?;
    let mut third = c.start()?;
    sent.send_until(&mut third, 1.0)?;
    // One goes; what it had moves to the others once the group has missed it.
    sent.send_some(5)?;
    third.stop()?;
    sent.send_until_owned(&mut [&mut first, &mut second])?;

    // One crashes: what it has read since partitions moved last is read again by another.
    sent.send_some(5)?;
    first.kill()?;
    sent.send_until_owned(&mut [&mut second])?;
    let mut first = a.start()?;
    sent.send_until(&mut first, 1.0)?;
    let mut third = c.start()?;
    sent.send_until(&mut third, 1.0)?;
    sent.send_until_owned(&mut [&mut first, &mut second, &mut third])?;

    let services = vec![first, second, third];
    every_event_counts_once(&sent, services, &[&a, &b, &c])
}

/// Closes all windows: what the instances have written is what was sent.
fn every_event_counts_once(
    sent: &Sent<'_>,
    mut services: Vec<Service>,
    everybody: &[&Instance],
) -> Result<()> {
    // What ends the last windows comes until all have closed theirs.
    let expected = sent.expected();
    let last = expected
        .keys()
        .map(|(_, end)| *end)
        .max()
        .unwrap_or_default();
    let total = |sums: &BTreeMap<(String, i64), f64>| -> f64 {
        let events = sums.iter().filter(|((name, _), _)| name == "events");
        events.map(|(_, count)| count).sum()
    };
    let mut late = last + 120_000;
    let mut failure = Ok(());
    let first = services.first_mut().context("an instance")?;
    first.await_condition("the last windows", || {
        for partition in 0..PARTITIONS {
            let event = format!(r#"{{"t":{late},"number":0}}"#);
            let partition = i32::try_from(partition).unwrap_or(0);
            let sent = sent.kafka.produce(TOPIC, partition, &[event]);
            if failure.is_ok() {
                failure = sent;
            }
        }
        late += WINDOW_MS;
        total(&found(everybody, last)) >= total(&expected)
    })?;
    failure?;
    for service in services {
        assert_eq!(service.metric("weir_late_events_total", &[])?, 0.0);
        service.stop()?;
    }
    assert_eq!(found(everybody, last), expected);
    Ok(())
}

#[test]
fn what_an_instance_that_was_taken_for_dead_has_read_counts_once() -> Result<()> {
    let kafka = Kafka::start()?;
    kafka.create_topic(TOPIC, i32::try_from(PARTITIONS)?)?;
    let mut sent = Sent {
        kafka: &kafka,
        number: 0,
    };
    let (a, b) = (
        Instance::new(&kafka, "a", "3s")?,
        Instance::new(&kafka, "b", "3s")?,
    );
    let mut first = a.start()?;
    sent.send_some(20)?;
    first.await_metric("weir_events_total", &[], 120.0)?;
    let mut second = b.start()?;
    sent.send_until(&mut second, 1.0)?;
    sent.send_until_owned(&mut [&mut first, &mut second])?;

    // It stands still with events that are in no checkpoint, until the group has given them to the other.
    let read = first.metric("weir_source_records_total", &[])?;
    sent.send_until(&mut first, read + 5.0)?;
    signal(&first, "STOP")?;
    sent.send_until_owned(&mut [&mut second])?;
    sent.send_some(5)?;
    // A checkpoint is due at once, and it does not know yet that it was thrown out.
    signal(&first, "CONT")?;
    first.await_metric("weir_restarts_total", &[("cause", "source")], 1.0)?;
    sent.send_until_owned(&mut [&mut first, &mut second])?;
    every_event_counts_once(&sent, vec![first, second], &[&a, &b])
}

/// Sends a signal to an instance.
fn signal(service: &Service, name: &str) -> Result<()> {
    let pid = service.pid().to_string();
    let sent = Command::new("sh")
        .args(["-c", r#"kill -s "$1" "$2""#, "kill", name, &pid])
        .status()?;
    ensure!(sent.success(), "{name} cannot be sent to {pid}");
    Ok(())
}
