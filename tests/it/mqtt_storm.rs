//! Many clients' messages while connections are cut again and again, or the broker is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weir::source::Config;

use crate::mqtt_sessions::{config, expected, numbered, publish, take_each};
use crate::reference::event::read;
use crate::reference::fleet::{CONNECTED_CARS, Fleet, START_MS, expect_same, succeed};
use crate::reference::service::Service;
use crate::support::files::{repository, write};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::Proxy;
use crate::support::publishers::{Message, Publishers};
use crate::support::samples::{Sample, read_ndjson};
use crate::support::source::RunningSource;

/// Twenty thousand cars, each with a topic of its own for each kind of event.
const VEHICLES: u32 = 20_000;
const EVENTS: [&str; 4] = ["--rate", "8000", "--seconds", "10"];

/// How often the connection is cut, and after how long each time.
const CUTS: usize = 15;
const BETWEEN_CUTS: Duration = Duration::from_millis(500);

/// How often the broker is killed, and over how many connections the cars' messages go to it meanwhile.
const KILLS: usize = 5;
const PUBLISHERS: usize = 8;

/// What may wait in memory: the buffer, and what one read of the connection adds to it.
const MOST_BYTES: f64 = 16.0 * 1024.0 * 1024.0;

/// The connected-cars pipeline over MQTT, with a log, its fields from named levels of the topic.
fn pipeline(fleet: &Fleet, url: &str, output: &Path) -> Result<String> {
    let shipped = std::fs::read_to_string(repository().join(CONNECTED_CARS))?;
    let (head, rest) = shipped.split_once("\nsource:").context("no source")?;
    let (_, tail) = rest.split_once("\nevent:").context("no event")?;
    let (tail, _) = tail.split_once("\nwrite:").context("no write")?;
    let text = format!(
        "{head}\nsource:\n  mqtt: {{ url: \"{url}\", topics: [\"fleet/{{region}}/+/{{kind}}\"] }}\n\
         \nevent:{tail}\nwrite:\n  file: {{ path: \"{}\" }}\n\nstate:\n  dir: \"{}\"\n",
        output.display(),
        fleet.path("state").display()
    )
    .replace("from: eventType", "from: \"@topic.kind\"")
    .replace(
        "region: text",
        "region: { from: \"@topic.region\", type: text }",
    );
    assert!(text.contains("@topic.kind") && text.contains("@topic.region"));
    let path = write(fleet.folder.path(), "storm.yaml", &text)?;
    Ok(path.display().to_string())
}

/// Until weir has subscribed, messages go nowhere. These are of 1970: they count for nothing.
fn await_subscription(service: &mut Service, fleet: &Fleet, target: &str) -> Result<()> {
    let mut early = fleet.weirgen(&["--events", "1", "--start-ms", "0", "--max-speed"])?;
    early.arg(target);
    let mut failure = None;
    service.repeat_until("weir_source_records_total", 1.0, || {
        failure = succeed(&early).err();
    })?;
    ensure!(failure.is_none(), "{failure:?}");
    Ok(())
}

#[test]
fn twenty_thousand_clients_in_a_storm_of_reconnects_count_each_once() -> Result<()> {
    let (fleet, mosquitto) = (Fleet::of(VEHICLES)?, Mosquitto::start()?);
    let events = fleet.events(&EVENTS)?;
    let expected = fleet.check(std::slice::from_ref(&events), &[])?;
    let proxy = Arc::new(Proxy::start(mosquitto.port(), || Box::new(|_| {}))?);
    let output = fleet.path("storm.ndjson");
    let url = format!("mqtt://{}", proxy.address());
    let mut command = fleet.weir(&pipeline(&fleet, &url, &output)?, &["--workers", "2"]);
    let mut service = Service::start(&mut command, &fleet.folder)?;

    let direct = format!(
        "mqtt://127.0.0.1:{}/fleet/{{region}}/{{vehicle}}/{{kind}}",
        mosquitto.port()
    );
    await_subscription(&mut service, &fleet, &direct)?;

    let storm = Arc::clone(&proxy);
    let cutting = thread::spawn(move || {
        for _ in 0..CUTS {
            thread::sleep(BETWEEN_CUTS);
            storm.cut();
            storm.mend();
        }
    });
    let mut command = fleet.weirgen(&["--max-speed", "--start-ms", &START_MS.to_string()])?;
    succeed(command.args(EVENTS).arg(&direct))?;
    let count = events.split_inclusive(|byte| *byte == b'\n').count() as f64;
    let waiting = |service: &Service| service.metric("weir_mqtt_waiting_bytes", &[]);
    ensure!(waiting(&service)? <= MOST_BYTES, "too much is in memory");
    ensure!(cutting.join().is_ok(), "the storm has panicked");
    service.await_metric("weir_events_total", &[], count)?;
    assert_eq!(service.metric("weir_events_total", &[])?, count);
    ensure!(waiting(&service)? <= MOST_BYTES, "too much is in memory");
    ensure!(
        service.metric("weir_mqtt_reconnects_total", &[])? >= 1.0,
        "there was no storm"
    );
    assert_eq!(service.metric("weir_mqtt_sessions_lost_total", &[])?, 0.0);
    // With state, a stop leaves windows open. An event of ten minutes later closes them.
    let later = (START_MS + 600_000).to_string();
    let mut last = fleet.weirgen(&["--events", "1", "--start-ms", &later, "--max-speed"])?;
    succeed(last.arg(&direct))?;
    service.await_metric("weir_events_total", &[], count + 1.0)?;
    service.stop()?;
    let end = expected.iter().map(|sample| sample.timestamp_ms).max();
    let mut found = read_ndjson(&output)?;
    found.retain(|sample| Some(sample.timestamp_ms) <= end);
    expect_same(&found, &expected)
}

