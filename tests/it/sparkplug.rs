//! The shipped pipeline of trucks with a real broker: births, a checkpoint, a kill, and then numbers alone.

use std::fs;
use std::thread;

use anyhow::{Result, bail};
use prost::Message as _;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::reference::fleet::START_MS;
use crate::reference::stateful::Stateful;
use crate::support::files::repository;
use crate::support::mosquitto::Mosquitto;
use crate::support::samples::{Sample, read_ndjson};
use crate::support::sparkplug::{Metric, Payload, Value};

type Publication = (String, Vec<u8>);

fn message(kind: &str, place: &str, second: i64, seq: u64, metrics: Vec<Metric>) -> Publication {
    let payload = Payload {
        timestamp: u64::try_from(START_MS + second * 1_000).ok(),
        metrics,
        seq: Some(seq),
    };
    (
        format!("spBv1.0/hull/{kind}/{place}"),
        payload.encode_to_vec(),
    )
}

/// A birth's metric: its name and number, without a value.
fn named(name: &str, alias: u64, datatype: u32) -> Metric {
    Metric {
        name: Some(name.to_owned()),
        alias: Some(alias),
        datatype: Some(datatype),
        is_null: Some(true),
        ..Metric::default()
    }
}

fn double(alias: u64, value: f64) -> Metric {
    Metric {
        alias: Some(alias),
        value: Some(Value::Double(value)),
        ..Metric::default()
    }
}

fn births(truck: &str) -> Vec<Publication> {
    let birth_death = Metric {
        name: Some("bdSeq".to_owned()),
        datatype: Some(8),
        value: Some(Value::Long(0)),
        ..Metric::default()
    };
    let fuel = named("Fuel/Level", 1, 10);
    let tyres = vec![
        named("Tyre/Left/Pressure", 2, 10),
        named("Tyre/Right/Pressure", 3, 10),
    ];
    let device = |name: &str| format!("{truck}/{name}");
    vec![
        message("NBIRTH", truck, 0, 0, vec![birth_death, fuel]),
        message("DBIRTH", &device("axle-1"), 0, 1, tyres),
        message(
            "DBIRTH",
            &device("engine"),
            0,
            2,
            vec![named("Engine/Speed", 4, 10)],
        ),
        message(
            "DBIRTH",
            &device("body"),
            0,
            3,
            vec![named("Door/Rear", 5, 11)],
        ),
    ]
}

/// Data without names.
fn data(truck: &str, second: i64, seq: u64, rpm: f64, fuel: f64, left: f64) -> Vec<Publication> {
    let device = |name: &str| format!("{truck}/{name}");
    let door = Metric {
        alias: Some(5),
        value: Some(Value::Boolean(true)),
        ..Metric::default()
    };
    vec![
        message("NDATA", truck, second, seq, vec![double(1, fuel)]),
        message(
            "DDATA",
            &device("axle-1"),
            second,
            seq + 1,
            vec![double(2, left), double(3, 8.5)],
        ),
        message(
            "DDATA",
            &device("engine"),
            second,
            seq + 2,
            vec![double(4, rpm)],
        ),
        message("DDATA", &device("body"), second, seq + 3, vec![door]),
    ]
}

/// Publishes messages with QoS 1 and waits until the broker has all of them.
fn publish(mosquitto: &Mosquitto, messages: Vec<Publication>) -> Result<()> {
    let options = MqttOptions::new("trucks", "127.0.0.1", mosquitto.port());
    let (client, mut connection) = Client::new(options, 10);
    let mut missing = messages.len();
    let sender = thread::spawn(move || -> Result<Client> {
        for (topic, payload) in messages {
            client.publish(topic, QoS::AtLeastOnce, false, payload)?;
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
    bail!("the connection has ended");
}

#[test]
fn numbers_alone_are_enough_behind_a_restart() -> Result<()> {
    let mosquitto = Mosquitto::start()?;
    let text = fs::read_to_string(repository().join("pipelines/trucks.yaml"))?;
    let stateful = Stateful::new(&text)?;
    let url = format!("source.mqtt.url={}", mosquitto.url());
    let settings = [
        "--set",
        &url,
        "--set",
        "write={file: {path: samples.ndjson}}",
        "--set",
        "state.dir=state",
        "--set",
        "state.checkpoint.every=100ms",
    ];
    let mut service = stateful.start(&settings)?;
    // Until weir has subscribed; states of hosts measure nothing.
    service.repeat_until("weir_source_records_total", 1.0, || {
        let state = ("spBv1.0/STATE/host".to_owned(), b"{}".to_vec());
        drop(publish(&mosquitto, vec![state]));
    })?;

    publish(&mosquitto, [births("T1"), births("T2")].concat())?;
    publish(&mosquitto, data("T1", 1, 4, 900.0, 50.0, 8.0))?;
    // Six metrics of each birth, and five of each truck's data.
    service.await_metric("weir_events_total", &[], 17.0)?;
    let made = service.metric("weir_checkpoints_total", &[])?;
    service.await_metric("weir_checkpoints_total", &[], made + 2.0)?;
    service.kill()?;

    let mut service = stateful.start(&settings)?;
    publish(&mosquitto, data("T1", 2, 8, 1_200.0, 48.0, 7.5))?;
    publish(&mosquitto, data("T2", 3, 4, 800.0, 20.0, 8.25))?;
    // Of a truck that was never born.
    publish(&mosquitto, data("T3", 3, 4, 9_999.0, 1.0, 1.0))?;
    // Closes the windows.
    publish(&mosquitto, data("T1", 70, 12, 1_000.0, 47.0, 7.0))?;
    service.await_metric("weir_events_total", &[], 15.0)?;
    let unknown = [("reason", "unknown_alias")];
    assert_eq!(service.metric("weir_decode_errors_total", &unknown)?, 5.0);
    assert_eq!(
        service.metric("weir_sparkplug_sequence_gaps_total", &[])?,
        0.0
    );
    let output = stateful.path("samples.ndjson");
    service.await_condition("the first minute", || {
        fs::read_to_string(&output).is_ok_and(|text| text.lines().count() >= 6)
    })?;
    service.stop()?;

    let sample = |name: &str, labels: &[(&str, &str)], seconds: i64, value: f64| {
        Sample::new(name, labels, START_MS + seconds * 1_000, value)
    };
    let first_minute = |sample: &Sample| sample.timestamp_ms <= START_MS + 60_000;
    let mut found = read_ndjson(&output)?;
    found.retain(first_minute);
    found.sort();
    let pressure = "truck_tyre_pressure_min_bar";
    // Windows of minutes end where minutes do.
    let minute = (START_MS.div_euclid(60_000) + 1) * 60 - START_MS / 1_000;
    let mut expected = vec![
        sample(
            "truck_engine_rpm_max",
            &[("depot", "hull"), ("truck", "T1")],
            10,
            1_200.0,
        ),
        sample(
            "truck_engine_rpm_max",
            &[("depot", "hull"), ("truck", "T2")],
            10,
            800.0,
        ),
        sample("truck_fuel_percent", &[("depot", "hull")], minute, 34.0),
        sample(
            pressure,
            &[("depot", "hull"), ("truck", "T1"), ("device", "axle-1")],
            minute,
            7.5,
        ),
        sample(
            pressure,
            &[("depot", "hull"), ("truck", "T2"), ("device", "axle-1")],
            minute,
            8.25,
        ),
        sample("truck_doors_opened", &[("depot", "hull")], minute, 2.0),
    ];
    expected.sort();
    assert_eq!(found, expected);
    Ok(())
}
