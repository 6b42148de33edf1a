//! Devices whose clocks are wrong, in records of several events: all of them have one position.

use std::collections::BTreeMap;
use std::fs;

use fastrand::Rng;
use tempfile::tempdir;

use super::bench::{START_MS, Setup, metric};
use super::service::Service;
use crate::model::Symbol;
use crate::telemetry::Registry;
use crate::window::clock::{ClockState, Clocks};

const HOUR_MS: i64 = 3_600_000;
const MAX_SKEW_MS: i64 = 300_000;

/// No event is late, however wrong the clocks are.
const TIME: &str = "out_of_order: 1d, max_ahead: 1d, \
    clock: { device: vehicle, by: [region], received: x, max_skew: 5m, quarantine: true }";

const DEVICES: [&str; 5] = ["V0", "V1", "V2", "V3", "V4"];
const REGIONS: [&str; 3] = ["UK", "US", "FR"];

/// The region that no lookup knows, whose events are dropped where there is one.
const UNKNOWN: &str = "FR";

/// An event of a record; times are ms after [`START_MS`].
#[derive(Debug, Clone, Copy)]
struct Event {
    millis: i64,
    received: i64,
    /// By its place in [`DEVICES`].
    device: usize,
    region: &'static str,
}

/// An event that was received at the start.
fn event(millis: i64, device: usize, region: &'static str) -> Event {
    Event {
        millis,
        received: 0,
        device,
        region,
    }
}

/// The events as one record.
fn record(events: &[Event]) -> String {
    let events = events.iter().map(|event| {
        let vehicle = DEVICES[event.device];
        let received = (START_MS + event.received) as f64;
        super::bench::event(event.millis, vehicle, event.region, received)
    });
    format!("[{}]", events.collect::<Vec<_>>().join(","))
}

/// What is looked up of each event's region; events of regions that are not known are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    Nowhere,
    Table,
    Service,
}

/// What a pipeline says of events: its samples in order, how many events were dropped because of their clocks,
/// and its gauges of devices with wrong clocks.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    samples: Vec<String>,
    dropped: u64,
    devices: Vec<String>,
}