fn logged(mosquitto: &Mosquitto, protocol: &str) -> Result<Config> {
    config(json!({
        "url": mosquitto.url(), "topics": ["fleet/#"], "protocol": protocol,
    }))
}

/// The pipeline with a metric that tells every event from every other one, and none is late that a client has
/// published again.
fn exact(fleet: &Fleet, url: &str, protocol: &str, output: &Path) -> Result<String> {
    let path = pipeline(fleet, url, output)?;
    let text = std::fs::read_to_string(&path)?;
    let exact = text
        .replace(" topics:", &format!(" protocol: \"{protocol}\", topics:"))
        .replace("out_of_order: 2s", "out_of_order: 1h")
        .replace(
            "\n  fields:\n",
            "\n  fields:\n    at: { from: timestamp, type: text }\n",
        )
        .replace(
            "\nmetrics:\n",
            "\nderive:\n  event: concat(vehicle, ' ', kind, ' ', at)\n\nmetrics:\n  events:\n    \
             window: { tumbling: 5s }\n    by: [region]\n    value: count(DISTINCT event)\n",
        );
    Ok(write(fleet.folder.path(), "exact.yaml", &exact)?
        .display()
        .to_string())
}

/// What must come of some events, each of which counts once: the shipped metrics, and all events by region.
fn exactly(fleet: &Fleet, events: &[Vec<u8>]) -> Result<Vec<Sample>> {
    let cars = fleet.reference(events);
    ensure!(cars.late.values().all(|late| *late == 0), "{:?}", cars.late);
    let mut distinct: BTreeMap<(String, i64), BTreeSet<String>> = BTreeMap::new();
    for event in read(events) {
        let [region, vehicle, kind] =
            ["region", "vehicleId", "eventType"].map(|key| event.text(key).unwrap_or_default());
        let window = distinct.entry((region, event.window_end_ms(5_000)));
        let name = format!("{vehicle} {kind} {}", event.time_ms);
        window.or_default().insert(name);
    }
    let own = distinct.iter().map(|((region, end_ms), events)| {
        Sample::new(
            "events",
            &[("region", region)],
            *end_ms,
            events.len() as f64,
        )
    });
    let mut samples: Vec<_> = cars.samples.into_iter().chain(own).collect();
    samples.sort();
    Ok(samples)
}

/// The events as the messages of their vehicles, in turns to some publishers.
fn messages(events: &[u8]) -> Result<Vec<Vec<Message>>> {
    let mut lists = vec![Vec::new(); PUBLISHERS];
    let lines = std::str::from_utf8(events)?.lines();
    for (line, turn) in lines.zip((0..PUBLISHERS).cycle()) {
        let event: Value = serde_json::from_str(line)?;
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let topic = format!(
            "fleet/{}/{}/{}",
            text("region"),
            text("vehicleId"),
            text("eventType")
        );
        if let Some(list) = lists.get_mut(turn) {
            list.push((topic, line.to_owned()));
        }
    }
    Ok(lists)
}

