//! The same events through a real MQTT broker give the samples of the file.

use std::path::Path;
use std::slice;

use anyhow::{Context as _, Result, bail};
use rumqttc::{Client, Event as MqttEvent, MqttOptions, Packet, QoS, Transport};

use crate::reference::event::{Event, read};
use crate::reference::fleet::{CONNECTED_CARS, Fleet, START_MS, expect_same, succeed};
use crate::reference::metric::{labels_from, raw};
use crate::reference::service::Service;
use crate::support::files::{repository, weir, write};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::samples::read_ndjson;

/// Twenty seconds, so four windows, within the allowed disorder.
const EVENTS: [&str; 4] = ["--seconds", "20", "--disorder", "2s"];

/// The connected-cars pipeline with another source; region and kind are taken from the topic.
fn pipeline(fleet: &Fleet, mqtt: &str) -> Result<String> {
    let shipped = std::fs::read_to_string(repository().join(CONNECTED_CARS))?;
    let (head, rest) = shipped.split_once("\nsource:").context("no source")?;
    let (_, tail) = rest.split_once("\nevent:").context("no event")?;
    let text = format!("{head}\nsource:\n  mqtt: {mqtt}\n\nevent:{tail}")
        .replace("from: eventType", "from: \"@topic[3]\"")
        .replace(
            "region: text",
            "region: { from: \"@topic[1]\", type: text }",
        );
    assert!(text.contains("@topic[3]") && text.contains("@topic[1]"));
    Ok(write(fleet.folder.path(), "mqtt.yaml", &text)?
        .display()
        .to_string())
}

/// Publishes events until weir has subscribed: before that they go nowhere. They are of 1970, so
/// that they count for nothing.
fn await_subscription(fleet: &Fleet, service: &mut Service, target: &str) -> Result<()> {
    let mut command = fleet.weirgen(&["--events", "1", "--start-ms", "0", "--max-speed"])?;
    command.arg(target);
    let mut failure = None;
    service.repeat_until("weir_source_records_total", 1.0, || {
        failure = succeed(&command).err();
    })?;
    failure.map_or(Ok(()), Err)
}

/// Publishes the events from [`START_MS`] on, waits until weir has them all, and stops it: what
/// cannot be read again is written, open windows and all.
fn publish(fleet: &Fleet, mut service: Service, target: &str, events: &[u8]) -> Result<()> {
    await_subscription(fleet, &mut service, target)?;
    let mut command = fleet.weirgen(&["--max-speed", "--start-ms", &START_MS.to_string()])?;
    succeed(command.args(EVENTS).arg(target))?;
    let count = events.split_inclusive(|byte| *byte == b'\n').count() as f64;
    service.await_metric("weir_events_total", &[], count)?;
    assert_eq!(service.metric("weir_events_total", &[])?, count);
    service.stop()
}

fn target(mosquitto: &Mosquitto, topic: &str) -> String {
    format!("mqtt://127.0.0.1:{}/{topic}", mosquitto.port())
}

#[test]
fn the_samples_are_those_of_the_file() -> Result<()> {
    let (fleet, mosquitto) = (Fleet::new()?, Mosquitto::start()?);
    let events = fleet.events(&EVENTS)?;
    let expected = fleet.check(slice::from_ref(&events), &[])?;

    let mqtt = format!("{{ url: \"{}\", topics: [\"fleet/#\"] }}", mosquitto.url());
    let output = fleet.path("mqtt.ndjson");
    let mut command = fleet.weir(&pipeline(&fleet, &mqtt)?, &["--workers", "2"]);
    command.arg("--output").arg(&output);
    let service = Service::start(&mut command, &fleet.folder)?;
    let target = target(&mosquitto, "fleet/{region}/{vehicle}/{kind}");
    publish(&fleet, service, &target, &events)?;
    expect_same(&read_ndjson(&output)?, &expected)
}

#[test]
fn raw_readings_of_the_shipped_pipeline() -> Result<()> {
    let (fleet, mosquitto) = (Fleet::new()?, Mosquitto::start()?);
    let events = fleet.events(&EVENTS)?;
    let url = format!("source.mqtt.url={}", mosquitto.url());
    let output = fleet.path("mqtt.ndjson");
    let mut command = weir(["run", "pipelines/connected-cars-raw.yaml", "--set", &url]);
    command.arg("--output").arg(&output);
    let service = Service::start(&mut command, &fleet.folder)?;
    let target = target(&mosquitto, "fleet/{region}/{vehicle}/events");
    publish(&fleet, service, &target, &events)?;

    let events = read(&[events]);
    let labels =
        |event: &Event| labels_from(event, &[("vehicle", "vehicleId"), ("region", "region")]);
    let mut expected = Vec::new();
    for (name, kind) in [
        ("ic_rpm", "IC_RPM"),
        ("electric_rpm", "ELECTRIC_RPM"),
        ("warning_lights", "WARNINGS"),
    ] {
        expected.extend(raw(name, &events, &|event| event.is(kind), &labels));
    }
    expected.sort();
    expect_same(&read_ndjson(&output)?, &expected)
}

