//! The durable log between a real MQTT broker and a pipeline that is busy, stops, or crashes.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use anyhow::{Result, bail};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use weir::source::{Config, MqttConfig};

use crate::reference::fleet::START_MS;
use crate::reference::stateful::Stateful;
use crate::support::files::temporary_folder;
use crate::support::mosquitto::Mosquitto;
use crate::support::small_disk::{can_mount, make_room, on_small_disk};
use crate::support::source::{Positioned, RunningSource};

const SPLIT: &str = "log/mqtt";

fn config(mosquitto: &Mosquitto) -> Result<Config> {
    let mqtt: MqttConfig = serde_json::from_value(serde_json::json!({
        "url": mosquitto.url(),
        "topics": ["fleet/#"],
    }))?;
    Ok(Config {
        mqtt: Some(mqtt),
        ..Config::default()
    })
}

fn start(mosquitto: &Mosquitto, log: &Path, position: Option<u64>) -> Result<RunningSource> {
    let positions: Vec<_> = position
        .map(|position| (SPLIT, position))
        .into_iter()
        .collect();
    RunningSource::start(&config(mosquitto)?, &positions, Some(log))
}

fn text(number: u64) -> String {
    format!("message {number}")
}

/// Publishes messages with QoS 1 and waits until the broker has acknowledged them all.
fn publish(mosquitto: &Mosquitto, from: u64, to: u64) -> Result<()> {
    publish_all(mosquitto, (from..to).map(text).collect())
}

fn publish_all(mosquitto: &Mosquitto, payloads: Vec<String>) -> Result<()> {
    let mut missing = payloads.len();
    let mut options = MqttOptions::new("car", "127.0.0.1", mosquitto.port());
    options.set_inflight(100);
    options.set_max_packet_size(100_000, 100_000);
    let (client, mut connection) = Client::new(options, 10);
    let sender = thread::spawn(move || -> Result<Client> {
        for payload in payloads {
            client.publish("fleet/car", QoS::AtLeastOnce, false, payload)?;
        }
        Ok(client)
    });
    for event in connection.iter() {
        if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
            missing -= 1;
        }
        if missing == 0 {
            // The connection goes when its client does.
            drop(sender.join());
            return Ok(());
        }
    }
    bail!("the connection has ended without {missing} acknowledgements")
}

/// Until the broker knows what weir subscribes to, messages go nowhere: with a session that it
/// keeps, this is once and for all.
fn subscribe(mosquitto: &Mosquitto, log: &Path) -> Result<()> {
    let source = start(mosquitto, log, None)?;
    source.await_idle()?;
    source.stop()
}

/// All messages from the first to the last, each at one position, in the order of positions.
fn assert_each_once(records: &[Positioned], count: u64) {
    let positions: Vec<_> = records.iter().map(|(position, _)| *position).collect();
    assert!(
        positions.is_sorted_by(|earlier, later| earlier < later),
        "{positions:?}"
    );
    let texts: Vec<_> = records.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(texts, (0..count).map(text).collect::<Vec<_>>());
}

#[test]
fn what_the_broker_was_told_is_in_the_log_though_the_pipeline_takes_nothing() -> Result<()> {
    let (mosquitto, folder) = (Mosquitto::start()?, temporary_folder()?);
    let log = folder.path().join("log");
    subscribe(&mosquitto, &log)?;
    let source = start(&mosquitto, &log, None)?;
    // The pipeline does not take a single record, not even the split.
    publish(&mosquitto, 0, 500)?;
    source.await_metric("weir_log_appended_total{pipeline=\"test\"} 500\n")?;
    source.stop()?;
    // The broker has nothing more; it could be gone for good.
    let source = start(&mosquitto, &log, None)?;
    assert_each_once(&source.take(500)?, 500);
    source.await_idle()?;
    source.kept().set(SPLIT, 500);
    source.stop()
}

#[test]
fn every_message_is_read_once_by_its_position_however_often_the_pipeline_crashes() -> Result<()> {
    let (mut mosquitto, folder) = (Mosquitto::start()?, temporary_folder()?);
    let log = folder.path().join("log");
    subscribe(&mosquitto, &log)?;
    let mut records: Vec<Positioned> = Vec::new();
    let mut published = 0;
    for round in 0..6_u64 {
        // What is in the state has been processed; what was processed after it is processed again.
        records.truncate(records.len() - records.len() / 10);
        let position = records.last().map(|(position, _)| position + 1);
        let source = start(&mosquitto, &log, position)?;
        publish(&mosquitto, published, published + 300)?;
        published += 300;
        if round == 3 {
            mosquitto.stop()?;
            mosquitto.restart()?;
        }
        records.extend(source.take(100)?);
        source.abandon()?;
    }
    let position = records.last().map(|(position, _)| position + 1);
    let source = start(&mosquitto, &log, position)?;
    let missing = usize::try_from(published)? - records.len();
    records.extend(source.take(missing)?);
    source.await_idle()?;
    source.stop()?;
    assert_each_once(&records, published);
    let distinct: BTreeSet<_> = records.iter().map(|(_, text)| text).collect();
    assert_eq!(distinct.len() as u64, published);
    Ok(())
}

#[test]
fn while_the_disk_is_full_the_broker_keeps_what_comes() -> Result<()> {
    if !can_mount() {
        println!("skipped: nothing can be mounted here");
        return Ok(());
    }
    let mosquitto = Mosquitto::start()?;
    let stateful = Stateful::new(&format!(
        "pipeline: cars
source: {{ mqtt: {{ url: '{}', topics: ['fleet/#'] }} }}
event: {{ time: {{ from: t }}, fields: {{ speed: number }} }}
time: {{ idle_after: 1h }}
metrics:
  speed: {{ window: {{ tumbling: 1h }}, value: sum(speed) }}
write: {{ file: {{ path: samples.ndjson }} }}
state: {{ dir: state, log: {{ fsync: 5ms }}, checkpoint: {{ every: 1h }} }}
",
        mosquitto.url()
    ))?;
    let weir = stateful.command(&["run", "cars.yaml"]);
    let mut service = stateful.serve(&mut on_small_disk(&weir)?)?;
    // Messages without content are received and dropped.
    let mut failure = None;
    service.repeat_until("weir_source_dropped_total", 1.0, || {
        failure = publish_all(&mosquitto, vec![String::new()]).err();
    })?;
    failure.map_or(Ok(()), Err)?;
    // 2.4 MB, for which there is no room.
    let pad = "x".repeat(40_000);
    let payload = |number| {
        let time = START_MS + number;
        format!(r#"{{"t":{time},"speed":{number},"pad":"{pad}"}}"#)
    };
    publish_all(&mosquitto, (0..60).map(payload).collect())?;
    service.await_metric("weir_log_full_total", &[], 1.0)?;
    let taken = service.metric("weir_log_appended_total", &[])?;
    assert!((1.0..60.0).contains(&taken), "{taken}");
    make_room(service.pid(), &stateful.path("state"))?;
    service.await_metric("weir_source_records_total", &[], 60.0)?;
    assert_eq!(service.metric("weir_log_appended_total", &[])?, 60.0);
    assert_eq!(service.metric("weir_restarts_total", &[])?, 0.0);
    service.stop()
}