/// Runs a pipeline over batches of records.
fn run(lookup: Lookup, batches: &[&[Vec<Event>]]) -> Outcome {
    let folder = tempdir().unwrap();
    let table = folder.path().join("regions.csv");
    fs::write(&table, "region,name\nUK,Britain\nUS,America\n").unwrap();
    let service = Service::start();
    service.knows(&[
        ("UK", r#"{"name":"Britain"}"#),
        ("US", r#"{"name":"America"}"#),
    ]);
    let lookup_from = |from: &str| {
        format!(
            "[{{ lookup: names, key: region, from: {{ {from} }}, add: [name], otherwise: drop }}]"
        )
    };
    let enrich = match lookup {
        Lookup::Nowhere => "[]".to_owned(),
        Lookup::Table => lookup_from(&format!("csv: '{}', key: region", table.display())),
        Lookup::Service => lookup_from(&format!("http: {{ url: '{}' }}", service.url())),
    };
    let bench = Setup {
        decode: "{ format: json, explode: . }",
        metrics: "
  m: { window: { tumbling: 1s }, by: [vehicle, region], value: count(*) }",
        time: TIME,
        enrich,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0]);
    let mut position = 0;
    for batch in batches {
        let records: Vec<_> = batch.iter().map(|events| record(events)).collect();
        bench.records(0, position, &records);
        position += records.len() as u64;
    }
    let registry = bench.running.registry().clone();
    let (finished, mut samples) = bench.end();
    assert!(finished.error.is_none(), "{:?}", finished.error);
    assert_eq!(finished.status.late, 0);
    samples.sort();
    let text = Registry::text([&registry]);
    let is_wrong =
        |line: &&str| line.starts_with("weir_clock_skewed_devices{") && !line.ends_with(" 0");
    let mut devices: Vec<_> = text.lines().filter(is_wrong).map(str::to_owned).collect();
    devices.sort();
    Outcome {
        samples,
        dropped: metric(&registry, "weir_clock_dropped_events_total") as u64,
        devices,
    }
}

/// The same, one event after the other.
fn naive(lookup: Lookup, events: impl Iterator<Item = Event>) -> Outcome {
    let mut clocks = Clocks::new(MAX_SKEW_MS);
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    let mut wrong = BTreeMap::new();
    let mut dropped = 0;
    for event in events {
        let symbol = Symbol(event.device as u32 + 1);
        let (time, received) = (START_MS + event.millis, START_MS + event.received);
        let judgement = clocks.judge(&[symbol], &[time], &[received]);
        let is_known = lookup == Lookup::Nowhere || event.region != UNKNOWN;
        for (_, _, state) in judgement.changed {
            let region = if is_known { event.region } else { "" };
            match state {
                ClockState::Right => wrong.remove(&event.device),
                ClockState::Ahead => wrong.insert(event.device, (region, "ahead")),
                ClockState::Behind => wrong.insert(event.device, (region, "behind")),
            };
        }
        if !is_known {
            continue;
        }
        if !judgement.skewed.is_empty() {
            dropped += 1;
            continue;
        }
        let end = (event.millis.div_euclid(1_000) + 1) * 1_000;
        let series = format!("{},{}", event.region, DEVICES[event.device]);
        *counts.entry((series, end)).or_default() += 1;
    }
    let samples = counts.iter();
    let mut samples: Vec<_> = samples
        .map(|((series, end), count)| format!("m{{{series}}} @{end}={count}"))
        .collect();
    samples.sort();
    let mut devices: BTreeMap<_, u64> = BTreeMap::new();
    for of in wrong.into_values() {
        *devices.entry(of).or_default() += 1;
    }
    let mut devices: Vec<_> = devices
        .into_iter()
        .map(|((region, state), count)| {
            let labels = format!("region=\"{region}\",state=\"{state}\",pipeline=\"test\"");
            format!("weir_clock_skewed_devices{{{labels}}} {count}")
        })
        .collect();
    devices.sort();
    Outcome {
        samples,
        dropped,
        devices,
    }
}

#[test]
fn of_a_record_only_the_events_of_wrong_clocks_are_dropped() {
    let (good, bad) = (event(0, 0, "UK"), event(2 * HOUR_MS, 1, "US"));
    for (events, good) in [(vec![good, bad], 1), (vec![bad, good, bad, good], 2)] {
        for lookup in [Lookup::Nowhere, Lookup::Table, Lookup::Service] {
            let outcome = run(lookup, &[std::slice::from_ref(&events)]);
            assert_eq!(outcome.samples, [format!("m{{UK,V0}} @1000={good}")]);
            assert_eq!(outcome.dropped, events.len() as u64 - good);
        }
    }
}

#[test]
fn nothing_is_dropped_in_place_of_an_event_that_a_lookup_has_dropped() {
    let (good, bad) = (event(0, 0, "UK"), event(2 * HOUR_MS, 1, UNKNOWN));
    for lookup in [Lookup::Table, Lookup::Service] {
        let outcome = run(lookup, &[&[vec![good, bad, good]]]);
        assert_eq!(outcome.samples, ["m{UK,V0} @1000=2"]);
        assert_eq!(outcome.dropped, 0);
    }
}

#[test]
fn a_device_is_counted_by_what_its_own_event_says() {
    let (good, bad) = (event(0, 0, "UK"), event(2 * HOUR_MS, 1, "US"));
    let outcome = run(Lookup::Nowhere, &[&[vec![good, bad, good, bad, good]]]);
    let expected = r#"weir_clock_skewed_devices{region="US",state="ahead",pipeline="test"} 1"#;
    assert_eq!(outcome.devices, [expected]);
}

/// However events are divided into records and these into batches, it is as if each came by itself.
#[test]
fn records_of_several_events_are_as_their_events_one_after_the_other() {
    let mut dropped = 0;
    for seed in 0..20 {
        let mut random = Rng::with_seed(seed);
        let skews: Vec<_> = DEVICES
            .iter()
            .map(|_| *random.choice([0, 0, 2, -2].iter()).unwrap() * HOUR_MS)
            .collect();
        let records: Vec<Vec<Event>> = (0..40)
            .map(|number| {
                let received = number * 500;
                let events = (0..random.usize(0..8)).map(|_| {
                    let device = random.usize(0..DEVICES.len());
                    // From time to time a clock says something else for once.
                    let jump = if random.u8(0..10) == 0 { HOUR_MS } else { 0 };
                    Event {
                        millis: received + skews[device] + jump - random.i64(0..2_000),
                        received,
                        device,
                        region: REGIONS[random.usize(0..REGIONS.len())],
                    }
                });
                events.collect()
            })
            .collect();
        let batches: Vec<_> = records.chunks(random.usize(1..20)).collect();
        for lookup in [Lookup::Nowhere, Lookup::Table, Lookup::Service] {
            let expected = naive(lookup, records.iter().flatten().copied());
            dropped += expected.dropped;
            let found = run(lookup, &batches);
            assert_eq!(found, expected, "seed {seed}, {lookup:?}");
        }
    }
    assert!(dropped > 1_000, "only {dropped} events were dropped");
}