#[test]
fn bare_numbers_have_the_time_at_which_they_came() -> Result<()> {
    let (fleet, mosquitto) = (Fleet::new()?, Mosquitto::start()?);
    let output = fleet.path("numbers.ndjson");
    let text = format!(
        "pipeline: numbers
source:
  mqtt: {{ url: \"{}\", topics: [\"sensors/{{sensor}}/celsius\"] }}
  decode: number
event:
  time: {{ from: \"@timestamp\" }}
  fields:
    value: number
    sensor: {{ from: \"@topic.sensor\", type: text }}
metrics:
  celsius: {{ labels: [sensor], value: value }}
write:
  file: {{ path: \"{}\" }}
state:
  dir: \"{}\"
time:
  idle_after: 1s
",
        mosquitto.url(),
        output.display(),
        fleet.path("state").display()
    );
    let pipeline = write(fleet.folder.path(), "numbers.yaml", &text)?;
    let pipeline = pipeline.display().to_string();
    let mut service = Service::start(&mut weir(["run", &pipeline]), &fleet.folder)?;
    let options = MqttOptions::new("sensor", "127.0.0.1", mosquitto.port());
    let before = jiff::Timestamp::now().as_millisecond();
    let mut published = Ok(());
    // Until weir has subscribed, they go nowhere.
    service.repeat_until("weir_events_total", 1.0, || {
        published = publish_once(options.clone(), "sensors/s1/celsius", b"21.5");
    })?;
    published?;
    let between = jiff::Timestamp::now().as_millisecond();
    publish_once(options, "sensors/s2/celsius", b"-3")?;
    service.await_condition("samples", || {
        let samples = read_ndjson(&output).unwrap_or_default();
        samples.iter().any(|sample| sample.value == -3.0)
    })?;
    service.stop()?;
    let after = jiff::Timestamp::now().as_millisecond();
    for sample in read_ndjson(&output)? {
        let (from, until) = match sample.value {
            21.5 => (before, between),
            // What is synced together was received together, so maybe with the one before.
            -3.0 => (between - 1_000, after),
            other => bail!("{other}"),
        };
        assert!((from..=until).contains(&sample.timestamp_ms), "{sample:?}");
    }
    Ok(())
}

#[test]
fn over_tls_with_a_certificate_of_our_own() -> Result<()> {
    let fleet = Fleet::new()?;
    let broker = Mosquitto::start_with(&MosquittoOptions {
        tls: true,
        client_certificates: true,
        ..MosquittoOptions::default()
    })?;
    let certificates = broker.certificates().context("no certificates")?;
    let path = |path: &Path| path.display().to_string();
    let mqtt = format!(
        "{{ url: \"{}\", topics: [\"fleet/#\"], tls: {{ ca_file: {}, cert_file: {}, key_file: {} }} }}",
        broker.url(),
        path(&certificates.ca),
        path(&certificates.client),
        path(&certificates.client_key),
    );
    let output = fleet.path("mqtt.ndjson");
    let mut command = fleet.weir(&pipeline(&fleet, &mqtt)?, &[]);
    command.arg("--output").arg(&output);
    let mut service = Service::start(&mut command, &fleet.folder)?;

    // The load generator speaks no TLS. One event is published until it is read; read twice, it
    // counts no more.
    let event = fleet.events(&["--events", "1"])?;
    let mut options = MqttOptions::new("car", "127.0.0.1", broker.port());
    let client = (
        std::fs::read(&certificates.client)?,
        std::fs::read(&certificates.client_key)?,
    );
    let ca = std::fs::read(&certificates.ca)?;
    options.set_transport(Transport::tls(ca, Some(client), None));
    let [read] = &read(slice::from_ref(&event))[..] else {
        bail!("there is to be one event");
    };
    let part = |field| read.text(field).unwrap_or_default();
    let (region, vehicle, kind) = (part("region"), part("vehicleId"), part("eventType"));
    let topic = format!("fleet/{region}/{vehicle}/{kind}");
    let mut published = Ok(());
    service.repeat_until("weir_events_total", 1.0, || {
        published = publish_once(options.clone(), &topic, &event);
    })?;
    published?;
    service.stop()?;
    expect_same(&read_ndjson(&output)?, &fleet.reference(&[event]).samples)
}

fn publish_once(options: MqttOptions, topic: &str, payload: &[u8]) -> Result<()> {
    let (client, mut connection) = Client::new(options, 10);
    client.publish(topic, QoS::AtLeastOnce, false, payload)?;
    for event in connection.iter() {
        if matches!(event?, MqttEvent::Incoming(Packet::PubAck(_))) {
            return Ok(());
        }
    }
    bail!("the connection has ended without an acknowledgement")
}