fn twenty_thousand_clients_while_the_broker_is_killed(protocol: &str) -> Result<()> {
    let fleet = Fleet::of(VEHICLES)?;
    let mut mosquitto = Mosquitto::start_with(&MosquittoOptions {
        save_every_second: true,
        ..MosquittoOptions::default()
    })?;
    let events = fleet.events(&EVENTS)?;
    let expected = exactly(&fleet, std::slice::from_ref(&events))?;
    let output = fleet.path("killed.ndjson");
    let pipeline = exact(&fleet, &mosquitto.url(), protocol, &output)?;
    let mut command = fleet.weir(&pipeline, &["--workers", "2"]);
    let mut service = Service::start(&mut command, &fleet.folder)?;
    let direct = format!("{}/fleet/{{region}}/{{vehicle}}/{{kind}}", mosquitto.url());
    await_subscription(&mut service, &fleet, &direct)?;
    mosquitto.await_save()?;

    let lists = messages(&events)?;
    let count: usize = lists.iter().map(Vec::len).sum();
    let publishers = Publishers::start(mosquitto.port(), lists);
    for kill in 1..=KILLS {
        publishers.kill_broker_after(count * kill / (KILLS + 1), &mut mosquitto)?;
        service.await_metric("weir_mqtt_reconnects_total", &[], kill as f64)?;
    }
    let interrupted = publishers.finish()?;
    ensure!(
        interrupted >= KILLS,
        "{interrupted} of {KILLS} kills met a load"
    );

    // With state, a stop leaves windows open. An event of two hours later closes them: it comes behind all
    // others, which the broker has kept for weir in their order.
    let later = (START_MS + 7_200_000).to_string();
    let mut last = fleet.weirgen(&["--events", "1", "--start-ms", &later, "--max-speed"])?;
    succeed(last.arg(&direct))?;
    let found = || {
        let mut samples = read_ndjson(&output)?;
        samples.sort();
        Ok::<_, anyhow::Error>(samples)
    };
    service.await_condition("samples of all windows", || {
        found().is_ok_and(|samples| samples.len() >= expected.len())
    })?;
    assert_eq!(service.metric("weir_mqtt_sessions_lost_total", &[])?, 0.0);
    assert_eq!(service.metric("weir_late_events_total", &[])?, 0.0);
    service.stop()?;
    expect_same(&found()?, &expected)
}

#[test]
fn twenty_thousand_clients_lose_nothing_while_the_broker_is_killed() -> Result<()> {
    twenty_thousand_clients_while_the_broker_is_killed("5")
}

#[test]
fn twenty_thousand_clients_lose_nothing_while_a_broker_of_3_1_1_is_killed() -> Result<()> {
    twenty_thousand_clients_while_the_broker_is_killed("3.1.1")
}

#[test]
fn a_broker_that_is_killed_between_messages_costs_nothing_and_brings_none_twice() -> Result<()> {
    for protocol in ["5", "3.1.1"] {
        let mut mosquitto = Mosquitto::start_with(&MosquittoOptions {
            save_every_change: true,
            ..MosquittoOptions::default()
        })?;
        let fleet = Fleet::new()?;
        let log = fleet.path("log");
        let source = RunningSource::start(&logged(&mosquitto, protocol)?, &[], Some(&log))?;
        source.await_idle()?;
        for round in 0..4_u64 {
            let numbers = round * 500..(round + 1) * 500;
            publish(mosquitto.port(), false, numbered(numbers))?;
            mosquitto.kill()?;
            mosquitto.restart()?;
        }
        assert_eq!(take_each(&source, 2_000)?, expected(0..2_000), "{protocol}");
        source.await_idle()?;
        source.stop()?;
    }
    Ok(())
}

#[test]
fn a_broker_that_is_told_to_send_few_messages_at_once_loses_none() -> Result<()> {
    let mosquitto = Mosquitto::start_with(&MosquittoOptions {
        max_inflight: Some(20),
        ..MosquittoOptions::default()
    })?;
    let fleet = Fleet::new()?;
    let log = fleet.path("log");
    let source = RunningSource::start(&logged(&mosquitto, "5")?, &[], Some(&log))?;
    source.await_idle()?;
    publish(mosquitto.port(), false, numbered(0..2_000))?;
    source.await_metric("weir_log_appended_total{pipeline=\"test\"} 2000\n")?;
    let texts = source.take(2_000)?.into_iter().map(|(_, text)| text);
    assert!(texts.eq((0..2_000).map(|number| number.to_string())));
    source.stop()
}
